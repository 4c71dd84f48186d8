"""Fake quantisation: grids, ranges, gradients, and what a network carries."""

from __future__ import annotations

import pytest
import torch
from nets import Wiring, difference, every_wiring, photos
from torch import Tensor, nn

from ganpress.channels.take import Elastic, shrink
from ganpress.errors import ConfigError
from ganpress.nn.integer_layers import SubPixelConv2d
from ganpress.nn.layers import convolutions, quantisable, read_inputs
from ganpress.quantisation.attach import attach_quantiser, quantiser_of_settings
from ganpress.quantisation.exact import quantiser_from_card
from ganpress.quantisation.quantise import (
    FakeQuantiser,
    calibrate,
    fake_activation,
    fake_weight,
    learn_ranges,
    quantise,
    quantiser_of,
    ranges_of,
    set_ranges,
    weight_scale,
)
from ganpress.quantisation.settings import QuantiseSettings

LINE = torch.linspace(-6, 6, 20_001)


@pytest.mark.parametrize(
    ("bits", "signed", "levels", "count"),
    [
        (8, False, "int", 256),
        (8, True, "int", 255),
        (8, False, "gs2020", 257),
        (8, True, "gs2020", 257),
        (4, True, "gs2020", 17),
        (4, False, "int", 16),
        (4, True, "int", 15),
        (2, False, "int", 4),
        (2, True, "int", 3),
    ],
)
def test_activations_have_the_levels_their_bits_hold(
    bits: int, signed: bool, levels: str, count: int
) -> None:
    out = fake_activation(LINE, bits=bits, p=4.0, signed=signed, levels=levels)
    assert len(out.unique()) == count
    low = -4.0 if signed else 0.0
    assert (float(out.min()), float(out.max())) == (low, 4.0)


@pytest.mark.parametrize("p", [0.5, 4.0])
@pytest.mark.parametrize("bits", [3, 8])
def test_activations_equal_equation_7_in_double_precision(p: float, bits: int) -> None:
    for signed in (False, True):
        steps = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
        x = LINE.double()
        exact = (x.clamp(-p if signed else 0, p) / (p / steps)).round() * (p / steps)
        assert difference(fake_activation(x, bits=bits, p=p, signed=signed), exact) <= 1e-12
    paper = (LINE.double().clamp(0, p) * 2**bits / p).round() * p / 2**bits
    clamped = FakeQuantiser(bits=bits, p=p, levels="gs2020", trunk="clamped")
    out = clamped.input(LINE.double(), signed=True)
    assert difference(out, paper) <= 1e-12


def test_rounding_moves_an_activation_by_at_most_half_a_step() -> None:
    inside = torch.linspace(0, 4, 5001)
    assert difference(fake_activation(inside, p=4.0), inside) <= 0.5 * 4 / 255 + 1e-6
    assert torch.equal(fake_activation(torch.zeros(3), signed=True), torch.zeros(3))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("levels", ["int", "gs2020"])
def test_the_gradient_of_an_activation_is_1_inside_its_range_and_0_outside(
    signed: bool, levels: str
) -> None:
    low = -4.0 if signed else 0.0
    x = torch.tensor([-5.0, -4.1, -4.0, -2.0, -1e-3, 0.0, 1.7, 4.0, 4.01, 9.0], requires_grad=True)
    upstream = torch.randn(10)
    fake_activation(x, p=4.0, signed=signed, levels=levels).backward(upstream)
    inside = (x.detach() >= low) & (x.detach() <= 4.0)
    assert x.grad is not None
    assert torch.equal(x.grad, upstream * inside)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("bits", "levels"), [(8, "int"), (3, "int"), (3, "gs2020")])
def test_the_gradient_of_a_learned_range_is_that_of_equation_7_with_rounding_straight_through(
    signed: bool, bits: int, levels: str
) -> None:
    """Autograd through clamp, division and product, with only `round` taken for the identity."""
    x, upstream = LINE[::7].double(), torch.randn(LINE[::7].shape, dtype=torch.float64)
    p, q = (torch.tensor(1.7, dtype=torch.float64, requires_grad=True) for _ in range(2))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out = fake_activation(ours, bits=bits, p=p, signed=signed, levels=levels)
    steps = 2 ** (bits - signed) - (levels == "int")
    clamped = torch.minimum(torch.maximum(theirs, -q if signed else torch.zeros(())), q)
    v = clamped / (q / steps)
    exact = (v + (v.round() - v).detach()) * (q / steps)
    assert difference(out, exact) <= 1e-12
    out.backward(upstream)
    exact.backward(upstream)
    assert p.grad == pytest.approx(float(q.grad), rel=1e-9)
    inside = (x.abs() <= 1.7) if signed else (x >= 0) & (x <= 1.7)
    assert torch.equal(ours.grad, upstream * inside)
    assert difference(ours.grad, theirs.grad) <= 1e-12


def test_a_learned_range_gives_what_the_same_fixed_range_gives() -> None:
    for signed in (False, True):
        p = torch.tensor(2.5, requires_grad=True)
        out = fake_activation(LINE, p=p, signed=signed)
        assert torch.equal(out, fake_activation(LINE, p=2.5, signed=signed))
    assert fake_activation(LINE, p=torch.tensor(-3.0)).max() == pytest.approx(1e-3)


def test_training_a_range_finds_one_that_rounds_less() -> None:
    x = torch.randn(4096, generator=torch.Generator().manual_seed(0))
    for start in (0.2, 30.0):
        p = torch.tensor(start, requires_grad=True)
        optimiser = torch.optim.Adam([p], lr=0.1)
        for _ in range(400):
            optimiser.zero_grad()
            (fake_activation(x, bits=4, p=p, signed=True) - x).square().mean().backward()
            optimiser.step()
        error = (fake_activation(x, bits=4, p=p, signed=True) - x).square().mean()
        best = min(
            (fake_activation(x, bits=4, p=r / 10, signed=True) - x).square().mean()
            for r in range(5, 60)
        )
        assert error <= 1.05 * best


@pytest.mark.parametrize("trunk", ["signed", "clamped"])
@pytest.mark.parametrize("levels", ["int", "gs2020"])
def test_the_trunk_is_signed_or_cut_at_zero(trunk: str, levels: str) -> None:
    quantiser = FakeQuantiser(trunk=trunk, levels=levels)
    out = quantiser.input(LINE, signed=True)
    assert float(out.min()) == (-4.0 if trunk == "signed" else 0.0)
    assert float(quantiser.input(LINE, signed=False).min()) == 0.0


