"""Parameters and MACs of exported files, against arithmetic and against the model's own count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exports import LEAST, SHALLOW
from graphs import convolving, costs, onnx_file, weight, written
from nets import Wiring
from onnx import TensorProto, helper
from thin import thinned
from torch.utils.flop_counter import FlopCounterMode

import ganpress
from ganpress.errors import CheckpointError, ConfigError
from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.measures.cost import measure
from ganpress.measures.files.cost import file_bytes, measure_file, precision_of
from ganpress.models.checkpoint import Model
from ganpress.quantisation.quantise import FakeQuantiser, quantise


def as_openvino(data: bytes, at: Path) -> Path:
    openvino = pytest.importorskip("openvino")
    openvino.save_model(openvino.Core().read_model(data), at, compress_to_fp16=False)
    return at


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
@pytest.mark.parametrize("dims", [("n", 3, "h", "w"), (1, 3, 12, 20)])
def test_convolutions_of_all_kinds_cost_what_arithmetic_says(
    kind: str, dims: tuple[int | str, ...], tmp_path: Path
) -> None:
    data = convolving(dims)
    path = written(tmp_path / "a.onnx", data)
    if kind == "openvino":
        path = as_openvino(data, tmp_path / "a.xml")
    found = measure_file(path, size=(12, 20))
    wanted = costs(12, 20)
    assert {name: getattr(found, name) for name in wanted} == wanted
    assert found.precision == precision_of(path) == "fp32"


def test_the_cost_is_of_one_picture_of_a_batch(tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx", convolving((4, 3, 12, 20)))
    assert measure_file(path).macs == costs(12, 20)["macs"]


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_products_of_matrices_are_counted_apart(kind: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gemm", ["z", "w0", "b0"], ["x0"], transB=1),
        helper.make_node("MatMul", ["x0", "w1"], ["made"]),
    ]
    weights = {"w0": weight(7, 5), "b0": weight(7), "w1": weight(7, 11)}
    data = onnx_file(nodes, {"z": (2, 5)}, ["made"], weights)
    path = written(tmp_path / "a.onnx", data)
    if kind == "openvino":
        path = as_openvino(data, tmp_path / "a.xml")
    found = measure_file(path)
    assert (found.macs, found.macs_linear) == (0, 5 * 7 + 7 * 11)
    assert found.params == 5 * 7 + 7 + 7 * 11


def test_a_transposed_first_operand_is_summed_over_its_rows(tmp_path: Path) -> None:
    node = helper.make_node("Gemm", ["z", "w"], ["made"], transA=1)
    data = onnx_file([node], {"z": (1, 3)}, ["made"], {"w": weight(1, 7)})
    assert measure_file(written(tmp_path / "a.onnx", data)).macs_linear == 3 * 7 * 1


def test_shapes_that_inference_leaves_open_are_found_by_a_run(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonZero", ["image"], ["where"]),  # of a shape that depends on values
        helper.make_node("Shape", ["where"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["count"]),
        helper.make_node("Mul", ["count", "zero"], ["none"]),
        helper.make_node("Add", ["none", "sides"], ["target"]),
        helper.make_node("Reshape", ["image", "target"], ["x"]),
        helper.make_node("Conv", ["x", "w"], ["made"]),
    ]
    weights = {
        "one": np.array([1]), "zero": np.array([0]), "sides": np.array([1, 3, 4, 6]),
        "w": weight(5, 3, 1, 1),
    }  # fmt: skip
    data = onnx_file(nodes, {"image": (1, 3, 2, 12)}, ["made"], weights)
    found = measure_file(written(tmp_path / "a.onnx", data))
    assert found.macs == 24 * 3 * 5
    assert found.params == 15  # and none of the shapes


def test_scales_and_zero_points_of_quantisers_are_no_parameters(tmp_path: Path) -> None:
    model = SHALLOW.model()
    quantise(model.net, FakeQuantiser(per_channel=True))
    path = written(tmp_path / "a.onnx", to_bytes(model, Form(SHALLOW.pixels), passes=False))
    found, own = measure_file(path), measure(model.net, SHALLOW.pixels)
    assert found.precision == precision_of(path) == "int8"
    assert found.macs == own.macs
    assert 0.98 * own.params <= found.params <= own.params


def test_biases_of_integer_convolutions_are_parameters_and_their_scales_are_none(
    tmp_path: Path,
) -> None:
    """Operators as onnxruntime's quantiser writes them, a scale for each output channel."""
    reads = ["image", "s", "z", "w", "scales", "zeros", "s", "z", "bias"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["image"]),
        helper.make_node("QLinearConv", reads, ["small"]),
        helper.make_node("DequantizeLinear", ["small", "s", "z"], ["made"]),
    ]
    given = {
        "s": np.float32(0.1), "z": np.uint8(0), "w": np.ones((5, 3, 3, 3), np.int8),
        "scales": np.full(5, 0.1, np.float32), "zeros": np.zeros(5, np.int8),
        "bias": np.ones(5, np.int32),
    }  # fmt: skip
    data = onnx_file(nodes, {"x": (1, 3, 8, 8)}, ["made"], given)
    assert measure_file(written(tmp_path / "a.onnx", data)).params == 5 * 3 * 9 + 5
    nodes[1] = helper.make_node("QLinearConv", reads[:-1], ["small"])
    data = onnx_file(nodes, {"x": (1, 3, 8, 8)}, ["made"], given)
    assert measure_file(written(tmp_path / "b.onnx", data)).params == 5 * 3 * 9


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_by_how_much_a_picture_is_enlarged_is_no_parameter(kind: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Resize", ["x", "", "by"], ["large"], mode="nearest"),
        helper.make_node("Conv", ["large", "w"], ["made"]),
    ]
    given = {"by": np.array([1, 1, 2, 2], np.float32), "w": weight(5, 3, 1, 1)}
    data = onnx_file(nodes, {"x": (1, 3, 4, 6)}, ["made"], given)
    path = written(tmp_path / "a.onnx", data)
    if kind == "openvino":
        path = as_openvino(data, tmp_path / "a.xml")
    found = measure_file(path)
    assert (found.params, found.macs) == (15, 8 * 12 * 15)


