"""Find published weight files: given, in GANPRESS_WEIGHTS, in the cache, or downloaded."""

from __future__ import annotations

import errno
import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Literal, overload

from ganpress.errors import DiskFull, WeightsError, did_you_mean

_CHUNK = 1 << 20
_TRIES = 4
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class WeightFile:
    """A published file.

    title: for people. file: its name on disk, which is how it is found. url: where to fetch it;
    None if it cannot be fetched. sha256: the published hash, whole or its first digits (torch
    puts eight of them in its file names); None if none was published.
    """

    title: str
    file: str
    url: str | None = None
    sha256: str | None = None


@overload
def find_weights(
    entry: WeightFile, *, given: Path | None = None, fetch: Literal[True] = True
) -> Path: ...
@overload
def find_weights(
    entry: WeightFile, *, given: Path | None = None, fetch: Literal[False]
) -> Path | None: ...
def find_weights(
    entry: WeightFile, *, given: Path | None = None, fetch: bool = True
) -> Path | None:
    """Path of a weight file whose hash was checked.

    Looks at `given` (a file, or a folder searched by file name), the folder GANPRESS_WEIGHTS,
    the cache, and then downloads to the cache. A `given` file under another name than the
    published one is taken as it is.

    Args:
        fetch: False: return None instead of downloading.
    Raises: WeightsError when nothing is found, or what is found has another hash.
    """
    if given is not None and not given.exists():
        near = did_you_mean(given.name, _names(given.parent))
        raise WeightsError(f"--weights: there is no '{given}'{near}. Give a file or a folder.")
    if given is not None and given.is_file():
        if given.name == entry.file:
            check_hash(given, entry)
        return given
    for folder in (given, _environment_folder(), cache_dir()):
        path = _search(folder, entry.file) if folder is not None else None
        if path is not None:
            check_hash(path, entry)
            return path
    if not fetch:
        return None
    if entry.url is None:
        raise WeightsError(
            f"{entry.title}: no file '{entry.file}' was found, and it cannot be fetched. "
            f"{_advice(entry)}"
        )
    return download(entry, cache_dir() / entry.file)


