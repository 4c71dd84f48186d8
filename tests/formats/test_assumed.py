"""What no tensor of a file says: printed by the import, with alternatives that are accepted, kept
on the card, and refused where something rules it out."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from cli_runs import run_cli
from nets import WIRINGS
from plain_nets import Sngan, Spade, Unet
from test_importers import Cartoon, Upstream, saved, shaken
from torch import Tensor, nn

from ganpress.formats.importers import munit, stylegan2
from ganpress.formats.importers.assumed import values
from ganpress.methods.compress import card_of
from ganpress.models.checkpoint import Model, full_model, load
from ganpress.models.families.base import draw_inputs
from ganpress.nn.discriminators import build_discriminator
from ganpress.types import State

WIDTHS = [4, 5, 6, 3, 7, 5, 4]
EVEN = [2, 4, 8, 8, 8, 8, 4, 2]
BATCH: dict[str, Any] = {"norm": nn.BatchNorm2d, "bias": False}


class Import:
    """`ganpress import KIND FILE`: what it printed, and the model; or its refusal."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    def __call__(self, kind: str, path: Path, *more: str) -> tuple[list[str], Model]:
        out = self.folder / "model.safetensors"
        told = run_cli(self.capsys, "import", kind, path, "-o", out, *more)
        assert (told.code, told.err) == (0, ""), told
        first, *lines = told.out.splitlines()
        assert first.startswith(str(out))
        assert all(line.startswith("assumed ") for line in lines)
        return lines, load(out)

    def refused(self, kind: str, path: Path, *more: str) -> str:
        told = run_cli(self.capsys, "import", kind, path, "-o", self.folder / "no", *more)
        assert (told.code, told.out) == (2, "")
        assert not (self.folder / "no").exists()
        return told.err


@pytest.fixture
def importing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Import:
    return Import(tmp_path, capsys)


