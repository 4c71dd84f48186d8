"""A part of a graph: which numbers its time hangs on, and a file of it alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np

from ganpress.measures.timing.codes import Count
from ganpress.measures.timing.template import LISTED, Template, numbers_of, with_numbers
from ganpress.measures.timing.thin_layers import thin, widen
from ganpress.types import Widths

SMALL = 16  # pixels; a smaller map is fed as it is


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
            yield from numbers_of(node)
            for name in node.input:
                if name in t.initialisers:
                    yield from t.initialisers[name].dims
                    array = t.array(name)
                    if array.dtype.kind == "i" and array.size <= LISTED:
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
                whole = array.dtype.kind == "i" and array.size <= LISTED
                held = [str(array.dtype), [number(int(n)) for n in array.flat] if whole else []]
            return [known, dims, t.kinds.get(name, 0), held]

        seen: list[Any] = []
        for place in self.nodes:
            node = self.template.file.graph.node[place]
            bare = with_numbers(node, {})
            seen.append([node.op_type, _attributes(bare, number), [value(n) for n in node.input],
                         [names.setdefault(n, len(names)) for n in node.output]])  # fmt: skip
        seen.append([[value(n) for n in self.inputs], [value(n) for n in self.outputs]])
        return sha256(json.dumps(seen).encode()).hexdigest()[:24]

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


def _attributes(node: Any, number: Any) -> list[Any]:
    from onnx import helper, numpy_helper

    out = []
    for attribute in sorted(node.attribute, key=lambda a: str(a.name)):
        value = helper.get_attribute_value(attribute)
        if hasattr(value, "data_type"):
            array = numpy_helper.to_array(value)
            value = [
                str(array.dtype),
                [number(n) for n in array.shape],
                [number(int(n)) for n in array.flat] if array.dtype.kind == "i" else [],
            ]
        elif isinstance(value, int):
            value = number(value)
        elif isinstance(value, bytes):
            value = value.decode()
        elif not isinstance(value, float | str):
            value = [number(n) if isinstance(n, int) else n for n in value]
        out.append([attribute.name, value])
    return out


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
