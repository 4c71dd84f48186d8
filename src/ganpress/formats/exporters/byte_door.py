"""Files whose pictures are bytes: from uint8 to [-1, 1] and back, inside the graph.

A canvas, a camera, an image file and a bitmap all give rows of pixels with their channels side by
side: (n, h, w, c). So these files read and make that order; a program has nothing to convert. The
arithmetic is that of the package's own doors: byte / 127.5 - 1 in, (value + 1) * 127.5 out, rounded
to even and clamped to 0 to 255. Label maps and latent codes stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganpress.formats.exporters.form import OUTPUT
from ganpress.formats.exporters.layerwise import Session

PICTURES = ("image",)
"""Inputs that are pictures, and so can be bytes."""
HALF = 127.5
_Step = tuple[str, list[str], dict[str, Any]]
"""An operator, its inputs beside the value that runs through, its attributes."""
TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


def as_bytes(x: Tensor) -> Tensor:
    """(n, c, h, w) in [-1, 1], clamped, as (n, h, w, c) uint8; NaN is grey."""
    levels = ((x.nan_to_num(0.0) + 1.0) * HALF).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(TO_NHWC).contiguous()


def from_bytes(x: Tensor) -> Tensor:
    """(n, h, w, c) uint8 as (n, c, h, w) float32 in [-1, 1]."""
    return x.permute(TO_NCHW).to(torch.float32).div_(HALF).sub_(1.0)


def on_floats(opened: Callable[[bytes], Session]) -> Callable[[bytes], Session]:
    """Of what opens such a file, what opens it as one that reads and makes [-1, 1]."""

    def open_(data: bytes) -> Session:
        run = opened(data)

        def through(inputs: Any) -> dict[str, Tensor]:
            made = run({n: as_bytes(t) if n in PICTURES else t for n, t in inputs.items()})
            return {n: from_bytes(t) if n == OUTPUT else t for n, t in made.items()}

        return through

    return open_


def with_bytes(file: Any) -> Any:
    """An ONNX model that reads and makes pictures as bytes, of one that does so in [-1, 1]; the
    model given is changed. It has to be of operator set 11 or later."""
    graph = file.graph
    nodes = list(graph.node)
    for port in graph.input:
        if port.name in PICTURES:
            inner, first = _read(graph, port)
            for node in nodes:
                node.input[:] = [inner if name == port.name else name for name in node.input]
            nodes = [*first, *nodes]
    [made] = [port for port in graph.output if port.name == OUTPUT]
    inner, last = _write(graph, made)
    for node in nodes:
        node.input[:] = [inner if name == OUTPUT else name for name in node.input]
        node.output[:] = [inner if name == OUTPUT else name for name in node.output]
    del graph.node[:]
    graph.node.extend([*nodes, *last])
    return file


def _read(graph: Any, port: Any) -> tuple[str, list[Any]]:
    """The nodes from bytes to what the network reads, and the name of that."""
    kind = port.type.tensor_type.elem_type
    name, half, one = port.name, _number(graph, HALF), _number(graph, 1.0)
    _as_bytes(port)
    steps: list[_Step] = [
        ("Transpose", [], {"perm": TO_NCHW}),
        ("Cast", [], {"to": _float()}),
        ("Div", [half], {}),
        ("Sub", [one], {}),
    ]
    return _chain(name, [*steps, *_cast(kind)], ends_at=None)


def _write(graph: Any, port: Any) -> tuple[str, list[Any]]:
    """The nodes from what the network makes to bytes, and the name that its picture now has."""
    kind = port.type.tensor_type.elem_type
    _as_bytes(port)
    bounds = [_number(graph, 0.0), _number(graph, 255.0)]
    steps: list[_Step] = [
        *_cast(kind, _float()),
        ("Add", [_number(graph, 1.0)], {}),
        ("Mul", [_number(graph, HALF)], {}),
        ("Round", [], {}),
        ("Clip", bounds, {}),
        ("Cast", [], {"to": _uint8()}),
        ("Transpose", [], {"perm": TO_NHWC}),
    ]
    inner = f"{OUTPUT}/unit"
    return inner, _chain(inner, steps, ends_at=OUTPUT)[1]


def _chain(start: str, steps: list[_Step], *, ends_at: str | None) -> tuple[str, list[Any]]:
    """Nodes one after the other, each named after its place; the name of what the last makes."""
    from onnx import helper

    nodes, value = [], start
    for number, (kind, more, attributes) in enumerate(steps):
        is_last = number == len(steps) - 1
        made = ends_at if is_last and ends_at else f"{start}/{number}_{kind.lower()}"
        nodes.append(helper.make_node(kind, [value, *more], [made], name=made, **attributes))
        value = made
    return value, nodes


def _cast(kind: int, to: int | None = None) -> list[_Step]:
    """A step between float32 and another type; none where it is float32."""
    return [] if kind == _float() else [("Cast", [], {"to": kind if to is None else to})]


def _number(graph: Any, value: float) -> str:
    """The name of a scalar among the weights, () float32."""
    from onnx import numpy_helper

    name = f"bytes/{value:g}"
    if name not in {tensor.name for tensor in graph.initializer}:
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    return name


def _as_bytes(port: Any) -> None:
    """Change a port from (n, c, h, w) float to (n, h, w, c) uint8, in place."""
    tensor = port.type.tensor_type
    tensor.elem_type = _uint8()
    dims = [type(d).FromString(d.SerializeToString()) for d in tensor.shape.dim]
    for place, source in enumerate(TO_NHWC):
        tensor.shape.dim[place].CopyFrom(dims[source])


def _float() -> int:
    from onnx import TensorProto

    return int(TensorProto.FLOAT)


def _uint8() -> int:
    from onnx import TensorProto

    return int(TensorProto.UINT8)
