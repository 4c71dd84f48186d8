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
from nets import Wiring
from thin import thinned
from torch import nn

from ganpress.formats.exporters import export, verify
from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.graph.early import quantise_early
from ganpress.formats.exporters.graph.editor import Editor
from ganpress.formats.exporters.graph.quantised import weight_of
from ganpress.formats.exporters.onnx import session, to_bytes
from ganpress.formats.exporters.plain import export_plain
from ganpress.models.checkpoint import Model, load, save
from ganpress.models.forms import integer_form
from ganpress.nn.integer_layers import output_grids
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
    return quantised, to_bytes(quantised, form_of(name))


def form_of(name: str) -> Form:
    return Form(LEAST_OF[name].pixels)


def check(model: Model, data: bytes, form: Form) -> verify.Agreement:
    """As an export does it: layer by layer to single roundings, and as a whole."""
    return verify.compare(model, data, session, form, layers=to_bytes(model, form, passes=False))


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
    model, data = file_of(name)
    assert check(model, data, form_of(name)).mean < verify.NOISE_MOST


def test_a_scale_for_the_tensor_becomes_one_for_each_channel() -> None:
    model, data = file_of("cyclegan", per_channel=False)
    assert check(model, data, form_of("cyclegan")).mean < verify.NOISE_MOST
    graph = onnx.load_from_string(data).graph
    shapes = {i.name: tuple(i.dims) for i in graph.initializer}
    scaled = [n.input for n in graph.node if n.op_type == "DequantizeLinear"]
    weights = [(shapes[of], shapes[scale]) for of, scale, *_ in scaled if of in shapes]
    behind_norms = [(shape, scale) for shape, scale in weights if len(shape) == 4]
    assert len(behind_norms) == 5
    assert all(scale == shape[:1] for shape, scale in behind_norms)


@pytest.mark.parametrize("per_channel", [True, False])
def test_levels_stay_and_steps_take_the_norms_scale_in(per_channel: bool) -> None:
    """Against the levels that the student's own file stores, and torch's formula of BatchNorm."""
    model, data = file_of("cyclegan", per_channel)
    editor = Editor(data)
    convs = [n for n in editor.nodes if n.op_type == "Conv"]
    net: Any = model.net
    block = net.blocks[0]
    pairs = [(net.stem.conv, net.stem.norm), (net.down1.conv, net.down1.norm)]
    pairs += [(block.conv1, block.norm1), (block.conv2, block.norm2), (net.up1.conv, net.up1.norm)]
    assert len(convs) == len(pairs) + 1
    found = {w.levels.shape: w for w in (weight_of(editor, n) for n in convs) if w is not None}
    for layer, norm in pairs:
        levels, step = layer.quantiser.weight_integers(layer.weight, out_dim=0)
        factor = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
        factor = factor.repeat_interleave(len(layer.weight) // len(factor)).view(-1, 1, 1, 1)
        want = levels.float() * step * factor
        weight = found[tuple(levels.shape)]
        assert np.array_equal(np.abs(weight.levels), levels.abs().numpy())
        assert np.allclose(weight.levels * weight.step.reshape(-1, 1, 1, 1), want, 1e-5, 1e-9)


def test_a_level_without_an_opposite_keeps_its_norm() -> None:
    """int8 has -128, but not 128, which a scale below 0 would need."""
    model, inputs = formed(SHALLOW, negative=False)
    stem: Any = model.net.stem
    with torch.no_grad():
        stem.conv.weight[0, 0, 0, 0] = -2 * stem.conv.weight.abs().max()
        stem.norm.weight[0].neg_()
    full = in_integers(model, inputs, weight_levels="full", per_channel=True)
    data = to_bytes(full, Form(32))
    assert kinds(data)["BatchNormalization"] == 1
    check(full, data, Form(32))


def moved(
    nodes: list[Any], x: torch.Tensor, others: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, Counter[str], list[str]]:
    """What a graph of these nodes makes of x before and after quantisers have moved, which kinds it
    then has, and in which order."""
    helper, tensor = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", tensor.FLOAT, list(x.shape))],
        [helper.make_tensor_value_info("y", tensor.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in others.items()],
    )
    opset = helper.make_opsetid("", 17)
    before = helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    editor = Editor(before)
    quantise_early(editor)
    after = editor.to_bytes()
    order = [node.op_type for node in onnx.load_from_string(after).graph.node]
    made = [run(data, (x,), optimised=False) for data in (before, after)]
    return made[0], made[1], kinds(after), order


GRID = {"step": np.float32(0.03), "zero": np.uint8(0)}


def test_quantisers_move_before_joined_and_cut_channels_and_change_no_bit() -> None:
    node = onnx.helper.make_node
    x = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 2
    nodes = [
        node("Neg", ["x"], ["n"]),
        node("LeakyRelu", ["x"], ["l"]),
        node("Concat", ["n", "l"], ["c"], axis=1),
        node("Relu", ["c"], ["r"]),
        node("Slice", ["r", "from", "to", "dims"], ["s"]),
        node("QuantizeLinear", ["s", "step", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "step", "zero"], ["d"]),
        node("Sub", ["d", "half"], ["y"]),
    ]
    ends = {"from": np.array([1, 1]), "to": np.array([5, 5]), "dims": np.array([2, 3])}
    before, after, found, order = moved(nodes, x, {**GRID, **ends, "half": np.float32(0.5)})
    assert np.array_equal(before, after) and after.shape == (1, 6, 4, 4)
    assert found["QuantizeLinear"] == 2 and found["DequantizeLinear"] == 1
    assert max(k for k, kind in enumerate(order) if kind == "QuantizeLinear") < order.index("Slice")


def test_a_value_that_something_else_reads_is_not_rounded_for_it() -> None:
    """What is joined goes into a sum as well, as it is."""
    node = onnx.helper.make_node
    x = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 2
    nodes = [
        node("LeakyRelu", ["x"], ["l"]),
        node("Concat", ["l", "x"], ["c"], axis=1),
        node("QuantizeLinear", ["c", "step", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "step", "zero"], ["d"]),
        node("Concat", ["l", "l"], ["twice"], axis=1),
        node("Add", ["d", "twice"], ["y"]),
    ]
    before, after, found, _ = moved(nodes, x, dict(GRID))
    assert np.array_equal(before, after)
    assert found["QuantizeLinear"] == 2


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
