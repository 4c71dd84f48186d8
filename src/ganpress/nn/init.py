"""How the networks of pix2pix and CycleGAN start, and which of their parameters learn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import nn

from ganpress.nn.norms import is_norm


def normal(net: nn.Module, deviation: float = 0.02) -> nn.Module:
    """Weights of convolutions from N(0, deviation), scales of norms from N(1, deviation), biases 0.

    In place, from torch's global generator (Isola et al., CVPR 2017, section 6.2).
    """
    for layer in net.modules():
        weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
        if _is_convolution(layer) and isinstance(weight, nn.Parameter):
            nn.init.normal_(weight, 0.0, deviation)
        elif is_norm(layer) and isinstance(weight, nn.Parameter):
            nn.init.normal_(weight, 1.0, deviation)
        if isinstance(bias, nn.Parameter):
            nn.init.zeros_(bias)
    return net


def learning(net: nn.Module) -> list[nn.Parameter]:
    """Every parameter but the biases of convolutions that a norm follows.

    The norm subtracts such a bias with the mean, so its gradient is 0 up to rounding. Adam would
    scale that rounding to full steps: the bias would drift at random, and differently on one
    process and on two.
    """
    cancelled = {id(bias) for bias in _cancelled(net)}
    return [p for p in net.parameters() if id(p) not in cancelled]


def _cancelled(net: nn.Module) -> Iterator[nn.Parameter]:
    """Biases of convolutions with a norm next to them in the same module, in order of use."""
    for parent in net.modules():
        for layer, after in pairwise(parent.children()):
            last = _last(layer)
            bias = getattr(last, "bias", None)
            if is_norm(after) and _is_convolution(last) and isinstance(bias, nn.Parameter):
                yield bias


def _last(layer: nn.Module) -> nn.Module:
    """The layer itself, or the last one inside it (a separable convolution's pointwise)."""
    inside = list(layer.children())
    return _last(inside[-1]) if inside else layer


def _is_convolution(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
