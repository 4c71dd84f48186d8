"""Tiny trainings still end where they ended: `python -m tests.golden --write` writes them anew."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import golden
import pytest
import torch
from golden import RECIPES, TRACES, Trace

from ganpress.training.train import TRAINERS


@pytest.mark.parametrize("name", TRACES)
def test_a_tiny_training_takes_the_steps_that_it_took(name: str, tmp_path: Path) -> None:
    with golden.float64():
        trace = TRACES[name](tmp_path)
    golden.check(name, trace)


def test_every_recipe_has_a_trace() -> None:
    assert RECIPES.keys() == TRAINERS.keys()


def trace() -> Trace:
    weights = torch.linspace(-1, 1, 12).view(3, 4)
    return Trace({"loss/g": [2.0, -1.0, 1e-6]}, {"G": {"a.weight": weights, "a.bias": weights[0]}})


@pytest.mark.parametrize(
    ("path", "factor", "caught"),
    [
        (("log", "loss/g", 0), 1 + 2e-4, True),
        (("log", "loss/g", 0), 1 + 5e-5, False),
        (("log", "loss/g", 2), 5.0, False),  # nothing beside 2.0
        (("states", "G", "size"), 1 - 2e-4, True),
        (("states", "G", "entries", "a.weight"), -1.0, True),
        (("states", "G", "entries", "a.weight"), float("nan"), True),
    ],
)
def test_a_number_that_changed_by_more_than_a_ten_thousandth_is_found(
    path: tuple[Any, ...], factor: float, caught: bool
) -> None:
    wanted = golden.summary(trace())
    found = deepcopy(wanted)
    *way, last = path
    at: Any = found
    for key in way:
        at = at[key]
    at[last] *= factor
    assert len(golden.differences(found, wanted)) == caught


def test_a_step_or_a_network_that_is_gone_is_found() -> None:
    wanted = golden.summary(trace())
    short, bare = deepcopy(wanted), deepcopy(wanted)
    short["log"]["loss/g"].pop()
    bare["states"] = {}
    assert golden.differences(short, wanted)
    assert golden.differences(bare, wanted)


def test_the_command_writes_traces_and_hashes_of_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = torch.ones(2, 2)
    tiny = {"tiny": lambda _: Trace({"loss": [1.0]}, {"G": {"w": weights}})}
    monkeypatch.setattr(golden, "TRACES", tiny)
    monkeypatch.setattr(golden, "FOLDER", tmp_path)
    hashes = [tmp_path / "first", tmp_path / "second"]
    assert golden.main(["--write", "--bits", f"{hashes[0]}"]) == 0
    assert golden.main([]) == 0
    weights[0, 0] += 1e-6  # near enough for a trace, but other bits
    assert golden.main(["--bits", f"{hashes[1]}"]) == 0
    assert golden.main(["tiny"]) == 0
    assert json.loads(hashes[0].read_text()) != json.loads(hashes[1].read_text())
    weights += 1e-3
    assert golden.main([]) == 1
    assert "tiny\n  G: w: 1.001" in capsys.readouterr().out
