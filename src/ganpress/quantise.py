"""Fake quantisation: GAN Slimming, equations 7-10, signed, per-channel and learned variants.

    q_a(a) = round(clamp(a, 0, p) / s_a) s_a,  s_a = p / 2^m            (7)
    q_w(w) = round(w / s_w) s_w,               s_w = max|w| / 2^(n-1)   (8)
    gradients: 1 inside [0, p] for a, else 0 (9); 1 for w (10)

Where the authors' code departs (methods.md 2.1), both readings are here: the weight scale is
max|w| / (2^(n-1) - 1) in the code (127 levels a side; the paper's 128 does not fit int8), and the
paper's activation grid of 2^m steps has 257 levels at m = 8, one too many for a byte. The default
(`levels="int"`) has exactly the levels an integer of that many bits holds; `levels="gs2020"` is the
authors' grid. Their code also clamps signed inputs (the residual trunk) at 0: `trunk="clamped"`.

The range p is one number a layer: fixed (the paper's 4), calibrated on what the teacher's layers
hear, or a parameter that is learned with the weights (`learn_ranges`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ganpress.errors import ConfigError
from ganpress.nn.layers import Quantisable, out_axes, quantisable, read_inputs

LEAST_RANGE = 1e-3
QUANTILE = 0.9999  # of |input|; 0.999 cuts so much that the picture is 3 to 6 times as far off


class _RoundClamped(torch.autograd.Function):
    """round(clamp(x, low, high) / step) * step; gradient 1 inside [low, high], else 0 (eq. 9).

    Four passes over ``x`` forward and one backward; what is saved is ``x`` itself, which the
    activation before it mostly keeps anyway, and no mask.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float, step: float) -> Tensor:
        """One allocation, then in place."""
        ctx.save_for_backward(x)
        ctx.range = low, high
        return x.clamp(low, high).div_(step).round_().mul_(step)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """Straight through, inside the range."""
        (x,) = ctx.saved_tensors
        return _inside(grads[0], x, *ctx.range), None, None, None


class _RoundLearned(torch.autograd.Function):
    """`_RoundClamped` whose range is a parameter p: low is 0 or -p, the step p / steps.

    With q the output, dq/dp = (q - x) / p inside the range (LSQ: Esser et al., ICLR 2020, eq. 3)
    and q / p, that is 0 or +-1, outside (PACT: Choi et al., 2018).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: Tensor, steps: int, signed: bool) -> Tensor:
        """As `_RoundClamped`; the output that is saved is the one the convolution keeps."""
        high = max(LEAST_RANGE, float(p.detach()))
        low = -high if signed else 0.0
        step = high / steps
        q = x.clamp(low, high).div_(step).round_().mul_(step)
        ctx.save_for_backward(x, q)
        ctx.range = low, high
        return q

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Straight through for x; for p the sum of grad * dq/dp."""
        x, q = ctx.saved_tensors
        low, high = ctx.range
        inside = _inside(grads[0], x, low, high)
        to_p = ((grads[0] * q).sum() - (inside * x).sum()) / high
        return inside, to_p, None, None


def _inside(grad: Tensor, x: Tensor, low: float, high: float) -> Tensor:
    """The gradient where low <= x <= high, else 0, in one pass."""
    below, above = _just_outside(low, high, x.dtype)
    out: Tensor = torch.ops.aten.hardtanh_backward(grad, x, below, above)  # 0 at its own bounds
    return out


@functools.lru_cache(256)
def _just_outside(low: float, high: float, dtype: torch.dtype) -> tuple[float, float]:
    """The nearest numbers of this type below ``low`` and above ``high``."""
    ends, beyond = torch.tensor([low, high], dtype=dtype), torch.tensor([-math.inf, math.inf])
    below, above = torch.nextafter(ends, beyond.to(dtype)).tolist()
    return below, above


def steps_of(bits: int, *, signed: bool, levels: str) -> int:
    """The steps from 0 to the range p of an activation grid; a signed one has as many below 0."""
    return (1 << bits - int(signed)) - int(levels != "gs2020")


def fake_activation(
    x: Tensor,
    *,
    bits: int = 8,
    p: float | Tensor = 4.0,
    signed: bool = False,
    levels: str = "int",
) -> Tensor:
    """q_a of equation 7: clamp to [0, p] (or [-p, p] if signed) and round to a uniform grid.

    Args:
        x: any shape, any real.
        bits: m; p: the range, in the unit of ``x``; a tensor, () float, is learned: it gets a
            gradient, and acts as at least 1e-3.
        levels: "int" has 2^m levels (2^m - 1 if signed), "gs2020" one (two) more.
    Returns: same shape; straight-through gradient inside the range, 0 outside.
    """
    steps = steps_of(bits, signed=signed, levels=levels)
    if isinstance(p, Tensor):
        learned: Tensor = _RoundLearned.apply(x, p, steps, signed)  # type: ignore[no-untyped-call]
        return learned
    low = -p if signed else 0.0
    out: Tensor = _RoundClamped.apply(x, low, p, p / steps)  # type: ignore[no-untyped-call]
    return out


class _RoundWeight(torch.autograd.Function):
    """round(w / step) * step, exactly what is stored; gradient 1 (eq. 10)."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, step: Tensor) -> Tensor:
        """Three passes; nothing is saved."""
        return w.div(step).round_().mul_(step)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Straight through."""
        return grads[0], None


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
    step = weight_scale(w.detach(), bits=bits, out_dim=out_dim)
    out: Tensor = _RoundWeight.apply(w, step)  # type: ignore[no-untyped-call]
    return out


