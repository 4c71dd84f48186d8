"""Which form of an operation a runtime is fast at: norms, padding, transposed convolutions, 8 bits.

Command:  .venv/bin/python -m benchmarks.export_forms [--threads 1] [--passes 30] [--only norm]
Time:     about 5 minutes on 1 core.
Needs:    ganpress[onnx,openvino].
Result:   benchmarks/results/export-forms.json and .md.

Each case is a graph of a few nodes with random weights, written in several forms that compute the
same. All forms of a case, in both runtimes, take turns within one loop, so that other work on the
machine hits all of them; reported is the median over passes of the time relative to the first form,
which is what torch's exporter writes. Milliseconds are only an indication. What is a form here and
is clearly faster became a pass in `ganpress.formats.exporters.graph`; ADR 32 says which, and why
not the others.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
OPSET, IR = 21, 10
Forms = Mapping[str, bytes]
Array = np.ndarray[Any, Any]


def main() -> None:
    """Measure, write, tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--passes", type=int, default=30)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--out", type=Path, default=RESULTS)
    a = parser.parse_args()
    found = {
        name: measured(forms, a.threads, a.passes) for name, forms in cases() if a.only in name
    }
    facts = {
        "device": cpu(), "threads": a.threads, "passes": a.passes, "load": os.getloadavg()[0],
        "versions": versions(), "cases": found,
    }  # fmt: skip
    a.out.mkdir(exist_ok=True)
    (a.out / "export-forms.json").write_text(json.dumps(facts, indent=1) + "\n")
    (a.out / "export-forms.md").write_text(table(facts))
    print(table(facts))


# --- what is measured ------------------------------------------------------------------------------


def cases() -> Iterator[tuple[str, Forms]]:
    """Name -> the forms of a case; the first is what torch's exporter writes."""
    for c, side in ((64, 256), (256, 64)):
        yield f"norm, {c} channels, {side} px", norms(c, side)
    for c, side, k in ((3, 256, 7), (64, 256, 7), (256, 64, 3)):
        yield f"reflect {k // 2} + {k}x{k}, {c} channels, {side} px", pads(c, side, k)
    for i, o, side, k in ((256, 128, 64, 3), (128, 64, 128, 3), (64, 32, 128, 3), (24, 12, 128, 3)):
        yield f"transposed {k}x{k}, {i} to {o}, {side} px", transposed(i, o, side, k)
    for i, o, side in ((1024, 256, 16), (256, 64, 64), (128, 3, 128), (32, 8, 64)):
        yield f"transposed 4x4, {i} to {o}, {side} px", transposed(i, o, side, 4)
    for i, o, side in ((256, 128, 32), (64, 32, 128)):
        yield (
            f"transposed 4x4 + batch norm + relu, {i} to {o}, {side} px",
            normed_transposed(i, o, side),
        )
    for i, o, side in ((256, 256, 32), (64, 32, 128)):
        yield f"modulated up, {i} to {o}, {side} px", modulated_up(i, o, side)
    for c, side in ((256, 32), (64, 128)):
        yield f"modulated 3x3, {c} channels, {side} px", modulated(c, side)
    yield "picture doubled by [1, 3, 3, 1], 128 px", doubled(3, 128)
    for c, side in ((64, 64), (128, 64), (24, 128)):
        yield f"int8 3x3 + norm, {c} channels, {side} px", int8_normed(c, side)
    for c, side in ((64, 64), (24, 128)):
        yield f"int8 3x3 + bias + relu, {c} channels, {side} px", int8_biased(c, side)
    for i, o, side in ((128, 64, 64), (64, 32, 128)):
        yield (
            f"int8 transposed 4x4 + bias + relu, {i} to {o}, {side} px",
            int8_transposed(i, o, side),
        )


