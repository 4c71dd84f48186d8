"""Fake quantisation: GAN Slimming, equations 7-10, signed, per-channel and learned variants.

    q_a(a) = round(clamp(a, 0, p) / s_a) s_a,  s_a = p / 2^m            (7)
    q_w(w) = round(w / s_w) s_w,               s_w = max|w| / 2^(n-1)   (8)
    gradients: 1 inside [0, p] for a, else 0 (9); 1 for w (10)

Where the authors' code departs (methods.md 2.1), both readings are here:

- The weight scale is max|w| / (2^(n-1) - 1) in the code, 127 levels a side (`weight_levels=
  "narrow"`, the default). By equation 8 the largest weight can be on level 128, which int8 does not
  hold: levels are clamped to [-2^(n-1), 2^(n-1) - 1] (`weight_levels="full"`).
- The paper's activation grid of 2^m steps has 257 levels at m = 8, one too many for a byte. The
  default (`levels="int"`) has exactly the levels an integer of that many bits holds;
  `levels="gs2020"` is the authors' grid.
- Their code clamps signed inputs (the residual trunk) at 0: `trunk="clamped"`.

The range p is one number a layer: fixed (the paper's 4), calibrated (a high percentile of |input|
of the same layer of the float teacher), or a parameter that is learned with the weights
(`learn_ranges`).

The form that makes the same picture in another program is `exact.ExactQuantiser`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ganpress.errors import ConfigError
from ganpress.nn.integer_layers import output_grids
from ganpress.nn.layers import Quantisable, out_axes, quantisable, read_inputs
from ganpress.nn.norms import set_exact
from ganpress.quantisation.rounding import (
    MIN_RANGE,
    RoundClamped,
    RoundLearned,
    RoundWeight,
    RoundWeightClamped,
)

IMAGE_STEP = 2.0**-7  # int8 from -1 to 127/128
QUANTILE = 0.9999  # of |input|; 0.999 cuts so much that the picture is 3 to 6 times as far off


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
        learned: Tensor = RoundLearned.apply(x, p, steps, signed)  # type: ignore[no-untyped-call]
        return learned
    low = -p if signed else 0.0
    out: Tensor = RoundClamped.apply(x, low, p, p / steps)  # type: ignore[no-untyped-call]
    return out


def weight_scale(
    w: Tensor, *, bits: int = 8, out_dim: int | None = None, levels: str = "narrow"
) -> Tensor:
    """The step s_w; one for the tensor, or one per output channel.

    Args:
        levels: "narrow": max|w| / (2^(n-1) - 1); "full": equation 8's max|w| / 2^(n-1).
    """
    if out_dim is None:
        top = w.abs().amax()
    else:
        top = w.abs().amax([d for d in range(w.ndim) if d != out_dim], keepdim=True)
    step: Tensor = top.clamp_min(1e-8) / (2 ** (bits - 1) - int(levels != "full"))
    return step


def fake_weight(
    w: Tensor, *, bits: int = 8, out_dim: int | None = None, levels: str = "narrow"
) -> Tensor:
    """q_w of equation 8; gradient 1 (eq. 10), also where a level is clamped.

    Args:
        w: any shape. out_dim: None for one scale per tensor (the paper), else the dim that has a
            scale of its own per channel. levels: see `weight_scale`.
    Returns: same shape, whole steps: 2^(n-1) - 1 of them to each side, or with "full" one more
        below 0.
    """
    step = weight_scale(w.detach(), bits=bits, out_dim=out_dim, levels=levels)
    return round_weight(w, step, bits=bits, levels=levels)


def round_weight(w: Tensor, step: Tensor, *, bits: int, levels: str) -> Tensor:
    """`fake_weight` where the step is known."""
    if levels == "full":
        top = 2 ** (bits - 1)
        cut: Tensor = RoundWeightClamped.apply(w, step, -top, top - 1)  # type: ignore[no-untyped-call]
        return cut
    out: Tensor = RoundWeight.apply(w, step)  # type: ignore[no-untyped-call]
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
        weight_levels: see `weight_scale`.
        first: what the first layer reads: the image as it is, or rounded to int8.
        outputs: what becomes of outputs that no quantised layer reads at once (`OutputGrid`): they
            stay floats, or are rounded to all levels of an integer, one more below 0 than above.
        exact: whether it is an `exact.ExactQuantiser`.
    """

    bits: int = 8
    p: float = 4.0
    per_channel: bool = False
    levels: Literal["int", "gs2020"] = "int"
    trunk: Literal["signed", "clamped"] = "signed"
    last: Literal["int8", "float"] = "int8"
    weight_levels: Literal["narrow", "full"] = "narrow"
    first: Literal["float", "int8"] = "float"
    outputs: Literal["float", "int8"] = "float"
    exact: ClassVar[bool] = False

    @property
    def image_step(self) -> float | None:
        """The step of the grid on which the first layer reads the image; None: it reads floats."""
        return IMAGE_STEP if self.first == "int8" else None

    def input(self, x: Tensor, *, signed: bool, learned: Tensor | None = None) -> Tensor:
        """q_a; ``signed``: it can be negative; ``learned``: the range, or None for ``p``."""
        p: float | Tensor = (
            self.resolved_range(self.p, signed=signed)
            if learned is None
            else self.learned_range(learned, signed=signed)
        )
        is_signed = self.is_signed(signed)
        return fake_activation(x, bits=self.bits, p=p, signed=is_signed, levels=self.levels)

    def steps(self, signed: bool) -> int:
        """`steps_of` an input that can be negative (or not)."""
        return steps_of(self.bits, signed=self.is_signed(signed), levels=self.levels)

    def resolved_range(self, p: float, *, signed: bool) -> float:
        """The range in use where ``p`` is asked for: p itself."""
        return p

    def learned_range(self, learned: Tensor, *, signed: bool) -> Tensor:
        """The range in use of a parameter, () float, with its gradient: the parameter itself."""
        return learned

    def is_signed(self, signed: bool) -> bool:
        """Whether an input that can be negative (or not) has a signed grid."""
        return signed and self.trunk == "signed"

    def weight(self, w: Tensor, *, out_dim: int) -> Tensor:
        """q_w, per tensor or per output channel."""
        step = self.weight_step(w, out_dim=out_dim)
        return round_weight(w, step, bits=self.bits, levels=self.weight_levels)

    def weight_step(self, w: Tensor, *, out_dim: int) -> Tensor:
        """s_w: () per tensor, or as many dims as ``w`` per output channel."""
        dim = out_dim if self.per_channel else None
        return weight_scale(w.detach(), bits=self.bits, out_dim=dim, levels=self.weight_levels)

    def weight_integers(self, w: Tensor, *, out_dim: int) -> tuple[Tensor, Tensor]:
        """A weight as it is stored: its levels, int8, and s_w, which they are multiplied by."""
        step = self.weight_step(w, out_dim=out_dim)
        top = 2 ** (self.bits - 1) - 1
        whole = torch.round(w.detach() / step)
        return whole.clamp_(-top - int(self.weight_levels == "full"), top).to(torch.int8), step

    def weight_of(self, integers: Tensor, step: Tensor) -> Tensor:
        """The float weight of `weight_integers`, of which `weight` makes just these levels again.

        With all levels in use the scale is computed from the largest weight: where that was above
        0, and its level is the clamped one, it is what it was before.
        """
        w = integers.float() * step
        if self.weight_levels == "full":
            top = 2 ** (self.bits - 1)
            dims = [d for d in range(w.ndim) if step.ndim == 0 or step.shape[d] == 1]
            no_lowest = integers.amin(dims, keepdim=True) > -top
            w = torch.where(no_lowest & (integers == top - 1), top * step, w)
        return w

    def image(self, x: Tensor) -> Tensor:
        """The picture as the first layer reads it, (n, c, h, w) in [-1, 1]: as it is, or on the
        grid of ``image_step``; gradient 1 inside."""
        step = self.image_step
        if step is None:
            return x
        out: Tensor = RoundClamped.apply(x, -1.0, 1.0 - step, step)  # type: ignore[no-untyped-call]
        return out

    def bias(self, b: Tensor, layer: Quantisable) -> Tensor:
        """The bias that the layer adds: as it is."""
        return b

    @property
    def output_bounds(self) -> tuple[float, float, float]:
        """Lowest and highest value, and step, of the grid of an output of range ``p``."""
        step = self.p / (2 ** (self.bits - 1) - 1)
        return -self.p - step, self.p, step

    def output(self, x: Tensor) -> Tensor:
        """An output on its grid, any shape; gradient 1 inside."""
        out: Tensor = RoundClamped.apply(x, *self.output_bounds)  # type: ignore[no-untyped-call]
        return out

    def card(self) -> dict[str, Any]:
        """The entry of a checkpoint's card: the settings, and what they amount to, in words."""
        last = "as the others" if self.last == "int8" else "float"
        others = "exact" if self.exact else "float"
        first = f"int{self.bits} weight, {'float' if self.image_step is None else 'int8'} image"
        policy = {"first": first, "last": last, "norms": others, "biases": others}
        return {**asdict(self), "exact": self.exact, "policy": policy}


