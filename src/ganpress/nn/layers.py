"""Tagged layers: plain torch layers that know the groups of their dims.

A convolution is an ordinary `nn.Conv2d` in its state dict. It can carry attachments, all
None in a plain network: a ``gate`` (one scale per output channel, for a convolution that has no
norm behind it; folded away at extraction) and a ``quantiser`` (see `quantise`), with a
learned ``range`` (one scalar) or without. So can a fully connected layer that makes channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeAlias, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.nn.axes import Axis, AxisLike, as_dim, size, tag, tags
from ganpress.nn.modes import in_eval
from ganpress.types import Inputs

T = TypeVar("T")


class Quantiser(Protocol):
    """What a quantised layer applies to its input and its weight before the convolution."""

    def input(self, x: Tensor, *, signed: bool, learned: Tensor | None = None) -> Tensor:
        """Quantise the input of a layer; ``learned`` is its range, where that is a parameter."""
        ...

    def weight(self, w: Tensor, *, out_dim: int) -> Tensor:
        """Quantise the weight of a layer; ``out_dim`` is its output-channel dim."""
        ...

    def image(self, x: Tensor) -> Tensor:
        """The picture as a first layer convolves it, (n, 3, h, w) in [-1, 1]."""
        ...

    def bias(self, b: Tensor, layer: Quantisable) -> Tensor:
        """The bias as ``layer`` adds it, (out,); ``b`` is the gated one."""
        ...

    def output(self, x: Tensor) -> Tensor:
        """Quantise the output of a convolution (`OutputGrid`)."""
        ...


class Attachments:
    """What `Conv2d`, `ConvTranspose2d` and `Linear` share: gate, quantiser, and how both act."""

    out_dim: int
    weight: Tensor
    gate: nn.Parameter | None
    quantiser: Quantiser | None
    range: nn.Parameter | None
    signed: bool
    gated: bool

    def attach(self, *, signed: bool, gated: bool) -> None:
        """Start plain. ``signed``: the input can be negative; ``gated``: no norm follows."""
        self.gate, self.quantiser, self.range = None, None, None
        self.signed, self.gated = signed, gated

    def operands(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Input and weight as the convolution sees them: gated, then quantised."""
        w = self.gated_weight()
        if self.quantiser is not None:
            w = self.quantiser.weight(w, out_dim=self.out_dim)
            if self.quantises_input:
                x = self.quantiser.input(x, signed=self.signed, learned=self.range)
            elif self.reads_image:
                x = self.quantiser.image(x)
        return x, w

    def gated_weight(self) -> Tensor:
        """The weight multiplied by the gate; the weight itself without one."""
        return self.weight if self.gate is None else self.weight * _along(self, self.gate)

    def channel_norms(self) -> Tensor:
        """L2 norm of each output filter, (out,)."""
        rows = self.weight.transpose(0, self.out_dim).flatten(1)
        norms: Tensor = rows.reshape(len(rows) // _span(self), -1).norm(dim=1)
        return norms

    @property
    def quantises_input(self) -> bool:
        """The image itself has no range (methods.md 2.1: "all inputs but the RGB image")."""
        return not all(a.fixed for a in in_axes(self) or ())

    @property
    def reads_image(self) -> bool:
        """Whether the input is the picture: not labels, noise or channels of the network."""
        return all(a.fixed and a.group == "image" for a in in_axes(self) or ())

    def added_bias(self, bias: Tensor | None) -> Tensor | None:
        """The bias as the convolution adds it, (out,): gated, then quantised."""
        if bias is None:
            return None
        if self.gate is not None:
            bias = bias * self.gate.repeat_interleave(_span(self))
        if self.quantiser is not None:
            bias = self.quantiser.bias(bias, cast("Quantisable", self))
        return bias


class Conv2d(Attachments, nn.Conv2d):
    """`nn.Conv2d` with room for a gate and a quantiser."""

    out_dim = 0

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) -> (n, out, h', w')."""
        x, w = self.operands(x)
        out: Tensor = self._conv_forward(x, w, self.added_bias(self.bias))
        return out


class Depthwise(Conv2d):
    """A convolution of each channel by itself; it has as many as its weight has rows."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(
            x,
            weight,
            bias,
            self.stride,
            self.padding,
            self.dilation,
            len(weight),
        )


