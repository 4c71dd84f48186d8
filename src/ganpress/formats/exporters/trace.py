"""A network as an ONNX model of torch's dynamo exporter, without what runtimes do not need."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from inspect import Parameter, signature
from typing import Any

import torch
from torch import nn

from ganpress.errors import ExportError
from ganpress.formats.exporters.form import OUTPUT, Form
from ganpress.formats.exporters.quantiser import FloatForm, use_export_quantisers
from ganpress.models.checkpoint import Model
from ganpress.models.families.base import draw_inputs
from ganpress.models.inputs import reads
from ganpress.nn.layers import fold_gates
from ganpress.nn.norms import set_exact
from ganpress.quantisation.quantise import quantiser_of
from ganpress.types import Inputs

TRACED_OPSET = 18
"""What torch's exporter writes; `opset.at_opset` takes it down."""


def in_form(model: Model, form: Form) -> Model:
    """The model whose function the file computes, on the CPU, gates folded: itself, or of a
    fake-quantised one that is asked for in floats, its float form (`quantiser.FloatForm`)."""
    net = fold_gates(copy.deepcopy(model.net).cpu().eval())
    if quantiser_of(net) is not None and form.precision not in (None, "int8"):
        set_exact(use_export_quantisers(net, FloatForm), False)
    return replace(model, net=net)


def traced(model: Model, form: Form) -> Any:
    """The network of `in_form` as an onnx.ModelProto of `TRACED_OPSET`; precision and bytes are
    others' work. Raises: ExportError where torch's exporter cannot take the network."""
    net = use_export_quantisers(copy.deepcopy(model.net))
    example, shapes = arguments(net, model, form)
    try:
        with _quiet(), torch.no_grad():
            program: Any = torch.onnx.export(
                net,
                example,
                dynamo=True,
                opset_version=TRACED_OPSET,
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
            return program.model_proto
    except Exception as error:  # the exporter has no error type of its own for all its floors
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ExportError(
            f"torch's ONNX exporter cannot take this '{model.family.name}' network ({lines[0]}). "
            "Nothing was written; please report this with the versions of torch and onnxscript."
        ) from error


def arguments(net: nn.Module, model: Model, form: Form) -> tuple[Inputs, tuple[Any, ...] | None]:
    """Inputs to trace with, and the free dims of each; None where all dims are fixed."""
    if form.dynamic:
        return example_of(net, model.multiple, model.min_size)
    draw = torch.Generator().manual_seed(0)
    return draw_inputs(net, form.batch, form.size, draw), None


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


def _strip(graph: Any) -> None:
    """Take the exporter's remarks off nodes and values: they hold stack traces of this machine."""
    values = [*graph.inputs, *graph.initializers.values()]
    for node in graph.all_nodes():
        node.metadata_props.clear()
        values.extend(node.outputs)
    for value in values:
        value.metadata_props.clear()


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
