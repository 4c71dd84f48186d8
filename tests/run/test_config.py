"""Settings: frozen, unknown names refused with the nearest, contradictions refused early."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ganpress.errors import ConfigError
from ganpress.losses.distance import DistanceSettings
from ganpress.methods.gan_slimming.settings import SlimConfig, resolve
from ganpress.methods.once_for_all.settings import OnceForAllConfig
from ganpress.models.families import family
from ganpress.run.recipes import recipes
from ganpress.run.settings import Settings, as_toml, checked, describe, names, read_config
from ganpress.training.cartoongan import CartoonganTraining
from ganpress.training.cyclegan import CycleGANTraining
from ganpress.training.gaugan import GauGANTraining
from ganpress.training.munit import MunitTraining
from ganpress.training.pix2pix import Pix2PixTraining
from ganpress.training.settings import TrainConfig, TrainData
from ganpress.training.shared_settings import DiscriminatorSettings, MethodSettings
from ganpress.training.sngan import SNGANTraining
from ganpress.training.stylegan2 import StyleGAN2Training
from ganpress.training.train import TRAINERS, trainer

ROOT = Path(__file__).resolve().parents[2]


def refused(*sets: str, file: Path | None = None) -> str:
    with pytest.raises(ConfigError) as error:
        resolve(read_config(SlimConfig, file, sets))
    return str(error.value)


def test_a_set_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("beta = 3.0\n[data]\nbatch = 2\nsize = 64\n")
    c = read_config(SlimConfig, file, ["data.batch=5", "distance.features=tiny", "procedure=gd"])
    assert (c.beta, c.data.size, c.data.batch) == (3.0, 64, 5)
    assert (c.distance.features, c.procedure) == ("tiny", "gd")
    assert c.sparsify == SlimConfig().sparsify


def test_a_set_without_a_value_takes_the_file_back_to_the_default(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("[target]\nmacs = 0.3\n[quantise]\nbits = 8\n")
    read = read_config(SlimConfig, file, ["target.macs=", "target.bytes=0.2", "quantise.bits="])
    assert read.target.chosen == ("bytes", 0.2) and read.quantise == SlimConfig().quantise


@pytest.mark.parametrize("text", ["32_16_24", "32", "1e3", "true", "2026-01-01"])
def test_a_setting_that_takes_text_takes_it_whatever_it_looks_like(text: str) -> None:
    found = read_config(OnceForAllConfig, None, [f"search.choose={text}", "supernet.steps=2_000"])
    assert (found.search.choose, found.supernet.steps) == (text, 2000)
    quoted = read_config(OnceForAllConfig, None, [f'search.choose="{text}"'])
    assert quoted.search.choose == text


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SlimConfig().beta = 1.0


@pytest.mark.parametrize(
    ("item", "nearest"),
    [
        ("data.sise=64", "'data.size'"),
        ("tets.macs=0.1", "'target.macs'"),
        ("sparsfy.rho=1", "'sparsify.rho'"),
        ("rho=0.1", "'sparsify.rho'"),
        ("size=64", "'data.size' or 'target.size' or 'sparsify.size'"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_name(item: str, nearest: str) -> None:
    message = refused(item)
    assert f"'{item.split('=')[0]}'" in message
    assert f"did you mean {nearest}?" in message
    assert "ganpress settings" in message


def test_an_unknown_setting_in_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("[finetune]\nstep = 3\n")
    message = refused(file=file)
    assert str(file) in message
    assert "'finetune.steps'" in message


def test_values_out_of_range_are_told_together_with_what_was_given() -> None:
    message = refused("data.batch=0", "target.macs=2", "procedure=gx")
    for part in ("data.batch", "target.macs", "procedure", "'gx'", "got 0", "got 2"):
        assert part in message


@pytest.mark.parametrize("item", ["data.size=30", "sparsify.size=50"])
def test_a_crop_not_divisible_by_four_is_refused(item: str) -> None:
    message = refused(item)
    assert item.split("=")[0] in message
    assert "multiple of 4" in message


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_setting_that_is_not_finite_is_refused(value: str) -> None:
    assert "finetune.lr" in refused(f"finetune.lr={value}")


def test_two_targets_are_refused() -> None:
    message = refused("target.macs=0.1", "target.params=0.2")
    assert "Give one target, not 2: target.macs, target.params." in message


def test_no_target_is_chosen_where_none_is_given() -> None:
    assert SlimConfig().target.chosen is None
    assert read_config(SlimConfig, None, ["target.bytes=0.2"]).target.chosen == ("bytes", 0.2)


@pytest.mark.parametrize(
    ("sets", "part"),
    [
        (["data.size=64", "data.load_size=48"], "data.load_size is 48"),
        (["quantise.bits=16"], "2 to 8, or 32"),
        (["beta=0", "discriminator.weight=0"], "no loss to train with"),
        (["procedure=cp", "discriminator.weight=0"], "no loss to train with"),
        (["sparsify.steps=2", "sparsify.rounds=3"], "at least one step"),
        (["procedure=gd", "width_ratio=0.5", "target.macs=0.1"], "contradict each other"),
        (["data.size=32", "discriminator.layers=4"], "at least 48 pixels, got 32"),
        (["data.size=64", "sparsify.size=16"], "at least 24 pixels, got 16"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(sets: list[str], part: str) -> None:
    assert part in refused(*sets)


@pytest.mark.parametrize("item", ["seed", "=3", "data", "seed.deeper=1", "data=5"])
def test_a_set_that_is_not_key_and_value_says_how_to_write_it(item: str) -> None:
    assert item.split("=")[0].split(".")[0] in refused(item)


def test_a_value_is_no_group_of_settings() -> None:
    assert "'seed' is a value" in refused("seed=1", "seed.deeper=1")


def test_a_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "hayao.toml").touch()
    message = refused(file=tmp_path / "hayoa.toml")
    assert "hayoa.toml" in message
    assert "did you mean 'hayao.toml'?" in message


@pytest.mark.parametrize("content", [b"beta = = 3", b"\xff\x00"])
def test_a_file_that_is_not_toml_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    assert f"{file} is not valid TOML" in refused(file=file)


def test_a_folder_is_no_configuration_file(tmp_path: Path) -> None:
    assert f"{tmp_path} cannot be read" in refused(file=tmp_path)


def test_cp_has_no_distillation_and_min_channels_is_lifted_to_the_multiple() -> None:
    c = resolve(
        read_config(SlimConfig, None, ["procedure=cp", "min_channels=5", "channel_multiple=4"])
    )
    assert (c.beta, c.min_channels) == (0.0, 8)


KINDS: list[type[Settings]] = [
    SlimConfig,
    *dict.fromkeys(trainer(name).config for name in TRAINERS),
]

# --- settings that had another name before --------------------------------------------------------

HAVE_FORMER_NAMES: list[type[Settings]] = [MethodSettings, TrainConfig, *KINDS]
RENAMED = [(kind, *pair) for kind in HAVE_FORMER_NAMES for pair in kind.renamed.items()]
FORMER = {
    SlimConfig: "arm share least multiple critic data.views data.cache sparsify.compare "
    "sparsify.per_cost sparsify.ramp finetune.keep finetune.check_every finetune.held",
    **dict.fromkeys((CycleGANTraining, GauGANTraining, StyleGAN2Training), "critic"),
    Pix2PixTraining: "critic",
    SNGANTraining: "critic n_critic",
    CartoonganTraining: "critic_width critic_layers",
    MunitTraining: "critic_width critic_layers critic_scales",
}
"""Every setting of the first version that has another name now."""


@pytest.mark.parametrize(
    ("kind", "was", "now"),
    [pytest.param(*row, id=f"{row[0].__name__} {row[1]}") for row in RENAMED],
)
def test_a_former_name_is_refused_with_the_one_it_has_now(
    kind: type[Settings], was: str, now: str
) -> None:
    known = names(kind)
    groups = {name.rpartition(".")[0] for name in known}
    assert now in known or now in groups
    assert was not in known and was not in groups
    told = re.escape(f"Setting '{was}' in --set {was}=1 is now called '{now}'.")
    with pytest.raises(ConfigError, match=f"^{told}$"):
        read_config(kind, None, [f"{was}=1"])
    with pytest.raises(ConfigError, match=f"'{now}'"):
        checked(kind, nested(was, 1))


def nested(name: str, value: object) -> dict[str, Any]:
    """The dotted name's value in groups, as in a file."""
    first, _, rest = name.partition(".")
    return {first: nested(rest, value) if rest else value}


