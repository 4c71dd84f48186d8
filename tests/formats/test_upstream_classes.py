"""A file goes into upstream's own class, built by the call that is reported: strictly, and with the
same picture; a student that no class can hold is refused, or padded by zero channels."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import randomise
from thin import thinned
from torch import Tensor
from upstream_classes import build

from ganpress.channels.widen import widen
from ganpress.errors import ConfigError, ExportError, GanpressError, WidthsError
from ganpress.formats.exporters import export
from ganpress.formats.exporters.pth import LAYOUTS
from ganpress.formats.importers import import_model
from ganpress.formats.importers.kinds import READERS
from ganpress.models.checkpoint import Model
from ganpress.models.families import FAMILIES
from ganpress.models.families.base import draw_inputs
from ganpress.models.layouts import fit
from ganpress.models.upstream import CLASSES, HOLDS, classes_of
from ganpress.nn.layers import add_gates

PRIMES = (5, 7, 3, 11, 2, 13)


@dataclass(frozen=True)
class Case:
    """A student and where it goes.

    Attributes:
        widths: some of its groups' widths; the others are small primes.
        named: part of the call that takes it, with --pad.
    """

    family: str
    target: str
    named: str
    options: dict[str, Any] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)
    size: int = 32

    @property
    def asked(self) -> int | None:
        """The size to export at; those from noise have one of their own."""
        return None if self.family in ("stylegan2", "sngan") else self.size

    def student(self) -> Model:
        which = FAMILIES[self.family]
        options = which.resolve(self.options)
        groups = which.full(options)
        small = {g: PRIMES[i % len(PRIMES)] for i, g in enumerate(groups)}
        torch.manual_seed(1)
        net = randomise(which.build({**small, **self.widths}, **options)).eval()
        return Model(net, which, options)


UPS = {"up1": 10, "up2": 5}
ADAIN = {"style_dim": 3, "res": 2}
STYLE = {"size": 16, "style_dim": 8, "n_mlp": 2}
CASES = {
    "junyanz": Case("cyclegan", "pth-junyanz", "ngf=11", {"blocks": 2}, {"trunk": 44}),
    "junyanz scaled": Case(
        "cyclegan", "pth-junyanz", "affine=True", {"blocks": 2, "affine": True}
    ),
    "junyanz batch": Case("cyclegan", "pth-junyanz", "BatchNorm", {"blocks": 2, "norm": "batch"}),
    "junyanz emptied": Case(
        "cyclegan", "pth-junyanz", "ngf=", {"blocks": 2, "affine": True}, {"block1": 0}
    ),
    "unet": Case("pix2pix", "pth-junyanz", "num_downs=5", {"downs": 5}),
    "unet deeper": Case(
        "pix2pix", "pth-junyanz", "num_downs=6", {"downs": 6, "norm": "instance"}, size=64
    ),
    "unet scaled": Case(
        "pix2pix", "pth-junyanz", "affine=True", {"downs": 5, "norm": "instance", "affine": True}
    ),
    "gc": Case("cyclegan", "pth-gan-compression", "ResnetGenerator(", {"blocks": 1}),
    "gc mobile": Case(
        "cyclegan", "pth-gan-compression", "MobileResnetGenerator(3, 3, ngf=",
        {"blocks": 2, "separable": True, "norm": "batch"},
    ),
    "gc student": Case(
        "cyclegan", "pth-gan-compression", "SubMobileResnetGenerator(3, 3, {'channels': [5, 4, 1, ",
        {"blocks": 9, "separable": True}, {"up2": 7, "up1": 2},
    ),
    "gc student of 10 blocks": Case(
        "cyclegan", "pth-gan-compression", "n_blocks=10", {"blocks": 10, "separable": True}
    ),
    "nvlabs spade": Case("gaugan", "pth-nvlabs", "--ngf ", {"labels": 3}, size=64),
    "gc spade most": Case(
        "gaugan", "pth-gan-compression", "most", {"labels": 3, "upsampling": "most"}, size=128
    ),
    "gc spade": Case(
        "gaugan", "pth-gan-compression", "SPADEGenerator(opt)", {"labels": 3}, size=64
    ),
    "gc mobile spade": Case(
        "gaugan", "pth-gan-compression", "MobileSPADEGenerator(opt)",
        {"labels": 3, "separable": True, "middle": "none", "upsampling": "more"}, size=64,
    ),
    "gc spade student": Case(
        "gaugan", "pth-gan-compression", "SubMobileSPADEGenerator(opt, config)",
        {"labels": 3, "separable": True, "dontcare": True, "edges": False},
        {"trunk": 30, "up_0": 20, "up_2_mid": 9}, size=64,
    ),
    "nvlabs munit": Case(
        "munit", "pth-nvlabs", "'dim': 5", ADAIN,
        {**UPS, "dec1": 0, "trunk": 17, "style0": 4, "style1": 3},
    ),
    "gc munit": Case(
        "munit", "pth-gan-compression", "--ngf 5", {**ADAIN, "style_encoder": False}, UPS
    ),
    "gc munit student": Case(
        "munit", "pth-gan-compression", "SubMobileAdaINGenerator", {**ADAIN, "separable": True},
        {"up1": 6, "up2": 7, "res0": 0},
    ),
    "cartoongan": Case("cartoongan", "pth-cartoongan", "Transformer()", widths={"block3": 0}),
    "rosinality": Case("stylegan2", "pth-rosinality", "channel_multiplier=", STYLE),
    "sngan": Case("sngan", "pth-sngan", "--gf_dim 13", {"latent_dim": 6}),
}  # fmt: skip
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
ONE_OF = {case.target: case for case in reversed(CASES.values())}
one_of_each = pytest.mark.parametrize(
    "case", thinned(CASES.values(), lambda case: ONE_OF[case.target] is case), ids=CASES.keys()
)


def check_taken(path: Path, upstream: str, model: Model, size: int) -> None:
    """Upstream's class, built by the call, takes the file strictly and makes the picture; computed
    in double, since tiny InstanceNorms enlarge the rounding of sums."""
    held = torch.load(path, weights_only=True)
    theirs = build(upstream)
    theirs.load_state_dict(held.get("g_ema", held), strict=True)
    inputs = draw_inputs(model.net, 2, size, torch.Generator().manual_seed(4))
    exact = [t.double() for t in inputs]
    ours = copy.deepcopy(model.net).double().eval()
    with torch.no_grad(), warnings.catch_warnings():
        # GAN Compression's student gives its norms the widths of other layers
        warnings.filterwarnings("ignore", "input's size at dim=1 does not match num_features")
        assert (theirs.double()(*exact) - ours(*exact)).abs().max() < 1e-5


@one_of_each
def test_upstreams_class_takes_a_padded_student_and_makes_its_picture(
    case: Case, tmp_path: Path
) -> None:
    model = case.student()
    if case.family != "stylegan2":  # of which a class takes any widths: below
        with pytest.raises(ExportError, match="cannot have this student's widths"):
            export(model, tmp_path / "refused.pth", to=case.target, size=case.asked)
        assert not list(tmp_path.iterdir())
    with warnings.catch_warnings():  # of scales that upstream's norms have not by default
        warnings.filterwarnings("ignore", ".*the InstanceNorms have scales")
        facts = export(model, tmp_path / "net.pth", to=case.target, size=case.asked, pad=True)
    assert facts.upstream is not None and case.named in facts.upstream
    assert facts.widths is not None
    assert all(facts.widths[g] >= width for g, width in model.widths.items())
    check_taken(facts.file, facts.upstream, model, case.size)
    kind, _ = LAYOUTS[case.target][case.family]
    told = {o: v for o, v in model.options.items() if o in READERS[kind].options}
    assert import_model(kind, facts.file, **told).widths == facts.widths


@cases
def test_a_network_of_the_classes_widths_goes_there_as_it_is(case: Case, tmp_path: Path) -> None:
    model = case.student()
    scaled = model.options.get("norm") == "instance" and bool(model.options.get("affine"))
    classes = classes_of(case.target, case.family, model.options, scaled=scaled)
    have = {g: max(1, width) for g, width in model.widths.items()}
    nearest = fit(classes[-1] if case.family != "cyclegan" else classes[0], have)
    whole = Model(randomise(model.build(nearest.widths)).eval(), model.family, model.options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*the InstanceNorms have scales")
        facts = export(whole, tmp_path / "net.pth", to=case.target, size=case.asked)
    assert facts.upstream is not None and facts.widths is None
    check_taken(facts.file, facts.upstream, whole, case.size)


def test_a_slimmed_stylegan2_goes_to_the_class_that_takes_any_widths(tmp_path: Path) -> None:
    model = CASES["rosinality"].student()
    facts = export(model, tmp_path / "net.pth", to="pth-rosinality")
    assert facts.upstream is not None and "generator_net_shape=[5, 7, 3, 11, 2, 13]" in (
        facts.upstream
    )
    check_taken(facts.file, facts.upstream, model, 16)


def test_a_student_with_a_whole_trunk_goes_into_gan_slimmings_class(tmp_path: Path) -> None:
    case = Case("cyclegan", "pth-junyanz", "", {"blocks": 1, "affine": True}, {"trunk": 256})
    model = case.student()
    for name, layer in model.net.named_modules():
        if name in ("down2.norm", "blocks.0.norm2"):
            torch.nn.init.ones_(layer.weight)  # type: ignore[arg-type]
            torch.nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    facts = export(model, tmp_path / "net.pth", to="pth-junyanz", size=32)
    assert facts.upstream is not None and "dim_lst=[5, 7, 11, 2, 13]" in facts.upstream
    check_taken(facts.file, facts.upstream, model, 32)


def test_the_refusal_names_each_group_with_what_the_class_has(tmp_path: Path) -> None:
    case = Case("cyclegan", "", "", {"blocks": 1}, {"stem": 8, "down1": 15, "trunk": 28})
    with pytest.raises(ExportError) as told:
        export(case.student(), tmp_path / "net.pth", to="pth-junyanz", size=32)
    text = str(told.value)
    assert "ResnetGenerator(3, 3, ngf=13" in text
    for part in ("stem 8, not ngf = 13", "down1 15, not 2 ngf = 26", "trunk 28, not 4 ngf = 52"):
        assert part in text
    assert "--pad" in text and "target.layout=pth-junyanz" in text and "'pth-plain'" in text


def test_layernorm_groups_are_not_padded(tmp_path: Path) -> None:
    case = Case("munit", "", "", ADAIN, {"up1": 9, "up2": 5})
    for pad in (False, True):
        with pytest.raises(ExportError, match="LayerNorms behind up1"):
            export(case.student(), tmp_path / "net.pth", to="pth-nvlabs", size=32, pad=pad)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("family", "target", "options", "part"),
    [
        ("pix2pix", "pth-junyanz", {"downs": 4}, "at least 5 times"),
        ("cyclegan", "pth-junyanz", {"separable": True}, "pth-gan-compression"),
        ("gaugan", "pth-nvlabs", {"separable": True, "labels": 3}, "pth-gan-compression"),
        ("munit", "pth-nvlabs", {"separable": True}, "pth-gan-compression"),
        ("munit", "pth-nvlabs", {"style_encoder": False}, "always a style encoder"),
        ("munit", "pth-gan-compression", {"separable": True, "res": 3}, "even number"),
        ("cartoongan", "pth-cartoongan", {"blocks": 2}, "blocks=2"),
        ("sngan", "pth-sngan", {"classes": 3}, "no classes"),
    ],
)
def test_what_a_class_does_not_have_is_refused_padded_or_not(
    family: str, target: str, options: dict[str, Any], part: str, tmp_path: Path
) -> None:
    model = Case(family, target, "", options).student()
    for pad in (False, True):
        with pytest.raises(GanpressError, match=part):
            size = None if family == "sngan" else 64
            export(model, tmp_path / "net.pth", to=target, size=size, pad=pad)


def held(layout: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options of a family that the classes of a layout can be."""
    made = FAMILIES[name].resolve(options)
    for option, values in HOLDS.get(layout, {}).get(name, {}).items():
        made[option] = made[option] if made[option] in values else values[0]
    return made


