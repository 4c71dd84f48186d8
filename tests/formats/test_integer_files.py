"""Files of students made for integers: norms in the convolutions, integers from layer to layer."""

from __future__ import annotations

import copy
import functools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from exports import LEAST, SHALLOW
from nets import WIRINGS, Wiring, difference
from thin import thinned
from torch import nn

from ganpress.formats.exporters import export, verify
from ganpress.formats.exporters.folding import fold_norms, normed_layers, scale_and_shift
from ganpress.formats.exporters.hoisting import hoist_quantisers
from ganpress.formats.exporters.onnx import session, to_bytes
from ganpress.formats.exporters.plain import export_plain
from ganpress.models.checkpoint import Model, load, save
from ganpress.models.forms import integer_form
from ganpress.nn.integer_layers import output_grids
from ganpress.quantisation.exact import ExactQuantiser
from ganpress.quantisation.quantise import FakeQuantiser, calibrate, quantise, ranges_of
from ganpress.types import Inputs

onnx: Any = pytest.importorskip("onnx", reason="needs ganpress[onnx]")
ort: Any = pytest.importorskip("onnxruntime", reason="needs ganpress[onnx]")

LEAST_OF = {
    "cyclegan": SHALLOW,
    "pix2pix": Wiring("pix2pix", {"downs": 3, "norm": "instance"}),
    **{name: w for name, w in LEAST.items() if name in ("cartoongan", "gaugan", "munit")},
}
"""Of each family that the form changes (of SPADE: the norms in front of its modulation)."""


def formed(wiring: Wiring, *, negative: bool = True) -> tuple[Model, Inputs]:
    """The integer form of a tiny network, statistics read; some scales are below 0."""
    inputs = wiring.inputs(4)
    model = integer_form(wiring.model(), [inputs])
    for norm in model.net.modules():
        if negative and isinstance(norm, nn.BatchNorm2d) and norm.weight is not None:
            with torch.no_grad():
                norm.weight[::3].neg_()
    return model, inputs


def in_integers(model: Model, inputs: Inputs, **how: Any) -> Model:
    """The same with 8-bit layers, whose ranges are read."""
    plain = copy.deepcopy(model.net)
    settings = {"first": "int8", "outputs": "int8", **how}
    model = copy.deepcopy(model)
    calibrate(quantise(model.net, FakeQuantiser(**settings)), plain, *inputs)
    return model


@functools.cache
def file_of(name: str, per_channel: bool = True) -> tuple[Model, bytes]:
    model, inputs = formed(LEAST_OF[name])
    quantised = in_integers(model, inputs, per_channel=per_channel)
    return quantised, to_bytes(quantised)


def kinds(data: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(data).graph.node)


def run(data: bytes, inputs: Inputs, *, optimised: bool) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    opened = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [i.name for i in opened.get_inputs()]
    made: np.ndarray = opened.run(None, {n: t.numpy() for n, t in zip(names, inputs, strict=True)})[
        0
    ]
    return made


each_family = pytest.mark.parametrize(
    "name", thinned(LEAST_OF, lambda n: n in ("cyclegan", "pix2pix"))
)


@each_family
def test_no_node_is_left_that_runtimes_keep_in_float(name: str) -> None:
    found = kinds(file_of(name)[1])
    left = {"ConvTranspose", "BatchNormalization", "InstanceNormalization", "Pad"}
    if name == "gaugan":  # its free norms stand behind sums
        left -= {"BatchNormalization"}
    if name == "munit":  # AdaIN
        left -= {"InstanceNormalization"}
    assert not left & found.keys()


@each_family
def test_the_file_makes_the_fake_quantised_networks_pictures(name: str) -> None:
    """Layer by layer to single roundings, and as a whole."""
    model, data = file_of(name)
    found = verify.compare(model, data, session, LEAST_OF[name].pixels)
    assert found.mean < verify.NOISE_MOST


