"""Archives to folders: whole or not there, and never a file outside the folder."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from ganpress.errors import ConfigError, ImagesError
from ganpress.run.files import make_folder, raise_if_full
from ganpress.run.locks import alone

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, RuntimeError)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes the name `folder` when the block ends without an error.

    What an error, a full disk or a kill leaves is thrown away at once or by the next attempt.
    Raises: ConfigError if `folder` is there already; DiskFull.
    """
    make_folder(folder.parent)
    part = folder.with_name(f".{folder.name}.part")
    with alone(folder.with_name(f".{folder.name}.part.lock")):
        if folder.exists():
            raise ConfigError(f"{folder} is there already. Remove it, or choose another --to.")
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir()
            yield part
            os.replace(part, folder)
        except BaseException as error:
            shutil.rmtree(part, ignore_errors=True)
            raise_if_full(error, folder)
            raise


def unpack(archive: Path, to: Path) -> None:
    """Write the files of a .zip or .tar.gz below the existing folder `to`.

    Raises ImagesError: the archive is damaged, or holds a link, a device or a path that leads
    out of it. OSError: as writing does.
    """
    try:
        for name, source in _members(archive):
            target = to / _inside(name, archive)
            target.parent.mkdir(parents=True, exist_ok=True)
            with source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
    except _DAMAGED as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno is None:  # a gzip file whose checksum is wrong, not the disk
            raise _damaged(archive, error) from error
        raise


def _damaged(archive: Path, error: Exception) -> ImagesError:
    return ImagesError(f"{archive} is damaged ({error}).")


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and open content of each file; folders are left out."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise _unsafe(info.filename, archive)
                if not info.is_dir():
                    yield info.filename, packed.open(info)
        return
    with gzip.open(archive) as plain, tarfile.open(fileobj=plain) as packed_tar:
        for member in packed_tar:
            if not (member.isfile() or member.isdir()):
                raise _unsafe(member.name, archive)
            content = packed_tar.extractfile(member)
            if content is not None:
                yield member.name, content
        while plain.read(1 << 20):  # to its end, where the checksum is
            pass


def _inside(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    plain = not path.is_absolute() and ".." not in path.parts and path.parts
    if not plain or any(c in name for c in "\\:\0"):
        raise _unsafe(name, archive)
    return path


def _unsafe(name: str, archive: Path) -> ImagesError:
    return ImagesError(
        f"{archive} holds '{name}', a link, a device or a path that leads out of the archive."
    )
