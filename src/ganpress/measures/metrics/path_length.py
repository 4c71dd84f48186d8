"""The trimming of perceptual path length (Karras et al., CVPR 2019), in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def trimmed_mean(distances: Tensor, *, low: float = 1.0, high: float = 99.0) -> float:
    """Mean of the distances between two percentiles, both ends kept; smaller is smoother.

    The lower bound is the order statistic at or below the ``low`` percentile, the upper one that at
    or above the ``high`` percentile, as in StyleGAN's code. Perceptual path length is this mean of
    d(G(w), G(w + eps)) / eps^2 under LPIPS on VGG-16; under another distance, or on pictures
    cropped otherwise, its name must say so.

    Args: distances: (n,), already divided by eps^2.
    Raises: ValueError where there are none, some are not finite, or the percentiles are no range.
    """
    x = distances.detach().to("cpu", torch.float64).flatten()
    if not len(x) or not x.isfinite().all() or not 0 <= low < high <= 100:
        raise ValueError(
            f"There are {len(x)} distances, to be trimmed to the percentiles {low} to {high}: give "
            "at least one, all finite, and percentiles in order from 0 to 100."
        )
    lower = torch.quantile(x, low / 100, interpolation="lower")
    upper = torch.quantile(x, high / 100, interpolation="higher")
    return float(x[(x >= lower) & (x <= upper)].mean())