def test_a_scale_for_the_tensor_becomes_one_for_each_channel() -> None:
    model, data = file_of("cyclegan", per_channel=False)
    verify.compare(model, data, session, 32)


@pytest.mark.parametrize("per_channel", [True, False])
def test_levels_stay_and_steps_take_the_norms_scale_in(per_channel: bool) -> None:
    """Against the levels that the student's own file stores, and torch's formula of BatchNorm."""
    model, data = file_of("cyclegan", per_channel)
    tensors = {
        i.name: onnx.numpy_helper.to_array(i) for i in onnx.load_from_string(data).graph.initializer
    }
    looked = 0
    for layer, parent, name in normed_layers(model.net):
        path = next(n for n, m in model.net.named_modules() if m is layer)
        norm: Any = parent.get_submodule(name)
        levels, step = layer.quantiser.weight_integers(layer.weight, out_dim=layer.out_dim)  # type: ignore[union-attr]
        factor = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
        rows = len(layer.weight) // len(factor)
        factor = factor.repeat_interleave(rows)
        want = (levels.float() * step) * factor.view(-1, 1, 1, 1)
        got = tensors[f"{path}.quantiser.levels"] * tensors[f"{path}.quantiser.step"].reshape(
            -1, 1, 1, 1
        )
        assert np.abs(tensors[f"{path}.quantiser.levels"]).max() <= 127
        assert np.allclose(got, want.numpy(), rtol=1e-5, atol=1e-9)
        looked += 1
    assert looked == 5  # the stem, the halving, both of the block, the doubling


def test_a_float_network_with_its_norms_taken_in_makes_the_same_pictures() -> None:
    for name in ("cyclegan separable batch", "sngan", "gaugan", "pix2pix", "munit separable"):
        wiring = WIRINGS[name]
        model, inputs = formed(wiring)
        want = model.net.eval()(*inputs)
        count = sum(1 for _ in normed_layers(model.net))
        norms = [m for m in model.net.modules() if isinstance(m, nn.BatchNorm2d)]
        got = fold_norms(copy.deepcopy(model.net))
        left = [m for m in got.modules() if isinstance(m, nn.BatchNorm2d)]
        assert count > 0 and len(left) == len(norms) - count
        assert difference(got(*inputs), want) < 1e-4, name


def test_norms_of_classes_of_single_pictures_and_exact_ones_stay() -> None:
    for name in ("sngan conditional", "cyclegan affine"):
        assert not list(normed_layers(WIRINGS[name].net()))
    model, _ = formed(SHALLOW)
    quantise(model.net, ExactQuantiser())
    assert not list(normed_layers(model.net))


def test_a_level_without_an_opposite_keeps_its_norm() -> None:
    """int8 has -128, but not 128, which a scale below 0 would need."""
    model, inputs = formed(SHALLOW, negative=False)
    layer, parent, name = next(iter(normed_layers(model.net)))
    with torch.no_grad():
        layer.weight[0, 0, 0, 0] = -2 * layer.weight.abs().max()
        parent.get_submodule(name).weight[0].neg_()  # type: ignore[operator,union-attr]
    full = in_integers(model, inputs, weight_levels="full", per_channel=True)
    data = to_bytes(full)
    assert kinds(data)["BatchNormalization"] == 1
    verify.compare(full, data, session, 32)
    assert scale_and_shift(parent.get_submodule(name))[0][0] < 0


@each_family
def test_quantisers_that_move_up_change_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = file_of(name)
    monkeypatch.setattr("ganpress.formats.exporters.onnx.hoist_quantisers", lambda file: file)
    before = to_bytes(model)
    inputs = LEAST_OF[name].inputs(2)
    assert np.array_equal(run(before, inputs, optimised=False), run(data, inputs, optimised=False))
    if name in ("cyclegan", "pix2pix"):
        assert kinds(data)["QuantizeLinear"] > kinds(before)["QuantizeLinear"]


