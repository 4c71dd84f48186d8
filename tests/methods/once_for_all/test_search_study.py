"""The loop: results, refusals, failures, kills, and workers that share a study."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from patience import PATIENCE_S
from search_landscapes import BUDGET, SMALL, cost, name_of, separable, small_search

from ganpress.errors import ConfigError, InfeasibleTarget, Interrupted, SearchFailed
from ganpress.methods.once_for_all.search import ledger, study
from ganpress.methods.once_for_all.search.found import Row, pareto, read_trials
from ganpress.methods.once_for_all.search.storage import Storage, default_url

Widths = Mapping[str, int]
WORKER = Path(__file__).parents[2] / "search_landscapes.py"


class Killed(BaseException):
    """What stands for a kill: nothing in the search may catch it and go on."""


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), str(folder), *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def ended(worker: subprocess.Popen[str]) -> str:
    said = worker.communicate(timeout=PATIENCE_S)[1]
    assert worker.returncode == 0, said
    return said


def test_a_search_finds_the_best_set_and_writes_every_row(tmp_path: Path) -> None:
    seen: list[str] = []

    def evaluate(widths: Widths) -> dict[str, float]:
        seen.append(name_of(widths))
        return {**separable(widths), "seconds": 2.0}

    told: list[tuple[int, int | None, Mapping[str, float]]] = []
    found = small_search(tmp_path, evaluate, progress=lambda *now: told.append(now))
    assert [row.name for row in found.rows] == seen and len(set(seen)) == 10
    assert found.figures["fid"] == min(row.quality or 9 for row in found.rows)
    assert found.widths == SMALL.widths(found.choice) and found.cost == cost(found.widths)
    assert all(row.cost["macs"] <= BUDGET["macs"] and row.within for row in found.rows)
    assert [done for done, _, _ in told] == list(range(1, 11)) and told[0][1] == 10
    assert told[-1][2] == found.figures
    assert read_trials(tmp_path) == found.rows
    assert json.loads((tmp_path / "trials.json").read_text())["best"] == found.name
    again = small_search(tmp_path, lambda _: pytest.fail("nothing is scored twice"))
    assert again == found


def test_the_front_of_the_rows_is_what_none_beats_in_quality_and_cost() -> None:
    made = [("a", 3, 9.0), ("b", 2, 5.0), ("c", 4, 5.0), ("d", 1, 6.0), ("e", 9, 1.0)]
    rows = [Row(name, {}, {"macs": cost}, quality) for name, cost, quality in made]
    rows.append(Row("f", {}, {"macs": 0}, None))
    assert [row.name for row in pareto(rows, "macs")] == ["d", "b", "e"]
    assert [row.name for row in pareto(rows, "macs", maximise=True)] == ["d", "a"]


def test_quality_against_a_cost_searches_the_whole_front(tmp_path: Path) -> None:
    found = small_search(tmp_path, separable, objective="params", evaluations=20, budget={})
    costs = [row.cost["params"] for row in found.front]
    qualities = [row.quality for row in found.front]
    assert costs == sorted(costs) and qualities == sorted(qualities, reverse=True, key=float)
    assert len(found.front) > 3 and all(row.front for row in found.front)


def test_what_is_to_be_large_is_made_large(tmp_path: Path) -> None:
    found = small_search(
        tmp_path, lambda w: {"miou": -separable(w)["fid"]}, quality="miou", maximise=True
    )
    assert found.figures["miou"] == max(row.quality or -99 for row in found.rows)
    small = small_search(tmp_path / "small", separable)
    assert [row.name for row in found.rows] == [row.name for row in small.rows]


def test_another_budget_uses_what_was_scored(tmp_path: Path) -> None:
    first = small_search(tmp_path, separable)
    known = {row.name for row in first.rows}
    seen: list[str] = []

    def evaluate(widths: Widths) -> dict[str, float]:
        seen.append(name_of(widths))
        return separable(widths)

    second = small_search(tmp_path, evaluate, budget={"macs": 80.0}, evaluations=6)
    assert not known & set(seen) and known < {row.name for row in second.rows}
    assert second.cost["macs"] <= 80 and sum(row.within for row in second.rows) == 6


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"macs": 47.9}, r"allows 47.9 macs, .* 16_8_8_8_8, costs 48 macs. Allow at least that"),
        ({"macs": 47.9, "params": 500.0}, "47.9 macs and 500 params, .* 48 macs and 2048 params"),
        ({"macs": 99.0, "params": 500.0}, "allows 500 params"),
    ],
)
def test_a_budget_below_the_smallest_set_is_refused_with_what_can_be_reached(
    tmp_path: Path, budget: dict[str, float], said: str
) -> None:
    with pytest.raises(InfeasibleTarget, match=said):
        small_search(tmp_path, lambda _: pytest.fail("scored"), budget=budget)
    enough = {name: cost(SMALL.widths(SMALL.smallest))[name] for name in budget}
    assert small_search(tmp_path, separable, budget=enough).name == "16_8_8_8_8"


def test_an_unknown_cost_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no cost 'mac' \(did you mean 'macs'\?\)"):
        small_search(tmp_path, separable, budget={"mac": 9.0})
    with pytest.raises(ConfigError, match="no cost 'bytes'"):
        small_search(tmp_path, separable, objective="bytes")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"identity": {"model": "two"}}, "its model differs from this"),
        ({"quality": "other"}, "its quality differs"),
        ({"objective": "macs"}, "its objective differs"),
    ],
)
def test_a_study_of_another_search_is_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    small_search(tmp_path, separable, evaluations=1)
    with pytest.raises(ConfigError, match=f"{said}.* search.study=once-for-all-2"):
        small_search(tmp_path, separable, **change)
    if "objective" not in change and "quality" not in change:
        small_search(tmp_path, separable, evaluations=1, study="once-for-all-2", **change)


def test_a_set_that_cannot_be_scored_fails_and_the_search_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = 0

    def evaluate(widths: Widths) -> dict[str, float]:
        nonlocal count
        count += 1
        if count == 2:
            return {"fid": float("nan")}
        if count == 3:
            raise RuntimeError("the picture is black")
        return {"fidd": 1.0} if count == 4 else separable(widths)

    found = small_search(tmp_path, evaluate, quiet=False)
    said = capsys.readouterr().err
    errors = [row.error for row in found.rows if row.error]
    assert errors[:2] == ["fid is nan", "RuntimeError: the picture is black"]
    assert "no 'fid' (did you mean 'fidd'?)" in errors[2]
    assert len(found.rows) == count == 10 and said.count("cannot be scored") == 3
    assert "RuntimeError: the picture is black" in said and found.figures["fid"] >= 1


def test_a_search_of_which_nothing_can_be_scored_says_why_and_can_be_mended(
    tmp_path: Path,
) -> None:
    tried: list[str] = []

    def broken(widths: Widths) -> dict[str, float]:
        tried.append(name_of(widths))
        raise OSError("no such folder")

    with pytest.raises(SearchFailed, match=r"None of 10 width sets .* OSError: no such folder"):
        small_search(tmp_path, broken)
    assert len(tried) == 10
    found = small_search(tmp_path, separable)
    assert {row.name for row in found.rows} == set(tried)
    assert all(row.quality is not None for row in found.rows)


def killed_after(sets: int) -> Callable[[Widths], dict[str, float]]:
    left = iter(range(sets))

    def evaluate(widths: Widths) -> dict[str, float]:
        if next(left, None) is None:
            raise Killed
        return separable(widths)

    return evaluate


def test_a_search_that_is_killed_ten_times_ends_as_one_that_was_not(tmp_path: Path) -> None:
    # Seconds: each of the twelve searches opens the database.
    whole = small_search(tmp_path / "whole", separable, evaluations=12)
    rng = Random(5)
    for _ in range(10):
        with pytest.raises(Killed):
            evaluate = killed_after(rng.randrange(2))
            small_search(tmp_path / "killed", evaluate, evaluations=12)
    found = small_search(tmp_path / "killed", separable, evaluations=12)
    assert found == whole


def test_a_worker_that_is_killed_for_real_loses_no_set_and_none_is_there_twice(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    worker = start(tmp_path, "", 8, 0, log, 3)
    while not log.exists() or len(log.read_text().splitlines()) <= 3:
        assert worker.poll() is None, worker.communicate()[1]
        time.sleep(0.05)
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    scored = [line.split()[1] for line in log.read_text().splitlines()]
    seen: list[str] = []
    found = small_search(
        tmp_path, lambda w: (seen.append(name_of(w)), separable(w))[1], evaluations=8
    )
    assert found == small_search(tmp_path / "whole", separable, evaluations=8)
    assert seen[0] == scored[3] and len(seen) == 5  # three were scored, the fourth was lost


def test_two_workers_that_start_at_one_moment_share_one_study(tmp_path: Path) -> None:
    log = tmp_path / "log"
    workers = [start(tmp_path, "", 14, 0.05, log, "") for _ in range(2)]
    assert not any(ended(worker) for worker in workers)
    lines = [line.split() for line in log.read_text().splitlines()]
    found = small_search(tmp_path, lambda _: pytest.fail("all is scored"), evaluations=14)
    assert sorted(row.name for row in found.rows) == sorted(name for _, name in lines)
    assert len({name for _, name in lines}) == 14 and len({pid for pid, _ in lines}) == 2


def test_a_set_that_another_worker_took_up_meanwhile_is_left_to_it(tmp_path: Path) -> None:
    def worker() -> ledger.Ledger:
        shared = Storage(default_url(tmp_path), wait_s=1.0, say=lambda _: None)
        return ledger.Ledger(shared, "study", SMALL, ["minimize"], {})

    with closing(worker()) as one, closing(worker()) as two:
        trial = one.take_up(SMALL.smallest, {})
        assert trial is not None and two.take_up(SMALL.smallest, {}) is None
        assert one.score(trial, {"fid": 1.0}, [1.0])
        assert two.take_up(SMALL.smallest, {}) is None
        assert [c.state for c in two.candidates().values()] == ["scored"]


def test_a_set_past_the_last_is_given_up_where_another_worker_took_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_search(tmp_path, separable, evaluations=2)
    usual = study.propose

    def late(*arguments: Any) -> Any:
        monkeypatch.setattr(study, "propose", usual)
        small_search(tmp_path, separable, evaluations=3)
        return SMALL.smallest

    monkeypatch.setattr(study, "propose", late)
    found = small_search(tmp_path, lambda _: pytest.fail("a fourth"), evaluations=3)
    assert len(found.rows) == 3 and "16_8_8_8_8" not in {row.name for row in found.rows}


def test_a_silent_worker_of_another_machine_is_replaced_and_its_late_result_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ledger, "SILENCE_S", 0.2)
    monkeypatch.setattr(ledger, "BEAT_S", 600.0)
    monkeypatch.setattr(ledger.Owner, "ended", lambda self, card: False)  # as from elsewhere
    scoring, may_go_on = threading.Event(), threading.Event()

    def slow(widths: Widths) -> dict[str, float]:
        scoring.set()
        may_go_on.wait(PATIENCE_S)
        return {"fid": 0.0}

    how: dict[str, Any] = {"evaluations": 4, "quiet": False}
    results: list[Any] = []
    worker = threading.Thread(target=lambda: results.append(small_search(tmp_path, slow, **how)))
    worker.start()
    assert scoring.wait(PATIENCE_S)
    found = small_search(tmp_path, separable, **how)
    may_go_on.set()
    worker.join(PATIENCE_S)
    assert len(found.rows) == 4 and results == [found]
    assert all(row.quality != 0.0 for row in found.rows)
    assert "taken up by another worker" in capsys.readouterr().err


def test_a_worker_that_gives_signs_of_life_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "SILENCE_S", 1.0)
    monkeypatch.setattr(ledger, "BEAT_S", 0.05)
    monkeypatch.setattr(ledger.Owner, "ended", lambda self, card: False)
    scoring = threading.Event()

    def slow(widths: Widths) -> dict[str, float]:
        if not scoring.is_set():
            scoring.set()
            time.sleep(3)
            return {"fid": 0.25}
        return separable(widths)

    worker = threading.Thread(target=lambda: small_search(tmp_path, slow, evaluations=3))
    worker.start()
    assert scoring.wait(PATIENCE_S)
    found = small_search(tmp_path, separable, evaluations=3)
    worker.join(PATIENCE_S)
    assert [row.quality for row in found.rows].count(0.25) == 1 and len(found.rows) == 3


def interrupting(at: int) -> Callable[[Widths], dict[str, float]]:
    left = iter(range(at))

    def evaluate(widths: Widths) -> dict[str, float]:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGTERM)
        return separable(widths)

    return evaluate


def test_a_signal_stops_it_after_the_set_that_is_scored(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="Run the same command again") as raised:
        small_search(tmp_path, interrupting(4))
    assert raised.value.exit_code == 128 + signal.SIGTERM
    left = iter(range(10))
    found = small_search(tmp_path, lambda w: {**separable(w), "left": next(left)})
    assert found.rows[5].figures["left"] == 0 and len(found.rows) == 10


def test_brute_force_of_a_space_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "BRUTE_FORCE_AT_MOST", 500)
    with pytest.raises(ConfigError, match=r"768 width sets, too many .* search.kind=evolution"):
        small_search(tmp_path, separable, kind="brute-force")
