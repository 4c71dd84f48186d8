"""The best of each group by a ratio: groups do not compete."""

from __future__ import annotations

import pytest
import torch

from ganpress.channels.ranking import keep_ratio

SCORES = {
    "a": torch.tensor([0.1, 0.9, 0.3, 0.8, 0.2, 0.7]),
    "b": torch.tensor([30.0, 10.0, 20.0, 40.0]),
}


def kept(ratio: float, **more: object) -> dict[str, list[int]]:
    found = keep_ratio(SCORES, ratio, **{"floors": 1, **more})  # type: ignore[arg-type]
    return {g: index.tolist() for g, index in found.items()}


def test_the_best_of_each_group_stay_in_the_order_of_the_network() -> None:
    assert kept(0.5) == {"a": [1, 3, 5], "b": [0, 3]}
    assert kept(0.75) == {"a": [1, 2, 3, 5], "b": [0, 2, 3]}  # 4.5 is rounded to even
    assert kept(1.0) == {"a": [0, 1, 2, 3, 4, 5], "b": [0, 1, 2, 3]}


def test_a_group_of_larger_scores_takes_no_channel_from_another() -> None:
    found = keep_ratio({**SCORES, "b": 1e-6 * SCORES["b"]}, 0.5, floors=1)
    assert {g: index.tolist() for g, index in found.items()} == kept(0.5)


def test_no_group_falls_below_its_own_floor_or_above_what_it_has() -> None:
    assert kept(0.01, floors=2) == {"a": [1, 3], "b": [0, 3]}
    assert kept(0.01, floors={"a": 3, "b": 1}) == {"a": [1, 3, 5], "b": [3]}
    assert kept(0.5, floors=5) == {"a": [1, 2, 3, 4, 5], "b": [0, 1, 2, 3]}


@pytest.mark.parametrize(("ratio", "wanted"), [(0.5, (4, 2)), (0.2, (2, 2)), (0.9, (6, 4))])
def test_widths_are_multiples(ratio: float, wanted: tuple[int, int]) -> None:
    """Of twos: 3 and 2 channels are 1.5 and 1 of them, which round to 2 and 1."""
    found = kept(ratio, multiple=2)
    assert (len(found["a"]), len(found["b"])) == wanted


def test_of_equal_scores_the_first_stay() -> None:
    found = keep_ratio({"a": torch.ones(300)}, 0.5, floors=1)["a"]
    assert found.tolist() == list(range(150))
    assert found.dtype == torch.int64
