"""Distances of student and teacher inside the mask."""

from __future__ import annotations

import pytest
import torch
from mask_files import mask_left
from torch.nn.functional import normalize

from ganpress.losses.features import load_features
from ganpress.losses.terms import unit_distance
from ganpress.measures.interest.distances import masked_pairwise, masked_unit_distance

DRAW = torch.Generator().manual_seed(0)
A, B = (torch.rand(2, 3, 32, 32, generator=DRAW) * 2 - 1 for _ in range(2))
LEFT = mask_left(2, 32, 32, 12)
NET = load_features("tiny")


def test_where_all_is_of_interest_they_are_the_distances_of_the_whole() -> None:
    found = masked_pairwise(NET, A, B, torch.ones(2, 1, 32, 32))
    assert torch.allclose(found["tiny-masked-unit-distance"], unit_distance(NET(A), NET(B)))
    assert torch.allclose(found["masked-l1"], (A - B).abs().mean((1, 2, 3)) / 2)


def test_what_is_outside_the_mask_does_not_count() -> None:
    other = torch.where(LEFT > 0, A, B.flip(3))
    assert float((other - A).abs().max()) > 0.5
    first, second = (masked_pairwise(NET, x, B, LEFT) for x in (A, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
    same = masked_pairwise(NET, torch.where(LEFT > 0, B, A), B, LEFT)
    assert all(value.max() == 0 for value in same.values())


def test_l1_is_the_mean_over_the_mask_not_over_the_picture() -> None:
    found = masked_pairwise(NET, A, B, LEFT)["masked-l1"]
    assert torch.allclose(found, (A - B)[..., :12].abs().mean((1, 2, 3)) / 2)
    half = masked_pairwise(NET, A, B, LEFT / 2)["masked-l1"]
    assert torch.allclose(half, found)


def test_the_unit_distance_is_the_mean_over_the_mask_at_each_layers_resolution() -> None:
    """Written out place by place; a place of a layer counts by how much of it is of interest."""
    mask = torch.rand(2, 1, 32, 32, generator=DRAW)
    found, wanted = masked_unit_distance(NET, A, B, mask), torch.zeros(2)
    ours, theirs = NET(A * mask), NET(B * mask)
    for tap in theirs:
        gap = (normalize(ours[tap], dim=1) - normalize(theirs[tap], dim=1)).square().sum(1)
        side = gap.shape[-1]
        step = 32 // side
        for n in range(2):
            total = weight = 0.0
            for i in range(side):
                for j in range(side):
                    part = mask[n, 0, step * i : step * (i + 1), step * j : step * (j + 1)]
                    total += float(part.mean() * gap[n, i, j])
                    weight += float(part.mean())
            wanted[n] += total / weight
    assert found.tolist() == pytest.approx(wanted.tolist(), rel=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_pictures_of_other_channels_are_compared_too(channels: int) -> None:
    a, b = (torch.rand(1, channels, 32, 32, generator=DRAW) for _ in range(2))
    found = masked_pairwise(NET, a, b, LEFT[:1])
    assert found.keys() == {"masked-l1", "tiny-masked-unit-distance"}
    assert all(value.shape == (1,) and value > 0 for value in found.values())