class Drawing:
    """A graph in the making: `node` adds one, `constant` an initialiser; both return names."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.draw = np.random.default_rng(seed)
        self.shape, self.nodes, self.weights = shape, [], []  # type: ignore[var-annotated]

    def node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = f"v{len(self.nodes)}"
        made = helper.make_node(
            op, list(inputs), [name], name=f"{op}_{name}", domain=domain, **attributes
        )
        self.nodes.append(made)
        return name

    def constant(self, array: Array | list[int]) -> str:
        from onnx import numpy_helper

        array = np.asarray(array, np.int64) if isinstance(array, list) else array
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def normal(self, *shape: int, std: float = 1.0) -> Array:
        return (std * self.draw.standard_normal(shape)).astype(np.float32)

    def weight(self, o: int, i: int, k: int) -> Array:
        return self.normal(o, i, k, k, std=(i * k * k) ** -0.5)

    def file(self, output: str) -> bytes:
        from onnx import TensorProto, helper

        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "form",
            [info("x", TensorProto.FLOAT, self.shape)],
            [info(output, TensorProto.FLOAT, None)],
            self.weights,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        data: bytes = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR
        ).SerializeToString()
        return data


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
        root = d.node("Sqrt", d.node("Add", power, d.constant(np.float32([1e-5]))))
        factor = d.node("Div", d.constant(scale.reshape(1, -1, 1, 1)), root)
        return d.node("Add", d.node("Mul", off, factor), d.constant(shift.reshape(1, -1, 1, 1)))

    def one_pass(d: Drawing, scale: Array, shift: Array) -> str:
        axes = d.constant([2, 3])
        mean = d.node("ReduceMean", "x", axes)
        power = d.node(
            "Sub", d.node("ReduceMean", d.node("Mul", "x", "x"), axes), d.node("Mul", mean, mean)
        )
        root = d.node("Sqrt", d.node("Add", power, d.constant(np.float32([1e-5]))))
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
        x = d.node("Relu", d.node("Conv", "x", d.constant(d.weight(c, c, 1))))
        d.nodes[-1].output[0] = "a"
        return d.file(d.node("Conv", form(d) if x else "", d.constant(w)))

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


def phases(w: Array, k: int) -> tuple[Array, int]:
    """The weight (i, o, k, k) of a transposed convolution of stride 2 as that of a convolution with
    four outputs for each channel, and its padding at the front; see `graph.subpixel`."""
    from ganpress.formats.exporters.graph.subpixel import subpixel_weight

    return subpixel_weight(w, padding=1, output_padding=4 - k)


def transposed(i: int, o: int, side: int, k: int) -> Forms:
    """A transposed convolution that doubles height and width."""
    return {
        "ConvTranspose": _transposed(i, o, side, k, _deconv),
        "one convolution": _transposed(i, o, side, k, _one_convolution),
        "four convolutions": _transposed(i, o, side, k, _four_convolutions),
    }


def _transposed(
    i: int, o: int, side: int, k: int, form: Callable[[Drawing, Array, Array], str]
) -> bytes:
    d = Drawing(1, i, side, side)
    w, b = d.normal(i, o, k, k, std=(i * k * k / 4) ** -0.5), d.normal(o)
    x = d.node("Relu", "x")
    d.nodes[-1].output[0] = "a"
    return d.file(d.node("Tanh", form(d, w, b))) if x else b""


def _deconv(d: Drawing, w: Array, b: Array) -> str:
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
    o, taps = w.shape[1], weight.shape[2]
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
    assert o
    return d.node("DepthToSpace", d.node("Concat", *made, axis=1), blocksize=2, mode="DCR")


def normed_transposed(i: int, o: int, side: int) -> Forms:
    """A transposed convolution, BatchNorm, ReLU and a convolution behind them."""

    def drawn(form: Callable[[Drawing, Array, Array], str], *, folded: bool) -> bytes:
        d = Drawing(1, i, side, side)
        w, b = d.normal(i, o, 4, 4, std=(i * 4) ** -0.5), d.normal(o)
        scale, shift, mean = 1 + 0.1 * d.normal(o), d.normal(o), d.normal(o)
        variance, last = np.abs(d.normal(o)) + 0.5, d.weight(o, o, 3)
        x = d.node("Relu", "x")
        d.nodes[-1].output[0] = "a"
        factor = scale / np.sqrt(variance + 1e-5)
        if folded:
            w, b = w * factor.reshape(1, -1, 1, 1), (b - mean) * factor + shift
        y = form(d, w, b) if x else ""
        if not folded:
            parts = [d.constant(v) for v in (scale, shift, mean, variance)]
            y = d.node("BatchNormalization", y, *parts, epsilon=1e-5)
        return d.file(d.node("Conv", d.node("Relu", y), d.constant(last), pads=[1] * 4))

    return {
        "ConvTranspose, BatchNormalization": drawn(_deconv, folded=False),
        "ConvTranspose, folded": drawn(_deconv, folded=True),
        "one convolution, folded": drawn(_one_convolution, folded=True),
        "four convolutions, folded": drawn(_four_convolutions, folded=True),
    }


BLUR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64


def modulated_up(i: int, o: int, side: int) -> Forms:
    """StyleGAN2's convolution that doubles: transposed, blurred, demodulated; scales are constant."""

    def blurred(d: Drawing, w: Array) -> str:
        y = d.node("ConvTranspose", "a", d.constant(w), strides=[2, 2])
        kernel = np.tile(4 * BLUR, (o, 1, 1, 1))
        return d.node("Conv", y, d.constant(kernel), pads=[1] * 4, group=o)

    def separated(d: Drawing, w: Array) -> str:
        y = d.node("ConvTranspose", "a", d.constant(w), strides=[2, 2])
        row = np.float32([1, 3, 3, 1]) / 4
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
        from ganpress.formats.exporters.graph.subpixel import blurred_weight, subpixel_weight

        weight, pads = subpixel_weight(blurred_weight(w, 4 * BLUR), padding=2, output_padding=0)
        y = d.node("Conv", "a", d.constant(weight), pads=pads)
        return d.node("DepthToSpace", y, blocksize=2, mode="CRD")

    def subpixel_then_blur(d: Drawing, w: Array) -> str:
        from ganpress.formats.exporters.graph.subpixel import subpixel_weight

        weight, pads = subpixel_weight(w, padding=0, output_padding=1)
        pads = [p + e for p, e in zip(pads, (0, 0, 1, 1), strict=True)]
        y = d.node("Conv", "a", d.constant(weight), pads=pads)
        y = d.node("DepthToSpace", y, blocksize=2, mode="CRD")
        kernel = np.tile(4 * BLUR, (o, 1, 1, 1))
        return d.node("Conv", y, d.constant(kernel), pads=[1, 1, 0, 0], group=o)

    def drawn(form: Callable[[Drawing, Array], str]) -> bytes:
        d = Drawing(1, i, side, side)
        w = d.normal(i, o, 3, 3, std=(i * 9 / 4) ** -0.5)
        x = d.node("Mul", "x", d.constant(1 + 0.1 * d.normal(1, i, 1, 1)))
        d.nodes[-1].output[0] = "a"
        y = d.node("Mul", form(d, w), d.constant(1 + 0.1 * d.normal(1, o, 1, 1)))
        return d.file(d.node("LeakyRelu", y, alpha=0.2)) if x else b""

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
        root = d.node("Sqrt", d.node("Add", sums, d.constant(np.float32([1e-8]))))
        norm = d.node("Reshape", d.node("Reciprocal", root), d.constant([1, c, 1, 1]))
        return d.node("Mul", y, norm)

    def in_weights(d: Drawing, s: str, w: Array) -> str:
        weight = d.node("Mul", d.constant(w), s)
        sums = d.node("ReduceSum", d.node("Mul", weight, weight), d.constant([1, 2, 3]))
        root = d.node("Sqrt", d.node("Add", sums, d.constant(np.float32([1e-8]))))
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


