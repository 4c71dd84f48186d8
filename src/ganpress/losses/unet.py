"""A small U-Net (Ronneberger et al., MICCAI 2015) that tells the classes of a picture's pixels.

Ours: for a data set of which no published segmentation network is at hand. Trained by
recipes/train_segmenter.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UNet(nn.Module):
    """(n, 3, h, w) -> (n, classes, h, w) logits; h and w of any size.

    Two 3x3 convolutions a level, the first of which halves the sides (rounded up); on the way back
    a 1x1 convolution, nearest upsampling, and one 3x3 convolution of it beside the level's own.

    Args: widths: channels of each level, the first at the picture's size.
    """

    def __init__(self, classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = _conv(3, widths[0], 3)
        self.downs = nn.ModuleList(
            nn.Sequential(_conv(a, b, 3, stride=2), _conv(b, b, 3)) for a, b in pairwise(widths)
        )
        self.narrow = nn.ModuleList(_conv(b, a, 1) for a, b in pairwise(widths))
        self.merge = nn.ModuleList(_conv(2 * a, a, 3) for a in widths[:-1])
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each pixel."""
        levels = [self.stem(x)]
        for down in self.downs:
            levels.append(down(levels[-1]))
        hidden = levels.pop()
        for narrow, merge in zip(reversed(self.narrow), reversed(self.merge), strict=True):
            beside = levels.pop()
            hidden = F.interpolate(narrow(hidden), beside.shape[-2:], mode="nearest")
            hidden = merge(torch.cat([hidden, beside], 1))
        out: Tensor = self.head(hidden)
        return out


def _conv(i: int, o: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(i, o, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(o), nn.ReLU(inplace=True))
