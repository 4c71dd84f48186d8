"""StyleGAN2's residual discriminator (Karras et al., CVPR 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.nn.axes import fixed
from ganpress.nn.modulated import SQRT2, Blur, EqualLinear


class EqualConv(nn.Module):
    """A convolution with an equalised learning rate; ``act``: leaky(y + bias) times ``gain``."""

    def __init__(
        self,
        i: int,
        o: int,
        kernel: int,
        *,
        act: bool = True,
        gain: float = SQRT2,
        stride: int = 1,
        padding: int = 0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(o, i, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(o)) if act else None
        self.scale, self.gain = gain / sqrt(i * kernel**2), gain
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) -> (n, out, h', w'); the gain is multiplied into the small tensors."""
        bias = None if self.bias is None else self.bias * self.gain
        y = F.conv2d(x, self.weight * self.scale, bias, self.stride, self.padding)
        return y if bias is None else F.leaky_relu_(y, 0.2)


class DownBlock(nn.Module):
    """(conv(blur(conv(x))) + skip(x)) / sqrt(2), at half the size."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.blur, self.skip_blur = Blur(), Blur()
        self.conv1 = EqualConv(i, i, 3, padding=1)
        self.conv2 = EqualConv(i, o, 3, gain=1.0, stride=2)  # sqrt(2) / sqrt(2)
        self.skip = EqualConv(i, o, 1, act=False, gain=1 / SQRT2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) -> (n, out, h/2, w/2)."""
        y = self.conv2(self.blur(self.conv1(x), padding=2))
        out: Tensor = y + self.skip(self.skip_blur(x, padding=1))
        return out


class StyleGAN2Discriminator(nn.Module):
    """(n, inputs, size, size) in [-1, 1] -> (n, 1) logits.

    The standard deviation over a group of at most ``group`` samples (i, i + n/group, ...) is
    appended as a channel at 4x4, so logits depend on the whole batch.
    """

    def __init__(
        self,
        size: int = 256,
        channels: Sequence[int] | None = None,
        group: int = 4,
        inputs: int = 3,
    ) -> None:
        """Args: channels: width at 4, 8, ..., size pixels; config-f's where None.

        Raises `TypeError` where there are not as many as resolutions.
        """
        super().__init__()
        sides = [4 * 2**k for k in range(size.bit_length() - 2)]
        widths = list(channels) if channels else [min(512, 32768 // side) for side in sides]
        if size < 8 or sides[-1] != size or len(widths) != len(sides):
            raise TypeError(
                f"size {size} must be a power of two, and channels one width for each of "
                f"{', '.join(map(str, sides))} pixels, not {widths}"
            )
        self.group = group
        self.stem = EqualConv(inputs, widths[-1], 1)
        self.blocks = nn.ModuleList(DownBlock(i, o) for i, o in pairwise(reversed(widths)))
        self.last = EqualConv(widths[0] + 1, widths[0], 3, padding=1)
        inner = fixed(widths[0], "inner")
        self.hidden = EqualLinear(fixed(widths[0] * 16, "flat"), inner)
        self.out = EqualLinear(inner, fixed(1, "logit"))

    def forward(self, x: Tensor) -> Tensor:
        """Raw logits, (n, 1)."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = self.last(torch.cat([x, minibatch_deviation(x, self.group)], 1))
        x = F.leaky_relu(self.hidden(x.flatten(1)), 0.2) * SQRT2
        out: Tensor = self.out(x)
        return out


def minibatch_deviation(x: Tensor, most: int) -> Tensor:
    """Mean over c, h, w of each group's standard deviation, (n, c, h, w) -> (n, 1, h, w).

    A group has ``most`` samples, or the largest smaller number that divides the batch.
    """
    n, _, h, w = x.shape
    group = next(g for g in range(min(most, n), 0, -1) if n % g == 0)
    y = x.unflatten(0, (group, n // group)).float()
    deviation: Tensor = (y.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
    return deviation.to(x.dtype).repeat(group)[:, None, None, None].expand(n, 1, h, w)
