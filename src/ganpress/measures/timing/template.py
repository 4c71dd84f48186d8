"""The exported graph of a network at any widths, from one export.

An export takes seconds, and a table of latencies needs hundreds of graphs. So a network is exported
once, at widths that are codes (`codes`), and the graph at other widths is the same with other
numbers. What the exporter does for a runtime afterwards hangs on widths here and there: it is done
to each file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import nn

from ganpress.channels.take import like
from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.graph import Runtime, optimised
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.formats.exporters.trace import TRACED_OPSET
from ganpress.measures.timing.codes import Count, coded, counts_in, numbers_of_size, with_products
from ganpress.models.checkpoint import Model
from ganpress.nn.layers import fold_gates, quantisable
from ganpress.types import Widths
from ganpress.types.sizes import Size

LISTED = 64  # a longer tensor of integers is data, not a shape


@dataclass(frozen=True)
class Template:
    """An exported graph whose numbers of channels are known.

    Attributes:
        file: the ONNX file at the codes, as onnx.ModelProto.
        counts: number in the file -> what it counts.
        size: of the pictures, pixels. runtime: that the files are for.
    """

    file: Any
    counts: Mapping[int, Count]
    size: Size
    runtime: Runtime = "onnxruntime"
    _arrays: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model, form: Form, runtime: Runtime = "onnxruntime") -> Template:
        """Export a network of this one's wiring, with its quantisers; its weights do not matter.

        Raises: ExportError where the exporter cannot take it.
        """
        import onnx

        counts = counts_in(model.net)
        codes = coded(counts, numbers_of_size(model.net, form))
        net = like(model.net, model.build, codes).to_empty(device="cpu").eval()
        wired = Model(_filled(net), model.family, model.options)
        traced = to_bytes(wired, replace(form, opset=TRACED_OPSET), runtime=runtime, passes=False)
        file = onnx.load_from_string(traced)
        file = onnx.shape_inference.infer_shapes(file, data_prop=True)
        found = {count(codes): count for count in counts}
        return cls(file, with_products(found, numbers_in(file.graph)), form.size, runtime)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The dims of every value of the graph that are known, by name, at the codes."""
        graph = self.file.graph
        found = {i.name: tuple(i.dims) for i in graph.initializer}
        for value in (*graph.value_info, *graph.input, *graph.output):
            kind = value.type.tensor_type
            if kind.HasField("shape"):
                found[value.name] = tuple(d.dim_value for d in kind.shape.dim)
        return found

    @cached_property
    def kinds(self) -> dict[str, int]:
        """ONNX's element type of every value that is known."""
        graph = self.file.graph
        values = (*graph.value_info, *graph.input, *graph.output)
        found = {value.name: value.type.tensor_type.elem_type for value in values}
        return {**found, **{i.name: i.data_type for i in graph.initializer}}

    @cached_property
    def initialisers(self) -> dict[str, Any]:
        """The tensors that the file holds, by name."""
        return {i.name: i for i in self.file.graph.initializer}

    def array(self, name: str) -> Any:
        """A tensor of the file as numpy has it, at the codes."""
        from onnx import numpy_helper

        if name not in self._arrays:
            self._arrays[name] = numpy_helper.to_array(self.initialisers[name])
        return self._arrays[name]

    def values(self, widths: Widths) -> dict[int, int]:
        """Number in the file -> what it is at these widths."""
        return {code: count(widths) for code, count in self.counts.items()}

    def whole(self, widths: Widths) -> bytes:
        """The file at these widths, each at least 1; weights are the template's, repeated."""
        graph = self.file.graph
        values = self.values(widths)
        inputs, outputs = ([v.name for v in port] for port in (graph.input, graph.output))
        return self.part(graph.node, values, inputs, outputs)

    def part(
        self,
        nodes: Iterable[Any],
        values: Mapping[int, int],
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        more: Callable[[Any], None] | None = None,
    ) -> bytes:
        """A file of some of the nodes with these numbers.

        Args:
            values: number in the template's file -> number in this one.
            inputs, outputs: values of the graph that are ports of this file.
            more: changes the graph before it is written.
        """
        from onnx import helper

        made = [with_numbers(node, values) for node in nodes]
        used = dict.fromkeys(name for node in made for name in node.input if name)
        held = [self._tensor(name, values) for name in used if name in self.initialisers]
        graph = helper.make_graph(
            made, "part", [self.port(n, values) for n in inputs],
            [self.port(n, values) for n in outputs], held,
        )  # fmt: skip
        if more is not None:
            more(graph)
        return self.written(graph)

    def written(self, graph: Any) -> bytes:
        """A graph as a file for the runtime."""
        from onnx import helper

        file = helper.make_model(graph, opset_imports=self.file.opset_import)
        file.ir_version = self.file.ir_version
        return optimised(file.SerializeToString(), self.runtime)

    def port(self, name: str, values: Mapping[int, int]) -> Any:
        """A value of the graph as an input or output of a file."""
        from onnx import helper

        dims = self.dims(name, values)
        return helper.make_tensor_value_info(name, self.kinds[name], dims)

    def dims(self, name: str, values: Mapping[int, int]) -> list[int]:
        """The dims of a value of the graph with these numbers."""
        return [values.get(n, n) for n in self.shapes[name]]

    def _tensor(self, name: str, values: Mapping[int, int]) -> Any:
        from onnx import numpy_helper

        held = self.initialisers[name]
        if not any(n in values for n in held.dims) and not _is_shape(held):
            return held
        return numpy_helper.from_array(resized(self.array(name), values), name)

    @cached_property
    def key(self) -> str:
        """A digest of the graph: of its nodes, its shapes and its counts, not of its weights."""
        seen = sha256()
        for node in self.file.graph.node:
            seen.update(node.SerializeToString())
        dims = {name: list(i.dims) for name, i in self.initialisers.items()}
        counts = {code: [*count.of, count.plus] for code, count in self.counts.items()}
        seen.update(json.dumps([dims, counts], sort_keys=True).encode())
        return seen.hexdigest()[:24]