@pytest.mark.parametrize(
    ("layout", "name", "channels"),
    [
        ("pth-rosinality", "stylegan2", {"out_channels": 1}),
        ("pth-sngan", "sngan", {"out_channels": 1}),
        ("pth-cartoongan", "cartoongan", {"in_channels": 1, "blocks": 8}),
        ("pth-nvlabs", "gaugan", {"out_channels": 4}),
        ("pth-gan-compression", "gaugan", {"out_channels": 1}),
        ("pth-nvlabs", "munit", {"in_channels": 1}),
        ("pth-gan-compression", "munit", {"out_channels": 4}),
        ("pth-pytorch-gan", "cyclegan", {"up": "nearest", "in_channels": 1}),
    ],
)
def test_a_class_of_rgb_or_of_as_many_channels_each_way_holds_no_other_network(
    layout: str, name: str, channels: dict[str, Any]
) -> None:
    options = FAMILIES[name].resolve(channels)
    with pytest.raises(ConfigError, match=r"(channels=\d|as many channels as).*'?pth-plain'? or"):
        classes_of(layout, name, options, scaled=False)


@pytest.mark.parametrize(
    ("layout", "call"),
    [("pth-nvlabs", "AdaINGen(1, "), ("pth-gan-compression", "--input_nc 1 --output_nc 1")],
)
def test_munits_call_says_the_channels_of_grey_pictures(layout: str, call: str) -> None:
    options = FAMILIES["munit"].resolve({"in_channels": 1, "out_channels": 1})
    [of] = classes_of(layout, "munit", options, scaled=False)
    assert call in fit(of, FAMILIES["munit"].full(options)).call


