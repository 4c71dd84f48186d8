"""The same ratio of every group's channels, and the largest ratio that fits."""

from __future__ import annotations

from typing import Any

import pytest

from ganpress.channels.ranking import largest_ratio, widths_at_ratio

WIDTHS = {"a": 6, "b": 4}


def left(ratio: float, **more: Any) -> tuple[int, int]:
    found = widths_at_ratio(WIDTHS, ratio, **{"floors": 1, **more})
    return found["a"], found["b"]


def test_each_group_keeps_the_ratio_of_its_own() -> None:
    assert left(0.5) == (3, 2)
    assert left(0.75) == (4, 3)  # 4.5 is rounded to even
    assert left(1.0) == (6, 4)


def test_no_group_falls_below_its_own_floor_or_above_what_it_has() -> None:
    assert left(0.01, floors=2) == (2, 2)
    assert left(0.01, floors={"a": 3, "b": 1}) == (3, 1)
    assert left(0.5, floors=5) == (5, 4)


@pytest.mark.parametrize(("ratio", "wanted"), [(0.5, (4, 2)), (0.2, (2, 2)), (0.9, (6, 4))])
def test_widths_are_multiples(ratio: float, wanted: tuple[int, int]) -> None:
    """Of twos: 3 and 2 channels are 1.5 and 1 of them, which round to 2 and 1."""
    assert left(ratio, multiple=2) == wanted


def test_widths_are_raised_to_what_is_allowed() -> None:
    assert left(0.5, bind=lambda w: {"a": max(w.values()), "b": 4}) == (3, 4)


@pytest.mark.parametrize("most", [0.0, 0.25, 0.7, 1.0])
def test_the_largest_ratio_is_the_last_that_fits(most: float) -> None:
    found = largest_ratio(lambda ratio: ratio <= most)
    assert found <= most
    assert found == pytest.approx(most, abs=1e-8)
