"""How a target compares channels of different groups, and zeroes the least important."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import nn

from ganpress.methods.gan_slimming.importance import importance_per_cost, ranks
from ganpress.methods.gan_slimming.proximal import prune_step

SIZES = {"a": torch.tensor([0.5, 0.0, 2.0, 1.0]), "b": torch.tensor([1.001, 1.002])}


def three_to_one(widths: Mapping[str, int]) -> float:
    """A channel of 'a' costs three times one of 'b'."""
    return 3.0 * widths["a"] + widths["b"]


def test_a_rank_is_the_share_of_the_group_up_to_the_channel_and_zero_for_a_dead_one() -> None:
    found = ranks(SIZES)
    assert found["a"].tolist() == [0.5, 0.0, 1.0, 0.75]
    assert found["b"].tolist() == [0.5, 1.0]


def test_with_power_zero_the_cost_says_nothing() -> None:
    assert importance_per_cost(SIZES, three_to_one, 0.0) is SIZES


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_importance_is_divided_by_the_cost_in_units_of_its_mean(power: float) -> None:
    found = importance_per_cost(SIZES, three_to_one, power)
    torch.testing.assert_close(found["a"], SIZES["a"] / 1.5**power)
    torch.testing.assert_close(found["b"], SIZES["b"] / 0.5**power)


def test_doomed_channels_are_zeroed_and_the_others_keep_their_scales() -> None:
    scale = nn.Parameter(torch.tensor([-2.0, 0.5, 1.0, 3.0]))
    relative, doomed = {"g": scale.detach().abs()}, {"g": torch.tensor([True, True, False, False])}
    alive = prune_step({"g": [scale]}, relative, {"g": 1.0}, 0.0, min_channels=1, doomed=doomed)
    assert scale.tolist() == [0.0, 0.0, 1.0, 3.0]
    assert alive == {"g": 2}


def test_the_best_channels_are_not_zeroed_though_doomed() -> None:
    scale = nn.Parameter(torch.tensor([-2.0, 0.5, 1.0]))
    relative, doomed = {"g": scale.detach().abs()}, {"g": torch.ones(3, dtype=torch.bool)}
    assert prune_step({"g": [scale]}, relative, {"g": 1.0}, 0.0, min_channels=2, doomed=doomed) == {
        "g": 2
    }
    assert scale.tolist() == [-2.0, 0.0, 1.0]
