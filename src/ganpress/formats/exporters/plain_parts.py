"""Layers and blocks in plain torch, in eval mode, that networks of several families are made of.

Names of parts and tensors are those of the packages' own networks. Nothing here is imported by
them, and nothing here imports them: `plain_source` takes each definition as text.
"""

# Parts have no types of their own:
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Parts(nn.Module):
    """A module made of named parts; a tuple stands for a tensor of its own, of that shape."""

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            is_shape = isinstance(part, tuple)
            setattr(self, name, nn.Parameter(torch.zeros(part)) if is_shape else part)

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name)


class Chain(Parts):
    """One part after the other."""

    def forward(self, x: Tensor) -> Tensor:
        for part in self.children():
            x = part(x)
        return x


def on_grid(x: Tensor, grid: list[float] | None) -> Tensor:
    """Clamped to [low, high] and rounded to whole steps; [] or None: as it is."""
    if not grid:
        return x
    low, high, step = grid
    return x.clamp(low, high).div(step).round().mul(step)


def weight_of(layer: Any) -> Tensor:
    """A layer's weight: 8-bit levels times their step, or as it is."""
    weight: Tensor = layer.weight * layer.step if hasattr(layer, "step") else layer.weight
    return weight


class QuantisedConv2d(nn.Conv2d):
    """Its weight is int8 levels times a step; its input is rounded to a grid."""

    grid: Any = None

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(on_grid(x, self.grid), weight_of(self), self.bias)


class SubPixelConv2d(nn.Conv2d):
    """Twice the height and width: the four pixels of each place, side by side."""

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(super().forward(x), 2)[:, :, 1:-1, 1:-1]


class QuantisedSubPixelConv2d(QuantisedConv2d):
    """Twice the height and width: the four pixels of each place, side by side."""

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(super().forward(x), 2)[:, :, 1:-1, 1:-1]


class Grid(nn.Module):
    """An output, rounded to a grid."""

    def __init__(self, low: float, high: float, step: float) -> None:
        super().__init__()
        self.grid = [low, high, step]

    def forward(self, x: Tensor) -> Tensor:
        return on_grid(x, self.grid)


class QuantisedConvTranspose2d(nn.ConvTranspose2d):
    """Its weight is int8 levels times a step; its input is rounded to a grid."""

    grid: Any = None

    def forward(self, x: Tensor, output_size: Any = None) -> Tensor:
        place: Any = (self.stride, self.padding, self.output_padding)
        return F.conv_transpose2d(on_grid(x, self.grid), weight_of(self), self.bias, *place)


class QuantisedLinear(nn.Linear):
    """Its weight is int8 levels times a step; its input is rounded to a grid."""

    grid: Any = None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(on_grid(x, self.grid), weight_of(self), self.bias)


def quantised(layer: Any, step: list[int], grid: list[float] | None = None) -> Any:
    """Give a layer int8 levels, their step (of this shape), and the grid of its input."""
    layer.weight = nn.Parameter(layer.weight.detach().to(torch.int8), requires_grad=False)
    layer.register_buffer("step", torch.ones(step))
    layer.grid = grid
    return layer


def column(v: Tensor) -> Tensor:
    """(c,) -> (1, c, 1, 1)."""
    return v.view(1, -1, 1, 1)


class ExactInstanceNorm(Parts):
    """InstanceNorm with statistics in double, the same in any program."""

    def forward(self, x: Tensor) -> Tensor:
        off = x - x.double().mean((2, 3), keepdim=True).float()
        variance = off.double().square().mean((2, 3), keepdim=True)
        scale = (1 / torch.sqrt(variance + self.eps)).float()
        if not hasattr(self, "weight"):
            return off * scale
        return off * (scale * column(self.weight)) + column(self.bias)


class ExactBatchNorm(Parts):
    """BatchNorm as one scale and shift, made in double, the same in any program."""

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight.double() * (1 / torch.sqrt(self.running_var.double() + self.eps))
        shift = self.bias.double() - self.running_mean.double() * scale
        return x * column(scale.float()) + column(shift.float())


class Shift(Parts):
    """x + bias: what is left of an emptied residual block."""

    def forward(self, x: Tensor) -> Tensor:
        return x + column(self.bias)


class ResidualBlock(Parts):
    """x + norm(conv(relu(norm(conv(x))))); zero padding is the convolutions' own."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(self.conv1(self.pad(x))).relu()
        y = self.norm2(self.conv2(self.pad(y)))
        return x + (self.grid(y) if hasattr(self, "grid") else y)


class BlurDown(Parts):
    """Half the height and width: a binomial filter, reflection padded, at every second pixel."""

    def forward(self, x: Tensor) -> Tensor:
        row = torch.ones(1, device=x.device)
        for _ in range(self.taps - 1):
            row = (F.pad(row, (1, 0)) + F.pad(row, (0, 1))) / 2
        kernel = torch.outer(row, row).to(x.dtype).expand(x.shape[1], 1, -1, -1)
        before, after = (self.taps - 1) // 2, self.taps // 2
        padded = F.pad(x, (before, after, before, after), mode="reflect")
        return F.conv2d(padded, kernel, stride=2, groups=x.shape[1])


class Double(Parts):
    """Twice the height and width."""

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode=self.mode)


class Crop(Parts):
    """Without the last row and column."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :-1, :-1]
