"""An append that never tears, and logs read back. No torch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ganpress.run.files import raise_if_full, write_file


def append(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Add `data` to the end of `path`, all of it or nothing; `sync` waits for the disk.

    Raises: DiskFull; the file is then cut back to what it was.
    """
    try:
        with open(path, "ab", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            try:
                left = memoryview(data)
                while left:
                    left = left[file.write(left) :]
                if sync:
                    os.fsync(file.fileno())
            except BaseException:
                os.ftruncate(file.fileno(), size)
                raise
    except OSError as error:
        raise_if_full(error, path)
        raise


def read_log(path: Path, *, before: int | None = None) -> list[dict[str, Any]]:
    """The lines of a log.jsonl, oldest first: {"step": 10, "elapsed_s": 1.2, "loss": 0.3, ...}.

    Torn or foreign lines (a kill in mid-write) are left out; a missing file is an empty log.

    Args:
        path: the log.jsonl of a stage.
        before: keep only the lines with step < before; all lines when None.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    rows = [row for row in map(_row, lines) if row is not None]
    return [row for row in rows if before is None or row["step"] < before]


def cut_log(path: Path, step: int) -> None:
    """Drop from a log.jsonl every torn line and every line with its step >= `step`."""
    if not path.exists():
        return
    rows = read_log(path, before=step)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if text != path.read_bytes():
        write_file(path, text)


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