def test_every_setting_that_was_renamed_is_known_by_its_former_name() -> None:
    assert set(FORMER) == set(KINDS)
    assert {kind: set(kind.renamed) for kind in KINDS} == {
        kind: set(former.split()) for kind, former in FORMER.items()
    }


@pytest.mark.parametrize(
    ("kind", "was", "now"),
    [
        *(
            (SlimConfig, f"critic.{n}", f"discriminator.{n}")
            for n in DiscriminatorSettings.model_fields
        ),
        (CycleGANTraining, "critic.norm", "discriminator.norm"),
        (SNGANTraining, "critic.spectral_norm", "discriminator.spectral_norm"),
    ],
)
def test_what_is_in_a_group_of_another_name_is_told_by_its_whole_name(
    kind: type[Settings], was: str, now: str, tmp_path: Path
) -> None:
    assert now in names(kind)
    file = tmp_path / "run.toml"
    file.write_text(f"[critic]\n{was.partition('.')[2]} = 1\n")
    told = re.escape(f"Setting '{was}' in {file} is now called '{now}'.")
    with pytest.raises(ConfigError, match=f"^{told}$"):
        read_config(kind, file)


def test_a_name_that_only_begins_like_a_former_one_is_unknown() -> None:
    message = refused("arms=gs")
    assert "Unknown setting 'arms'" in message and "now called" not in message


