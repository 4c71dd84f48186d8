"""Cut channels from any network whose layers carry axes: take, shrink, Elastic.

`take` is the one operation all three methods share: slice every tensor to the kept channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ganpress.errors import WidthsError, did_you_mean
from ganpress.nn.axes import Axis, Dim, axes, size, tag, tags, widths
from ganpress.nn.integer_layers import output_grids
from ganpress.nn.layers import gate_dim, gated_layers, quantisable
from ganpress.nn.norms import is_norm, set_exact
from ganpress.types import Keep, State, Widths

Build = Callable[[Widths], nn.Module]


def counts(keep: Keep) -> dict[str, int]:
    """How many channels of each named group are kept, ``{'trunk': 64}``."""
    return {g: k if isinstance(k, int) else len(k) for g, k in keep.items()}


def take(model: nn.Module, keep: Keep) -> State:
    """Slice every parameter and buffer to the kept channels; differentiable.

    Args:
        keep: for each group either indices, (k,) int64, or a count n: the first n, which stays a
            view of the original (GAN Compression's weight sharing). Groups not named stay whole.

    Raises `WidthsError` for a group the network does not have or an index outside it.
    """
    _check(keep, widths(model))
    dims_of, out = axes(model), {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        out[name] = _cut(tensor, dims_of.get(name, ()), keep)
    return out


def _check(keep: Keep, have: Widths) -> None:
    for group, k in keep.items():
        if group not in have:
            raise WidthsError(
                f"keep names no group '{group}'{did_you_mean(group, have)}. "
                f"Groups: {', '.join(have)}."
            )
        low, top = (k, k) if isinstance(k, int) else _ends(k)
        if low < 0:
            raise WidthsError(f"keep asks for channel {low} of '{group}': count from 0.")
        if top > have[group]:
            raise WidthsError(
                f"keep asks for channel {top - 1} of '{group}', which has {have[group]} channels."
            )


def _ends(index: Tensor) -> tuple[int, int]:
    """The lowest index and one past the highest; (0, 0) for none."""
    return (int(index.min()), int(index.max()) + 1) if len(index) else (0, 0)


def _cut(tensor: Tensor, dims: tuple[Dim, ...], keep: Keep, *, together: bool = False) -> Tensor:
    """A tensor at the kept channels; the tensor itself where all of it is kept.

    Args: together: take first-k slices of a trained tensor along all dims at once, as a copy: one
        step of the backward pass, where two would each fill a tensor of full size. Else, and of
        buffers, which a BatchNorm writes its statistics through, they are views.
    """
    removed: dict[int, int] = {}
    for d, dim in enumerate(dims):
        if dim is None or all(a.fixed or a.group not in keep for a in dim):
            continue
        k = keep[dim[0].group] if len(dim) == 1 else None
        if not isinstance(k, int):
            tensor = tensor.index_select(d, _rows(dim, keep).to(tensor.device))
        elif (n := k * dim[0].span) != tensor.shape[d]:
            removed[d] = n - tensor.shape[d]
    if together and len(removed) > 1 and tensor.requires_grad and torch.is_grad_enabled():
        by_dim = [(0, removed.get(d, 0)) for d in reversed(range(tensor.ndim))]
        return F.pad(tensor, [amount for pair in by_dim for amount in pair])
    for d, less in removed.items():
        tensor = tensor.narrow(d, 0, tensor.shape[d] + less)
    return tensor


def _rows(dim: tuple[Axis, ...], keep: Keep) -> Tensor:
    """Row numbers along a dim of concatenated axes that belong to kept channels."""
    rows, start = [], 0
    for axis in dim:
        k: Tensor | int = axis.width if axis.fixed else keep.get(axis.group, axis.width)
        index = torch.arange(k) if isinstance(k, int) else k.cpu()
        rows.append((start + index[:, None] * axis.span + torch.arange(axis.span)).reshape(-1))
        start += axis.width * axis.span
    return torch.cat(rows)


def like(model: nn.Module, build: Build, widths: Widths) -> nn.Module:
    """A fresh network of these widths that carries the same gates and quantisers as ``model``."""
    fresh = build(widths).train(model.training)
    new = quantisable(fresh)
    for name, layer in quantisable(model).items():
        if name not in new:  # the block was emptied
            continue
        new[name].quantiser = layer.quantiser
        if layer.range is not None:
            device = new[name].weight.device
            new[name].range = nn.Parameter(torch.empty_like(layer.range, device=device))
    places = output_grids(fresh)
    for name, grid in output_grids(model).items():
        if name in places:
            places[name].quantiser = grid.quantiser
    gated = gated_layers(fresh)
    for name, layer in gated_layers(model).items():
        if layer.gate is not None and name in gated:
            own = gated[name]
            dim = gate_dim(own)
            own.gate = nn.Parameter(torch.ones(size(dim), device=own.weight.device))
            tag(own, gate=(dim,))
    set_exact(fresh, any(getattr(norm, "exact", False) for norm in model.modules()))
    return fresh


def shrink(build: Build, model: nn.Module, keep: Keep) -> nn.Module:
    """A new, plain network that holds only the kept channels of ``model``.

    Args:
        build: widths -> network, of the same family and options as ``model``.
    """
    with torch.device("meta"):
        small = like(model, build, {**widths(model), **counts(keep)})
    state = take(model, keep)
    wanted = {name: state[name].detach().clone() for name in small.state_dict()}
    small.load_state_dict(wanted, strict=True, assign=True)
    for name, parameter in small.named_parameters():
        parameter.requires_grad_(model.get_parameter(name).requires_grad)
    return small


class Elastic(nn.Module):
    """Run a network at any width without a second class: the network itself, on sliced tensors,
    from which every layer takes its sizes.

    Output and gradient equal those of the network rebuilt at these widths, bit for bit.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._tagged = tuple((path, m) for path, m in model.named_modules() if tags(m))
        self._widths = widths(model)

    def forward(self, keep: Keep, *inputs: Tensor) -> Tensor:
        """The network's output with only ``keep`` of its channels (others whole)."""
        _check(keep, self._widths)
        state = {}
        for path, module in self._tagged:
            dims_of, prefix = tags(module), f"{path}." if path else ""
            for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
                if tensor is not None and name in dims_of:
                    cut = _cut(tensor, dims_of[name], keep, together=True)
                    if cut is not tensor:
                        state[prefix + name] = cut
        out: Tensor = functional_call(self.model, state, inputs)
        return out


def scales(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The scales that GAN Slimming drives to zero: for each group one (width,) tensor per producer.

    Norm weights (gamma) and gates. A group with several producers (a residual trunk) has several,
    and a channel of it is gone only when all of them are zero.
    """
    found: dict[str, list[nn.Parameter]] = {}
    for module in model.modules():
        name = "weight" if is_norm(module) else "gate"
        scale = getattr(module, name, None) if name in tags(module) else None
        dim = tags(module).get(name, (None,))[0]
        if isinstance(scale, nn.Parameter) and dim and len(dim) == 1 and not dim[0].fixed:
            found.setdefault(dim[0].group, []).append(scale)
    return found
