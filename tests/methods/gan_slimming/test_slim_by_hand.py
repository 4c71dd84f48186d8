"""GAN Slimming's parts against numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from nets import WIRINGS, photos
from torch import Tensor, nn

from ganpress.channels.importance import importance_per_cost, ranks
from ganpress.channels.take import scales
from ganpress.losses.distance import Distance, DistanceSettings
from ganpress.losses.terms import (
    content,
    gram,
    group_soft_threshold,
    path_lengths,
    r1,
    style,
    unit_distance,
)
from ganpress.methods.gan_slimming.extract import cut, first_scales
from ganpress.methods.gan_slimming.goal import Goal
from ganpress.methods.gan_slimming.joint import Pruning, rate_factors
from ganpress.methods.gan_slimming.proximal import collapsed, prune_step
from ganpress.methods.gan_slimming.settings import SlimConfig
from ganpress.models.checkpoint import Model
from ganpress.run.settings import checked

ROOT_HALF = math.sqrt(0.5)


def row(*values: float) -> Tensor:
    """One picture of one row: (1, 1, 1, n)."""
    return torch.tensor(values).view(1, 1, 1, -1)


# --- terms of the distance -----------------------------------------------------------------------

A = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])  # two channels on two places
B = torch.tensor([[[[1.0, 0.0]], [[1.0, 0.0]]]])


def test_a_gram_matrix_by_hand() -> None:
    """[[1+4, 3], [3, 9]] over 2 channels x 2 places."""
    assert gram(A).tolist() == [[[1.25, 0.75], [0.75, 2.25]]]


def test_the_gradient_of_a_gram_matrix_is_that_of_its_definition() -> None:
    """Under weights that are not symmetric, as those of a loss on Gram matrices always are."""
    maps = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    weights = torch.arange(18.0, dtype=torch.float64).view(2, 3, 3)
    slow = torch.einsum("nihw,njhw->nij", maps, maps) / (3 * 2 * 2)
    [wanted] = torch.autograd.grad((weights * slow).sum(), maps)
    [found] = torch.autograd.grad((weights * gram(maps)).sum(), maps)
    assert torch.allclose(found, wanted)


def test_content_and_style_by_hand() -> None:
    """Grams differ by [[1, 1/2], [1/2, 2]], whose squares have the mean 5.5 / 4."""
    assert float(content(A, B)) == (0 + 2 + 2 + 0) / 4
    assert float(style({"a": A, "b": A}, {"a": B, "b": B})) == pytest.approx(2 * 5.5 / 4)


def test_the_unit_distance_by_hand() -> None:
    """Directions (1, 0) and (0, 1) are sqrt(2) apart, (1, 1) and (3, 3) not at all: mean 1."""
    a = torch.tensor([[[[2.0, 1.0]], [[0.0, 1.0]]]])
    b = torch.tensor([[[[0.0, 3.0]], [[5.0, 3.0]]]])
    assert unit_distance({"": a}, {"": b}).tolist() == pytest.approx([1.0])
    assert unit_distance({"p": a, "q": a}, {"p": b, "q": b}).tolist() == pytest.approx([2.0])


class FakeFeatures(nn.Module):
    """Two taps with known maps: the picture's red channel, then ten times red and green."""

    taps = ("first", "second")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"first": x[:, :1], "second": 10 * x[:, :2]}


def hand_made(**weights: float) -> Distance:
    found = Distance(checked(DistanceSettings, {"features": "tiny", "content": 0, **weights}))
    found.features = FakeFeatures()
    return found


STUDENT = torch.tensor([[[[0.5]], [[0.0]], [[1.0]]]])  # one pixel: red 1/2, blue 1
TEACHER = torch.tensor([[[[0.25]], [[0.25]], [[0.0]]]])


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [
        ({"content": 4.0, "style": 0.0}, 4 * 0.25),  # |1/2 - 1/4| of the first tap alone
        # grams 1/4 and 1/16; [[25, 0], [0, 0]] / 2 and 6.25 [[1, 1], [1, 1]] / 2
        ({"style": 1.0}, 0.1875**2 + (9.375**2 + 3 * 3.125**2) / 4),
        # one channel: the same direction; then (1, 0) and (1, 1) / sqrt(2)
        ({"style": 0.0, "unit": 3.0}, 3 * (0 + (1 - ROOT_HALF) ** 2 + 0.5)),
        ({"style": 0.0, "pixel": 2.0}, 2 * (0.25 + 0.25 + 1) / 3),
    ],
    ids=["content", "style", "unit", "pixel"],
)
def test_a_term_of_the_distance_by_hand(weights: dict[str, float], wanted: float) -> None:
    assert float(hand_made(**weights)(STUDENT, TEACHER)) == pytest.approx(wanted)


