"""Fake quantisation: GAN Slimming, equations 7-10, and the signed and per-channel variants.

    q_a(a) = round(clamp(a, 0, p) / s_a) s_a,  s_a = p / 2^m            (7)
    q_w(w) = round(w / s_w) s_w,               s_w = max|w| / 2^(n-1)   (8)
    gradients: 1 inside [0, p] for a, else 0 (9); 1 for w (10)

Where the authors' code departs (methods.md 2.1), both readings are here: the weight scale is
max|w| / (2^(n-1) - 1) in the code (127 levels a side; the paper's 128 does not fit int8), and the
paper's activation grid of 2^m steps has 257 levels at m = 8, one too many for a byte. The default
(`levels="int"`) has exactly the levels an integer of that many bits holds; `levels="gs2020"` is the
authors' code, which also clamps signed inputs (the residual trunk) at 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ganpress.errors import ConfigError
from ganpress.nn.layers import convolutions, read_inputs


class _RoundClamped(torch.autograd.Function):
    """round(clamp(x, low, high) / step) * step; gradient 1 inside [low, high], else 0 (eq. 9)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float, step: float) -> Tensor:
        """One clamp, one rounding; the mask is what backward needs."""
        clamped = x.clamp(low, high)
        ctx.save_for_backward(clamped == x)
        return clamped.div_(step).round_().mul_(step)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """Straight through, inside the range."""
        (inside,) = ctx.saved_tensors
        return grads[0] * inside, None, None, None


def fake_activation(
    x: Tensor, *, bits: int = 8, p: float = 4.0, signed: bool = False, levels: str = "int"
) -> Tensor:
    """q_a of equation 7: clamp to [0, p] (or [-p, p] if signed) and round to a uniform grid.

    Args:
        x: any shape, any real.
        bits: m; p: the range, in the unit of ``x``.
    Returns: same shape; straight-through gradient inside the range, 0 outside.
    """
    if levels == "gs2020":
        return _quantise(x, 0.0, p, p / 2**bits)
    if signed:
        return _quantise(x, -p, p, p / (2 ** (bits - 1) - 1))
    return _quantise(x, 0.0, p, p / (2**bits - 1))


def _quantise(x: Tensor, low: float, high: float, step: float) -> Tensor:
    out: Tensor = _RoundClamped.apply(x, low, high, step)  # type: ignore[no-untyped-call]
    return out


def weight_scale(w: Tensor, *, bits: int = 8, out_dim: int | None = None) -> Tensor:
    """The step s_w: max|w| / (2^(n-1) - 1); one for the tensor, or one per output channel."""
    if out_dim is None:
        top = w.abs().amax()
    else:
        top = w.abs().amax([d for d in range(w.ndim) if d != out_dim], keepdim=True)
    step: Tensor = top.clamp_min(1e-8) / (2 ** (bits - 1) - 1)
    return step


def fake_weight(w: Tensor, *, bits: int = 8, out_dim: int | None = None) -> Tensor:
    """q_w of equation 8, symmetric; gradient 1 (eq. 10).

    Args:
        w: any shape. out_dim: None for one scale per tensor (the paper), else the dim that has a
            scale of its own per channel.
    """
    with torch.no_grad():
        scale = weight_scale(w, bits=bits, out_dim=out_dim)
        error = torch.round(w / scale).mul_(scale).sub_(w)
    return w + error


@dataclass(frozen=True)
class FakeQuantiser:
    """What a quantised convolution applies to its input and weight. The image is never quantised,
    biases and norms stay float (as in the authors' code)."""

    bits: int = 8
    p: float = 4.0
    per_channel: bool = False
    levels: Literal["int", "gs2020"] = "int"

    def input(self, x: Tensor, *, signed: bool) -> Tensor:
        """q_a, signed where the layer's input can be negative."""
        return fake_activation(x, bits=self.bits, p=self.p, signed=signed, levels=self.levels)

    def weight(self, w: Tensor, *, out_dim: int) -> Tensor:
        """q_w, per tensor or per output channel."""
        return fake_weight(w, bits=self.bits, out_dim=out_dim if self.per_channel else None)

    def card(self) -> dict[str, Any]:
        """What a checkpoint says about it."""
        return asdict(self)


def quantise(model: nn.Module, quantiser: FakeQuantiser | None) -> nn.Module:
    """Attach a quantiser to every convolution, in place; None removes it (back to float)."""
    if quantiser is not None and not 2 <= quantiser.bits <= 8:
        raise ConfigError(f"Fake quantisation needs 2 to 8 bits, got {quantiser.bits}.")
    for layer in convolutions(model).values():
        layer.quantiser = quantiser
    return model


def quantiser_of(model: nn.Module) -> FakeQuantiser | None:
    """The quantiser a network carries, or None where it is float."""
    for layer in convolutions(model).values():
        if isinstance(layer.quantiser, FakeQuantiser):
            return layer.quantiser
    return None


@torch.no_grad()
def calibrate(net: nn.Module, observed: nn.Module, *inputs: Tensor) -> nn.Module:
    """Give each quantised layer of ``net`` the range its input has in ``observed``, in place.

    Args:
        net: quantised; layers of the same names as in ``observed``.
        observed: the float network to watch (the teacher).
        inputs: what the networks read. A layer's range is the 99.9th percentile of |its input|.
    """
    return set_ranges(net, read_inputs(observed, convolutions(observed), inputs, _percentile))


def _percentile(x: Tensor) -> float:
    """The 99.9th percentile of |x|, at least 1e-3."""
    flat = x.abs().flatten()
    return max(1e-3, float(flat.kthvalue(max(1, int(0.999 * flat.numel()))).values))


def ranges_of(net: nn.Module) -> dict[str, float]:
    """The activation range p of each quantised layer."""
    layers = convolutions(net).items()
    return {n: m.quantiser.p for n, m in layers if isinstance(m.quantiser, FakeQuantiser)}


def set_ranges(net: nn.Module, ranges: Mapping[str, float]) -> nn.Module:
    """Put the ranges of `ranges_of` back, in place."""
    for name, layer in convolutions(net).items():
        if isinstance(layer.quantiser, FakeQuantiser) and name in ranges:
            layer.quantiser = replace(layer.quantiser, p=ranges[name])
    return net
