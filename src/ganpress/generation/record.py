"""What a folder of made pictures knows of itself: which model and settings, and which are made."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError
from ganpress.run.files import as_json, make_folder, raise_if_full, write_file
from ganpress.run.logs import append

NAME = ".ganpress-run.jsonl"


@dataclass(frozen=True)
class Record:
    """The log of one folder: a line of settings, then the name of each picture.

    A name is written before its picture takes its place, and an old file of that name is gone by
    then: a picture that has a line and is there was made by this run, whole.
    """

    folder: Path
    made: frozenset[str]

    def put(self, name: str, data: bytes) -> None:
        """Write one picture, whole or not at all. Raises: DiskFull; OSError."""
        path = self.folder / name
        part = path.with_name(f".{sha256(os.fsencode(path.name)).hexdigest()[:16]}.part")  # short
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            path.unlink(missing_ok=True)
            append(self.folder / NAME, (json.dumps(name) + "\n").encode())
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise_if_full(error, path)
            raise


def open_record(
    folder: Path, settings: Mapping[str, Any], names: Sequence[str], *, overwrite: bool
) -> Record:
    """The record of a folder that is to hold pictures of these names.

    Pictures that the same model made with the same settings are kept, and the run goes on behind
    them. With ``overwrite`` all are made anew; a run that was started so and stopped goes on.

    Raises: ConfigError where a file of another origin is in the way.
    """
    make_folder(folder)
    head, lines = _read(folder / NAME)
    is_same = head is not None and head.get("settings") == as_json(dict(settings))
    began_so = is_same and head is not None and bool(head.get("overwrite"))
    there = [name for name in names if (folder / name).exists()]
    made = frozenset(name for name in there if name in lines) if is_same else frozenset[str]()
    if overwrite and not (began_so and len(made) < len(names)):
        made, is_same = frozenset(), False
    others = [name for name in there if name not in made]
    if others and not (overwrite or began_so):
        raise ConfigError(
            f"{folder} has {len(others)} of the files to write already, such as {others[0]}, and "
            "this model did not make them with these settings: choose another folder, or let them "
            "be overwritten (--overwrite)."
        )
    if not is_same:
        line = json.dumps({"settings": as_json(dict(settings)), "overwrite": overwrite})
        write_file(folder / NAME, f"{line}\n".encode())
    return Record(folder, made)


def _read(path: Path) -> tuple[dict[str, Any] | None, set[str]]:
    """The first line and the names; (None, none) where there is no log, or it is torn."""
    try:
        first, *rest = path.read_text(encoding="utf-8").splitlines()
        head = json.loads(first)
    except (OSError, ValueError):
        return None, set()
    names = set()
    for line in rest:
        try:
            names.add(str(json.loads(line)))
        except ValueError:  # torn by a kill
            continue
    return (head, names) if isinstance(head, dict) else (None, set())
