"""Transposed convolutions of stride 2 as one convolution and a shuffle of its channels.

Output pixel 2 q + r of a transposed convolution with padding p sums the taps k = r + p - 2 d times
the pixels q + d of its input: for each r it is a convolution. So the four places (r, s) of a square
are four output channels of one convolution, at the input's size, and DepthToSpace puts them in
their places (Shi et al., 2016). The products are the same ones, and zeros where a place has
fewer taps than the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ganpress.formats.exporters.graph.editor import Array, Editor, attributes
from ganpress.formats.exporters.graph.quantised import bias_of, input_step, is_quantised, weight_of
from ganpress.formats.exporters.graph.shuffled import in_squares

WIDE = 256, 64
"""Input and output channels from which four convolutions are faster
(benchmarks/results/export-forms.md)."""


def subpixel_weight(
    w: Array, *, padding: int, output_padding: int = 0, groups: int = 1
) -> tuple[Array, list[int]]:
    """The convolution of a transposed one of stride 2.

    Args:
        w: (in, out / groups, k, k), of any type.
        padding: on all sides; ``output_padding``: at the end. k + output_padding has to be even.

    Returns: the weight, (4 out, in / groups, taps, taps), whose output c * 4 + 2 r + s is channel c
        at the place (r, s), and the padding in zeros: [top, left, bottom, right].
    """
    i, o, k = w.shape[0], w.shape[1], w.shape[2]
    offsets = {(r, t): (r + padding - t) // 2 for r in (0, 1) for t in range(k)
               if (r + padding - t) % 2 == 0}  # fmt: skip
    first, last = min(offsets.values()), max(offsets.values())
    taps = last - first + 1
    rows = w.reshape(groups, i // groups, o, k, k).transpose(0, 2, 1, 3, 4)  # g, out, in, k, k
    made = np.zeros((groups, o, 2, 2, i // groups, taps, taps), w.dtype)
    for (r, ky), dy in offsets.items():
        for (s, kx), dx in offsets.items():
            made[:, :, r, s, :, dy - first, dx - first] = rows[:, :, :, ky, kx]
    longer = (k - 2 - 2 * padding + output_padding) // 2  # output pairs beyond the input's size
    front, back = -first, longer + first + taps - 1
    return made.reshape(4 * groups * o, i // groups, taps, taps), [front, front, back, back]


def split_transposed(editor: Editor) -> None:
    """Wide float transposed convolutions of stride 2 as four convolutions, one for each place, with
    the taps that it has: the same products, in onnxruntime's blocked kernels."""
    for layer in [n for n in editor.nodes if n.op_type == "ConvTranspose"]:
        weight = editor.array(layer.input[1])
        doubling = doubling_of(layer)
        if weight is None or doubling is None:
            continue
        if weight.shape[0] >= WIDE[0] and weight.shape[1] >= WIDE[1]:
            _in_four(editor, layer, weight, doubling)


def integer_transposed(editor: Editor) -> None:
    """Quantised transposed convolutions of stride 2, which a quantiser follows, as one convolution
    and a shuffle of its channels: onnxruntime convolves integers, and transposes only floats."""
    for layer in [n for n in editor.nodes if n.op_type == "ConvTranspose"]:
        doubling, weight = doubling_of(layer), weight_of(editor, layer)
        if doubling is None or weight is None or input_step(editor, layer) is None:
            continue
        found = bias_of(editor, layer)
        last = layer if found is None else found[1]
        if is_quantised(editor, last.output[0]):
            as_one(editor, layer)


def as_one(editor: Editor, layer: Any) -> bool:
    """Put one convolution and DepthToSpace in the place of a transposed convolution of stride 2,
    with the bias that is added behind it; False where it is of another kind, or where the bias is
    no constant."""
    doubling, whole = doubling_of(layer), weight_of(editor, layer)
    levels = editor.array(layer.input[1]) if whole is None else whole.levels
    found = bias_of(editor, layer)
    if doubling is None or levels is None or (found is None and any(layer.input[2:])):
        return False
    made, pads = subpixel_weight(levels, **doubling)
    in_squares(editor, layer, made, whole, found, "places", pads=pads, group=doubling["groups"])
    return True


def doubling_of(layer: Any) -> dict[str, int] | None:
    """Padding, output padding and groups of a transposed convolution of stride 2; None of another,
    or of one whose output is not of an even size."""
    found = attributes(layer)
    pads, more = found.get("pads", [0] * 4), found.get("output_padding", [0, 0])
    kernel = found.get("kernel_shape", [0, 1])
    usual = found.get("auto_pad", b"NOTSET") == b"NOTSET" and "output_shape" not in found
    if not usual or layer.op_type != "ConvTranspose" or list(found.get("strides", [])) != [2, 2]:
        return None
    if len({*pads}) > 1 or len({*more}) > 1 or len({*kernel}) > 1:
        return None
    if (kernel[0] + more[0]) % 2 or any(d != 1 for d in found.get("dilations", [1, 1])):
        return None
    return {"padding": pads[0], "output_padding": more[0], "groups": found.get("group", 1)}


def _in_four(editor: Editor, layer: Any, weight: Array, doubling: dict[str, int]) -> None:
    made, pads = subpixel_weight(weight, **doubling)
    name, bias, nodes = layer.output[0], list(layer.input[2:3]), []
    for place in range(4):
        part, where = used_taps(made[place::4], pads)
        parts = [layer.input[0], editor.constant(part, f"{name}/place{place}"), *bias]
        output = editor.value(f"{name}/of{place}")
        nodes.append(editor.node("Conv", parts, output, pads=where, group=doubling["groups"]))
    joined = editor.node(
        "Concat", [n.output[0] for n in nodes], editor.value(f"{name}/four"), axis=1
    )
    shuffle = editor.node("DepthToSpace", joined.output, name, blocksize=2, mode="DCR")
    editor.replace([layer], [*nodes, joined, shuffle])


def used_taps(weight: Array, pads: list[int]) -> tuple[Array, list[int]]:
    """A weight (out, in, taps, taps) without the outer rows and columns that are all zeros, and the
    padding that is then left."""
    used = (weight != 0).any((0, 1))
    if not used.any():
        return weight, pads
    rows, columns = np.flatnonzero(used.any(1)), np.flatnonzero(used.any(0))
    last = weight.shape[2] - 1
    cut = [rows[0], columns[0], last - rows[-1], last - columns[-1]]
    part = weight[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return part, [int(p - c) for p, c in zip(pads, cut, strict=True)]
