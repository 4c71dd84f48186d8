"""BatchNorm into the convolution before it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ganpress.formats.exporters.graph.editor import Array, Editor, attributes
from ganpress.formats.exporters.graph.quantised import CONVOLUTIONS, Weight, weight_of


def fold_batch_norms(editor: Editor) -> None:
    """Multiply the scale of each BatchNorm into the convolution that only it reads.

    A float weight is multiplied; of an 8-bit one the steps are, and the levels of channels whose
    scale is negative change their sign, so that the products stay the same integers.
    """
    for norm in [n for n in editor.nodes if n.op_type == "BatchNormalization"]:
        layer = editor.maker(norm.input[0])
        if layer is None or layer.op_type not in CONVOLUTIONS or len(norm.output) > 1:
            continue
        parts = [a for a in map(editor.array, norm.input[1:5]) if a is not None]
        grouped = layer.op_type == "ConvTranspose" and attributes(layer).get("group", 1) != 1
        if len(parts) == 4 and not grouped and editor.only_reader(layer.output[0]) is norm:
            _fold(editor, layer, norm, parts)


def _fold(editor: Editor, layer: Any, norm: Any, parts: list[Array]) -> None:
    scale, shift, mean, variance = (p.astype(np.float64) for p in parts)
    factor = scale / np.sqrt(variance + attributes(norm).get("epsilon", 1e-5))
    bias = editor.array(layer.input[2]) if len(layer.input) > 2 else np.zeros(1)
    if bias is None:
        return
    folded = ((bias - mean) * factor + shift).astype(np.float32)
    weight, made = _scaled(editor, layer, factor)
    if weight is None:
        return
    name = norm.output[0]
    inputs = [layer.input[0], weight, editor.constant(folded, f"{name}/bias")]
    conv = editor.node(layer.op_type, inputs, name, **attributes(layer))
    editor.replace([layer, norm], [*made, conv])


def _scaled(editor: Editor, layer: Any, factor: Array) -> tuple[str | None, list[Any]]:
    """The name of a weight multiplied per output channel, and the nodes that make it."""
    axis = 0 if layer.op_type == "Conv" else 1
    shape = [1] * 4
    shape[axis] = -1
    name = f"{layer.input[1]}/folded"
    if (whole := weight_of(editor, layer)) is not None:
        negative = factor < 0
        levels = whole.levels.copy()
        if (np.moveaxis(levels, axis, 0)[negative] == -128).any():  # has no positive one
            return None, []
        levels[(slice(None),) * axis + (negative,)] *= -1
        levels[(slice(None),) * axis + (factor == 0,)] = 0
        step = np.where(factor == 0, whole.step, whole.step * np.abs(factor))
        node = Weight(levels, step, axis).dequantise(editor, name)
        return node.output[0], [node]
    plain = editor.array(layer.input[1])
    if plain is None:
        return None, []
    return editor.constant((plain * factor.reshape(shape)).astype(np.float32), name), []
