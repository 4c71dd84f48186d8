"""The way back from `take`: put a network into a wider one of zero channels, without a change.

An added channel has filters, biases and shifts of 0, and whatever reads it has weights of 0 there.
InstanceNorm and BatchNorm make 0 of it (running mean 0, variance 1), AdaIN and SPADE multiply and
shift it by 0, a style of StyleGAN2 scales it by 0; noise that is added to it is read by no one.
Concatenated groups and channels with several rows each keep their places.

What cannot be widened is a group behind which a LayerNorm takes its statistics over all channels
(`normalised_together`): they would see the zeros.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ganpress.channels.take import Build
from ganpress.errors import WidthsError
from ganpress.nn.adain import SampleNorm
from ganpress.nn.axes import Dim, axes, size, tags, widths
from ganpress.nn.layers import gated_layers, quantisable
from ganpress.nn.norms import is_norm


def widen(build: Build, model: nn.Module, wanted: Mapping[str, int]) -> nn.Module:
    """A new network of these widths that computes what ``model`` computes.

    Args:
        build: widths -> network, of the same family and options as ``model``.
        model: without gates and quantisers. A block that was emptied is filled with zeros.
        wanted: channels of each group to change, each at least what it has.
    Raises: WidthsError for a group that would be narrower, or that `normalised_together` names.
    """
    have = widths(model)
    _check(model, have, wanted)
    with torch.device("meta"):
        wide = build({**have, **wanted})
    ones, new, old = _ones(wide), axes(wide), axes(model)
    device = next(model.parameters()).device
    own = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    state = {}
    for name, shape in wide.state_dict().items():
        blank = float(name in ones)
        if name not in own:  # of a block that was emptied
            state[name] = torch.full(shape.shape, blank, dtype=shape.dtype, device=device)
            continue
        tensor = own[name].clone()
        for d, dim in enumerate(new.get(name, ())):
            if dim is not None:
                tensor = _spread(tensor, d, dim, old[name][d], blank)
        state[name] = tensor
    wide.load_state_dict(state, strict=True, assign=True)
    return wide.train(model.training)


def normalised_together(model: nn.Module) -> set[str]:
    """Groups whose channels share the statistics of one norm, so that a zero channel changes the
    others."""
    found = [m for m in model.modules() if isinstance(m, SampleNorm)]
    return {axis.group for m in found for axis in tags(m)["weight"][0] or ()}


def _check(model: nn.Module, have: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    if any(m.quantiser is not None for m in quantisable(model).values()) or any(
        m.gate is not None for m in gated_layers(model).values()
    ):
        raise WidthsError("A network with gates or quantisers cannot be widened: fold them first.")
    together = normalised_together(model)
    for group, width in wanted.items():
        if width < have.get(group, 0):
            raise WidthsError(f"Group '{group}' has {have[group]} channels, more than {width}.")
        if width > have.get(group, 0) and group in together:
            raise WidthsError(
                f"Group '{group}' cannot be widened from {have.get(group)} to {width}: the "
                "LayerNorm behind it takes its statistics over all channels."
            )


def _ones(model: nn.Module) -> set[str]:
    """Names of the tensors that are 1 where a channel does nothing: scales and variances."""
    return {
        f"{path}.{leaf}"
        for path, module in model.named_modules()
        if is_norm(module)
        for leaf in ("weight", "gain", "running_var")
    }


def _spread(tensor: Tensor, d: int, new: Dim, old: Dim, blank: float) -> Tensor:
    """The rows along dim ``d`` at the places that their axes have in the wider tensor."""
    rows, start = [], 0
    for wide, narrow in zip(new or (), old or (), strict=True):
        rows.append(start + torch.arange(narrow.width * narrow.span))
        start += wide.width * wide.span
    shape = list(tensor.shape)
    shape[d] = size(new or ())
    out = torch.full(shape, blank, dtype=tensor.dtype, device=tensor.device)
    return out.index_copy_(d, torch.cat(rows).to(tensor.device), tensor)
