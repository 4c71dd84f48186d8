"""ONNX files in half precision: float16 computed, or bfloat16 stored.

float16 has 11 bits and ends at 65504; its smallest normal number is 6.1e-5. Convolutions, matrix
products and activations of a generator fit in that. What sums squares does not: a norm's variance,
StyleGAN2's demodulation and the epsilons beside them stay in float32 (`statistics`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ganpress.errors import ConfigError, ExportError

NORMS = (
    "BatchNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "LpNormalization",
    "MeanVarianceNormalization",
)
SUMS = ("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2", "GlobalAveragePool")
ROOTS = ("Sqrt", "Reciprocal", "Pow")
QUANTISED = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger")


def to_half(data: bytes) -> bytes:
    """A float32 ONNX file whose weights are stored, and convolutions computed, in float16.

    Inputs and outputs keep their types. What `statistics` names is computed in float32.

    Raises: ConfigError where the file is quantised; ExportError where it cannot be converted.
    """
    import onnx

    model = onnx.load_from_string(data)
    refuse_quantised(model.graph, "fp16")
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    try:
        with on_its_path():
            from onnxruntime.transformers.float16 import (
                DEFAULT_OP_BLOCK_LIST,
                convert_float_to_float16,
            )

        halved = convert_float_to_float16(
            model,
            keep_io_types=True,
            op_block_list=DEFAULT_OP_BLOCK_LIST,
            node_block_list=statistics(model.graph),
        )
    except Exception as error:  # onnxruntime's converter has no error type of its own
        raise ExportError(
            f"onnxruntime's float16 converter cannot take this network ({error}). Nothing was "
            "written."
        ) from error
    data = halved.SerializeToString()
    return data


def to_bfloat(data: bytes) -> bytes:
    """A float32 ONNX file whose weights are stored in bfloat16, and computed with in float32.

    onnxruntime has no convolution in bfloat16 on CPUs: each weight goes through a Cast, which is
    folded when the file is loaded. The file has half the bytes and the speed of the float32 one;
    where a processor has bfloat16, OpenVINO's files compute in it (`openvino_files`).

    Raises: ConfigError where the file is quantised.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load_from_string(data)
    graph = model.graph
    refuse_quantised(graph, "bf16")
    casts = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        name, values = weight.name, onnx.numpy_helper.to_array(weight)
        weight.CopyFrom(bfloat_tensor(values, f"{name}/bf16"))
        casts.append(
            helper.make_node(
                "Cast", [weight.name], [name], name=f"{name}/cast", to=TensorProto.FLOAT
            )
        )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    stored: bytes = model.SerializeToString()
    return stored


def bfloat_tensor(values: np.ndarray[Any, Any], name: str) -> Any:
    """A float32 array as a tensor of bfloat16, rounded to the nearest, ties to even."""
    import ml_dtypes
    from onnx import TensorProto, helper

    rounded = values.astype(ml_dtypes.bfloat16)
    raw = rounded.tobytes()
    return helper.make_tensor(name, TensorProto.BFLOAT16, values.shape, raw, raw=True)


def statistics(graph: Any) -> list[str]:
    """Names of the nodes that stay in float32: norms, and what sums squares and takes the root.

    These are the nodes of `NORMS`, `SUMS` and `ROOTS`; around each root, the sum of an epsilon, the
    matrix product or mean below it, the square that is summed and the difference that is squared;
    and the division by the root.
    """
    makers = {name: node for node in graph.node for name in node.output}
    kept = {n.name for n in graph.node if n.op_type in (*NORMS, *SUMS, *ROOTS)}
    rooted: set[str] = set()
    for node in graph.node:
        if node.op_type == "Sqrt":
            kept.update(_below(makers.get(node.input[0]), makers))
            rooted.update(node.output)
        elif rooted.intersection(node.input) and node.op_type in ("Add", "Div", "Max"):
            kept.add(node.name)
            rooted.update(node.output if node.op_type != "Div" else ())
    return [node.name for node in graph.node if node.name in kept]


def _below(node: Any, makers: dict[str, Any]) -> Iterator[str]:
    """From what a root reads down to the difference that was squared."""
    while node is not None and node.op_type in ("Add", "Max", "Cast", "Mul", "Clip"):
        yield node.name
        node = next((makers[n] for n in node.input if n in makers), None)
    if node is None or node.op_type not in ("MatMul", "Gemm", *SUMS):
        return
    yield node.name
    square = makers.get(node.input[0])
    if square is not None and square.op_type in ("Mul", "Pow"):
        yield square.name
        off = makers.get(square.input[0])
        if off is not None and off.op_type == "Sub":
            yield off.name


def refuse_quantised(graph: Any, precision: str) -> None:
    """Refuse a file with 8-bit layers: ConfigError."""
    if any(node.op_type in QUANTISED for node in graph.node):
        raise ConfigError(
            f"This network is quantised to 8 bits; it has no {precision} form, which would be larger "
            "and no more exact: export it with --precision int8."
        )


@contextmanager
def on_its_path() -> Iterator[None]:
    """Modules of `onnxruntime.transformers` import each other by bare names, for which it puts its
    own folder on the path, once; here the folder is there while it is imported, and only then."""
    import onnxruntime

    before = list(sys.path)
    sys.path.append(str(Path(onnxruntime.__file__).parent / "transformers"))
    try:
        yield
    finally:
        sys.path[:] = before