def test_the_parameters_are_counted_without_running_the_network(
    importing: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganpress.measures.cost.CostTable", None)
    path, out = saved(importing.folder, Upstream(WIDTHS).state_dict()), importing.folder / "m"
    told = run_cli(importing.capsys, "import", "cyclegan", path, "-o", out)
    assert told.code == 0, told.err
    count = sum(p.numel() for p in load(out).net.parameters())
    assert f"cyclegan, {count:,} parameters." in told.out


def about(lines: list[str], option: str) -> str:
    [line] = [text for text in lines if re.match(rf"assumed ([\w=, ]+, )?{option}=", text)]
    return line


def alternatives(line: str) -> list[list[str]]:
    """The command-line arguments that a line offers."""
    return [part.split() for part in line.rpartition("Otherwise: ")[2].split(" or ")]


class Case(NamedTuple):
    """A network whose file imports to another picture until the option is given."""

    kind: str
    net: nn.Module
    option: str
    inputs: Tensor


def rgb(reach: float = 1.0) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return (torch.rand(2, 3, 32, 64, generator=draw) * 2 - 1) * reach


def maps(side: int = 64, channels: int = 5) -> Tensor:
    return torch.rand(1, channels, side, 2 * side, generator=torch.Generator().manual_seed(1))


CASES = {
    "spade, more": lambda: Case("auto", Spade(upsampling="more"), "upsampling", maps()),
    "spade student, none": lambda: Case(
        "auto", Spade(middle=lambda _: nn.Identity()), "middle", maps()
    ),
    "gan compression's full resnet": lambda: Case(
        "auto", Upstream(EVEN, dropout=True, clamp=True), "clamp", rgb(1.5)
    ),
    "a student of one width": lambda: Case(
        "auto", Upstream(EVEN, separable=True, dropout=True, clamp=True), "clamp", rgb(1.5)
    ),
    "cartoongan, rgb": lambda: Case("auto", Cartoon(2), "colours", rgb()),
}


@pytest.mark.parametrize("name", CASES)
def test_an_assumption_is_told_and_the_alternative_it_offers_gives_the_picture(
    name: str, importing: Import
) -> None:
    case = CASES[name]()
    net = shaken(case.net)
    path = saved(importing.folder, net.state_dict())
    with torch.no_grad():
        want = net(case.inputs)
    lines, model = importing(case.kind, path)
    assert (model(case.inputs) - want).abs().max() > 0.01
    assert values(model.provenance)[case.option] == model.options.get(case.option, "bgr")
    [choice] = alternatives(about(lines, case.option))
    again, model = importing(case.kind, path, *choice)
    assert (model(case.inputs) - want).abs().max() < 1e-5
    assert len(again) == len(lines) - 1
    assert case.option not in model.provenance.get("assumed", {})


def test_what_the_channels_of_a_label_map_mean_is_told_and_every_reading_is_accepted(
    importing: Import,
) -> None:
    path = saved(importing.folder, shaken(Spade(labels=5)).state_dict())
    lines, model = importing("spade", path)
    names = ("labels", "dontcare", "edges")
    readings = [tuple(model.options[n] for n in names)]
    assert readings == [(4, False, True)]
    for choice in alternatives(about(lines, "labels")):
        rest, model = importing("spade", path, *choice)
        assert not [line for line in rest if "labels=" in line]
        readings.append(tuple(model.options[n] for n in names))
        assert model.net.channels == 5
    assert len(set(readings)) == 4
    assert all(sum(reading) == 5 for reading in readings)


@pytest.mark.parametrize(
    ("channels", "given", "found"),
    [
        (5, {"labels": 3}, (3, True, True)),
        (5, {"labels": 5}, (5, False, False)),
        (5, {"dontcare": True, "edges": False}, (4, True, False)),
        (1, {}, (1, False, False)),
    ],
)
def test_channels_that_can_only_mean_one_thing_are_no_assumption(
    channels: int, given: dict[str, object], found: tuple[int, bool, bool], importing: Import
) -> None:
    path = saved(importing.folder, Spade(labels=channels).state_dict())
    options = [f"--option={n}={str(v).lower()}" for n, v in given.items()]
    lines, model = importing("spade", path, *options)
    assert (model.options["labels"], model.options["dontcare"], model.options["edges"]) == found
    assert not [line for line in lines if "labels" in line]


def test_only_what_was_not_given_is_told(importing: Import) -> None:
    path = saved(importing.folder, Spade(labels=5).state_dict())
    lines, model = importing("spade", path, "--option", "labels=4")
    line = about(lines, "dontcare")
    assert line.startswith("assumed dontcare=false, edges=true: ")
    [choice] = alternatives(line)
    assert choice == ["--option", "dontcare=true", "--option", "edges=false"]
    _, model = importing("spade", path, "--option", "labels=4", *choice)
    assert (model.options["dontcare"], model.options["edges"]) == (True, False)


def munit_pair() -> dict[str, State]:
    found = {}
    for seed, name in enumerate("ab"):
        model = WIRINGS["munit"].model(seed)
        found[name] = munit.state_of(model)
    return found


def test_the_direction_of_a_munit_pair_is_told_and_its_discriminator_goes_the_same_way(
    importing: Import,
) -> None:
    path = saved(importing.folder, munit_pair(), "gen.pt")
    torch.manual_seed(0)
    net = partial(build_discriminator, "munit", width=4, layers=2, scales=2)
    beside = saved(importing.folder, {n: net().state_dict() for n in "ab"}, "dis.pt")
    last = torch.load(beside)
    for kind in ("munit", "gan-compression"):
        lines, model = importing(kind, path, "--discriminator", str(beside))
        [choice] = alternatives(about(lines, "direction"))
        rest, other = importing(kind, path, "--discriminator", str(beside), *choice)
        assert len(rest) == len(lines) - 1
        assert (
            torch.equal(
                model.net.state_dict()["mlp.0.weight"], other.net.state_dict()["mlp.0.weight"]
            )
            is False
        )
        for found, domain in ((model, "b"), (other, "a")):
            own = found.discriminator.net.state_dict()
            assert all(torch.equal(own[n], t) for n, t in last[domain].items())


def test_a_munit_of_one_domain_has_no_direction_to_assume(importing: Import) -> None:
    lines, _ = importing("munit", saved(importing.folder, munit_pair()["a"]))
    assert [line.partition(":")[0] for line in lines] == ["assumed pad_type=reflect, activ=relu"]
    assert lines[0].endswith("ganpress has no other.")


@pytest.mark.parametrize("rate", [1.0, 0.1])
def test_the_rate_of_a_stylegans_mapping_network_is_told_where_its_weights_look_unusual(
    rate: float, importing: Import
) -> None:
    wiring = WIRINGS["stylegan2"]
    torch.manual_seed(0)
    source = full_model("stylegan2", **{**wiring.settled, "lr_mlp": rate})
    z = draw_inputs(source.net, 2, 16, torch.Generator().manual_seed(1))
    path = saved(importing.folder, {"g_ema": stylegan2.state_of(source)})
    lines, model = importing("stylegan2", path)
    assert (model(*z) - source(*z)).abs().max() > 1e-3
    [choice] = alternatives(about(lines, "lr_mlp"))
    assert choice == ["--option", f"lr_mlp={rate:g}"]
    lines, model = importing("stylegan2", path, *choice)
    assert lines == []
    assert (model(*z) - source(*z)).abs().max() < 1e-5


DECIDED = {
    "sngan": ("auto", lambda: Sngan().state_dict()),
    "unet of instance norms": (
        "auto",
        lambda: Unet([4, 5, 6, 7], nn.InstanceNorm2d, bias=True).state_dict(),
    ),
    "resnet without blocks": ("auto", lambda: Upstream([4, 5, 6, 5, 4]).state_dict()),
    "stylegan2": (
        "stylegan2",
        lambda: {"g_ema": stylegan2.state_of(WIRINGS["stylegan2"].model())},
    ),
}


@pytest.mark.parametrize("name", DECIDED)
def test_a_file_that_says_everything_is_imported_without_a_word(
    name: str, importing: Import
) -> None:
    kind, make = DECIDED[name]
    lines, model = importing(kind, saved(importing.folder, make()))
    assert lines == []
    assert "assumed" not in model.provenance


@pytest.mark.parametrize("dropout", [False, True])
def test_the_padding_of_residual_blocks_is_told_once_and_a_clamp_only_where_one_could_be(
    dropout: bool, importing: Import
) -> None:
    path = saved(importing.folder, Upstream(WIDTHS, dropout=dropout).state_dict())
    lines, _ = importing("cyclegan", path)
    assert len([line for line in lines if "replicate" in line]) == 1
    assert bool([line for line in lines if "clamp" in line]) == dropout


def test_a_block_that_only_one_upsampling_has_decides_it(importing: Import) -> None:
    net, x = shaken(Spade(upsampling="most")), maps(128)
    lines, model = importing("spade", saved(importing.folder, net.state_dict()))
    assert not [line for line in lines if "upsampling" in line]
    with torch.no_grad():
        assert (model(x) - net(x)).abs().max() < 1e-5


def test_a_student_with_its_config_or_with_longer_statistics_decides_the_middle_norm(
    importing: Import,
) -> None:
    state = shaken(Spade(middle=nn.InstanceNorm2d)).state_dict()
    assert "middle=" in "".join(importing("spade", saved(importing.folder, state))[0])
    name = "up_0.norm_1.param_free_norm.running_"
    state |= {f"{name}{s}": torch.ones(20) for s in ("mean", "var")}  # as SubMobileSPADE keeps them
    assert "middle=" not in "".join(importing("spade", saved(importing.folder, state))[0])


RULED_OUT: dict[str, tuple[str, Any, tuple[str, ...], str]] = {
    "most without up_4": ("spade", Spade(), ("upsampling=most",), "only 'most' has a block up_4"),
    "normal with up_4": ("spade", Spade(upsampling="most"), ("upsampling=normal",), "is there"),
    "batch of a spade without statistics": (
        "spade", Spade(free=nn.InstanceNorm2d), ("norm=batch",), "no running statistics"
    ),
    "batch of a resnet without statistics": (
        "cyclegan", Upstream(WIDTHS), ("norm=batch",), "no norms with scales and running"
    ),
    "batch of a unet without statistics": (
        "pix2pix", Unet([4, 5, 6], nn.InstanceNorm2d, bias=True), ("norm=batch",), "no norms with"
    ),
    "too many labels": ("spade", Spade(), ("labels=9",), "reads 5 channels, and labels=9 does not"),
    "an option of another network": (
        "gan-compression", Upstream(WIDTHS, dropout=True), ("upsampling=more",), "takes no 'upsamp"
    ),
    "a clamp of a spade": ("gan-compression", Spade(), ("clamp=true",), "takes no 'clamp'"),
    "a negative rate": ("stylegan2", Sngan(), ("lr_mlp=-1",), "a number above 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", RULED_OUT)
def test_an_option_that_the_file_rules_out_is_refused(name: str, importing: Import) -> None:
    kind, net, options, said = RULED_OUT[name]
    path = saved(importing.folder, net.state_dict())
    message = importing.refused(kind, path, *(f"--option={o}" for o in options))
    assert said in message
    for choice in re.findall(r"--option \w+=\S+(?: --option \w+=[\w.]+)*", message):
        importing(kind, path, *choice.rstrip(",.").split())


@pytest.mark.parametrize(
    ("kind", "net"),
    [
        ("cyclegan", lambda: Upstream(WIDTHS, lambda _: nn.Identity(), bias=False)),
        ("pix2pix", lambda: Unet([4, 5, 6, 7], lambda _: nn.Identity(), bias=False)),
    ],
)
def test_a_network_without_norms_is_refused_and_one_without_biases_read_on_request(
    kind: str, net: Any, importing: Import
) -> None:
    path = saved(importing.folder, shaken(net()).state_dict())
    message = importing.refused(kind, path)
    assert "--norm none" in message
    assert "--option norm=instance" in message
    _, model = importing(kind, path, "--option", "norm=instance")
    other = {"cyclegan": partial(Upstream, WIDTHS), "pix2pix": partial(Unet, [4, 5, 6, 7])}[kind]
    plain = shaken(other(nn.InstanceNorm2d, bias=False))
    plain.load_state_dict(torch.load(path))
    with torch.no_grad():
        assert (model(rgb()) - plain(rgb())).abs().max() < 1e-5


@pytest.mark.parametrize("labels", [4, 6])
def test_a_spade_discriminator_of_other_labels_is_refused(labels: int, importing: Import) -> None:
    path = saved(importing.folder, Spade(labels=5).state_dict())
    beside = saved(importing.folder, spade_discriminator(labels + 3), "net_D.pth")
    message = importing.refused("spade", path, "--discriminator", str(beside))
    assert f"reads {labels + 3} channels, and this generator's would read 8" in message
    good = saved(importing.folder, spade_discriminator(8), "net_D.pth")
    for kind in ("spade", "gan-compression"):
        assert importing(kind, path, "--discriminator", str(good))[1].discriminator.kind == "spade"


def spade_discriminator(inputs: int) -> State:
    """NVlabs' keys of a discriminator with two scales of two stages."""
    state: State = {}
    for i in range(2):
        at = f"discriminator_{i}.model"
        state |= {f"{at}0.0.weight": torch.randn(4, inputs, 4, 4), f"{at}0.0.bias": torch.randn(4)}
        state |= {f"{at}1.0.0.weight_orig": torch.randn(8, 4, 4, 4)}
        state |= {f"{at}1.0.0.weight_u": torch.randn(8), f"{at}1.0.0.weight_v": torch.randn(64)}
        state |= {f"{at}2.0.weight": torch.randn(1, 8, 4, 4), f"{at}2.0.bias": torch.randn(1)}
    return state


def test_a_patch_discriminator_that_reads_neither_picture_nor_pair_is_refused(
    importing: Import,
) -> None:
    path = saved(importing.folder, Upstream(WIDTHS).state_dict())
    for inputs, fits in ((3, True), (6, True), (4, False)):
        net = build_discriminator("patch", inputs=inputs, width=4, layers=2)
        beside = saved(importing.folder, net.state_dict(), "net_D.pth")
        if fits:
            importing("cyclegan", path, "--discriminator", str(beside))
        else:
            message = importing.refused("cyclegan", path, "--discriminator", str(beside))
            assert "reads 4 channels, and this generator's would read 3 or 6" in message


def test_a_stylegan_discriminator_of_another_size_is_refused(importing: Import) -> None:
    net = build_discriminator("stylegan2", size=8, channels=[4, 4])
    both = {
        "g_ema": stylegan2.state_of(WIRINGS["stylegan2"].model()),
        "d": stylegan2.discriminator_state_of(net),
    }
    message = importing.refused("stylegan2", saved(importing.folder, both))
    assert "pictures of 8 pixels, and this generator's would read 16" in message


def test_assumptions_are_on_the_card_of_the_model_and_of_a_run_from_it(importing: Import) -> None:
    path = saved(importing.folder, Spade(upsampling="more").state_dict())
    lines, model = importing("spade", path)
    found = model.provenance["assumed"]["upsampling"]
    assert found["value"] == "normal"
    assert found["otherwise"] == ["--option upsampling=more"]
    assert found["why"] in about(lines, "upsampling")
    given: Any = SimpleNamespace(images=None, reals=None, teacher=model)
    config: Any = SimpleNamespace(device="cpu")
    shown = card_of(given, config)["teacher_assumed"]
    assert shown == "upsampling=normal, labels=4, dontcare=false, edges=true"
