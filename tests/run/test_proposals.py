"""What a message proposes is accepted: each proposal of each message is applied, and tried."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import WIRINGS
from PIL import Image
from slim_runs import teacher_of

from ganpress import open_images
from ganpress.data import Images
from ganpress.errors import ConfigError, GanpressError, ImagesError, InfeasibleTarget
from ganpress.methods.base import Given
from ganpress.methods.gan_slimming import GAN_SLIMMING
from ganpress.methods.gan_slimming.settings import SlimConfig
from ganpress.methods.gan_slimming.targets import check_target
from ganpress.methods.once_for_all import ONCE_FOR_ALL, OnceForAllConfig
from ganpress.models.checkpoint import Model
from ganpress.run.proposals import as_flags, first_accepted, ways, with_changes
from ganpress.run.settings import read_config
from ganpress.training.train import check_sizes, trainer

WAY = re.compile(r"--set \S+?=[^\s)]+(?: --set \S+?=[^\s),]+)*")


def proposals(message: str) -> list[list[str]]:
    """Every way that a message proposes, as what follows --set."""
    ways = WAY.findall(message)
    return [[s.rstrip(".") for s in re.findall(r"--set (\S+=[^\s),]+)", way)] for way in ways]


def refused(check: Callable[[list[str]], Any], sets: list[str]) -> str:
    with pytest.raises(GanpressError) as error:
        check(sets)
    return str(error.value)


def each_is_accepted(check: Callable[[list[str]], Any], sets: list[str], count: int) -> None:
    """Refuse ``sets`` with ``count`` proposals; apply each on top of them."""
    told = refused(check, sets)
    found = proposals(told)
    assert len(found) == count, told
    for way in found:
        check([*sets, *way])


@pytest.mark.parametrize(
    ("family", "sets", "count"),
    [
        ("pix2pix", ["data.size=300"], 3),
        ("pix2pix", ["data.size=128"], 2),
        ("pix2pix", ["generator=resnet", "data.size=130"], 2),
        ("pix2pix", ["generator=resnet", "data.size=20"], 2),
        ("cyclegan", ["data.size=97"], 2),
        ("cyclegan", ["data.size=17"], 1),
        ("cyclegan", ["data.size=20"], 2),
        ("cyclegan", ["data.size=100", "discriminator.layers=6"], 2),
        ("cyclegan", ["data.size=97x131"], 2),
        ("cyclegan", ["batch=4", "accumulate=3"], 2),
        ("cartoongan", ["data.size=33", "discriminator_layers=1"], 2),
        ("cartoongan", ["data.size=64", "discriminator_layers=6"], 2),
        ("munit", ["data.size=66"], 3),
        ("munit", ["data.size=32"], 2),
        ("gaugan", ["data.size=40"], 2),
        ("gaugan", ["data.size=96", "options.upsampling=more"], 3),
        ("stylegan2", ["data.size=64"], 2),
        ("stylegan2", ["data.size=100"], 1),
        ("sngan", ["data.size=24"], 2),
        ("sngan", ["data.size=30"], 1),
        ("sngan", ["batch=16"], 1),
    ],
    ids=str,
)
def test_settings_of_training_are_refused_with_ways_that_are_accepted(
    family: str, sets: list[str], count: int
) -> None:
    each_is_accepted(lambda s: read_config(trainer(family).config, None, s), sets, count)


@pytest.mark.parametrize("family", ["pix2pix", "cyclegan"])
@pytest.mark.parametrize("size", ["512", "512x1024", "64"])
def test_a_default_load_size_follows_a_given_size(family: str, size: str) -> None:
    sets = [f"data.size={size}"]
    if family == "pix2pix" and size == "64":
        sets.append("options.downs=6")
    data = read_config(trainer(family).config, None, sets).data
    sides = [int(side) for side in size.split("x")]
    load = data.load_size if isinstance(data.load_size, tuple) else (data.load_size,)
    assert list(load) == [round(side * 286 / 256) for side in sides]


def test_a_given_load_size_is_kept_and_refused_where_it_is_too_small() -> None:
    kind = trainer("cyclegan").config
    assert read_config(kind, None, ["data.size=64", "data.load_size=70"]).data.load_size == 70
    assert read_config(kind, None, []).data.load_size == 286
    with pytest.raises(ConfigError, match=r"load_size is 60, smaller .* at least 64, or leave it"):
        read_config(kind, None, ["data.size=64", "data.load_size=60"])
    read_config(kind, None, ["data.size=64"])  # left out


def pictures(folder: Path, *sizes: tuple[int, int]) -> Images:
    folder.mkdir()
    for i, (width, height) in enumerate(sizes):
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(folder / f"{i}.png")
    return open_images(folder)


@pytest.mark.parametrize(
    "sizes", [[(97, 131)], [(20, 20)], [(300, 300), (97, 131), (66, 90)], [(17, 400)]], ids=str
)
@pytest.mark.parametrize(
    "family", ["pix2pix", "cyclegan", "cartoongan", "munit", "gaugan", "stylegan2", "sngan"]
)
def test_crops_that_are_proposed_for_small_pictures_fit_all_of_them(
    family: str, sizes: list[tuple[int, int]], tmp_path: Path
) -> None:
    images, kind = pictures(tmp_path / "p", *sizes), trainer(family).config

    def check(sets: list[str]) -> None:
        check_sizes(images, read_config(kind, None, sets))

    sets = ["data.size=256", "options.size=256"] if family == "stylegan2" else []
    if family == "sngan" and min(map(min, sizes)) >= 32:
        check(sets)
        return
    told = refused(check, sets)
    ways = proposals(told)
    assert ["data.enlarge=true"] in ways
    has_crop = family != "gaugan" or min(map(min, sizes)) >= 32  # SPADE's latent grid
    assert len(ways) == 1 + has_crop, told
    for way in ways:
        check([*sets, *way])


def test_pictures_too_small_for_any_crop_are_to_be_enlarged(tmp_path: Path) -> None:
    images = pictures(tmp_path / "p", (9, 9))
    with pytest.raises(ImagesError, match=r"Remove it, or let .*enlarged \(--set data.enlarge"):
        check_sizes(images, trainer("cyclegan").config())


# --- compression ----------------------------------------------------------------------------------


def checking(teacher: Model, images: Images | None) -> Callable[[list[str]], Any]:
    def check(sets: list[str]) -> None:
        config = read_config(SlimConfig, None, sets)
        GAN_SLIMMING.check(
            Given(teacher, images), GAN_SLIMMING.resolve(Given(teacher, images), config)
        )

    return check


@pytest.mark.parametrize(
    ("sets", "count"),
    [
        (["data.size=32", "discriminator.layers=5"], 2),
        (["data.size=64", "sparsify.size=16", "discriminator.layers=3"], 2),
        (["procedure=gd", "min_channels=1"], 2),
        (["target.macs=0.0001"], 1),
        (["target.macs=0.2", "min_channels=8"], 2),
        (["target.params=0.1", "trunk=keep", "min_channels=1"], 3),
        (["sparsify.steps=3", "sparsify.rounds=8"], 1),
        (["procedure=postq", "target.macs=0.5", "min_channels=2"], 1),
    ],
    ids=str,
)
def test_settings_of_compression_are_refused_with_ways_that_are_accepted(
    sets: list[str], count: int, tmp_path: Path
) -> None:
    small = ["discriminator.width=4", "distance.features=tiny"]
    images = pictures(tmp_path / "p", (64, 64))
    each_is_accepted(checking(teacher_of("cyclegan"), images), [*small, *sets], count)


def test_crops_are_proposed_that_generator_and_settings_divide(tmp_path: Path) -> None:
    images = pictures(tmp_path / "p", (128, 128))
    teacher = WIRINGS["pix2pix"].model()  # divides by 32, the settings by 4
    small = ["discriminator.width=4", "distance.features=tiny", "discriminator.layers=2"]
    each_is_accepted(checking(teacher, images), [*small, "data.size=100"], 2)


@pytest.mark.parametrize(
    ("sets", "count"),
    [
        (["min_channels=1"], 1),
        (["target.macs=0.001", "min_channels=2"], 1),
        (["target.params=0.001", "min_channels=2", "search.ratios=[1.0,0.75]"], 1),
        (["target.bytes=0.001", "min_channels=2", "quantise.bits=8"], 1),
        (["target.macs=0.001", "student.width_ratio=0.5", "channel_multiple=2"], 1),
        (["target.macs=0.5", "search.images=4"], 1),
        (["target.macs=0.5", "discriminator.layers=5"], 2),
    ],
    ids=str,
)
def test_settings_of_a_search_are_refused_with_ways_that_are_accepted(
    sets: list[str], count: int, tmp_path: Path
) -> None:
    teacher, images = teacher_of("cyclegan"), pictures(tmp_path / "p", *[(64, 64)] * 4)

    def check(sets: list[str]) -> None:
        given = Given(teacher, images)
        config = read_config(OnceForAllConfig, None, sets)
        ONCE_FOR_ALL.check(given, ONCE_FOR_ALL.resolve(given, config))

    small = ["data.size=32", "search.images=1", "channel_multiple=1", "distance.features=tiny"]
    small += ["discriminator.width=4", "discriminator.layers=2", "min_channels=2"]
    each_is_accepted(check, [*small, *sets], count)


@pytest.mark.parametrize("least", [1, 2, 4])
def test_the_target_that_is_proposed_is_the_smallest_that_is_accepted(least: int) -> None:
    teacher = teacher_of("cyclegan")

    def asked(share: float) -> list[str]:
        return [f"target.macs={share}", f"min_channels={least}"]

    with pytest.raises(InfeasibleTarget) as error:
        check_target(teacher, read_config(SlimConfig, None, asked(1e-6)))
    (way,) = [w for w in proposals(str(error.value)) if w[0].startswith("target")]
    share = float(way[0].partition("=")[2])
    check_target(teacher, read_config(SlimConfig, None, asked(share)))
    with pytest.raises(InfeasibleTarget):
        check_target(teacher, read_config(SlimConfig, None, asked(share * 0.998)))


# --- the module -----------------------------------------------------------------------------------


def test_ways_are_tried_in_order_and_checked_further() -> None:
    config = trainer("cyclegan").config()
    sizes = [{"data.size": size} for size in (97, 98, 256, 128)]
    assert first_accepted(config, sizes) == {"data.size": 256}

    def small(changed: Any) -> None:
        if changed.data.size > 200:
            raise ImagesError("too large")

    assert first_accepted(config, sizes, small) == {"data.size": 128}
    assert first_accepted(config, sizes[:2]) is None
    assert ways(config, sizes[:2]) == ""
    assert ways(config, sizes, sizes[3:]) == " (--set data.size=256 or --set data.size=128)"
    assert ways(config, sizes, sizes) == " (--set data.size=256)"


def test_changes_are_written_as_they_are_typed() -> None:
    changes = {"data.size": (64, 128), "data.enlarge": True, "lr": 0.1}
    assert as_flags(changes) == "--set data.size=64x128 --set data.enlarge=true --set lr=0.1"
    assert as_flags({"target.macs": None}) == "--set target.macs="
    config = with_changes(trainer("cyclegan").config(), changes)
    assert (config.data.size, config.data.enlarge) == ((64, 128), True)
    flags = [f.strip() for f in as_flags(changes).split("--set ") if f]
    assert read_config(trainer("cyclegan").config, None, flags) == config