def test_a_value_that_something_else_reads_is_not_rounded_for_it() -> None:
    """Relu's output goes through a border to a quantiser, and as it is into a sum."""
    helper, tensor = onnx.helper, onnx.TensorProto
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Neg", ["x"], ["n"]),
            node("Relu", ["n"], ["r"]),
            node("Pad", ["r", "pads"], ["p"], mode="reflect"),
            node("QuantizeLinear", ["p", "step", "zero"], ["q"]),
            node("DequantizeLinear", ["q", "step", "zero"], ["d"]),
            node("Slice", ["d", "from", "to", "dims"], ["s"]),
            node("Add", ["r", "s"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", tensor.FLOAT, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("y", tensor.FLOAT, [1, 1, 4, 4])],
        [
            onnx.numpy_helper.from_array(np.array(a, dtype=t), n)
            for n, a, t in [
                ("pads", [0, 0, 1, 1, 0, 0, 1, 1], np.int64),
                ("step", 0.5, np.float32),
                ("zero", 0, np.uint8),
                ("from", [1, 1], np.int64),
                ("to", [5, 5], np.int64),
                ("dims", [2, 3], np.int64),
            ]
        ],
    )
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * -3
    before = run(file.SerializeToString(), (x,), optimised=False)
    after = run(hoist_quantisers(file).SerializeToString(), (x,), optimised=False)
    assert np.array_equal(before, after)
    assert sum(n.op_type == "QuantizeLinear" for n in file.graph.node) == 2


@pytest.mark.parametrize("name", ["cyclegan", "pix2pix"])
def test_onnxruntime_computes_convolutions_in_integers_but_where_floats_are_needed(
    name: str, tmp_path: Any
) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(file_of(name)[1], options, providers=["CPUExecutionProvider"])
    found = Counter(n.op_type for n in onnx.load(tmp_path / "optimised.onnx").graph.node)
    layers = sum(isinstance(m, nn.Conv2d) for m in file_of(name)[0].net.modules())
    floats = {"cyclegan": 2, "pix2pix": 1}[name]  # a trunk begins with a map that is summed, too
    assert found["QLinearConv"] == layers - floats


def test_outputs_on_grids_are_saved_loaded_and_written_in_plain_torch(tmp_path: Any) -> None:
    for name in ("cyclegan", "pix2pix"):
        model, _ = file_of(name)
        assert output_grids(model.net)
        back = load(save(model, tmp_path / f"{name}.safetensors"))
        inputs = LEAST_OF[name].inputs()
        assert ranges_of(back.net) == ranges_of(model.net)
        assert torch.equal(back(*inputs), model(*inputs))
        facts = export_plain(model, tmp_path / f"{name}.pth", 32)
        assert facts.max_abs_diff <= 1e-5


def test_an_output_is_rounded_to_all_levels_of_a_byte() -> None:
    q = FakeQuantiser(p=2.54, outputs="int8")
    x = torch.linspace(-4, 4, 1001, requires_grad=True)
    y = q.output(x)
    want = np.clip(np.round(x.detach().numpy() / np.float32(0.02)), -128, 127) * 0.02
    assert np.abs(y.detach().numpy() - want).max() < 1e-5
    assert len(y.detach().unique()) == 256
    y.sum().backward()
    inside = (x.detach() >= -2.56) & (x.detach() <= 2.54)
    assert x.grad is not None and torch.equal(x.grad, inside.float())


def test_openvino_makes_the_same_of_it(tmp_path: Any) -> None:
    pytest.importorskip("openvino", reason="needs ganpress[openvino]")
    facts = export(file_of("cyclegan")[0], tmp_path / "m.xml", to="openvino", size=32)
    assert facts.mean_abs_diff <= verify.NOISE_MOST
    guarded = [
        n for n in onnx.load_from_string(file_of("cyclegan")[1]).graph.node if n.op_type == "Max"
    ]
    assert len(guarded) == 1
