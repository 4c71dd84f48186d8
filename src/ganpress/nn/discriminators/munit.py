"""The multiscale discriminator of MUNIT (Huang et al., ECCV 2018)."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class MunitDiscriminator(nn.Module):
    """Patch discriminators without norm on a pyramid of the picture: (n, c, h, w) -> logit maps.

    Each has ``layers`` reflect-padded 4x4 convolutions of stride 2, widths doubling, then a 1x1;
    each scale sees the picture at half the size of the one before. The keys are upstream's
    (MsImageDis), a convolution being `cnns.SCALE.LAYER.conv`.
    """

    def __init__(self, inputs: int = 3, width: int = 64, layers: int = 4, scales: int = 3) -> None:
        super().__init__()
        self.cnns = nn.ModuleList(_patch(inputs, width, layers) for _ in range(scales))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Raw logits (n, 1, h', w') of each scale, the finest first."""
        maps = []
        for i, net in enumerate(self.cnns):
            if i > 0:
                x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            maps.append(net(x))
        return maps


class _Step(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(i, o, 4, 2, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.conv(x), 0.2)


def _patch(inputs: int, width: int, layers: int) -> nn.Sequential:
    widths = [inputs, *(width * 2**i for i in range(layers))]
    steps = [_Step(i, o) for i, o in pairwise(widths)]
    return nn.Sequential(*steps, nn.Conv2d(widths[-1], 1, 1))