def test_the_distance_is_the_weighted_sum_of_its_terms() -> None:
    each = [{"content": 4.0, "style": 0.0}, {"style": 2.0}, {"style": 0.0, "unit": 3.0}]
    terms = [float(hand_made(**weights)(STUDENT, TEACHER)) for weights in each]
    together = hand_made(content=4.0, style=2.0, unit=3.0)(STUDENT, TEACHER)
    assert float(together) == pytest.approx(sum(terms))


def test_the_squared_error_ignores_features() -> None:
    mse = Distance(DistanceSettings(kind="mse"))
    assert mse.features is None
    assert float(mse(STUDENT, TEACHER)) == pytest.approx((0.0625 + 0.0625 + 1) / 3)


def test_only_the_first_tap_is_computed_where_only_content_is_asked_for() -> None:
    found = Distance(DistanceSettings(features="tiny", content=1.0, style=0.0))
    assert found.features is not None and found.features.taps == ("relu1",)


# --- regularisers --------------------------------------------------------------------------------


def test_r1_by_hand() -> None:
    """D(x) = 3 x1 + 4 x2 has the squared slope 25 for each picture; D(x) = x^2 at 1 and 2, 4 and
    16."""
    x = torch.tensor([[1.0, 2.0], [5.0, 6.0]]).view(2, 1, 1, 2).requires_grad_()
    assert float(r1((x * row(3, 4)).sum((1, 2, 3)), x)) == 25
    y = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).requires_grad_()
    assert float(r1(y.square().sum((1, 2, 3)), y).detach()) == 10


def test_path_lengths_by_hand() -> None:
    """Four pixels, each the sum of w, under noise 2 / sqrt(4): the slope is 4 for each of w's
    numbers: sqrt(2 x 16), halved within the root by a second layer that is not read."""
    w = torch.ones(1, 2, 2, requires_grad=True)
    images = w[:, :1].sum(2).view(1, 1, 1, 1).expand(1, 1, 2, 2)
    assert path_lengths(images, w, torch.full((1, 1, 2, 2), 2.0)).tolist() == pytest.approx([4.0])


# --- the proximal step ---------------------------------------------------------------------------


def test_two_producers_are_shrunk_along_their_common_vector() -> None:
    """(3, 4) is 5 long and loses sqrt(2): both times 1 - sqrt(2) / 5."""
    a, b = group_soft_threshold([torch.tensor([3.0, 0.6]), torch.tensor([-4.0, 0.8])], 1.0)
    left = 1 - math.sqrt(2) / 5
    assert a.tolist() == pytest.approx([3 * left, 0])
    assert b.tolist() == pytest.approx([-4 * left, 0])


def test_the_amount_is_in_units_of_the_groups_first_scales() -> None:
    """0.1 of a group whose scales began at 10 is 1; of one that began at 2 it is 0.2."""
    large, small = (nn.Parameter(torch.tensor(v)) for v in ([10.0, 0.9, -3.0], [-2.0, 0.3, 0.1]))
    relative = {"l": large.detach().abs() / 10, "s": small.detach().abs() / 2}
    units, floors = {"l": 10.0, "s": 2.0}, {"l": 1, "s": 1}
    alive = prune_step({"l": [large], "s": [small]}, relative, units, 0.1, floors=floors)
    assert large.tolist() == pytest.approx([9.0, 0.0, -2.0])
    assert small.tolist() == pytest.approx([-1.8, 0.1, 0.0])
    assert alive == {"l": 2, "s": 2}


