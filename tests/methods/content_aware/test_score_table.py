"""The scores by name: their settings, what a generator can have, two of them combined by rank."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from nets import WIRINGS, Wiring, every_family
from torch import Tensor

from ganpress.errors import ConfigError
from ganpress.methods.content_aware.score_settings import ScoreSettings
from ganpress.methods.content_aware.scores.drawn import Drawn, Sample, drawn_from
from ganpress.methods.content_aware.scores.names import MEANINGS
from ganpress.methods.content_aware.scores.table import (
    SCORES,
    combined,
    possible_scores,
    ranks,
    score_channels,
)
from ganpress.models.source import Source
from ganpress.run.settings import checked
from ganpress.types import Inputs, Scores

QUICK = {"latents": 100, "directions": 4, "noise": 0.3}


def settings(**given: Any) -> ScoreSettings:
    return checked(ScoreSettings, {**QUICK, **given})


def drawn(wiring: Wiring, seed: int = 0) -> Drawn:
    return Drawn(lambda: iter([Sample(wiring.inputs(2, 1))]), seed=seed)


def same(a: Scores, b: Scores) -> bool:
    assert a.keys() == b.keys() != set()
    return all(torch.equal(a[g], b[g]) for g in a)


def test_every_score_has_a_name_with_a_meaning() -> None:
    assert SCORES.keys() == MEANINGS.keys()


@every_family
def test_every_score_that_a_generator_can_have_is_a_number_for_each_channel(
    wiring: Wiring,
) -> None:
    model = wiring.model()
    latent = {"sngan", "stylegan2", "munit"}
    expected = set(SCORES)
    expected -= {"style"} if wiring.name != "stylegan2" else set()
    expected -= set() if wiring.name in latent else {"diversity", "diversity-detached"}
    assert set(possible_scores(model.net)) == expected
    names = possible_scores(model.net) if wiring.name != "gaugan" else ["content-aware", "l1-in"]
    for name in names:
        found = score_channels(model, drawn(wiring), settings(name=name))
        assert {g: len(s) for g, s in found.items()} == model.widths
        assert all(bool(s.isfinite().all()) and not bool((s < 0).any()) for s in found.values())
        silent = {g for g, s in found.items() if not s.any()}
        assert all(g.startswith("style") or g == "const" for g in silent)  # run by no forward pass


@pytest.mark.parametrize("name", ["content-aware", "diversity", "taylor", "random", "asv"])
def test_scores_are_a_function_of_the_seed(name: str) -> None:
    model = WIRINGS["stylegan2"].model()

    def scored(seed: int) -> Scores:
        given = drawn_from(Source(model, None), samples=3, batch=2, seed=seed)
        return score_channels(model, given, settings(name=name))

    assert same(scored(1), scored(1))
    assert not same(scored(1), scored(2))


def test_what_the_settings_say_reaches_the_score() -> None:
    wiring = WIRINGS["stylegan2"]
    model = wiring.model()

    def scored(**given: Any) -> Scores:
        return score_channels(model, drawn(wiring), settings(**given))

    plain, diverse = scored(), scored(name="diversity")
    assert not same(plain, scored(noise=0.2))
    assert not same(plain, scored(rgb="all"))
    assert not same(diverse, scored(name="diversity", shift=2.0))
    assert not same(diverse, scored(name="diversity", directions=5))
    assert not same(diverse, scored(name="diversity-detached"))
    assert not same(diverse, scored(name="diversity", latents=150))
    for name in ("diversity", "l1-out", "style", "taylor"):
        assert not same(scored(name=name), scored(name=name, rgb="all"))


def test_batches_are_taken_one_after_the_other() -> None:
    wiring = WIRINGS["sngan"]
    model, alive = wiring.model(), []

    def batches() -> Iterator[Sample]:
        for seed in range(3):
            alive.append(seed)
            yield Sample(wiring.inputs(1, seed))

    found = score_channels(model, Drawn(batches), settings(name="content-aware"))
    assert alive == [0, 1, 2]
    assert set(found) == set(model.widths)


def test_interest_changes_the_scores_of_the_noise_and_no_others() -> None:
    wiring = WIRINGS["stylegan2"]
    model = wiring.model()

    def left(_: Inputs, x: Tensor, __: Any) -> Tensor:
        columns = torch.arange(x.shape[3]) < x.shape[3] // 2
        return columns.float().expand(len(x), 1, x.shape[2], -1)

    masked = Drawn(lambda: iter([Sample(wiring.inputs(2, 1))]), left)
    for name in SCORES:
        whole = score_channels(model, drawn(wiring), settings(name=name))
        inside = score_channels(model, masked, settings(name=name))
        assert same(whole, inside) == (name not in ("content-aware", "taylor"))


# --- two scores -----------------------------------------------------------------------------------


def test_ranks_are_fractions_of_the_width_and_two_scores_add_by_them() -> None:
    first = {"a": torch.tensor([0.1, 300.0, 2.0, 2.0])}
    second = {"a": torch.tensor([4.0, 1.0, 2.0, 3.0])}
    assert ranks(first)["a"].tolist() == [0.25, 1.0, 0.5, 0.75]
    found = combined(first, second, 0.25)["a"]
    assert found.tolist() == pytest.approx([0.4375, 0.8125, 0.5, 0.75])


def test_a_second_score_is_combined_with_the_first() -> None:
    wiring = WIRINGS["stylegan2"]
    model = wiring.model()

    def scored(**given: Any) -> Scores:
        return score_channels(model, drawn(wiring), settings(**given))

    both = scored(name="content-aware", second="l1-out", second_weight=0.3)
    want = combined(scored(name="content-aware"), scored(name="l1-out"), 0.3)
    assert same(both, want)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["name", "second"])
def test_a_score_that_does_not_exist_is_refused_with_the_nearest(setting: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"score.{setting}=divrsity: .*did you mean 'diversity'.*Scores: content"
    ):
        settings(**{setting: "divrsity"})


def test_the_same_score_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"score\.second=taylor is score\.name, too"):
        settings(name="taylor", second="taylor")


@pytest.mark.parametrize(
    ("wiring", "given", "reason"),
    [
        ("sngan", {"name": "style"}, "score.name=style: a 'sngan'.*no style scales.*diversity"),
        ("cyclegan instance", {"name": "diversity"}, "reads no random vector.*have content-aware"),
        ("gaugan", {"second": "diversity-detached"}, "score.second=diversity-d.*random vector"),
    ],
)
def test_a_score_that_a_generator_cannot_have_is_refused_with_those_it_can(
    wiring: str, given: dict[str, Any], reason: str
) -> None:
    case = WIRINGS[wiring]
    with pytest.raises(ConfigError, match=reason) as told:
        score_channels(case.model(), drawn(case), settings(**given))
    able = str(told.value).rpartition("It can have ")[2].rstrip(".").split(", ")
    assert able == possible_scores(case.ghost)


@pytest.mark.parametrize(
    "given",
    [{"samples": 0}, {"batch": 0}, {"noise": 0.0}, {"noise": 1.5}, {"rgb": "first"}, {"shift": 0}],
)
def test_settings_out_of_range_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(given))):
        settings(**given)
