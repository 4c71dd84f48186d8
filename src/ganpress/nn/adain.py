"""The norms of MUNIT's decoder: AdaIN, driven by a style code, and LayerNorm of a whole sample."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.nn.axes import Axis, as_dim, tag


class AdaIN(nn.Module):
    """Adaptive instance normalisation (Huang & Belongie, ICCV 2017): scale * IN(x) + bias.

    It has no parameters of its own: bias and scale of each sample come from a style code.
    """

    def forward(self, x: Tensor, bias: Tensor, scale: Tensor) -> Tensor:
        """(n, c, h, w) with (n, c) twice -> (n, c, h, w); the scale is not 1 + scale."""
        return F.instance_norm(x) * scale[:, :, None, None] + bias[:, :, None, None]


class SampleNorm(nn.Module):
    """LayerNorm as in MUNIT: over all channels and pixels of a sample, then affine per channel.

    The deviation is the unbiased one, and eps is added to it, not to the variance. A channel's
    output depends on all the others: cutting one changes the statistics of those that stay.
    """

    def __init__(self, c: Axis, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.ones(c.width)),
            nn.Parameter(torch.zeros(c.width)),
        )
        self.eps = eps
        tag(self, weight=(as_dim(c),), bias=(as_dim(c),))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w); the statistics are float32 also under autocast."""
        x = x.float()
        std, mean = torch.std_mean(x, (1, 2, 3), keepdim=True)
        y = (x - mean) / (std + self.eps)
        return y * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
