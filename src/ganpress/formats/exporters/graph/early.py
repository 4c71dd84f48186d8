"""Quantisers before what only moves numbers: padding, nearest resizing, shuffled, cut and joined
channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ganpress.formats.exporters.graph.editor import Editor, attributes

POINTWISE = ("Relu", "LeakyRelu", "Clip")


def quantise_early(editor: Editor) -> None:
    """Move each quantiser, and the activation before it, ahead of a node that only moves pixels.

    The same levels come out: padding by reflection, by copies or by zeros, resizing to the nearest
    pixel and DepthToSpace choose pixels, and do not compute with them. Then fewer pixels are
    rounded, bytes are moved in place of floats, and a convolution is followed by its quantiser at
    once, which is what onnxruntime needs to convolve integers.
    """
    moved = True
    while moved:
        quantisers = [n for n in editor.nodes if n.op_type == "QuantizeLinear"]
        moved = any([_move(editor, node) for node in quantisers])


def _move(editor: Editor, quantise: Any) -> bool:
    chain = [quantise]
    node = editor.maker(quantise.input[0])
    while node is not None and node.op_type in POINTWISE:
        if editor.only_reader(node.output[0]) is not chain[0]:
            return False
        chain.insert(0, node)
        node = editor.maker(node.input[0])
    if node is None or editor.only_reader(node.output[0]) is not chain[0]:
        return False
    if node.op_type == "Concat":
        _split(editor, node, chain)
        return True
    return _move_past(editor, node, chain)


def _move_past(editor: Editor, node: Any, chain: list[Any]) -> bool:
    """Put a quantiser and the activations before it ahead of a node; whether that only moves."""
    others, quantise = _only_moves(editor, node, chain), chain[-1]
    if others is None:
        return False
    levels = quantise.output[0]
    chain[0].input[0] = node.input[0]
    quantise.output[0] = editor.value(f"{levels}/early")
    inputs = [quantise.output[0], *others]
    moves = editor.node(node.op_type, inputs, levels, **attributes(node))
    editor.replace([node], [moves])
    return True


def _split(editor: Editor, join: Any, chain: list[Any]) -> None:
    """Quantise, after activations of its own, each of the values that are joined; bytes are joined
    then."""
    made, parts = [], []
    for number, name in enumerate(join.input):
        for node in chain:
            output = editor.value(f"{node.output[0]}/{number}")
            made.append(
                editor.node(node.op_type, [name, *node.input[1:]], output, **attributes(node))
            )
            name = output
        parts.append(name)
    joined = editor.node("Concat", parts, chain[-1].output[0], **attributes(join))
    editor.replace([join, *chain], [*made, joined])


def _only_moves(editor: Editor, node: Any, chain: list[Any]) -> list[str] | None:
    """The other inputs of a node that moves levels in place of values; None where it computes."""
    found = attributes(node)
    if node.op_type in ("DepthToSpace", "Slice"):
        return list(node.input[1:])
    if node.op_type == "Resize":
        crops = found.get("coordinate_transformation_mode") == b"tf_crop_and_resize"
        nearest = found.get("mode", b"nearest") == b"nearest"
        return list(node.input[1:]) if nearest and not crops else None
    if node.op_type != "Pad":
        return None
    if found.get("mode", b"constant") in (b"reflect", b"edge"):
        return list(node.input[1:])
    said = len(node.input) > 2 and node.input[2]
    value = editor.array(node.input[2]) if said else np.zeros(())
    zero = editor.array(chain[-1].input[2]) if len(chain[-1].input) > 2 else None
    if value is None or value.any() or zero is None or _moves_zero(editor, chain):
        return None
    of_levels = editor.constant(zero.reshape(()), f"{node.output[0]}/zero")
    return [node.input[1], of_levels, *node.input[3:]]


def _moves_zero(editor: Editor, chain: list[Any]) -> bool:
    """Whether an activation makes something else of 0."""
    for node in chain:
        if node.op_type != "Clip":
            continue
        low, high = (editor.array(name) for name in node.input[1:3])
        if low is None or high is None or low > 0 or high < 0:
            return True
    return False