class ConvTranspose2d(Attachments, nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` with room for a gate and a quantiser."""

    out_dim = 1

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(n, in, h, w) -> (n, out, h', w')."""
        x, w = self.operands(x)
        return F.conv_transpose2d(
            x,
            w,
            self.added_bias(self.bias),
            self.stride,
            self.padding,  # type: ignore[arg-type]
            self.output_padding,
            self.groups,
            self.dilation,
        )


class Linear(Attachments, nn.Linear):
    """`nn.Linear` with room for a gate and a quantiser; a channel may own several outputs."""

    out_dim = 0

    def forward(self, x: Tensor) -> Tensor:
        """(n, in) -> (n, out)."""
        x, w = self.operands(x)
        return F.linear(x, w, self.added_bias(self.bias))


def conv(
    i: AxisLike, o: AxisLike, kernel: int, *, signed: bool = False, gated: bool = False, **kw: Any
) -> Conv2d:
    """A convolution from axes ``i`` to axes ``o``.

    Args:
        signed: the input can be negative (residual trunk, image), which its quantiser must know.
        gated: no norm follows, so slimming gives it a scale of its own.
    """
    layer = Conv2d(size(i), size(o), kernel, **kw)
    layer.attach(signed=signed, gated=gated)
    return tag(layer, weight=(as_dim(o), as_dim(i), None, None), bias=(as_dim(o),))


def depthwise(c: Axis, kernel: int, *, signed: bool = False, **kw: Any) -> Depthwise:
    """A depthwise convolution: its input and output are the same group, never a free width."""
    layer = Depthwise(size(c), size(c), kernel, groups=size(c), **kw)
    layer.attach(signed=signed, gated=False)
    return tag(layer, weight=(as_dim(c), None, None, None), bias=(as_dim(c),))


def deconv(
    i: AxisLike, o: AxisLike, kernel: int, *, signed: bool = False, gated: bool = False, **kw: Any
) -> ConvTranspose2d:
    """A transposed convolution from axes ``i`` to axes ``o``."""
    layer = ConvTranspose2d(size(i), size(o), kernel, **kw)
    layer.attach(signed=signed, gated=gated)
    return tag(layer, weight=(as_dim(i), as_dim(o), None, None), bias=(as_dim(o),))


def linear(i: AxisLike, o: AxisLike, *, bias: bool = True, gated: bool = False) -> nn.Linear:
    """A fully connected layer from axes ``i`` to axes ``o``: a plain `nn.Linear`, tagged.

    Args: gated: it makes a group's channels, so that it can carry a gate and a quantiser.
    """
    layer: nn.Linear
    if gated:
        layer = Linear(size(i), size(o), bias=bias)
        layer.attach(signed=True, gated=True)
    else:
        layer = nn.Linear(size(i), size(o), bias=bias)
    return tag(layer, weight=(as_dim(o), as_dim(i)), bias=(as_dim(o),))


Quantisable: TypeAlias = Conv2d | ConvTranspose2d | Linear


def is_depthwise(layer: nn.Module) -> bool:
    """Whether a convolution maps each channel to itself."""
    return isinstance(layer, Depthwise)


def in_axes(layer: object) -> tuple[Axis, ...] | None:
    """The input axes of a quantisable layer (for a depthwise convolution, its only axes)."""
    if not isinstance(layer, Quantisable):
        return None
    dims = tags(layer)["weight"]
    if is_depthwise(layer):
        return dims[0]
    return dims[1 - layer.out_dim]


def out_axes(layer: object) -> tuple[Axis, ...] | None:
    """The output axes of a quantisable layer."""
    if not isinstance(layer, Quantisable):
        return None
    return tags(layer)["weight"][layer.out_dim]


def convolutions(model: nn.Module) -> dict[str, Conv2d | ConvTranspose2d]:
    """Every tagged convolution by name, in the order the network was built."""
    return {n: m for n, m in model.named_modules() if isinstance(m, Conv2d | ConvTranspose2d)}


def quantisable(model: nn.Module) -> dict[str, Quantisable]:
    """Every layer that a quantiser can be attached to, by name: the convolutions, and the fully
    connected layers that make channels."""
    return {n: m for n, m in model.named_modules() if isinstance(m, Quantisable)}


@torch.no_grad()
def read_inputs(
    model: nn.Module, layers: Mapping[str, nn.Module], inputs: Inputs, read: Callable[[Tensor], T]
) -> dict[str, T]:
    """Apply ``read`` to each layer's input in one forward pass in eval mode; by layer name.

    Args: layers: some of the model's layers, by name. A layer that does not run is left out.
    """
    found: dict[str, T] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def hook(_: nn.Module, args: tuple[Tensor]) -> None:
            found[name] = read(args[0])

        return hook

    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    try:
        with in_eval(model):
            model(*inputs)
    finally:
        for handle in hooks:
            handle.remove()
    return found


def gated_layers(model: nn.Module) -> dict[str, Any]:
    """Every layer that can carry a gate, by name: convolutions and fully connected layers that no
    norm follows, and the styles of modulated convolutions (`modulated.EqualLinear`)."""
    return {n: m for n, m in model.named_modules() if getattr(m, "gated", False)}


def gate_dim(layer: Any) -> tuple[Axis, ...]:
    """The axes of a layer's gate: one row a channel, however many outputs that has."""
    return tuple(replace(a, span=1) for a in tags(layer)["weight"][layer.out_dim] or ())


@torch.no_grad()
def add_gates(model: nn.Module) -> nn.Module:
    """Give each layer of `gated_layers` a scale per output channel, in place.

    A gate starts at the L2 norm of its output filter, divided by the mean norm of the layer, and
    the filter is divided by the gate, so the layer computes the same function. Gates that differ
    let the proximal steps prune channels one by one; gates of 1 would all reach zero at once.
    """
    for layer in gated_layers(model).values():
        if layer.gate is None:
            norms = layer.channel_norms()
            gate = (norms / norms.mean().clamp_min(1e-12)).clamp_min(1e-3)
            layer.weight.div_(_along(layer, gate))
            if layer.bias is not None:
                layer.bias.div_(gate.repeat_interleave(_span(layer)))
            layer.gate = nn.Parameter(gate)
            tag(layer, gate=(gate_dim(layer),))
    return model


@torch.no_grad()
def fold_gates(model: nn.Module) -> nn.Module:
    """Multiply each gate into its layer's weight and bias, and remove it: exact."""
    for layer in gated_layers(model).values():
        if layer.gate is not None:
            layer.weight.mul_(_along(layer, layer.gate))
            if layer.bias is not None:
                layer.bias.mul_(layer.gate.repeat_interleave(_span(layer)))
            layer.gate = None
    return model


def _span(layer: Any) -> int:
    """Outputs in a row that belong to one channel."""
    [*dims] = tags(layer)["weight"][layer.out_dim] or ()
    return dims[0].span if len(dims) == 1 else 1


def _along(layer: Any, scale: Tensor) -> Tensor:
    """(out,) in the shape that multiplies each output channel of the layer's weight."""
    shape = [1] * layer.weight.ndim
    shape[layer.out_dim] = -1
    return scale.repeat_interleave(_span(layer)).view(shape)