def quantise(model: nn.Module, quantiser: FakeQuantiser | None) -> nn.Module:
    """Attach a quantiser to every convolution, in place; None removes it (back to float)."""
    if quantiser is not None and not 2 <= quantiser.bits <= 8:
        raise ConfigError(f"Fake quantisation needs 2 to 8 bits, got {quantiser.bits}.")
    for layer in quantisable(model).values():
        stays_float = quantiser is not None and quantiser.last == "float" and _is_last(layer)
        layer.quantiser = None if stays_float else quantiser
        layer.range = None
    for grid in output_grids(model).values():
        rounds = quantiser is not None and quantiser.outputs == "int8"
        grid.quantiser = quantiser if rounds else None
    set_exact(model, quantiser is not None and quantiser.exact)
    return model


def _is_last(layer: Quantisable) -> bool:
    """Whether a convolution writes the picture (or, in StyleGAN2, one of those that it adds up)."""
    return all(a.fixed and a.group == "image" for a in out_axes(layer) or ())


def learn_ranges(net: nn.Module) -> nn.Module:
    """Make each layer's range a parameter, ``<layer>.range`` (() float), in place; outputs keep
    theirs. It starts at the range the layer has, fixed or calibrated. An optimiser that sees
    `net.parameters()` trains it; Adam's steps do not depend on LSQ's gradient scale.
    """
    for layer in quantisable(net).values():
        if isinstance(layer.quantiser, FakeQuantiser) and layer.quantises_input:
            at = torch.tensor(layer.quantiser.p, device=layer.weight.device)
            layer.range = nn.Parameter(at)
    return net


