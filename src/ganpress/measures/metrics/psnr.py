"""Peak signal-to-noise ratio, in float64."""

from __future__ import annotations

from torch import Tensor

MOST_DB = 100.0
"""What equal pictures have: of 8-bit pictures that differ, none has more than this."""


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """10 log10(peak^2 / mean squared difference) of each pair, (n,) in dB, at most `MOST_DB`.

    The mean is over channels and pixels; the peak is the whole range, 2. Larger is nearer.

    Args: a, b: (n, c, h, w) in [-1, 1].

    >>> import torch
    >>> psnr(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.2))
    tensor([20.], dtype=torch.float64)
    """
    error = (a.double() - b.double()).square().flatten(1).mean(1)
    return (10 * (4 / error.clamp_min(4 * 10 ** (-MOST_DB / 10))).log10()).clamp_max(MOST_DB)
