"""What a run takes over from another run of the same teacher, images and training."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError, NotPossible
from ganpress.measures.target import COSTS
from ganpress.methods.base import Given
from ganpress.methods.once_for_all.settings import OnceForAllConfig
from ganpress.models.checkpoint import fingerprint
from ganpress.run.card import differences
from ganpress.run.files import as_json, copy_file, read_json
from ganpress.run.run import Run

STAGES = ("predistil", "supernet")
FREE = (
    *("procedure", "reuse", "target", "search", "finetune", "quantise"),
    *("threads", "restarts", "seed"),
)
"""Settings that the supernet does not depend on, but for ``search.images``, which are held out, and
where sets of a budget are sampled (`BY_BUDGET`) for that and what widens them."""
BY_BUDGET = ("within", "shrinking")


def check_reuse(given: Given, c: OnceForAllConfig) -> None:
    """Refuse a run that has nothing to be taken over, or that trained something else.

    Raises: NotPossible where it has not come that far; ConfigError.
    """
    if c.reuse is None:
        raise ConfigError(
            "Procedure 'scratch' trains the widths that another run found: give its folder "
            "(--set reuse=DIR)."
        )
    root = Path(c.reuse)
    stage = "search" if c.procedure == "scratch" else "supernet"
    if not (root / "config.json").exists():
        raise NotPossible(f"reuse={root}: there is no run in that folder.")
    if not (root / stage / "done.json").exists():
        raise NotPossible(
            f"reuse={root}: its stage '{stage}' has not finished. Run that first, by the command "
            "that started it."
        )
    was = read_json(root / "card.json")
    if was.get("teacher") != fingerprint(given.teacher.net):
        raise ConfigError(f"reuse={root}: that run was of another teacher.")
    if c.procedure == "scratch":
        return
    if given.images is not None and was.get("data_hash") != given.images.digest():
        raise ConfigError(f"reuse={root}: that run was trained on other images.")
    then, now = (_trained_by(d) for d in (read_json(root / "config.json"), c.model_dump()))
    if differing := differences(then, now, _trained_by(OnceForAllConfig().model_dump())):
        raise ConfigError(
            f"reuse={root}: its supernet was trained with other settings:\n  "
            + "\n  ".join(differing)
            + "\nGive the same, or leave reuse out."
        )


def take_over(given: Given, c: OnceForAllConfig, run: Run) -> None:
    """Copy the finished stages of the run of ``reuse`` that this one does not have. What says that
    a stage has finished comes last, so that a copy that was broken off is begun anew."""
    if c.reuse is None or c.procedure == "scratch":
        return
    for name in STAGES:
        source, goal = Path(c.reuse) / name, run.root / name
        whole = source / "done.json"
        if whole.exists() and not (goal / "done.json").exists():
            rest = shutil.ignore_patterns("done.json")
            shutil.copytree(source, goal, ignore=rest, dirs_exist_ok=True)
            copy_file(whole, goal / "done.json")


def found_widths(root: Path) -> dict[str, int]:
    """The widths that a run's search found."""
    widths: dict[str, int] = read_json(root / "search" / "done.json")["widths"]
    return widths


def _trained_by(settings: dict[str, Any]) -> dict[str, Any]:
    """What the supernet depends on, of settings as JSON values; a run of before lacks some."""
    values: dict[str, Any] = as_json(settings)
    kept = {n: v for n, v in values.items() if n in OnceForAllConfig.model_fields and n not in FREE}
    data = {n: v for n, v in kept["data"].items() if n not in ("teacher_cache", "workers")}
    searched = {n: v for n, v in values["search"].items() if n == "images"}
    if values["supernet"].get("sampling") in BY_BUDGET:
        searched["widen"] = values["search"].get("widen", False)
        kept["target"] = {name: values["target"].get(name) for name in COSTS}
    return {**kept, "data": data, "search": searched}
