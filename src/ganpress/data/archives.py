"""Files inside a .zip or .tar, read where they lie: nothing is ever written under their names."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeAlias

from ganpress.data.endings import is_hidden
from ganpress.data.listing import Passed, Stamp, stamp_of
from ganpress.errors import ConfigError, ImagesError
from ganpress.run.cache import cache_dir, clear_unused, mark_used
from ganpress.run.files import make_folder, replace_file
from ganpress.run.locks import alone
from ganpress.sniff import misplaced

Opener: TypeAlias = Callable[[Path], Any]
"""Opens a compressed file as the binary file inside it."""

_COMPRESSED: dict[bytes, Opener] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_ZIP_HEADS = (b"PK\x03\x04", b"PK\x05\x06")
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # before a zip's member: signature; lengths at its end
_NAMED = re.compile(r"\.(zip|tar|tgz|tbz2?|txz)$|\.tar\.(gz|bz2|xz)$", re.IGNORECASE)
_TORN = (OSError, EOFError, zlib.error, lzma.LZMAError, struct.error)
_DAMAGED = (*_TORN, zipfile.BadZipFile, tarfile.TarError, NotImplementedError, ValueError)


@dataclass(frozen=True, slots=True)
class Packed:
    """A file inside an archive.

    archive: the .zip or plain .tar that holds it. where: its name for people. start: of its data,
    or in a .zip of the header before it, bytes. stored, size: bytes there, and when unpacked.
    method: a zip's number for how it is compressed, None in a tar. crc: of a zip's member.
    """

    archive: Path
    where: str
    start: int
    stored: int
    size: int
    method: int | None = None
    crc: int = 0
    stamp: Stamp = field(default=(), compare=False)

    def encoded(self) -> bytes:
        """The bytes of the file. Raises ImagesError: damaged, or the archive has gone."""
        try:
            with self.archive.open("rb") as file:
                file.seek(self.start)
                found = file.read(self.size) if self.method is None else self._unzipped(file)
        except _TORN as error:
            raise self._unreadable(getattr(error, "strerror", None) or str(error)) from error
        if len(found) != self.size or (self.method is not None and zlib.crc32(found) != self.crc):
            raise self._unreadable("its bytes in the archive are damaged")
        return found

    def _unzipped(self, file: IO[bytes]) -> bytes:
        """At most a byte more than `size`, whatever the stored bytes would unpack to."""
        signature, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        if signature != _ZIP_HEADS[0]:
            raise self._unreadable("its header in the archive is damaged")
        file.seek(name + extra, os.SEEK_CUR)
        data = file.read(self.stored)
        if self.method == zipfile.ZIP_DEFLATED:
            return zlib.decompressobj(-15).decompress(data, self.size + 1)
        if self.method == zipfile.ZIP_BZIP2:
            return bz2.BZ2Decompressor().decompress(data, self.size + 1)
        return data

    def _unreadable(self, reason: str) -> ImagesError:
        return ImagesError(f"Cannot read {self.where}: {reason}.")


def is_named_archive(name: str) -> bool:
    """Whether a file's name has the ending of an archive that `members` reads."""
    return _NAMED.search(name) is not None


def is_archive(path: Path) -> bool:
    """Whether a file is a .zip or a .tar, plain or compressed, by its name or its first bytes."""
    if is_named_archive(path.name):
        return True
    head = _head(path)
    return head.startswith(_ZIP_HEADS) or _is_tar(head) or _is_compressed_tar(path, _opener(head))


def members(path: Path, passed: Passed) -> dict[str, Packed]:
    """Every file of an archive but hidden ones, by its name inside.

    Of a tar that is compressed as a whole, in an unpacked copy in the user's cache folder, which is
    made once. Links and devices are counted in ``passed``.
    Raises ImagesError: no archive of a kind that is read, damaged, encrypted, or a path that leads
    out of it. DiskFull, ConfigError: the copy cannot be written.
    """
    head = _head(path)
    try:
        if head.startswith(_ZIP_HEADS):
            found = _zipped(path, passed)
        elif _is_tar(head):
            found = _tarred(path, path, passed)
        elif (opened := _opener(head)) and _is_compressed_tar(path, opened):
            found = _tarred(path, _plain_tar(path, opened), passed)
        elif other := misplaced(path, "archive"):
            raise ImagesError(f"{path} {other}.")
        else:
            raise ImagesError(
                f"{path} is no whole zip or tar, whatever its name says (it starts with "
                f"{head[:12]!r}). Fetch or make it again; of another kind of archive, unpack it "
                "and give the folder."
            )
        return dict(found)
    except _DAMAGED as error:
        other = misplaced(path, "archive")
        said = other or f"is damaged ({error}). Fetch or make it again"
        raise ImagesError(f"{path} {said}.") from error


