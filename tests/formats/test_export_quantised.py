"""An 8-bit network of every family makes in onnxruntime the picture it makes in torch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from exports import FREE, LEAST, SHALLOW, in_eight_bits
from nets import Wiring, every_wiring, photos
from thin import thinned
from torch import Tensor

from ganpress.errors import ExportError
from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.graph import optimised
from ganpress.formats.exporters.layerwise import FEED, Session, check_layers, cut, layer_inputs
from ganpress.formats.exporters.onnx import runner, session, to_bytes
from ganpress.formats.exporters.opset import at_opset
from ganpress.formats.exporters.verify import (
    GREY,
    NEAR,
    Tolerance,
    agreement,
    compare,
    own_noise,
    smooth,
)
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import reads
from ganpress.quantisation.quantise import (
    FakeQuantiser,
    calibrate,
    learn_ranges,
    quantise,
    ranges_of,
    set_ranges,
)

onnx = pytest.importorskip("onnx", reason="needs ganpress[onnx]")

helper, numpy_helper = onnx.helper, onnx.numpy_helper

TWO = Form(32, batch=2)
QUANTISERS = {
    "clamped": FakeQuantiser(trunk="clamped"),
    "gs2020": FakeQuantiser(levels="gs2020"),
    "5 bits": FakeQuantiser(bits=5, per_channel=True),
    "last float": FakeQuantiser(last="float"),
}


def test_the_quantiser_s_settings_are_those_of_the_file() -> None:
    """On a net so shallow that single roundings do not add up to a grey level."""
    for name, quantiser in QUANTISERS.items():
        model = SHALLOW.model()
        calibrate(quantise(model.net, quantiser), SHALLOW.net(), photos())
        found = agreement(
            model,
            runner(to_bytes(model, TWO), reads(model)),
            [(photos(seed=7),)],
        )
        assert found.mean < 0.1 * GREY, name
        assert found.near > 0.999, name


@pytest.mark.parametrize("name", thinned(LEAST, lambda name: name in ("cartoongan", "pix2pix")))
def test_an_eight_bit_network_of_every_family_is_the_same_in_onnxruntime(name: str) -> None:
    """Half a grey level and 99 % in two, or no further off than torch is from itself."""
    model, layers = in_eight_bits(name)
    data = at_opset(optimised(layers))
    form = Form(LEAST[name].pixels, dynamic=True)
    found = compare(model, data, session, form, layers=layers)
    strict = found.mean < 0.5 * GREY and found.near >= 0.99
    assert strict == (found.noise is None)
    if found.noise is not None:
        assert found.mean <= 2 * found.noise


def test_learned_ranges_are_those_of_the_file() -> None:
    model = SHALLOW.model()
    calibrate(quantise(model.net, FakeQuantiser()), SHALLOW.net(), photos())
    for n, p in learn_ranges(model.net).named_parameters():
        if n.endswith(".range"):
            p.data.mul_(0.7)
    data = to_bytes(model, TWO)
    run, x = runner(data, reads(model)), photos(seed=7)
    assert (run(x) - model(x)).abs().mean() < 0.1 * GREY
    fixed = copy.deepcopy(model)
    set_ranges(quantise(fixed.net, FakeQuantiser()), ranges_of(model.net))
    assert torch.equal(runner(to_bytes(fixed, TWO), reads(model))(x), run(x))


@every_wiring
def test_verification_sees_smooth_pictures_and_noise(wiring: Wiring) -> None:
    model, x = wiring.model(), wiring.inputs()
    smoothed = smooth(model, x)
    for name, given, made in zip(reads(model), x, smoothed, strict=True):
        assert made.shape == given.shape
        assert (made is given) == (name != "image")
        if name == "image":
            assert made.abs().max() <= 1

            def step(t: Tensor) -> Tensor:
                return (t[..., 1:] - t[..., :-1]).abs().mean()

            assert step(made) < 0.35 * step(given)
            assert made.std() > 0.2


@pytest.fixture(scope="module")
def calm() -> tuple[Model, bytes]:
    """A net so shallow that its own noise is small."""
    model = SHALLOW.model()
    calibrate(quantise(model.net, FakeQuantiser()), SHALLOW.net(), photos())
    return model, to_bytes(model, TWO, passes=False)


@pytest.fixture(scope="module")
def chaotic() -> tuple[Model, bytes]:
    """A net whose picture is off by grey levels when its input changes by 1e-5."""
    model, data = in_eight_bits("cartoongan")
    assert own_noise(model, [LEAST["cartoongan"].inputs()]) > GREY
    return model, data


def scaled(graph: onnx.GraphProto, name: str, by: float) -> None:
    """Multiply a tensor of the file."""
    [tensor] = [t for t in graph.initializer if t.name == name]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(by), name))


def before(graph: onnx.GraphProto, output: str, op: str, *inputs: str, **attributes: Any) -> None:
    """Put a node between a value and the node that made it."""
    [at] = [i for i, node in enumerate(graph.node) if output in node.output]
    graph.node[at].output[0] = "inner"
    graph.node.insert(at + 1, helper.make_node(op, ["inner", *inputs], [output], **attributes))


def number(graph: onnx.GraphProto, name: str, value: Any) -> str:
    graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    return name


def last_quantiser(graph: onnx.GraphProto) -> onnx.NodeProto:
    return [n for n in graph.node if n.op_type == "QuantizeLinear"][-1]


def quantiser_scale(graph: onnx.GraphProto) -> None:
    """One of the activations' steps 2 % too large."""
    scaled(graph, last_quantiser(graph).input[1], 1.02)


