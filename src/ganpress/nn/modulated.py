"""StyleGAN2's layers: equalised learning rates, modulated convolutions, the [1, 3, 3, 1] blur.

A layer with an equalised learning rate keeps weights of unit variance and multiplies them by a gain
when it runs (Karras et al., ICLR 2018). The gain of a modulated convolution is 1 / sqrt(fan-in) of
the *full* network and part of its state: recomputed from a cut width it would scale ToRGB, which
nothing normalises afterwards.
"""

from __future__ import annotations

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.nn.axes import Axis, as_dim, size, tag
from ganpress.nn.layers import Conv2d, ConvTranspose2d, conv, deconv

SQRT2 = sqrt(2.0)


class EqualLinear(nn.Module):
    """A fully connected layer with an equalised learning rate: (n, in) -> (n, out).

    Weight and bias act as weight * lr_mul / sqrt(in) and bias * lr_mul. Its input can never be cut.
    One that makes styles is ``gated``: it can carry a ``gate``, a scale per output channel, by
    which GAN Slimming silences the channel that the style scales.
    """

    out_dim = 0

    def __init__(
        self, i: Axis, o: Axis, *, bias: float = 0.0, lr_mul: float = 1.0, gated: bool = False
    ) -> None:
        super().__init__()
        self.gated = gated
        self.gate: nn.Parameter | None = None
        self.weight = nn.Parameter(torch.randn(size(o), size(i)) / lr_mul)
        self.bias = nn.Parameter(torch.full((size(o),), bias))
        self.gain, self.lr_mul = lr_mul / sqrt(size(i)), lr_mul
        tag(self, weight=(as_dim(o), as_dim(i)), bias=(as_dim(o),))

    def forward(self, x: Tensor) -> Tensor:
        """(n, in) -> (n, out)."""
        y = F.linear(x * self.gain, self.weight, self.bias * self.lr_mul)
        return y if self.gate is None else y * self.gate

    def channel_norms(self) -> Tensor:
        """Root mean square of each output over standard normal inputs, (out,)."""
        power = (self.weight * self.gain).square().sum(1) + (self.bias * self.lr_mul).square()
        return power.sqrt()


class Blur(nn.Module):
    """The depthwise filter [1, 3, 3, 1] x [1, 3, 3, 1], its sum being ``gain``."""

    kernel: Tensor

    def __init__(self, *, gain: float = 1.0) -> None:
        super().__init__()
        row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("kernel", gain * torch.outer(row, row))

    def forward(self, x: Tensor, padding: int) -> Tensor:
        """(n, c, h, w) -> (n, c, h + 2 padding - 3, w + 2 padding - 3), zero-padded."""
        c = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(c, 1, 4, 4)
        return F.conv2d(x, kernel, padding=padding, groups=c)

    def upsample(self, x: Tensor) -> Tensor:
        """Twice the height and width, zeros put between the pixels; for a ``gain`` of 4."""
        c = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(c, 1, 4, 4)
        return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=c)


class ModulatedConv(nn.Module):
    """A convolution whose input channels are scaled by a style (Karras et al., CVPR 2020, 2.2).

    y = conv(x * s) * rsqrt(sum (gain W s)^2 + 1e-8) with s = affine(w): the scales are applied to
    the input and the norm to the output, so that one ordinary convolution serves the whole batch
    (ADR 0012). ``up`` doubles the size by a transposed convolution and a blur.
    """

    gain: Tensor

    def __init__(
        self,
        i: Axis,
        o: Axis,
        style: Axis,
        kernel: int,
        *,
        fan_in: int,
        up: bool = False,
        demodulate: bool = True,
    ) -> None:
        """Args: fan_in: input channels of the full network."""
        super().__init__()
        self.affine = EqualLinear(style, i, bias=1.0, gated=True)
        self.conv: Conv2d | ConvTranspose2d
        if up:
            self.conv = deconv(i, o, kernel, signed=True, stride=2, bias=False)
            self.blur = Blur(gain=4.0)
        else:
            self.conv = conv(i, o, kernel, signed=True, padding=kernel // 2, bias=False)
        nn.init.normal_(self.conv.weight)
        self.register_buffer("gain", torch.tensor(1 / sqrt(fan_in * kernel**2)))
        self.up, self.demodulate = up, demodulate

    def forward(self, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor | None]:
        """The convolution, (n, out, h', w'), and what it is still to be multiplied by.

        Args: w: (n, style).
        Returns: also the demodulation, (n, out, 1, 1), or None without: the caller has it in one
            pass with noise and bias.
        """
        s = self.affine(w) * self.gain
        y = self.conv(x * s.to(x.dtype)[:, :, None, None])
        if self.up:
            y = self.blur(y, padding=1)
        return y, self.norm(s)[:, :, None, None] if self.demodulate else None

    def norm(self, s: Tensor) -> Tensor:
        """1 / the L2 norm of each modulated output filter: styles (n, in) -> (n, out)."""
        layer = self.conv
        weight: Tensor = layer.weight
        if layer.quantiser is not None:
            weight = layer.quantiser.weight(weight, out_dim=layer.out_dim)
        power = weight.square().sum((2, 3))
        power = power if self.up else power.T  # a transposed convolution's weight is (in, out)
        return torch.rsqrt(s.square() @ power + 1e-8)


class StyledConv(nn.Module):
    """leaky(modulated convolution + strength * noise + bias) * sqrt(2)."""

    def __init__(self, i: Axis, o: Axis, style: Axis, *, fan_in: int, up: bool = False) -> None:
        super().__init__()
        self.modulated = ModulatedConv(i, o, style, 3, fan_in=fan_in, up=up)
        self.bias = nn.Parameter(torch.zeros(size(o)))
        self.strength = nn.Parameter(torch.zeros(()))
        tag(self, bias=(as_dim(o),))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        """(n, in, h, w) -> (n, out, h', w').

        Args: noise: (n or 1, 1, h', w'), standard normal.
        """
        y, norm = self.modulated(x, w)  # leaky(a) sqrt(2) is leaky(a sqrt(2)): on small tensors
        noise = noise * (self.strength * SQRT2)
        y = torch.addcmul(noise.to(y.dtype), y, (norm * SQRT2).to(y.dtype))
        y = y.add_((self.bias * SQRT2).to(y.dtype)[:, None, None])
        return F.leaky_relu_(y, 0.2)


class ToRGB(nn.Module):
    """A modulated 1x1 convolution to the picture's channels, without demodulation, added to the
    picture so far."""

    def __init__(self, i: Axis, rgb: Axis, style: Axis, *, fan_in: int, first: bool) -> None:
        super().__init__()
        self.modulated = ModulatedConv(i, rgb, style, 1, fan_in=fan_in, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(size(rgb)))
        tag(self, bias=(as_dim(rgb),))
        self.blur = None if first else Blur(gain=4.0)

    def forward(self, x: Tensor, w: Tensor, image: Tensor | None) -> Tensor:
        """(n, in, h, w) -> (n, c, h, w); ``image`` is the sum of the coarser ones at h/2, w/2."""
        y = self.modulated(x, w)[0] + self.bias[:, None, None]
        if image is None or self.blur is None:
            out: Tensor = y
            return out
        out = y + self.blur.upsample(image)
        return out
