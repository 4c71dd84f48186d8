"""Channels that go in rounds: how much in each, what is trained between, stopped runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cagc_runs import press, settings
from family_runs import write_domains
from nets import WIRINGS, Wiring, every_quick_family
from ofa_runs import given_for, log_of
from safetensors.torch import load_file

from ganpress.channels.recalibrate import batch_norms
from ganpress.measures.cost import cost_ratio
from ganpress.methods.content_aware import pruning
from ganpress.methods.content_aware.retrain import retrain
from ganpress.methods.content_aware.rounds import Round, amount, rounds_of, share_of
from ganpress.models.checkpoint import load
from ganpress.models.source import Source
from ganpress.quantisation.quantise import quantiser_of

METHOD = "ganpress.methods.content_aware.method"
THREE = {"rounds": 3, "steps": 5}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_domains(tmp_path_factory.mktemp("rounds"))


def fact(run: Path, stage: str, name: str) -> Any:
    return json.loads((run / stage / "done.json").read_text())[name]


# --- how much, and how long -----------------------------------------------------------------------


def test_rounds_divide_the_way_into_equal_ratios_of_the_cost() -> None:
    c = settings(cut={"ratio": None}, target={"macs": 0.064}, narrow={"rounds": 3})
    found = [amount(c, part)[1].chosen for part in rounds_of(c)]
    assert [name for name, _ in found] == ["macs"] * 3
    assert [value for _, value in found] == pytest.approx([0.4, 0.16, 0.064])
    # 8-bit weights are a quarter of the bytes before anything is cut
    c = settings(cut={"ratio": None}, target={"bytes": 0.04}, narrow={"rounds": 2})
    found = [amount(c, part, 0.25)[1].chosen for part in rounds_of(c)]
    assert [value for _, value in found] == pytest.approx([0.1, 0.04])
    # a target above where the way begins is kept
    found = [amount(c, part, 0.03)[1].chosen for part in rounds_of(c)]
    assert [value for _, value in found] == pytest.approx([0.04, 0.04])


def test_milliseconds_are_divided_in_their_own_unit() -> None:
    target = {"latency_ms": 1.0, "teacher_ms": 16.0, "precision": "fp32"}
    c = settings(cut={"ratio": None}, target=target, narrow={"rounds": 4})
    first, second, _, last = (amount(c, part)[1] for part in rounds_of(c))
    assert [first.latency_ms, second.latency_ms, last.latency_ms] == pytest.approx([8.0, 4.0, 1.0])
    assert first.chosen == ("latency_ms", pytest.approx(0.5))


def test_rounds_divide_a_ratio_by_what_is_left_of_the_channels() -> None:
    c = settings(cut={"ratio": 0.75}, narrow={"rounds": 2})
    assert [amount(c, part)[0].ratio for part in rounds_of(c)] == pytest.approx([0.5, 0.75])
    assert amount(c, Round(1, 2)) == (c.cut, c.target)


def test_trainings_between_cuts_share_their_steps_and_minutes_and_the_last_has_its_own() -> None:
    c = settings(
        narrow={"rounds": 4, "steps": 10, "minutes": 1.5},
        finetune={"steps": 7, "minutes": 2.5, "decay": 0.3},
    )
    shares = [share_of(c, part) for part in rounds_of(c)]
    assert [(s.first, s.end) for s in shares] == [(0, 3), (3, 6), (6, 10), (10, 17)]
    assert [s.minutes for s in shares] == pytest.approx([0.5, 0.5, 0.5, 2.5])
    assert [s.decay for s in shares] == [0, 0, 0, 0.3]
    c = settings(finetune={"steps": 7})
    [once] = [share_of(c, part) for part in rounds_of(c)]
    assert (once.first, once.end, once.minutes) == (0, 7, None)


def test_stages_are_numbered_but_for_the_last() -> None:
    names = [
        [(part.named("cut"), part.training) for part in rounds_of(settings(narrow={"rounds": n}))]
        for n in (1, 2, 3)
    ]
    last = ("cut", "finetune")
    assert names == [
        [last], [("cut-1", "narrow"), last], [("cut-1", "narrow-1"), ("cut-2", "narrow-2"), last],
    ]  # fmt: skip


# --- from teacher to student ----------------------------------------------------------------------


@every_quick_family
def test_every_family_goes_in_rounds_to_the_widths_of_one_cut(
    wiring: Wiring, home: Path, tmp_path: Path
) -> None:
    name = next(n for n, w in WIRINGS.items() if w is wiring)
    given = given_for(name, home)
    config = settings(data={"size": wiring.pixels}, narrow={"rounds": 2, "steps": 2})
    student = press(given, config, tmp_path)
    have = given.teacher.widths
    first = {g: w - int(w * (1 - 0.5**0.5)) for g, w in have.items()}
    assert fact(tmp_path, "cut-1", "widths") == first
    halves = {g: w - w // 2 for g, w in have.items()}
    assert student.widths == halves == fact(tmp_path, "cut", "widths")
    kept = [load_file(tmp_path / s / "scores.safetensors") for s in ("score-1", "score")]
    assert [{g: len(s) for g, s in scores.items()} for scores in kept] == [have, first]
    assert load(tmp_path / "narrow" / "student.safetensors").widths == first
    assert len(log_of(tmp_path, "narrow")) == 2 == len(log_of(tmp_path, "finetune"))


@pytest.mark.parametrize("scope", ["layer", "network"])
def test_each_round_is_cut_to_its_cost_by_scores_of_what_the_one_before_has_trained(
    scope: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, seen = given_for("stylegan2", home), []
    real = pruning.score_channels

    def score(model: Any, drawn: Any, s: Any) -> Any:
        seen.append({n: t.clone() for n, t in model.net.state_dict().items()})
        return real(model, drawn, s)

    monkeypatch.setattr(pruning, "score_channels", score)
    changes = {"cut": {"ratio": None, "scope": scope}, "target": {"macs": 0.3}, "narrow": THREE}
    student = press(given, settings(**changes), tmp_path)
    of = cost_ratio("macs", given.teacher.net, given.teacher.net, given.teacher.size)
    costs = [fact(tmp_path, stage, "cost") for stage in ("cut-1", "cut-2", "cut")]
    assert all(c <= 0.3 ** (n / 3) for n, c in enumerate(costs, 1))
    assert costs[0] > 0.3 ** (2 / 3) and costs[1] > 0.3 and of(student.widths) == costs[2]
    whole = given.teacher.net.state_dict()
    assert all(torch.equal(t, whole[n]) for n, t in seen[0].items())
    for n, scored in enumerate(seen[1:], 1):
        kept = load(tmp_path / f"narrow-{n}" / "student.safetensors").net.state_dict()
        assert all(torch.equal(t, kept[name]) for name, t in scored.items())


def test_the_discriminator_goes_on_from_round_to_round(home: Path, tmp_path: Path) -> None:
    given = given_for("stylegan2", home)
    press(given, settings(narrow={"rounds": 2, "steps": 1}, finetune={"steps": 1}), tmp_path)
    kept = torch.load(tmp_path / "narrow" / "discriminator.pt", weights_only=True)
    last = torch.load(tmp_path / "finetune" / "state.pt", weights_only=True)["of"]["discriminator"]
    own = given.teacher.discriminator
    assert own is not None
    [name] = [n for n in kept if n.endswith("final.1.weight") or n.endswith("out.weight")][:1]
    moved = (last[name] - kept[name]).abs().max()
    lr = settings().discriminator.lr or 2e-3
    assert 0 < moved < 3 * lr  # one step of Adam's


def test_only_the_last_round_is_validated_and_lets_its_rates_fall(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, Any, float, int]] = []

    def watched(stage: Any, *given: Any, **named: Any) -> Any:
        what = stage.root.name, named["validate"], named["decay"], named["budget"].steps
        seen.append(what)
        return retrain(stage, *given, **named)

    monkeypatch.setattr(f"{METHOD}.retrain", watched)
    best = {"select": "best", "holdout_images": 1, "validate_every": 1, "decay": 0.5, "steps": 4}
    press(given_for("stylegan2", home), settings(narrow=THREE, finetune=best), tmp_path)
    assert [(name, v is not None, d, n) for name, v, d, n in seen] == [
        ("narrow-1", False, 0.0, 2), ("narrow-2", False, 0.0, 3), ("finetune", True, 0.5, 4),
    ]  # fmt: skip
    rates = [line["lr"] for line in log_of(tmp_path, "narrow-2")]
    assert len(set(rates)) == 1
    ends = [line["lr"] for line in log_of(tmp_path, "finetune")]
    assert ends[-1] < ends[0] == rates[0]


def test_batches_go_on_where_the_round_before_ended(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, batches = [], Source.batches

    def watched(self: Source, crops: Any, first: int, end: int, **named: Any) -> Any:
        if named.get("shared"):
            asked.append((first, end))
        return batches(self, crops, first, end, **named)

    monkeypatch.setattr(Source, "batches", watched)
    press(given_for("cyclegan instance", home), settings(narrow=THREE), tmp_path)
    assert asked == [(0, 2), (2, 5), (5, 7)]


def test_the_way_to_bytes_begins_at_what_eight_bits_leave(home: Path, tmp_path: Path) -> None:
    given = given_for("sngan", home)
    config = settings(
        cut={"ratio": None}, target={"bytes": 0.2}, quantise={"bits": 8},
        narrow={"rounds": 2, "steps": 1},
    )  # fmt: skip
    press(given, config, tmp_path)
    whole = pruning.cost_of(given.teacher, config)(given.teacher.widths)
    assert 0.2 < whole < 0.5
    first = fact(tmp_path, "cut-1", "cost")
    assert 0.2 < first <= (0.2 * whole) ** 0.5


def test_quantisers_come_after_the_last_cut(home: Path, tmp_path: Path) -> None:
    config = settings(narrow={"rounds": 2, "steps": 1}, quantise={"bits": 8})
    student = press(given_for("sngan", home), config, tmp_path)
    between = load(tmp_path / "narrow" / "student.safetensors")
    assert quantiser_of(between.net) is None and quantiser_of(student.net) is not None


def test_batch_norms_are_read_anew_after_each_round(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganpress.training.setup.CALIBRATED", 4)
    monkeypatch.setattr("ganpress.training.setup.CALIBRATED_AT_ONCE", 4)
    given = given_for("cyclegan batch", home)
    press(given, settings(narrow={"rounds": 2, "steps": 2}), tmp_path)
    kept = load(tmp_path / "narrow" / "student.safetensors")
    norm, seen = batch_norms(kept.net)[0], []
    norm.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    kept(*Source(given.teacher, given.images).sample(4, 32))
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, seen[0].mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


# --- stopped runs ---------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("name", ["stylegan2", "cyclegan batch"])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6])
def test_a_run_killed_in_any_round_ends_as_if_it_had_never_been(
    at: int, name: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at the beginning of each training, and at its end before it is known to have ended."""
    given = given_for(name, home)
    config = settings(narrow=THREE, data={"batch": 4}, discriminator={"pool": 2},
                      finetune={"steps": 3, "ema": 0.9, "decay": 0.5})  # fmt: skip
    whole = press(given, config, tmp_path / "whole")
    calls = 0

    def killed(*given_: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 2
        if calls - 1 == at:
            raise Killed
        found = retrain(*given_, **named)
        if calls == at:
            raise Killed
        return found

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(f"{METHOD}.retrain", killed)
        press(given, config, tmp_path / "run", save_every_s=0.0)
    again = press(given, config, tmp_path / "run", save_every_s=0.0)
    a, b = whole.net.state_dict(), again.net.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)