def test_the_table_has_every_group_of_every_family() -> None:
    for layout, families in CLASSES.items():
        for name in families:
            family = FAMILIES[name]
            options = held(layout, name, {"blocks": 8} if name == "cartoongan" else {})
            found = [set(of.widths) for of in classes_of(layout, name, options, scaled=False)]
            assert found and found == [set(family.full(options))] * len(found), (layout, name)


def test_the_papers_full_networks_fit_as_they_are() -> None:
    numbers = {"cyclegan": "ngf=64", "pix2pix": "ngf=64", "sngan": "--gf_dim 256"}
    numbers |= {"stylegan2": "channel_multiplier=2", "munit": "64", "gaugan": "--ngf 64"}
    for layout, families in CLASSES.items():
        for name in families:
            family = FAMILIES[name]
            options = held(layout, name, {})
            found = fit(classes_of(layout, name, options, scaled=False)[0], family.full(options))
            assert found.is_exact and (
                layout == "pth-pytorch-gan" or numbers.get(name, "") in found.call
            ), (layout, name)


@cases
def test_widening_changes_no_picture_in_double(case: Case) -> None:
    model = case.student()
    together = {"up1", "up2"} if case.family == "munit" else set()
    wider = {g: w + 1 + i % 3 for i, (g, w) in enumerate(model.widths.items()) if g not in together}
    wide = widen(model.build, model.net, wider).double().eval()
    inputs: tuple[Tensor, ...] = draw_inputs(model.net, 1, case.size, torch.Generator())
    exact = [t.double() for t in inputs]
    with torch.no_grad():
        assert (wide(*exact) - model.net.double()(*exact)).abs().max() < 1e-9


def test_what_cannot_be_widened_is_refused() -> None:
    model = CASES["nvlabs munit"].student()
    with pytest.raises(WidthsError, match="LayerNorm"):
        widen(model.build, model.net, {"up1": 11})
    with pytest.raises(WidthsError, match="more than 1"):
        widen(model.build, model.net, {"trunk": 1})
    gated = CASES["sngan"].student()
    with pytest.raises(WidthsError, match="fold"):
        widen(gated.build, add_gates(gated.net), {"stem": 11})
