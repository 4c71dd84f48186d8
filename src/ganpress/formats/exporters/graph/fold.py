"""BatchNorm into the convolution before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ganpress.formats.exporters.graph.editor import Array, Editor, attributes
from ganpress.formats.exporters.graph.quantised import CONVOLUTIONS, Weight, bias_of, weight_of


@dataclass(frozen=True)
class Source:
    """What a BatchNorm reads: the only reader of a convolution, perhaps after its pixels are moved.

    Attributes:
        bias: float, (out,). last: the node that adds it: the convolution, or an Add behind it.
        moves: nodes between that and the norm, the last first.
        span: output channels of the convolution for each of the norm's.
    """

    layer: Any
    bias: Array
    last: Any
    moves: list[Any]
    span: int


def fold_batch_norms(editor: Editor) -> None:
    """Multiply the scale of each BatchNorm into the convolution that only it reads, also through a
    sub-pixel shuffle of the convolution's channels.

    A float weight is multiplied; of an 8-bit one the steps are, and the levels of channels whose
    scale is negative change their sign, so that the products stay the same integers.
    """
    for norm in [n for n in editor.nodes if n.op_type == "BatchNormalization"]:
        parts = [a for a in map(editor.array, norm.input[1:5]) if a is not None]
        found = _source(editor, norm) if len(norm.output) == 1 and len(parts) == 4 else None
        if found is not None:
            _fold(editor, found, norm, parts)


def _source(editor: Editor, norm: Any) -> Source | None:
    moves, span, reader = [], 1, norm
    node = editor.maker(norm.input[0])
    while node is not None and _shuffles(editor, node):
        if editor.only_reader(node.output[0]) is not reader:
            return None
        if node.op_type == "DepthToSpace":
            span *= int(attributes(node)["blocksize"]) ** 2
        moves.append(node)
        reader, node = node, editor.maker(node.input[0])
    if node is None or editor.only_reader(node.output[0]) is not reader:
        return None
    layer = node
    if node.op_type == "Add":
        makers = [editor.maker(name) for name in node.input]
        layer = next((m for m in makers if m is not None and m.op_type in CONVOLUTIONS), None)
    if layer is None or layer.op_type not in CONVOLUTIONS:
        return None
    if layer.op_type == "ConvTranspose" and attributes(layer).get("group", 1) != 1:
        return None
    if layer is node and len(layer.input) < 3:
        return Source(layer, np.zeros(1), node, moves, span)
    known = bias_of(editor, layer)
    if known is None or known[1] is not node:
        return None
    return Source(layer, known[0], node, moves, span)


def _shuffles(editor: Editor, node: Any) -> bool:
    """Whether a node puts channels side by side, each group in its place, or cuts borders off."""
    if node.op_type == "DepthToSpace":
        return bool(attributes(node).get("mode", b"DCR") == b"CRD")
    axes = editor.array(node.input[3]) if node.op_type == "Slice" and len(node.input) > 3 else None
    return axes is not None and bool(np.isin(axes, (2, 3)).all())


def _fold(editor: Editor, source: Source, norm: Any, parts: list[Array]) -> None:
    scale, shift, mean, variance = (np.repeat(p.astype(np.float64), source.span) for p in parts)
    factor = scale / np.sqrt(variance + attributes(norm).get("epsilon", 1e-5))
    folded = ((source.bias - mean) * factor + shift).astype(np.float32)
    layer, moves = source.layer, source.moves
    weight, made = _scaled(editor, layer, factor)
    if weight is None:
        return
    name = norm.output[0]
    if moves:
        moves[0].output[0] = name
        name = moves[-1].input[0] = editor.value(f"{moves[-1].input[0]}/folded")
    inputs = [layer.input[0], weight, editor.constant(folded, f"{name}/bias")]
    conv = editor.node(layer.op_type, inputs, name, **attributes(layer))
    gone = [layer, norm] if source.last is layer else [layer, source.last, norm]
    editor.replace(gone, [*made, conv])


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
