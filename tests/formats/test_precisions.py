"""Files in half precision, in bfloat16 and in 8 bits make nearly the picture of the float one."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from exports import LEAST, SHALLOW, static, traced_once
from nets import Wiring
from onnx_graphs import Array, Drawing, kinds, onnx, onnxruntime, run
from thin import thinned

from ganpress.errors import ConfigError, ExportError
from ganpress.formats.exporters.graph import PASSES, Runtime, optimised
from ganpress.formats.exporters.graph.editor import Editor
from ganpress.formats.exporters.precision import (
    calibrated,
    to_bfloat,
    to_half,
)
from ganpress.formats.exporters.precision.sums import (
    RANGE,
    channel_ranges,
    even_sums,
    normed_convolutions,
)
from ganpress.formats.exporters.verify import GREY
from ganpress.models.checkpoint import Model

FLOAT, HALF, BFLOAT = 1, 10, 16  # onnx.TensorProto's names of types
WIRINGS = {"cyclegan": SHALLOW, **LEAST}
every_family = pytest.mark.parametrize(
    "name", thinned(WIRINGS, lambda name: name in ("pix2pix", "stylegan2", "munit"))
)


@functools.cache
def traced_file(name: str) -> tuple[Model, bytes]:
    """A tiny float network of a family, and its file as the exporter traces it."""
    wiring = WIRINGS[name]
    model = wiring.model()
    return model, traced_once(model, static(wiring)).SerializeToString()


def feed(wiring: Wiring, seed: int = 1) -> dict[str, Array]:
    """One draw of what a network reads."""
    inputs = wiring.inputs(1, seed)
    return {n: t.numpy() for n, t in zip(wiring.ghost.reads, inputs, strict=True)}


def made(data: bytes, fed: dict[str, Array]) -> Array:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    [picture] = session.run(None, fed)
    assert picture.dtype == np.float32
    return np.asarray(picture)


def off(data: bytes, name: str) -> float:
    """The mean difference from torch's picture, in units of [-1, 1]."""
    wiring, (model, _) = WIRINGS[name], traced_file(name)
    want = model(*wiring.inputs(1)).numpy()
    return float(np.abs(made(data, feed(wiring)) - want).mean())


def ends(data: bytes) -> list[Any]:
    graph = onnx.load_from_string(data).graph
    return [(v.name, v.type) for v in (*graph.input, *graph.output)]


def stored(data: bytes, kind: int) -> int:
    """Numbers of a type among a file's constants."""
    constants = onnx.load_from_string(data).graph.initializer
    return sum(int(np.prod(c.dims)) for c in constants if c.data_type == kind)


# --- floats ---------------------------------------------------------------------------------------


@every_family
def test_the_passes_keep_the_picture_of_every_family(name: str) -> None:
    _, data = traced_file(name)
    for runtime in PASSES:
        assert off(optimised(data, runtime), name) < 1e-5


@every_family
def test_half_precision_keeps_the_picture_and_the_types_of_inputs_and_outputs(name: str) -> None:
    _, data = traced_file(name)
    half = to_half(optimised(data))
    assert off(half, name) < 0.5 * GREY  # two are allowed
    assert ends(half) == ends(data)
    assert stored(half, HALF) > 5 * stored(half, FLOAT)


@every_family
def test_bfloat16_is_stored_in_half_the_bytes_and_keeps_the_picture(name: str) -> None:
    _, data = traced_file(name)
    small = to_bfloat(data)
    assert 0 < off(small, name) < 2 * GREY
    assert ends(small) == ends(data)
    assert stored(small, BFLOAT) > 5 * stored(small, FLOAT)


def normed(epsilon: float, scale: float) -> tuple[bytes, Array]:
    """x / sqrt(mean(x^2) + epsilon), and an x whose squares are too large or small for float16."""
    d = Drawing(1, 3, 4, 4)
    mean = d.node("ReduceMean", d.node("Mul", "x", "x"), d.constant(np.int64([1, 2, 3])))
    root = d.node("Sqrt", d.node("Add", mean, d.constant(np.float32([epsilon]))))
    y = d.node("Conv", d.node("Div", "x", root), d.constant(d.normal(2, 3, 1, 1)))
    return d.file(y), scale * np.random.default_rng(1).standard_normal((1, 3, 4, 4), np.float32)


@pytest.mark.parametrize("scale", [1e3, 1e-4], ids=["above 65504", "below 6e-8"])
def test_squares_and_their_sums_stay_in_float32_where_all_else_is_half(scale: float) -> None:
    data, x = normed(1e-9, scale)
    [want], [got] = run(data, x), run(to_half(data), x)
    assert np.abs(got - want).max() < 0.01 * np.abs(want).max()


def test_half_precision_takes_a_constant_that_float32_nodes_share() -> None:
    d = Drawing(1, 3, 4, 4)
    scale, shift = d.constant(np.float32([1, 2, 3])), d.constant(np.float32([0.5, 0, 1]))
    y = d.node("Conv", "x", d.constant(d.normal(3, 3, 1, 1)), shift)
    for _ in range(2):
        y = d.node("Relu", d.node("InstanceNormalization", y, scale, shift))
    data, x = d.file(y), d.normal(1, 3, 4, 4)
    [want], [got] = run(data, x), run(to_half(data), x)
    assert np.abs(got - want).max() < 0.02


def test_eight_bits_have_no_half_precision() -> None:
    d = Drawing(1, 3, 4, 4)
    data = d.file(d.node("Conv", d.quantised("x"), d.weight(2, 3, 1, 1)))
    for change in (to_half, to_bfloat):
        with pytest.raises(ConfigError, match="--precision int8"):
            change(data)
    with pytest.raises(ConfigError, match="quantised to 8 bits"):
        calibrated(data, [])