def cache_dir() -> Path:
    """Where downloads are kept: $XDG_CACHE_HOME/ganpress, or ~/.cache/ganpress."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ganpress"


def zoo_path(name: str) -> Path:
    """Path of a file that ganpress ships: in the installed package, or in the repository.

    Raises: WeightsError when there is no such file, with the nearest name.
    """
    here = Path(__file__).resolve()
    shipped, checkout = here.parent / "zoo", here.parents[2] / "zoo"
    for folder in (shipped, checkout):
        if (folder / name).is_file():
            return folder / name
    names = _names(shipped) + _names(checkout)
    raise WeightsError(
        f"The zoo has no '{name}'{did_you_mean(name, names)}. "
        f"It has: {', '.join(sorted(names)) or 'nothing'}; looked in {shipped} and {checkout}."
    )


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def published(path: Path, entry: WeightFile | None) -> bool:
    """Whether this is the published file: its hash, or its name where no hash was published."""
    if entry is None:
        return False
    return fingerprint(path).startswith(entry.sha256) if entry.sha256 else path.name == entry.file


def check_hash(path: Path, entry: WeightFile) -> None:
    """Raise WeightsError unless `path` has the published hash (if one was published)."""
    found = fingerprint(path) if entry.sha256 else ""
    if entry.sha256 and not found.startswith(entry.sha256):
        raise WeightsError(
            f"'{path}' is not the published {entry.title}: its SHA-256 starts with "
            f"{found[: len(entry.sha256)]}, published is {entry.sha256}. Remove it and "
            f"fetch it again{f' from {entry.url}' if entry.url else ''}; to use it all the same, "
            "give it another name and pass it with --weights."
        )


def download(entry: WeightFile, to: Path) -> Path:
    """Fetch `entry.url` to `to`, resuming an earlier attempt, and check the hash.

    What has arrived is kept as `<to>.part` when the line breaks, and continued by the next call;
    the file appears under its own name only when it is whole and right. Processes that want the
    same file wait for one another.
    Raises: WeightsError (no connection, a wrong file), DiskFull.
    """
    if entry.url is None or not entry.url.startswith(("http://", "https://")):
        raise WeightsError(f"{entry.title} has no http address to fetch. {_advice(entry)}")
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_name(to.name + ".part")
    with _alone(to.with_name(to.name + ".lock")):
        if to.is_file():  # another process fetched it while we waited
            check_hash(to, entry)
            return to
        resumed = part.exists() and part.stat().st_size > 0
        _fetch(entry, entry.url, part)
        try:
            check_hash(part, entry)
        except WeightsError as error:
            part.unlink()
            if not resumed:
                raise _wrong(entry) from error
            _fetch(entry, entry.url, part)  # the earlier piece was of something else
            _check_or_remove(part, entry)
        os.replace(part, to)
    return to


def _check_or_remove(part: Path, entry: WeightFile) -> None:
    try:
        check_hash(part, entry)
    except WeightsError as error:
        part.unlink()
        raise _wrong(entry) from error


def _wrong(entry: WeightFile) -> WeightsError:
    return WeightsError(
        f"{entry.url} sent a file that is not the published {entry.title}: its SHA-256 does not "
        f"start with {entry.sha256}. It was removed. A proxy or a login page may be in the way. "
        f"{_advice(entry)}"
    )


def _advice(entry: WeightFile) -> str:
    return (
        f"Put {entry.file} in a folder and set GANPRESS_WEIGHTS to that folder, or give the file "
        f"with --weights, or put it in {cache_dir()}."
    )


def _fetch(entry: WeightFile, url: str, part: Path) -> None:
    """Append to `part` until it is whole; a broken line is tried again while it makes progress."""
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _receive(entry, url, part):
                return
            reason = "the connection closed early"
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise WeightsError(
                    f"{entry.title}: {url} answered {error.code} {error.reason}. {_advice(entry)}"
                ) from error
            reason = f"{error.code} {error.reason}"
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise DiskFull(
                    f"No space left for {part}. Free some space and start again (what has "
                    "arrived is kept), or set XDG_CACHE_HOME to a folder with more."
                ) from error
            reason = str(error)
        except HTTPException as error:
            reason = f"{type(error).__name__} {error}"
        failures = 0 if part.exists() and part.stat().st_size > before else failures + 1
        if failures >= _TRIES:
            raise WeightsError(
                f"{entry.title}: cannot fetch {url} ({reason}). Check the connection and start "
                f"again (what has arrived is kept). {_advice(entry)}"
            )


def _receive(entry: WeightFile, url: str, part: Path) -> bool:
    """One request, from where `part` ends; True if the file is whole afterwards."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "ganpress", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        error.close()
        if error.headers.get("Content-Range", "").endswith(f"/{have}"):
            return True  # we had all of it
        part.unlink()  # longer than the file: of something else
        return False
    with answer:
        span = answer.headers.get("Content-Range", "")
        goes_on = answer.status == 206 and span.startswith(f"bytes {have}-")
        start = have if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        with part.open("ab" if goes_on else "wb") as file:
            _copy(answer, file, entry.file, start, total)
            file.flush()
            os.fsync(file.fileno())
    return total is None or part.stat().st_size == total


def _copy(source: IO[bytes], sink: IO[bytes], name: str, start: int, total: int | None) -> None:
    """Copy with a progress bar on standard error (a terminal only)."""
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(f"fetching {name}"), DownloadColumn(), TimeRemainingColumn())
    off = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=off) as progress:
        task = progress.add_task("", completed=start, total=total)
        while chunk := source.read(_CHUNK):
            sink.write(chunk)
            progress.advance(task, len(chunk))


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold a lock file, so that the ranks of one job do not write the same part (POSIX only)."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _environment_folder() -> Path | None:
    named = os.environ.get("GANPRESS_WEIGHTS")
    if not named:
        return None
    folder = Path(named)
    if not folder.is_dir():
        raise WeightsError(
            f"GANPRESS_WEIGHTS is '{named}', which is not a folder. Set it to a folder of weight "
            "files, or unset it."
        )
    return folder


def _search(folder: Path, name: str) -> Path | None:
    """The first file of that name below `folder`, in the order of paths."""
    return min((path for path in folder.rglob(name) if path.is_file()), default=None)


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []
