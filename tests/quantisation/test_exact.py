"""The exact 8-bit form: steps that are powers of two, and the same picture in onnxruntime."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

import pytest
import torch
from nets import Wiring, difference, each, every_wiring, photos
from thin import thinned
from torch import nn

from ganpress.channels.take import Elastic, like
from ganpress.errors import ExportError
from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.layerwise import Session
from ganpress.formats.exporters.onnx import session, to_bytes
from ganpress.formats.exporters.verify import claims_exactness, compare
from ganpress.methods.gan_slimming.settings import SlimConfig
from ganpress.models.checkpoint import Model, load, save
from ganpress.nn.axes import widths
from ganpress.nn.layers import quantisable
from ganpress.nn.norms import BatchNorm2d, InstanceNorm2d
from ganpress.quantisation.attach import attach_quantiser
from ganpress.quantisation.exact import (
    ExactQuantiser,
    power_of_two,
    powers_of_two,
    quantiser_from_card,
)
from ganpress.quantisation.quantise import (
    FakeQuantiser,
    calibrate,
    input_step,
    learn_ranges,
    quantise,
    range_of,
    ranges_of,
    set_ranges,
)

EXACT = ExactQuantiser(per_channel=True)
WIRINGS = {
    "cyclegan affine": Wiring("cyclegan", {"affine": True, "blocks": 1, "downsamplings": 1}),
    "cyclegan batch": Wiring("cyclegan", {"norm": "batch", "blocks": 1, "downsamplings": 1}),
    "pix2pix": Wiring("pix2pix", {"downs": 3}),
    "cartoongan": Wiring("cartoongan", {"blocks": 1}),
}
CYCLEGAN = WIRINGS["cyclegan affine"]


def exact_net(wiring: Wiring, quantiser: FakeQuantiser = EXACT) -> nn.Module:
    """Calibrated on the tiny photos."""
    return calibrate(quantise(wiring.net(), quantiser), wiring.net(), *wiring.inputs())


def are_powers_of_two(x: torch.Tensor) -> bool:
    return bool((torch.frexp(x).mantissa == 0.5).all())


def test_a_power_of_two_is_the_next_at_or_above() -> None:
    for step, wanted in ((1.0, 1.0), (0.75, 1.0), (0.25, 0.25), (0.2500001, 0.5), (3e-9, 2**-28)):
        assert power_of_two(step) == wanted
        assert float(powers_of_two(torch.tensor(step))) == wanted
    steps = torch.logspace(-9, 3, 1000)
    lifted = powers_of_two(steps)
    assert are_powers_of_two(lifted)
    assert bool(((lifted >= steps) & (lifted < 2 * steps)).all())


@pytest.mark.parametrize("out_dim", [None, 0, 1])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weight_steps_are_powers_of_two_and_stay_when_rounded_again(
    out_dim: int | None, bits: int
) -> None:
    w = torch.randn(5, 7, 3, 3)
    exact = ExactQuantiser(bits, per_channel=out_dim is not None)
    step = exact.weight_step(w, out_dim=out_dim or 0)
    assert are_powers_of_two(step)
    levels = (w / step).round()
    assert levels.abs().max() <= 2 ** (bits - 1) - 1
    assert torch.equal(exact.weight_step(levels * step, out_dim=out_dim or 0), step)


@pytest.mark.parametrize("ranges", ["fixed", "calibrated", "learned"])
def test_activation_steps_are_powers_of_two_and_ranges_follow(ranges: str) -> None:
    net = quantise(CYCLEGAN.net(), EXACT)
    if ranges != "fixed":
        calibrate(net, CYCLEGAN.net(), photos())
    asked = {n: m.quantiser.p for n, m in quantisable(net).items()}
    if ranges == "learned":
        learn_ranges(net)
    before = net(photos())
    for name, layer in quantisable(net).items():
        step = input_step(layer)
        assert are_powers_of_two(torch.tensor(step))
        if layer.quantises_input:
            assert range_of(layer) == step * (127 if layer.signed else 255)
            assert 0.99 * asked[name] <= range_of(layer) < 2 * asked[name]
    final = ranges_of(net)
    assert torch.equal(set_ranges(quantise(net, EXACT), final)(photos()), before)


def test_a_learned_range_gets_the_gradient_of_the_range_that_acts() -> None:
    x, upstream = torch.randn(1000) * 3, torch.randn(1000)
    asked = torch.tensor(3.0, requires_grad=True)
    acting = torch.tensor(EXACT.resolved_range(3.0, signed=True), requires_grad=True)
    assert float(acting.detach()) == 127 / 32
    assert EXACT.resolved_range(4.0, signed=False) == 255 / 64  # the paper's 4, not 8
    made = EXACT.input(x, signed=True, learned=asked)
    wanted = FakeQuantiser().input(x, signed=True, learned=acting)
    assert torch.equal(made, wanted)
    made.backward(upstream)
    wanted.backward(upstream)
    assert asked.grad is not None and asked.grad != 0
    assert torch.equal(asked.grad, acting.grad)


def test_the_image_lies_on_int8_and_its_gradient_goes_straight_through() -> None:
    x = torch.tensor([-1.5, -1.0, -0.3, 0.0, 0.007, 0.9, 1.0], requires_grad=True)
    y = EXACT.image(x)
    levels = y.detach() * 128
    assert torch.equal(levels, levels.round())
    assert (float(levels.min()), float(levels.max())) == (-128, 127)
    y.sum().backward()
    assert torch.equal(x.grad, torch.tensor([0.0, 1, 1, 1, 1, 1, 0]))
    assert FakeQuantiser().image(x) is x


@each(WIRINGS)
def test_biases_lie_on_the_grid_of_their_sums(wiring: Wiring) -> None:
    net = exact_net(wiring)
    for layer in quantisable(net).values():
        if layer.bias is None:
            continue
        step = layer.quantiser.weight_step(layer.weight, out_dim=layer.out_dim).flatten()
        step = step * input_step(layer)
        made = layer.added_bias(layer.bias)
        assert torch.equal((made / step).round() * step, made)
        assert bool(((made - layer.bias).abs() <= 0.5 * step).all())
        made.sum().backward()
        assert torch.equal(layer.bias.grad, torch.ones_like(layer.bias))


@every_wiring
def test_what_reads_no_image_keeps_float_inputs_and_without_exact_nothing_changes(
    wiring: Wiring,
) -> None:
    net = exact_net(wiring, FakeQuantiser())
    for layer in quantisable(net).values():
        x = torch.randn(2, 3)
        assert layer.quantiser.image(x) is x
        assert layer.added_bias(layer.bias) is layer.bias
        assert not (layer.reads_image and layer.quantises_input)
    quantise(net, EXACT)
    assert net(*wiring.inputs()).isfinite().all()
    for layer in quantisable(net).values():
        if not (layer.reads_image or layer.quantises_input):
            assert layer.added_bias(layer.bias) is layer.bias
    plain = quantise(net, None)(*wiring.inputs())
    assert torch.equal(plain, wiring.net()(*wiring.inputs()))


@pytest.mark.parametrize(
    "norm", [InstanceNorm2d(5), InstanceNorm2d(5, affine=True), BatchNorm2d(5)]
)
def test_an_exact_norm_is_the_norm_in_double(norm: nn.Module) -> None:
    torch.manual_seed(0)
    for tensor in norm.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    x = 3 + torch.randn(2, 5, 16, 12)
    wanted = copy.deepcopy(norm).double().eval()(x.double())
    keys = list(norm.state_dict())
    norm.exact = True
    assert difference(norm.eval()(x).double(), wanted) < 2e-6
    assert list(norm.state_dict()) == keys
    assert torch.equal(norm.eval()(x[:1]), norm.eval()(x)[:1])
    other = copy.deepcopy(norm).train()
    trained = other(x)
    other.exact = False
    assert torch.equal(trained, other(x))


def test_quantising_says_which_norms_are_exact_and_copies_keep_it() -> None:
    def flags(net: nn.Module) -> set[bool]:
        return {m.exact for m in net.modules() if isinstance(m, InstanceNorm2d)}

    net = quantise(CYCLEGAN.net(), EXACT)
    assert flags(net) == flags(copy.deepcopy(net)) == {True}
    assert flags(like(net, CYCLEGAN.build, widths(net))) == {True}
    whole = Elastic(net)
    assert torch.equal(whole({}, photos()), net(photos()))
    assert flags(quantise(net, FakeQuantiser())) == flags(quantise(net, None)) == {False}


def test_saving_keeps_the_picture_to_the_bit_and_old_cards_are_not_exact(tmp_path: Path) -> None:
    model = CYCLEGAN.model()
    model.net = learn_ranges(exact_net(CYCLEGAN))
    again = load(save(model, tmp_path / "net.safetensors"))
    assert torch.equal(again(photos()), model(photos()))
    assert again.card()["quantiser"]["exact"] is True
    assert ranges_of(again.net) == ranges_of(model.net)
    card = FakeQuantiser().card()
    del card["exact"]
    assert quantiser_from_card(card) == FakeQuantiser()


def test_the_setting_reaches_the_network() -> None:
    config = SlimConfig.model_validate({"quantise": {"bits": 8, "exact": True}})
    net = CYCLEGAN.net()
    attach_quantiser(net, CYCLEGAN.net(), (photos(),), config.quantise)
    assert all(m.quantiser.exact for m in quantisable(net).values())


@functools.cache
def exported(name: str) -> tuple[Model, bytes, bytes]:
    """An exact network, its file, and that of its layers."""
    pytest.importorskip("onnxruntime", reason="needs ganpress[onnx]")
    pytest.importorskip("onnxscript", reason="needs ganpress[onnx]")
    from exports import both_files

    model = WIRINGS[name].model()
    model.net = exact_net(WIRINGS[name])
    return model, *both_files(model, Form(WIRINGS[name].pixels))


@pytest.mark.parametrize("name", thinned(WIRINGS, 1))
def test_onnxruntime_makes_the_same_picture(name: str) -> None:
    model, data, layers = exported(name)
    assert claims_exactness(model)
    form = Form(WIRINGS[name].pixels)
    assert compare(model, data, session, form, layers=layers).most <= 1e-6


def test_a_channel_without_variance_is_the_same_picture_too() -> None:
    """CartoonGAN's epsilon of 1e-9, which onnxscript's optimiser takes for zero."""
    pytest.importorskip("onnxruntime", reason="needs ganpress[onnx]")
    pytest.importorskip("onnxscript", reason="needs ganpress[onnx]")
    model = WIRINGS["cartoongan"].model()
    model.net = exact_net(WIRINGS["cartoongan"])
    with torch.no_grad():
        model.net.stem.conv.weight[0] = 0
    from exports import both_files

    data, layers = both_files(model, Form(32))
    assert compare(model, data, session, Form(32), layers=layers).most <= 1e-6


@pytest.mark.parametrize("biases", [True, False])
def test_openvino_makes_the_same_picture_of_a_file_that_was_made_for_onnxruntime(
    biases: bool,
) -> None:
    """Without biases before norms as in the published CartoonGANs. OpenVINO 2026.4 by itself is 70
    grey levels off there, and 100 behind quantised transposed convolutions."""
    pytest.importorskip("openvino", reason="needs ganpress[openvino]")
    pytest.importorskip("onnxscript", reason="needs ganpress[onnx]")
    from ganpress.formats.exporters import openvino

    model, wiring = WIRINGS["cartoongan"].model(), WIRINGS["cartoongan"]
    with torch.no_grad():
        for layer in quantisable(model.net).values():
            layer.weight.mul_(8)
            if layer.bias is not None and not biases:
                layer.bias.zero_()
    observed = copy.deepcopy(model.net)
    calibrate(quantise(model.net, EXACT), observed, *wiring.inputs())
    made = openvino.runner(to_bytes(model, Form(32)), ("image",))(photos(1))
    assert model(photos(1)).std() > 0.1
    assert (made - model(photos(1))).abs().mean() < 0.1 / 127.5


def test_an_exact_network_that_is_a_little_off_is_refused() -> None:
    model, whole, layers = exported("cyclegan affine")

    def off(data: bytes) -> Session:
        run = session(data)
        return lambda fed: {n: y + 5e-6 for n, y in run(fed).items()}

    with pytest.raises(ExportError, match="since it is exact"):
        compare(model, whole, off, Form(32), layers=layers)
