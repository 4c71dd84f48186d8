"""One function of each family decides what sizes it takes, and every door says the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import run_cli
from nets import WIRINGS, Wiring, each

from ganpress.errors import ConfigError
from ganpress.measures.both_costs import cost_size
from ganpress.measures.fidelity import evaluation_size
from ganpress.models.checkpoint import Model, full_model, save
from ganpress.models.families.base import draw_inputs
from ganpress.training.gaugan import GauGANTraining
from ganpress.training.settings import TrainData
from ganpress.types.sizes import words

SEEING = {n: w for n, w in WIRINGS.items() if w.name not in ("sngan", "stylegan2")} | {
    "munit down 1": Wiring("munit", {"down": 1}),
    "munit down 3": Wiring("munit", {"down": 3}),
    "munit down 4": Wiring("munit", {"down": 4}),
    "pix2pix downs 2": Wiring("pix2pix", {"downs": 2}),
    "gaugan more": Wiring("gaugan", {"upsampling": "more"}),
    "gaugan separable most": Wiring("gaugan", {"upsampling": "most", "separable": True}),
}
SIZES = [(97, 131), (20, 31), (8, 8), (4, 64), (64, 4), (1, 1), (16, 18), (40, 36), (96, 160)]


@each(SEEING)
def test_every_size_is_made_just_so_or_refused_in_the_same_words(wiring: Wiring) -> None:
    model = wiring.model()
    for height, width in SIZES:
        inputs = draw_inputs(model.net, 1, (height, width), torch.Generator().manual_seed(0))
        try:
            made = model(*inputs)
        except ConfigError as error:
            said = str(error)
            assert f"The size is {words((height, width))}: " in said
            for door in (model.net, lambda *_, s=(height, width): model.resolve_size(s)):
                with pytest.raises(ConfigError) as other:
                    door(*inputs)
                assert str(other.value) == said
        else:
            assert made.shape == (1, 3, height, width)
            assert model.resolve_size((height, width)) in ((height, width), height)


@each(SEEING)
def test_the_size_that_a_message_proposes_is_taken(wiring: Wiring) -> None:
    model = wiring.model()
    for height, width in SIZES:
        with torch.no_grad():
            tall, wide = model.net.fit(height, width)
            inputs = draw_inputs(model.net, 1, (tall, wide), torch.Generator().manual_seed(0))
            assert model.net(*inputs).shape == (1, 3, tall, wide)
        assert tall >= height and wide >= width
        assert model.resolve_size((tall, wide)) == model.fit((height, width))


SHALLOW = {
    "cyclegan 1": Wiring("cyclegan", {"downsamplings": 1}),
    "cyclegan 1 batch": Wiring("cyclegan", {"downsamplings": 1, "norm": "batch"}),
    "cyclegan 3 zeros": Wiring(
        "cyclegan", {"downsamplings": 3, "norm": "batch", "padding": "zero"}
    ),
    "cyclegan separable zeros": Wiring(
        "cyclegan", {"norm": "batch", "padding": "zero", "separable": True}
    ),
    "cyclegan 2 blurred zeros": Wiring(
        "cyclegan", {"antialias": 7, "norm": "batch", "padding": "zero", "up": "bilinear"}
    ),
    "cyclegan no blocks": Wiring("cyclegan", {"blocks": 0, "norm": "batch"}),
    "pix2pix downs 3 instance": Wiring("pix2pix", {"downs": 3, "norm": "instance"}),
}


@each(SEEING | SHALLOW)
def test_the_smallest_size_is_the_smallest_that_the_layers_can_make(
    wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = wiring.net().eval()
    smallest = net.fit(1, 1)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        assert net(*draw_inputs(net, 1, smallest, draw)).shape == (1, 3, *smallest)
        monkeypatch.setattr(type(net), "check_size", lambda *_: None)
        for side in range(net.multiple, net.min_size, net.multiple):
            with pytest.raises((RuntimeError, ValueError)):
                net(*draw_inputs(net, 1, side, draw))


def test_a_u_net_of_two_halvings_makes_pictures_of_4_and_8_pixels() -> None:
    model = full_model("pix2pix", downs=2)
    assert model.min_size == 4
    for size in (4, 8, (4, 64)):
        assert model.resolve_size(size) == size


@each({n: w for n, w in WIRINGS.items() if w.name in ("sngan", "stylegan2")})
def test_a_network_of_one_size_refuses_others_and_inputs_that_are_not_its_noise(
    wiring: Wiring,
) -> None:
    model = wiring.model()
    assert model.resolve_size(None) == model.resolve_size(model.size) == model.size
    with pytest.raises(ConfigError, match=f"The size is 24x40, .*pictures of {model.size} pixels"):
        model.resolve_size((24, 40))
    with pytest.raises(ConfigError, match=rf"reads z as \(n, \d+\), not \(2, 3, {model.size}"):
        model(torch.zeros(2, 3, model.size, model.size))


def test_what_is_no_batch_of_pictures_is_named() -> None:
    model = WIRINGS["cyclegan instance"].model()
    with pytest.raises(ConfigError, match=r"\(n, channels, height, width\), not \(3, 32, 32\)"):
        model(torch.zeros(3, 32, 32))
    munit = WIRINGS["munit"].model()
    with pytest.raises(ConfigError, match=r"reads style as \(n, 8\), not \(1, 5\)"):
        munit(torch.zeros(1, 3, 32, 32), torch.zeros(1, 5))


def test_gaugans_published_macs_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    # methods.md 1.4: 281.28 G at 256 x 512, 35 labels and instance edges
    asked = ["measure", "gaugan", "--option", "upsampling=more", "--json"]
    told = run_cli(capsys, *asked, "--size", "256x512")
    assert told.code == 0, told.err
    assert json.loads(told.out)["macs"] / 1e9 == pytest.approx(281.28, abs=0.006)
    turned = json.loads(run_cli(capsys, *asked, "--size", "512x256").out)
    square = json.loads(run_cli(capsys, *asked, "--size", "256").out)
    assert turned["macs"] == 2 * square["macs"]  # convolutions alone


def test_the_command_line_names_a_size_height_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = WIRINGS["cyclegan instance"].model()
    file = save(model, tmp_path / "t.safetensors")
    told = run_cli(capsys, "measure", file, "--size", "32x64", "--latency")
    assert told.code == 0 and "32 x 64" in told.out
    for verb in (["measure", file], ["export", file, "-o", tmp_path / "x.onnx"]):
        told = run_cli(capsys, *verb, "--size", "32x70")
        assert told.code == 2 and "32x70" in told.err and "32x72 would do" in told.err
        told = run_cli(capsys, *verb, "--size", "big")
        assert told.code == 2 and "256x512" in told.err


@pytest.mark.parametrize("given", ["256x512", [256, 512], (256, 512)])
def test_settings_take_a_size_that_is_not_square_and_keep_it(given: Any) -> None:
    config = GauGANTraining.model_validate({"data": {"size": given}})
    assert config.data.size == (256, 512)
    kept = json.loads(json.dumps(config.model_dump()))
    assert kept["data"]["size"] == [256, 512]
    assert GauGANTraining.model_validate(kept) == config


def test_a_square_size_stays_an_int_in_settings() -> None:
    assert TrainData(size="64x64").model_dump()["size"] == 64  # type: ignore[arg-type]


def test_settings_refuse_a_side_that_does_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"data\.size is 256x520, not a multiple of 32"):
        GauGANTraining.model_validate({"data": {"size": "256x520"}})
    with pytest.raises(ConfigError, match=r"load_size is 286, smaller than the crop .*256x512"):
        GauGANTraining.model_validate({"data": {"size": "256x512", "load_size": 286}})
    with pytest.raises(ValueError, match="greater than or equal to 16"):
        TrainData(size=(8, 64))


def test_a_run_on_crops_that_are_not_square_is_evaluated_on_their_shape() -> None:
    teacher = Model(full_tiny(), WIRINGS["gaugan"].family, WIRINGS["gaugan"].settled)
    assert evaluation_size(TrainData(size=(256, 512)), teacher) == (256, 512)
    assert evaluation_size(TrainData(size=(512, 1024)), teacher) == (256, 512)
    assert evaluation_size(TrainData(size=(128, 256), load_size=(143, 286)), teacher) == (128, 256)
    assert evaluation_size(TrainData(size=256, load_size=286), teacher) == 256
    assert cost_size(TrainData(size=(128, 256)), teacher) == (128, 256)
    assert cost_size(TrainData(size=64), teacher) == 256


def full_tiny() -> Any:
    return WIRINGS["gaugan"].net()


def test_the_readmes_call_still_works() -> None:
    assert full_model("cyclegan", blocks=1)(torch.zeros(1, 3, 32, 64)).shape == (1, 3, 32, 64)
