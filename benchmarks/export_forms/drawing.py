"""Graphs of a few nodes, with random weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

OPSET, IR = 21, 10
Forms = Mapping[str, bytes]
Array = np.ndarray[Any, Any]


class Drawing:
    """A graph in the making: `node` adds one, `constant` an initialiser; both return names."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.draw = np.random.default_rng(seed)
        self.shape = shape
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def node(
        self, op: str, *inputs: str, domain: str = "", called: str | None = None, **attributes: Any
    ) -> str:
        from onnx import helper

        name = called or f"v{len(self.nodes)}"
        made = helper.make_node(
            op, list(inputs), [name], name=f"{op}_{name}", domain=domain, **attributes
        )
        self.nodes.append(made)
        return name

    def constant(self, array: Array | np.generic | list[int]) -> str:
        from onnx import numpy_helper

        array = np.asarray(array, np.int64) if isinstance(array, list) else array
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def normal(self, *shape: int, std: float = 1.0) -> Array:
        return (std * self.draw.standard_normal(shape)).astype(np.float32)

    def weight(self, o: int, i: int, k: int) -> Array:
        return self.normal(o, i, k, k, std=(i * k * k) ** -0.5)

    def file(self, output: str) -> bytes:
        from onnx import TensorProto, helper

        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "form",
            [info("x", TensorProto.FLOAT, self.shape)],
            [info(output, TensorProto.FLOAT, None)],
            self.weights,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        data: bytes = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR
        ).SerializeToString()
        return data
