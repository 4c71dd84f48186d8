"""Tagged normalisation layers, and the identity and shift that can stand in their place."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.errors import ConfigError, did_you_mean
from ganpress.nn.axes import Axis, as_dim, tag

NormKind = Literal["instance", "batch", "none"]


class Shift(nn.Module):
    """x + bias, per channel: what is left of an emptied residual block's last affine norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w)."""
        return x + _column(self.bias)


class InstanceNorm2d(nn.InstanceNorm2d):
    """`nn.InstanceNorm2d` of as many channels as it is given, whose eval mode can be ``exact``:
    statistics in double.

    A sum in double depends on its order by 1e-16, and rounds to the same float32 in any program;
    what follows is one elementwise operation after the other. `quantise` sets the flag.
    """

    exact = False

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w)."""
        if self.training or not self.exact:
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        off = x - x.double().mean((2, 3), keepdim=True).float()
        wide = off.double()
        variance = (wide * wide).mean((2, 3), keepdim=True)
        scale = _inverse_root(variance, self.eps).float()
        if not self.affine:
            return off * scale
        return off * (scale * _column(self.weight)) + _column(self.bias)


class BatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose eval mode can be ``exact``: one scale and shift, computed in double,
    applied one after the other."""

    exact = False

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w)."""
        if self.training or not self.exact:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None
        scale = self.weight.double() * _inverse_root(self.running_var.double(), self.eps)
        shift = self.bias.double() - self.running_mean.double() * scale
        return x * _column(scale.float()) + _column(shift.float())


def _inverse_root(variance: Tensor, eps: float) -> Tensor:
    """1 / sqrt(variance + eps), by operations that IEEE 754 rounds correctly."""
    return 1 / torch.sqrt(variance + eps)


def _column(v: Tensor) -> Tensor:
    """(c,) -> (1, c, 1, 1)."""
    return v.view(1, -1, 1, 1)


def norm(c: Axis, kind: NormKind, *, affine: bool = False, eps: float = 1e-5) -> nn.Module:
    """A normalisation over group ``c``.

    ``instance``: statistics of each image, also in eval mode (no running buffers).
    ``batch``: BatchNorm, always affine, running statistics in eval mode.
    Raises `ConfigError` for another kind.
    """
    if kind not in (kinds := get_args(NormKind)):
        raise ConfigError(
            f"There is no norm '{kind}'{did_you_mean(kind, kinds)}. Norms: {', '.join(kinds)}."
        )
    if kind == "none":
        return nn.Identity()
    dim = as_dim(c)
    if kind == "batch":
        layer: nn.Module = BatchNorm2d(c.width, eps=eps)
        return tag(layer, weight=(dim,), bias=(dim,), running_mean=(dim,), running_var=(dim,))
    layer = InstanceNorm2d(c.width, eps=eps, affine=affine)
    return tag(layer, weight=(dim,), bias=(dim,))


def shift(c: Axis) -> Shift:
    """A per-channel bias over group ``c``."""
    return tag(Shift(c.width), bias=(as_dim(c),))


def set_exact(model: nn.Module, exact: bool) -> None:
    """Set ``exact`` on every norm that has that flag, in place."""
    for layer in model.modules():
        if isinstance(layer, InstanceNorm2d | BatchNorm2d):
            layer.exact = exact


def is_norm(layer: nn.Module) -> bool:
    """Whether a layer is a normalisation that may carry scales."""
    return isinstance(layer, nn.InstanceNorm2d | nn.BatchNorm2d)
