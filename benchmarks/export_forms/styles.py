"""Forms of StyleGAN2's modulated convolutions and blurs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.export_forms.drawing import Array, Drawing, Forms
from benchmarks.export_forms.floats import phases

BLUR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64


def blurred_weight(w: Array, blur: Array) -> Array:
    """The kernels of a transposed convolution and a symmetric blur behind it as one.

    Args: w: (in, out, k, k); blur: (b, b). Returns: (in, out, k + b - 1, k + b - 1).
    """
    k, b = w.shape[2], blur.shape[0]
    made = np.zeros((*w.shape[:2], k + b - 1, k + b - 1), w.dtype)
    for y in range(b):
        for x in range(b):
            made[:, :, y : y + k, x : x + k] += w * blur[b - 1 - y, b - 1 - x]
    return made


def modulated_up(i: int, o: int, side: int) -> Forms:
    """StyleGAN2's convolution that doubles: transposed, blurred, scaled by constants."""

    def blurred(d: Drawing, w: Array) -> str:
        y = d.node("ConvTranspose", "a", d.constant(w), strides=[2, 2])
        kernel = np.tile(4 * BLUR, (o, 1, 1, 1))
        return d.node("Conv", y, d.constant(kernel), pads=[1] * 4, group=o)

    def separated(d: Drawing, w: Array) -> str:
        y = d.node("ConvTranspose", "a", d.constant(w), strides=[2, 2])
        row = np.asarray([1, 3, 3, 1], np.float32) / 4
        y = d.node(
            "Conv",
            y,
            d.constant(np.tile(row.reshape(1, 1, 4, 1), (o, 1, 1, 1))),
            pads=[1, 0, 1, 0],
            group=o,
        )
        return d.node(
            "Conv",
            y,
            d.constant(np.tile(row.reshape(1, 1, 1, 4), (o, 1, 1, 1))),
            pads=[0, 1, 0, 1],
            group=o,
        )

    def dense(d: Drawing, w: Array) -> str:
        from ganpress.formats.exporters.graph.subpixel import subpixel_weight

        weight, pads = subpixel_weight(blurred_weight(w, 4 * BLUR), padding=2, output_padding=0)
        y = d.node("Conv", "a", d.constant(weight), pads=pads)
        return d.node("DepthToSpace", y, blocksize=2, mode="CRD")

    def drawn(form: Callable[[Drawing, Array], str]) -> bytes:
        d = Drawing(1, i, side, side)
        w = d.normal(i, o, 3, 3, std=(i * 9 / 4) ** -0.5)
        d.node("Mul", "x", d.constant(1 + 0.1 * d.normal(1, i, 1, 1)), called="a")
        y = d.node("Mul", form(d, w), d.constant(1 + 0.1 * d.normal(1, o, 1, 1)))
        return d.file(d.node("LeakyRelu", y, alpha=0.2))

    forms = {"ConvTranspose and blur": blurred, "blur in two passes": separated,
             "one convolution with the blur": dense}  # fmt: skip
    return {name: drawn(form) for name, form in forms.items()}


def modulated(c: int, side: int) -> Forms:
    """StyleGAN2's modulated convolution: styles at the input and norms at the output, or both in
    the weights, of one sample. The styles are computed from the picture, so that nothing folds."""

    def drawn(form: Callable[[Drawing, str, Array], str]) -> bytes:
        d = Drawing(1, c, side, side)
        w = d.weight(c, c, 3)
        s = d.node(
            "Add", d.node("GlobalAveragePool", "x"), d.constant(1 + 0.1 * d.normal(1, c, 1, 1))
        )
        y = form(d, s, w)
        return d.file(d.node("LeakyRelu", y, alpha=0.2))

    def at_input(d: Drawing, s: str, w: Array) -> str:
        y = d.node("Conv", d.node("Mul", "x", s), d.constant(w), pads=[1] * 4)
        power = d.constant(np.square(w).sum((2, 3)).T)
        flat = d.node("Reshape", s, d.constant([1, c]))
        sums = d.node("MatMul", d.node("Mul", flat, flat), power)
        root = d.node("Sqrt", d.node("Add", sums, d.constant(np.asarray([1e-8], np.float32))))
        norm = d.node("Reshape", d.node("Reciprocal", root), d.constant([1, c, 1, 1]))
        return d.node("Mul", y, norm)

    def in_weights(d: Drawing, s: str, w: Array) -> str:
        weight = d.node("Mul", d.constant(w), s)
        sums = d.node("ReduceSum", d.node("Mul", weight, weight), d.constant([1, 2, 3]))
        root = d.node("Sqrt", d.node("Add", sums, d.constant(np.asarray([1e-8], np.float32))))
        weight = d.node("Mul", weight, d.node("Reciprocal", root))
        return d.node("Conv", "x", weight, pads=[1] * 4)

    return {"input and output scaled": drawn(at_input), "weights scaled": drawn(in_weights)}


def doubled(c: int, side: int) -> Forms:
    """The coarser picture in StyleGAN2, doubled by a blur of zeros put between."""

    def drawn(form: Callable[[Drawing], str]) -> bytes:
        d = Drawing(1, c, side, side)
        return d.file(form(d))

    def operator(d: Drawing) -> str:
        kernel = np.tile(4 * BLUR, (c, 1, 1, 1))
        return d.node(
            "ConvTranspose", "x", d.constant(kernel), strides=[2, 2], pads=[1] * 4, group=c
        )

    def dense(d: Drawing) -> str:
        weight = np.zeros((c, c, 4, 4), np.float32)
        weight[range(c), range(c)] = 4 * BLUR
        return d.node("ConvTranspose", "x", d.constant(weight), strides=[2, 2], pads=[1] * 4)

    def one_convolution(d: Drawing) -> str:
        weight = np.zeros((c, c, 4, 4), np.float32)
        weight[range(c), range(c)] = 4 * BLUR
        made, pads = phases(weight, 4)
        y = d.node("Conv", "x", d.constant(made), pads=pads)
        return d.node("DepthToSpace", y, blocksize=2, mode="CRD")

    def grouped(d: Drawing) -> str:
        made, pads = phases(np.float32(4 * BLUR).reshape(1, 1, 4, 4), 4)
        y = d.node("Conv", "x", d.constant(np.tile(made, (c, 1, 1, 1))), pads=pads, group=c)
        return d.node("DepthToSpace", y, blocksize=2, mode="CRD")

    forms = {"ConvTranspose by group": operator, "ConvTranspose": dense,
             "one convolution": one_convolution, "one convolution by group": grouped}  # fmt: skip
    return {name: drawn(form) for name, form in forms.items()}
