"""Norms with running statistics, taken into the convolutions before them.

In eval mode such a norm multiplies each channel by a number and adds another. A float weight takes
the number in as it is. A quantised one keeps its integer levels: the step of each output channel
takes it in (and the levels its sign), so that every channel has a step of its own afterwards,
whatever the quantiser had. What is added becomes the bias, on the grid of the layer's sums where
its input is on a grid, so that a runtime has integers from the input to the output.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ganpress.formats.exporters.quantiser import ExportQuantiser
from ganpress.nn.axes import tags
from ganpress.nn.blocks import Separable
from ganpress.nn.layers import Quantisable, quantisable

LOWEST = -128  # of int8: its opposite is none


class Passed(nn.Module):
    """In the place of a norm that a convolution has taken in; norms of classes are called with
    these, too."""

    def forward(self, x: Tensor, *_: Tensor | None) -> Tensor:
        """(n, c, h, w), as it is."""
        return x


@torch.no_grad()
def fold_norms(net: nn.Module) -> nn.Module:
    """Take each BatchNorm that reads one convolution alone into that, in place: the same function
    in eval mode, up to the rounding of floats and, with quantisers, of biases to the grids of sums.
    Where outputs are rounded, too, so are the biases of all other layers.

    Args: net: float, or with `ExportQuantiser`s.
    """
    for layer, parent, name in normed_layers(net):
        norm = parent.get_submodule(name)
        scale, shift = scale_and_shift(norm)
        if _take_in(layer, scale, shift):
            owner, _, leaf = name.rpartition(".")
            setattr(parent.get_submodule(owner), leaf, Passed())
    for other in quantisable(net).values():
        _round_bias(other)
    return net


def _round_bias(layer: Any) -> None:
    """Where outputs are rounded, put the bias of a layer without a norm on the grid of its sums."""
    quantiser, bias = layer.quantiser, layer.bias
    wanted = isinstance(quantiser, ExportQuantiser) and quantiser.wants_integers
    if wanted and bias is not None and not quantiser.rounds_bias:
        quantiser.give_steps(quantiser.step.expand(len(bias)).clone(), layer.out_dim)
        quantiser.round_bias(bias.double())


def normed_layers(net: nn.Module) -> Iterator[tuple[Quantisable, nn.Module, str]]:
    """Each convolution whose output only a BatchNorm of running statistics reads, the module that
    has both, and the norm's name in that.

    Blocks say by ``normed`` which of their parts read which.
    """
    for parent in list(net.modules()):
        for name, behind in getattr(parent, "normed", ()):
            if not (hasattr(parent, name) and _is_constant(parent, behind)):
                continue  # an emptied block has neither
            layer: Any = parent.get_submodule(name)
            layer = layer.pointwise if isinstance(layer, Separable) else layer
            if isinstance(layer, Quantisable):
                yield layer, parent, behind


def _is_constant(parent: nn.Module, name: str) -> bool:
    """Whether a norm multiplies and adds the same numbers whatever it reads, in eval mode."""
    try:
        norm: Any = parent.get_submodule(name)
    except AttributeError:
        return False
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None:
        return False
    return getattr(norm, "gain", None) is None and not getattr(norm, "exact", False)


def scale_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    """What a BatchNorm multiplies each channel by in eval mode, and what it adds: (c,), double."""
    scale = torch.rsqrt(norm.running_var.double() + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.double()


def _take_in(layer: Any, scale: Tensor, shift: Tensor) -> bool:
    """Multiply a layer's outputs by ``scale`` and add ``shift``, in place; whether that can be."""
    dim = layer.out_dim
    [*made] = tags(layer)["weight"][dim] or ()
    [axis] = made
    scale, shift = (t.repeat_interleave(axis.span) for t in (scale, shift))
    quantiser = layer.quantiser
    column = [1] * layer.weight.ndim
    column[dim] = -1
    if isinstance(quantiser, ExportQuantiser):
        signs = torch.where(scale < 0, -1, 1).to(torch.int8).view(column)
        if bool(((quantiser.levels == LOWEST) & (signs < 0)).any()):
            return False
        quantiser.levels = quantiser.levels * signs
        quantiser.give_steps((quantiser.step.double() * scale.abs()).float(), dim)
    layer.weight = nn.Parameter((layer.weight.double() * scale.view(column)).float())
    bias = shift if layer.bias is None else shift + scale * layer.bias.double()
    layer.bias = nn.Parameter(bias.float())
    if isinstance(quantiser, ExportQuantiser):
        quantiser.round_bias(bias)
    return True
