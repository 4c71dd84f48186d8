"""Passes over ONNX graphs leave what the graph computes, and leave alone what they do not fit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx_graphs import SEVEN, Array, Drawing, kinds, onnx, run

from ganpress.formats.exporters.graph import PASSES, optimised
from ganpress.formats.exporters.graph.biases import biases_inside
from ganpress.formats.exporters.graph.early import quantise_early
from ganpress.formats.exporters.graph.editor import Editor, Pass
from ganpress.formats.exporters.graph.fold import fold_batch_norms
from ganpress.formats.exporters.graph.picture import float_weights, picture_in_squares
from ganpress.formats.exporters.graph.subpixel import (
    WIDE,
    as_one,
    integer_transposed,
    split_transposed,
    subpixel_weight,
)
from ganpress.formats.exporters.graph.unsigned import unsigned_levels

ROOT = Path(__file__).parents[2]


def changed(data: bytes, change: Pass) -> bytes:
    editor = Editor(data)
    change(editor)
    made = editor.to_bytes()
    onnx.checker.check_model(onnx.load_from_string(made), full_check=True)
    return made


def left_alone(data: bytes, change: Pass) -> bool:
    """Whether a pass keeps each node as it was."""
    before, after = (onnx.load_from_string(d).graph.node for d in (data, changed(data, change)))
    return [(n.op_type, list(n.input)) for n in before] == [
        (n.op_type, list(n.input)) for n in after
    ]


def everywhere(change: Callable[[Editor, Any], object], kind: str) -> Pass:
    """A pass that applies to each node of a kind."""

    def all_of(editor: Editor) -> None:
        for node in [n for n in editor.nodes if n.op_type == kind]:
            change(editor, node)

    return all_of


def picture(shape: tuple[int, ...], seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# --- transposed convolutions ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "padding", "output_padding", "groups"),
    [(3, 1, 1, 1), (4, 1, 0, 1), (2, 0, 0, 1), (6, 2, 0, 1), (4, 1, 0, 3), (5, 2, 1, 1)],
)
def test_a_transposed_convolution_is_one_convolution_whose_channels_are_shuffled(
    kernel: int, padding: int, output_padding: int, groups: int
) -> None:
    x = torch.from_numpy(picture((2, 6, 5, 7)))
    w = torch.from_numpy(picture((6, 4, kernel, kernel), seed=2))
    want = F.conv_transpose2d(
        x, w, stride=2, padding=padding, output_padding=output_padding, groups=groups
    )
    made, (top, left, bottom, right) = subpixel_weight(
        w.numpy(), padding=padding, output_padding=output_padding, groups=groups
    )
    padded = F.pad(x, (left, right, top, bottom))
    got = F.pixel_shuffle(F.conv2d(padded, torch.from_numpy(made), groups=groups), 2)
    assert got.shape == want.shape
    assert float((got - want).abs().max()) < 1e-4


def transposed(
    i: int, o: int, *, kernel: int = 4, stride: int = 2, groups: int = 1, more: int = 0
) -> bytes:
    d = Drawing(1, i, 6, 5)
    w = d.constant(d.normal(i, o // groups, kernel, kernel) / (2 * i) ** 0.5)
    y = d.node(
        "ConvTranspose", "x", w, d.constant(d.normal(o)), strides=[stride] * 2, pads=[1] * 4,
        output_padding=[more] * 2, group=groups, kernel_shape=[kernel] * 2,
    )  # fmt: skip
    return d.file(d.node("Relu", y))


@pytest.mark.parametrize("kernel", [3, 4])
def test_a_wide_transposed_convolution_becomes_four_convolutions_of_the_taps_that_it_has(
    kernel: int,
) -> None:
    data, x = transposed(256, 64, kernel=kernel, more=4 - kernel), picture((1, 256, 6, 5))
    made = changed(data, split_transposed)
    assert kinds(made) == ["Concat", "Conv", "Conv", "Conv", "Conv", "DepthToSpace", "Relu"]
    [want], [got] = run(data, x), run(made, x)
    assert np.abs(got - want).max() < 1e-4
    taps = sum(
        int(np.prod(c.dims[2:])) for c in onnx.load_from_string(made).graph.initializer
        if len(c.dims) == 4
    )  # fmt: skip
    assert taps == kernel**2


@pytest.mark.parametrize(
    "data",
    [
        transposed(256, 32),
        transposed(128, 64),
        transposed(256, 64, stride=1),
        transposed(256, 64, kernel=3),
    ],
    ids=["few outputs", "few inputs", "stride 1", "odd output"],
)
def test_other_transposed_convolutions_stay(data: bytes) -> None:
    assert left_alone(data, split_transposed)


def quantised_transposed(*, then: str | None = "Relu", stride: int = 2) -> bytes:
    d = Drawing(1, 6, 5, 4)
    y = d.node(
        "ConvTranspose", d.quantised("x"), d.weight(6, 3, 4, 4, axis=1), strides=[stride] * 2,
        pads=[1] * 4, kernel_shape=[4, 4],
    )  # fmt: skip
    y = d.node("Add", y, d.constant(d.normal(3, 1, 1)))
    if then is None:
        return d.file(y)
    return d.file(d.quantised(d.node(then, y)))


def test_a_quantised_transposed_convolution_becomes_one_of_integers_in_onnxruntime(
    tmp_path: Path,
) -> None:
    data, x = quantised_transposed(), picture((1, 6, 5, 4))
    [want], [got] = run(data, x), run(optimised(data), x, save=tmp_path / "made.onnx")
    assert np.abs(got - want).max() <= 0.0201  # one step
    assert (np.abs(got - want) > 1e-6).mean() < 0.01
    assert "QLinearConv" in kinds((tmp_path / "made.onnx").read_bytes())


@pytest.mark.parametrize(
    "data",
    [quantised_transposed(then=None), quantised_transposed(stride=1)],
    ids=["no quantiser behind", "stride 1"],
)
def test_a_quantised_transposed_convolution_that_would_stay_in_float_stays(data: bytes) -> None:
    assert left_alone(data, integer_transposed)


def test_a_transposed_convolution_with_a_bias_that_is_no_constant_stays() -> None:
    d = Drawing(1, 4, 6, 6)
    w = d.constant(d.normal(4, 2, 4, 4))
    bias = d.node("Mul", d.constant(d.normal(2)), d.constant(d.normal(2)))
    kernel = {"kernel_shape": [4, 4], "strides": [2, 2], "pads": [1] * 4}
    data = d.file(d.node("ConvTranspose", "x", w, bias, **kernel))
    assert left_alone(data, everywhere(as_one, "ConvTranspose"))


def test_a_transposed_convolution_takes_the_bias_behind_it_along() -> None:
    data, x = quantised_transposed(then=None), picture((1, 6, 5, 4))
    made = changed(data, everywhere(as_one, "ConvTranspose"))
    assert "Add" not in kinds(made)
    [want], [got] = run(data, x), run(made, x)
    assert np.abs(got - want).max() < 1e-4


# --- batch norm ---------------------------------------------------------------------------------


def batch_normed(kind: str, *, int8: bool, twice: bool = False, lowest: bool = False) -> bytes:
    d = Drawing(1, 4, 8, 8)
    shape = (5, 4, 3, 3) if kind == "Conv" else (4, 5, 3, 3)
    axis = 0 if kind == "Conv" else 1
    w = d.weight(*shape, axis=axis) if int8 else d.constant(d.normal(*shape))
    if lowest:
        levels = onnx.numpy_helper.to_array(d.constants[0]).copy()
        levels[...] = -128
        d.constants[0].CopyFrom(onnx.numpy_helper.from_array(levels, d.constants[0].name))
    x = d.quantised("x", zero=np.uint8(120)) if int8 else "x"
    y = d.node(kind, x, w, d.constant(d.normal(5)))
    scale = np.float32([1.5, -0.7, 0.0, 2.0, 1e-3])
    parts = (scale, d.normal(5), d.normal(5), np.abs(d.normal(5)) + 0.1)
    z = d.node("BatchNormalization", y, *(d.constant(p) for p in parts), epsilon=1e-3)
    return d.file(*([z, y] if twice else [z]))


@pytest.mark.parametrize("int8", [False, True], ids=["float", "8 bits"])
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_a_batch_norm_becomes_part_of_the_convolution_before_it(kind: str, int8: bool) -> None:
    """Scales of either sign, and 0."""
    data, x = batch_normed(kind, int8=int8), picture((1, 4, 8, 8))
    made = changed(data, fold_batch_norms)
    assert "BatchNormalization" not in kinds(made)
    [want], [got] = run(data, x, optimise=False), run(made, x, optimise=False)
    assert np.abs(got - want).max() < 1e-4


@pytest.mark.parametrize(
    "data",
    [
        batch_normed("Conv", int8=False, twice=True),
        batch_normed("Conv", int8=True, lowest=True),
    ],
    ids=["another reader", "a level without its opposite"],
)
def test_a_batch_norm_that_cannot_be_folded_stays(data: bytes) -> None:
    assert left_alone(data, fold_batch_norms)


# --- quantisers ahead -----------------------------------------------------------------------------


def moved(
    kind: str, *inputs: Any, zero: Any = SEVEN, act: str | None = "Relu",
    also: bool = False, **attributes: Any,
) -> bytes:  # fmt: skip
    d = Drawing(1, 4, 6, 6)
    y = d.node(kind, "x", *(d.constant(i) if i is not None else "" for i in inputs), **attributes)
    z = d.node(act, y) if act else y
    levels = d.levels(z, zero=zero)
    return d.file(*([levels, y] if also else [levels]))


PADS = np.int64([0, 0, 1, 2, 0, 0, 2, 1])
DOUBLED = np.float32([1, 1, 2, 2])
MOVERS = {
    "reflect": moved("Pad", PADS, mode="reflect"),
    "copies": moved("Pad", PADS, mode="edge", act=None),
    "zeros": moved("Pad", PADS),
    "zeros, said": moved("Pad", PADS, np.float32(0)),
    "zeros, signed": moved("Pad", PADS, zero=np.int8(-5), act="LeakyRelu"),
    "nearest": moved("Resize", None, DOUBLED, mode="nearest"),
    "shuffle": moved("DepthToSpace", blocksize=2, mode="CRD"),
}
COMPUTERS = {
    "linear": moved("Resize", None, DOUBLED, mode="linear"),
    "ones": moved("Pad", PADS, np.float32(1)),
    "another reader": moved("Pad", PADS, mode="reflect", also=True),
    "not pointwise": moved("Pad", PADS, mode="reflect", act="GlobalMaxPool"),
}


@pytest.mark.parametrize("data", MOVERS.values(), ids=MOVERS)
def test_quantisers_go_ahead_of_what_moves_pixels_and_give_the_same_levels(data: bytes) -> None:
    made, x = changed(data, quantise_early), picture((1, 4, 6, 6))
    last = onnx.load_from_string(made).graph.node[-1]
    assert last.op_type in ("Pad", "Resize", "DepthToSpace")
    [want], [got] = run(data, x), run(made, x)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("data", COMPUTERS.values(), ids=COMPUTERS)
def test_quantisers_stay_behind_what_computes(data: bytes) -> None:
    assert left_alone(data, quantise_early)


def test_a_quantiser_stays_where_its_range_moves_the_zeros_of_padding() -> None:
    d = Drawing(1, 2, 4, 4)
    y = d.node("Clip", d.node("Pad", "x", d.constant(PADS)), d.constant(np.float32(0.5)),
               d.constant(np.float32(2)))  # fmt: skip
    assert left_alone(d.file(d.levels(y)), quantise_early)


def signed(*, other_zero: bool = False) -> bytes:
    d = Drawing(1, 4, 6, 6)
    step, zero = d.constant(np.float32(0.02)), d.constant(np.int8(-3))
    levels = d.node("QuantizeLinear", "x", step, zero)
    read = d.constant(np.int8(5)) if other_zero else zero
    y = d.node("DequantizeLinear", levels, step, read)
    y = d.node("Relu", d.node("Conv", y, d.weight(6, 4, 3, 3)))
    return d.file(d.quantised(y))


def test_signed_levels_become_unsigned_ones_of_the_same_values(tmp_path: Path) -> None:
    data, x = signed(), 3 * picture((1, 4, 6, 6))
    made = changed(data, unsigned_levels)
    zeros = [c for c in onnx.load_from_string(made).graph.initializer if not c.dims]
    kinds_of = [c.data_type for c in zeros]
    assert onnx.TensorProto.UINT8 in kinds_of
    assert onnx.TensorProto.INT8 not in kinds_of
    [want], [got] = run(data, x, optimise=False), run(made, x, optimise=False)
    np.testing.assert_array_equal(got, want)
    run(optimised(data), x, save=tmp_path / "made.onnx")
    assert "QLinearConv" in kinds((tmp_path / "made.onnx").read_bytes())
    assert left_alone(signed(other_zero=True), unsigned_levels)


# --- biases -----------------------------------------------------------------------------------


def biased(
    *, inside: bool, quantised: bool = True, act: str = "Relu", float_in: bool = False
) -> bytes:
    d = Drawing(1, 4, 8, 8)
    x = "x" if float_in else d.quantised("x", zero=np.uint8(128))
    w, b = d.weight(6, 4, 3, 3), d.normal(6)
    y = d.node("Conv", x, w, d.constant(b)) if inside else d.node(
        "Add", d.node("Conv", x, w), d.constant(b.reshape(6, 1, 1)))  # fmt: skip
    y = d.node(act, y)
    return d.file(d.quantised(y) if quantised else y)


@pytest.mark.parametrize("inside", [False, True], ids=["behind", "float, inside"])
def test_a_bias_goes_inside_as_integers_and_onnxruntime_convolves_integers(
    inside: bool, tmp_path: Path
) -> None:
    data, x = biased(inside=inside), picture((1, 4, 8, 8))
    made = changed(data, biases_inside)
    [want] = run(data, x, optimise=False)
    [got] = run(made, x, save=tmp_path / "made.onnx")
    assert np.abs(got - want).max() <= 0.0201
    assert (np.abs(got - want) > 1e-6).mean() < 0.01
    assert "QLinearConv" in kinds((tmp_path / "made.onnx").read_bytes())
    whole = [c for c in onnx.load_from_string(made).graph.initializer if c.data_type == 6]
    assert len(whole) == 1  # int32


@pytest.mark.parametrize(
    "data",
    [
        biased(inside=False, quantised=False),
        biased(inside=False, act="Sigmoid"),
        biased(inside=False, float_in=True),
    ],
    ids=["float behind", "another activation", "float before"],
)
def test_a_bias_of_what_is_no_integer_convolution_stays(data: bytes) -> None:
    assert left_alone(data, biases_inside)


# --- pictures -----------------------------------------------------------------------------------


def written(
    o: int, *, int8: bool = False, stride: int = 1, kernel: int = 7,
    shape: tuple[int | str, ...] = (1, 4, 12, 10), multiple: int | None = None,
    behind: int = 0,
) -> bytes:  # fmt: skip
    """A convolution that writes a picture; its bias inside, or this many numbers ``behind`` it."""
    d = Drawing(*shape)
    w = d.weight(o, 4, kernel, kernel) if int8 else d.constant(d.normal(o, 4, kernel, kernel))
    p = [kernel // 2] * 4
    x = d.quantised("x") if int8 else "x"
    b = d.normal(behind or o)
    inside = [] if behind else [d.constant(b)]
    y = d.node("Conv", x, w, *inside, pads=p, strides=[stride] * 2)
    y = d.node("Add", y, d.constant(b.reshape(-1, 1, 1))) if behind else y
    return d.file(d.node("Tanh", y), multiple=multiple)


FREE = (1, 4, "height", "width")


def within() -> bytes:
    """A convolution of three channels at half the size, which can be odd, doubled behind it."""
    d = Drawing(*FREE)
    half = d.node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2])
    y = d.node("Conv", half, d.constant(d.normal(3, 4, 3, 3)), pads=[1] * 4)
    scales = d.constant(np.array([1, 1, 2, 2], np.float32))
    return d.file(d.node("Resize", y, "", scales, mode="nearest"), multiple=2)


def computed_bias() -> bytes:
    d = Drawing(1, 4, 12, 10)
    bias = d.node("Relu", d.constant(d.normal(3)))
    y = d.node("Conv", "x", d.constant(d.normal(3, 4, 3, 3)), bias, pads=[1] * 4)
    return d.file(d.node("Tanh", y))


PICTURES = {
    "RGB": written(3),
    "grey, 3x3": written(1, kernel=3),
    "8 bits": written(3, int8=True),
    "8 bits, bias behind": written(3, int8=True, behind=3),
    "one number behind": written(3, behind=1),
    "free, a multiple of 4": written(3, shape=FREE, multiple=4),
}


@pytest.mark.parametrize("data", PICTURES.values(), ids=PICTURES)
def test_a_picture_is_written_four_pixels_at_a_time(data: bytes) -> None:
    made, x = changed(data, picture_in_squares), picture((1, 4, 12, 10))
    assert "DepthToSpace" in kinds(made)
    assert "Add" not in kinds(made)
    [want], [got] = run(data, x), run(made, x)
    assert got.shape == want.shape
    assert np.abs(got - want).max() < 1e-4


@pytest.mark.parametrize(
    "data",
    [
        written(5),
        written(3, kernel=1),
        written(3, stride=2),
        written(3, shape=(1, 4, 11, 10)),
        written(3, shape=FREE),
        written(3, shape=FREE, multiple=3),
        written(3, shape=(1, 4, 11, "width"), multiple=2),
        within(),
        computed_bias(),
    ],
    ids=[
        "5 channels",
        "1x1",
        "stride 2",
        "odd height",
        "any height",
        "multiple of 3",
        "odd height, any width",
        "no picture",
        "computed bias",
    ],
)
def test_what_is_no_picture_or_of_odd_sides_stays(data: bytes) -> None:
    assert left_alone(data, picture_in_squares)


def test_a_pass_knows_the_shapes_whatever_an_earlier_one_changed() -> None:
    """A norm is folded through a shuffle, and the file says the shapes of its ports alone."""
    d = Drawing(1, 4, 12, 10)
    layer = d.node("Conv", "x", d.constant(d.normal(24, 4, 3, 3)), pads=[1, 1, 1, 1])
    shuffled = d.node("DepthToSpace", layer, blocksize=2, mode="CRD")
    norm = [d.constant(np.abs(d.normal(6)) + 0.5) for _ in range(4)]
    relu = d.node("Relu", d.node("BatchNormalization", shuffled, *norm))
    last = d.node("Conv", relu, d.constant(d.normal(3, 6, 3, 3)), pads=[1, 1, 1, 1])
    file = onnx.load_from_string(d.file(d.node("Tanh", last)))
    del file.graph.value_info[:]
    made = optimised(file.SerializeToString(), "openvino")
    assert "BatchNormalization" not in kinds(made) and kinds(made).count("DepthToSpace") == 2
    x = picture((1, 4, 12, 10))
    [want], [got] = run(file.SerializeToString(), x), run(made, x)
    assert np.abs(got - want).max() < 1e-4


def first_layer(o: int = 8) -> bytes:
    d = Drawing(1, 4, 12, 10)
    return d.file(d.quantised(d.node("Relu", d.node("Conv", "x", d.weight(o, 4, 3, 3)))))


@pytest.mark.parametrize("data", [written(3, int8=True), first_layer()], ids=["last", "first"])
def test_a_weight_is_stored_as_floats_where_no_integers_are_convolved(data: bytes) -> None:
    made, x = changed(data, float_weights), picture((1, 4, 12, 10))
    assert kinds(data).count("DequantizeLinear") == kinds(made).count("DequantizeLinear") + 1
    [want], [got] = run(data, x), run(made, x)
    assert np.abs(got - want).max() < 1e-5


def test_the_weight_of_a_layer_between_quantisers_stays_in_8_bits() -> None:
    assert left_alone(biased(inside=True), float_weights)
    assert left_alone(written(5, int8=True), float_weights)


def test_a_large_weight_stays_in_8_bits_whatever_it_reads() -> None:
    assert left_alone(first_layer(456), float_weights)  # 16,416 weights


# --- the editor -----------------------------------------------------------------------------------


def test_a_rewritten_file_is_sorted_and_has_no_constants_that_none_reads() -> None:
    d = Drawing(1, 3, 4, 4)
    data = d.file(d.node("Relu", d.node("Add", "x", d.constant(np.float32(1)))))
    editor = Editor(data)
    editor.constant(np.float32(3), "unread")
    [add] = [n for n in editor.nodes if n.op_type == "Add"]
    two = editor.constant(np.float32(2), "c0")
    assert two != "c0"  # taken
    editor.replace([add], [editor.node("Mul", ["x", two], add.output[0])])  # behind its reader
    made = onnx.load_from_string(editor.to_bytes())
    assert [n.op_type for n in made.graph.node] == ["Mul", "Relu"]
    assert [c.name for c in made.graph.initializer] == [two]
    x = picture((1, 3, 4, 4))
    np.testing.assert_array_equal(run(made.SerializeToString(), x)[0], np.maximum(2 * x, 0))


def test_each_runtime_s_passes_leave_a_graph_without_their_patterns_alone() -> None:
    d = Drawing(1, 3, 4, 4)
    data = d.file(d.node("Tanh", d.node("Add", "x", d.constant(np.float32(1)))))
    for runtime in PASSES:
        assert kinds(optimised(data, runtime)) == ["Add", "Tanh"]


def test_the_threshold_of_four_convolutions_is_what_the_measured_table_says() -> None:
    """Where the pass applies they were clearly faster in onnxruntime, and nowhere else."""
    found = json.loads((ROOT / "benchmarks/results/export-forms.json").read_text())["cases"]
    seen = set()
    for name, runtimes in found.items():
        if match := re.match(r"transposed \dx\d, (\d+) to (\d+), ", name):
            applies = int(match[1]) >= WIDE[0] and int(match[2]) >= WIDE[1]
            four = [f for form, f in runtimes["onnxruntime"].items() if "four" in form]
            assert (four[0]["ratio"] < 0.9) == applies, name
            seen.add(applies)
    assert seen == {True, False}
