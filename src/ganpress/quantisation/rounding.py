"""Rounding to grids with gradients of 1: the autograd functions of `quantise`."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

MIN_RANGE = 1e-3


class RoundClamped(torch.autograd.Function):
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


class RoundLearned(torch.autograd.Function):
    """`RoundClamped` whose range is a parameter p: low is 0 or -p, the step p / steps.

    With q the output, dq/dp = (q - x) / p inside the range (LSQ: Esser et al., ICLR 2020, eq. 3)
    and q / p, that is 0 or +-1, outside (PACT: Choi et al., 2018).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: Tensor, steps: int, signed: bool) -> Tensor:
        """As `RoundClamped`; the output that is saved is the one the convolution keeps."""
        high = max(MIN_RANGE, float(p.detach()))
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


class RoundWeight(torch.autograd.Function):
    """round(w / step) * step, exactly what is stored; gradient 1 (eq. 10). Also of biases."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, step: Tensor) -> Tensor:
        """Three passes; nothing is saved."""
        return w.div(step).round_().mul_(step)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Straight through."""
        return grads[0], None


class RoundWeightClamped(torch.autograd.Function):
    """clamp(round(w / step), low, high) * step, exactly what is stored; gradient 1 (eq. 10)."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, step: Tensor, low: int, high: int) -> Tensor:
        """Four passes; nothing is saved."""
        return w.div(step).round_().clamp_(low, high).mul_(step)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """Straight through."""
        return grads[0], None, None, None