def weight_scale(graph: onnx.GraphProto) -> None:
    """The last weight's step 2 % too large."""
    convolution = [n for n in graph.node if n.op_type == "Conv"][-1]
    [dequantise] = [n for n in graph.node if convolution.input[1] in n.output]
    scaled(graph, dequantise.input[1], 1.02)


def dropped_bias(graph: onnx.GraphProto) -> None:
    """The last bias is not there."""
    scaled(graph, [n for n in graph.node if n.op_type == "Add"][-1].input[1], 0.0)


def offset(graph: onnx.GraphProto) -> None:
    """The picture 0.6 grey levels too bright."""
    before(graph, "image_out", "Add", number(graph, "by", np.float32(0.6 * GREY)))


def clamp(graph: onnx.GraphProto) -> None:
    """One layer's range cut to a half."""
    step = last_quantiser(graph).input[1]
    [step] = [numpy_helper.to_array(t) for t in graph.initializer if t.name == step]
    low, high = number(graph, "low", np.float32(0)), number(graph, "high", 128 * step)
    before(graph, last_quantiser(graph).input[0], "Clip", low, high)


def swapped_channels(graph: onnx.GraphProto) -> None:
    """BGR in place of RGB."""
    before(graph, "image_out", "Gather", number(graph, "order", np.array([2, 1, 0])), axis=1)


WRONGS = (quantiser_scale, weight_scale, dropped_bias, offset, clamp, swapped_channels)


@pytest.mark.parametrize("net", ["calm", "chaotic"])
@pytest.mark.parametrize("wrong", WRONGS)
def test_a_wrong_file_is_found_whatever_the_network_s_noise(
    net: str, wrong: Callable[[onnx.GraphProto], None], request: pytest.FixtureRequest
) -> None:
    model, data = request.getfixturevalue(net)
    file = onnx.load_from_string(data)
    wrong(file.graph)
    form = TWO if net == "calm" else FREE
    with pytest.raises(ExportError, match="differs from torch"):
        compare(model, file.SerializeToString(), session, form)


def test_each_layer_fed_torch_s_values_is_torch_s_layer(chaotic: tuple[Model, bytes]) -> None:
    model, data = chaotic
    x = photos(seed=7)
    made = check_layers(model.net, data, session, {"image": x})
    assert len(made) == 1 + len(layer_inputs(model.net, (x,)))
    assert (made["image_out"] - model(x)).abs().max() < 1e-5


def test_biases_without_a_norm_behind_them_are_not_rounded(chaotic: tuple[Model, bytes]) -> None:
    """onnxruntime rounds a convolution's own bias to integers: 0.7 to 1.6 flips in a thousand."""
    model, data = chaotic
    x = photos(8, seed=7)
    wanted = layer_inputs(model.net, (x,))
    fed, made = cut(data, wanted)
    found = session(fed)({"image": x, **{layer + FEED: q for layer, q in wanted.items()}})
    assert made.keys() == wanted.keys()
    for layer, output in made.items():
        assert (found[output] - wanted[layer]).abs().gt(1e-6).float().mean() < 2e-4, layer


def test_a_quantised_network_as_a_whole_is_judged_by_what_is_asked_or_by_its_own_noise(
    calm: tuple[Model, bytes],
) -> None:
    model, data = calm

    def off(by: float) -> Callable[[bytes], Session]:
        """The whole file off by as much; its layers are right."""

        def open_(read: bytes) -> Session:
            run, extra = session(read), by if read == data else 0.0
            return lambda fed: {n: y + extra for n, y in run(fed).items()}

        return open_

    assert compare(model, data, off(0.3 * GREY), TWO).noise is None
    with pytest.raises(ExportError, match="99 %"):
        compare(model, data, off(0.06), TWO)  # more than is allowed to any network
    wide = Tolerance(GREY, 0.0)
    assert compare(model, data, off(0.6 * GREY), TWO, quantised=wide).noise is None
    assert NEAR == 2 * GREY
