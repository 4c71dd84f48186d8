"""Before its first step a long run says how long it will take on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ganpress.errors import Diverged
from ganpress.methods import METHODS
from ganpress.methods.compress import sections_of
from ganpress.run.run import Run
from ganpress.run.settings import checked
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


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.replace("\u00a0", " ")


def test_the_forecast_adds_up_the_stages_and_minds_the_clock(
    capsys: pytest.CaptureFixture[str],
) -> None:
    known = {"joint": Timed(4, 0.5), "finetune": Timed(4, 1.0), "other": Timed(4, 9.0)}
    timed = {**known, "search": None}
    steps = {"joint": 240, "finetune": 6000}
    named = {name: [name] for name in steps}
    limits = {"joint": None, "finetune": 3.0}
    announce(steps, timed, minutes=limits, made_shorter=named)
    assert " ".join(told(capsys).split()) == (
        "about 5 min on this machine: joint 2 min (240 steps), finetune 3 min (at most 6,000 "
        "steps), and search besides. For less, lower joint.steps and finetune.minutes."
    )


def test_what_makes_a_run_shorter_is_what_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    timed = {"train": Timed(4, 1.0)}
    for minutes, named in ((None, "steps"), (100.0, "steps"), (1.0, "minutes")):
        limits = {"train": minutes}
        announce({"train": 600}, timed, minutes=limits, made_shorter={"train": [""]})
        assert told(capsys).strip().endswith(f"For less, lower {named}.")


def test_nothing_is_said_where_nothing_was_timed(capsys: pytest.CaptureFixture[str]) -> None:
    announce({"train": 500}, {}, minutes={}, made_shorter={"train": [""]})
    assert told(capsys) == ""


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_setting_that_the_forecast_names_is_there_and_makes_it_shorter(name: str) -> None:
    """Of every variant of every method, whatever its stages are called."""
    method = METHODS[name]
    base = checked(method.settings, {"target": {"macs": 0.5}})
    for variant in method.variants:
        settings = method.settings_of(variant, base)
        steps = method.stage_steps(settings)
        for stage, sections in sections_of(settings, steps).items():
            assert sections, (variant, stage)
            for section in sections:
                value = getattr(settings, section).steps
                change = {section: {"steps": value - 1}}
                fewer = checked(method.settings, merged(settings.model_dump(), change))
                assert method.stage_steps(fewer)[stage] <= steps[stage], (variant, stage, section)
            lowered = {section: {"steps": 2} for section in sections}
            fewer = checked(method.settings, merged(settings.model_dump(), lowered))
            assert method.stage_steps(fewer)[stage] < steps[stage], (variant, stage)


def merged(values: dict[str, Any], change: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return values | {name: values[name] | some for name, some in change.items()}
