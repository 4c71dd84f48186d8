"""The kernel distance of two sets of features (Binkowski et al., ICLR 2018), in float64."""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS = 2048  # rows of a kernel matrix computed at a time


def kernel_distance(real: Tensor, fake: Tensor, *, unbiased: bool = True) -> float:
    """Squared maximum mean discrepancy under the kernel k(x, y) = (x.y / d + 1)^3, over whole sets.

    Unbiased it does not depend on the sets' sizes in the mean, and may be below 0; biased it is
    never below 0, and 0 for equal sets. KID is its name on Inception's pool3 features alone; KID's
    authors average it over subsets of 1000, which has the same expected value.

    Args: real, fake: (n, d) and (m, d); at least two each.
    Raises: ValueError for other shapes, too few features, or values that are not finite.
    """
    x, y = (f.detach().to("cpu", torch.float64) for f in (real, fake))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            f"Features are (n, d) and (m, d), at least two each, not {tuple(x.shape)} and "
            f"{tuple(y.shape)}."
        )
    if not (x.isfinite().all() and y.isfinite().all()):
        raise ValueError("There are features that are not finite.")
    between = _sum(x, y) / (len(x) * len(y))
    return _within(x, unbiased) + _within(y, unbiased) - 2 * between


def _within(x: Tensor, unbiased: bool) -> float:
    """The mean kernel value of a set's pairs; unbiased: of two different members."""
    n, total = len(x), _sum(x, x)
    if not unbiased:
        return total / (n * n)
    own = float(((x * x).sum(1) / x.shape[1] + 1).pow(3).sum())
    return (total - own) / (n * (n - 1))


def _sum(x: Tensor, y: Tensor) -> float:
    """The sum of the kernel over all pairs, a block of rows at a time."""
    return sum(float((rows @ y.T / x.shape[1] + 1).pow(3).sum()) for rows in x.split(_ROWS))
