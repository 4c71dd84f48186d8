"""What a search found: every width set that was scored, the best, and the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ganpress.methods.once_for_all.search.evolution import front
from ganpress.methods.once_for_all.search.space import Choice, Space
from ganpress.run.files import read_json, write_json
from ganpress.run.locks import alone

FILE = "trials.json"


@dataclass
class Row:
    """One width set of a search.

    Attributes:
        name: its numbers, as '32_16_24'.
        widths: channels of each group that the space sets.
        cost: every cost by name: MACs, parameters, bytes.
        quality: the figure that was searched by; None where it failed.
        figures: all that the evaluation gave.
        within: whether it is within the budget.
        front: no other costs less (or as much) and is better (or as good).
        error: why it failed.
    """

    name: str
    widths: dict[str, int]
    cost: dict[str, float]
    quality: float | None
    figures: dict[str, float] = field(default_factory=dict)
    within: bool = True
    front: bool = False
    error: str | None = None


@dataclass(frozen=True)
class Found:
    """The result of a search.

    Attributes:
        choice: the best width set within the budget; with its ``name``, ``widths``, ``figures``
            and ``cost``.
        rows: every width set, in the order in which they were taken up.
        front: rows of the Pareto front, the cheapest first.
    """

    choice: Choice
    name: str
    widths: dict[str, int]
    figures: dict[str, float]
    cost: dict[str, float]
    rows: list[Row]
    front: list[Row]


def pareto(rows: Sequence[Row], cost: str, *, maximise: bool = False) -> list[Row]:
    """The rows that no other one beats in quality at the same or a smaller cost, the cheapest
    first; of equals the first. Rows without a quality are left out.

    Args: cost: name of the cost. maximise: whether a larger quality is better.
    """
    sign = -1.0 if maximise else 1.0
    points: dict[tuple[float, ...], Row] = {}
    for row in rows:
        if row.quality is not None:
            points.setdefault((row.cost[cost], sign * row.quality), row)
    return [points[point] for point in front(list(points))]


def best_row(rows: Sequence[Row], *, maximise: bool = False) -> Row | None:
    """The row of the best quality within the budget, the first of equals; None: no row has one."""
    scored = [row for row in rows if row.quality is not None and row.within]
    sign = -1.0 if maximise else 1.0
    return min(scored, key=lambda row: sign * (row.quality or 0.0), default=None)


def write_trials(folder: Path, space: Space, found: Found, facts: Mapping[str, Any]) -> Path:
    """Write trials.json, which the report reads and `read_trials` gives back.

    Args: facts: JSON values: the metric, the budget, the settings.
    """
    slots = [
        {"name": s.name, "groups": dict(s.groups), "numbers": list(s.numbers)} for s in space.slots
    ]
    path = folder / FILE
    trials = [asdict(row) for row in found.rows]
    with alone(path.with_name(path.name + ".lock")):
        write_json(path, {"best": found.name, **facts, "space": slots, "trials": trials})
    return path


def read_trials(folder: Path) -> list[Row]:
    """The rows of a stage's trials.json. Raises: ConfigError where there is none."""
    return [Row(**row) for row in read_json(folder / FILE)["trials"]]
