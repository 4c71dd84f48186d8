"""Layers of networks that are made for integers: doubling by one convolution, and outputs that can
be rounded to a grid of their own."""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.nn.axes import Axis, AxisLike, as_dim, size, tag
from ganpress.nn.layers import Conv2d, Quantiser


class SubPixelConv2d(Conv2d):
    """Twice the height and width: a 2 x 2 convolution makes the four pixels of each place, which
    are then put side by side (Shi et al., CVPR 2016).

    Each channel has four rows of the weight, in the order of `pixel_shuffle`. Every transposed
    convolution of stride 2 and padding 1 with a kernel of 4, or of 3 and output padding 1, is one
    of these (`models.forms`).
    """

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) -> (n, out, 2 h, 2 w)."""
        return F.pixel_shuffle(super().forward(x), 2)[:, :, 1:-1, 1:-1]


def sub_pixel(i: AxisLike, o: Axis, *, signed: bool = False, gated: bool = False) -> SubPixelConv2d:
    """A sub-pixel convolution from axes ``i`` to the axis ``o``, which doubles height and width."""
    rows = replace(o, span=4)
    layer = SubPixelConv2d(size(i), size(rows), 2, padding=1)
    layer.attach(signed=signed, gated=gated)
    return tag(layer, weight=(as_dim(rows), as_dim(i), None, None), bias=(as_dim(rows),))


class OutputGrid(nn.Module):
    """Where an output of a convolution that no quantised layer reads at once (a summand, the input
    of LeakyReLU) can be rounded to a grid of its own: integer runtimes have integers up to there.
    It changes nothing unless it carries a quantiser."""

    def __init__(self) -> None:
        super().__init__()
        self.quantiser: Quantiser | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w)."""
        return x if self.quantiser is None else self.quantiser.output(x)


def output_grids(model: nn.Module) -> dict[str, OutputGrid]:
    """Every place where an output can be rounded, by name."""
    return {n: m for n, m in model.named_modules() if isinstance(m, OutputGrid)}
