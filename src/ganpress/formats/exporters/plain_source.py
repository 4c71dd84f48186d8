"""A student's source in plain torch: the definitions it needs, and the call that builds it.

Definitions are taken as text from `plain_parts` and `plain_nets`; a module of the student becomes
a call of one of them, or of torch's own class, with its widths written out.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from torch import nn

from ganpress.errors import ExportError
from ganpress.formats.exporters import plain_nets, plain_parts
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import reads
from ganpress.nn.integer_layers import OutputGrid, SubPixelConv2d
from ganpress.nn.layers import Quantisable
from ganpress.quantisation.quantise import FakeQuantiser, input_step, quantiser_of, range_of

WIDE = 96  # characters of a line
DEFINED_IN = (plain_parts, plain_nets)

PLAIN: dict[str, tuple[str, tuple[str, ...]]] = {
    "ConvNorm": ("Chain", ()),
    "Separable": ("Chain", ()),
    "SeparableModulation": ("Chain", ()),
    "ResnetGenerator": ("ResnetGenerator", ("clamp",)),
    "UnetGenerator": ("UnetGenerator", ("leaky_skips",)),
    "CartoonGenerator": ("ResnetGenerator", ("clamp",)),
    "BlurDown": ("BlurDown", ("taps",)),
    "Double": ("Double", ("mode",)),
    "SpadeGenerator": ("SpadeGenerator", ("multiple", "upsampling", "ups")),
    "SampleNorm": ("SampleNorm", ("eps",)),
    "ClassNorm": ("ClassNorm", ("eps",)),
    "SnganGenerator": ("SnganGenerator", ("side",)),
    "EqualLinear": ("EqualLinear", ("gain", "lr_mul")),
    "ModulatedConv": ("ModulatedConv", ("up",)),
}
"""A module of ours -> its class in plain torch, and its attributes that are written out; modules
that are not named have a class of their own name, and no attributes."""

LEFT_OUT = ("adain",)
"""Parts of blocks that hold no tensors and that the plain class does itself."""


Argument: TypeAlias = "tuple[str, _Call | str]"
"""A name ('' where the place says it), and a call or its text."""


class _Call:
    """A call to be written out: its name, and arguments by name ('' for positional ones)."""

    def __init__(self, name: str, arguments: list[Argument]) -> None:
        self.name, self.arguments = name, arguments

    def text(self, indent: int, taken: int) -> str:
        """On one line where that fits, else an argument a line; ``taken``: characters before it."""
        one = f"{self.name}({', '.join(_named(n, a, 0, -9999) for n, a in self.arguments)})"
        if taken + len(one) <= WIDE and "\n" not in one:
            return one
        pad = " " * (indent + 4)
        lines = (
            f"{pad}{_named(n, a, indent + 4, indent + 5 + len(n))},\n" for n, a in self.arguments
        )
        return f"{self.name}(\n{''.join(lines)}{' ' * indent})"

    def names(self) -> Iterator[str]:
        """Names of all that is called."""
        yield from re.findall(r"\w+", self.name)
        for _, argument in self.arguments:
            if isinstance(argument, _Call):
                yield from argument.names()
            else:
                yield from re.findall(r"\w+", argument)


def _named(name: str, value: _Call | str, indent: int, taken: int) -> str:
    text = value.text(indent, taken) if isinstance(value, _Call) else value
    return f"{name}={text}" if name else text


def source_of(model: Model, weights: str) -> str:
    """The module's source."""
    call = _module(model.net)
    body = call.text(4, 11)
    parts = "\n\n\n".join(_definitions(set(call.names())))
    return f'''{_head(model, weights)}

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


{parts}


def build() -> nn.Module:
    """The network, without weights."""
    return {body}


def load(path: str) -> nn.Module:
    """The network with the weights of a file, in eval mode."""
    net = build()
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.eval()
'''


def _head(model: Model, weights: str) -> str:
    inputs = ", ".join(reads(model))
    quantiser = quantiser_of(model.net)
    few = (
        f"\n\nWeights are int8 levels of {quantiser.bits} bits, multiplied by their step when the "
        "network runs\n(tensors `<layer>.step`); inputs of layers are rounded to the grids written "
        "below\n[lowest, highest, step]."
        if quantiser
        else ""
    )
    licence = model.provenance.get("licence")
    of = f"\n\nOf the weights: {licence}" if licence else ""
    text = (
        f"A '{model.family.name}' generator in plain torch; made by ganpress, needs nothing of it."
        f"\n\n    net = load({weights!r})\n    picture = net({inputs}){few}{of}"
    )
    return '"""' + text.replace("\\", "/").replace('"""', "'''") + '\n"""'


def _definitions(used: set[str]) -> list[str]:
    """The text of the definitions that are used, and of those that they use."""
    own, wanted = _texts(), set[str]()
    new = used & own.keys()
    while new:
        wanted |= new
        new = {n for w in new for n in re.findall(r"\w+", own[w]) if n in own} - wanted
    return [own[name] for name in own if name in wanted]


