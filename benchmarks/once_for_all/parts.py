"""What the parts have in common: budgets, minutes, students, and width sets out of a search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

BUDGETS = (4, 9, 16, 30)
SHARED_MINUTES, OWN_MINUTES = 4, 4
"""Of the supernet of several students, and of fine-tuning each."""
LONG_SUPERNET, LONG_TUNING = 2, 13
"""Of students that get three times the minutes of the ablation's."""
SUPERNET_MINUTES = 10
SETS = 8


class OtherStudent(NamedTuple):
    """A student that has something of GAN Slimming's, which the paper's has not."""

    of: str  # the part
    folder: str  # the end of its run folder's name
    name: str  # in the tables
    settings: tuple[str, ...]
    variants: str = "fast,uniform"
    seeds: str = "0"


SCALES, DENSE = "student.affine=true", "student.wiring=dense"
OTHER_STUDENTS = (
    OtherStudent("facades", "affine", "scales", (SCALES,)),
    OtherStudent("monet", "affine", "scales", (SCALES,)),
    OtherStudent("monet", "dense", "dense", (DENSE,)),
    OtherStudent(
        "monet", "dense-affine", "dense, scales", (DENSE, SCALES), "fast,uniform,shrinking", "0,1,2"
    ),
)
"""Scales of InstanceNorms, and the teacher's own kind of blocks."""


def trials(search: Path) -> list[dict[str, Any]]:
    """The rows of a search's trials.json."""
    rows: list[dict[str, Any]] = json.loads((search / "trials.json").read_text())["trials"]
    return rows


def spread_sets(search: Path, count: int = SETS) -> list[str]:
    """Names of width sets from the best to the worst of those that cost 0.6 to 1 of the budget, at
    equal distances in rank."""
    found = json.loads((search / "trials.json").read_text())
    [most] = found["budget"].values()
    name = next(iter(found["budget"]))
    rows = [
        row
        for row in found["trials"]
        if row["quality"] is not None and 0.6 * most <= row["cost"][name] <= most
    ]
    rows.sort(key=lambda row: row["quality"])
    places = [round(i * (len(rows) - 1) / (count - 1)) for i in range(count)]
    return [rows[place]["name"] for place in dict.fromkeys(places)]


def write_small_space(search: Path, path: Path, choices: int = 3) -> None:
    """A space of the same slots that a search knew, of which the five costliest to leave alone keep
    ``choices`` numbers each and the others are what the best width set has."""
    found = json.loads((search / "trials.json").read_text())
    best = [int(number) for number in found["best"].split("_")]
    widest = sorted(range(len(best)), key=lambda i: -max(found["space"][i]["numbers"]))[:6]
    lines = []
    for i, slot in enumerate(found["space"]):
        numbers = [best[i]]
        if i in widest:
            at = slot["numbers"].index(best[i])
            start = max(0, min(at - choices // 2, len(slot["numbers"]) - choices))
            numbers = slot["numbers"][start : start + choices]
        groups = ", ".join(f'"{group}" = {times}' for group, times in slot["groups"].items())
        lines += ["[[slot]]", f'name = "{slot["name"]}"', f"groups = {{{groups}}}"]
        lines += [f"numbers = {numbers}", ""]
    path.write_text("\n".join(lines))
