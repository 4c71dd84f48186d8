"""An 8-bit network of every family makes in onnxruntime the picture it makes in torch."""

from __future__ import annotations

import copy

import pytest
import torch
from nets import Wiring, each, every_wiring, photos
from torch import Tensor

from ganpress.errors import ExportError
from ganpress.exporters.verify import GREY, NEAR, Tolerance, agreement, compare, own_noise, smooth
from ganpress.quantise import FakeQuantiser, calibrate, fix_ranges, learn_ranges, quantise

pytest.importorskip("onnxscript", reason="needs ganpress[onnx]")
pytest.importorskip("onnxruntime", reason="needs ganpress[onnx]")

from ganpress.exporters.onnx import reads, runner, to_bytes

QUANTISERS = {
    "clamped": FakeQuantiser(trunk="clamped"),
    "gs2020": FakeQuantiser(levels="gs2020"),
    "5 bits": FakeQuantiser(bits=5, per_channel=True),
    "last float": FakeQuantiser(last="float"),
}
FAMILIES = {name: Wiring(name) for name in ("pix2pix", "gaugan", "munit", "sngan", "stylegan2")}


def test_the_quantiser_s_settings_are_those_of_the_file() -> None:
    """On a net so shallow that single roundings do not add up to a grey level."""
    wiring = Wiring("cyclegan", {"affine": True})
    for name, quantiser in QUANTISERS.items():
        model = wiring.model()
        calibrate(quantise(model.net, quantiser), wiring.net(), photos())
        found = agreement(model, runner(to_bytes(model), reads(model)), [(photos(seed=7),)])
        assert found.mean < 0.1 * GREY, name
        assert found.near > 0.999, name


@each(FAMILIES)
def test_an_eight_bit_network_of_every_family_is_the_same_in_onnxruntime(wiring: Wiring) -> None:
    """Half a grey level and 99 % in two, or no further off than torch is from itself."""
    model, x = wiring.model(), wiring.inputs()
    calibrate(quantise(model.net, FakeQuantiser(per_channel=True)), wiring.net(), *x)
    found = compare(model, runner(to_bytes(model), reads(model)), wiring.pixels)
    strict = found.mean < 0.5 * GREY and found.near >= 0.99
    assert strict == (found.noise is None)
    if found.noise is not None:
        assert found.mean <= 2 * found.noise


def test_learned_ranges_are_those_of_the_file() -> None:
    wiring = Wiring("cyclegan", {"affine": True})
    model = wiring.model()
    calibrate(quantise(model.net, FakeQuantiser()), wiring.net(), photos())
    for n, p in learn_ranges(model.net).named_parameters():
        if n.endswith(".range"):
            p.data.mul_(0.7)
    data = to_bytes(model)
    run, x = runner(data, reads(model)), photos(seed=7)
    assert (run(x) - model(x)).abs().mean() < 0.1 * GREY
    fixed = copy.deepcopy(model)
    fix_ranges(fixed.net)
    assert torch.equal(runner(to_bytes(fixed), reads(model))(x), run(x))


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


def test_a_quantised_network_is_judged_by_what_is_asked_or_by_torch_s_own_noise() -> None:
    wiring = Wiring("cyclegan", {"affine": True})
    model = wiring.model()
    calibrate(quantise(model.net, FakeQuantiser()), wiring.net(), photos())
    same = compare(model, model, 32)
    assert (same.mean, same.near, same.noise) == (0.0, 1.0, None)

    def off(by: float):
        return lambda x: model(x) + by

    assert compare(model, off(0.4 * GREY), 32).noise is None
    with pytest.raises(ExportError, match="99 %"):
        compare(model, off(0.06), 32)  # more than is allowed to any network
    assert compare(model, off(0.6 * GREY), 32, quantised=Tolerance(GREY, 0.0)).near == 1.0
    assert own_noise(model, [(photos(),)]) > 0
    assert NEAR == 2 * GREY