@functools.cache
def _texts() -> dict[str, str]:
    """Each definition of `plain_parts` and `plain_nets`, by name."""
    found: dict[str, str] = {}
    for text in map(inspect.getsource, DEFINED_IN):
        nodes = [n for n in ast.parse(text).body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
        found |= {node.name: ast.get_source_segment(text, node) or "" for node in nodes}
    return found


def _module(module: nn.Module) -> _Call:
    """The call that makes a module like this one."""
    if isinstance(module, SubPixelConv2d):
        return _layer(module)
    name = type(module).__name__
    plain, attributes = PLAIN.get(name, (name, ()))
    if plain in _texts():
        return _parts(module, plain, attributes)
    for kind, write in WRITERS.items():
        if isinstance(module, kind):
            return write(module)
    if type(module).__module__.startswith("torch.nn."):
        options = module.extra_repr()
        return _Call(f"nn.{name}", [("", options)] if options else [])
    raise ExportError(
        f"ganpress cannot write a '{name}' as plain torch yet. Export to onnx; please report this."
    )


def _parts(module: nn.Module, plain: str, attributes: tuple[str, ...]) -> _Call:
    """A call of a class of ours in plain torch: attributes, shapes of own tensors, parts."""
    if getattr(module, "is_empty", False):
        if plain == "AdaINBlock":
            return _Call("EmptyAdaINBlock", [])
        plain = "Chain"
    arguments: list[Argument] = []
    for name in attributes:
        value = getattr(module, name, False)
        arguments.append((name, repr(list(value) if isinstance(value, tuple) else value)))
    if plain == "Decoder":
        layout: Any = module.layout
        arguments.append(("columns", repr([axis.width for axis in layout])))
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    arguments += [(n, repr(tuple(t.shape))) for n, t in own if n != "num_batches_tracked"]
    for name, child in module.named_children():
        if isinstance(child, OutputGrid):
            if isinstance(child.quantiser, FakeQuantiser):
                bounds = ", ".join(map(repr, child.quantiser.output_bounds))
                arguments.append((name, _Call("Grid", [("", bounds)])))
            continue
        is_idle = isinstance(child, nn.Identity) if plain == "Chain" else name in LEFT_OUT
        if not is_idle:
            arguments.append((name, _module(child)))
    return _Call(plain, arguments)


def _list(module: Any) -> _Call:
    name = f"nn.{type(module).__name__}"
    inner: list[Argument] = [("", _module(child)) for child in module]
    if isinstance(module, nn.ModuleList):
        return _Call(name, [("", _Listed("", inner))])
    return _Call(name, inner)


class _Listed(_Call):
    """A list of calls."""

    def text(self, indent: int, taken: int) -> str:
        """As of `_Call`, in brackets."""
        out = super().text(indent, taken)
        return f"[{out[1:-1]}]"


def _layer(layer: Any) -> _Call:
    """A convolution or fully connected layer, quantised or not."""
    names = ("ConvTranspose2d", "Conv2d", "Linear")
    name = next(n for n in names if isinstance(layer, getattr(nn, n)))
    is_sub_pixel = isinstance(layer, SubPixelConv2d)
    sides = ("in_features", "out_features") if name == "Linear" else ("in_channels", "out_channels")
    arguments: list[Argument] = [("", str(getattr(layer, side))) for side in sides]
    if name != "Linear":
        arguments.append(("", str(layer.kernel_size[0])))
        usual = {"stride": 1, "padding": 0, "output_padding": 0}
        for option, value in usual.items():
            if (own := getattr(layer, option)[0]) != value:
                arguments.append((option, str(own)))
        if layer.groups > 1:
            arguments.append(("groups", str(layer.groups)))
    if layer.bias is None:
        arguments.append(("bias", "False"))
    quantiser = getattr(layer, "quantiser", None)
    name = "SubPixelConv2d" if is_sub_pixel else name
    if not isinstance(quantiser, FakeQuantiser):
        return _Call(name if is_sub_pixel else f"nn.{name}", arguments)
    step = quantiser.weight_step(layer.weight, out_dim=layer.out_dim)
    rest: list[Argument] = [("step", repr(list(step.shape)))]
    if grid := _grid(layer, quantiser):
        rest.append(("grid", repr(grid)))
    return _Call("quantised", [("", _Call(f"Quantised{name}", arguments)), *rest])


def _grid(layer: Quantisable, quantiser: FakeQuantiser) -> list[float]:
    """Lowest, highest and step of the grid of a layer's input; [] where it is left alone."""
    step = input_step(layer)
    if step is None:
        return []
    if layer.quantises_input:
        p = range_of(layer)
        return [-p if quantiser.is_signed(layer.signed) else 0.0, p, step]
    return [-1.0, 1.0 - step, step]


def _norm(layer: Any) -> _Call:
    """An InstanceNorm or BatchNorm."""
    kind = "InstanceNorm" if isinstance(layer, nn.InstanceNorm2d) else "BatchNorm"
    if getattr(layer, "exact", False):
        return _parts(layer, f"Exact{kind}", ("eps",))
    arguments: list[Argument] = [("", str(layer.num_features))]
    if layer.eps != 1e-5:
        arguments.append(("eps", repr(layer.eps)))
    if layer.affine != (kind == "BatchNorm"):
        arguments.append(("affine", str(layer.affine)))
    return _Call(f"nn.{kind}2d", arguments)


def _reflection(layer: Any) -> _Call:
    return _Call("nn.ReflectionPad2d", [("", str(layer.padding[0]))])


WRITERS: dict[Any, Callable[[Any], _Call]] = {
    nn.Conv2d: _layer,
    nn.ConvTranspose2d: _layer,
    nn.Linear: _layer,
    nn.InstanceNorm2d: _norm,
    nn.BatchNorm2d: _norm,
    nn.Sequential: _list,
    nn.ModuleList: _list,
    nn.ReflectionPad2d: _reflection,
}
"""Modules of torch (and ours that are those) that are written out by themselves."""
