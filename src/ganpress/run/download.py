"""Fetch one file over http: resumed, tried again, checked, whole or not there."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO

from ganpress.errors import ConfigError, DiskFull, GanpressError
from ganpress.run.files import make_folder, raise_if_full
from ganpress.run.locks import alone

_CHUNK = 1 << 20
_TRIES = 4  # answers in a row that bring nothing; answers that begin the file anew, in all
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Wanted:
    """A file on a server.

    title: for people. wrong: says what is wrong with a file on disk, or "". advice: what to do
    where it cannot be fetched. error: what is then raised.
    """

    title: str
    url: str
    wrong: Callable[[Path], str]
    advice: str
    error: type[GanpressError]


@dataclass
class _Tries:
    """failures: answers in a row that brought nothing. restarts: answers, of all, that began the
    file anew though a piece of it was there."""

    failures: int = 0
    restarts: int = 0

    @property
    def are_spent(self) -> bool:
        return max(self.failures, self.restarts) >= _TRIES


def download(wanted: Wanted, to: Path) -> Path:
    """Fetch a file to `to`, resuming an earlier attempt, and check it.

    What has arrived is kept as `<to>.part` when the line breaks, and continued by the next call;
    the file appears under its own name only when it is whole and right. Processes that want the
    same file wait for one another.
    Raises: `wanted.error` (no connection, a wrong file, a folder that cannot be written), DiskFull.
    """
    if not wanted.url.startswith(("http://", "https://")):
        raise wanted.error(f"{wanted.title} has no http address to fetch. {wanted.advice}")
    with ExitStack() as stack:
        try:
            make_folder(to.parent)
            stack.enter_context(alone(to.with_name(to.name + ".lock")))
        except ConfigError as error:
            raise wanted.error(f"{wanted.title}: {error} {wanted.advice}") from error
        _bring(wanted, to)
    return to


def _bring(wanted: Wanted, to: Path) -> None:
    """What `download` does while no other process does it."""
    if to.is_file():  # fetched by another process while we waited, or put there by hand
        if reason := wanted.wrong(to):
            raise wanted.error(
                f"'{to}' is not the published {wanted.title}: {reason}. Remove it and start "
                f"again. {wanted.advice}"
            )
        return
    part = to.with_name(to.name + ".part")
    resumed = part.exists() and part.stat().st_size > 0
    _fetch(wanted, part)
    if resumed and wanted.wrong(part):
        part.unlink()  # the earlier piece was of something else
        _fetch(wanted, part)
    if reason := wanted.wrong(part):
        part.unlink()
        raise wanted.error(
            f"{wanted.url} sent a file that is not the published {wanted.title}: {reason}. It "
            f"was removed. A proxy or a login page may be in the way. {wanted.advice}"
        )
    os.replace(part, to)


def _fetch(wanted: Wanted, part: Path) -> None:
    """Append to `part` until it is whole; a broken line is tried again while it makes progress.

    What a server brings by beginning anew is no progress: it would break off again for ever.
    """
    tries = _Tries()
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _receive(wanted.url, part, tries):
                return
            reason = "the connection closed early"
        except urllib.error.HTTPError as error:
            error.close()  # it is the open connection, too
            if error.code < 500:
                raise wanted.error(
                    f"{wanted.title}: {wanted.url} answered {error.code} {error.reason}. "
                    f"{wanted.advice}"
                ) from error
            reason = f"{error.code} {error.reason}"
        except OSError as error:
            try:
                raise_if_full(error, part)
            except DiskFull as full:
                raise DiskFull(f"{full} What has arrived is kept.") from error
            reason = str(error)
        except HTTPException as error:
            reason = f"{type(error).__name__} {error}"
        grew = part.exists() and part.stat().st_size > before
        tries.failures = 0 if grew else tries.failures + 1
        if tries.restarts >= _TRIES:
            reason += f"; the server began the file anew {tries.restarts} times"
        if tries.are_spent:
            raise wanted.error(
                f"{wanted.title}: cannot fetch {wanted.url} ({reason}). Check the connection and "
                f"start again (what has arrived is kept). {wanted.advice}"
            )


def _receive(url: str, part: Path, tries: _Tries) -> bool:
    """One request, from where `part` ends; True if the file is whole afterwards."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "ganpress", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()  # it is the server's answer, and holds the connection; its code stays known
        if error.code != 416:
            raise
        if error.headers.get("Content-Range", "").endswith(f"/{have}"):
            return True  # we had all of it
        part.unlink()  # longer than the file: of something else
        tries.restarts += 1
        return False
    with answer:
        span = answer.headers.get("Content-Range", "")
        goes_on = answer.status == 206 and span.startswith(f"bytes {have}-")
        start = have if goes_on else 0
        tries.restarts += int(have > 0 and not goes_on)
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        with part.open("ab" if goes_on else "wb") as file:
            _copy(answer, file, part.stem, start, total)
            file.flush()
            os.fsync(file.fileno())
    return total is None or part.stat().st_size == total


def _copy(source: IO[bytes], sink: IO[bytes], name: str, start: int, total: int | None) -> None:
    """Copy with a progress bar on standard error (a terminal only)."""
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    what = TextColumn("{task.description}", markup=False)  # a name may have braces and brackets
    columns = (what, DownloadColumn(), TimeRemainingColumn())
    off = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=off) as progress:
        task = progress.add_task(f"fetching {name}", completed=start, total=total)
        while chunk := source.read(_CHUNK):
            sink.write(chunk)
            progress.advance(task, len(chunk))
