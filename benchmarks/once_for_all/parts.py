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

SCALES, DENSE = "student.affine=true", "student.wiring=dense"
"""Scales of InstanceNorms, and the teacher's own kind of blocks: GAN Slimming's students have them,
the paper's have not."""
STUDENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "": ("", ()),
    "scales": ("-affine", (SCALES,)),
    "dense": ("-dense", (DENSE,)),
    "dense, scales": ("-dense-affine", (DENSE, SCALES)),
}
"""Forms of the searched students by their name in the tables: the end of the name of a part's run
folder, and settings."""


class Rows(NamedTuple):
    """Variants of an ablation, one run a seed."""

    variants: str
    seeds: str
    student: str = ""  # one of `STUDENTS`
    method: str = "once-for-all"


def _slimming(seeds: str) -> Rows:
    """GAN Slimming at the same cost, in the same time."""
    return Rows("gs-32", seeds, method="slim")


FIRST, THREE, FIVE = "0", "0,1,2", "0,1,2,3,4"
CLOSEST = "uniform,shrinking"
"""Variants that seeds are needed to tell apart."""
_TABLE = (Rows(f"fast,{CLOSEST},no-taps", FIRST), Rows(CLOSEST, THREE), _slimming(THREE))
TABLES = {
    "monet": (
        Rows("fast,uniform,no-taps", FIRST),
        Rows(CLOSEST, THREE, "dense, scales"),
        _slimming(THREE),
    ),
    "openmoji": _TABLE,
    "hayao": _TABLE,
    "facades": _TABLE,
}
"""What every part's table has: the paper's student, the one that is shrunk and searched, their
baselines and GAN Slimming; three seeds of those that are close."""
_CLOSER = (Rows("fast", THREE), Rows(CLOSEST, FIVE), _slimming(FIVE))
FURTHER = {
    "monet": (
        Rows("fast,uniform", THREE),
        Rows("fast", THREE, "dense, scales"),
        Rows("fast,uniform", FIRST, "scales"),
        Rows("fast,uniform", FIRST, "dense"),
    ),
    "openmoji": (
        *_CLOSER,
        Rows("fast,published,full,scratch,new-d,unsorted,sandwich,omgd,dcd", FIRST),
    ),
    "hayao": _CLOSER,
    "facades": (*_CLOSER, Rows("fast,uniform", FIRST, "scales")),
}
"""What `--further` adds: five seeds, the other variants, and other forms of students."""


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