def test_an_activation_is_not_changed_in_place() -> None:
    x = torch.randn(50)
    before = x.clone()
    fake_activation(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize(("bits", "count"), [(8, 255), (4, 15), (2, 3)])
def test_weights_have_an_odd_number_of_levels_around_zero(bits: int, count: int) -> None:
    w = torch.cat([LINE, -LINE]).view(-1, 1, 1, 1)
    step = weight_scale(w, bits=bits)
    whole = fake_weight(w, bits=bits) / step
    assert difference(whole, whole.round()) <= 1e-4
    assert len(whole.round().unique()) == count
    assert float(whole.round().abs().max()) == (count - 1) / 2


def test_the_largest_weight_is_exactly_on_the_grid() -> None:
    w = torch.tensor([0.3, -1.7, 0.9]).view(3, 1, 1, 1)
    assert float(weight_scale(w)) == pytest.approx(1.7 / 127)
    assert float(fake_weight(w).min()) == pytest.approx(-1.7, rel=1e-6)


@pytest.mark.parametrize("out_dim", [0, 1])
def test_each_output_channel_can_have_a_scale_of_its_own(out_dim: int) -> None:
    w = torch.randn(5, 7, 3, 3) * torch.logspace(-3, 1, 5 if out_dim == 0 else 7).view(
        (-1, 1, 1, 1) if out_dim == 0 else (1, -1, 1, 1)
    )
    step = weight_scale(w, out_dim=out_dim)
    assert step.numel() == w.shape[out_dim]
    out = fake_weight(w, out_dim=out_dim)
    for i in range(w.shape[out_dim]):
        one, alone = out.select(out_dim, i), w.select(out_dim, i)
        assert difference(one, fake_weight(alone)) <= 1e-6 * float(alone.abs().max())
    relative = ((out - w).abs() / w.abs().amax([d for d in range(4) if d != out_dim], True)).max()
    assert relative <= 0.5 / 127 + 1e-6
    assert difference(fake_weight(w), w) > difference(out, w) / 2


def test_the_gradient_of_a_weight_is_1_everywhere() -> None:
    for out_dim in (None, 0):
        w = torch.randn(4, 3, 3, 3, requires_grad=True)
        upstream = torch.randn(4, 3, 3, 3)
        fake_weight(w, bits=3, out_dim=out_dim).backward(upstream)
        assert torch.equal(w.grad, upstream)


def test_weights_that_are_all_zero_stay_zero() -> None:
    assert torch.equal(fake_weight(torch.zeros(2, 2, 1, 1)), torch.zeros(2, 2, 1, 1))
    assert torch.equal(fake_weight(torch.zeros(2, 2, 1, 1), out_dim=0), torch.zeros(2, 2, 1, 1))


@pytest.mark.parametrize("bits", [-1, 0, 1, 9, 16, 32])
def test_bits_out_of_range_are_refused(bits: int) -> None:
    with pytest.raises(ConfigError, match=rf"2 to 8 bits, got {bits}"):
        quantise(nn.Sequential(), FakeQuantiser(bits=bits))


@every_wiring
def test_a_quantised_network_comes_back_to_float_bit_for_bit(wiring: Wiring) -> None:
    net, x = wiring.net(), wiring.inputs()
    before = net(*x)
    quantise(net, FakeQuantiser())
    assert quantiser_of(net) == FakeQuantiser()
    assert difference(net(*x), before) > 1e-4
    quantise(net, None)
    assert quantiser_of(net) is None
    assert torch.equal(net(*x), before)


@every_wiring
def test_every_convolution_hears_and_weighs_whole_steps_but_the_photo(wiring: Wiring) -> None:
    net = quantise(wiring.net(), FakeQuantiser(bits=4, p=2.0))
    heard: dict[str, Tensor] = {}
    for name, layer in convolutions(net).items():
        operands = layer.operands

        def listen(x: Tensor, name: str = name, operands=operands) -> tuple[Tensor, Tensor]:
            out = operands(x)
            heard[name] = out[0].detach()
            return out

        layer.operands = listen  # type: ignore[method-assign]
    net(*wiring.inputs())
    given = heard_by(wiring.net(), *wiring.inputs())
    assert heard.keys() == convolutions(net).keys() & given.keys()
    for name in heard:
        layer = net.get_submodule(name)
        if not layer.quantises_input:  # it reads what the network is given
            assert torch.equal(heard[name], given[name])
            continue
        step = 2.0 / (7 if layer.signed else 15)
        assert difference(heard[name] / step, (heard[name] / step).round()) <= 1e-4
        assert (float(heard[name].min()) < 0) <= layer.signed
        assert len(heard[name].unique()) <= (15 if layer.signed else 16)


def heard_by(net: nn.Module, *inputs: Tensor) -> dict[str, Tensor]:
    """What each convolution of a network reads."""
    return read_inputs(net, quantisable(net), inputs, lambda x: x)


@every_wiring
def test_gradients_reach_every_weight_of_a_quantised_network(wiring: Wiring) -> None:
    net = quantise(wiring.net().train(), FakeQuantiser())
    net(*wiring.inputs()).square().sum().backward()
    for name, layer in convolutions(net).items():
        if not wiring.runs(name):
            continue
        assert layer.weight.grad is not None, name
        assert layer.weight.grad.isfinite().all(), name
        assert layer.weight.grad.abs().max() > 0, name


@pytest.mark.parametrize("levels", ["int", "gs2020"])
@pytest.mark.parametrize("name", ["blocks.0.conv1", "blocks.0.conv2", "up1.conv", "up2.conv"])
@pytest.mark.parametrize("trunk", ["signed", "clamped"])
def test_the_gradients_of_a_quantised_layer_are_those_of_rounding_straight_through(
    name: str, trunk: str, levels: str
) -> None:
    """Convolutions, plain and transposed, beside equations 7-10 in autograd's hands."""
    net = Wiring("cyclegan").net().double()
    layer = net.get_submodule(name)
    quantise(net, FakeQuantiser(levels=levels, trunk=trunk))
    signed = layer.signed and trunk == "signed"
    x = 4 * torch.randn(2, layer.weight.shape[layer.out_dim ^ 1], 6, 6, dtype=torch.float64)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, upstream = layer(ours), torch.randn_like(layer(ours))
    (found,) = torch.autograd.grad(out, layer.weight, upstream, retain_graph=True)
    out.backward(upstream)

    top, w = 256 if levels == "gs2020" else 255, layer.weight
    if signed:
        top = 128 if levels == "gs2020" else 127
    inside, step = theirs.clamp(-4.0 if signed else 0.0, 4.0), w.detach().abs().max() / 127
    heard = inside + ((inside * top / 4).round() * 4 / top - inside).detach()
    weighed = w + ((w / step).round() * step - w).detach()
    how = {"stride": layer.stride, "padding": layer.padding}
    if layer.out_dim:
        how["output_padding"] = layer.output_padding
        exact = nn.functional.conv_transpose2d(heard, weighed, layer.bias, **how)
    else:
        exact = nn.functional.conv2d(heard, weighed, layer.bias, **how)
    assert difference(out, exact) <= 1e-9
    (wanted,) = torch.autograd.grad(exact, w, upstream, retain_graph=True)
    exact.backward(upstream)
    assert difference(found, wanted) <= 1e-9
    assert difference(ours.grad, theirs.grad) <= 1e-9
    assert 0 < int((ours.grad == 0).sum()) < ours.grad.numel()


@every_wiring
def test_more_bits_are_closer_to_float(wiring: Wiring) -> None:
    net, x = wiring.net(), wiring.inputs()
    with torch.no_grad():
        before = net(*x)
        error = {}
        for bits in (3, 5, 8):
            calibrate(quantise(net, FakeQuantiser(bits=bits)), wiring.net(), *x)
            error[bits] = float((net(*x) - before).abs().mean())
    assert error[8] < error[5] < error[3]


@every_wiring
def test_calibrated_ranges_are_what_the_layers_of_the_teacher_hear(wiring: Wiring) -> None:
    net, teacher, x = wiring.net(), wiring.net().train(), wiring.inputs()
    quantise(net, FakeQuantiser(bits=6))
    heard = {name: t.abs() for name, t in heard_by(wiring.net(), *x).items()}
    assert calibrate(net, teacher, *x) is net
    assert teacher.training
    ranges = ranges_of(net)
    assert ranges.keys() == quantisable(net).keys()
    assert {n for n in ranges if wiring.runs(n)} == heard.keys()
    for name in heard:
        share = float((heard[name] <= ranges[name] + 1e-6).float().mean())
        assert share >= 0.9999 - 1 / heard[name].numel(), name
        assert ranges[name] <= float(heard[name].max())
    assert {q.bits for q in (layer.quantiser for layer in convolutions(net).values())} == {6}


def test_ranges_can_be_written_down_and_put_back() -> None:
    wiring = Wiring("cyclegan")
    net = quantise(wiring.net(), FakeQuantiser())
    calibrate(net, wiring.net(), photos())
    ranges = ranges_of(net)
    other = set_ranges(quantise(wiring.net(), FakeQuantiser()), ranges)
    assert ranges_of(other) == ranges
    assert torch.equal(other(photos()), net(photos()))
    assert ranges_of(wiring.net()) == {}


def test_learned_ranges_go_on_from_those_that_are_put_back() -> None:
    net = learn_ranges(quantise(Wiring("cyclegan").net(), FakeQuantiser()))
    wanted = {name: 0.5 + 0.25 * k for k, name in enumerate(ranges_of(net))}
    assert ranges_of(set_ranges(net, wanted)) == wanted


@every_wiring
def test_learned_ranges_train_with_the_weights_and_are_fixed_exactly(wiring: Wiring) -> None:
    net, x = quantise(wiring.net(), FakeQuantiser(bits=4)), wiring.inputs()
    calibrate(net, wiring.net(), *x)
    before, started = net(*x), ranges_of(net)
    assert torch.equal(learn_ranges(net)(*x), before)
    learned = {n: p for n, p in net.named_parameters() if n.endswith(".range")}
    assert learned.keys() == {
        f"{n}.range" for n, layer in convolutions(net).items() if layer.quantises_input
    }
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    net(*x).square().sum().backward()
    optimiser.step()
    moved = ranges_of(net)
    for name in learned:
        layer = name.removesuffix(".range")
        assert (moved[layer] != started[layer]) == wiring.runs(name), name
    after = net(*x)
    assert ranges_of(set_ranges(quantise(net, FakeQuantiser(bits=4)), moved)) == moved
    assert not [n for n, _ in net.named_parameters() if n.endswith(".range")]
    assert torch.equal(net(*x), after)


@pytest.mark.parametrize("ranges", ["fixed", "calibrated", "learned"])
def test_ranges_are_fixed_read_off_or_learned_as_the_settings_say(ranges: str) -> None:
    wiring = Wiring("cyclegan")
    asked = QuantiseSettings.model_validate({"bits": 5, "p": 2.5, "ranges": ranges})
    net = wiring.net(1)
    attach_quantiser(net, wiring.net(), (photos(),), asked)
    by_hand = quantise(wiring.net(1), FakeQuantiser(bits=5, p=2.5))
    fixed = dict.fromkeys(quantisable(net), 2.5)
    read_off = ranges_of(calibrate(by_hand, wiring.net(), photos()))
    assert ranges_of(net) == (fixed if ranges == "fixed" else read_off)
    trained = [n for n, _ in net.named_parameters() if n.endswith(".range")]
    assert bool(trained) == (ranges == "learned")


def test_every_setting_of_the_quantiser_reaches_it_and_32_bits_are_float() -> None:
    asked: dict[str, object] = {"bits": 3, "p": 1.5, "per_channel": True, "levels": "gs2020"}
    asked |= {"trunk": "clamped", "last": "float", "exact": True}
    quantiser = quantiser_of_settings(QuantiseSettings.model_validate(asked))
    assert {name: getattr(quantiser, name) for name in asked} == asked
    net = Wiring("cyclegan").net()
    attach_quantiser(net, net, (photos(),), QuantiseSettings())
    assert not any(layer.quantiser for layer in quantisable(net).values())


def test_learned_ranges_survive_a_cut() -> None:
    wiring = Wiring("cyclegan")
    net = learn_ranges(quantise(wiring.net(), FakeQuantiser(p=3.0)))
    small = shrink(wiring.build, net, {"trunk": 5, "block0": 2})
    assert ranges_of(small) == ranges_of(net)
    assert small.get_parameter("up1.conv.range").requires_grad
    elastic = Elastic(net)({"trunk": 5, "block0": 2}, photos())
    assert difference(elastic, small(photos())) == 0


@every_wiring
def test_the_layer_that_writes_the_picture_can_stay_float(wiring: Wiring) -> None:
    net = quantise(wiring.net(), FakeQuantiser(last="float"))
    plain = [layer for layer in convolutions(net).values() if layer.quantiser is None]
    assert plain
    rows = {3 * (4 if isinstance(layer, SubPixelConv2d) else 1) for layer in plain}  # RGB
    assert {layer.weight.shape[layer.out_dim] for layer in plain} == rows
    whole = quantise(wiring.net(), FakeQuantiser())
    assert all(layer.quantiser is not None for layer in convolutions(whole).values())


def test_the_card_says_what_is_quantised_and_gives_the_quantiser_back() -> None:
    quantiser = FakeQuantiser(bits=6, per_channel=True, trunk="clamped", last="float")
    card = quantiser.card()
    assert card["policy"] == {
        "first": "int6 weight, float image",
        "last": "float",
        "norms": "float",
        "biases": "float",
    }
    assert quantiser_from_card(card) == quantiser
    old = {"bits": 8, "p": 4.0, "per_channel": False, "levels": "gs2020"}
    assert quantiser_from_card(old) == FakeQuantiser(levels="gs2020", trunk="clamped")
    assert quantiser_from_card({**old, "levels": "int"}) == FakeQuantiser()


def test_layers_that_hear_nothing_get_a_range_above_zero() -> None:
    wiring = Wiring("cyclegan", {"affine": True})
    silent = wiring.net()
    with torch.no_grad():
        for name, tensor in silent.named_parameters():
            if "norm" in name:
                tensor.zero_()
    net = calibrate(quantise(wiring.net(), FakeQuantiser()), silent, photos())
    assert min(ranges_of(net).values()) == pytest.approx(1e-3)
