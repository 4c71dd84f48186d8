"""What the once-for-all generator starts as: the teacher's weights in the student's wiring, and
channels in order of importance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ganpress.channels.ranking import widths_at_ratio
from ganpress.channels.take import shrink
from ganpress.methods.once_for_all.settings import OnceForAllConfig
from ganpress.models.checkpoint import Model
from ganpress.nn.axes import Axis, Dim, axes, tags, widths
from ganpress.training.student_form import in_form, options_in_form, with_scales
from ganpress.types import Widths


def options_of(teacher: Model, c: OnceForAllConfig) -> dict[str, Any]:
    """The student's options: the teacher's, with separable layers, and scales of InstanceNorms,
    where they are asked for, in the form that is."""
    options, name = dict(teacher.options), teacher.family.name
    if c.student.wiring != "dense" and "separable" in options:
        options["separable"] = True
    options = options_in_form(name, options, c)
    return with_scales(options) if c.student.affine else options


def full_widths(teacher: Model, c: OnceForAllConfig) -> dict[str, int]:
    """The once-for-all generator's channels of each group: ``student.width_ratio`` of the
    teacher's, whole multiples of ``channel_multiple`` where the teacher has as many."""
    if c.student.width_ratio == 1:
        return teacher.widths
    how = {"floors": 1, "multiple": c.channel_multiple}
    return widths_at_ratio(teacher.widths, c.student.width_ratio, **how)  # type: ignore[arg-type]


def first_student(teacher: Model, c: OnceForAllConfig, chosen: Widths | None = None) -> Model:
    """The student at full width, or at the widths ``chosen``, before any training, on the CPU.

    Layers that both wirings have start with the teacher's weights, all others fresh, from torch's
    global state. Of narrower groups the most important channels stay (the authors' transfer), in
    the teacher's order: putting them in order of importance is `supernet.sort`'s.
    """
    options, full = options_of(teacher, c), {**full_widths(teacher, c), **(chosen or {})}
    family = teacher.family
    if c.student.start == "fresh":
        return Model(family.build(full, **options), family, options)
    whole = Model(family.build(teacher.widths, **options), family, options)
    transfer(in_form(teacher, c).net, whole.net)
    keep = {
        group: order[: full[group]].sort().values
        for group, order in by_importance(whole.net).items()
    }
    return replace(whole, net=shrink(whole.build, whole.net, keep))


def transfer(source: nn.Module, net: nn.Module) -> list[str]:
    """Copy, in place, the tensors of modules that are the same in both networks: same name, same
    kind, same groups. Returns: their names."""
    theirs, ours = dict(source.named_modules()), dict(net.named_modules())
    copied = []
    with torch.no_grad():
        for path, module in ours.items():
            other = theirs.get(path)
            if other is None or type(other) is not type(module) or tags(other) != tags(module):
                continue
            known = {**dict(other.named_parameters(recurse=False))}
            known |= dict(other.named_buffers(recurse=False))
            own = {**dict(module.named_parameters(recurse=False))}
            own |= dict(module.named_buffers(recurse=False))
            for name in own.keys() & known.keys():
                if own[name].shape == known[name].shape:
                    own[name].copy_(known[name])
                    copied.append(f"{path}.{name}" if path else name)
    return sorted(copied)


def by_importance(net: nn.Module) -> dict[str, Tensor]:
    """Each group's channels, the most important first, (width,) int64."""
    return {
        group: torch.argsort(score, descending=True, stable=True)
        for group, score in importance(net).items()
    }


@torch.no_grad()
def importance(net: nn.Module) -> dict[str, Tensor]:
    """L1 norm of the filter that makes each channel, (width,) for each group (the authors'
    weight transfer). Of a group with several producers (a residual trunk) the first one's, which
    fixes the order for all."""
    found: dict[str, Tensor] = {}
    dims_of = axes(net)
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    for name, dims in dims_of.items():
        d = _made(net, name, dims)
        if d is None:
            continue
        axis = (dims[d] or ())[0]
        if axis.group not in found:
            rows = tensors[name].abs().transpose(0, d).flatten(1).sum(1)
            found[axis.group] = rows.view(axis.width, axis.span).sum(1)
    for group, width in widths(net).items():  # nothing makes it but a constant, or nothing at all
        found.setdefault(group, torch.zeros(width))
    return found


def _made(net: nn.Module, name: str, dims: tuple[Dim, ...]) -> int | None:
    """The dim along which a tensor makes the channels of one group that can be cut; None for
    tensors that make none: biases, norms, and depthwise filters, which keep what they read."""
    path, _, own = name.rpartition(".")
    if own != "weight" or len(dims) < 2:
        return 1 if own == "const" and len(dims) == 4 and _free(dims[1]) else None
    layer = net.get_submodule(path)
    d = int(getattr(layer, "out_dim", 0))
    other = dims[1 - d]
    return d if _free(dims[d]) and other is not None else None


def _free(dim: Dim) -> bool:
    axis: Axis | None = dim[0] if dim and len(dim) == 1 else None
    return axis is not None and not axis.fixed and axis.width > 0


def sorted_by_importance(model: Model) -> Model:
    """The same function with the channels of each group in order of importance: a network's first
    k channels are then its most important ones."""
    return replace(model, net=shrink(model.build, model.net, by_importance(model.net)))


def cut_to(model: Model, chosen: Widths) -> Model:
    """The plain small network of the first channels of each group."""
    return replace(model, net=shrink(model.build, model.net, dict(chosen)))
