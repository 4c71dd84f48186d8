"""Welch's t-test: from how many standard errors on a difference of two means is called clear."""

from __future__ import annotations

from collections.abc import Sequence

CERTAINTY = 0.95
"""The chance with which two variants that are alike are not called clearly different."""


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


def student_t(degrees: float, certainty: float = CERTAINTY) -> float:
    """The two-sided quantile of Student's t: |t| is below it with this chance.

    Args: degrees: of freedom, 1 or more, whole or not; infinite for the normal distribution.
    """
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + certainty) / 2))
