"""The exact 8-bit form (ADR 0015): the same picture in another program, to the bit.

Every step is a power of two, and image and biases lie on grids as well: products and sums are then
whole numbers times a power of two, which float32 holds exactly (below 2^24 steps) whatever the
order of a sum. The norms sum in double (`nn.norms.set_exact`, which `quantise` calls).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ganpress.errors import ConfigError
from ganpress.nn.layers import Quantisable
from ganpress.quantisation.quantise import IMAGE_STEP, FakeQuantiser, input_step
from ganpress.quantisation.rounding import MIN_RANGE, RoundWeight

SHORT = 0.99  # of the range asked for, where a power of two lies as near


@dataclass(frozen=True)
class ExactQuantiser(FakeQuantiser):
    """A fake quantiser whose steps are powers of two.

    Ranges follow upwards, the image lies on int8 steps of 1/128, biases on the grid of their
    layer's sums, and norms sum in double in eval mode. That makes pictures equal in other programs
    for generators that read images and whose norms are InstanceNorm, BatchNorm or none (cyclegan,
    pix2pix, cartoongan) and whose ``last`` is int8. Layers that read a latent code or labels keep
    float inputs.

    Raises: ConfigError with ``weight_levels="full"``, whose scale is no power of two.
    """

    exact: ClassVar[bool] = True

    @property
    def image_step(self) -> float:
        """Of the grid of the image, whatever ``first`` says."""
        return IMAGE_STEP

    def __post_init__(self) -> None:
        if self.weight_levels == "full":
            raise ConfigError("An exact quantiser has weight_levels 'narrow', not 'full'.")

    def resolved_range(self, p: float, *, signed: bool) -> float:
        """The smallest range of power-of-two steps that is at least `SHORT` * p (for the paper's
        4: 255 steps of 1/64)."""
        steps = self.steps(signed)
        return power_of_two(SHORT * p / steps) * steps

    def learned_range(self, learned: Tensor, *, signed: bool) -> Tensor:
        """`resolved_range` of a parameter, () float; gradient 1."""
        at = self.resolved_range(max(MIN_RANGE, float(learned.detach())), signed=signed)
        p: Tensor = Replaced.apply(learned, at)  # type: ignore[no-untyped-call]
        return p

    def weight_step(self, w: Tensor, *, out_dim: int) -> Tensor:
        """The next power of two at or above the usual step."""
        return powers_of_two(super().weight_step(w, out_dim=out_dim))

    def bias(self, b: Tensor, layer: Quantisable) -> Tensor:
        """The bias on the grid s_x s_w of the layer's sums; gradient 1."""
        of_input = input_step(layer)
        if of_input is None:
            return b
        step = self.weight_step(layer.gated_weight(), out_dim=layer.out_dim) * of_input
        out: Tensor = RoundWeight.apply(b, step.flatten())  # type: ignore[no-untyped-call]
        return out


class Replaced(torch.autograd.Function):
    """A number in the place of a parameter, () float; gradient 1."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, value: float) -> Tensor:
        """() -> ()."""
        return torch.full_like(p, value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Straight through."""
        return grads[0], None


def power_of_two(step: float) -> float:
    """The smallest power of two at or above a positive number, exactly."""
    mantissa, exponent = math.frexp(step)  # in [0.5, 1)
    return math.ldexp(1.0, exponent - int(mantissa == 0.5))


def powers_of_two(steps: Tensor) -> Tensor:
    """`power_of_two` of each number, any shape."""
    mantissas, _ = torch.frexp(steps)
    return torch.where(mantissas == 0.5, steps, steps / mantissas)


def make_quantiser(*, exact: bool = False, **settings: Any) -> FakeQuantiser:
    """A `FakeQuantiser` of these settings, or the exact form of it."""
    return (ExactQuantiser if exact else FakeQuantiser)(**settings)


def quantiser_from_card(card: Mapping[str, Any]) -> FakeQuantiser:
    """The quantiser of a `FakeQuantiser.card`. Cards of before ``trunk`` meant clamped by
    gs2020."""
    said = {"trunk": "clamped" if card.get("levels") == "gs2020" else "signed", **card}
    said.pop("policy", None)
    return make_quantiser(**said)
