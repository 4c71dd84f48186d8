"""Recipes are named, not pathed; each is a valid file of its command."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runs import run_cli

from ganpress.errors import ConfigError
from ganpress.methods import METHODS
from ganpress.run.recipes import FOLDER, config_file, recipes, summary_of
from ganpress.run.settings import Settings, read_config
from ganpress.training.train import TRAINERS

FILES = sorted(FOLDER.glob("*/*.toml"))


def _ablated(file: Path) -> type[Settings]:
    """Of the method that its command names, or of the usual one."""
    text = file.read_text()
    names = (name for name in METHODS if f"ganpress ablate {name} " in text)
    return METHODS[next(names, "slim")].settings


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_every_recipe_is_a_valid_file_of_its_command(file: Path) -> None:
    kind = file.parent.name
    assert kind in ("train", "ablate", *METHODS)
    settings = _ablated(file)
    if kind == "train":
        settings = TRAINERS[file.stem.split("-")[0]].config
    elif kind in METHODS:
        settings = METHODS[kind].settings
    read_config(settings, file)
    assert (len(summary_of(file)) > 20 and f"--config {file.stem}" in file.read_text()) or (
        "Commands" in file.read_text()
    )


@pytest.mark.parametrize(
    "file", [f for f in FILES if f.stem.endswith("-cpu")], ids=lambda f: f.stem
)
def test_a_recipe_for_a_cpu_counts_steps_and_takes_the_precision_that_suits_it(file: Path) -> None:
    text = file.read_text()
    assert ("minutes = " in text) == (file.parent.name == "ablate")  # ablations: at equal time
    assert 'precision = "bfloat16"' not in text


def test_a_recipe_is_found_by_its_name_and_a_file_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = config_file("pix2pix-facades-cpu", ["train"])
    assert named == config_file("pix2pix-facades-cpu.toml", ["train"]) and named.is_file()
    own = tmp_path / "pix2pix-facades-cpu"
    own.write_text("seed = 1")
    assert config_file("pix2pix-facades-cpu", ["train"]).resolve() == own
    assert config_file("folder/none.toml", ["train"]) == Path("folder/none.toml")
    both = {kind: recipes([kind])["sngan-cifar10-cpu"] for kind in ("train", "ablate")}
    assert config_file("sngan-cifar10-cpu", ["ablate", "train"]) == both["ablate"] != both["train"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pix2pix-facade-cpu", "did you mean 'pix2pix-facades-cpu'"),
        ("cartoongan-hayao-cpu", "Recipe 'cartoongan-hayao-cpu' is for 'ganpress compress'"),
        ("nothing.toml", "There is no configuration file nothing.toml, and no recipe"),
    ],
)
def test_what_is_neither_is_refused_with_what_is_near(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        config_file(name, ["train"])


def test_the_command_line_lists_the_recipes_and_takes_them_by_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    listed = run_cli(capsys, "settings", "--list").out
    for name in recipes():
        assert f"  {name}: " in listed
    line = ["compress", "slim", "-t", "x", "--run", "y", "--config", "cartoongan-hayo-cpu"]
    wrong = run_cli(capsys, *line)
    assert wrong.code == 2 and "did you mean 'cartoongan-hayao-cpu'" in wrong.err