# --- 8 bits ------------------------------------------------------------------------------------------

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
            d.node("Slice", levels, *(d.constant(v) for v in ([y, z], [y + side, z + side], [1, 2])))
            for y in range(3) for z in range(3)
        ]  # fmt: skip
        columns = d.node("Concat", *parts, axis=3)
        scales = d.constant(STEP), d.constant(step)
        zeros = d.constant(np.uint8(0)), d.constant(np.zeros(c, np.int8))
        y = d.node("MatMulIntegerToFloat", columns, rows, *scales, *zeros, domain="com.microsoft")
        return d.node("Transpose", y, perm=[0, 3, 1, 2])

    forms = {"QDQ": qdq, "QDQ, levels padded": pad_of_levels, "QDQ, float weights": rounded_in_float,
             "ConvInteger": integer, "ConvInteger, levels padded": integer_pad,
             "matrix product": matmul, "sums in 8 bits": eight_bit_sums,
             "not quantised": float_}  # fmt: skip
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
        x = d.node("Relu", "x")
        d.nodes[-1].output[0] = "a"
        return d.file(_values(d, _levels(d, d.node("Relu", layer(d, w, b))))) if x else b""

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
        return _deconv(d, w, b)

    forms = {"QDQ": qdq, "one convolution": one, "one convolution, bias outside": one_float_out,
             "one convolution, quantised before the shuffle": quantised_before_shuffle,
             "not quantised": float_}  # fmt: skip
    return {name: drawn(form) for name, form in forms.items()}


