"""What an ONNX graph costs, by shape inference; where that leaves a shape open, by running it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from ganpress.errors import CheckpointError, require
from ganpress.formats.runtimes import Arrays, open_file
from ganpress.measures.files.feeds import Dims
from ganpress.measures.files.operations import Operation

CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
TRANSPOSED = {"ConvTranspose": 1}
PRODUCTS = {"Gemm": 1, "MatMul": 1, "FusedMatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3}
"""Operator -> the place of its second operand among its inputs; the first is at 0."""
COUNTED = {**CONVOLUTIONS, **TRANSPOSED, **PRODUCTS}
_QUANTISED = ("QuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
_FLOATS = {1: "fp32", 10: "fp16", 11: "fp64", 16: "bf16"}  # TensorProto's numbers
_WHOLE = (
    2,
    3,
    6,
)  # uint8, int8, int32 (biases): weights where a DequantizeLinear or an integer operator reads them
_NO_WEIGHTS = {
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "Upsample"), (1, 2)),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul"), (1, 2, 4, 5, 6, 7)),
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), (2, 3)),
    "Resize": (1, 2, 3),
}
"""Operator -> the places of what are no weights among its inputs: scales, zero points, sizes."""
_BIAS = {"QLinearConv": 8}


def read_graph(path: Path) -> Any:
    """The file as onnx.ModelProto, its weights included. Raises: CheckpointError, MissingExtra."""
    require(f"Reading the graph of {path}", "onnx")
    import onnx

    try:
        return onnx.load(path)
    except Exception as error:  # protobuf's errors, missing files of weights
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} cannot be read as ONNX ({line}).") from error


def operations(file: Any, dims: Mapping[str, Dims], feeds: Arrays) -> list[Operation]:
    """All operations of the graph that multiply and add, those of its branches and loops not.

    Args:
        dims: of each input. feeds: arrays for them, used where shape inference leaves a shape open.
    """
    shapes = _inferred(file, dims)
    wanted = [_operands(node) for node in file.graph.node if node.op_type in COUNTED]
    open_ = {name for names in wanted for name in names if name not in shapes}
    if open_:
        shapes |= _by_running(file, open_, feeds)
    return [_operation(node, shapes) for node in file.graph.node if node.op_type in COUNTED]


def _operands(node: Any) -> tuple[str, str, str]:
    """Names of what it reads, its second operand, what it makes."""
    return node.input[0], node.input[COUNTED[node.op_type]], node.output[0]


def _inferred(file: Any, dims: Mapping[str, Dims]) -> dict[str, Dims]:
    """Shapes by value name, of those that are known as numbers."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(file)
    for port in copy.graph.input:
        if port.name in dims:
            shape = port.type.tensor_type.shape
            del shape.dim[:]
            for side in dims[port.name]:
                shape.dim.add().dim_value = side
    del copy.graph.value_info[:]
    for port in copy.graph.output:  # what is written there may be of other inputs
        port.type.tensor_type.ClearField("shape")
    found = onnx.shape_inference.infer_shapes(copy, data_prop=True).graph
    shapes = {i.name: tuple(i.dims) for i in found.initializer}
    for value in (*found.input, *found.value_info, *found.output):
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if value.type.tensor_type.HasField("shape") and all(side > 0 for side in shape):
            shapes.setdefault(value.name, tuple(shape))
    return shapes


def _by_running(file: Any, names: set[str], feeds: Arrays) -> dict[str, Dims]:
    """Shapes of these values in one run."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(file)
    there = {port.name for port in copy.graph.output}
    for name in names - there:
        copy.graph.output.append(onnx.ValueInfoProto(name=name))
    with open_file(copy.SerializeToString(), threads=1) as opened:
        made = opened.run(feeds)
    return {name: tuple(made[name].shape) for name in names}


def _operation(node: Any, shapes: Mapping[str, Dims]) -> Operation:
    reads, weight, makes = (shapes[name] for name in _operands(node))
    name = node.name or node.output[0]
    if node.op_type in CONVOLUTIONS:
        return Operation(name, "convolution", weight, reads, makes)
    if node.op_type in TRANSPOSED:
        return Operation(name, "transposed", weight, reads, makes)
    turned = any(a.name == "transA" and a.i for a in node.attribute)
    return Operation(name, "product", weight, reads, makes, reads[-2] if turned else reads[-1])


def params(file: Any) -> int:
    """See `FileCost.params`."""
    return sum(prod(tensor.dims) for tensor in _weights(file))


def _weights(file: Any) -> Iterator[Any]:
    """The constants that the graph computes with."""
    others: set[str] = set()
    levels: set[str] = set()
    for node in file.graph.node:
        places = _NO_WEIGHTS.get(node.op_type, ())
        others.update(node.input[i] for i in places if i < len(node.input))
        if node.op_type == "DequantizeLinear":
            levels.add(node.input[0])
        elif node.op_type in _QUANTISED:
            read = [table[node.op_type] for table in (COUNTED, _BIAS) if node.op_type in table]
            levels.update(node.input[i] for i in read if i < len(node.input))
    for name, tensor in _constants(file):
        whole = tensor.data_type in _WHOLE and name in levels
        several = prod(tensor.dims) > 1
        if several and name not in others and (tensor.data_type in _FLOATS or whole):
            yield tensor


def _constants(file: Any) -> Iterator[tuple[str, Any]]:
    yield from ((tensor.name, tensor) for tensor in file.graph.initializer)
    for node in file.graph.node:
        if node.op_type == "Constant":
            yield from ((node.output[0], a.t) for a in node.attribute if a.name == "value")


def precision(file: Any) -> str:
    """See `FileCost.precision`."""
    if any(node.op_type in _QUANTISED for node in file.graph.node):
        return "int8"
    found: Counter[str] = Counter()
    for tensor in _weights(file):
        found[_FLOATS.get(tensor.data_type, "int8")] += prod(tensor.dims)
    return found.most_common(1)[0][0] if found else "fp32"
