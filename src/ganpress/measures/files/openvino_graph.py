"""What an OpenVINO network costs: its shapes are all known once its inputs' are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from ganpress.formats.runtimes.base import Source
from ganpress.formats.runtimes.openvino import read_network
from ganpress.measures.files.feeds import Dims
from ganpress.measures.files.operations import Operation

CONVOLUTIONS = ("Convolution", "GroupConvolution")
TRANSPOSED = ("ConvolutionBackpropData", "GroupConvolutionBackpropData")
PRODUCT = "MatMul"
_FLOATS = ("f16", "bf16", "f32", "f64")
_WHOLE = ("i8", "u8", "i4", "u4")
_RANGES = "FakeQuantize"  # its inputs after the first are the bounds of its grid
_NO_WEIGHTS = (_RANGES, "Interpolate")  # nor are the sizes and factors of the latter any


def read_graph(path: Path, dims: Mapping[str, Dims]) -> Any:
    """The file as openvino.Model at these dims of its inputs. Raises: CheckpointError,
    MissingExtra."""
    graph = read_network(Source(path))
    graph.reshape({name: list(shape) for name, shape in dims.items()})
    return graph


def operations(graph: Any) -> list[Operation]:
    """All operations of the graph that multiply and add, those of its branches and loops not."""
    return [o for node in graph.get_ordered_ops() if (o := _operation(node)) is not None]


def _operation(node: Any) -> Operation | None:
    kind = node.get_type_name()
    if kind not in (*CONVOLUTIONS, *TRANSPOSED, PRODUCT):
        return None
    reads, weight = (tuple(node.input(i).get_shape()) for i in (0, 1))
    makes, name = tuple(node.output(0).shape), node.get_friendly_name()
    if kind == PRODUCT:
        turned = node.get_attributes().get("transpose_a", False)
        depth = reads[-2] if turned and len(reads) > 1 else reads[-1]
        return Operation(name, "product", weight, reads, makes, depth)
    shape = "convolution" if kind in CONVOLUTIONS else "transposed"
    return Operation(name, shape, weight, reads, makes)  # type: ignore[arg-type]


def params(graph: Any) -> int:
    """See `FileCost.params`."""
    return sum(prod(node.output(0).shape) for node in _weights(graph))


def _weights(graph: Any) -> Iterator[Any]:
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "Constant":
            continue
        element = node.output(0).element_type.type_name
        readers = list(node.output(0).get_target_inputs())
        bounds = all(
            r.get_node().get_type_name() in _NO_WEIGHTS and r.get_index() > 0 for r in readers
        )
        several = prod(node.output(0).shape) > 1
        if several and not bounds and element in (*_FLOATS, *_WHOLE) and not _is_scale(node):
            yield node


def _is_scale(node: Any) -> bool:
    """Whether it shifts or scales the whole numbers of a quantised weight."""
    for reader in node.output(0).get_target_inputs():
        other = reader.get_node()
        if other.get_type_name() in ("Subtract", "Multiply") and _from_levels(other):
            return True
        if other.get_type_name() == "Convert" and _is_scale(other):  # a zero point
            return True
    return False


def _from_levels(node: Any) -> bool:
    """Whether its first operand is made of whole numbers alone: Constant, Convert, Subtract."""
    maker = node.input(0).get_source_output().get_node()
    while maker.get_type_name() in ("Convert", "Subtract"):
        maker = maker.input(0).get_source_output().get_node()
    element = maker.output(0).element_type.type_name
    return maker.get_type_name() == "Constant" and element in _WHOLE


def precision(graph: Any) -> str:
    """See `FileCost.precision`: of a float network what it computes in unless asked otherwise."""
    kinds = {node.get_type_name() for node in graph.get_ordered_ops()}
    whole = any(
        node.get_type_name() == "Constant" and node.output(0).element_type.type_name in _WHOLE
        for node in _weights(graph)
    )
    return "int8" if _RANGES in kinds or whole else "fp32"
