"""How a target compares channels of different groups, and zeroes the least important: on the host,
where the scales are fetched and whence they are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

from ganpress.channels.importance import importance_per_cost, ranks
from ganpress.methods.gan_slimming.proximal import HostScales, prune_step

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


def test_where_no_channel_saves_anything_all_are_alike() -> None:
    """A latency does not fall with every channel."""
    found = importance_per_cost(SIZES, lambda widths: 7.0, 1.0)
    scale = float(found["a"][0] / SIZES["a"][0])
    for group, sizes in SIZES.items():
        torch.testing.assert_close(found[group], sizes * scale)


def test_channels_to_prune_are_zeroed_and_the_others_keep_their_scales() -> None:
    scale = nn.Parameter(torch.tensor([-2.0, 0.5, 1.0, 3.0]))
    relative, told = {"g": scale.detach().abs()}, {"g": torch.tensor([True, True, False, False])}
    alive = prune_step({"g": [scale]}, relative, {"g": 1.0}, 0.0, floors={"g": 1}, to_prune=told)
    assert scale.tolist() == [0.0, 0.0, 1.0, 3.0]
    assert alive == {"g": 2}


def test_the_best_channels_are_not_zeroed_though_to_be_pruned() -> None:
    scale = nn.Parameter(torch.tensor([-2.0, 0.5, 1.0]))
    relative, told = {"g": scale.detach().abs()}, {"g": torch.ones(3, dtype=torch.bool)}
    alive = prune_step({"g": [scale]}, relative, {"g": 1.0}, 0.0, floors={"g": 2}, to_prune=told)
    assert alive == {"g": 2}
    assert scale.tolist() == [-2.0, 0.0, 1.0]


def test_each_group_has_a_floor_of_its_own() -> None:
    groups = {g: [nn.Parameter(torch.tensor([0.1, 0.3, 0.2]))] for g in "ab"}
    relative = {g: p.detach().clone() for g, [p] in groups.items()}
    units = dict.fromkeys("ab", 1.0)
    assert prune_step(groups, relative, units, 1.0, floors={"a": 2, "b": 0}) == {"a": 2, "b": 0}
    assert groups["a"][0].tolist() == pytest.approx([0.0, 0.3, 0.2])
    assert groups["b"][0].tolist() == [0.0, 0.0, 0.0]


def scales_of_two_groups() -> dict[str, list[nn.Parameter]]:
    """A group with one producer, and one with two, of which the second has a shape of its own."""
    of = {"one": [[1.0, -2.0, 3.0]], "two": [[4.0, 5.0], [6.0, -7.0]]}
    found = {g: [nn.Parameter(torch.tensor(v)) for v in vs] for g, vs in of.items()}
    found["two"][1] = nn.Parameter(found["two"][1].detach().view(1, 2, 1, 1))
    return found


def numbers(groups: Mapping[str, Sequence[Tensor]]) -> dict[str, list[list[float]]]:
    return {g: [p.detach().flatten().tolist() for p in ps] for g, ps in groups.items()}


def test_what_is_fetched_are_the_scales_of_each_producer_as_they_are_now() -> None:
    groups = scales_of_two_groups()
    host = HostScales(groups)
    assert numbers(host.fetch()) == numbers(groups)
    with torch.no_grad():
        groups["two"][0].mul_(10)
    found = host.fetch()
    assert numbers(found) == numbers(groups)
    assert all(t.shape == (len(t),) and not t.requires_grad for ts in found.values() for t in ts)


def test_what_is_stored_is_what_was_changed_in_place_and_not_before() -> None:
    groups = scales_of_two_groups()
    kept = {g: list(ps) for g, ps in groups.items()}
    host, before = HostScales(groups), numbers(groups)
    found = host.fetch()
    found["one"][0][1] = 0.0
    found["two"][1].mul_(-1)
    assert numbers(groups) == before
    host.store()
    assert numbers(groups) == {"one": [[1.0, 0.0, 3.0]], "two": [[4.0, 5.0], [-6.0, 7.0]]}
    assert groups["two"][1].shape == (1, 2, 1, 1)
    assert all(a is b for g in groups for a, b in zip(groups[g], kept[g], strict=True))
    host.fetch()
    host.store()
    assert numbers(groups) == {"one": [[1.0, 0.0, 3.0]], "two": [[4.0, 5.0], [-6.0, 7.0]]}
