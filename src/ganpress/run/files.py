"""Whole files or none: atomic writes. No torch."""

from __future__ import annotations

import codecs
import errno
import json
import os
import platform
import shutil
import threading
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ganpress.errors import ConfigError, DiskFull
from ganpress.sniff import misplaced

TEMPORARY = ".tmp"
"""How the names of unfinished files end."""
_HOST = f".{zlib.crc32(platform.node().encode()):08x}-"
"""How the names of this machine's unfinished files begin; short, as names have a limit."""
_cleared: set[Path] = set()
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class _Writer:
    """A binary file that remembers its first OSError (torch.save hides it in a RuntimeError)."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write all of `data`; return its length in bytes."""
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        """Hand everything written so far to the operating system."""
        try:
            self.file.flush()
        except OSError as error:
            self.error = self.error or error
            raise


def check_ordinary(path: Path) -> None:
    """Refuse a path whose place a new file may not take: a device or a pipe, which a rename would
    replace for every program of the machine, and what the system keeps in /dev. ConfigError."""
    special = path.exists() and not path.is_file() and not path.is_dir()
    if special or path.absolute().parent == Path("/dev"):
        raise ConfigError(
            f"{path} is a device or a pipe, whose place no file may take. Give the name of a file."
        )


def replace_file(path: Path, write: Callable[[Any], object]) -> None:
    """Let `write(file)` fill a temporary file, sync it, and put it in the place of `path`.

    Whatever happens, SIGKILL included, `path` is the previous file or the whole new one; of two
    processes or threads that write it at once, that of one of them.

    Args:
        path: the file to make; its folder exists.
        write: is given an object with write(bytes) and flush().
    Raises: DiskFull when the space runs out; the temporary file is then removed. ConfigError for a
        device or a pipe.
    """
    check_ordinary(path)
    _clear_abandoned(path.parent)
    writer_of = f"{_HOST}{os.getpid()}-{threading.get_ident()}"
    temporary = path.with_name(f"{writer_of}-{zlib.crc32(path.name.encode()):08x}{TEMPORARY}")
    writer: _Writer | None = None
    try:
        with open(temporary, "wb") as file:
            writer = _Writer(file)
            write(writer)
            writer.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename = str(path)  # the name that was asked for
        cause = writer.error if writer is not None and writer.error is not None else error
        raise_if_full(cause, path)
        raise
    _sync_folder(path.parent)


def _clear_abandoned(folder: Path) -> None:
    """Remove what processes of this machine that were killed had begun to write in a folder: once
    in a process, since it lists the folder; nothing on Windows, where it cannot be seen whether a
    process lives."""
    if os.name != "posix" or (found := folder.absolute()) in _cleared:
        return
    _cleared.add(found)
    for path in folder.glob(f"{_HOST}*{TEMPORARY}"):
        process = path.name.removeprefix(_HOST).partition("-")[0]
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
        except (OSError, ValueError, OverflowError):  # another user's; no number
            continue


def clear_unfinished(folder: Path) -> None:
    """Remove what a process that was killed had begun to write here, and one folder below.

    To be called by the only process that writes here.
    """
    for depth in ("", "*/"):
        for path in folder.glob(f"{depth}.*{TEMPORARY}"):
            path.unlink(missing_ok=True)


def write_file(path: Path, data: bytes) -> None:
    """Put a whole new file in the place of `path` (`replace_file`). Raises: DiskFull."""
    replace_file(path, lambda file: file.write(data))


def copy_file(source: Path, target: Path) -> None:
    """Put a copy of a file in the place of `target`, whole or not at all. Raises: DiskFull."""
    with source.open("rb") as opened:
        replace_file(target, lambda file: shutil.copyfileobj(opened, file, 1 << 20))


