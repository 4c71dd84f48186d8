"""ONNX, by torch's dynamo exporter, checked in onnxruntime.

The inputs have the names of the network's `reads`, all float32: `image` is NCHW in [-1, 1], as is
the output, `image_out`; their channels are RGB or what the metadata say. The batch is free; so are
height and width, in steps of the family's multiple, where the network reads pictures or label maps.
A fake-quantised network becomes QuantizeLinear/DequantizeLinear nodes with int8 weights, so the
file is small and a runtime with int8 kernels can use them.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import json
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganpress.errors import ExportError, MissingExtra
from ganpress.formats.exporters import verify
from ganpress.formats.exporters.folding import fold_norms
from ganpress.formats.exporters.hoisting import guard_roundings, hoist_quantisers
from ganpress.formats.exporters.layerwise import Session
from ganpress.formats.exporters.quantiser import use_export_quantisers
from ganpress.formats.exporters.verify import OUTPUT, ExportFacts, compare, reads
from ganpress.models.checkpoint import Model
from ganpress.models.families.base import draw_inputs
from ganpress.nn.layers import fold_gates
from ganpress.run.files import make_folder, replace_file
from ganpress.types import Inputs
from ganpress.types.pictures import CHANNELS
from ganpress.types.sizes import Size

OPSET = 18
NORMS = ("InstanceNormalization", "BatchNormalization")


def export_onnx(model: Model, path: Path, size: Size) -> ExportFacts:
    """Write `path` as one ONNX file; arguments and errors as in `ganpress.export`."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise MissingExtra(
                f"Export to ONNX needs the package '{package}': pip install 'ganpress[onnx]'"
            ) from error
    data = to_bytes(model)
    found = compare(model, data, session, size)
    make_folder(path.parent)
    replace_file(path, lambda file: file.write(data))
    return ExportFacts(
        path, len(data), found.most, found.mean, found.sizes, OPSET, found.near, found.noise
    )


def to_bytes(model: Model) -> bytes:
    """The ONNX file of a model, metadata included.

    Raises: ExportError where torch's exporter cannot take the network.
    """
    net = fold_norms(use_export_quantisers(fold_gates(copy.deepcopy(model.net).cpu().eval())))
    example, shapes = example_of(net, model.multiple, model.min_size)
    try:
        with _quiet(), torch.no_grad():
            program: Any = torch.onnx.export(
                net,
                example,
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                input_names=list(reads(model)),
                output_names=[OUTPUT],
                dynamic_shapes=shapes,
                optimize=False,
                verbose=False,
            )
            _guard_epsilons(program.model.graph)
            program.optimize()
            _strip(program.model.graph)
            program.model.metadata_props.update(_metadata(model))
            file = guard_roundings(hoist_quantisers(_spelled_out(program.model_proto)))
            data: bytes = file.SerializeToString()
    except Exception as error:  # the exporter has no error type of its own for all its floors
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ExportError(
            f"torch's ONNX exporter cannot take this '{model.family.name}' network ({lines[0]}). "
            "Nothing was written; please report this with the versions of torch and onnxscript."
        ) from error
    return data


