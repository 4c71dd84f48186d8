"""Welch's t-test: from how many standard errors on a difference of two means is called clear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

CERTAINTY = 0.95
"""The chance with which two arms that are alike are not called clearly different."""
_PARTS = 400  # of Simpson's rule
_MANY = 1e4  # degrees of freedom beyond which the normal distribution is near enough


def clear_from(errors: Sequence[float], counts: Sequence[int]) -> float:
    """Welch's threshold for the difference of two means, in standard errors of that difference.

    Args: errors: standard error of each mean, not both 0; counts: values each is the mean of.
    """
    return student_t(freedom(errors, counts))


def freedom(errors: Sequence[float], counts: Sequence[int]) -> float:
    """The Welch-Satterthwaite degrees of freedom, at least the smaller count less one."""
    largest = max(errors)  # squares of tiny errors would vanish
    squares = [(error / largest) ** 2 for error in errors]
    parts = (square**2 / (n - 1) for square, n in zip(squares, counts, strict=True))
    return sum(squares) ** 2 / sum(parts)


@lru_cache(maxsize=256)
def student_t(degrees: float, certainty: float = CERTAINTY) -> float:
    """The two-sided quantile of Student's t: |t| is below it with this chance.

    With t = tan(a) sqrt(degrees) the chance is an integral over cos(a)^(degrees - 1), which is
    inverted by bisection.

    Args: degrees: of freedom, 1 or more, whole or not; infinite for the normal distribution.
    """
    if degrees > _MANY:
        return NormalDist().inv_cdf((1 + certainty) / 2)
    log_beta = math.lgamma(degrees / 2) - math.lgamma((degrees + 1) / 2) + math.log(math.pi) / 2
    wanted = certainty * math.exp(log_beta) / 2
    low, high = 0.0, math.pi / 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _area(middle, degrees - 1) < wanted else (low, middle)
    return math.tan(low) * math.sqrt(degrees)


def _area(end: float, power: float) -> float:
    """The integral of cos(a)^power from 0 to ``end``, below pi / 2, by Simpson's rule."""
    step = end / _PARTS
    heights = [math.cos(i * step) ** power for i in range(_PARTS + 1)]
    inner = 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2])
    return float(step / 3 * (heights[0] + inner + heights[-1]))