def range_of(layer: Quantisable) -> float:
    """The range in use in a quantised layer, learned or not."""
    if not isinstance(layer.quantiser, FakeQuantiser):
        raise TypeError("A layer without a fake quantiser has no range.")
    learned = layer.range
    p = layer.quantiser.p if learned is None else max(MIN_RANGE, float(learned.detach()))
    return layer.quantiser.resolved_range(p, signed=layer.signed)


def input_step(layer: Quantisable) -> float | None:
    """The step of the grid on which a layer's input lies: of its range, or of the image; None
    where it reads floats."""
    q = layer.quantiser
    assert isinstance(q, FakeQuantiser)
    if layer.quantises_input:
        return range_of(layer) / q.steps(layer.signed)
    return q.image_step if layer.reads_image else None


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
    read = {**quantisable(observed), **output_grids(observed)}
    return set_ranges(net, read_inputs(observed, read, inputs, _percentile))


def _percentile(x: Tensor) -> float:
    """The 99.99th percentile of |x|, at least 1e-3."""
    flat = x.abs().flatten()
    place = max(1, int(QUANTILE * flat.numel()))
    return max(MIN_RANGE, float(flat.kthvalue(place).values))


def ranges_of(net: nn.Module) -> dict[str, float]:
    """The activation range p of each quantised layer, and of each output with a grid."""
    layers, grids = quantisable(net).items(), output_grids(net).items()
    found = {n: range_of(m) for n, m in layers if isinstance(m.quantiser, FakeQuantiser)}
    return found | {n: g.quantiser.p for n, g in grids if isinstance(g.quantiser, FakeQuantiser)}


def set_ranges(net: nn.Module, ranges: Mapping[str, float]) -> nn.Module:
    """Put the ranges of `ranges_of` back, in place; learned ones go on from there."""
    for name, layer in quantisable(net).items():
        if isinstance(layer.quantiser, FakeQuantiser) and name in ranges:
            layer.quantiser = replace(layer.quantiser, p=ranges[name])
            if layer.range is not None:
                layer.range.data.fill_(ranges[name])
    for name, grid in output_grids(net).items():
        if isinstance(grid.quantiser, FakeQuantiser) and name in ranges:
            grid.quantiser = replace(grid.quantiser, p=ranges[name])
    return net
