"""Named channel axes: each layer is tagged, where it is built, with the groups of its dims.

A *channel group* is a named set of channels that live or die together (``trunk``, ``down1``,
``block3``). Everything that cuts channels (`ganpress.channels.take`) reads the tags made here and
knows nothing else about a network's wiring.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from torch import nn

from ganpress.errors import WidthsError


@dataclass(frozen=True)
class Axis:
    """A named run of channels; ``span`` rows of a tensor belong to each channel.

    ``fixed`` axes (RGB, label maps, style vectors, z) can never be cut.
    """

    group: str
    width: int
    span: int = 1
    fixed: bool = False


Dim: TypeAlias = tuple[Axis, ...] | None
"""One dim of a tensor: the axes concatenated along it, or None where it is no channel dim."""

AxisLike: TypeAlias = Axis | tuple[Axis, ...]
Tags: TypeAlias = dict[str, tuple[Dim, ...]]
Module = TypeVar("Module", bound=nn.Module)


def fixed(width: int, name: str = "image") -> Axis:
    """An axis that is part of the task (3 for RGB) and can never be cut."""
    return Axis(name, width, fixed=True)


def as_dim(axis: AxisLike) -> tuple[Axis, ...]:
    """One axis or a concatenation of axes, as a tuple."""
    return axis if isinstance(axis, tuple) else (axis,)


def size(axis: AxisLike) -> int:
    """Rows a tensor has along this dim."""
    return sum(a.width * a.span for a in as_dim(axis))


def tag(module: Module, **dims: tuple[Dim, ...]) -> Module:
    """Record which groups the dims of a module's own tensors belong to."""
    tags: Tags = getattr(module, "_axes", {})
    module._axes = tags | dims  # type: ignore[assignment]
    return module


def tags(module: nn.Module) -> Tags:
    """The tags of a module's own tensors; {} for a module without any."""
    found: Tags = getattr(module, "_axes", {})
    return found


def vanishing(module: Module, axis: Axis, *, remains: tuple[str, ...] = ()) -> Module:
    """Record that only the tensors ``remains`` of ``module`` are left once ``axis`` is empty.

    This also keeps the group known in a network where it is empty, and no tensor refers to it.
    """
    module._vanishing = (axis, remains)  # type: ignore[assignment]
    return module


def vanishing_with(module: nn.Module) -> tuple[Axis, tuple[str, ...]] | None:
    """The axis and tensors that `vanishing` recorded, or None."""
    found: tuple[Axis, tuple[str, ...]] | None = getattr(module, "_vanishing", None)
    return found


def axes(model: nn.Module) -> dict[str, tuple[Dim, ...]]:
    """Every tagged tensor by its full name: ``{'stem.conv.weight': ((stem,), (image,), ...)}``."""
    return {
        f"{path}.{name}" if path else name: dims
        for path, module in model.named_modules()
        for name, dims in tags(module).items()
        if getattr(module, name, None) is not None
    }


def widths(model: nn.Module) -> dict[str, int]:
    """Channels of every group that can be cut, in the order the layers were built.

    Raises `WidthsError` where two layers disagree about a group's width.
    """
    found: dict[str, int] = {}
    for name, module in model.named_modules():
        inner = vanishing_with(module)
        own = {n: dims for n, dims in tags(module).items() if getattr(module, n, None) is not None}
        own_axes = [inner[0]] if inner else []
        own_axes += [a for dims in own.values() for dim in dims if dim for a in dim if not a.fixed]
        for axis in own_axes:
            if found.setdefault(axis.group, axis.width) != axis.width:
                raise WidthsError(
                    f"Layer '{name}' says group '{axis.group}' has {axis.width} channels, "
                    f"an earlier layer says {found[axis.group]}: build both from one Axis."
                )
    return found


def named(widths: Mapping[str, int]) -> dict[str, Axis]:
    """One `Axis` for each group, to be shared by all layers that touch it."""
    return {group: Axis(group, width) for group, width in widths.items()}
