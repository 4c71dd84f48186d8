"""Small ONNX graphs, built node by node, and how onnxruntime runs them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs ganpress[onnx]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs ganpress[onnx]")

Array = np.ndarray[Any, Any]
ZERO, SEVEN = np.uint8(0), np.uint8(7)


class Drawing:
    """A graph with one float input, ``x``: `node` and `constant` add to it and return names."""

    def __init__(self, *shape: int | str, seed: int = 0) -> None:
        self.shape, self.random = shape, np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, array: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def normal(self, *shape: int) -> Array:
        return self.random.standard_normal(shape).astype(np.float32)

    def levels(self, x: str, step: float = 0.02, zero: Any = ZERO) -> str:
        return self.node("QuantizeLinear", x, self.constant(np.float32(step)), self.constant(zero))

    def quantised(self, x: str, step: float = 0.02, zero: Any = ZERO) -> str:
        grid = self.constant(np.float32(step)), self.constant(zero)
        return self.node("DequantizeLinear", self.node("QuantizeLinear", x, *grid), *grid)

    def weight(self, *shape: int, axis: int = 0) -> str:
        """An 8-bit weight, with a step for each channel of an axis."""
        levels = self.random.integers(-127, 128, shape).astype(np.int8)
        step = self.random.uniform(0.001, 0.003, shape[axis]).astype(np.float32)
        return self.node("DequantizeLinear", self.constant(levels), self.constant(step), axis=axis)

    def file(self, *outputs: str, multiple: int | None = None) -> bytes:
        info, kinds = onnx.helper.make_tensor_value_info, onnx.TensorProto
        graph = onnx.helper.make_graph(
            self.nodes,
            "drawn",
            [info("x", kinds.FLOAT, self.shape)],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            self.constants,
        )
        file = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8
        )
        file = onnx.shape_inference.infer_shapes(file)
        if multiple:
            onnx.helper.set_model_props(file, {"multiple": str(multiple)})
        data: bytes = file.SerializeToString()
        return data


def run(data: bytes, x: Array, *, optimise: bool = True, save: Any = None) -> list[Array]:
    """The outputs that onnxruntime makes; ``save``: where to leave the graph that it made of it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    if save is not None:
        options.optimized_model_filepath = str(save)
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    made: list[Array] = session.run(None, {"x": x})
    return made


def kinds(data: bytes) -> list[str]:
    """Operators of a file, sorted."""
    return sorted(n.op_type for n in onnx.load_from_string(data).graph.node)
