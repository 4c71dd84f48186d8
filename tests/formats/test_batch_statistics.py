"""BatchNorm with each picture's statistics (`norm=instance`), as upstream's test script has it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import run_cli
from plain_nets import Sngan, Spade, Unet
from test_importers import Upstream, saved, shaken
from torch import Tensor, nn

from ganpress.channels.silence import scale_magnitudes
from ganpress.errors import ConfigError
from ganpress.formats.exporters.pth import LAYOUTS
from ganpress.formats.importers import from_state
from ganpress.measures.cost import measure
from ganpress.methods.gan_slimming.extract import scaled_copy
from ganpress.models.checkpoint import Model, load, save
from ganpress.quantisation.exact import ExactQuantiser
from ganpress.quantisation.quantise import FakeQuantiser, quantise

WIDTHS = [4, 5, 6, 3, 7, 5, 4]
BATCH: dict[str, Any] = {"norm": nn.BatchNorm2d, "bias": False}
NETS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "resnet": ("cyclegan", lambda: Upstream(WIDTHS, **BATCH)),
    "resnet with dropout": ("cyclegan", lambda: Upstream(WIDTHS, dropout=True, **BATCH)),
    "student": (
        "gan-compression",
        lambda: Upstream(WIDTHS, separable=True, dropout=True, clamp=True, **BATCH),
    ),
    "unet": ("pix2pix", lambda: Unet([4, 5, 6, 7, 3], bias=False)),
    "unet with dropout": ("pix2pix", lambda: Unet([4, 5, 6, 7, 3], drop=True, bias=False)),
    "spade": ("spade", Spade),
    "separable spade": ("spade", lambda: Spade(middle=nn.InstanceNorm2d)),
    "sngan": ("sngan", Sngan),
}
each_net = pytest.mark.parametrize("name", NETS)


def inputs(kind: str, n: int = 2) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    if kind == "sngan":
        return torch.randn(n, 6, generator=draw)
    shape = (n, 5, 64, 32) if kind == "spade" else (n, 3, 32, 64)
    return torch.rand(shape, generator=draw) * 2 - 1


@torch.no_grad()
def as_tested(net: nn.Module, x: Tensor) -> Tensor:
    """The network in training mode on one picture at a time; dropout, which is random, is off."""
    net = copy.deepcopy(net).train()
    for layer in net.modules():
        if isinstance(layer, nn.Dropout):
            layer.eval()
    return torch.cat([net(one) for one in x.split(1)])


def apart(model: Model, net: nn.Module, x: Tensor) -> float:
    """Largest difference to the network as tested; in double, since norms of maps of two pixels
    make 1e-5 of a rounding."""
    wide = copy.copy(model)
    wide.net = copy.deepcopy(model.net).double()
    want = as_tested(copy.deepcopy(net).double(), x.double())
    return float((wide(x.double()) - want).abs().max())


@each_net
def test_statistics_of_each_picture_are_those_of_training_mode_at_batch_one(name: str) -> None:
    kind, make = NETS[name]
    net, x = shaken(make()), inputs(kind)
    model = from_state(kind, net.state_dict(), norm="instance")
    assert model.options["norm"] == "instance"
    assert "norm" not in model.provenance.get("assumed", {})
    assert apart(model, net, x) < 1e-9
    with torch.no_grad():
        assert (from_state(kind, net.state_dict())(x) - net(x)).abs().max() < 1e-5
        assert (net(x) - as_tested(net, x)).abs().mean() > 0.01  # or the choice would be none


@each_net
def test_the_choice_is_kept_by_saving_slimming_costs_and_quantisation(
    name: str, tmp_path: Path
) -> None:
    kind, make = NETS[name]
    net, x = shaken(make()), inputs(kind)
    model = from_state(kind, net.state_dict(), norm="instance")
    again = load(save(model, tmp_path / "model.safetensors"))
    assert torch.equal(again(x), model(x))
    student = scaled_copy(again)
    assert student.options["norm"] == "instance"
    assert torch.equal(student(x), model(x))
    assert not [n for n in student.net.state_dict() if "running" in n]
    batch = from_state(kind, net.state_dict())
    side = 64 if kind == "spade" else 32
    assert measure(model.net, side).macs == measure(batch.net, side).macs
    for q in (ExactQuantiser(), FakeQuantiser()):
        int8 = from_state(kind, net.state_dict(), norm="instance")
        quantise(int8.net, q)
        kept = load(save(int8, tmp_path / "int8.safetensors"))
        assert torch.equal(kept(x), int8(x))
        assert not torch.equal(int8(x), model(x))


@pytest.mark.parametrize("name", ["resnet", "unet", "sngan"])
def test_the_importance_of_a_channel_is_the_files_scale(name: str) -> None:
    kind, make = NETS[name]
    net = shaken(make())
    found = scale_magnitudes(scaled_copy(from_state(kind, net.state_dict(), norm="instance")).net)
    group, theirs = {
        "resnet": ("down1", "model.5.weight"),
        "unet": ("dec3", "model.model.1.model.3.model.3.model.3.model.4.weight"),
        "sngan": ("mid1", "block3.b2.weight"),
    }[name]
    assert torch.allclose(found[group], net.state_dict()[theirs].abs())


def test_the_choice_goes_into_an_onnx_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # of SNGAN, whose norms have classes; InstanceNorms with scales: test_export.py
    path = saved(tmp_path, shaken(Sngan()).state_dict())
    model, onnx = tmp_path / "m.safetensors", tmp_path / "m.onnx"
    how = ("--option", "norm=instance")
    assert run_cli(capsys, "import", "sngan", path, "-o", model, *how).code == 0
    exported = run_cli(capsys, "export", model, "-o", onnx)
    assert exported.code == 0, exported.err
    assert b"BatchNormalization" not in onnx.read_bytes()


@pytest.mark.parametrize(
    ("name", "target"), [("unet", "junyanz"), ("resnet", "junyanz"), ("spade", "nvlabs")]
)
def test_the_choice_goes_back_to_upstreams_layout(name: str, target: str) -> None:
    kind, make = NETS[name]
    net = shaken(make())
    model = from_state(kind, net.state_dict(), norm="instance")
    state = LAYOUTS[f"pth-{target}"][model.family.name][1](model)
    assert not [n for n in state if "running" in n]
    again = from_state(kind, state)
    assert again.options["norm"] == "instance"
    assert apart(again, net, inputs(kind)) < 1e-9


def test_an_sngan_of_each_pictures_statistics_has_no_upstream_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = shaken(Sngan()).state_dict()
    path = save(from_state("sngan", state, norm="instance"), tmp_path / "m.safetensors")
    told = run_cli(capsys, "export", path, "-o", tmp_path / "x.pth", "--to", "pth-sngan")
    assert told.code == 2
    assert "norm=instance" in told.err
    assert "onnx" in told.err


def test_the_bottleneck_of_a_unet_may_be_a_single_pixel_and_a_spades_grid_may_not() -> None:
    net = shaken(Unet([4, 5, 6, 7, 3], bias=False))
    x = inputs("pix2pix", 1)[..., :32]  # 32 pixels, halved five times
    model = from_state("pix2pix", net.state_dict(), norm="instance")
    assert (model(x) - as_tested(net, x)).abs().max() < 1e-5
    spade = shaken(Spade())
    model, labels = (
        from_state("spade", spade.state_dict(), norm="instance"),
        torch.rand(1, 5, 32, 32),
    )
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        as_tested(spade, labels)
    with pytest.raises(ConfigError, match="64 in one direction"):
        model(labels)


def test_a_spade_file_of_instance_norms_is_read_as_such() -> None:
    free = nn.InstanceNorm2d
    net, x = shaken(Spade(free=free, middle=None)), inputs("spade")
    model = from_state("auto", net.state_dict())
    assert model.options["norm"] == "instance"
    with torch.no_grad():
        assert (model(x) - net(x)).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["resnet", "resnet with dropout", "unet"])
def test_the_import_says_which_statistics_upstreams_script_uses(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, make = NETS[name]
    path, out = saved(tmp_path, make().state_dict()), tmp_path / "m.safetensors"
    told = run_cli(capsys, "import", kind, path, "-o", out)
    [line] = [text for text in told.out.splitlines() if "assumed norm=batch" in text]
    assert "test.py (without --eval)" in line
    assert line.endswith("Otherwise: --option norm=instance")
    assert ("leaves dropout on" in line) == (name != "resnet")
    told = run_cli(capsys, "import", kind, path, "-o", out, "--option", "norm=batch")
    assert "norm=" not in told.out


@pytest.mark.parametrize("name", ["student", "spade", "sngan"])
def test_nothing_is_said_where_upstreams_script_uses_the_files_statistics(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, make = NETS[name]
    path = saved(tmp_path, make().state_dict())
    told = run_cli(capsys, "import", kind, path, "-o", tmp_path / "m.safetensors")
    assert told.code == 0
    assert "norm=" not in told.out