# --- what settings say of themselves --------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_setting_is_described_once_as_a_file_that_can_be_read(
    kind: type[Settings], tmp_path: Path
) -> None:
    told = describe(kind)
    assert [name for name, _, _ in told] == names(kind)
    assert [name for name, _, meaning in told if not meaning] == []
    file = tmp_path / "settings.toml"
    file.write_text(as_toml(kind))
    assert read_config(kind, file) == kind()
    for name, default, meaning in told:
        start = f"# {name} =" if default is None else f"{name} = "
        line = next(line for line in file.read_text().splitlines() if line.startswith(start))
        assert line.endswith(f" # {meaning}")
    unset = [name for name, default, _ in told if default is None]
    assert all(f"\n# {name} =  # " in file.read_text() for name in unset)


def test_a_description_tells_what_there_is_to_choose_from() -> None:
    meaning = {name: told for name, _, told in describe(SlimConfig)}
    assert meaning["device"] == "where it runs; cpu | cuda"
    assert meaning["trunk"].endswith("never cut")  # tells both choices by itself


def test_the_terms_of_a_distance_have_the_scale_of_its_network() -> None:
    assert DistanceSettings().content_and_style == (1.0, 1e5)
    assert DistanceSettings(features="squeezenet").content_and_style == (0.01, 0.002)
    given = DistanceSettings(features="squeezenet", style=0.0)
    assert given.content_and_style == (0.01, 0.0)


@pytest.mark.parametrize("file", recipes(["slim"]).values(), ids=lambda p: p.name)
def test_every_recipe_of_a_compression_is_valid(file: Path) -> None:
    config = resolve(read_config(SlimConfig, file))
    assert config.target.chosen is not None or config.sparsify.rho > 0  # gs2020: by rho alone


@pytest.mark.parametrize("file", recipes(["train"]).values(), ids=lambda p: p.name)
def test_every_recipe_of_a_training_is_valid(file: Path) -> None:
    name = file.name.split("-")[0]
    config = read_config(trainer(name).config, file)
    assert family(name).full(family(name).resolve(config.options))


def test_a_setting_given_in_a_group_leaves_what_else_the_group_is_by_default() -> None:
    class Recipe(TrainConfig):
        data: TrainData = TrainData(size=64, load_size=72)

    data = read_config(Recipe, None, ["data.flip=false"]).data
    assert (data.size, data.load_size, data.flip) == (64, 72, False)
    assert dict((n, v) for n, v, _ in describe(Recipe))["data.load_size"] == 72


def test_settings_survive_the_way_through_plain_data() -> None:
    c = read_config(SlimConfig, None, ["target.macs=0.05", "sparsify.size=64"])
    assert checked(SlimConfig, c.model_dump()) == c
