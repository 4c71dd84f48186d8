"""A model goes back to the code base its layout comes from, and can be read again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from nets import WIRINGS, photos, randomise
from torch import Tensor, nn

from ganpress.errors import ConfigError, ExportError
from ganpress.formats.exporters import TARGETS, export
from ganpress.formats.exporters.pth import LAYOUTS
from ganpress.formats.importers import import_model
from ganpress.models.checkpoint import Model
from ganpress.nn.layers import add_gates
from ganpress.quantisation.quantise import FakeQuantiser, quantise


def at_ngf(name: str, ngf: int = 5) -> Model:
    """A wiring with random weights, at the widths of one ngf."""
    model = WIRINGS[name].model()
    times = {"stem": 1, "down1": 2, "up1": 2, "up2": 1}
    times |= {f"{part}{i}": min(2**i, 8) for part in ("enc", "dec") for i in range(8)}
    widths = {g: ngf * times.get(g, 4) for g in model.widths}
    return Model(randomise(model.build(widths)).eval(), model.family, model.options)


def test_a_separable_student_has_no_place_in_junyanz_code(tmp_path: Path) -> None:
    model = WIRINGS["cyclegan separable"].model()
    with pytest.raises((ConfigError, ExportError), match="gan-compression"):
        export(model, tmp_path / "net.pth", to="pth-junyanz", size=32)
    assert not list(tmp_path.iterdir())


def test_a_family_that_the_code_base_lacks_is_told_its_own_targets(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pth-cartoongan"):
        export(WIRINGS["cartoongan"].model(), tmp_path / "net.pth", to="pth-rosinality", size=32)


def test_integers_are_refused(tmp_path: Path) -> None:
    model = WIRINGS["cartoongan"].model()
    quantise(model.net, FakeQuantiser())
    with pytest.raises(ExportError, match="quantised"):
        export(model, tmp_path / "net.pth", to="pth-cartoongan", size=32)


def test_gates_are_folded_on_the_way_out(tmp_path: Path) -> None:
    model = WIRINGS["sngan"].model()
    z = torch.randn(2, 6)
    before = model(z)
    add_gates(model.net)
    facts = export(model, tmp_path / "net.pth", to="pth-sngan", pad=True)
    assert (import_model("sngan", facts.file)(z) - before).abs().max() < 1e-5


class Block(nn.Module):
    """A residual block as junyanz's and GAN Compression's ResnetGenerators name it."""

    def __init__(self, trunk: int, inner: int, *, affine: bool, dropout: bool) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            *(nn.ReflectionPad2d(1), nn.Conv2d(trunk, inner, 3), instance(inner, affine)),
            *(nn.ReLU(), *([nn.Dropout(0.0)] if dropout else [])),
            *(nn.ReflectionPad2d(1), nn.Conv2d(inner, trunk, 3), instance(trunk, affine)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Upstream(nn.Module):
    """Their ResnetGenerator at given widths, made by its key numbers alone."""

    def __init__(self, w: dict[str, int], *, affine: bool = False, dropout: bool = False) -> None:
        super().__init__()
        s, d, t, u, v = (w[group] for group in ("stem", "down1", "trunk", "up1", "up2"))
        inner = [width for group, width in w.items() if group.startswith("block")]
        up = {"stride": 2, "padding": 1, "output_padding": 1}
        self.model = nn.Sequential(
            *(nn.ReflectionPad2d(3), nn.Conv2d(3, s, 7), instance(s, affine), nn.ReLU()),
            *(nn.Conv2d(s, d, 3, 2, 1), instance(d, affine), nn.ReLU()),
            *(nn.Conv2d(d, t, 3, 2, 1), instance(t, affine), nn.ReLU()),
            *(Block(t, i, affine=affine, dropout=dropout) for i in inner),
            *(nn.ConvTranspose2d(t, u, 3, **up), instance(u, affine), nn.ReLU()),
            *(nn.ConvTranspose2d(u, v, 3, **up), instance(v, affine), nn.ReLU()),
            *(nn.ReflectionPad2d(3), nn.Conv2d(v, 3, 7), nn.Tanh()),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


def instance(width: int, affine: bool) -> nn.Module:
    return nn.InstanceNorm2d(width, affine=affine)


@torch.no_grad()
def unscale(model: Model, *, trunk: bool = True, rest: bool = True) -> Model:
    """Make scales 1 and shifts 0, of the norms that write the trunk or of the others."""
    for name, layer in model.net.named_modules():
        on_trunk = name.startswith("down2") or name.endswith("norm2")
        if isinstance(layer, nn.InstanceNorm2d) and layer.affine and (trunk if on_trunk else rest):
            layer.weight.fill_(1)
            layer.bias.zero_()
    return model


RESNET_TARGETS = pytest.mark.parametrize("target", ["pth-junyanz", "pth-gan-compression"])


def check_upstream(model: Model, path: Path, target: str, *, affine: bool) -> None:
    """Upstream's class takes the file strictly and makes the model's picture."""
    theirs = Upstream(dict(model.widths), affine=affine, dropout=target != "pth-junyanz").eval()
    theirs.load_state_dict(torch.load(path, weights_only=True), strict=True)
    x = photos()
    assert (theirs(x) - model(x)).abs().max() < 1e-5


@RESNET_TARGETS
@pytest.mark.parametrize("name", ["cyclegan instance", "cyclegan affine"])
def test_norms_that_change_nothing_are_left_out_and_upstreams_own_class_takes_the_file(
    tmp_path: Path, target: str, name: str
) -> None:
    model = unscale(at_ngf(name))
    export(model, tmp_path / "net.pth", to=target, size=32)  # a warning would be an error
    check_upstream(model, tmp_path / "net.pth", target, affine=False)


@RESNET_TARGETS
@pytest.mark.parametrize(
    "which", [{"trunk": False}, {"rest": False}, {"trunk": False, "rest": False}]
)
def test_scales_are_written_with_a_warning_that_says_what_upstream_needs(
    tmp_path: Path, target: str, which: dict[str, bool]
) -> None:
    model = unscale(at_ngf("cyclegan affine"), **which)
    with pytest.warns(UserWarning, match=r"net\.pth.*affine=True.*onnx"):
        export(model, tmp_path / "net.pth", to=target, size=32)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*model\.2\.weight"):
        check_upstream(model, tmp_path / "net.pth", target, affine=False)
    check_upstream(model, tmp_path / "net.pth", target, affine=True)


def test_a_separable_students_missing_scales_are_made_up_for(tmp_path: Path) -> None:
    model = unscale(at_ngf("cyclegan separable affine"), trunk=False)
    with pytest.warns(UserWarning, match="affine=True"):
        export(model, tmp_path / "net.pth", to="pth-gan-compression", size=32)
    held = torch.load(tmp_path / "net.pth", weights_only=True)
    assert held["model.10.conv_block.2.weight"].shape == (model.widths["block0"],)
    back = import_model("gan-compression", tmp_path / "net.pth")
    x = photos()
    assert (back(x) - model(x)).abs().max() < 1e-5


def test_a_unets_scales_are_left_out_or_warned_of(tmp_path: Path) -> None:
    model, path = at_ngf("pix2pix instance"), tmp_path / "net.pth"
    with pytest.warns(UserWarning, match=r"affine=True, track_running_stats=False"):
        export(model, path, to="pth-junyanz", size=32)
    export(unscale(model), path, to="pth-junyanz", size=32)
    options = {**model.options, "affine": False}
    bare = Model(model.family.build(model.widths, **options).eval(), model.family, options)
    export(bare, tmp_path / "bare.pth", to="pth-junyanz", size=32)
    keys = [set(torch.load(p, weights_only=True)) for p in (path, tmp_path / "bare.pth")]
    assert keys[0] == keys[1]


def test_every_target_is_listed() -> None:
    assert set(LAYOUTS) | {"onnx", "openvino", "torch", "pth-plain"} == set(TARGETS)


def test_a_unet_that_resizes_has_no_place_in_junyanz_code(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be this network \(upsampling=resize\)"):
        export(WIRINGS["pix2pix resize"].model(), tmp_path / "g.pth", to="pth-junyanz", size=32)
    assert not list(tmp_path.iterdir())