def numbers_in(graph: Any) -> Iterator[int]:
    """Every number of a graph that could be one of channels."""
    from onnx import numpy_helper

    for held in graph.initializer:
        yield from held.dims
        if _is_shape(held):
            yield from map(int, numpy_helper.to_array(held).flat)
    for value in (*graph.value_info, *graph.input, *graph.output):
        yield from (dim.dim_value for dim in value.type.tensor_type.shape.dim)
    for node in graph.node:
        yield from numbers_of(node)


def numbers_of(node: Any) -> Iterator[int]:
    """Every whole number in a node's attributes."""
    from onnx import AttributeProto, numpy_helper

    for attribute in node.attribute:
        if attribute.type == AttributeProto.INT:
            yield attribute.i
        elif attribute.type == AttributeProto.INTS:
            yield from attribute.ints
        elif attribute.type == AttributeProto.TENSOR:
            array = numpy_helper.to_array(attribute.t)
            yield from array.shape
            if array.dtype.kind == "i" and array.size <= LISTED:
                yield from map(int, array.flat)


def _is_shape(held: Any) -> bool:
    from onnx import TensorProto

    small = len(held.dims) <= 1 and (not held.dims or held.dims[0] <= LISTED)
    return held.data_type in (TensorProto.INT64, TensorProto.INT32) and small


def resized(array: Any, values: Mapping[int, int]) -> Any:
    """A tensor with other numbers of channels: numbers in it, where it is a list of whole ones, are
    replaced; else it has other dims, and what it holds is repeated or cut."""
    if array.dtype.kind == "i" and array.dtype.itemsize >= 4 and array.size <= LISTED:
        changed = [values.get(int(n), int(n)) for n in array.flat]
        return np.array(changed, array.dtype).reshape(array.shape)
    return np.resize(array, [values.get(n, n) for n in array.shape])


def with_numbers(node: Any, values: Mapping[int, int]) -> Any:
    """A copy of a node with other numbers in its attributes."""
    from onnx import AttributeProto, numpy_helper

    copy = type(node)()
    copy.CopyFrom(node)
    for attribute in copy.attribute:
        if attribute.type == AttributeProto.INT:
            attribute.i = values.get(attribute.i, attribute.i)
        elif attribute.type == AttributeProto.INTS:
            attribute.ints[:] = [values.get(n, n) for n in attribute.ints]
        elif attribute.type == AttributeProto.TENSOR:
            array = resized(numpy_helper.to_array(attribute.t), values)
            attribute.t.CopyFrom(numpy_helper.from_array(array, attribute.t.name))
    return copy


@torch.no_grad()
def _filled(net: nn.Module) -> nn.Module:
    """Give a network without numbers some, of the kind that trained ones are: none is so regular
    that an exporter could leave a layer out for it."""
    draw = torch.Generator().manual_seed(0)
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        if not tensor.is_floating_point():
            tensor.zero_()
            continue
        inputs = tensor[:1].numel() if tensor.ndim else 1
        tensor.normal_(0, (2 / max(1, inputs)) ** 0.5, generator=draw)
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=draw)
        elif tensor.ndim <= 1:
            tensor.uniform_(0.1, 1.0, generator=draw)
    for layer in quantisable(net).values():
        if layer.range is not None:
            layer.range.fill_(4.0)
    return fold_gates(net)
