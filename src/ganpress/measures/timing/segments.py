"""A graph cut into parts that are timed one by one: a convolution with what belongs to it.

A part is a convolution (or a fully connected layer), what a runtime fuses with it from before (its
quantisers, its padding), and what follows it up to the next one: norm, activation, sums,
concatenation, resizing. Every node of the graph is in a part, so that the parts' times add up to
the network's but for what runtimes do between them, which a fit on whole networks takes in.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np

from ganpress.measures.timing.template import Count, Template, with_numbers
from ganpress.types import Widths

HEADS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
LEADING = (*QUANTISERS, "Clip", "Pad", "Cast")
"""What belongs to the convolution that reads it, in a runtime that fuses them."""
SMALL = 16  # pixels; a smaller map is fed as it is
SEED, OUT = "/seed", "/thin"


@dataclass(frozen=True)
class Part:
    """Some nodes of a template's graph.

    Attributes:
        name: of the weight of its convolution, or of the node.
        nodes: places in the graph, in order.
        inputs, outputs: values that it shares with the rest of the graph.
    """

    template: Template
    name: str
    nodes: tuple[int, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @cached_property
    def codes(self) -> tuple[int, ...]:
        """The template's numbers that occur in it, in order of appearance."""
        found = [n for n in self._numbers() if n in self.template.counts]
        return tuple(dict.fromkeys(found))

    def _numbers(self) -> Iterator[int]:
        t, graph = self.template, self.template.file.graph
        for name in (*self.inputs, *self.outputs):
            yield from t.shapes[name]
        for place in self.nodes:
            node = graph.node[place]
            yield from _numbers_of(node)
            for name in node.input:
                if name in t.initialisers:
                    yield from t.initialisers[name].dims
                    array = t.array(name)
                    if array.dtype.kind == "i" and array.size <= 64:
                        yield from map(int, array.flat)

    @cached_property
    def basis(self) -> tuple[int, ...]:
        """The fewest of its codes that all others are sums of: what its time is a function of."""
        counts = self.template.counts
        order = sorted(self.codes, key=lambda n: (len(counts[n].of), self.codes.index(n)))
        found: list[int] = []
        for code in order:
            if _combination(code, found, counts) is None:
                found.append(code)
        return tuple(sorted(found, key=self.codes.index))

    @property
    def counts(self) -> tuple[Count, ...]:
        """What its time is a function of."""
        return tuple(self.template.counts[code] for code in self.basis)

    def values(self, point: Sequence[int]) -> dict[int, int]:
        """Code -> number, for numbers of the basis."""
        counts = self.template.counts
        out = dict(zip(self.basis, point, strict=True))
        for code in self.codes:
            if code not in out:
                found = _combination(code, self.basis, counts)
                assert found is not None
                plus, times = found
                out[code] = plus + sum(k * n for k, n in zip(times, point, strict=True))
        return out

    def file(self, point: Sequence[int]) -> bytes:
        """The part alone as an ONNX file, between thin layers, for numbers of the basis."""
        values, t = self.values(point), self.template
        wrapped = self.wrapped
        inputs = [name for name in self.inputs if name not in wrapped]
        outputs = [name for name in self.outputs if name not in wrapped]

        def more(graph: Any) -> None:
            for name in self.inputs:
                if name in wrapped:
                    widen(graph, name, t.dims(name, values), t.kinds[name])
            for name in self.outputs:
                if name in wrapped:
                    thin(graph, name, t.dims(name, values), t.kinds[name])

        nodes = [t.file.graph.node[place] for place in self.nodes]
        return t.part(nodes, values, inputs, outputs, more=more)

    @cached_property
    def wrapped(self) -> tuple[str, ...]:
        """Maps of free channels that other parts make or read."""
        return tuple(
            name
            for name in dict.fromkeys((*self.inputs, *self.outputs))
            if is_map(self.template.shapes[name]) and self.template.shapes[name][1] in self.codes
        )

    def maps(self, point: Sequence[int]) -> list[tuple[int, ...]]:
        """The dims of those maps, one each time that it is an input or an output."""
        values = self.values(point)
        names = [n for n in (*self.inputs, *self.outputs) if n in self.wrapped]
        return [tuple(self.template.dims(name, values)) for name in names]

    @cached_property
    def key(self) -> str:
        """A digest that equal parts share: of operators, shapes and counts, not of names."""
        names: dict[str, int] = {}
        index = {code: -1 - i for i, code in enumerate(self.basis)}
        values = {code: f"{_combination(code, self.basis, self.template.counts)}"
                  for code in self.codes}  # fmt: skip

        def number(n: int) -> Any:
            return index.get(n, values.get(n, n))

        def value(name: str) -> list[Any]:
            t = self.template
            known = names.setdefault(name, len(names))
            dims = [number(n) for n in t.shapes.get(name, ())]
            held = []
            if name in t.initialisers:
                array = t.array(name)
                whole = array.dtype.kind == "i" and array.size <= 64
                held = [str(array.dtype), [number(int(n)) for n in array.flat] if whole else []]
            return [known, dims, t.kinds.get(name, 0), held]

        told: list[Any] = []
        for place in self.nodes:
            node = self.template.file.graph.node[place]
            bare = with_numbers(node, {})
            told.append([node.op_type, _attributes(bare, number), [value(n) for n in node.input],
                         [names.setdefault(n, len(names)) for n in node.output]])  # fmt: skip
        told.append([[value(n) for n in self.inputs], [value(n) for n in self.outputs]])
        return sha256(json.dumps(told).encode()).hexdigest()[:24]

    @property
    def label(self) -> str:
        """Its operators and the shapes that it reads and makes, for people."""
        graph = self.template.file.graph
        kinds = [graph.node[p].op_type for p in self.nodes]
        shapes = self.template.shapes
        ends = [
            ",".join("x".join(self._word(n) for n in shapes[name]) for name in port)
            for port in (self.inputs, self.outputs)
        ]
        return f"{'+'.join(dict.fromkeys(kinds))}: {' -> '.join(ends)}"

    def _word(self, n: int) -> str:
        if n not in self.template.counts:
            return str(n)
        return f"c{self.basis.index(n)}" if n in self.basis else "c"


