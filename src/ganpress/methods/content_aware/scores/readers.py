"""Which layers read a channel group, and which make it, from the declared axes.

Entry k of the authors' scores belongs to the channels that layer k *reads*: a channel matters by
what is made of it. Where a group has several readers (a residual trunk, a skip connection) they all
vote.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from ganpress.nn.axes import Axis, Dim, axes, widths
from ganpress.nn.modulated import EqualLinear, ModulatedConv

Rgb = Literal["last", "all"]
"""Which of the layers that make a picture vote: the last alone (published), or all of them."""


@dataclass(frozen=True)
class Share:
    """The rows of a weight that belong to one group, along one of its dims.

    Attributes:
        layer: path of the module that has the weight.
        dim: of the weight. start: its first row there. axis: the group, and how many rows.
    """

    layer: str
    dim: int
    start: int
    axis: Axis

    @property
    def weight(self) -> str:
        """The weight's full name in the network."""
        return f"{self.layer}.weight"

    def rows(self, weight: Tensor) -> Tensor:
        """What a tensor of the weight's shape holds of each channel, (width, rest)."""
        own = weight.movedim(self.dim, 0)[self.start : self.start + self._count]
        return own.reshape(self.axis.width, -1)

    def maps(self, x: Tensor) -> Tensor:
        """What the layer's input or a tensor of its shape, (n, in, ...), holds of each channel,
        (n, width, rest): pixels, and outputs where a channel has several."""
        own = x[:, self.start : self.start + self._count]
        return own.reshape(len(x), self.axis.width, -1)

    @property
    def _count(self) -> int:
        return self.axis.width * self.axis.span


def readers(net: nn.Module, rgb: Rgb = "last") -> dict[str, list[Share]]:
    """The layers that read each group, in the order they were built.

    Depthwise filters, which keep what they read, are none; norms neither. Of the layers that make a
    picture (the ToRGBs of a skip generator) only the last one is a reader, unless ``rgb`` is all or
    nothing else reads the group.
    """
    layers = list(_layers(net))
    pictures = [path for path, _, made, _ in layers if _is_picture(made)]
    left_out = set(pictures[:-1]) if rgb == "last" else set()
    found: dict[str, list[Share]] = {group: [] for group in widths(net)}
    for path, dim, _, read in layers:
        for share in _shares(path, dim, read):
            found[share.axis.group].append(share)
    return {
        group: [s for s in shares if s.layer not in left_out] or shares
        for group, shares in found.items()
    }


def makers(net: nn.Module) -> dict[str, list[Share]]:
    """The layers whose filters make each group; none where a constant does. What scales and shifts
    a group's channels (styles, AdaIN's parameters) does not make them."""
    found: dict[str, list[Share]] = {group: [] for group in widths(net)}
    for path, dim, made, _ in _layers(net):
        styles = isinstance(net.get_submodule(path), EqualLinear)
        for share in _shares(path, 1 - dim, made) if len(made) == 1 and not styles else ():
            found[share.axis.group].append(share)
    return found


def constants(net: nn.Module) -> dict[str, Tensor]:
    """The learned constant, (1, width, h, w), of each group that is made by one."""
    return {
        dims[1][0].group: net.get_parameter(name)
        for name, dims in axes(net).items()
        if name.rpartition(".")[2] == "const" and dims[1] and not dims[1][0].fixed
    }


def modulated_by(net: nn.Module, share: Share) -> ModulatedConv | None:
    """The modulated convolution that a weight belongs to, or None where it is no such weight."""
    parent = net.get_submodule(share.layer.rpartition(".")[0])
    return parent if isinstance(parent, ModulatedConv) else None


def entrance(net: nn.Module, share: Share) -> str:
    """Path of the module whose input is what the layer reads: a modulated convolution as a whole,
    before its styles scale the channels, or the layer itself."""
    return share.layer.rpartition(".")[0] if modulated_by(net, share) else share.layer


def _layers(net: nn.Module) -> Iterator[tuple[str, int, tuple[Axis, ...], tuple[Axis, ...]]]:
    """Path of each layer that maps channels to others, the dim of its weight along which it reads,
    the axes that it makes, and those that it reads."""
    for name, dims in axes(net).items():
        path, _, own = name.rpartition(".")
        if own != "weight" or len(dims) < 2:
            continue
        out = int(getattr(net.get_submodule(path), "out_dim", 0))
        made, read = dims[out], dims[1 - out]
        if made is not None and read is not None:
            yield path, 1 - out, made, read


def _shares(path: str, dim: int, along: tuple[Axis, ...]) -> Iterator[Share]:
    start = 0
    for axis in along:
        if not axis.fixed:
            yield Share(path, dim, start, axis)
        start += axis.width * axis.span


def _is_picture(dim: Dim) -> bool:
    return all(a.fixed and a.group == "image" for a in dim or ())
