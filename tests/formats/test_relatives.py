"""Near relatives of junyanz's networks: imported exactly, slimmed, and given back.

The networks are small plain-torch copies of upstream's classes (`upstream_nets`).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import run_cli
from nets import difference, randomise
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from upstream_nets import Resnet, Unet, kernel, shaken

from ganpress.data.drawn.draw import write_folder
from ganpress.errors import CheckpointError, ConfigError
from ganpress.formats.exporters import export
from ganpress.formats.importers import from_state, import_model
from ganpress.measures.cost import measure
from ganpress.models.checkpoint import Model, full_model, load, save
from ganpress.models.families.cyclegan import CYCLEGAN

WIDTHS = [4, 5, 6, 3, 7, 5, 4]  # stem, two halvings, two blocks, two doublings
DEEP = [3, 4, 5, 6, 7, 4, 2, 6, 5, 4, 3]  # stem, four halvings, two blocks, four doublings

# what upstream's class is told, widths, kind, and the family's options that it becomes
RELATIVES: dict[str, tuple[dict[str, Any], list[int], str, dict[str, Any]]] = {
    "CUT": ({"taps": 3, "up": "blur"}, WIDTHS, "cut", {"antialias": 3, "up": "bilinear"}),
    "CUT, no_antialias_up": ({"taps": 3}, WIDTHS, "cut", {"antialias": 3, "up": "transposed"}),
    "CUT, no_antialias": ({"up": "blur"}, WIDTHS, "cut", {"antialias": 0, "up": "bilinear"}),
    "CUT, another filter": ({"taps": 4, "up": "blur"}, WIDTHS, "cut", {"antialias": 4}),
    "CUT, the shortest filter": ({"taps": 2, "up": "blur"}, WIDTHS, "cut", {"antialias": 2}),
    "CUT, a wide filter": ({"taps": 7}, WIDTHS, "cut", {"antialias": 7}),
    "CUT, BatchNorm": (
        {"taps": 3, "up": "blur", "norm": nn.BatchNorm2d}, WIDTHS, "cut", {"norm": "batch"},
    ),
    "CUT, dropout": ({"taps": 3, "up": "blur", "dropout": True}, WIDTHS, "cut", {"antialias": 3}),
    "pix2pixHD": ({"downs": 4}, DEEP, "pix2pixhd", {"downsamplings": 4, "blocks": 2}),
    "pix2pixHD, 3": (
        {"downs": 3},
        [*DEEP[:4], 4, 2, *DEEP[-3:]],
        "pix2pixhd",
        {"downsamplings": 3},
    ),
    "PyTorch-GAN": (
        {"up": "nearest", "inner": "block"}, WIDTHS, "pytorch-gan", {"up": "nearest"},
    ),
    "zero padding": ({"padding": "zero"}, WIDTHS, "cyclegan", {"padding": "zero"}),
    "zero padding, dropout": (
        {"padding": "zero", "dropout": True}, WIDTHS, "cyclegan", {"padding": "zero"},
    ),
}  # fmt: skip
each_relative = pytest.mark.parametrize(
    ("how", "widths", "kind", "options"), RELATIVES.values(), ids=RELATIVES.keys()
)


def picture(size: int = 32, reach: float = 1.0) -> Tensor:
    """Two pictures that are not square, (2, 3, size, size + 32)."""
    draw = torch.Generator().manual_seed(1)
    return (torch.rand(2, 3, size, size + 32, generator=draw) * 2 - 1) * reach


def same(model: Model, net: nn.Module) -> float:
    """The largest difference between our picture and upstream's."""
    with torch.no_grad():
        return difference(model(picture()), net(picture()))


@each_relative
def test_a_relative_of_any_widths_makes_the_same_picture_after_import(
    how: dict[str, Any], widths: list[int], kind: str, options: dict[str, Any]
) -> None:
    net = shaken(Resnet(widths, **how))
    for asked in ("auto", kind, "cyclegan"):
        model = from_state(asked, net.state_dict())
        assert model.provenance["kind"] == (kind if asked == "auto" else asked)
        assert model.options.items() >= options.items()
        assert list(model.widths.values()) == widths
        assert same(model, net) < 1e-5


def test_border_copies_and_bilinear_doubling_are_told_by_options() -> None:
    net = shaken(Resnet(WIDTHS, padding="replicate", up="bilinear"))
    model = from_state("cyclegan", net.state_dict(), padding="replicate", up="bilinear")
    assert same(model, net) < 1e-5
    for one in ({"padding": "replicate"}, {"up": "bilinear"}):
        assert same(from_state("cyclegan", net.state_dict(), **one), net) > 1e-3


