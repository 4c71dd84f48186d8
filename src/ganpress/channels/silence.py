"""Cutting channels whose scale is zero, without changing the image.

A channel with gamma = 0 still emits a constant, act(beta). `absorb_constants` moves that constant
into the bias of every layer that reads it, so that the channel can be cut.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ganpress.channels.response import SMALL, border_share, mean_response
from ganpress.channels.take import Build, scales, shrink
from ganpress.nn.axes import Axis, widths
from ganpress.nn.layers import (
    Conv2d,
    ConvTranspose2d,
    convolutions,
    fold_gates,
    in_axes,
    is_depthwise,
    out_axes,
    quantisable,
    read_inputs,
)
from ganpress.nn.modes import in_eval
from ganpress.types import Inputs, Keep

SEEN = 1e-3
"""Largest change of a picture in [-1, 1] without a warning: an eighth of a grey level."""


NAMED = 3
"""Layers that a warning names; of more it says how many."""


class InputMeans(NamedTuple):
    """The mean of a layer's input over a batch: of each channel, (in,), and of each place of its
    map, (in, h, w). Where channels are silent, both hold their constants."""

    constants: Tensor
    maps: Tensor


def silent(model: nn.Module) -> dict[str, Tensor]:
    """Channels of each scaled group that are zero in all of the group's scales, (k,) int64."""
    with torch.no_grad():
        magnitudes = {
            g: torch.stack([s.abs() for s in ss]).amax(0) for g, ss in scales(model).items()
        }
    return {
        group: (magnitude == 0).nonzero()[:, 0].cpu() for group, magnitude in magnitudes.items()
    }


@torch.no_grad()
def absorb_constants(model: nn.Module, gone: Keep, *inputs: Tensor) -> nn.Module:
    """Move what the silent channels emit into the next biases, in place.

    The constants are read off a forward pass of ``inputs`` (any: silent channels do not depend on
    them), of each class where norms have gains and shifts of classes: what a class adds beside the
    mean goes to its shift in the norm behind the reader. Exact where the reader is reflect-padded
    or unpadded. Under zero padding the first and last rows and columns keep a difference, and under
    a strided transposed convolution (whose taps differ from pixel to pixel) the mean is what is
    absorbed. On maps so small that these borders are a good part of them (`response.SMALL`) it is
    the mean over the whole map, borders included, which has the smallest squared error. An
    InstanceNorm behind such a reader cancels the bias and spreads the difference: there,
    fine-tuning has to mend it.

    A reader without a bias has no place for a constant. A norm behind it that computes its
    statistics anew (InstanceNorm, or a BatchNorm that is recalibrated) would cancel it anyway, but
    at the borders; without one it is lost.

    Args:
        gone: indices of silent channels of each group.
        inputs: what the network reads.
    Warns of readers without a bias where that changes the pictures made of ``inputs``.
    """
    readers = {
        name: layer
        for name, layer in convolutions(model).items()
        if not is_depthwise(layer) and any(a.group in gone for a in in_axes(layer) or ())
    }
    measured = [
        read_inputs(model, readers, some, lambda x: InputMeans(x.mean((0, 2, 3)), x.mean(0)))
        for some in _class_by_class(model, inputs)
    ]
    emitted = {
        name: torch.stack([_emitted(layer, one[name], gone) for one in measured])
        for name, layer in readers.items()
        if name in measured[0]
    }
    _warn_of_loss(model, {n: e for n, e in emitted.items() if readers[n].bias is None}, inputs)
    behind: dict[str, str] = getattr(model, "norms_behind", {})
    for name, constants in emitted.items():
        bias = readers[name].bias
        if bias is not None:
            bias += constants.mean(0)
            if name in behind:
                norm: Any = model.get_submodule(behind[name])
                norm.take_in(constants - constants.mean(0))
    return model


def _warn_of_loss(model: nn.Module, lost: Mapping[str, Tensor], inputs: Inputs) -> None:
    """Warn of the layers, by name, whose pictures change by more than `SEEN` without what ``lost``
    holds, (classes, out)."""
    some = {name: e.mean(0) for name, e in lost.items() if e.any()}
    if not some:
        return
    found = []
    with in_eval(model):
        before: Tensor = model(*inputs)
        for name, constant in some.items():

            def without(_m: object, _i: object, out: Tensor, c: Tensor = constant) -> Tensor:
                return out - c.view(1, -1, 1, 1)

            handle = model.get_submodule(name).register_forward_hook(without)
            after: Tensor = model(*inputs)
            handle.remove()
            if float((after - before).abs().max()) > SEEN:
                found.append(name)
    if found:
        more = f" and {len(found) - NAMED} layers more" if len(found) > NAMED else ""
        warnings.warn(
            f"What channels that are cut add to {', '.join(found[:NAMED])}{more} is lost: there is "
            "no bias to take their constants in, and no norm behind that cancels them. Fine-tuning "
            "has to mend it.",
            stacklevel=3,
        )


