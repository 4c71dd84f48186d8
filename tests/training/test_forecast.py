"""Before its first step a long run says how long it will take on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ganpress.errors import Diverged
from ganpress.run.run import Run
from ganpress.training import forecast
from ganpress.training.forecast import Timed, announce, timed_stages


def brief(run: Run) -> None:
    """A training of two stages, of which the second logs nothing."""
    for name in ("first", "silent"):
        stage = run.stage(name)
        for step in stage.steps(3):
            if name == "first":
                stage.log(step, loss=1.0)
        stage.finish()


def a_stage(folder: Path, seconds: float, times: list[float]) -> Path:
    """What a stage of four steps leaves."""
    folder.mkdir()
    (folder / "done.json").write_text(json.dumps({"steps": 4, "elapsed_s": seconds}))
    lines = [json.dumps({"step": step, "elapsed_s": at}) for step, at in enumerate(times)]
    (folder / "log.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def test_a_step_is_timed_without_the_first_one(tmp_path: Path) -> None:
    stage = a_stage(tmp_path / "logged", 9.0, [6.0, 6.5, 7.0, 8.1])
    assert forecast._timed(stage) == Timed(4, pytest.approx(0.7))
    assert forecast._timed(a_stage(tmp_path / "silent", 9.0, [])) == Timed(4, 2.25)
    assert forecast._timed(a_stage(tmp_path / "once", 9.0, [8.0])) == Timed(4, 2.25)


def test_every_stage_of_a_shortened_training_is_timed() -> None:
    found = timed_stages(brief, seed=0)
    assert {name: timed.steps for name, timed in found.items()} == {"first": 3, "silent": 3}
    assert all(0 <= timed.seconds < 60 for timed in found.values())


def test_nothing_is_left_of_a_timed_run_and_an_error_in_it_is_for_the_real_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fails(run: Run) -> None:
        brief(run)
        raise Diverged("of no use")

    assert set(timed_stages(fails, seed=0)) == {"first", "silent"}
    assert not list(tmp_path.iterdir())


def test_the_forecast_adds_up_the_stages_and_minds_the_clock(
    capsys: pytest.CaptureFixture[str],
) -> None:
    timed = {"joint": Timed(4, 0.5), "finetune": Timed(4, 1.0), "other": Timed(4, 9.0)}
    steps = {"joint": 240, "finetune": 6000}
    announce(steps, timed, minutes={"joint": None, "finetune": 3.0}, fewer="finetune.steps")
    said = capsys.readouterr().err.replace("\u00a0", " ")
    assert said.startswith("about 5 min on this machine: joint 2 min (240 steps), finetune 3 min")
    assert "lower finetune.steps" in said and "other" not in said


def test_nothing_is_said_where_nothing_was_timed(capsys: pytest.CaptureFixture[str]) -> None:
    announce({"train": 500}, {}, minutes={}, fewer="steps")
    assert capsys.readouterr().err == ""
