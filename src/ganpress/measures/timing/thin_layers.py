"""Thin layers before and behind a part that is timed alone, so that it finds its maps as it does in
the network: just written, in the runtime's own order, and read by a convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ganpress.measures.timing.template import Template

SEED, OUT = "/seed", "/thin"


def widen(graph: Any, name: str, dims: Sequence[int], kind: int) -> None:
    """Make a map of many channels from one of one channel, which becomes an input of the graph."""
    from onnx import helper

    n, c, h, w = dims
    graph.initializer.append(_ones(f"{name}{SEED}/weight", (c, 1, 1, 1), kind))
    graph.node.insert(0, helper.make_node("Conv", [name + SEED, f"{name}{SEED}/weight"], [name]))
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
    return like.written(graph)


def empty_file(like: Template) -> bytes:
    """A file that computes next to nothing: what a call of the runtime costs by itself."""
    from onnx import TensorProto, helper

    port = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1]) for n in ("x", "y")]
    node = helper.make_node("Relu", ["x"], ["y"])
    return like.written(helper.make_graph([node], "empty", port[:1], port[1:]))