def example_of(net: nn.Module, multiple: int, min_size: int) -> tuple[Inputs, tuple[Any, ...]]:
    """Inputs to trace with, and the free dims of each: those that change with batch or size.

    Of an input whose dims follow the size, the last two are height and width. The dims of what
    `forward` takes as ``*inputs`` are one tuple, as torch.export wants it.
    """
    draw = torch.Generator().manual_seed(0)
    example = draw_inputs(net, 2, (2 * min_size, 3 * min_size), draw)
    other = draw_inputs(net, 3, (3 * min_size, 2 * min_size), draw)
    batch = torch.export.Dim("batch", min=1)
    steps = [
        torch.export.Dim(f"{side}_steps", min=min_size // multiple) for side in ("height", "width")
    ]
    sides = [multiple * step for step in steps]
    shapes = tuple(
        {d: sides[d - a.ndim] if d else batch for d in range(a.ndim) if a.shape[d] != b.shape[d]}
        for a, b in zip(example, other, strict=True)
    )
    kinds = [p.kind for p in signature(net.forward).parameters.values()]
    if Parameter.VAR_POSITIONAL in kinds:
        named = kinds.index(Parameter.VAR_POSITIONAL)
        return example, (*shapes[:named], shapes[named:])
    return example, shapes


def _guard_epsilons(graph: Any) -> None:
    """Give the tiny scalars of sums a dim of 1: onnxscript's optimiser takes a scalar of up to 1e-8
    for zero and drops the sum, and with it an epsilon (of CartoonGAN's norms, StyleGAN2's)."""
    import onnx_ir

    for node in graph.all_nodes():
        for value in node.inputs if node.op_type in ("Add", "Sub") else ():
            source = value.producer() if value is not None else None
            while source is not None and source.op_type in ("Cast", "CastLike"):
                source = source.inputs[0].producer()
            attribute = source.attributes.get("value") if source is not None else None
            if source is None or source.op_type != "Constant" or attribute is None:
                continue
            number = attribute.as_tensor().numpy()
            if number.ndim == 0 and 0 < abs(float(number)) <= 1e-8:
                wide = onnx_ir.tensor(number.reshape(1))
                source.attributes.add(onnx_ir.AttrTensor("value", wide))
                source.outputs[0].shape = onnx_ir.Shape([1])
                value.shape = onnx_ir.Shape([1])


def _spelled_out(file: Any) -> Any:
    """Give what follows a quantised convolution nodes of its own, where a program would be wrong.

    A bias, where no norm follows: between quantisers onnxruntime rounds a convolution's own bias to
    the grid of its sums. Nobody trained for that: it moves one in a thousand activations by a step,
    in a network that is otherwise the same to the last bit, and a deep one then differs by grey
    levels.

    Sums that several nodes read, such as those of a norm: OpenVINO 2026.4 multiplies by the scales
    twice where one of them is a mean over pixels, unless one node, which changes nothing but cannot
    be removed, stands between.
    """
    from onnx import helper, numpy_helper

    graph = file.graph
    dequantised = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    normed = {name for n in graph.node if n.op_type in NORMS for name in n.input[:1]}
    readers = Counter(name for node in graph.node for name in set(node.input))
    constants = {i.name: i for i in graph.initializer}
    nodes = []
    for node in graph.node:
        nodes.append(node)
        convolves = node.op_type in ("Conv", "ConvTranspose") and node.input[1] in dequantised
        made = node.output[0]
        if not convolves or made in normed:
            continue
        if len(node.input) == 3 and node.input[2] in dequantised:
            continue  # on the grid of the sums already
        if len(node.input) == 3:
            column = numpy_helper.to_array(constants[node.input.pop()]).reshape(-1, 1, 1)
            kind, name = "Add", f"{made}/bias"
        elif readers[made] > 1:
            column = np.full((1, 1, 1), np.finfo(np.float32).min)
            kind, name = "Max", f"{made}/least"
        else:
            continue
        node.output[0] = f"{made}/sum"
        graph.initializer.append(numpy_helper.from_array(column, name))
        nodes.append(helper.make_node(kind, [node.output[0], name], [made], name=f"{made}/{kind}"))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input}
    for unused in [i for i in graph.initializer if i.name not in used]:
        graph.initializer.remove(unused)
    return file


def _strip(graph: Any) -> None:
    """Take the exporter's remarks off nodes and values: they hold stack traces of this machine."""
    values = [*graph.inputs, *graph.initializers.values()]
    for node in graph.all_nodes():
        node.metadata_props.clear()
        values.extend(node.outputs)
    for value in values:
        value.metadata_props.clear()


def _metadata(model: Model) -> dict[str, str]:
    """The metadata of the file: text by key."""
    card = model.card()
    return {
        "producer": "ganpress",
        "family": model.family.name,
        "widths": json.dumps(model.widths),
        "options": json.dumps(card["options"]),
        "quantiser": json.dumps(card["quantiser"]),
        "provenance": json.dumps(card["provenance"], default=str),
        "layout": "NCHW",
        **_colours(model),
        "range": "[-1, 1]",
        "multiple": str(model.multiple),
    }


def _colours(model: Model) -> dict[str, str]:
    """What the channels of the picture that is made are, and of the one that is read, if any."""
    net = model.net
    seen, made = (CHANNELS[int(getattr(net, n))] for n in ("in_channels", "out_channels"))
    return {"colour": made, **({"colour_in": seen} if "image" in reads(model) else {})}


def session(data: bytes) -> Session:
    """The file as a function of its inputs by name, run by onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        opened = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no public base
        raise ExportError(
            f"onnxruntime cannot load the exported network ({error}). Nothing was written."
        ) from error
    outputs = [output.name for output in opened.get_outputs()]

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        made = opened.run(outputs, {name: t.numpy() for name, t in inputs.items()})
        return {name: torch.from_numpy(a) for name, a in zip(outputs, made, strict=True)}

    return run


def runner(data: bytes, names: tuple[str, ...]) -> Callable[..., Tensor]:
    """The file as a function of the network's inputs, run by onnxruntime on the CPU."""
    return verify.runner(session(data), names)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings, progress lines and remarks about torchvision."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    loggers.append(logging.getLogger("torch.onnx._internal.exporter._registration"))
    levels = [logger.level for logger in loggers]
    output = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
