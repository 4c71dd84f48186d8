"""Forms of float operations: norms, padding, transposed convolutions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.export_forms.drawing import Array, Drawing, Forms


def norms(c: int, side: int) -> Forms:
    """Instance normalisation with scale and shift."""

    def drawn(form: Callable[[Drawing, Array, Array], str]) -> bytes:
        d = Drawing(1, c, side, side)
        return d.file(form(d, 1 + 0.1 * d.normal(c), d.normal(c)))

    def operator(d: Drawing, scale: Array, shift: Array) -> str:
        return d.node(
            "InstanceNormalization", "x", d.constant(scale), d.constant(shift), epsilon=1e-5
        )

    def means(d: Drawing, scale: Array, shift: Array) -> str:
        axes = d.constant([2, 3])
        off = d.node("Sub", "x", d.node("ReduceMean", "x", axes))
        power = d.node("ReduceMean", d.node("Mul", off, off), axes)
        root = d.node("Sqrt", d.node("Add", power, d.constant(np.asarray([1e-5], np.float32))))
        factor = d.node("Div", d.constant(scale.reshape(1, -1, 1, 1)), root)
        return d.node("Add", d.node("Mul", off, factor), d.constant(shift.reshape(1, -1, 1, 1)))

    def one_pass(d: Drawing, scale: Array, shift: Array) -> str:
        axes = d.constant([2, 3])
        mean = d.node("ReduceMean", "x", axes)
        power = d.node(
            "Sub", d.node("ReduceMean", d.node("Mul", "x", "x"), axes), d.node("Mul", mean, mean)
        )
        root = d.node("Sqrt", d.node("Add", power, d.constant(np.asarray([1e-5], np.float32))))
        factor = d.node("Div", d.constant(scale.reshape(1, -1, 1, 1)), root)
        bias = d.node("Sub", d.constant(shift.reshape(1, -1, 1, 1)), d.node("Mul", mean, factor))
        return d.node("Add", d.node("Mul", "x", factor), bias)

    def groups(d: Drawing, scale: Array, shift: Array) -> str:
        return d.node(
            "GroupNormalization",
            "x",
            d.constant(scale),
            d.constant(shift),
            epsilon=1e-5,
            num_groups=c,
        )

    def rows(d: Drawing, scale: Array, shift: Array) -> str:
        flat = d.node("Reshape", "x", d.constant([0, 0, -1]))
        ones, zeros = np.ones(side * side, np.float32), np.zeros(side * side, np.float32)
        made = d.node(
            "LayerNormalization", flat, d.constant(ones), d.constant(zeros), axis=2, epsilon=1e-5
        )
        y = d.node("Reshape", made, d.constant([1, c, side, side]))
        y = d.node("Mul", y, d.constant(scale.reshape(1, -1, 1, 1)))
        return d.node("Add", y, d.constant(shift.reshape(1, -1, 1, 1)))

    forms = {"InstanceNormalization": operator, "means": means, "one pass": one_pass,
             "GroupNormalization": groups, "LayerNormalization": rows}  # fmt: skip
    return {name: drawn(form) for name, form in forms.items()}


def pads(c: int, side: int, k: int) -> Forms:
    """Reflection padding and the convolution behind it."""
    p = k // 2

    def drawn(form: Callable[[Drawing], str]) -> bytes:
        d = Drawing(1, c, side, side)
        w = d.weight(c, c, k)
        d.node("Relu", d.node("Conv", "x", d.constant(d.weight(c, c, 1))), called="a")
        return d.file(d.node("Conv", form(d), d.constant(w)))

    def operator(d: Drawing) -> str:
        return d.node("Pad", "a", d.constant([0, 0, p, p, 0, 0, p, p]), mode="reflect")

    def gathers(d: Drawing) -> str:
        index = d.constant([*range(p, 0, -1), *range(side), *range(side - 2, side - 2 - p, -1)])
        return d.node("Gather", d.node("Gather", "a", index, axis=2), index, axis=3)

    def slices(d: Drawing) -> str:
        x = "a"
        for axis in (2, 3):
            ends = []
            for first, last in ((p, 0), (side - 2, side - 2 - p)):
                at = [d.constant([v]) for v in (first, last, axis, -1)]
                ends.append(d.node("Slice", x, *at))
            x = d.node("Concat", ends[0], x, ends[1], axis=axis)
        return x

    forms = {"Pad": operator, "Gather": gathers, "Slice and Concat": slices}
    return {name: drawn(form) for name, form in forms.items()}


def phases(w: Array, k: int) -> tuple[Array, list[int]]:
    """The weight (i, o, k, k) of a transposed convolution of stride 2 as that of a convolution with
    four outputs for each channel, and its padding on all sides; see `graph.subpixel`."""
    from ganpress.formats.exporters.graph.subpixel import subpixel_weight

    return subpixel_weight(w, padding=1, output_padding=4 - k)


def transposed(i: int, o: int, side: int, k: int) -> Forms:
    """A transposed convolution that doubles height and width."""
    return {
        "ConvTranspose": transposed_by(i, o, side, k, deconv),
        "one convolution": transposed_by(i, o, side, k, _one_convolution),
        "four convolutions": transposed_by(i, o, side, k, _four_convolutions),
    }


def transposed_by(
    i: int, o: int, side: int, k: int, form: Callable[[Drawing, Array, Array], str]
) -> bytes:
    d = Drawing(1, i, side, side)
    w, b = d.normal(i, o, k, k, std=(i * k * k / 4) ** -0.5), d.normal(o)
    d.node("Relu", "x", called="a")
    return d.file(d.node("Tanh", form(d, w, b)))


def deconv(d: Drawing, w: Array, b: Array) -> str:
    k = w.shape[2]
    return d.node("ConvTranspose", "a", d.constant(w), d.constant(b), strides=[2, 2], pads=[1] * 4,
                  output_padding=[4 - k] * 2)  # fmt: skip


def _one_convolution(d: Drawing, w: Array, b: Array) -> str:
    weight, pads = phases(w, w.shape[2])
    y = d.node("Conv", "a", d.constant(weight), d.constant(np.repeat(b, 4)), pads=pads)
    return d.node("DepthToSpace", y, blocksize=2, mode="CRD")


def _four_convolutions(d: Drawing, w: Array, b: Array) -> str:
    """One for each place in a square of two by two, with only the taps that are not zero."""
    weight, (top, left, bottom, right) = phases(w, w.shape[2])
    taps = weight.shape[2]
    made = []
    for place in range(4):
        part = weight[place::4]
        used = np.abs(part).sum((0, 1)) > 0
        rows, columns = np.flatnonzero(used.any(1)), np.flatnonzero(used.any(0))
        part = part[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        pads = [
            top - rows[0],
            left - columns[0],
            bottom - (taps - 1 - rows[-1]),
            right - (taps - 1 - columns[-1]),
        ]
        made.append(
            d.node("Conv", "a", d.constant(part), d.constant(b), pads=[int(p) for p in pads])
        )
    return d.node("DepthToSpace", d.node("Concat", *made, axis=1), blocksize=2, mode="DCR")


def normed_transposed(i: int, o: int, side: int) -> Forms:
    """A transposed convolution, BatchNorm, ReLU and a convolution behind them."""

    def drawn(form: Callable[[Drawing, Array, Array], str], *, folded: bool) -> bytes:
        d = Drawing(1, i, side, side)
        w, b = d.normal(i, o, 4, 4, std=(i * 4) ** -0.5), d.normal(o)
        scale, shift, mean = 1 + 0.1 * d.normal(o), d.normal(o), d.normal(o)
        variance, last = np.abs(d.normal(o)) + 0.5, d.weight(o, o, 3)
        d.node("Relu", "x", called="a")
        factor = scale / np.sqrt(variance + 1e-5)
        if folded:
            w, b = w * factor.reshape(1, -1, 1, 1), (b - mean) * factor + shift
        y = form(d, w, b)
        if not folded:
            parts = [d.constant(v) for v in (scale, shift, mean, variance)]
            y = d.node("BatchNormalization", y, *parts, epsilon=1e-5)
        return d.file(d.node("Conv", d.node("Relu", y), d.constant(last), pads=[1] * 4))

    return {
        "ConvTranspose, BatchNormalization": drawn(deconv, folded=False),
        "ConvTranspose, folded": drawn(deconv, folded=True),
        "one convolution, folded": drawn(_one_convolution, folded=True),
        "four convolutions, folded": drawn(_four_convolutions, folded=True),
    }