# --- how it is measured --------------------------------------------------------------------------


def measured(forms: Forms, threads: int, passes: int) -> dict[str, Any]:
    """Per runtime and form: the median ratio to the first form, milliseconds, and the difference."""
    import onnx

    first = onnx.load_from_string(next(iter(forms.values())))
    shape = [d.dim_value for d in first.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    runs: dict[tuple[str, str], Callable[[], Array]] = {}
    refused: dict[str, str] = {}
    for runtime, open_ in RUNTIMES.items():
        for name, data in forms.items():
            try:
                run = open_(data, threads)
                run(x)
            except Exception as error:  # a form that a runtime cannot run is a result
                refused[f"{runtime}: {name}"] = str(error).splitlines()[0][:200]
                continue
            runs[runtime, name] = lambda run=run: run(x)  # type: ignore[misc]
    took: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for turn in range(passes):
        keys = list(runs) if turn % 2 else list(runs)[::-1]
        for key in keys:
            began = time.process_time()
            runs[key]()
            took[key].append(time.process_time() - began)
    out: dict[str, Any] = {"refused": refused} if refused else {}
    for runtime in RUNTIMES:
        base = (runtime, next(iter(forms)))
        want = runs[base]()
        out[runtime] = {
            name: {
                "ratio": round(
                    statistics.median(
                        a / b for a, b in zip(took[runtime, name], took[base], strict=True)
                    ),
                    3,
                ),
                "ms": round(1e3 * statistics.median(took[runtime, name]), 2),
                "difference": float(np.abs(runs[runtime, name]() - want).max()),
            }
            for name in forms
            if (runtime, name) in runs
        }
    return out


def onnxruntime_of(data: bytes, threads: int) -> Callable[[Array], Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]  # type: ignore[no-any-return]


def openvino_of(data: bytes, threads: int) -> Callable[[Array], Array]:
    import openvino

    core = openvino.Core()
    wanted = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = core.compile_model(core.read_model(data), "CPU", wanted)
    return lambda x: compiled(x)[0]  # type: ignore[no-any-return]


RUNTIMES = {"onnxruntime": onnxruntime_of, "openvino": openvino_of}


def versions() -> dict[str, str]:
    import onnxruntime
    import openvino

    return {"onnxruntime": onnxruntime.__version__, "openvino": openvino.__version__}


def table(facts: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Forms of an operation, timed",
        "",
        f"{facts['device']}, {facts['threads']} thread(s), {facts['passes']} interleaved passes, "
        + ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
        + ". Times relative to the first form of each case, which is what torch's exporter writes; "
        "below 1 is faster. Milliseconds in brackets are only an indication.",
        "",
        "| case | form | onnxruntime | OpenVINO |",
        "|---|---|---:|---:|",
    ]
    for case, found in facts["cases"].items():
        names = list(dict.fromkeys([*found["onnxruntime"], *found["openvino"]]))
        for name in names:
            cells = []
            for runtime in RUNTIMES:
                f = found[runtime].get(name)
                cells.append(f"{f['ratio']:.2f} ({f['ms']:.1f})" if f else "refused")
            lines.append(f"| {case if name == names[0] else ''} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cpu() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


if __name__ == "__main__":
    main()
