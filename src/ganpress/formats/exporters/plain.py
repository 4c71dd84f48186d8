"""A student as a torch module of its own: a .py that needs torch alone, and its state dict.

The file is made of the classes of `plain_nets` that the student uses, and of one function that
builds it with its widths written out; names of tensors are the package's own. It is run and
compared with the network before it is written.

A quantised student's weights stay what they are: int8 levels in the state dict, and beside each
its step (``<layer>.step``: one number, or one for each output channel), by which they are
multiplied when the module runs. The grid of each layer's input is written into the source; biases
that are rounded are stored rounded.
"""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import io
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ganpress.errors import ExportError
from ganpress.formats.exporters import plain_nets
from ganpress.formats.exporters.verify import ExportFacts, reads
from ganpress.models.checkpoint import Model
from ganpress.models.families.base import draw_inputs
from ganpress.nn.layers import Quantisable, fold_gates, quantisable
from ganpress.quantisation.quantise import FakeQuantiser, input_step, quantiser_of, range_of
from ganpress.run.files import make_folder, replace_pair
from ganpress.sizes import Size
from ganpress.types import State

TARGET = "pth-plain"
SAME = 1e-5  # largest difference of the picture
WIDE = 96  # characters of a line

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
"""A module of ours -> the class of `plain_nets`, and its attributes that are written out; modules
that are not named have a class of their own name, and no attributes."""

LEFT_OUT = ("adain",)
"""Parts of blocks that hold no tensors and that the plain class does itself."""


def export_plain(model: Model, path: Path, size: Size) -> ExportFacts:
    """Write ``path``, a state dict, and NAME_net.py beside it; errors as of `student_files`."""
    source, data, top, mean, shape = student_files(model, path.name, size)
    module = module_path(path)
    make_folder(path.parent)
    replace_pair(module, source.encode(), path, data)
    return ExportFacts(path, len(data), top, mean, (shape,), None, beside=(module,))


def write_beside(model: Model, path: Path, size: Size) -> tuple[Path, Path]:
    """Write NAME_net.py and NAME_net.pth beside ``path``, NAME.pth; the two paths."""
    module = module_path(path)
    weights = module.with_suffix(".pth")
    source, data, *_ = student_files(model, weights.name, size)
    make_folder(path.parent)
    replace_pair(module, source.encode(), weights, data)
    return module, weights


def module_path(path: Path) -> Path:
    """The module beside a file of weights: a name that Python can import."""
    stem = re.sub(r"\W", "_", path.stem)
    return path.with_name(f"{'_' if stem[:1].isdigit() else ''}{stem}_net.py")


def student_files(
    model: Model, weights: str, size: Size
) -> tuple[str, bytes, float, float, tuple[int, ...]]:
    """The module's source, the state dict as torch writes it, and how far its picture is off.

    Args: weights: the name of the file of weights, for the module's docstring.
    Raises: ExportError where its picture differs by more than 1e-5.
    """
    plain = copy.copy(model)
    plain.net = fold_gates(copy.deepcopy(model.net).cpu().eval())
    source = _source(plain, weights)
    made: dict[str, Any] = {"__name__": "student_net"}
    exec(compile(source, "student_net.py", "exec"), made)
    net = made["build"]()
    state = _state(plain.net, net.state_dict())
    net.load_state_dict(state, strict=True)
    inputs = draw_inputs(plain.net, 1, size, torch.Generator().manual_seed(0))
    with torch.no_grad():
        want, got = plain(*inputs), net.eval()(*inputs)
    difference = (got - want).abs()
    if not float(difference.max()) <= SAME:
        raise ExportError(
            f"The plain torch module makes another picture (up to {float(difference.max()):.2e} "
            f"apart; allowed {SAME:.0e}). Nothing was written; please report this."
        )
    data = io.BytesIO()
    torch.save(state, data)
    top, mean = float(difference.max()), float(difference.mean())
    return source, data.getvalue(), top, mean, tuple(want.shape)


def _state(net: nn.Module, wanted: Mapping[str, Tensor]) -> State:
    """The tensors under the module's names: int8 levels with their steps, biases as added."""
    own = {name: tensor.detach() for name, tensor in net.state_dict().items()}
    for name, layer in quantisable(net).items():
        if isinstance(layer.quantiser, FakeQuantiser):
            levels, step = layer.quantiser.weight_integers(layer.weight, out_dim=layer.out_dim)
            own |= {f"{name}.weight": levels, f"{name}.step": step}
            if (bias := layer.added_bias(layer.bias)) is not None:
                own[f"{name}.bias"] = bias.detach()
    return {name: own[name].contiguous().clone() for name in wanted}


# --- source --------------------------------------------------------------------------------------

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


def _source(model: Model, weights: str) -> str:
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
    """The text of the definitions of `plain_nets` that are used, and of those that they use."""
    own, wanted = _texts(), set[str]()
    new = used & own.keys()
    while new:
        wanted |= new
        new = {n for w in new for n in re.findall(r"\w+", own[w]) if n in own} - wanted
    return [own[name] for name in own if name in wanted]


@functools.cache
def _texts() -> dict[str, str]:
    """Each definition of `plain_nets`, by name."""
    text = inspect.getsource(plain_nets)
    nodes = [n for n in ast.parse(text).body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
    return {node.name: ast.get_source_segment(text, node) or "" for node in nodes}


def _module(module: nn.Module) -> _Call:
    """The call that makes a module like this one."""
    name = type(module).__name__
    plain, attributes = PLAIN.get(name, (name, ()))
    if hasattr(plain_nets, plain):
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
    """A call of a class of `plain_nets`: attributes, shapes of own tensors, parts."""
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
    if not isinstance(quantiser, FakeQuantiser):
        return _Call(f"nn.{name}", arguments)
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
