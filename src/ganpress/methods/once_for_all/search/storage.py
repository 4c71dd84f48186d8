"""The storage that the workers of a search share: opened once by all, and waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ganpress.errors import ConfigError, Interrupted, MissingExtra, SearchFailed, require
from ganpress.run.locks import alone

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

T = TypeVar("T")
Say = Callable[[str], None]

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
OPENINGS = 5
"""Tries to open a storage; two workers that make its tables at one moment need the second."""


def default_url(folder: Path) -> str:
    """The SQLite file of a stage's folder."""
    return f"sqlite:///{folder.resolve() / 'study.db'}"


class Storage:
    """An Optuna storage whose every call waits for one that is gone to come back.

    Args:
        url: of any database that Optuna can use.
        wait_s: how long a call waits at most, seconds.
        say: called when it waits, and when it goes on.
    Raises: MissingExtra; ConfigError for a URL that is none; SearchFailed where nothing answers.
    """

    def __init__(self, url: str, *, wait_s: float, say: Say) -> None:
        self._engine_url = _parsed(url)
        self.name = self._engine_url.render_as_string(hide_password=True)
        self._wait_s, self._say = wait_s, say
        self.signal: Callable[[], int] = lambda: 0
        """The signal that wants this process to stop, 0 for none: it is not waited any longer."""
        self.outages = 0
        """How often the storage was gone."""
        self._file = _sqlite_file(self._engine_url)
        self._storage = self._open(url)

    def _open(self, url: str) -> BaseStorage:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        for attempt in range(OPENINGS):
            try:
                if self._file is None:
                    return _connected(url, self._file)
                with alone(self._file.with_name(self._file.name + ".lock")):
                    return _connected(url, self._file)
            except ImportError as error:
                raise MissingExtra(
                    f"The storage {self.name} needs a driver that is not installed ({error}). For "
                    "PostgreSQL: pip install 'psycopg[binary]'."
                ) from error
            except _failures() as error:
                if attempt + 1 == OPENINGS:
                    raise SearchFailed(
                        f"The storage {self.name} cannot be opened: {_reason(error)}. Start its "
                        "server, or correct search.storage."
                    ) from error
                time.sleep(FIRST_PAUSE_S)
        raise AssertionError("not reached")

    def __call__(self, act: Callable[[Any], T]) -> T:
        """``act`` of the Optuna storage; again, after growing pauses, while the storage is gone.

        Raises: SearchFailed after ``wait_s`` seconds; Interrupted where a signal came meanwhile.
        """
        began, pause, gone = time.monotonic(), FIRST_PAUSE_S, False
        while True:
            try:
                if self._file is not None and not self._file.exists():
                    raise FileNotFoundError(f"there is no file {self._file}")
                result = act(self._storage)
            except _failures() as error:
                waited = time.monotonic() - began
                if waited >= self._wait_s:
                    raise SearchFailed(
                        f"The storage {self.name} did not come back within {waited:.0f} s: "
                        f"{_reason(error)}. What was scored is kept: bring it back and run the "
                        "same command again."
                    ) from error
                if number := self.signal():
                    raise Interrupted(
                        f"The search was stopped while the storage {self.name} was gone; what was "
                        "scored is kept. Run the same command again to go on from it.",
                        exit_code=128 + number,
                    ) from error
                if not gone:
                    self._say(
                        f"The storage {self.name} does not answer ({_reason(error)}); waiting up "
                        f"to {self._wait_s:.0f} s for it."
                    )
                gone = True
                time.sleep(min(pause, max(0.01, self._wait_s - waited)))
                pause = min(2 * pause, LONGEST_PAUSE_S)
                continue
            if gone:
                self.outages += 1
                self._say(f"The storage {self.name} is back.")
            return result

    def try_once(self, act: Callable[[Any], object]) -> bool:
        """``act`` of the Optuna storage; false, and nothing done, where it is gone."""
        try:
            if self._file is not None and not self._file.exists():
                return False
            act(self._storage)
        except _failures():
            return False
        return True

    def close(self) -> None:
        """Let go of every connection."""
        self.try_once(lambda storage: storage.remove_session())
        engine = getattr(getattr(self._storage, "_backend", None), "engine", None)
        if engine is not None:
            engine.dispose()


def _parsed(url: str) -> Any:
    require("The search", "optuna")
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url)
    except ArgumentError as error:
        raise ConfigError(
            f"search.storage is '{url}', which is no URL of a database: write it as "
            "sqlite:////folder/study.db or postgresql://user@host/name."
        ) from error


def _sqlite_file(url: Any) -> Path | None:
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    file = Path(url.database)
    if not file.parent.is_dir():
        raise ConfigError(f"There is no folder {file.parent} for the storage {file}: make it.")
    return file


def _connected(url: str, file: Path | None) -> BaseStorage:
    """The storage, its tables made. Connections to SQLite are not kept: a file that is put back in
    its place is then the one that is read."""
    from optuna.storages import RDBStorage, _CachedStorage
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    from sqlalchemy.pool import NullPool

    engine: dict[str, Any] = {"pool_pre_ping": True}
    if file is not None:
        engine = {"poolclass": NullPool, "connect_args": {"timeout": 60}}
    try:
        return _CachedStorage(RDBStorage(url, engine_kwargs=engine))
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(
            f"No database of this kind can hold a search: {error}. Use sqlite:///... or "
            "postgresql://user@host/name."
        ) from error


def _failures() -> tuple[type[Exception], ...]:
    """What a storage that is gone raises."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    return (StorageInternalError, SQLAlchemyError, OSError)


def _reason(error: BaseException) -> str:
    """The first line of what the database said."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
