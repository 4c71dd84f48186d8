"""Files that one process at a time holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ganpress.errors import ConfigError
from ganpress.run.files import raise_if_full

if TYPE_CHECKING:
    from filelock import BaseFileLock


class Lock:
    """A file that one process at a time holds: while this object lives, and no longer than it does.

    The system forgets the lock of a process that dies, and forked data workers do not inherit it.
    Within a process it may be taken again. Where the file system has no locks, there is none.

    Raises: ConfigError naming the process that holds it, or if the file may not be written;
        DiskFull.
    """

    def __init__(self, path: Path) -> None:
        from filelock import FileLock, Timeout

        self._lock = FileLock(
            path,
            is_singleton=True,  # what makes it reentrant
            thread_local=False,
            fallback_to_soft=False,  # a file whose existence is the lock outlives a killed process
            on_acquired=_write_process,
        )
        try:
            _acquire(self._lock, path, blocking=False)
        except Timeout as error:
            raise ConfigError(
                f"{path.parent} is in use by process {_read_process(path)}. "
                "Wait for it or stop it, or choose another folder."
            ) from error


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait for a lock file and hold it, so that no two processes or threads are in the block.

    Where the file system has no locks, nobody waits. Raises: ConfigError if the file may not be
    written; DiskFull.
    """
    from filelock import FileLock

    lock = FileLock(path, fallback_to_soft=False)
    _acquire(lock, path, blocking=True)
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: BaseFileLock, path: Path, *, blocking: bool) -> None:
    """Take the lock; without an error, but unlocked, where the file system has no locks."""
    try:
        lock.acquire(blocking=blocking)
    except TimeoutError:  # an OSError, too
        raise
    except OSError as error:
        raise_if_full(error, path)
        if error.filename is not None:  # opening names its file; the call that locks does not
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}. Choose another folder."
            ) from error


def _write_process(handle: int) -> None:
    os.ftruncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())


def _read_process(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") or "unknown"
    except OSError:  # Windows lets nobody else read what is locked
        return "unknown"
