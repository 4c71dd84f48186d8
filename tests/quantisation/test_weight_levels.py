"""Equation 8's weight scale and the authors' one, from the closed form to int8 files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from nets import Wiring, every_family, photos
from safetensors.torch import load_file
from torch import Tensor

from ganpress.errors import ConfigError
from ganpress.models.checkpoint import Model, fingerprint, load, save
from ganpress.nn.layers import convolutions
from ganpress.quantisation.attach import quantiser_of_settings
from ganpress.quantisation.exact import ExactQuantiser, quantiser_from_card
from ganpress.quantisation.quantise import (
    FakeQuantiser,
    calibrate,
    fake_weight,
    quantise,
    quantiser_of,
    weight_scale,
)
from ganpress.quantisation.settings import QuantiseSettings
from ganpress.run.settings import checked

SMALL = Wiring("cyclegan", {"affine": True, "blocks": 1, "downsamplings": 1})


def weights(largest: float) -> Tensor:
    """(7, 5, 3, 3), the largest in size of the tensor being the given number."""
    w = torch.randn(7, 5, 3, 3, generator=torch.Generator().manual_seed(0)).clamp(-1.9, 1.9)
    w[4, 2, 1, 0] = largest
    return w


@pytest.mark.parametrize("largest", [2.5, -2.5])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_full_is_equation_8_with_its_levels_clamped_to_an_integer(
    bits: int, largest: float
) -> None:
    w, top = weights(largest), 2 ** (bits - 1)
    step = 2.5 / top
    wanted = (w.double() / step).round().clamp(-top, top - 1) * step
    assert float(weight_scale(w, bits=bits, levels="full")) == pytest.approx(step)
    found = fake_weight(w, bits=bits, levels="full")
    assert torch.allclose(found.double(), wanted, atol=1e-6)
    assert float(found[4, 2, 1, 0]) == pytest.approx(2.5 - step if largest > 0 else -2.5)


@pytest.mark.parametrize("largest", [2.5, -2.5])
def test_narrow_is_the_authors_scale_on_which_the_largest_weight_stays(largest: float) -> None:
    w = weights(largest)
    wanted = (w.double() / (2.5 / 127)).round() * (2.5 / 127)
    assert torch.allclose(fake_weight(w).double(), wanted, atol=1e-6)
    assert float(fake_weight(w)[4, 2, 1, 0]) == pytest.approx(largest)


def test_each_output_channel_can_have_equation_8_for_itself() -> None:
    w = weights(2.5)
    found = fake_weight(w, bits=4, out_dim=1, levels="full")
    for channel in range(5):
        own = w[:, channel]
        step = own.abs().max() / 8
        wanted = (own / step).round().clamp(-8, 7) * step
        assert torch.allclose(found[:, channel], wanted, atol=1e-6)


def test_the_gradient_is_straight_through_also_where_a_level_is_clamped() -> None:
    w = weights(2.5).requires_grad_()
    upstream = torch.randn(w.shape, generator=torch.Generator().manual_seed(1))
    fake_weight(w, levels="full").backward(upstream)
    assert torch.equal(w.grad, upstream)


@pytest.mark.parametrize("largest", [2.5, -2.5])
@pytest.mark.parametrize("levels", ["narrow", "full"])
@pytest.mark.parametrize(("bits", "per_channel"), [(8, False), (8, True), (3, True)])
def test_stored_integers_are_the_weight_and_come_back_as_it(
    bits: int, per_channel: bool, levels: str, largest: float
) -> None:
    quantiser = FakeQuantiser(bits=bits, per_channel=per_channel, weight_levels=levels)
    w = weights(largest)
    seen = quantiser.weight(w, out_dim=0)
    integers, step = quantiser.weight_integers(w, out_dim=0)
    assert integers.dtype == torch.int8
    assert torch.equal(integers * step, seen)
    back = quantiser.weight_of(integers, step)
    assert torch.equal(quantiser.weight(back, out_dim=0), seen)
    again, same = quantiser.weight_integers(back, out_dim=0)
    assert torch.equal(again, integers)
    assert torch.equal(same, step)


def test_where_the_lowest_level_is_in_use_the_float_weight_is_levels_times_scale() -> None:
    quantiser = FakeQuantiser(bits=4, weight_levels="full")
    w = weights(-2.5)
    w[0, 0, 0, 0] = 2.45
    integers, step = quantiser.weight_integers(w, out_dim=0)
    assert (int(integers.min()), int(integers.max())) == (-8, 7)
    assert torch.equal(quantiser.weight_of(integers, step), integers * step)


def whole_range(wiring: Wiring, *, largest: float, per_channel: bool = False) -> Model:
    """A calibrated network whose layers' largest weights all have the sign of ``largest``."""
    model, x = wiring.model(), wiring.inputs()
    for layer in convolutions(model.net).values():
        with torch.no_grad():
            peak = largest * float(layer.weight.abs().max())
            layer.weight.transpose(0, layer.out_dim)[:, 0, 0, 0] = peak
    quantiser = FakeQuantiser(weight_levels="full", per_channel=per_channel)
    calibrate(quantise(model.net, quantiser), wiring.net(), *x)
    return model