def replace_pair(head: Path, first: bytes, body: Path, second: bytes) -> None:
    """Put ``first`` in the place of `head`, and ``second`` in that of `body`, which belongs to it.

    Both are whole on the disk, as .new, before anything of the previous pair is touched: a full
    disk leaves that pair. Then they are renamed one directly after the other, and while they are,
    no file has the name of `head`: a kill there leaves a pair that cannot be opened (the previous
    head lies beside it as .old), never an old head with a new body.

    Args: head, body: two files of one folder, which exists.
    Raises: DiskFull; the temporary files are then removed. ConfigError for a device or a pipe.
    """
    check_ordinary(head)
    check_ordinary(body)
    new_head, new_body = (path.with_name(path.name + ".new") for path in (head, body))
    old, aside = head.with_name(head.name + ".old"), False
    try:
        write_file(new_body, second)
        write_file(new_head, first)
        if head.is_file():
            os.replace(head, old)
            aside = True
        os.replace(new_body, body)
    except BaseException as error:
        if aside and new_body.exists():  # the previous body is still in its place
            os.replace(old, head)
        new_body.unlink(missing_ok=True)
        new_head.unlink(missing_ok=True)
        raise_if_full(error, head)
        raise
    os.replace(new_head, head)
    old.unlink(missing_ok=True)
    _sync_folder(head.parent)


def raise_if_full(error: BaseException, path: Path) -> None:
    """Raise DiskFull from `error` if it says that no space (or quota) is left for `path`."""
    if not isinstance(error, OSError) or error.errno not in _FULL:
        return
    try:
        free = f"{shutil.disk_usage(path.parent).free / 1e6:.1f} MB free there"
    except OSError:
        free = "free space unknown"
    raise DiskFull(
        f"No space left while writing {path} ({os.strerror(error.errno)}; {free}). The previous "
        "file, if there was one, is intact. Free some space, then run the same command again."
    ) from error


def make_folder(path: Path) -> Path:
    """Make the folder `path` and its parents; an existing one is fine.

    Raises: DiskFull; ConfigError if a file is in the way or the folder may not be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise_if_full(error, path)
        raise ConfigError(
            f"The folder {path} cannot be made: {error.strerror}. Choose another folder."
        ) from error
    return path


def check_folder(path: Path) -> None:
    """Refuse, before any work, a folder in whose place, or in that of a folder above it, a file is.
    Nothing is made. Raises: ConfigError."""
    first = next((p for p in (path, *path.parents) if p.exists()), None)
    if first is not None and not first.is_dir():
        raise ConfigError(
            f"The folder {path} cannot be made: {first} is a file. Choose another folder."
        )


def text_of(path: Path) -> str:
    """The content of a text file: UTF-8, with a byte-order mark or not, or UTF-16 with one, as
    editors and shells of Windows write. Raises: UnicodeDecodeError, OSError."""
    data = path.read_bytes()
    is_utf16 = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return data.decode("utf-16" if is_utf16 else "utf-8-sig").replace("\r\n", "\n")


def write_json(path: Path, obj: object) -> None:
    """Write `obj` as indented JSON, atomically. Raises: DiskFull; TypeError if not JSON."""
    write_file(path, (json.dumps(obj, indent=2, default=_plain) + "\n").encode())


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises: ConfigError if it cannot be read as JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        other = misplaced(path, "json") or f"cannot be read as JSON ({error})"
        raise ConfigError(f"{path} {other}. Restore it, or start in another folder.") from error


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; {} where there is no such file, or it holds something else.

    Raises: ConfigError if it cannot be read as JSON.
    """
    content = read_json(path) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def object_beside(path: Path) -> dict[str, Any]:
    """The JSON object in the file of the same name beside a file; {} where there is none, or it is
    none, as another program's can be."""
    try:
        return read_object(path.with_suffix(".json"))
    except ConfigError:
        return {}


def as_json(obj: object) -> Any:
    """`obj` as it comes back from a JSON file: tuples are lists, paths and keys are strings."""
    return json.loads(json.dumps(obj, default=_plain))


def check_name(name: str, what: str) -> None:
    """Refuse a `name` that would not be one plain file name. Raises: ConfigError."""
    if not name or name.startswith(".") or any(c in name for c in '/\\:*?"<>|\0\n'):
        raise ConfigError(
            f"{what} {name!r} cannot be a file name: use letters, digits, '-', '_' and '.'."
        )


def _plain(obj: object) -> object:
    if isinstance(obj, Mapping):
        return dict(obj)
    if isinstance(obj, Path):
        return str(obj)
    raise TypeError(f"{type(obj).__name__} cannot be written as JSON: {obj!r}")


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems cannot; the rename itself is still atomic
    finally:
        os.close(handle)
