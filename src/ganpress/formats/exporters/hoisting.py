"""Quantisers moved up to where numbers are made, past what only moves them.

A layer quantises what it reads. Where pixels or channels are moved between the layer that makes
them and the one that reads them (a doubling, a concatenation, a border of zeros), a runtime would
move floats, and would have to make them first: onnxruntime computes a convolution in integers only
where its output is quantised at once. Moving commutes with rounding to a grid, so another quantiser
of the same grid before the move changes nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

GRID = ("QuantizeLinear", "DequantizeLinear")


def hoist_quantisers(file: Any) -> Any:
    """Put a pair of the same grid before all that moves numbers above a quantiser, in place: the
    same values. Args: file: an onnx.ModelProto. Returns: it."""
    graph = file.graph
    makers = {name: node for node in graph.node for name in node.output}
    times = Counter(name for node in graph.node for name in node.input)
    times.update(output.name for output in graph.output)
    added: dict[int, list[Any]] = defaultdict(list)  # by the node they stand behind
    done: set[tuple[str, str, str]] = set()
    for node in [n for n in graph.node if n.op_type == GRID[0]]:
        grid = tuple(node.input[1:])
        for reader, place in _edges(node, makers, times):
            made = reader.input[place]
            levels, pair = f"{made}/{grid[0]}/levels", f"{made}/{grid[0]}"
            if (made, *grid) not in done:
                done.add((made, *grid))
                added[id(makers[made])] += _pair(made, levels, pair, grid)
            reader.input[place] = pair
    nodes = [own for node in graph.node for own in (node, *added.get(id(node), ()))]
    del graph.node[:]
    graph.node.extend(nodes)
    return file


def _pair(made: str, levels: str, pair: str, grid: tuple[str, ...]) -> list[Any]:
    from onnx import helper

    return [
        helper.make_node(GRID[0], [made, *grid], [levels], name=levels),
        helper.make_node(GRID[1], [levels, *grid], [pair], name=pair),
    ]


def _edges(
    quantiser: Any, makers: dict[str, Any], times: Counter[str]
) -> Iterator[tuple[Any, int]]:
    """The highest edges, (reader, number of its input), from which numbers are only moved on their
    way to a quantiser, and to nothing else. Args: times: how often each value is read."""
    open_ = [(quantiser, 0)]
    while open_:
        reader, place = open_.pop()
        above = makers.get(reader.input[place])
        if above is not None and _moves(above) and times[reader.input[place]] == 1:
            count = len(above.input) if above.op_type == "Concat" else 1
            open_ += [(above, k) for k in range(count)]
        elif above is not None and above.op_type not in GRID and _moved(reader, quantiser, makers):
            yield reader, place


def _moved(reader: Any, quantiser: Any, makers: dict[str, Any]) -> bool:
    """Whether a node above the quantiser moves numbers, or one between the two does: activations
    alone are joined with what is before them."""
    if reader is quantiser:
        return False
    node: Any = makers.get(quantiser.input[0])
    while node is not None and node is not reader and node.op_type in ("Relu", "Clip"):
        node = makers.get(node.input[0])
    return node is not reader or reader.op_type not in ("Relu", "Clip")


def _moves(node: Any) -> bool:
    """Whether a node does nothing to numbers on a grid but move, repeat or clamp them."""
    attributes = {a.name: a for a in node.attribute}
    if node.op_type == "Resize":
        return bool(attributes["mode"].s == b"nearest") if "mode" in attributes else True
    if node.op_type == "Pad":  # by zeros, or by what is there
        return len(node.input) < 3 or not node.input[2] or attributes["mode"].s != b"constant"
    return node.op_type in ("Slice", "DepthToSpace", "Concat", "Relu", "Clip", "Identity")


def guard_roundings(file: Any) -> Any:
    """Put a node that changes nothing between a rounded output of a convolution and a sum that it
    is part of, in place.

    OpenVINO 2026.4 joins the convolution and the sum, and forgets the rounding between them: a
    fifth of what the next layer reads is then a step off. Returns: the file.
    """
    from onnx import helper, numpy_helper

    graph = file.graph
    makers = {name: node for node in graph.node for name in node.output}
    summed = {name for node in graph.node if node.op_type == "Add" for name in node.input}
    lowest, nodes = "lowest", []
    for node in graph.node:
        nodes.append(node)
        if node.op_type != GRID[1] or node.output[0] not in summed:
            continue
        rounded = makers.get(node.input[0])
        made = makers.get(rounded.input[0]) if rounded is not None else None
        if made is not None and made.op_type == "Conv":
            name = node.output[0]
            node.output[0] = f"{name}/rounded"
            nodes.append(helper.make_node("Max", [node.output[0], lowest], [name], name=name))
    if len(nodes) > len(graph.node):
        column = np.full((1, 1, 1), np.finfo(np.float32).min)
        graph.initializer.append(numpy_helper.from_array(column, lowest))
        del graph.node[:]
        graph.node.extend(nodes)
    return file
