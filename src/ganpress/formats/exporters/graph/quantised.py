"""Quantised layers in an ONNX graph: a convolution between DequantizeLinear nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ganpress.formats.exporters.graph.editor import Array, Editor, attributes

CONVOLUTIONS = ("Conv", "ConvTranspose")


@dataclass(frozen=True)
class Weight:
    """A constant weight in 8 bits.

    Attributes:
        levels: int8, of the weight's shape.
        step: float32, (out,); one number per output channel, also where the file has one for all.
        axis: of the output channels.
    """

    levels: Array
    step: Array
    axis: int

    def dequantise(self, editor: Editor, name: str) -> Any:
        """A node that makes the float weight, under a name like this one."""
        parts = [
            editor.constant(self.levels, f"{name}/levels"),
            editor.constant(self.step.astype(np.float32), f"{name}/step"),
            editor.constant(np.zeros(len(self.step), np.int8), f"{name}/zero"),
        ]
        return editor.node("DequantizeLinear", parts, editor.value(name), axis=self.axis)


def weight_of(editor: Editor, layer: Any) -> Weight | None:
    """The 8-bit weight of a convolution; None where it is float, or not symmetric."""
    node = editor.maker(layer.input[1])
    if node is None or node.op_type != "DequantizeLinear":
        return None
    levels, step = editor.array(node.input[0]), editor.array(node.input[1])
    zero = editor.array(node.input[2]) if len(node.input) > 2 else None
    if levels is None or step is None or levels.dtype != np.int8:
        return None
    if zero is not None and zero.any():
        return None
    axis = 0 if layer.op_type == "Conv" else 1
    if step.ndim and attributes(node).get("axis", 1) != axis:
        return None
    return Weight(levels, np.broadcast_to(step, levels.shape[axis]).astype(np.float32), axis)


def input_step(editor: Editor, layer: Any) -> float | None:
    """The step of the grid on which a convolution's input lies; None where it reads floats."""
    node = editor.maker(layer.input[0])
    if node is None or node.op_type != "DequantizeLinear":
        return None
    step = editor.array(node.input[1])
    return float(step.reshape(())) if step is not None and step.size == 1 else None


def bias_of(editor: Editor, layer: Any) -> tuple[Array, Any] | None:
    """A float bias, (out,), and the node that adds it: the convolution or the Add behind it."""
    if len(layer.input) > 2 and layer.input[2]:
        bias = editor.array(layer.input[2])
        return None if bias is None else (bias, layer)
    add = editor.only_reader(layer.output[0])
    if add is None or add.op_type != "Add":
        return None
    other = [name for name in add.input if name != layer.output[0]]
    column = editor.array(other[0]) if other else None
    if column is None or column.size != max(column.shape[-3:-2], default=0):
        return None
    return column.reshape(-1), add


def is_quantised(editor: Editor, name: str) -> bool:
    """Whether a value goes into one quantiser, perhaps through ReLUs and padding or shuffling."""
    node = editor.only_reader(name)
    while node is not None and node.op_type in ("Relu", "Pad", "Resize", "DepthToSpace", "Slice"):
        node = editor.only_reader(node.output[0])
    return node is not None and node.op_type == "QuantizeLinear"
