"""Spatially-adaptive normalisation and its residual block (SPADE: Park et al., CVPR 2019)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from ganpress.nn.axes import Axis, as_dim, tag
from ganpress.nn.layers import conv, depthwise
from ganpress.nn.norms import norm
from ganpress.types import State

Middle = Literal["instance", "batch", "none"]
Free = Literal["batch", "instance"]
LEAK = 0.2


class SeparableModulation(nn.Module):
    """Depthwise 3x3 -> InstanceNorm, BatchNorm or nothing -> pointwise 1x1: gamma or beta of GAN
    Compression's students; zero padded, keeps height and width."""

    def __init__(self, i: Axis, o: Axis, *, middle: Middle) -> None:
        super().__init__()
        self.depthwise = depthwise(i, 3, padding=1)
        self.norm = norm(i, middle)
        self.pointwise = conv(i, o, 1, signed=True)

    def forward(self, x: Tensor) -> Tensor:
        """(n, hidden, h, w) -> (n, c, h, w)."""
        out: Tensor = self.pointwise(self.norm(self.depthwise(x)))
        return out


class Spade(nn.Module):
    """A norm without affine, then (1 + gamma) x + beta, both read off the label map (eq. 1).

    BatchNorm has running statistics, (c,) each; InstanceNorm none. Only the hidden channels carry
    gates: a zero in any other group is not a constant behind it, since beta differs from pixel to
    pixel.
    """

    def __init__(
        self, c: Axis, hidden: Axis, labels: Axis, *, separable: bool, middle: Middle, kind: Free
    ) -> None:
        """Args: kind: of the norm without affine."""
        super().__init__()
        self.norm = _free_norm(c, kind)
        self.shared = conv(labels, hidden, 3, gated=True, padding=1)

        def modulation() -> nn.Module:
            if separable:
                return SeparableModulation(hidden, c, middle=middle)
            return conv(hidden, c, 3, padding=1)

        self.gamma, self.beta = modulation(), modulation()

    def forward(self, x: Tensor, semantics: Tensor) -> Tensor:
        """x (n, c, h, w), semantics (n, labels, h, w) -> (n, c, h, w)."""
        hidden = self.shared(semantics).relu()
        out: Tensor = self.norm(x) * (1 + self.gamma(hidden)) + self.beta(hidden)
        return out


def _free_norm(c: Axis, kind: Free) -> nn.Module:
    if kind == "instance":
        return norm(c, "instance")
    layer = nn.BatchNorm2d(c.width, affine=False)
    return tag(layer, running_mean=(as_dim(c),), running_var=(as_dim(c),))


class SpadeBlock(nn.Module):
    """shortcut(x) + conv(lrelu(spade(conv(lrelu(spade(x)))))).

    The shortcut is the identity where ``o`` is None (the block reads and writes group ``i``), else
    a SPADE and a 1x1 convolution without bias. Which one is the wiring's choice: it never depends
    on whether two widths happen to be equal.
    """

    def __init__(
        self,
        i: Axis,
        mid: Axis,
        o: Axis | None,
        hidden: tuple[Axis, ...],
        labels: Axis,
        *,
        separable: bool,
        middle: Middle,
        kind: Free,
    ) -> None:
        """Args: hidden: of norm_0, norm_1 and, with a learned shortcut, norm_s."""
        super().__init__()

        def spade(c: Axis, h: Axis) -> Spade:
            return Spade(c, h, labels, separable=separable, middle=middle, kind=kind)

        self.norm_0 = spade(i, hidden[0])
        self.conv_0 = conv(i, mid, 3, signed=True, padding=1)
        self.norm_1 = spade(mid, hidden[1])
        self.conv_1 = conv(mid, i if o is None else o, 3, signed=True, padding=1)
        self.is_learned = o is not None
        if o is not None:
            self.norm_s = spade(i, hidden[2])
            self.conv_s = conv(i, o, 1, signed=True, bias=False)

    def forward(self, x: Tensor, semantics: Tensor) -> Tensor:
        """x (n, i, h, w), semantics (n, labels, H, W), resized to x's (nearest) -> (n, o, h, w)."""
        resized = F.interpolate(semantics, size=x.shape[2:], mode="nearest")
        y = self.conv_0(F.leaky_relu(self.norm_0(x, resized), LEAK))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, resized), LEAK))
        shortcut = self.conv_s(self.norm_s(x, resized)) if self.is_learned else x
        out: Tensor = shortcut + y
        return out


class Rescale(nn.Module):
    """A weight times a fixed number, behind its spectral norm."""

    scale: Tensor

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)

    def forward(self, weight: Tensor) -> Tensor:
        """A weight of norm 1 -> of norm ``scale``."""
        return weight * self.scale


def add_spectral_norm(net: nn.Module, *, keep: bool = False) -> nn.Module:
    """Put the convolutions of every `SpadeBlock` under spectral norm, in place, as NVlabs trains.

    Those inside the SPADEs, the first and the last convolution stay free.

    Args: keep: hold each norm at what it is in place of at 1, so that the function is unchanged.
    """
    for block in list(net.modules()):
        if isinstance(block, SpadeBlock):
            for layer in (
                block.conv_0,
                block.conv_1,
                *([block.conv_s] if block.is_learned else ()),
            ):
                if keep:
                    _hold_norm(layer)
                else:
                    spectral_norm(layer)
    return net


@torch.no_grad()
def _hold_norm(layer: nn.Module) -> None:
    """Spectral norm at the norm that the weight has, from its first singular vectors: the power
    iteration of a trained weight, whose singular values lie close together, takes too long."""
    weight = layer.get_parameter("weight").detach()
    matrix = weight.flatten(1)
    squares, vectors = torch.linalg.eigh(matrix @ matrix.T)
    left, size = vectors[:, -1], squares[-1].clamp_min(0).sqrt()
    spectral_norm(layer)
    parametrize.register_parametrization(layer, "weight", Rescale(size))
    held = layer.get_submodule("parametrizations.weight.0")
    held.get_buffer("_u").copy_(left)
    held.get_buffer("_v").copy_(F.normalize(matrix.T @ left, dim=0))


@torch.no_grad()
def plain_state(net: nn.Module, *, refresh: int = 0) -> State:
    """The state of the same network without spectral norm, each folded into its weight.

    Args:
        net: is put in eval mode.
        refresh: power iterations before, in place; 0 keeps the stored vectors, which gives exactly
            what the network computes. Averaged weights need some: their averaged vectors are not
            of unit length.
    """
    net.eval()
    state = {n: t for n, t in net.state_dict().items() if ".parametrizations." not in n}
    for name, layer in net.named_modules():
        if parametrize.is_parametrized(layer, "weight"):
            layer.train()
            for _ in range(refresh):
                _ = layer.weight
            state[f"{name}.weight"] = layer.eval().weight
    return state
