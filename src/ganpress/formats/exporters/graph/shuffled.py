"""A layer as a convolution that makes the four pixels of a square as channels, and DepthToSpace."""

from __future__ import annotations

from typing import Any

import numpy as np

from ganpress.formats.exporters.graph.editor import Array, Editor
from ganpress.formats.exporters.graph.quantised import Weight

SIDE = 2
"""Pixels of a square's side: 4 are no faster, and their weights are larger."""


def in_squares(
    editor: Editor,
    layer: Any,
    wide: Array,
    whole: Weight | None,
    bias: tuple[Array, Any] | None,
    label: str,
    **how: Any,
) -> None:
    """Put a convolution and DepthToSpace in the place of a layer and of what adds its bias.

    Args:
        wide: the weight, whose output 4 c + 2 r + s is channel c at the place (r, s) of a square;
            levels where the layer's own weight is in 8 bits (``whole``).
        bias: as `bias_of` finds it: inside the layer or behind it.
        label: of the new constants' names. how: the convolution's attributes.
    """
    values, last = bias if bias is not None else (None, layer)
    name, nodes = last.output[0], []
    if whole is not None:
        steps = np.repeat(whole.step, SIDE**2)
        nodes.append(Weight(wide, steps, 0).dequantise(editor, f"{name}/{label}"))
        weight = nodes[0].output[0]
    else:
        weight = editor.constant(wide, f"{name}/{label}")
    inputs = [layer.input[0], weight]
    if values is not None:
        each = np.repeat(np.broadcast_to(values, len(wide) // SIDE**2), SIDE**2)
        inputs.append(editor.constant(each, f"{name}/{label}/bias"))
    conv = editor.node("Conv", inputs, editor.value(f"{name}/four"), **how)
    shuffle = editor.node("DepthToSpace", conv.output, name, blocksize=SIDE, mode="CRD")
    editor.replace([layer, last], [*nodes, conv, shuffle])