def _class_by_class(model: nn.Module, inputs: Inputs) -> list[Inputs]:
    """The inputs with each class in turn, where a network reads one-hot classes as its last."""
    if not getattr(model, "norms_behind", {}):
        return [inputs]
    *others, y = inputs
    return [(*others, row.expand_as(y)) for row in torch.eye(y.shape[1]).to(y)]


def _emitted(layer: Conv2d | ConvTranspose2d, means: InputMeans, gone: Keep) -> Tensor:
    """What the silent input channels add to each output channel of ``layer``, (out,)."""
    mask = torch.zeros_like(means.constants)
    start = 0
    for axis in in_axes(layer) or ():
        _mark(mask, start, axis, gone)
        start += axis.width * axis.span
    if border_share(layer, *means.maps.shape[1:]) >= SMALL:
        return mean_response(layer, means.maps * mask.view(-1, 1, 1))
    value = (means.constants * mask).view(1, -1, 1, 1)
    value, w = layer.operands(value)
    per_tap = w.sum((2, 3)) if isinstance(layer, Conv2d) else w.sum((2, 3)).T / _area(layer)
    return per_tap @ value.view(-1)


def _mark(mask: Tensor, start: int, axis: Axis, gone: Keep) -> None:
    index = gone.get(axis.group)
    if axis.fixed or index is None or isinstance(index, int):
        return
    rows = start + index[:, None] * axis.span + torch.arange(axis.span)
    mask[rows.reshape(-1).to(mask.device)] = 1


def _area(layer: ConvTranspose2d) -> int:
    return layer.stride[0] * layer.stride[1]


def scale_magnitudes(model: nn.Module) -> dict[str, Tensor]:
    """Root mean square of each channel's scales over its group's producers, (width,) each."""
    with torch.no_grad():
        return {
            group: torch.stack([s.detach().square() for s in ss]).mean(0).sqrt()
            for group, ss in scales(model).items()
        }


def survivors(
    model: nn.Module, *, floors: int | Mapping[str, int] = 1, may_vanish: Collection[str] = ()
) -> dict[str, Tensor]:
    """Channels to keep of each scaled group: those with a scale that is not zero.

    A group with fewer than its floor keeps its heaviest producers' channels up to that (all, if it
    has fewer), unless it may vanish altogether and every scale is zero.
    """
    keep = {}
    for group, magnitude in scale_magnitudes(model).items():
        n = int((magnitude > 0).sum())
        if n == 0 and group in may_vanish:
            keep[group] = torch.empty(0, dtype=torch.int64)
            continue
        floor = floors if isinstance(floors, int) else floors[group]
        n = min(len(magnitude), max(n, floor))
        heavy = (
            _producer_weight(model, group)
            .argsort(descending=True, stable=True)
            .to(magnitude.device)
        )
        rank = heavy[magnitude[heavy].argsort(descending=True, stable=True)]  # ties: by weight
        keep[group] = rank[:n].sort().values.cpu()
    return keep


def warn_of_floor(groups: Sequence[str], min_channels: int) -> None:
    """Warn that these groups would have lost every channel; nothing where there is none."""
    if groups:
        warnings.warn(
            f"Every channel of {', '.join(groups)} was to be cut: at least {min_channels} of each "
            "are kept, or all it has. So narrow a group can hold back the whole network: lower "
            "sparsify.rho, or raise min_channels.",
            stacklevel=3,
        )


def _producer_weight(model: nn.Module, group: str) -> Tensor:
    """Mean absolute weight behind each channel of a group, scaled to at most 1."""
    total: Tensor | None = None
    for layer in quantisable(model).values():
        dim = out_axes(layer)
        if dim is None or len(dim) != 1 or dim[0].group != group or dim[0].fixed:
            continue
        rows = layer.weight.detach().transpose(0, layer.out_dim).abs().flatten(1)
        w = rows.reshape(dim[0].width, -1).mean(1)
        total = w if total is None else total + w
    if total is None:
        return torch.zeros(widths(model)[group])
    return total / total.max().clamp_min(1e-12)


def extract(build: Build, model: nn.Module, keep: Keep, *inputs: Tensor) -> nn.Module:
    """The small network: gates folded, constants of the cut channels absorbed, channels cut.

    ``model`` itself is changed: its gates are folded and its biases carry the constants.

    Args:
        keep: indices kept of each group (`survivors`, or `keep_top` for a target).
        inputs: any that the network reads. Channels that are cut though their scale is not zero
            are replaced by their mean over ``inputs``.
    """
    gone = {}
    for group, kept in keep.items():
        if isinstance(kept, int):
            kept = torch.arange(kept)
        rest = torch.ones(widths(model)[group], dtype=torch.bool)
        rest[kept] = False
        gone[group] = rest.nonzero()[:, 0]
    absorb_constants(fold_gates(model), gone, *inputs)
    return shrink(build, model, keep)
