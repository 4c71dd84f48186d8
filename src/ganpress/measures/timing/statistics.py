"""Medians, percentiles, and the ratio of two candidates that ran in turn, with its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLED = 1000
COVERED = 0.95


@dataclass(frozen=True)
class Ratio:
    """How many times as fast as another: the median over rounds, and what covers it in 95 % of
    resampled rounds; ``low`` and ``high`` are None where there was one round."""

    value: float
    low: float | None
    high: float | None


def median(ms: Sequence[float]) -> float:
    """The middle one; of an even number the mean of the two.

    >>> median([3.0, 1.0, 2.0]), median([1.0, 2.0])
    (2.0, 1.5)
    """
    return float(np.median(ms))


def p95(ms: Sequence[float]) -> float:
    """95 of 100 passes took no longer (linear between two of them).

    >>> p95([1.0, 2.0, 3.0])
    2.9
    """
    return float(np.percentile(ms, 95))


def times_as_fast(
    rounds: Sequence[Sequence[float]], reference: Sequence[Sequence[float]], seed: int
) -> Ratio | None:
    """How many times as fast a candidate is as the reference: of each round the reference's median
    over the candidate's, and the median of these.

    A machine's clock and its other work change from minute to minute, and for both alike: so
    rounds are compared, not whole runs, and rounds are what is resampled (bootstrap, percentiles)
    for the interval.

    Args: rounds, reference: milliseconds of each pass by round; rounds that both have are used.
    Returns: None where they have none in common.

    >>> times_as_fast([[1.0], [2.0]], [[10.0], [20.0]], seed=0)
    Ratio(value=10.0, low=10.0, high=10.0)
    """
    pairs = [(a, b) for a, b in zip(rounds, reference, strict=False) if a and b]
    if not pairs:
        return None
    ratios = np.array([median(b) / median(a) for a, b in pairs])
    if len(ratios) == 1:
        return Ratio(float(ratios[0]), None, None)
    draw = np.random.default_rng(seed)
    again = np.median(ratios[draw.integers(0, len(ratios), (RESAMPLED, len(ratios)))], axis=1)
    low, high = np.percentile(again, [50 * (1 - COVERED), 50 * (1 + COVERED)])
    return Ratio(float(np.median(ratios)), float(low), float(high))
