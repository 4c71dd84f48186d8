"""Who scores a width set, and whether they still live: by a lock on one machine, else by beats."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any


class Owner:
    """This worker, as others can see it: a lock file that the system frees when the process ends.

    The file is in the machine's folder for temporary files, which has locks where a network file
    system may have none.
    """

    def __init__(self) -> None:
        from filelock import FileLock

        self.host = socket.gethostname()
        path = Path(tempfile.gettempdir()) / f"ganpress-search-{uuid.uuid4().hex}.lock"
        self._lock = FileLock(path, fallback_to_soft=False)
        self._lock.acquire()
        self.card = {"host": self.host, "lock": str(path)}
        """What is written beside a width set: JSON values."""

    def ended(self, card: Mapping[str, Any]) -> bool:
        """Whether the worker of this card has certainly ended; false where that cannot be known
        from here."""
        from filelock import FileLock, Timeout

        if card.get("host") != self.host or card.get("lock") == self.card["lock"]:
            return False
        path = Path(str(card.get("lock")))
        if not path.exists():
            return False
        lock = FileLock(path, fallback_to_soft=False)
        try:
            lock.acquire(blocking=False)
        except (Timeout, OSError):
            return False
        lock.release()
        return True

    def close(self, *, forget: bool) -> None:
        """Free the lock.

        Args: forget: remove its file, too: nobody will ask whether this worker has ended.
        """
        self._lock.release()
        path = Path(self.card["lock"])
        if forget:
            path.unlink(missing_ok=True)
        else:
            path.touch()


class Beats:
    """When each worker's count of beats was last seen to grow, by the clock of this process alone:
    clocks of two machines are never compared."""

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._seen: dict[int, tuple[int, float]] = {}

    def silent(self, trial: int, beat: int) -> bool:
        """Whether the trial's count has stood still for too long."""
        now = time.monotonic()
        known, since = self._seen.get(trial, (-1, now))
        if known != beat:
            self._seen[trial] = (beat, now)
            return False
        return now - since > self._silence_s

    def forget(self) -> None:
        """Count anew: while the storage was gone, nobody could beat."""
        self._seen.clear()


class Beating:
    """Within, ``beat`` is called with 1, 2, ... every so many seconds, by a thread."""

    def __init__(self, beat: Callable[[int], None], every_s: float) -> None:
        self._beat, self._every_s = beat, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: object, error: object, traceback: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        count = 0
        while not self._stop.wait(self._every_s):
            count += 1
            self._beat(count)
