"""Recipes: the configuration files that the package brings, each known by a name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ganpress.errors import ConfigError, did_you_mean

FOLDER = Path(__file__).parents[1] / "recipes"


def recipes(kinds: Sequence[str] = ("*",)) -> dict[str, Path]:
    """Name -> file of every recipe of these kinds: "train", "ablate", or a method's name."""
    found = [path for kind in kinds for path in sorted(FOLDER.glob(f"{kind}/*.toml"))]
    return {path.stem: path for path in reversed(found)}


def config_file(named: str | Path, kinds: Sequence[str]) -> Path:
    """The configuration file that ``--config`` names: a path, or a recipe of the package.

    Args: kinds: of the recipes that are meant; the first one wins where two have a name.
    Raises: ConfigError where there is neither, with the nearest name.
    """
    path = Path(named)
    if path.exists() or path.parent != Path():
        return path
    known, name = recipes(kinds), path.name.removesuffix(".toml")
    if name in known:
        return known[name]
    if elsewhere := recipes().get(name):
        kind = elsewhere.parent.name
        verb = kind if kind in ("train", "ablate") else "compress"
        raise ConfigError(
            f"Recipe '{name}' is for 'ganpress {verb}'. Recipes here: "
            f"{', '.join(sorted(known)) or 'none'}."
        )
    near = did_you_mean(name, known) or did_you_mean(
        path.name, [file.name for file in Path().glob("*.toml")]
    )
    raise ConfigError(
        f"There is no configuration file {path}, and no recipe of that name{near}. "
        "'ganpress settings --list' lists the recipes."
    )


def summary_of(recipe: Path) -> str:
    """The first sentence of a recipe's opening comment, without its full stop."""
    lines = []
    for line in recipe.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if not line.startswith("#") or not text:
            break
        lines.append(text)
    return " ".join(lines).split(". ")[0].removesuffix(".")