@dataclass(frozen=True)
class FakeQuantiser:
    """What a quantised convolution applies to its input and weight.

    The first layer has an integer weight, but the image it reads is never quantised; the last is
    as the others, or float with ``last="float"``. Biases and norms stay float (as in the authors'
    code).

    Attributes:
        trunk: what becomes of an input that can be negative: a signed grid, or (the authors'
            code) the same as all others, which cuts what is below 0.
    """

    bits: int = 8
    p: float = 4.0
    per_channel: bool = False
    levels: Literal["int", "gs2020"] = "int"
    trunk: Literal["signed", "clamped"] = "signed"
    last: Literal["int8", "float"] = "int8"

    def input(self, x: Tensor, *, signed: bool, learned: Tensor | None = None) -> Tensor:
        """q_a; ``signed``: it can be negative; ``learned``: the range, or None for ``p``."""
        p = self.p if learned is None else learned
        is_signed = self.is_signed(signed)
        return fake_activation(x, bits=self.bits, p=p, signed=is_signed, levels=self.levels)

    def is_signed(self, signed: bool) -> bool:
        """Whether an input that can be negative (or not) has a signed grid."""
        return signed and self.trunk == "signed"

    def weight(self, w: Tensor, *, out_dim: int) -> Tensor:
        """q_w, per tensor or per output channel."""
        return fake_weight(w, bits=self.bits, out_dim=out_dim if self.per_channel else None)

    def card(self) -> dict[str, Any]:
        """What a checkpoint says about it: the settings, and the policy they make, in words."""
        last = "as the others" if self.last == "int8" else "float"
        first = f"int{self.bits} weight, float image"
        policy = {"first": first, "last": last, "norms": "float", "biases": "float"}
        return {**asdict(self), "policy": policy}

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> FakeQuantiser:
        """The quantiser of a card. Cards of before ``trunk`` meant clamped by gs2020."""
        said = {"trunk": "clamped" if card.get("levels") == "gs2020" else "signed", **card}
        said.pop("policy", None)
        return cls(**said)


def quantise(model: nn.Module, quantiser: FakeQuantiser | None) -> nn.Module:
    """Attach a quantiser to every convolution, in place; None removes it (back to float)."""
    if quantiser is not None and not 2 <= quantiser.bits <= 8:
        raise ConfigError(f"Fake quantisation needs 2 to 8 bits, got {quantiser.bits}.")
    for layer in quantisable(model).values():
        stays_float = quantiser is not None and quantiser.last == "float" and _is_last(layer)
        layer.quantiser = None if stays_float else quantiser
        layer.range = None
    return model


def _is_last(layer: Quantisable) -> bool:
    """Whether a convolution writes the picture (or, in StyleGAN2, one of those that it adds up)."""
    return all(a.fixed and a.group == "image" for a in out_axes(layer) or ())


def learn_ranges(net: nn.Module) -> nn.Module:
    """Make each layer's range a parameter, ``<layer>.range`` (() float), in place.

    It starts at the range the layer has: fixed, or calibrated. An optimiser that sees
    `net.parameters()` trains it; Adam's steps do not depend on LSQ's gradient scale.
    """
    for layer in quantisable(net).values():
        if isinstance(layer.quantiser, FakeQuantiser) and layer.quantises_input:
            at = torch.tensor(layer.quantiser.p, device=layer.weight.device)
            layer.range = nn.Parameter(at)
    return net


def fix_ranges(net: nn.Module) -> nn.Module:
    """Write learned ranges into the quantisers and remove the parameters, in place: exact."""
    for layer in quantisable(net).values():
        if isinstance(layer.quantiser, FakeQuantiser) and layer.range is not None:
            layer.quantiser = replace(layer.quantiser, p=range_of(layer))
            layer.range = None
    return net


def range_of(layer: Quantisable) -> float:
    """The range in use in a quantised layer, learned or not."""
    if not isinstance(layer.quantiser, FakeQuantiser):
        raise TypeError("A layer without a fake quantiser has no range.")
    if layer.range is None:
        return layer.quantiser.p
    return max(LEAST_RANGE, float(layer.range.detach()))


def quantiser_of(model: nn.Module) -> FakeQuantiser | None:
    """The quantiser a network carries, or None where it is float."""
    for layer in quantisable(model).values():
        if isinstance(layer.quantiser, FakeQuantiser):
            return replace(layer.quantiser, p=range_of(layer))
    return None


@torch.no_grad()
def calibrate(net: nn.Module, observed: nn.Module, *inputs: Tensor) -> nn.Module:
    """Give each quantised layer of ``net`` the range its input has in ``observed``, in place.

    Args:
        net: quantised; layers of the same names as in ``observed``.
        observed: the float network to watch (the teacher).
        inputs: what the networks read. A layer's range is the 99.99th percentile of |its input|.
    """
    return set_ranges(net, read_inputs(observed, quantisable(observed), inputs, _percentile))


def _percentile(x: Tensor) -> float:
    """The 99.99th percentile of |x|, at least 1e-3."""
    flat = x.abs().flatten()
    place = max(1, int(QUANTILE * flat.numel()))
    return max(LEAST_RANGE, float(flat.kthvalue(place).values))


def ranges_of(net: nn.Module) -> dict[str, float]:
    """The activation range p of each quantised layer."""
    layers = quantisable(net).items()
    return {n: range_of(m) for n, m in layers if isinstance(m.quantiser, FakeQuantiser)}


def set_ranges(net: nn.Module, ranges: Mapping[str, float]) -> nn.Module:
    """Put the ranges of `ranges_of` back, in place; learned ones go on from there."""
    for name, layer in quantisable(net).items():
        if isinstance(layer.quantiser, FakeQuantiser) and name in ranges:
            layer.quantiser = replace(layer.quantiser, p=ranges[name])
            if layer.range is not None:
                layer.range.data.fill_(ranges[name])
    return net