def is_map(shape: Sequence[int]) -> bool:
    """Whether a value is a feature map of some pixels."""
    return len(shape) == 4 and shape[2] * shape[3] > SMALL


def _combination(
    code: int, basis: Sequence[int], counts: Mapping[int, Count]
) -> tuple[int, list[int]] | None:
    """(plus, times): how a count is a sum of others; None where it is none."""
    wanted = counts[code]
    if code in basis:
        return 0, [int(code == other) for other in basis]
    groups = sorted({g for n in (code, *basis) for g, _ in counts[n].of})
    if not basis or not {g for g, _ in wanted.of} <= {g for n in basis for g, _ in counts[n].of}:
        return None
    columns = np.array([[dict(counts[n].of).get(g, 0) for n in basis] for g in groups], float)
    wish = np.array([dict(wanted.of).get(g, 0) for g in groups], float)
    times = np.rint(np.linalg.lstsq(columns, wish, rcond=None)[0]).astype(int)
    if not np.array_equal(columns @ times, wish):
        return None
    plus = wanted.plus - sum(int(k) * counts[n].plus for k, n in zip(times, basis, strict=True))
    return plus, [int(k) for k in times]


def _numbers_of(node: Any) -> Iterator[int]:
    from onnx import AttributeProto, numpy_helper

    for attribute in node.attribute:
        if attribute.type == AttributeProto.INT:
            yield attribute.i
        elif attribute.type == AttributeProto.INTS:
            yield from attribute.ints
        elif attribute.type == AttributeProto.TENSOR:
            array = numpy_helper.to_array(attribute.t)
            yield from array.shape
            if array.dtype.kind == "i" and array.size <= 64:
                yield from map(int, array.flat)


