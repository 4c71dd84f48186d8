"""Perceptual path length (Karras et al., CVPR 2019): its interpolations, formula and trimming."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-4
"""The published step along a path from one latent (0) to another (1)."""


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """a + (b - a) t: paths in W and W+, computed in float64: a step of 1e-4 has few digits else.

    Args: a, b: (n, ...). t: (n,), 0 gives ``a``, 1 gives ``b``.
    """
    along = t.double().view(-1, *[1] * (a.ndim - 1))
    return (a.double() + (b.double() - a.double()) * along).to(a.dtype)


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The great circle from a to b, at the fraction t of its angle: paths in Z.

    The published formula is that of the directions (its result has unit length, which StyleGAN's
    mapping network never sees). Here the length goes linearly from a's to b's, so that networks
    that read z as it is are given lengths that they know.

    Args: a, b: (n, ...), no row of zeros, each row one vector. t: (n,).

    >>> slerp(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([0.5]))
    tensor([[1.4142, 1.4142]])
    """
    u, v = a.flatten(1).double(), b.flatten(1).double()
    along = t.double()[:, None]
    length_a, length_b = u.norm(dim=1, keepdim=True), v.norm(dim=1, keepdim=True)
    u, v = F.normalize(u, dim=1), F.normalize(v, dim=1)
    cosine = (u * v).sum(1, keepdim=True).clamp(-1, 1)
    angle = along * cosine.arccos()
    across = F.normalize(v - cosine * u, dim=1)
    direction = F.normalize(u * angle.cos() + across * angle.sin(), dim=1)
    along = length_a + (length_b - length_a) * along
    found: Tensor = direction * along
    return found.view_as(a).to(a.dtype)


def pair_lengths(
    make: Callable[[Tensor], Tensor],
    distance: Callable[[Tensor, Tensor], Tensor],
    path: Callable[[Tensor], Tensor],
    t: Tensor,
    eps: float = EPS,
) -> Tensor:
    """d(G(path(t)), G(path(t + eps))) / eps^2 of each pair, (n,) float64.

    Args:
        make: latents (2 n, ...) -> pictures (2 n, c, h, w). Rows i and n + i are the ends of one
            pair: all else that it reads, such as noise, must be the same for both.
        distance: of pictures, (n, c, h, w) each -> (n,).
        path: fractions (n,) -> latents (n, ...): `lerp` or `slerp` between two ends.
        t: (n,), 0 to 1.
    """
    t = t.double()
    first, second = make(torch.cat([path(t), path(t + eps)])).chunk(2)
    return distance(first, second).double() / eps**2


def trimmed(distances: Tensor, *, low: float = 1.0, high: float = 99.0) -> Tensor:
    """The distances between two percentiles, both ends kept, as float64 on the CPU.

    The lower bound is the order statistic at or below the ``low`` percentile, the upper one that at
    or above the ``high`` percentile, as in StyleGAN's code.

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
    return x[(x >= lower) & (x <= upper)]


def trimmed_mean(distances: Tensor, *, low: float = 1.0, high: float = 99.0) -> float:
    """Mean of the `trimmed` distances; smaller is smoother.

    Perceptual path length is this mean of `pair_lengths` under LPIPS on VGG-16; under another
    distance, or on pictures cropped otherwise, its name must say so.

    >>> trimmed_mean(torch.tensor([0.0, 2.0, 3.0, 4.0, 900.0]), low=25, high=75)
    3.0
    """
    return float(trimmed(distances, low=low, high=high).mean())
