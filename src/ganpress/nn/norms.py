"""Tagged normalisation layers, and the identity and shift that can stand in their place."""

from __future__ import annotations

from typing import Literal, get_args

import torch
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
        return x + self.bias.view(1, -1, 1, 1)


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
        layer: nn.Module = nn.BatchNorm2d(c.width, eps=eps)
        return tag(layer, weight=(dim,), bias=(dim,), running_mean=(dim,), running_var=(dim,))
    layer = nn.InstanceNorm2d(c.width, eps=eps, affine=affine)
    return tag(layer, weight=(dim,), bias=(dim,))


def shift(c: Axis) -> Shift:
    """A per-channel bias over group ``c``."""
    return tag(Shift(c.width), bias=(as_dim(c),))


def is_norm(layer: nn.Module) -> bool:
    """Whether a layer is a normalisation that may carry scales."""
    return isinstance(layer, nn.InstanceNorm2d | nn.BatchNorm2d)