def _attributes(node: Any, number: Any) -> list[Any]:
    from onnx import helper, numpy_helper

    out = []
    for attribute in sorted(node.attribute, key=lambda a: str(a.name)):
        value = helper.get_attribute_value(attribute)
        if hasattr(value, "data_type"):
            array = numpy_helper.to_array(value)
            value = [str(array.dtype), [number(n) for n in array.shape],
                     [number(int(n)) for n in array.flat] if array.dtype.kind == "i" else []]
        elif isinstance(value, int):
            value = number(value)
        elif isinstance(value, bytes):
            value = value.decode()
        elif not isinstance(value, float | str):
            value = [number(n) if isinstance(n, int) else n for n in value]
        out.append([attribute.name, value])
    return out


def widen(graph: Any, name: str, dims: Sequence[int], kind: int) -> None:
    """Make a map of many channels from one of one channel, which becomes an input of the graph."""
    from onnx import helper

    n, c, h, w = dims
    graph.initializer.append(_ones(f"{name}{SEED}/weight", (c, 1, 1, 1), kind))
    graph.node.insert(
        0, helper.make_node("Conv", [name + SEED, f"{name}{SEED}/weight"], [name])
    )
    graph.input.append(helper.make_tensor_value_info(name + SEED, kind, [n, 1, h, w]))


def thin(graph: Any, name: str, dims: Sequence[int], kind: int) -> None:
    """Make a map of one channel from one of many; it becomes an output of the graph."""
    from onnx import helper

    n, c, h, w = dims
    graph.initializer.append(_ones(f"{name}{OUT}/weight", (1, c, 1, 1), kind))
    graph.node.append(helper.make_node("Conv", [name, f"{name}{OUT}/weight"], [name + OUT]))
    graph.output.append(helper.make_tensor_value_info(name + OUT, kind, [n, 1, h, w]))


def _ones(name: str, shape: tuple[int, ...], kind: int) -> Any:
    from onnx import helper, numpy_helper

    dtype = helper.tensor_dtype_to_np_dtype(kind)
    return numpy_helper.from_array(np.full(shape, 0.5).astype(dtype), name)


def thin_file(dims: Sequence[int], like: Template) -> bytes:
    """The thin layers alone: one channel to a map of these dims, and back to one."""
    from onnx import TensorProto, helper

    graph = helper.make_graph([], "thin", [], [])
    thin(graph, "x", dims, TensorProto.FLOAT)
    widen(graph, "x", dims, TensorProto.FLOAT)
    return _written(graph, like)


def empty_file(like: Template) -> bytes:
    """A file that computes next to nothing: what a call of the runtime costs by itself."""
    from onnx import TensorProto, helper

    port = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1]) for n in ("x", "y")]
    node = helper.make_node("Relu", ["x"], ["y"])
    return _written(helper.make_graph([node], "empty", port[:1], port[1:]), like)


def _written(graph: Any, like: Template) -> bytes:
    from onnx import helper

    file = helper.make_model(graph, opset_imports=like.file.opset_import)
    file.ir_version = like.file.ir_version
    data: bytes = file.SerializeToString()
    return data


# --- the cut --------------------------------------------------------------------------------------


def parts_of(template: Template) -> list[Part]:
    """The parts of a graph, in its order; every node that computes is in one of them.

    Quantisers that several convolutions read the output of are in the part of each.
    """
    return _Cut(template).parts()