def _zipped(path: Path, passed: Passed) -> Iterator[tuple[str, Packed]]:
    stamp = stamp_of(path.stat())
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = _inside(info.filename, path)
            where = f"{path}/{name}"
            if info.is_dir() or _is_hidden(name):
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                passed.add("link in an archive", where)
                continue
            if info.flag_bits & 1 or info.compress_type not in _ZIP_METHODS:
                why = "encrypted" if info.flag_bits & 1 else "compressed in a way that is not read"
                raise ImagesError(
                    f"{where} is {why}. Unpack the archive, and give the folder in its place."
                )
            sizes = info.header_offset, info.compress_size, info.file_size
            yield name, Packed(path, where, *sizes, info.compress_type, info.CRC, stamp)


def _tarred(path: Path, plain: Path, passed: Passed) -> Iterator[tuple[str, Packed]]:
    """Of the tar ``plain``, which the user knows as ``path``."""
    stamp = stamp_of(path.stat())
    with tarfile.open(plain, "r:") as archive:
        for info in archive:
            name = _inside(info.name, path)
            where = f"{path}/{name}"
            if info.isdir() or _is_hidden(name):
                continue
            if not info.isreg() or info.issparse():
                passed.add("link in an archive", where)
                continue
            start, size = info.offset_data, info.size
            yield name, Packed(plain, where, start, size, size, stamp=stamp)
        end = archive.offset
    with plain.open("rb") as file:  # tarfile takes a torn header for the end
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("its end is missing")


def _is_hidden(name: str) -> bool:
    return any(map(is_hidden, name.split("/")))


def _inside(name: str, archive: Path) -> str:
    """The name with '/' between its parts. Raises ImagesError: it leads out of the archive."""
    if leads_out(name):
        raise ImagesError(
            f"{archive} holds '{name}', a path that leads out of the archive. Find out who made "
            "it; to use it all the same, unpack it and give the folder."
        )
    return str(PurePosixPath(name.replace("\\", "/")))


def leads_out(name: str) -> bool:
    """Whether a name, taken as a path below a folder, is a path outside of it."""
    plain = PurePosixPath(name.replace("\\", "/"))
    drive = re.match("[A-Za-z]:", name) is not None
    return plain.is_absolute() or ".." in plain.parts or drive or "\0" in name


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(tarfile.BLOCKSIZE)
    except OSError as error:
        raise ImagesError(f"Cannot read {path}: {error.strerror or error}.") from error


def _is_tar(head: bytes) -> bool:
    if head == bytes(tarfile.BLOCKSIZE):  # an empty one
        return True
    try:
        tarfile.TarInfo.frombuf(head, tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _opener(head: bytes) -> Opener | None:
    return next((opened for start, opened in _COMPRESSED.items() if head.startswith(start)), None)


def _is_compressed_tar(path: Path, opened: Opener | None) -> bool:
    if opened is None:
        return False
    try:
        with opened(path) as content:
            return _is_tar(content.read(tarfile.BLOCKSIZE))
    except _TORN:
        return True  # torn at its start: whoever reads on says so


def _plain_tar(path: Path, opened: Opener) -> Path:
    """The tar inside a compressed file, in the cache; a file that has changed is unpacked anew."""
    key = f"{os.path.realpath(path)} {stamp_of(path.stat())}"
    folder = cache_dir() / "archives"
    plain = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.tar"
    try:
        make_folder(folder)
        with alone(plain.with_suffix(".lock")):
            if plain.exists():
                mark_used(plain)
            else:
                clear_unused(folder)
                with opened(path) as content:
                    replace_file(plain, lambda sink: shutil.copyfileobj(content, sink, 1 << 20))
    except ConfigError as error:
        raise ImagesError(
            f"{path} is compressed as a whole, and has to be unpacked first. {error} Or unpack it "
            "yourself and give the folder."
        ) from error
    return plain
