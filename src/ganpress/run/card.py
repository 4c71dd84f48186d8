"""config.json and card.json of a run folder: written once, compared when the run is resumed."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ganpress.errors import ConfigError
from ganpress.run.files import as_json, read_json, write_json

_MISSING = object()
_FILES = ("source", "card")
"""Settings that say where files are; beside the same digest of these they may lie elsewhere."""


def check_config(
    root: Path, config: Mapping[str, Any], also: str = "", usual: Mapping[str, Any] | None = None
) -> None:
    """Write root/config.json, or compare with the one that is there.

    Args:
        also: another way out for the message, as the end of a sentence.
        usual: the defaults, which settings had that the run did not know yet.
    Raises: ConfigError naming each setting that differs, with both values.
    """
    path = root / "config.json"
    if not path.exists():
        write_json(path, config)
        return
    differing = differences(read_json(path), as_json(config), as_json(dict(usual or {})))
    if differing:
        raise ConfigError(
            f"The run in {root} was started with other settings:\n  "
            + "\n  ".join(differing)
            + f"\nGive the same settings to resume it, or choose another folder{also}."
        )


def check_card(root: Path, *, seed: int, card: Mapping[str, Any]) -> None:
    """Write root/card.json, or compare its seed and data_hash with those given.

    Args:
        card: facts to add to ours; they win. Without a data_hash, that is not compared.
    Raises: ConfigError.
    """
    path = root / "card.json"
    if not path.exists():
        write_json(path, {**machine_facts(), "seed": seed, "started": now_utc(), **card})
        return
    was = read_json(path)
    now = {"seed": seed, "data_hash": card.get("data_hash", was.get("data_hash"))}
    differing = differences({key: was.get(key) for key in now}, as_json(now))
    if differing:
        raise ConfigError(
            f"The run in {root} was started with another seed or other data:\n  "
            + "\n  ".join(differing)
            + "\nGive the same ones to resume it, or choose another folder."
        )


def note_resume(root: Path, stage: str, step: int) -> None:
    """Add to the card that `stage` was taken up again at `step`, and on what machine."""
    path = root / "card.json"
    card = read_json(path)
    here = {"stage": stage, "step": step, "at": now_utc(), **machine_facts()}
    write_json(path, {**card, "resumed": [*card.get("resumed", []), here]})


def differences(was: object, now: object, usual: object = None, key: str = "") -> list[str]:
    """One readable line for each setting, by its dotted name, that is not the same. Files that have
    a digest are compared by it, not by where they are.

    Args: usual: the defaults: a setting that the run did not know yet is the same if it has that.
    """
    if isinstance(was, dict) and isinstance(now, dict):
        known = usual if isinstance(usual, dict) else {}
        same_files = bool(was.get("digest")) and was["digest"] == now.get("digest")
        names = [*was, *(name for name in now if name not in was)]
        return [
            line
            for name in names
            if not (same_files and name in _FILES)
            for line in differences(
                was.get(name, known.get(name, _MISSING)),
                now.get(name, _MISSING),
                known.get(name),
                f"{key}.{name}" if key else name,
            )
        ]
    same = was == now or _shown(was) == _shown(now)  # the second for NaN
    return [] if same else [f"{key}: {_shown(was)} in the run, {_shown(now)} now"]


def now_utc() -> str:
    """The time in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _shown(value: object) -> str:
    return "not set" if value is _MISSING else json.dumps(value)


def machine_facts() -> dict[str, Any]:
    """The versions, the platform and the command, for a card."""
    try:
        ours = version("ganpress")
    except PackageNotFoundError:
        ours = "not installed"
    return {
        "ganpress": ours,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": None,
        "threads": torch.get_num_threads(),
        "command": shlex.join(sys.orig_argv),
    }
