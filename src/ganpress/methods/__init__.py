"""Compression methods, a folder for each paper, and what is done with any of them."""

from __future__ import annotations

from pathlib import Path

from ganpress.errors import ConfigError, did_you_mean
from ganpress.methods.base import Method
from ganpress.methods.content_aware import CONTENT_AWARE
from ganpress.methods.gan_slimming import GAN_SLIMMING
from ganpress.methods.once_for_all import ONCE_FOR_ALL
from ganpress.run.files import read_json, write_file

METHODS: dict[str, Method] = {
    "slim": GAN_SLIMMING,
    "once-for-all": ONCE_FOR_ALL,
    "content-aware": CONTENT_AWARE,
}


def method(name: str) -> Method:
    """The method of this name. Raises: ConfigError with the nearest name."""
    if name not in METHODS:
        raise ConfigError(
            f"There is no method '{name}'{did_you_mean(name, METHODS)}. "
            f"Methods: {', '.join(METHODS)}."
        )
    return METHODS[name]


def tables_of(run: Path) -> str:
    """Markdown: the numbers of a run or an ablation in the layout of its method's paper.

    Raises: ConfigError for a folder without results, and for a method without such tables.
    """
    run = Path(run)
    named = next((run / n for n in ("settings.json", "config.json") if (run / n).exists()), None)
    facts = read_json(named) if named else {}
    chosen = method(str(facts.get("method", "slim")))
    if chosen.tables is None:
        raise ConfigError(f"'{chosen.name}' has no tables of a paper to be compared with.")
    return chosen.tables(run)


def write_tables(run: Path) -> str:
    """Write `tables_of` a folder to its paper.md; returns the text. Raises as it does, DiskFull."""
    text = tables_of(run)
    write_file(Path(run) / "paper.md", text.encode())
    return text


__all__ = ["METHODS", "Method", "method", "tables_of", "write_tables"]
