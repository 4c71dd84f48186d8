"""ONNX files that are written by hand: what they cost is known by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs ganpress[onnx]")
pytest.importorskip("onnxruntime", reason="needs ganpress[onnx]")
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper


def onnx_file(
    nodes: Sequence[Any],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str],
    weights: Mapping[str, Any],
    *,
    kind: int = TensorProto.FLOAT,
    opset: int = 17,
) -> bytes:
    """A file of these nodes, whose inputs have these dims (texts are free) and type."""
    graph = helper.make_graph(
        list(nodes),
        "by_hand",
        [helper.make_tensor_value_info(name, kind, list(d)) for name, d in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    data: bytes = made.SerializeToString()
    return data


def weight(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32) / 10


def convolving(dims: Sequence[int | str] = ("n", 3, "h", "w")) -> bytes:
    """A convolution 3 -> 8 of stride 2, a depthwise one, a transposed one 8 -> 6 that doubles, and
    one of two groups 6 -> 4: see `COSTS`."""
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["image", "w0", "b0"], ["x0"], strides=[2, 2], **pads),
        helper.make_node("Conv", ["x0", "w1"], ["x1"], group=8, **pads),
        helper.make_node("ConvTranspose", ["x1", "w2"], ["x2"], strides=[2, 2], **pads,
                         output_padding=[1, 1]),
        helper.make_node("Conv", ["x2", "w3"], ["made"], group=2),
    ]  # fmt: skip
    weights = {
        "w0": weight(8, 3, 3, 3), "b0": weight(8), "w1": weight(8, 1, 3, 3),
        "w2": weight(8, 6, 3, 3), "w3": weight(4, 3, 1, 1),
    }  # fmt: skip
    return onnx_file(nodes, {"image": dims}, ["made"], weights)


def costs(height: int, width: int) -> dict[str, int]:
    """Of `convolving`, of one picture, by arithmetic."""
    full, half = height * width, height * width // 4
    before = half * 8 * 3 * 9 + half * 8 * 9
    after = full * 4 * 3
    return {
        "params": 8 * 3 * 9 + 8 + 8 * 9 + 8 * 6 * 9 + 4 * 3,
        "macs": before + half * 8 * 6 * 9 + after,
        "macs_outres": before + full * 8 * 6 * 9 + after,
        "macs_linear": 0,
    }


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