def test_the_best_channels_keep_their_whole_scale_under_a_large_amount() -> None:
    scale = nn.Parameter(torch.tensor([0.2, -0.5, 0.4, 0.1]))
    relative = {"g": scale.detach().abs()}
    assert prune_step({"g": [scale]}, relative, {"g": 1.0}, 0.7, floors={"g": 2}) == {"g": 2}
    assert scale.tolist() == pytest.approx([0.0, -0.5, 0.4, 0.0])


def test_a_channel_lives_while_one_of_its_producers_does() -> None:
    a, b = (nn.Parameter(torch.tensor(v)) for v in ([0.0, 1.0, 0.0], [2.0, 0.0, 0.0]))
    relative = {"g": (a.detach().square() / 2 + b.detach().square() / 2).sqrt()}
    assert prune_step({"g": [a, b]}, relative, {"g": 1.0}, 0.0, floors={"g": 1}) == {"g": 2}


def test_a_collapse_is_all_groups_at_their_minimum_though_they_were_wider() -> None:
    wide = {"a": torch.ones(4), "b": torch.ones(2)}
    assert collapsed({"a": 2, "b": 2}, wide, {"a": 2, "b": 2})
    assert not collapsed({"a": 3, "b": 2}, wide, {"a": 2, "b": 2})
    assert not collapsed({"a": 4, "b": 2}, wide, {"a": 4, "b": 4})
    assert collapsed({"a": 3, "b": 0}, wide, {"a": 3, "b": 0})  # each group has its own
    assert not collapsed({"a": 3, "b": 1}, wide, {"a": 3, "b": 0})


# --- what a cost asks for ------------------------------------------------------------------------


def test_the_cost_falls_geometrically_until_the_ramp_ends() -> None:
    goal = Goal(lambda widths: 1.0, start=0.8, end=0.05, ramp_fraction=0.5)
    found = [goal.at(progress) for progress in (0.0, 0.125, 0.25, 0.5, 1.0)]
    assert found == pytest.approx([0.8, 0.4, 0.2, 0.05, 0.05])


@pytest.mark.parametrize(
    ("schedule", "progress", "wanted"),
    [
        ("cosine", 0.0, (1.0, 1.0, 1.0)),
        ("cosine", 1 / 3, (0.75, 0.75, 0.75)),
        ("cosine", 2 / 3, (0.25, 0.25, 0.25)),
        ("linear", 1 / 3, (1.0, 0.75, 1.0)),
        ("linear", 2 / 3, (2 / 3, 0.25, 2 / 3)),
        ("linear", 0.9, (0.2, 0.5 - 0.5 * math.cos(0.1 * math.pi), 0.2)),
        ("constant", 2 / 3, (1.0, 1.0, 1.0)),
    ],
)
def test_the_rates_of_weights_scales_and_discriminator(
    schedule: str, progress: float, wanted: tuple[float, float, float]
) -> None:
    assert rate_factors(schedule, progress) == pytest.approx(wanted)


def test_ranks_count_dead_channels_and_leave_them_at_zero() -> None:
    found = ranks({"g": torch.tensor([0.3, 0.0, 0.1, 0.0, 7.0])})
    assert found["g"].tolist() == pytest.approx([0.8, 0.0, 0.6, 0.0, 1.0])


def test_importance_per_cost_by_hand() -> None:
    """Products: 3 alive x 2 alive = 6. One channel of a saves 2, one of b saves 3: mean 2.5."""

    def product(widths: Mapping[str, int]) -> float:
        return float(widths["a"] * widths["b"])

    sizes = {"a": torch.tensor([1.0, 2.0, 3.0, 0.0]), "b": torch.tensor([1.0, 2.0])}
    full, square = (
        importance_per_cost(sizes, product, 1.0),
        importance_per_cost(sizes, product, 2.0),
    )
    assert full["a"].tolist() == pytest.approx([1.25, 2.5, 3.75, 0.0])
    assert full["b"].tolist() == pytest.approx([2.5 / 3, 5 / 3])
    assert square["b"].tolist() == pytest.approx([(2.5 / 3) ** 2, 2 * (2.5 / 3) ** 2])


def test_a_group_that_costs_nothing_has_a_price_that_is_not_zero() -> None:
    sizes = {"a": torch.ones(2), "b": torch.ones(2)}
    found = importance_per_cost(sizes, lambda widths: float(widths["a"]), 1.0)
    assert found["b"].tolist() == pytest.approx([1000.0, 1000.0])


