"""Training on from a file: its weights, widths, options and discriminator, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import golden
import pytest
import torch
from cli_runs import run_cli
from nets import difference
from thin import thinned
from torch import Tensor, nn

from ganpress.data import open_images
from ganpress.errors import ConfigError
from ganpress.models.checkpoint import Model, load, save
from ganpress.models.discriminator import Discriminator
from ganpress.models.families import FAMILIES
from ganpress.models.families.base import draw_inputs
from ganpress.nn.discriminators import build_discriminator
from ganpress.nn.spade import SpadeBlock, add_spectral_norm
from ganpress.quantisation.attach import attach_quantiser
from ganpress.quantisation.settings import QuantiseSettings
from ganpress.run.files import read_json
from ganpress.run.settings import checked
from ganpress.training.settings import TrainConfig
from ganpress.training.train import train, trainer

ALL = sorted(golden.RECIPES)
SOME = thinned(ALL, lambda name: name in ("cyclegan", "munit", "sngan"))
TWO = ("cyclegan", "munit")
STILL = {"lr", "lr_g", "lr_d"}


def config(name: str, *, bare: bool = False, **changes: Any) -> TrainConfig:
    """The golden recipe in two steps; ``bare``: without options and width."""
    kind = trainer(name).config
    crops = {"size": 32, "load_size": 36, "workers": 0}
    values = {**golden._COMMON, "data": crops, **golden.RECIPES[name], "steps": 2, **changes}
    if bare:
        values = {n: v for n, v in values.items() if n not in ("options", "width")}
        if name == "pix2pix":  # of fewer halvings than usual, for crops of 32 pixels
            values["options"] = {"downs": 4}
        if name in ("sngan", "stylegan2"):  # the size of the pictures is the file's
            del values["data"]
            values["data"] = {"workers": 0}
    return checked(kind, values)


def still(name: str) -> dict[str, Any]:
    """Settings under which no weight moves by more than a rounding."""
    names = set(trainer(name).config.model_fields)
    rates: dict[str, Any] = dict.fromkeys(STILL & names, 1e-30)
    if "discriminator" in names and name in ("pix2pix", "cyclegan"):
        rates["discriminator"] = {"width": 4, "layers": 2, "lr": 1e-30}
    return rates | ({"weight_decay": 0.0} if "weight_decay" in names else {})


@pytest.fixture
def learn(tmp_path: Path) -> Callable[..., dict[str, Model]]:
    """Train a golden recipe in a folder of this name."""
    torch.set_num_threads(1)
    kept: dict[str, Any] = {}

    def go(name: str, folder: str, **how: Any) -> dict[str, Model]:
        if name not in kept:
            (tmp_path / name).mkdir()
            kept[name] = golden.data(trainer(name).needs, tmp_path / name)
        images, other = kept[name]
        settings = how.pop("config")
        return train(
            name, images, run=tmp_path / folder, config=settings, other=other, quiet=True, **how
        )

    return go


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether two networks have the same weights, to the bit."""
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def picture(model: Model, seed: int = 3) -> Tensor:
    """What a model makes of random inputs."""
    return model(*draw_inputs(model.net, 2, 32, torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("name", thinned(ALL, lambda name: name in ("cyclegan", "stylegan2")))
def test_a_training_that_learns_nothing_gives_back_the_files_networks(
    name: str, learn: Callable[..., dict[str, Model]]
) -> None:
    first = learn(name, "first", config=config(name))
    settings = config(name, bare=True, **still(name))
    again = learn(name, "again", config=settings, start=first)
    assert again.keys() == first.keys()
    for way, model in again.items():
        own = first[way]
        assert (model.options, model.widths) == (own.options, own.widths)
        if any("running_mean" in n for n in own.net.state_dict()):  # its statistics move
            for (n, a), (_, b) in zip(
                model.net.named_parameters(), own.net.named_parameters(), strict=True
            ):
                assert torch.allclose(a, b, rtol=1e-3, atol=1e-6), n
        else:
            assert torch.allclose(picture(model), picture(own), atol=1e-5), way
        judge, judged = model.discriminator, own.discriminator
        assert judge and judged
        for (n, a), (_, b) in zip(
            judge.net.named_parameters(), judged.net.named_parameters(), strict=True
        ):
            assert torch.allclose(a, b, atol=1e-6), n


@pytest.mark.parametrize("name", SOME)
def test_the_same_start_twice_gives_the_same_bits(
    name: str, learn: Callable[..., dict[str, Model]]
) -> None:
    first = learn(name, "first", config=config(name))
    one, two = (learn(name, f, config=config(name), start=first) for f in ("one", "two"))
    for way in one:
        assert same(one[way].net, two[way].net)
        assert not same(one[way].net, first[way].net)
        judge, judged = one[way].discriminator, two[way].discriminator
        assert judge and judged and same(judge.net, judged.net)


@pytest.mark.parametrize("name", SOME)
def test_narrower_networks_are_trained_on_with_their_widths(
    name: str, learn: Callable[..., dict[str, Model]]
) -> None:
    first = learn(name, "first", config=config(name, steps=1))
    slim = {}
    for way, model in first.items():
        torch.manual_seed(5)
        narrow = {g: max(1, w - 1 - i % 2) for i, (g, w) in enumerate(model.widths.items())}
        slim[way] = replace(model, net=model.build(narrow), discriminator=None)
    again = learn(name, "again", config=config(name, bare=True), start=slim)
    assert {w: m.widths for w, m in again.items()} == {w: m.widths for w, m in slim.items()}
    assert all(not same(again[w].net, slim[w].net) for w in slim)


@pytest.mark.parametrize("name", TWO)
def test_one_direction_alone_leaves_the_other_fresh(
    name: str, learn: Callable[..., dict[str, Model]], tmp_path: Path
) -> None:
    first = learn(name, "first", config=config(name))
    settings = config(name, **still(name))
    both = learn(name, "both", config=settings, start=first["A2B"])
    ours, theirs = both["A2B"], first["A2B"]
    assert torch.allclose(picture(ours), picture(theirs), atol=1e-5)
    assert not torch.allclose(picture(both["B2A"]), picture(first["B2A"]), atol=1e-3)
    assert (
        ours.provenance["start"]["generator"]
        == both["A2B"].provenance["recipe"]["start"]["A2B"]["generator"]
    )
    assert "start" not in both["B2A"].provenance


def test_a_fresh_average_forgets_its_first_weights_and_a_starts_does_not(
    learn: Callable[..., dict[str, Model]],
) -> None:
    first = learn("pix2pix", "first", config=config("pix2pix"))[""]
    slow = config("pix2pix", ema=0.999999)
    after = learn("pix2pix", "again", config=slow, start=first)[""]
    fresh = learn("pix2pix", "fresh", config=slow)[""]
    unmoved = learn("pix2pix", "unmoved", config=config("pix2pix", **still("pix2pix")))[""]

    def moved(model: Model, since: Model) -> float:
        pairs = zip(model.net.parameters(), since.net.parameters(), strict=True)
        return max(difference(a, b) for a, b in pairs)

    assert moved(after, first) <= 1e-7 < 1e-4 < moved(fresh, unmoved)


# --- through the command line -------------------------------------------------------------------

TINY = (
    *("--set", "steps=2", "--set", "data.size=32", "--set", "data.load_size=", "--set"),
    *("data.workers=0", "--set", "discriminator.width=4", "--set", "discriminator.layers=2"),
)


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Any, ...]:
    """A training of pix2pix on tiny pairs, as arguments."""
    golden.data("pairs", tmp_path)
    return ("train", "pix2pix", "--images", tmp_path / "x", "--pairs", tmp_path / "y", *TINY)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A small U-Net of uneven widths, with a discriminator."""
    torch.manual_seed(0)
    unet = FAMILIES["pix2pix"]
    options = unet.resolve({"downs": 4})
    widths = {g: 3 + i for i, g in enumerate(unet.full(options))}
    patch = {"inputs": 6, "width": 4, "layers": 2, "norm": "batch"}
    judge = Discriminator(build_discriminator("patch", **patch), "patch", patch, "cross-entropy")
    model = Model(unet.build(widths, **options), unet, options, {"licence": "CC0"}, judge)
    return save(model, tmp_path / "mine.safetensors")


def test_the_command_trains_on_and_the_card_names_the_file(
    capsys: pytest.CaptureFixture[str], pairs: tuple[Any, ...], file: Path, tmp_path: Path
) -> None:
    told = run_cli(capsys, *pairs, "--from", file, "--run", tmp_path / "run")
    assert (told.code, told.err.count("fresh")) == (0, 0), told.err
    model = load(tmp_path / "run" / "teacher.safetensors")
    assert model.widths == load(file).widths
    assert model.options == load(file).options
    start = model.provenance["start"]
    assert start["file"] == str(file) and start["provenance"] == {"licence": "CC0"}
    assert read_json(tmp_path / "run" / "config.json")["start"]["generator"]


def test_a_discriminator_of_another_shape_is_fresh_and_a_line_says_so(
    capsys: pytest.CaptureFixture[str], pairs: tuple[Any, ...], file: Path, tmp_path: Path
) -> None:
    wider = ("--set", "discriminator.width=5", "--from", file, "--run", tmp_path / "run")
    told = run_cli(capsys, *pairs, *wider)
    assert told.code == 0
    assert "The discriminator is a fresh one: width is 4 in the file's and 5 in the" in told.err
    save(replace(load(file), discriminator=None), file)
    told = run_cli(capsys, *pairs, "--from", file, "--run", tmp_path / "bare")
    assert "The discriminator is a fresh one: none is in the file." in told.err


def test_going_on_with_another_file_or_without_one_is_refused(
    capsys: pytest.CaptureFixture[str], pairs: tuple[Any, ...], file: Path, tmp_path: Path
) -> None:
    command = (*pairs, "--run", tmp_path / "run")
    assert run_cli(capsys, *command, "--from", file).code == 0
    assert run_cli(capsys, *command, "--from", file).code == 0
    other = load(file)
    next(other.net.parameters()).data += 0.1
    told = run_cli(capsys, *command, "--from", save(other, tmp_path / "other.safetensors"))
    assert told.code == 2 and "start.generator: " in told.err
    told = run_cli(capsys, *command, "--set", "options.downs=4")
    assert told.code == 2 and "start" in told.err


REFUSED = {
    "options.downs=5": ("options.downs is 5", "has 4", "options.downs="),
    "width=0.5": ("width is 0.5, which gives group", "has 3", "width="),
    "generator=resnet": ("is a 'pix2pix' generator", "'cyclegan'", "generator=unet"),
}


@pytest.mark.parametrize("setting", REFUSED)
def test_settings_that_contradict_the_file_are_refused_with_both_values(
    capsys: pytest.CaptureFixture[str],
    pairs: tuple[Any, ...],
    file: Path,
    tmp_path: Path,
    setting: str,
) -> None:
    command = (*pairs, "--from", file, "--run", tmp_path / "run", "--set", setting)
    told = run_cli(capsys, *command)
    *parts, advice = REFUSED[setting]
    assert told.code == 2 and all(part in told.err for part in (*parts, f"--set {advice}"))
    assert not (tmp_path / "run" / "config.json").exists()
    assert run_cli(capsys, *command, "--set", advice).code == 0


def test_a_quantised_model_and_one_of_another_family_are_refused(
    capsys: pytest.CaptureFixture[str], pairs: tuple[Any, ...], file: Path, tmp_path: Path
) -> None:
    whole = load(file)
    attach_quantiser(
        whole.net, load(file).net, (torch.rand(1, 3, 32, 32),), QuantiseSettings(bits=8)
    )
    rounded = save(whole, tmp_path / "int8.safetensors")
    told = run_cli(capsys, *pairs, "--from", rounded, "--run", tmp_path / "run")
    assert told.code == 2 and "is quantised" in told.err
    told = run_cli(
        capsys, "train", "munit", "--images", tmp_path / "x", "--other", tmp_path / "y",
        "--from", file, "--run", tmp_path / "run",
    )  # fmt: skip
    assert told.code == 2 and "'ganpress train pix2pix'" in told.err
    told = run_cli(capsys, *pairs, "--from-back", file, "--run", tmp_path / "run")
    assert told.code == 2 and "--from FILE" in told.err
    told = run_cli(capsys, *pairs, "--from", file, "--from-back", file, "--run", tmp_path / "run")
    assert told.code == 2 and "starts from one generator" in told.err


def test_both_directions_from_a_folder_or_two_files_and_pairs_that_do_not_fit_are_refused(
    capsys: pytest.CaptureFixture[str], learn: Callable[..., dict[str, Model]], tmp_path: Path
) -> None:
    learn("munit", "first", config=config("munit"))
    learn("munit", "wider", config=config("munit", width=0.06))
    base = (
        *("train", "munit", "--images", tmp_path / "munit" / "x", "--other"),
        *(tmp_path / "munit" / "y", "--set", "steps=2", "--set", "data.size=32", "--set"),
        *("data.workers=0", "--set", "discriminator_layers=2", "--set", "discriminator_scales=2"),
        *("--set", "discriminator_width=4"),
    )
    first, wider = tmp_path / "first", tmp_path / "wider"
    files = [first / f"teacher-{way}.safetensors" for way in ("A2B", "B2A")]
    one = run_cli(capsys, *base, "--from", first, "--run", tmp_path / "a")
    two = run_cli(
        capsys, *base, "--from", files[0], "--from-back", files[1], "--run", tmp_path / "b"
    )
    assert one.code == two.code == 0, one.err + two.err
    made = [load(tmp_path / run / "teacher-A2B.safetensors") for run in "ab"]
    assert same(made[0].net, made[1].net)
    unlike = wider / "teacher-B2A.safetensors"
    told = run_cli(
        capsys, *base, "--from", files[0], "--from-back", unlike, "--run", tmp_path / "c"
    )
    assert told.code == 2 and "channels" in told.err and "wider" in told.err


@pytest.mark.parametrize("name", ["sngan", "stylegan2"])
def test_a_picture_size_that_is_not_the_files_is_refused(
    name: str, learn: Callable[..., dict[str, Model]]
) -> None:
    first = learn(name, "first", config=config(name))
    size = {"sngan": ("bottom_width", 8, 64), "stylegan2": ("size", 64, 64)}[name]
    option, value, pixels = size
    settings = checked(trainer(name).config, {"options": {option: value}, "data": {"size": pixels}})
    with pytest.raises(ConfigError, match=f"options.{option} is {value}, and"):
        learn(name, "again", config=settings, start=first)


def test_messages_propose_nothing_that_the_file_decides(
    capsys: pytest.CaptureFixture[str], pairs: tuple[Any, ...], file: Path, tmp_path: Path
) -> None:
    """Each message has other ways out where it trains from fresh weights."""
    command = (*pairs, "--run", tmp_path / "run", "--set", "data.size=40")
    told = run_cli(capsys, *command, "--set", "options.downs=4")
    assert "--set data.size=32 or --set data.size=48 or --set options.downs=3" in told.err
    told = run_cli(capsys, *command, "--from", file)
    assert told.code == 2 and "(--set data.size=32 or --set data.size=48)" in told.err
    told = run_cli(
        capsys, *pairs, "--run", tmp_path / "run", "--from", file, "--set", "data.size=48"
    )
    assert told.code == 2 and "(--set data.size=32)" in told.err and "options" not in told.err


def test_classes_that_are_not_there_are_not_said_to_be_an_option_of_a_start(
    learn: Callable[..., dict[str, Model]], tmp_path: Path
) -> None:
    first = learn("sngan", "first", config=config("sngan"))
    (tmp_path / "plain").mkdir()
    golden.data("other", tmp_path / "plain")
    images = open_images(tmp_path / "plain" / "x")
    with pytest.raises(ConfigError, match=r"with 'labels'\.$"):
        train("sngan", images, run=tmp_path / "a", config=config("sngan"), start=first, quiet=True)
    with pytest.raises(ConfigError, match=r"options\.classes=0"):
        train("sngan", images, run=tmp_path / "b", config=config("sngan"), quiet=True)


def test_spectral_norm_over_trained_weights_holds_their_norms_and_their_function() -> None:
    torch.manual_seed(0)
    spade = FAMILIES["gaugan"]
    net = spade.build(dict.fromkeys(spade.full(spade.resolve({"labels": 4})), 5), labels=4).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if ".conv_" in name:
                parameter.mul_(3.0)  # no norm is 1
    inputs = draw_inputs(net, 1, 64, torch.Generator().manual_seed(1))
    before = net(*inputs)
    block = next(m for m in net.modules() if isinstance(m, SpadeBlock))
    plain = torch.linalg.matrix_norm(block.conv_0.weight.detach().flatten(1), 2)
    add_spectral_norm(net, keep=True)
    assert torch.allclose(net(*inputs), before, atol=1e-4)
    with torch.no_grad():
        block.conv_0.parametrizations.weight.original.mul_(7.0)
    held = torch.linalg.matrix_norm(block.conv_0.weight.detach().flatten(1), 2)
    assert float(held) == pytest.approx(float(plain), rel=1e-4)
