"""ONNX, by torch's dynamo exporter, checked in onnxruntime.

The inputs have the names of the network's `reads`, all float32: `image` is NCHW in [-1, 1], as is
the output, `image_out`; their channels are RGB or what the metadata say. Where the form asks for
bytes, pictures are uint8 and NHWC instead. Shapes are those of the form, or free: the batch, and
height and width in steps of the family's multiple, where the network reads pictures or label maps.
A fake-quantised network becomes QuantizeLinear/DequantizeLinear nodes with int8 weights, so the
file is small and a runtime with int8 kernels can use them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from ganpress.errors import CheckpointError, ExportError, require
from ganpress.formats.exporters import verify
from ganpress.formats.exporters.byte_door import with_bytes
from ganpress.formats.exporters.described import describe
from ganpress.formats.exporters.form import OPENVINO_HINTS, Form, Job
from ganpress.formats.exporters.graph import Runtime, optimised
from ganpress.formats.exporters.layerwise import Session
from ganpress.formats.exporters.opset import at_opset, opset_of
from ganpress.formats.exporters.parity import check_seen, write_parity
from ganpress.formats.exporters.precision import calibrated, to_bfloat, to_half
from ganpress.formats.exporters.trace import in_form, traced
from ganpress.formats.exporters.verify import FLOAT_MAX, ExportFacts, Tolerance, compare
from ganpress.formats.runtimes import open_file
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import reads
from ganpress.quantisation.quantise import quantiser_of
from ganpress.run.files import make_folder, write_file
from ganpress.types import Inputs

HALVES = {"fp16": to_half, "bf16": to_bfloat}
NORMS = ("InstanceNormalization", "BatchNormalization")


def export_onnx(job: Job) -> ExportFacts:
    """Write one ONNX file; errors as in `ganpress.export`."""
    require("Export to ONNX", "onnx", "onnxscript", "onnxruntime")
    model, form, path = job.model, job.form, job.path
    plain = in_form(model, form)
    data, layers = with_layers(plain, form, job.calibration)
    found = compare(plain, data, session, form, layers=layers)
    parity = check_seen(job, plain, lambda: open_file(data), FLOAT_MAX, Tolerance().mean)
    make_folder(path.parent)
    write_file(path, data)
    opset, ir = versions_of(data)
    return ExportFacts(
        path, len(data), found.most, found.mean, found.sizes, opset, found.near, found.noise,
        ir=ir, parity=write_parity(job, parity, data),
    )  # fmt: skip


def to_bytes(
    model: Model,
    form: Form,
    calibration: Sequence[Inputs] = (),
    *,
    runtime: Runtime = "onnxruntime",
    passes: bool = True,
) -> bytes:
    """The ONNX file of a model in this form, metadata included.

    Args:
        calibration: what a float network reads, for ``precision="int8"``.
        runtime: the program that the file is for. For OpenVINO fp16 and bf16 stay float32 here:
            its own files store them.
        passes: False: the graph as it was traced, before the runtime's passes (`exporters.graph`).
    Raises: ExportError where torch's exporter cannot take the network; ConfigError for an operator
        set that the graph cannot have, or a precision that the network cannot.
    """
    plain = in_form(model, form)
    return _finished(_graph(plain, form), plain, form, calibration, runtime, passes=passes)


def with_layers(
    plain: Model,
    form: Form,
    calibration: Sequence[Inputs] = (),
    *,
    runtime: Runtime = "onnxruntime",
) -> tuple[bytes, bytes | None]:
    """`to_bytes`, and where the network has trained quantisers the file whose layers are the
    network's, for the check of layers: passes merge layers with what is around them. Else None.

    Args: plain: what `in_form` made.
    """
    graph = _graph(plain, form)
    data = _finished(graph, plain, form, calibration, runtime, passes=True)
    if quantiser_of(plain.net) is None:
        return data, None
    lowest = replace(form, opset=None)
    return data, _finished(graph, plain, lowest, (), runtime, passes=False)


def _graph(plain: Model, form: Form) -> bytes:
    """The network as it was traced; of what its file will say only what passes ask for."""
    from onnx import helper

    file = _spelled_out(traced(plain, form))
    helper.set_model_props(file, {"multiple": str(plain.multiple)})
    data: bytes = file.SerializeToString()
    return data


def _finished(
    data: bytes,
    plain: Model,
    form: Form,
    calibration: Sequence[Inputs],
    runtime: Runtime,
    *,
    passes: bool,
) -> bytes:
    """The file of a graph that was traced."""
    import onnx

    if form.precision == "int8" and quantiser_of(plain.net) is None:
        data = calibrated(data, _feeds(plain, calibration), runtime=runtime)
    elif passes:
        data = optimised(data, runtime)
    if runtime == "onnxruntime" and form.precision in HALVES:
        data = HALVES[form.precision](data)
    file = onnx.load_from_string(data)
    if runtime == "onnxruntime":
        file = _kept_apart(file)
    if form.bytes_io:
        file = with_bytes(file)
    del file.metadata_props[:]
    described = describe(plain, form)
    if runtime == "openvino":
        described["inference_precision_hint"] = OPENVINO_HINTS[described["precision"]]
    onnx.helper.set_model_props(file, described)
    return at_opset(file.SerializeToString(), form.opset)


def _feeds(model: Model, calibration: Sequence[Inputs]) -> Iterator[dict[str, Any]]:
    """Inputs as a runtime is fed them."""
    for inputs in calibration:
        yield {n: t.numpy() for n, t in zip(reads(model), inputs, strict=True)}


def versions_of(data: bytes) -> tuple[int, int]:
    """The operator set and the version of the file format of an ONNX file."""
    import onnx

    file = onnx.load_from_string(data)
    return opset_of(file), int(file.ir_version)


def _spelled_out(file: Any) -> Any:
    """Give what follows a quantised convolution nodes of its own, where a program would be wrong.

    A bias, where no norm follows: between quantisers onnxruntime rounds a convolution's own bias to
    the grid of its sums. Nobody trained for that: it moves one in a thousand activations by a step,
    in a network that is otherwise the same to the last bit, and a deep one then differs by grey
    levels.

    Sums that several nodes read, such as those of a norm: OpenVINO 2026.4 multiplies by the scales
    twice where one of them is a mean over pixels, unless one node, which changes nothing but cannot
    be removed, stands between.

    A rounded output that is a summand (`OutputGrid`): it joins the convolution and the sum, and
    forgets the rounding between them: a fifth of what the next layer read was a step off.
    """
    from onnx import helper, numpy_helper

    graph = file.graph
    dequantised = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    normed = {name for n in graph.node if n.op_type in NORMS for name in n.input[:1]}
    readers = Counter(name for node in graph.node for name in set(node.input))
    constants = {i.name: i for i in graph.initializer}
    summed = {name for n in graph.node if n.op_type == "Add" for name in n.input} & dequantised
    nodes = []
    for node in graph.node:
        nodes.append(node)
        if node.output[0] in summed and node.input[0] not in constants:
            nodes.append(_guarded(graph, node, "rounded"))
        convolves = node.op_type in ("Conv", "ConvTranspose") and node.input[1] in dequantised
        made = node.output[0]
        if not convolves or made in normed:
            continue
        if len(node.input) == 3:
            column = numpy_helper.to_array(constants[node.input.pop()]).reshape(-1, 1, 1)
            node.output[0], bias = f"{made}/sum", f"{made}/bias"
            graph.initializer.append(numpy_helper.from_array(column, bias))
            summands = [node.output[0], bias]
            nodes.append(helper.make_node("Add", summands, [made], name=f"{made}/Add"))
        elif readers[made] > 1:
            nodes.append(_guarded(graph, node, "sum"))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input}
    for unused in [i for i in graph.initializer if i.name not in used]:
        graph.initializer.remove(unused)
    return file


def _kept_apart(file: Any) -> Any:
    """Let OpenVINO, too, make the picture of a file that was made for onnxruntime.

    2026.4 joins a quantised transposed convolution of this form with the rounding behind it, and is
    100 grey levels off. (Files made for it are compared with torch when they are written.)
    """
    graph = file.graph
    dequantised = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    nodes = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type == "ConvTranspose" and node.input[1] in dequantised:
            nodes.append(_guarded(graph, node, "apart"))
    del graph.node[:]
    graph.node.extend(nodes)
    return file


def _guarded(graph: Any, node: Any, name: str) -> Any:
    """A node that changes nothing, to stand between this one and its readers."""
    from onnx import helper, numpy_helper

    made = node.output[0]
    least = np.full((1, 1, 1), np.finfo(np.float32).min)
    node.output[0] = f"{made}/{name}"
    graph.initializer.append(numpy_helper.from_array(least, f"{made}/least"))
    return helper.make_node("Max", [node.output[0], f"{made}/least"], [made], name=f"{made}/Max")


def session(data: bytes) -> Session:
    """The file as a function of its inputs by name, run by onnxruntime on the CPU."""
    try:
        opened = open_file(data)
    except CheckpointError as error:
        raise ExportError(
            f"onnxruntime cannot load the exported network ({error.__cause__}). "
            "Nothing was written."
        ) from error
    return verify.on_tensors(opened)


def runner(data: bytes, names: tuple[str, ...]) -> Callable[..., Tensor]:
    """The file as a function of the network's inputs, run by onnxruntime on the CPU."""
    return verify.runner(session(data), names)
