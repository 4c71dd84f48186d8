"""Loss terms as pure functions, named by paper and equation. Weighted sums are in the loops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Maps = Mapping[str, Tensor]


def lsgan_d(real: Tensor, fake: Tensor) -> Tensor:
    """Least-squares GAN loss of the discriminator, halved: 1/2 [(D(x) - 1)^2 + D(G)^2]."""
    return 0.5 * (F.mse_loss(real, torch.ones_like(real)) + fake.square().mean())


def lsgan_g(fake: Tensor) -> Tensor:
    """Least-squares GAN loss of the generator: (D(G) - 1)^2."""
    return F.mse_loss(fake, torch.ones_like(fake))


def gram(features: Tensor) -> Tensor:
    """Gram matrix over space, divided by C H W: (n, c, h, w) -> (n, c, c)."""
    n, c, h, w = features.shape
    flat = features.reshape(n, c, h * w)
    return flat @ flat.transpose(1, 2) / (c * h * w)


def content(a: Tensor, b: Tensor) -> Tensor:
    """L1 between feature maps of one layer: the content half of GAN Slimming's d."""
    return F.l1_loss(a, b)


def style(a: Maps, b: Maps) -> Tensor:
    """Sum over layers of the squared difference of Gram matrices: the style half of d."""
    terms = [F.mse_loss(gram(a[tap]), gram(b[tap])) for tap in b]
    return torch.stack(terms).sum()


def unit_distance(a: Maps, b: Maps) -> Tensor:
    """LPIPS's form without its learned weights: squared distance of unit-length features.

    Zhang et al., CVPR 2018, eq. 1 with w_l = 1: each pixel's feature vector is normalised over
    channels; squared differences are summed over channels, averaged over space, summed over
    layers.

    Args:
        a, b: maps by layer, (n, c, h, w) each.
    Returns: (n,), 0 for equal images; each layer adds at most 4.
    """
    per_layer = []
    for tap in b:
        u, v = F.normalize(a[tap], dim=1), F.normalize(b[tap], dim=1)
        per_layer.append((u - v).square().sum(1).mean((1, 2)))
    return torch.stack(per_layer).sum(0)


def group_soft_threshold(scales: Iterable[Tensor], amount: float) -> list[Tensor]:
    """Shrink the scales of one group towards zero, the producers of a channel together.

    With one producer this is GAN Slimming's eq. 14, prox(g) = sign(g) max(|g| - amount, 0). With k
    producers (a residual trunk) it is the proximal step of amount * sqrt(k) * ||(g_1, ..., g_k)||_2
    per channel: the group lasso, so that all producers reach zero together or not at all.

    Args:
        scales: k tensors, (c,) each.
        amount: rho times the learning rate of the scales in use in this step; >= 0.
    Returns: k new tensors, (c,); channels within the threshold are exactly 0.
    """
    stacked = torch.stack(list(scales))
    if len(stacked) == 1:
        return [stacked[0].sign() * (stacked[0].abs() - amount).clamp_min(0)]
    norm = stacked.norm(dim=0)
    shrink = (1 - amount * len(stacked) ** 0.5 / norm.clamp_min(1e-12)).clamp_min(0)
    return list((stacked * shrink).unbind(0))
