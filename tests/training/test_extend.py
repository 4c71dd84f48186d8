"""More steps for a finished training: from its last state, to the bit, and nothing but steps."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import golden
import pytest
import torch
from cli_runs import run_cli
from test_start import config, same
from thin import thinned

from ganpress.errors import ConfigError, Interrupted
from ganpress.models.checkpoint import Model, load
from ganpress.run.files import read_json
from ganpress.run.logs import read_log
from ganpress.run.run import Stage
from ganpress.training.train import train, trainer

ALL = sorted(golden.RECIPES)
STEADY = ("cartoongan", "munit", "stylegan2")
"""Recipes whose rates do not depend on the number of steps of the whole training."""

Learn = Callable[..., dict[str, Model]]


@pytest.fixture
def learn(tmp_path: Path) -> Learn:
    """Train a golden recipe in a folder of this name."""
    torch.set_num_threads(1)
    kept: dict[str, Any] = {}

    def go(name: str, folder: str, steps: int, *, extend: bool = False, **changes: Any) -> Any:
        if name not in kept:
            (tmp_path / name).mkdir()
            kept[name] = golden.data(trainer(name).needs, tmp_path / name)
        images, other = kept[name]
        settings = config(name, **{**changes, "steps": steps})
        return train(
            name, images, run=tmp_path / folder, config=settings, other=other, quiet=True,
            extend=extend,
        )  # fmt: skip

    return go


def equal(one: dict[str, Model], two: dict[str, Model]) -> bool:
    """Whether generators and discriminators are the same to the bit."""
    for way, model in one.items():
        judge, judged = model.discriminator, two[way].discriminator
        assert judge and judged
        if not (same(model.net, two[way].net) and same(judge.net, judged.net)):
            return False
    return one.keys() == two.keys()


@pytest.mark.parametrize("name", thinned(ALL, lambda name: name in ("cyclegan", "sngan")))
def test_added_steps_give_the_same_bits_with_a_stop_between_them_and_without(
    name: str, learn: Learn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    learn(name, "one", 2)
    whole = learn(name, "one", 4, extend=True)
    learn(name, "two", 2)
    with monkeypatch.context() as patch:
        log = Stage.log

        def stop(stage: Stage, step: int, /, **values: Any) -> None:
            log(stage, step, **values)
            if step == 2:
                os.kill(os.getpid(), signal.SIGTERM)

        patch.setattr(Stage, "log", stop)
        with pytest.raises(Interrupted):
            learn(name, "two", 4, extend=True)
    assert not (tmp_path / "two" / "done.json").exists()
    assert equal(learn(name, "two", 4, extend=name in STEADY), whole)  # the flag may go by then
    assert read_json(tmp_path / "two" / "train" / "done.json")["steps"] == 4
    if name in STEADY:
        assert equal(learn(name, "straight", 4), whole)


def test_added_steps_have_the_rates_of_a_training_of_the_new_length(
    learn: Learn, tmp_path: Path
) -> None:
    learn("pix2pix", "run", 12)
    learn("pix2pix", "run", 24, extend=True)
    rates = {
        line["step"]: line["lr"] for line in read_log(tmp_path / "run" / "train" / "log.jsonl")
    }
    # constant until half, then linear to 0: of 12 steps, and of 24
    assert rates[10] == pytest.approx(2e-4 * (1 - 10 / 12) / 0.5)
    assert rates[20] == pytest.approx(2e-4 * (1 - 20 / 24) / 0.5)
    straight = learn("pix2pix", "straight", 24)
    assert not equal(straight, learn("pix2pix", "run", 24))


def test_results_report_and_cards_are_of_the_longer_training(learn: Learn, tmp_path: Path) -> None:
    before = learn("sngan", "run", 2)
    report = (tmp_path / "run" / "report.html").read_text()
    after = learn("sngan", "run", 3, extend=True)
    assert not equal(before, after)
    assert equal(after, {"": load(tmp_path / "run" / "teacher.safetensors")})
    assert read_json(tmp_path / "run" / "results.json")["stages"][0]["steps"] == 3
    assert (tmp_path / "run" / "report.html").read_text() != report
    assert after[""].provenance["steps"] == 3
    steps = {"steps": {"from": 2, "to": 3}}
    assert after[""].provenance["extended"] == [steps]
    (entry,) = read_json(tmp_path / "run" / "card.json")["extended"]
    assert entry["steps"] == steps and entry["torch"] == torch.__version__
    learn("sngan", "run", 5, extend=True)
    assert len(read_json(tmp_path / "run" / "card.json")["extended"]) == 2


def test_a_finished_run_that_is_not_made_longer_is_given_back(
    learn: Learn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = learn("sngan", "run", 2)
    written = (tmp_path / "run" / "results.json").read_bytes()
    assert equal(learn("sngan", "run", 2, extend=True), before)
    assert (tmp_path / "run" / "results.json").read_bytes() == written


def test_an_extension_that_was_killed_as_it_began_goes_on(learn: Learn, tmp_path: Path) -> None:
    """Killed after the settings were written, before the marks of the end were taken back."""
    learn("sngan", "one", 2)
    whole = learn("sngan", "one", 3, extend=True)
    learn("sngan", "two", 2)
    file = tmp_path / "two" / "config.json"
    file.write_text(json.dumps({**read_json(file), "steps": 3}))
    assert equal(learn("sngan", "two", 3, extend=True), whole)


def frozen(root: Path) -> dict[str, bytes]:
    """Every file of a folder but the lock."""
    files = (p for p in root.rglob("*") if p.is_file() and p.name != "run.lock")
    return {str(p.relative_to(root)): p.read_bytes() for p in files}


def test_what_is_no_request_for_more_steps_is_refused_and_changes_nothing(
    learn: Learn, tmp_path: Path
) -> None:
    learn("sngan", "run", 2)
    before = frozen(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"may be raised: steps\. These differ:\n  ema: "):
        learn("sngan", "run", 3, extend=True, ema=0.5)
    with pytest.raises(ConfigError, match="steps: 2 in the run, 1 now"):
        learn("sngan", "run", 1, extend=True)
    with pytest.raises(ConfigError, match="another seed"):
        learn("sngan", "run", 3, extend=True, seed=5)
    with pytest.raises(ConfigError, match="asked for by --extend"):
        learn("sngan", "run", 3)
    with pytest.raises(ConfigError) as told:
        learn("sngan", "run", 1)
    assert "extend" not in str(told.value)
    assert frozen(tmp_path / "run") == before
    with pytest.raises(ConfigError, match=r"no run in .*none"):
        learn("sngan", "none", 3, extend=True)
    assert not (tmp_path / "none").exists()
    (tmp_path / "run" / "train" / "state.pt").unlink()
    with pytest.raises(ConfigError, match=r"state\.pt is missing"):
        learn("sngan", "run", 3, extend=True)


def test_a_run_that_has_not_finished_or_was_ended_by_its_minutes_is_not_extended(
    learn: Learn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    learn("sngan", "run", 2)
    (tmp_path / "run" / "done.json").unlink()
    with pytest.raises(ConfigError, match=r"has not finished.*\(steps=2\) first"):
        learn("sngan", "run", 3, extend=True)
    learn("sngan", "short", 50, minutes=1e-6)
    with pytest.raises(ConfigError, match="ended by its minutes, after 1 of 50 steps"):
        learn("sngan", "short", 60, minutes=1e-6, extend=True)


def test_the_command_extends(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    golden.data("", tmp_path)
    sets = {
        **{"options.bottom_width": 4, "options.latent_dim": 8, "width": 0.02, "batch": 8},
        **{"d_steps": 2, "g_batch": 6, "discriminator.width": 4, "data.workers": 0},
    }
    base = ["train", "sngan", "--images", tmp_path / "pack.npz", "--run", tmp_path / "run"]
    base += [part for name, value in sets.items() for part in ("--set", f"{name}={value}")]
    assert run_cli(capsys, *base, "--set", "steps=2").code == 0
    told = run_cli(capsys, *base, "--set", "steps=3")
    assert told.code == 2 and "--extend" in told.err
    told = run_cli(capsys, *base, "--set", "steps=3", "--extend")
    assert told.code == 0, told.err
    assert load(tmp_path / "run" / "teacher.safetensors").provenance["steps"] == 3