@every_family
@pytest.mark.parametrize("largest", [1.1, -1.1])
def test_a_model_on_all_levels_comes_back_equal_from_its_int8_file(
    wiring: Wiring, largest: float, tmp_path: Path
) -> None:
    model, x = whole_range(wiring, largest=largest), wiring.inputs()
    path = save(model, tmp_path / "int8.safetensors")
    stored = [load_file(path)[f"{n}.weight"] for n in convolutions(model.net)]
    extreme = 127 if largest > 0 else -128
    assert all(extreme in (int(s.max()), int(s.min())) for s in stored)
    back = load(path)
    assert quantiser_of(back.net) == quantiser_of(model.net)
    assert torch.equal(back(*x), model(*x))
    again = load(save(back, tmp_path / "again.safetensors"))
    assert fingerprint(again.net) == fingerprint(back.net)


@pytest.mark.parametrize(("largest", "per_channel"), [(1.1, False), (-1.1, True)])
def test_a_model_on_all_levels_is_the_same_in_onnxruntime(
    largest: float, per_channel: bool
) -> None:
    onnx = pytest.importorskip("onnx", reason="needs ganpress[onnx]")
    pytest.importorskip("onnxscript", reason="needs ganpress[onnx]")
    pytest.importorskip("onnxruntime", reason="needs ganpress[onnx]")
    from exports import both_files

    from ganpress.formats.exporters.form import Form
    from ganpress.formats.exporters.onnx import session
    from ganpress.formats.exporters.verify import compare

    model = whole_range(SMALL, largest=largest, per_channel=per_channel)
    data, layers = both_files(model, Form(32))
    compare(model, data, session, Form(32), layers=layers)
    kept = [
        onnx.numpy_helper.to_array(t)
        for t in onnx.load_from_string(layers).graph.initializer
        if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4
    ]
    assert len(kept) == len(convolutions(model.net))
    assert {int(k.max() if largest > 0 else k.min()) for k in kept} == {
        127 if largest > 0 else -128
    }


@pytest.mark.parametrize("largest", [1.1, -1.1])
def test_a_model_on_all_levels_is_the_same_in_openvino(largest: float, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="needs ganpress[openvino]")
    from ganpress.formats.exporters import export

    model = whole_range(SMALL, largest=largest)
    facts = export(model, tmp_path / "net.xml", to="openvino", size=32)
    assert facts.mean_abs_diff < 1 / 127.5


def test_settings_and_card_say_which_levels_and_files_of_before_are_narrow() -> None:
    settings = checked(QuantiseSettings, {"bits": 8, "weight_levels": "full"})
    quantiser = quantiser_of_settings(settings)
    assert quantiser == FakeQuantiser(weight_levels="full")
    card = quantiser.card()
    assert quantiser_from_card(card) == quantiser
    del card["weight_levels"]
    assert quantiser_from_card(card) == FakeQuantiser()
    assert quantiser_of_settings(QuantiseSettings(bits=8)) == FakeQuantiser()


def test_exact_steps_and_equation_8_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match=r"quantise\.exact .* quantise\.weight_levels=full"):
        checked(QuantiseSettings, {"bits": 8, "exact": True, "weight_levels": "full"})
    with pytest.raises(ConfigError, match="weight_levels 'narrow'"):
        ExactQuantiser(weight_levels="full")


def test_rounding_on_all_levels_is_finer_than_on_as_many_to_each_side() -> None:
    """At 3 bits: steps of max / 4, not max / 3; what is clamped is one weight."""
    w = weights(-2.5)
    full, narrow = (fake_weight(w, bits=3, levels=levels) for levels in ("full", "narrow"))
    assert (full - w).square().mean() < (narrow - w).square().mean()
    model = quantise(SMALL.net(), FakeQuantiser(bits=3, weight_levels="full"))
    assert not torch.equal(model(photos()), quantise(SMALL.net(), FakeQuantiser(bits=3))(photos()))
