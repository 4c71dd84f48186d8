"""A storage that is none, goes away and comes back, or stays away."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from search_landscapes import name_of, separable, small_search

from ganpress.errors import ConfigError, Interrupted, SearchFailed
from ganpress.methods.once_for_all.search import storage
from ganpress.methods.once_for_all.search.storage import Storage

Widths = Mapping[str, int]


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "FIRST_PAUSE_S", 0.01)


@pytest.fixture
def away(tmp_path: Path, short_pauses: None) -> Iterator[Callable[[], None]]:
    """Takes the SQLite file away."""
    yield lambda: shutil.move(tmp_path / "study.db", tmp_path / "away.db") and None


def test_a_storage_that_goes_away_is_waited_for(
    tmp_path: Path,
    away: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = small_search(tmp_path / "whole", separable)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 4:
            shutil.move(tmp_path / "away.db", tmp_path / "study.db")

    monkeypatch.setattr(storage.time, "sleep", sleep)
    count = iter(range(20))

    def evaluate(widths: Widths) -> dict[str, float]:
        if next(count) == 5:
            away()
        return separable(widths)

    assert small_search(tmp_path, evaluate, quiet=False) == whole
    assert pauses == [0.01, 0.02, 0.04, 0.08]
    said = capsys.readouterr().err
    assert "study.db does not answer" in said and "is back" in said


def test_a_storage_that_stays_away_is_an_error_and_nothing_is_lost(
    tmp_path: Path, away: Callable[[], None]
) -> None:
    count = iter(range(20))

    def evaluate(widths: Widths) -> dict[str, float]:
        if next(count) == 5:
            away()
        return separable(widths)

    with pytest.raises(SearchFailed, match=r"did not come back within .* is kept"):
        small_search(tmp_path, evaluate, storage_wait_minutes=0.001)
    shutil.move(tmp_path / "away.db", tmp_path / "study.db")
    seen: list[str] = []
    found = small_search(tmp_path, lambda w: (seen.append(name_of(w)), separable(w))[1])
    assert found == small_search(tmp_path / "whole", separable)
    assert len(seen) == 10 - 6  # the sixth was scored before, and not written


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        ("study.db", ConfigError, "is no URL of a database"),
        ("sqlite:////no/such/folder/study.db", ConfigError, "There is no folder /no/such/folder"),
        ("nosuch://host/name", ConfigError, "No database of this kind"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", SearchFailed, r"me:\*\*\*@127.0.0.1"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_refused(
    url: str, error: type[Exception], said: str, short_pauses: None
) -> None:
    with pytest.raises(error, match=said):
        Storage(url, wait_s=0.0, say=lambda _: None)


def test_a_signal_ends_the_wait_and_nothing_is_lost(
    tmp_path: Path, away: Callable[[], None]
) -> None:
    count = iter(range(20))

    def evaluate(widths: Widths) -> dict[str, float]:
        if next(count) == 2:
            away()
            os.kill(os.getpid(), signal.SIGTERM)
        return separable(widths)

    with pytest.raises(Interrupted, match="stopped while the storage"):
        small_search(tmp_path, evaluate)
    shutil.move(tmp_path / "away.db", tmp_path / "study.db")
    seen: list[str] = []
    found = small_search(tmp_path, lambda w: (seen.append(name_of(w)), separable(w))[1])
    assert len(found.rows) == 10 and len(seen) == 10 - 3


def test_what_was_kept_of_another_search_is_not_used(
    tmp_path: Path, away: Callable[[], None]
) -> None:
    count = iter(range(20))

    def evaluate(widths: Widths) -> dict[str, float]:
        if next(count) == 1:
            away()
        return {"fid": 0.0}

    with pytest.raises(SearchFailed):
        small_search(tmp_path, evaluate, storage_wait_minutes=0.0001)
    found = small_search(tmp_path, separable, identity={"model": "two"}, evaluations=3)
    assert len(found.rows) == 3
    assert all(row.quality == separable(row.widths)["fid"] for row in found.rows)