# --- 8 bits after training --------------------------------------------------------------------


@every_family
@pytest.mark.parametrize("runtime", PASSES)
def test_eight_bits_after_training_keep_the_picture_roughly(name: str, runtime: Runtime) -> None:
    """On noise through random weights; on trained networks see ADR 32."""
    wiring, (_, data) = WIRINGS[name], traced_file(name)
    small = calibrated(data, [feed(wiring, seed) for seed in range(1, 4)], runtime=runtime)
    assert 0 < off(small, name) < 16 * GREY
    assert ends(small) == ends(data)
    graph = kinds(small)
    assert graph.count("QuantizeLinear") >= graph.count("Conv") - 4  # those that write a picture


def net(*, act: str = "Relu", o: int = 6) -> bytes:
    d = Drawing(1, 3, 8, 8)
    y = d.node("Conv", d.node(act, "x"), d.constant(d.normal(o, 3, 3, 3)), d.constant(d.normal(o)))
    return d.file(d.node("Relu", y))


def input_steps(data: bytes) -> list[float]:
    editor = Editor(data)
    return [
        float(step) for n in editor.nodes if n.op_type == "QuantizeLinear"
        if (step := editor.array(n.input[1])) is not None
    ]  # fmt: skip


def test_calibration_sees_every_feed_once_and_says_how_many() -> None:
    """The largest value of all feeds is in the range, wherever among them it is."""
    for largest in (0, 5, 11):
        said: list[int] = []

        def feeds(largest: int = largest) -> Iterator[dict[str, Array]]:
            for k in range(12):
                x = np.full((1, 3, 8, 8), 51.0 if k == largest else 1.0, np.float32)
                yield {"x": x}

        small = calibrated(net(), feeds(), runtime="openvino", progress=said.append)
        assert input_steps(small) == [pytest.approx(51 / 255)]
        assert said == list(range(1, 13))


def test_what_cannot_be_calibrated_on_is_refused_with_its_reason() -> None:
    good = np.ones((1, 3, 8, 8), np.float32)
    with pytest.raises(ConfigError, match="nothing to calibrate on"):
        calibrated(net(), [])
    with pytest.raises(ConfigError, match="feed 2 has y; the network reads x"):
        calibrated(net(), [{"x": good}, {"y": good}])
    with pytest.raises(ConfigError, match="'x' of feed 1 has values that are no finite"):
        calibrated(net(), [{"x": good * np.nan}])
    for runtime in PASSES:
        with pytest.raises(ExportError, match="float network sound"):
            calibrated(net(act="Log"), [{"x": -good}], runtime=runtime)


def test_a_convolution_that_writes_a_picture_stays_float_in_onnxruntime_only() -> None:
    x = [{"x": np.random.default_rng(0).random((1, 3, 8, 8), np.float32)}]
    assert len(input_steps(calibrated(net(o=3), x, runtime="onnxruntime"))) == 0
    assert len(input_steps(calibrated(net(o=3), x, runtime="openvino"))) == 1
    assert len(input_steps(calibrated(net(), x, runtime="onnxruntime"))) == 2


# --- channels before a norm ----------------------------------------------------------------------


def uneven(*, int8: bool = False, shuffled: bool = False) -> tuple[bytes, Array]:
    """A convolution whose channels differ a thousandfold and have offsets, one silent; a norm."""
    d = Drawing(1, 4, 8, 8)
    scale = np.float32([1e-1, 1, 10, 100, 0, 1, 1, 1][: 8 if shuffled else 5])
    o = len(scale)
    if int8:
        w = d.weight(o, 4, 3, 3)
        step = onnx.numpy_helper.to_array(d.constants[1]) * np.maximum(scale, 1e-2)
        d.constants[1].CopyFrom(onnx.numpy_helper.from_array(step.astype(np.float32), "c1"))
        x = d.quantised("x", zero=np.uint8(128))
    else:
        w, x = d.constant(d.normal(o, 4, 3, 3) * scale.reshape(-1, 1, 1, 1)), "x"
    y = d.node("Conv", x, w, d.constant(50 * scale))
    c = 2 if shuffled else o
    y = d.node("DepthToSpace", y, blocksize=2, mode="CRD") if shuffled else y
    parts = d.constant(1 + np.arange(c, dtype=np.float32)), d.constant(d.normal(c))
    return d.file(d.node("InstanceNormalization", y, *parts, epsilon=1e-12)), d.normal(1, 4, 8, 8)


@pytest.mark.parametrize(
    ("int8", "shuffled"), [(False, False), (True, False), (False, True)],
    ids=["float", "8 bits", "four places"],
)  # fmt: skip
def test_channels_that_a_norm_reads_fill_one_range_and_give_the_same(
    int8: bool, shuffled: bool
) -> None:
    data, x = uneven(int8=int8, shuffled=shuffled)
    editor = Editor(data)
    [name] = [n.output[0] for n in normed_convolutions(editor)]
    even_sums(editor, channel_ranges(data, [name], [{"x": x}]))
    even = editor.to_bytes()
    [want], [got] = run(data, x), run(even, x)
    assert np.abs(got - want).max() < 1e-3
    low, high = channel_ranges(even, [name], [{"x": x}])[name]
    if shuffled:
        low, high = low.reshape(2, 4).min(1), high.reshape(2, 4).max(1)
    loud = high - low > 0.5
    assert loud.sum() >= len(loud) - 1
    np.testing.assert_allclose(low[loud], -RANGE, rtol=1e-3)
    np.testing.assert_allclose(high[loud], RANGE, rtol=1e-3)