@pytest.mark.parametrize(
    ("how", "option", "message"),
    [
        ({"padding": "zero"}, {"padding": "replicate"}, "no padding layer"),
        ({}, {"padding": "zero"}, "a padding layer"),
        ({}, {"up": "nearest"}, "it is 'transposed'"),
        ({"up": "blur"}, {"up": "nearest"}, "it is 'bilinear'"),
    ],
)
def test_an_option_that_the_file_contradicts_is_refused(
    how: dict[str, Any], option: dict[str, Any], message: str
) -> None:
    state = Resnet(WIDTHS, **how).state_dict()
    with pytest.raises(ConfigError, match=message):
        from_state("cyclegan", state, **option)
    assert from_state("cyclegan", state)  # what the message advises


def test_a_filter_that_is_not_binomial_is_refused() -> None:
    state = Resnet(WIDTHS, taps=3, up="blur").state_dict()
    other = {**state, "model.7.filt": torch.ones_like(state["model.7.filt"]) / 9}
    with pytest.raises(CheckpointError, match=r"resamples with model\.7\.filt"):
        from_state("cut", other)
    wide = {n: 4 * kernel(3, len(t)) if n.startswith("model.14") else t for n, t in state.items()}
    with pytest.raises(CheckpointError, match=r"resamples with model\.14\.filt"):
        from_state("cut", wide)
    bare = {n: t for n, t in state.items() if not n.endswith("filt")}
    with pytest.raises(CheckpointError, match=r"no filter behind its down-sampling"):
        from_state("cut", bare)


def test_a_deep_network_may_have_no_scales_on_its_trunk_alone() -> None:
    """As GAN Slimming's class has none behind the last halving and at the end of its blocks."""
    widths = [*DEEP[:4], 4, 2, *DEEP[-3:]]
    net = shaken(Resnet(widths, downs=3, norm=partial(nn.InstanceNorm2d, affine=True)))
    state = net.state_dict()
    unscaled = [n for n in state if n.startswith("model.11.") or ".conv_block.6." in n]
    for name in unscaled:
        state[name].fill_(float(name.endswith("weight")))
    left = {n: t for n, t in state.items() if n not in unscaled}
    assert len(left) == len(state) - 6
    assert same(from_state("auto", left), net) < 1e-5


@pytest.mark.parametrize("affine", [False, True])
def test_a_unet_of_pytorch_gan_makes_the_same_picture(affine: bool) -> None:
    net = shaken(Unet([4, 5, 6, 7, 3], [8, 6, 5, 9], affine=affine))
    model = from_state("auto", net.state_dict())
    assert (model.family.name, model.provenance["kind"]) == ("pix2pix", "pytorch-gan")
    assert model.options["affine"] == affine
    assert list(model.widths.values()) == [4, 5, 6, 7, 3, 8, 6, 5, 9]
    assert same(model, net) < 1e-5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"down1.model.0.weight": torch.zeros(4, 3, 3, 3)}, "early version"),
        (
            {"down2.model.1.weight": torch.ones(5), "down2.model.1.running_mean": torch.ones(5)},
            "under BatchNorm, whose eps",
        ),
    ],
)
def test_other_unets_of_pytorch_gan_are_refused_by_name(
    changed: dict[str, Tensor], message: str
) -> None:
    state = Unet([4, 5, 6], [5, 4]).state_dict()
    with pytest.raises(CheckpointError, match=message):
        from_state("auto", {**state, **changed})
    with pytest.raises(CheckpointError, match="Use kind 'pytorch-gan'"):
        from_state("cyclegan", state)
    with pytest.raises(ConfigError, match="takes no 'clamp'"):
        from_state("pytorch-gan", state, clamp=True)


def test_a_resnet_of_pytorch_gan_that_pads_by_its_channels_is_refused() -> None:
    state = Resnet(WIDTHS, up="nearest", inner="block").state_dict()
    state["model.1.weight"] = state["model.1.weight"][:, :1]
    with pytest.raises(CheckpointError, match="as many pixels as a picture has channels"):
        from_state("auto", state)


# --- spectral and weight norms -------------------------------------------------------------------