class _Cut:
    def __init__(self, template: Template) -> None:
        self.template, self.nodes = template, list(template.file.graph.node)
        self.maker = {name: i for i, node in enumerate(self.nodes) for name in node.output}
        self.readers: defaultdict[str, list[int]] = defaultdict(list)
        for i, node in enumerate(self.nodes):
            for name in dict.fromkeys(node.input):
                self.readers[name].append(i)
        self.constant = self._constants()
        self.owner: dict[int, int] = {}
        self.copies: defaultdict[int, set[int]] = defaultdict(set)
        self.copied: set[int] = set()

    def _constants(self) -> set[int]:
        """Nodes that read nothing that hangs on the inputs: (dequantised) weights, shapes."""
        known = set(self.template.initialisers)
        found = set()
        for i, node in enumerate(self.nodes):
            if all(name in known or not name for name in node.input):
                found.add(i)
                known |= set(node.output)
        self.known = known
        return found

    def is_head(self, i: int) -> bool:
        node = self.nodes[i]
        return i not in self.constant and node.op_type in HEADS and node.input[1] in self.known

    def parts(self) -> list[Part]:
        heads = [i for i in range(len(self.nodes)) if self.is_head(i)]
        for i, node in enumerate(self.nodes):
            if i in self.constant:
                continue
            owners = [self.owner[self.maker[n]] for n in node.input
                      if n in self.maker and self.maker[n] in self.owner]  # fmt: skip
            if i in heads:
                self.owner[i] = i
            elif owners:
                self.owner[i] = max(owners)
        for head in heads:
            self._take_leading(head)
        self._take_orphans(heads)
        return [self._part(head) for head in heads]

    def _take_leading(self, head: int) -> None:
        """Give a convolution what directly leads to it."""
        name = self.nodes[head].input[0]
        while (i := self.maker.get(name)) is not None and i not in self.constant:
            node = self.nodes[i]
            shared = len(self.readers[node.output[0]]) > 1
            if node.op_type not in LEADING or (shared and node.op_type not in QUANTISERS):
                return
            if shared or i in self.copied:
                self.copied.add(i)
                self.owner.pop(i, None)
                self.copies[head].add(i)
            else:
                self.owner[i] = head
            name = node.input[0]

    def _take_orphans(self, heads: Sequence[int]) -> None:
        """Give what hangs on the network's inputs alone to the first part that reads it."""
        for i in reversed(range(len(self.nodes))):
            if i in self.owner or i in self.constant or i in self.copied:
                continue
            readers = [r for name in self.nodes[i].output for r in self.readers[name]]
            owners = [self.owner[r] for r in readers if r in self.owner]
            owners += [h for h, copies in self.copies.items() if copies & set(readers)]
            self.owner[i] = min(owners, default=heads[-1])

    def _part(self, head: int) -> Part:
        own = {i for i, owner in self.owner.items() if owner == head} | self.copies[head]
        wanted = [n for i in own for n in self.nodes[i].input]
        while wanted:  # constants that it reads
            i = self.maker.get(wanted.pop(), -1)
            if i in self.constant and i not in own:
                own.add(i)
                wanted += self.nodes[i].input
        made = {n for i in own for n in self.nodes[i].output}
        order = sorted(own)
        inputs = dict.fromkeys(
            n for i in order for n in self.nodes[i].input
            if n and n not in made and n not in self.template.initialisers
        )  # fmt: skip
        final = {v.name for v in self.template.file.graph.output}
        outputs = [
            n for i in order if i not in self.constant for n in self.nodes[i].output
            if n in final or any(r not in own for r in self.readers[n])
        ]  # fmt: skip
        name = self._weight(head)
        return Part(self.template, name, tuple(order), tuple(inputs), tuple(outputs))

    def _weight(self, head: int) -> str:
        """The name of the tensor that a convolution's weight is made of."""
        name = self.nodes[head].input[1]
        while name in self.maker:
            name = self.nodes[self.maker[name]].input[0]
        return str(name)


def vanishes(part: Part, gone: Mapping[str, tuple[str, ...]], widths: Widths) -> bool:
    """Whether nothing of a part is left at these widths.

    Args: gone: paths of blocks that are empty at these widths, each with the tensors that remain.
    """
    if any(count(widths) == 0 for count in part.counts):
        return True
    return any(
        part.name.startswith(path) and part.name.removeprefix(path) not in remains
        for path, remains in gone.items()
    )
