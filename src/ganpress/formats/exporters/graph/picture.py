"""The convolution that writes the picture, several pixels at a time.

A processor convolves into 8 or 16 channels at once; a picture has three, and the rest is thrown
away. So a square of pixels is computed as channels: a convolution of stride 2 whose kernel is one
larger, with 4 outputs for each channel, each with the taps at another place, and DepthToSpace.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ganpress.formats.exporters.graph.editor import Array, Editor, attributes
from ganpress.formats.exporters.graph.quantised import bias_of, input_step, is_quantised, weight_of
from ganpress.formats.exporters.graph.shuffled import SIDE, in_squares

MOST = 4
"""Channels of a picture; more fill a processor's registers."""
SMALL = 16_384
"""Weights of a layer that may take 4 bytes each: 64 channels of a 7x7 layer from or to RGB."""


def picture_in_squares(editor: Editor) -> None:
    """Compute four pixels at a time in each convolution of stride 1 to at most four channels, of a
    kernel of at least 3x3, whose output has even sides.

    A bias that is added behind it (a layer in 8 bits) goes inside: OpenVINO would add it, and take
    tanh, in a step of its own, a third of the layer's time.
    """
    for layer in [n for n in editor.nodes if n.op_type == "Conv"]:
        whole, plain = weight_of(editor, layer), editor.array(layer.input[1])
        levels = whole.levels if whole is not None else plain
        if levels is None or not _fits(editor, layer, levels):
            continue
        found = bias_of(editor, layer)
        if found is None and any(layer.input[2:]):
            continue
        pads = attributes(layer).get("pads", [0] * 4)
        wide, strides = square_weight(levels), [SIDE, SIDE]
        in_squares(editor, layer, wide, whole, found, "squares", pads=pads, strides=strides)


def float_weights(editor: Editor) -> None:
    """Store as float32 the 8-bit weight of a convolution that reads floats, or that writes a
    picture and no quantiser follows, if it is small: onnxruntime convolves in float there, and lays
    out only constants as its kernels want them. These are the first and the last layer; all layers
    read floats where activations lie on the authors' grid of 257 levels, and most stay bytes."""
    for layer in [n for n in editor.nodes if n.op_type == "Conv"]:
        whole = weight_of(editor, layer)
        if whole is None or whole.levels.size > SMALL:
            continue
        picture = len(whole.levels) <= MOST and not is_quantised(editor, layer.output[0])
        if picture or input_step(editor, layer) is None:
            values = whole.levels * whole.step.reshape(-1, 1, 1, 1)
            layer.input[1] = editor.constant(values.astype(np.float32), f"{layer.input[1]}/float")


def square_weight(w: Array, n: int = SIDE) -> Array:
    """The weight (out, in, k, k) as that of n x n pixels: (out n^2, in, k + n - 1, k + n - 1).

    Its output c n^2 + y n + x is channel c of the pixel (y, x).
    """
    o, i, k = w.shape[0], w.shape[1], w.shape[2]
    wide = np.zeros((o, n, n, i, k + n - 1, k + n - 1), w.dtype)
    for y in range(n):
        for x in range(n):
            wide[:, y, x, :, y : y + k, x : x + k] = w
    return wide.reshape(o * n * n, i, k + n - 1, k + n - 1)


def _fits(editor: Editor, layer: Any, levels: Array) -> bool:
    found = attributes(layer)
    plain = (
        found.get("group", 1) == 1
        and all(s == 1 for s in (*found.get("strides", []), *found.get("dilations", [])))
        and found.get("auto_pad", b"NOTSET") == b"NOTSET"
        and levels.ndim == 4
        and levels.shape[2] == levels.shape[3] >= 3
    )
    return plain and len(levels) <= MOST and editor.sides_divide_by(layer.output[0], SIDE)