NORMED = {
    "spectral": torch.nn.utils.spectral_norm,
    "spectral, parametrised": parametrizations.spectral_norm,
    "weight": torch.nn.utils.weight_norm,
    "weight, parametrised": parametrizations.weight_norm,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("how", NORMED)
@pytest.mark.parametrize("widths", [WIDTHS, [4, 6, 6, 6, 6, 6, 6]], ids=["any", "square"])
def test_norms_left_in_the_weights_are_folded_as_in_eval_mode(how: str, widths: list[int]) -> None:
    net = shaken(Resnet(widths))
    for layer in list(net.modules()):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            NORMED[how](layer)
    net.train()
    for _ in range(3):  # power iterations
        net(picture())
    net.eval()
    state = {n: t.detach().clone() for n, t in net.state_dict().items()}
    assert not any(n == "model.1.weight" for n in state)
    for kind in ("auto", "cyclegan"):
        assert same(from_state(kind, state), net) < 1e-5


def test_a_spectral_norm_of_old_torch_has_its_weight_beside_it() -> None:
    net = shaken(Resnet(WIDTHS))
    state = net.state_dict()
    state["model.4.weight_orig"] = 3 * state["model.4.weight"]
    state["model.4.weight_u"] = torch.randn(5)
    assert same(from_state("auto", state), net) < 1e-5


def test_a_spectral_norm_without_its_vectors_is_refused() -> None:
    state = Resnet(WIDTHS).state_dict()
    state["model.4.weight_orig"] = state.pop("model.4.weight")
    with pytest.raises(CheckpointError, match=r"model\.4\.weight_u is missing"):
        from_state("auto", state)
    state |= {"model.4.weight_u": torch.randn(5), "model.4.weight_v": torch.randn(7)}
    with pytest.raises(CheckpointError, match=r"does not fit: model\.4\.weight_orig is \(5, 4"):
        from_state("auto", state)


# --- what else the family does -------------------------------------------------------------------

TARGETS = {
    "pth-cut": ({"antialias": 3, "up": "bilinear"}, {"taps": 3, "up": "blur"}),
    "pth-pix2pixhd": ({"downsamplings": 3}, {"downs": 3}),
    "pth-pytorch-gan": ({"up": "nearest"}, {"up": "nearest", "inner": "block"}),
    "pth-junyanz": ({"padding": "zero"}, {"padding": "zero"}),
}


def random_model(**options: Any) -> Model:
    """A `cyclegan` generator of an ngf of 3 with random weights."""
    made = CYCLEGAN.resolve({"blocks": 2, **options})
    widths = {g: 3 * width // 64 for g, width in CYCLEGAN.full(made).items()}
    torch.manual_seed(0)
    return Model(randomise(CYCLEGAN.build(widths, **made).eval()), CYCLEGAN, made)


@pytest.mark.parametrize("target", TARGETS)
def test_upstreams_class_takes_the_exported_file_strictly(target: str, tmp_path: Path) -> None:
    options, how = TARGETS[target]
    model = random_model(**options)
    path = export(model, tmp_path / "net.pth", to=target, size=32).file
    net = Resnet(list(model.widths.values()), **how).eval()
    net.load_state_dict(torch.load(path, weights_only=True), strict=True)
    assert same(model, net) < 1e-5


def test_upstreams_unet_takes_the_exported_file_strictly(tmp_path: Path) -> None:
    enc, dec = [3, 6, 12, 24, 24], [24, 12, 6, 3]
    model = from_state("auto", shaken(Unet(enc, dec)).state_dict())
    path = export(model, tmp_path / "net.pth", to="pth-pytorch-gan", size=32).file
    net = Unet(enc, dec).eval()
    net.load_state_dict(torch.load(path, weights_only=True), strict=True)
    assert same(model, net) < 1e-5
    with torch.no_grad():
        model.net.get_parameter("downs.4.conv.bias").fill_(0.1)
    with pytest.raises(ConfigError, match=r"has some \(downs\.4\.conv\.bias\)"):
        export(model, tmp_path / "other.pth", to="pth-pytorch-gan", size=32)
    assert not (tmp_path / "other.pth").exists()
    with pytest.raises(ConfigError, match=r"leaky_skips=True, .*export to pth-pytorch-gan or"):
        export(model, tmp_path / "other.pth", to="pth-junyanz", size=32)


def test_scales_of_a_unet_are_written_with_what_its_class_needs(tmp_path: Path) -> None:
    model = from_state("auto", shaken(Unet([4, 8, 16], [8, 4], affine=True)).state_dict())
    with pytest.warns(UserWarning, match="given affine=True, each nn.InstanceNorm2d"):
        path = export(model, tmp_path / "net.pth", to="pth-pytorch-gan", size=32).file
    net = Unet([4, 8, 16], [8, 4], affine=True).eval()
    net.load_state_dict(torch.load(path, weights_only=True), strict=True)
    assert same(model, net) < 1e-5


@pytest.mark.parametrize(
    ("options", "target", "advised"),
    [
        ({"downsamplings": 3}, "pth-junyanz", "pth-pix2pixhd"),
        ({"antialias": 3, "up": "bilinear"}, "pth-junyanz", "pth-cut"),
        ({"antialias": 5}, "pth-cut", "onnx"),
        ({"up": "nearest"}, "pth-gan-compression", "pth-pytorch-gan"),
        ({"padding": "zero", "up": "nearest"}, "pth-pytorch-gan", "onnx"),
        ({"separable": True}, "pth-pix2pixhd", "pth-gan-compression"),
    ],
)
def test_a_class_that_cannot_be_the_network_is_refused_for_one_that_can(
    options: dict[str, Any], target: str, advised: str, tmp_path: Path
) -> None:
    model = random_model(**options)
    changed = next(iter(options))
    with pytest.raises(ConfigError, match=rf"\(.*{changed}=.*export to .*{advised}"):
        export(model, tmp_path / "net.pth", to=target, size=32)
    assert not list(tmp_path.iterdir())
    if advised != "onnx":
        assert export(model, tmp_path / "net.pth", to=advised, size=32).max_abs_diff < 1e-5


def test_the_global_generator_has_the_parameters_of_its_class() -> None:
    with torch.device("meta"):
        net = full_model("cyclegan", downsamplings=4).net
        theirs = Resnet([64, 128, 256, 512, 1024, *[1024] * 9, 512, 256, 128, 64], downs=4)
    count = sum(p.numel() for p in theirs.parameters())
    labels = 33 * 64 * 7 * 7  # Cityscapes' networks read 36 channels: 35 labels and edges
    assert measure(net, 64).params == count == 182_546_755 - labels  # upstream prints the former


def test_blurs_are_not_counted_as_multiplications() -> None:
    """A 3x3 convolution at every pixel is four times a strided one, and the blur is nothing."""
    widths = {"stem": 8, "down1": 8, "trunk": 8, "up1": 8, "up2": 8}
    strided, blurred = (
        measure(CYCLEGAN.build(widths, blocks=0, antialias=taps), 32).macs for taps in (0, 3)
    )
    halvings = 9 * 8 * 8 * (16**2 + 8**2)
    assert blurred - strided == 3 * halvings


def test_a_deep_network_refuses_pictures_that_leave_its_trunk_one_pixel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = random_model(downsamplings=4)
    assert (model.multiple, model.min_size) == (16, 32)
    save(model, tmp_path / "deep.safetensors")
    file = tmp_path / "deep.safetensors"
    told = run_cli(capsys, "export", file, "-o", tmp_path / "x.onnx", "--size", 16)
    assert told.code == 2
    assert "at least 32 pixels" in told.err


@pytest.mark.parametrize(
    ("kind", "more"),
    [("cyclegan", []), ("pix2pix", ["generator=resnet"])],
    ids=["cyclegan", "pix2pix"],
)
def test_the_crops_of_a_deep_network_are_checked_before_training(
    kind: str, more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "x", 2, size=64)
    for size, advised in ((36, "not a multiple of 16"), (16, "crops of at least 32 pixels")):
        sets = [f"data.size={size}", "options.downsamplings=4", "discriminator.layers=1", *more]
        asked = [word for value in sets for word in ("--set", value)]
        told = run_cli(
            capsys, "train", kind, "--images", tmp_path / "x", "--run", tmp_path / "r", *asked
        )
        assert told.code == 2
        assert advised in told.err and "--set data.size=32" in told.err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"up": "biliner"},
            "one of transposed, nearest, bilinear, sub-pixel; got 'biliner'.*'bilinear'",
        ),
        ({"padding": "mirror"}, "one of reflect, replicate, zero"),
        ({"antialias": 8}, "2 to 7; got 8"),
        ({"antialias": 1}, "2 to 7; got 1"),
        ({"downsamplings": 0}, "at least 1"),
    ],
)
def test_a_value_that_an_option_cannot_have_is_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        CYCLEGAN.build(**options)


def test_a_relative_goes_the_whole_way_by_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Import, ONNX, and back to upstream's class; the card says what it is."""
    net = shaken(Resnet([4, 8, 16, 16, 16, 8, 4], taps=3, up="blur"))
    torch.save(net.state_dict(), tmp_path / "latest_net_G.pth")
    ours = tmp_path / "cut.safetensors"
    assert run_cli(capsys, "import", "auto", tmp_path / "latest_net_G.pth", "-o", ours).code == 0
    model = load(ours)
    assert model.card()["options"]["antialias"] == 3
    assert same(model, net) < 1e-5
    for target, suffix in (("onnx", ".onnx"), ("pth-cut", ".pth")):
        to = tmp_path / f"back{suffix}"
        done = run_cli(capsys, "export", ours, "-o", to, "--to", target, "--size", 32)
        assert done.code == 0, done.err
    assert same(import_model("cut", tmp_path / "back.pth"), net) < 1e-5