# --- the last cut --------------------------------------------------------------------------------


def last_cut(
    large: float, kept: int, *, relative: bool = True, dear: int = 1, **how: Any
) -> tuple[Tensor, Tensor]:
    """The scales that the last cut leaves of two groups, one of which is ``large`` times the other
    in all; a made-up cost asks for so many channels of both, of which those of the second cost
    ``dear`` times as much. ``how``: of the settings ``sparsify``."""
    student = WIRINGS["cyclegan affine"].model()
    found = scales(student.net)
    with torch.no_grad():
        for scale in (s for ss in found.values() for s in ss):
            scale.fill_(1.0)
        found["stem"][0].copy_(large * torch.tensor([0.9, 0.2, 0.8, 0.3, 0.7]))
        found["up1"][0].copy_(torch.linspace(0.10, 0.65, 17))
    units = {"stem": large, "up1": 1.0}
    others = {g: n for g, n in student.widths.items() if g not in units}
    total = 5 + 17 * dear

    def cost(widths: Mapping[str, int]) -> float:
        assert all(widths[g] == n for g, n in others.items())
        return (widths["stem"] + dear * widths["up1"]) / total

    config = checked(SlimConfig, {"min_channels": 1, "sparsify": {"ranking": "magnitude", **how}})
    pruning = Pruning(
        dict.fromkeys(student.widths, config.min_channels),
        goal=Goal(cost, start=1.0, end=kept / total, ramp_fraction=1.0),
        references=units if relative else {},
        frozen=tuple(others),
    )
    small: Model = cut(student, (photos(1),), config, pruning, to_budget=True)
    left = scales(small.net)
    return left["stem"][0].detach(), left["up1"][0].detach()


@pytest.mark.parametrize("large", [100.0, 1.0, 0.01])
def test_the_last_cut_compares_scales_in_units_of_each_groups_first(large: float) -> None:
    """Of 0.9, 0.2, 0.8, 0.3, 0.7 and 0.10 ... 0.65 the best eight are 0.9, 0.8, 0.7 and 0.65 ...
    0.51, whatever the unit of the first five."""
    stem, up1 = last_cut(large, 8)
    assert stem.tolist() == pytest.approx([0.9 * large, 0.8 * large, 0.7 * large])
    assert up1.tolist() == pytest.approx(torch.linspace(0.10, 0.65, 17)[12:].tolist())


def test_without_references_the_last_cut_compares_scales_as_they_are() -> None:
    stem, up1 = last_cut(100.0, 8, relative=False)
    assert (len(stem), len(up1)) == (5, 3)
    stem, up1 = last_cut(0.01, 8, relative=False)
    assert (len(stem), len(up1)) == (1, 7)


def test_the_last_cut_ranks_channels_as_the_loop_does() -> None:
    """By rank 1, 0.8 of the five and 1, 16/17 ... 12/17 of the seventeen are the best eight; where
    the latter cost three times as much, by root: 1, 0.8, 0.6 over 0.71, and 1, 16/17 over 1.22."""
    stem, up1 = last_cut(100.0, 8, relative=False, ranking="rank")
    assert stem.tolist() == pytest.approx([90.0, 80.0]) and len(up1) == 6
    stem, up1 = last_cut(100.0, 10, relative=False, ranking="rank", dear=3, cost_exponent=0.5)
    assert stem.tolist() == pytest.approx([90.0, 80.0, 70.0]) and len(up1) == 2


def test_the_unit_of_a_group_is_the_mean_size_over_channels_of_its_producers() -> None:
    net = WIRINGS["cyclegan affine"].net()
    found = scales(net)
    with torch.no_grad():
        for k, scale in enumerate(found["trunk"]):
            scale.copy_(torch.tensor([3.0] + [0.0] * 10) if k == 0 else torch.zeros(11))
        found["block1"][0].copy_(torch.tensor([-1.0, 2.0, 3.0]))
    units = first_scales(net)
    assert units["block1"] == pytest.approx(2.0)
    assert units["trunk"] == pytest.approx(3 / math.sqrt(len(found["trunk"])) / 11)