FAMILIES = {"cyclegan": SHALLOW, **LEAST}


@pytest.mark.parametrize(
    "family", thinned(FAMILIES, lambda name: name in ("cyclegan", "stylegan2"))
)
def test_an_exported_file_has_the_models_own_macs(family: str, tmp_path: Path) -> None:
    wiring: Wiring = FAMILIES[family]
    model = wiring.model()
    data = to_bytes(model, Form(wiring.pixels), passes=False)  # which can add MACs to save time
    found = measure_file(written(tmp_path / "a.onnx", data))
    assert (found.macs, found.macs_linear) == counted_by_torch(model, wiring)
    own = measure(model.net, wiring.pixels)
    if family != "stylegan2":  # whose blurs are convolutions, too
        assert (found.macs, found.macs_outres) == (own.macs, own.macs_outres)
    if family in ("cyclegan", "cartoongan", "pix2pix"):  # all of whose parameters make the picture
        assert 0.9 * own.params <= found.params <= 1.02 * own.params


def counted_by_torch(model: Model, wiring: Wiring) -> tuple[int, int]:
    """MACs of convolutions and of products of matrices, of one picture, by torch's own counter."""
    inputs = [t[:1].detach() for t in wiring.inputs()]
    model.net.requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        model(*inputs)
    flops = counter.get_flop_counts()["Global"]
    spatial = sum(n for op, n in flops.items() if "convolution" in str(op))
    return spatial // 2, (sum(flops.values()) - spatial) // 2


def test_bytes_are_those_on_disk_with_what_lies_beside(tmp_path: Path) -> None:
    import onnx

    data = convolving()
    xml = as_openvino(data, tmp_path / "a.xml")
    beside = xml.with_suffix(".bin").stat().st_size
    assert measure_file(xml, size=16).bytes == xml.stat().st_size + beside
    file = onnx.load_from_string(data)
    onnx.save(file, tmp_path / "b.onnx", save_as_external_data=True, location="b.weights",
              size_threshold=0)  # fmt: skip
    total = sum((tmp_path / name).stat().st_size for name in ("b.onnx", "b.weights"))
    assert file_bytes(tmp_path / "b.onnx") == total > (tmp_path / "b.onnx").stat().st_size


@pytest.mark.parametrize(
    ("kind", "name"), [(np.float16, "fp16"), (np.float32, "fp32")], ids=["half", "single"]
)
def test_a_float_file_has_the_precision_of_its_weights(
    kind: type, name: str, tmp_path: Path
) -> None:
    types = {"fp16": TensorProto.FLOAT16, "fp32": TensorProto.FLOAT}
    node = helper.make_node("Conv", ["image", "w"], ["made"])
    data = onnx_file(
        [node], {"image": (1, 3, 4, 4)}, ["made"], {"w": weight(2, 3, 1, 1).astype(kind)},
        kind=types[name],
    )  # fmt: skip
    assert precision_of(written(tmp_path / "a.onnx", data)) == name


def test_files_that_cannot_be_measured_say_why(tmp_path: Path) -> None:
    torn = written(tmp_path / "torn.onnx", convolving()[:100])
    with pytest.raises(CheckpointError, match=r"cannot load .*torn\.onnx"):
        ganpress.measure_file(torn)
    data = onnx_file(
        [helper.make_node("MatMul", ["x", "w"], ["made"])],
        {"x": ("n", "seq", 5)}, ["made"], {"w": weight(5, 2)},
    )  # fmt: skip
    path = written(tmp_path / "a.onnx", data)
    with pytest.raises(ConfigError, match=r"dim 1 \('seq'\).*--input x="):
        measure_file(path)
    assert measure_file(path, given={"x": (1, 3, 5)}).macs_linear == 3 * 5 * 2
