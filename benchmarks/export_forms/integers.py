"""Forms of 8-bit layers, and of the convolution that writes the picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.export_forms.drawing import Array, Drawing, Forms
from benchmarks.export_forms.floats import deconv, phases
from ganpress.formats.exporters.graph.picture import square_weight

STEP = np.float32(4 / 255)


def _levels(d: Drawing, x: str) -> str:
    return d.node("QuantizeLinear", x, d.constant(STEP), d.constant(np.uint8(0)))


def _values(d: Drawing, levels: str) -> str:
    return d.node("DequantizeLinear", levels, d.constant(STEP), d.constant(np.uint8(0)))


def _integer_weight(w: Array, axis: int) -> tuple[Array, Array]:
    dims = tuple(k for k in range(4) if k != axis)
    step = (np.abs(w).max(dims) / 127).astype(np.float32)
    shape = [1] * 4
    shape[axis] = -1
    return np.round(w / step.reshape(shape)).astype(np.int8), step


def _dequantised(d: Drawing, w: Array, axis: int = 0) -> str:
    whole, step = _integer_weight(w, axis)
    zero = d.constant(np.zeros(len(step), np.int8))
    return d.node("DequantizeLinear", d.constant(whole), d.constant(step), zero, axis=axis)


def _sums(d: Drawing, levels: str, w: Array, b: Array | None, pads: list[int]) -> str:
    """A convolution of integers, its sums as floats; ``levels`` are uint8."""
    whole, step = _integer_weight(w, 0)
    sums = d.node("ConvInteger", levels, d.constant(whole), d.constant(np.uint8(0)), pads=pads)
    y = d.node("Mul", d.node("Cast", sums, to=1), d.constant((step * STEP).reshape(1, -1, 1, 1)))
    return y if b is None else d.node("Add", y, d.constant(b.reshape(1, -1, 1, 1)))


def int8_normed(c: int, side: int) -> Forms:
    """Two quantised convolutions, each with reflection padding before and an InstanceNorm and ReLU
    behind it."""

    def drawn(layer: Callable[[Drawing, str, Array], str], *, plain: bool = False) -> bytes:
        d = Drawing(1, c, side, side)
        x = d.node("Relu", "x")
        for _ in range(2):
            w = d.weight(c, c, 3)
            y = layer(d, x, w)
            parts = d.constant(1 + 0.1 * d.normal(c)), d.constant(d.normal(c))
            x = d.node("Relu", d.node("InstanceNormalization", y, *parts, epsilon=1e-5))
        return d.file(x)

    def pad(d: Drawing, x: str) -> str:
        return d.node("Pad", x, d.constant([0, 0, 1, 1, 0, 0, 1, 1]), mode="reflect")

    def qdq(d: Drawing, x: str, w: Array) -> str:
        return d.node("Conv", _values(d, _levels(d, pad(d, x))), _dequantised(d, w))

    def pad_of_levels(d: Drawing, x: str, w: Array) -> str:
        return d.node("Conv", _values(d, pad(d, _levels(d, x))), _dequantised(d, w))

    def rounded_in_float(d: Drawing, x: str, w: Array) -> str:
        whole, step = _integer_weight(w, 0)
        real = whole.astype(np.float32) * step.reshape(-1, 1, 1, 1)
        return d.node("Conv", _values(d, _levels(d, pad(d, x))), d.constant(real))

    def integer(d: Drawing, x: str, w: Array) -> str:
        return _sums(d, _levels(d, pad(d, x)), w, None, [0] * 4)

    def integer_pad(d: Drawing, x: str, w: Array) -> str:
        return _sums(d, pad(d, _levels(d, x)), w, None, [0] * 4)

    def float_(d: Drawing, x: str, w: Array) -> str:
        return d.node("Conv", pad(d, x), d.constant(w))

    def eight_bit_sums(d: Drawing, x: str, w: Array) -> str:
        y = d.node("Conv", _values(d, _levels(d, pad(d, x))), _dequantised(d, w))
        grid = d.constant(np.float32(8 / 255)), d.constant(np.uint8(128))
        return d.node("DequantizeLinear", d.node("QuantizeLinear", y, *grid), *grid)

    def matmul(d: Drawing, x: str, w: Array) -> str:
        whole, step = _integer_weight(w, 0)
        rows = d.constant(whole.transpose(2, 3, 1, 0).reshape(9 * c, c))
        levels = d.node("Transpose", _levels(d, pad(d, x)), perm=[0, 2, 3, 1])
        parts = [
            d.node("Slice", levels, *map(d.constant, ([y, z], [y + side, z + side], [1, 2])))
            for y in range(3) for z in range(3)
        ]  # fmt: skip
        columns = d.node("Concat", *parts, axis=3)
        scales = d.constant(STEP), d.constant(step)
        zeros = d.constant(np.uint8(0)), d.constant(np.zeros(c, np.int8))
        y = d.node("MatMulIntegerToFloat", columns, rows, *scales, *zeros, domain="com.microsoft")
        return d.node("Transpose", y, perm=[0, 3, 1, 2])

    forms = {"QDQ": qdq, "QDQ, levels padded": pad_of_levels,
             "QDQ, float weights": rounded_in_float, "ConvInteger": integer,
             "ConvInteger, levels padded": integer_pad, "matrix product": matmul,
             "sums in 8 bits": eight_bit_sums, "not quantised": float_}  # fmt: skip
    return {name: drawn(form) for name, form in forms.items()}


def int8_biased(c: int, side: int) -> Forms:
    """Two quantised convolutions with a bias and ReLU, read by a third quantiser."""

    def drawn(layer: Callable[[Drawing, str, Array, Array], str]) -> bytes:
        d = Drawing(1, c, side, side)
        x = d.node("Relu", "x")
        for _ in range(2):
            x = d.node("Relu", layer(d, x, d.weight(c, c, 3), d.normal(c)))
        return d.file(_values(d, _levels(d, x)))

    def outside(d: Drawing, x: str, w: Array, b: Array) -> str:
        y = d.node("Conv", _values(d, _levels(d, x)), _dequantised(d, w), pads=[1] * 4)
        return d.node("Add", y, d.constant(b.reshape(1, -1, 1, 1)))

    def inside(d: Drawing, x: str, w: Array, b: Array) -> str:
        _, step = _integer_weight(w, 0)
        whole = np.round(b / (step * STEP)).astype(np.int32)
        bias = d.node("DequantizeLinear", d.constant(whole), d.constant(step * STEP), axis=0)
        return d.node("Conv", _values(d, _levels(d, x)), _dequantised(d, w), bias, pads=[1] * 4)

    def integer(d: Drawing, x: str, w: Array, b: Array) -> str:
        return _sums(d, _levels(d, x), w, b, [1] * 4)

    def float_(d: Drawing, x: str, w: Array, b: Array) -> str:
        return d.node("Conv", x, d.constant(w), d.constant(b), pads=[1] * 4)

    forms = {"QDQ, bias outside": outside, "QDQ, bias inside": inside, "ConvInteger": integer,
             "not quantised": float_}  # fmt: skip
    return {name: drawn(form) for name, form in forms.items()}


def int8_transposed(i: int, o: int, side: int) -> Forms:
    """A quantised transposed convolution, read by a quantiser behind a bias and ReLU."""

    def drawn(layer: Callable[[Drawing, Array, Array], str]) -> bytes:
        d = Drawing(1, i, side, side)
        w, b = d.normal(i, o, 4, 4, std=(i * 4) ** -0.5), d.normal(o)
        d.node("Relu", "x", called="a")
        return d.file(_values(d, _levels(d, d.node("Relu", layer(d, w, b)))))

    def qdq(d: Drawing, w: Array, b: Array) -> str:
        y = d.node(
            "ConvTranspose",
            _values(d, _levels(d, "a")),
            _dequantised(d, w, 1),
            strides=[2, 2],
            pads=[1] * 4,
        )
        return d.node("Add", y, d.constant(b.reshape(1, -1, 1, 1)))

    def one(d: Drawing, w: Array, b: Array) -> str:
        whole, step = _integer_weight(w, 1)
        weight, pads = phases(whole, 4)
        steps = np.repeat(step, 4)
        zero = d.constant(np.zeros(len(steps), np.int8))
        made = d.node("DequantizeLinear", d.constant(weight), d.constant(steps), zero, axis=0)
        bias = np.round(np.repeat(b, 4) / (steps * STEP)).astype(np.int32)
        inside = d.node("DequantizeLinear", d.constant(bias), d.constant(steps * STEP), axis=0)
        y = d.node("Conv", _values(d, _levels(d, "a")), made, inside, pads=pads)
        return d.node("DepthToSpace", y, blocksize=2, mode="CRD")

    def one_float_out(d: Drawing, w: Array, b: Array) -> str:
        whole, step = _integer_weight(w, 1)
        weight, pads = phases(whole, 4)
        steps = np.repeat(step, 4)
        zero = d.constant(np.zeros(len(steps), np.int8))
        made = d.node("DequantizeLinear", d.constant(weight), d.constant(steps), zero, axis=0)
        y = d.node("Conv", _values(d, _levels(d, "a")), made, pads=pads)
        y = d.node("DepthToSpace", y, blocksize=2, mode="CRD")
        return d.node("Add", y, d.constant(b.reshape(1, -1, 1, 1)))

    def quantised_before_shuffle(d: Drawing, w: Array, b: Array) -> str:
        whole, step = _integer_weight(w, 1)
        weight, pads = phases(whole, 4)
        steps = np.repeat(step, 4)
        zero = d.constant(np.zeros(len(steps), np.int8))
        made = d.node("DequantizeLinear", d.constant(weight), d.constant(steps), zero, axis=0)
        bias = np.round(np.repeat(b, 4) / (steps * STEP)).astype(np.int32)
        inside = d.node("DequantizeLinear", d.constant(bias), d.constant(steps * STEP), axis=0)
        y = d.node("Relu", d.node("Conv", _values(d, _levels(d, "a")), made, inside, pads=pads))
        y = d.node("DepthToSpace", _values(d, _levels(d, y)), blocksize=2, mode="CRD")
        return y

    def float_(d: Drawing, w: Array, b: Array) -> str:
        return deconv(d, w, b)

    forms = {"QDQ": qdq, "one convolution": one, "one convolution, bias outside": one_float_out,
             "one convolution, quantised before the shuffle": quantised_before_shuffle,
             "not quantised": float_}  # fmt: skip
    return {name: drawn(form) for name, form in forms.items()}


def to_picture(c: int, side: int, k: int, *, int8: bool) -> Forms:
    """The last convolution, to three channels, behind reflection padding."""
    p = k // 2

    def drawn(form: Callable[[Drawing, str, Array, Array], str]) -> bytes:
        d = Drawing(1, c, side, side)
        w, b = d.weight(3, c, k), d.normal(3)
        x = d.node("Pad", d.node("Relu", "x"), d.constant([0, 0, p, p, 0, 0, p, p]), mode="reflect")
        x = _values(d, _levels(d, x)) if int8 else x
        return d.file(d.node("Tanh", form(d, x, w, b)))

    def weight(d: Drawing, w: Array) -> str:
        return _dequantised(d, w) if int8 else d.constant(w)

    def column(d: Drawing, b: Array) -> str:
        return d.constant(b.reshape(-1, 1, 1))

    def operator(d: Drawing, x: str, w: Array, b: Array) -> str:
        return d.node("Add", d.node("Conv", x, weight(d, w)), column(d, b))

    def rows(d: Drawing, x: str, w: Array, b: Array) -> str:
        flat = w.transpose(2, 0, 1, 3).reshape(3 * k, c, 1, k)
        z = d.node("Conv", x, weight(d, flat))
        parts = []
        for y in range(k):
            at = [d.constant(v) for v in ([3 * y, y], [3 * y + 3, y + side], [1, 2])]
            parts.append(d.node("Slice", z, *at))
        return d.node("Add", d.node("Sum", *parts), column(d, b))

    def blocks(d: Drawing, x: str, w: Array, b: Array, n: int = 2, inside: bool = False) -> str:
        bias = [d.constant(np.repeat(b, n * n))] if inside else []
        squares = d.node("Conv", x, weight(d, square_weight(w, n)), *bias, strides=[n, n])
        made = d.node("DepthToSpace", squares, blocksize=n, mode="CRD")
        return made if inside else d.node("Add", made, column(d, b))

    def inside(d: Drawing, x: str, w: Array, b: Array) -> str:
        return blocks(d, x, w, b, inside=True)

    def large_blocks(d: Drawing, x: str, w: Array, b: Array) -> str:
        return blocks(d, x, w, b, 4)

    forms = {"Conv": operator, "a row of taps at a time": rows, "2x2 pixels at a time": blocks,
             "2x2 pixels at a time, bias inside": inside,
             "4x4 pixels at a time": large_blocks}  # fmt: skip
    return {name: drawn(form) for name, form in forms.items()}
