"""What a search of width sets found: quality over cost, and the front, each point with the command
that makes a student of it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ganpress.errors import ConfigError
from ganpress.report.amounts import (
    marked,
    milliseconds,
    number,
    optional,
    si,
    significant,
    size_bytes,
)
from ganpress.report.curves import value_axis, wants_log
from ganpress.report.figures import COLOURS, new_axes, svg_body
from ganpress.report.reading import RunFiles, StageFiles, section
from ganpress.report.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (480, 290)
_MARGINS = (56, 14, 16, 38)
_LOG_ABOVE = 10.0
_NAMES = {"macs": "MACs", "params": "parameters", "bytes": "bytes", "latency_ms": "latency"}
_TRIALS = "trials.json"


@dataclass(frozen=True)
class Point:
    """A width set: its name, its cost by the cost that is shown, and what was found of it."""

    name: str
    cost: float
    quality: float
    figures: Mapping[str, Any]
    within: bool
    front: bool


@dataclass(frozen=True)
class Search:
    """A search as the page shows it.

    Attributes:
        svg: the figure. shown: its marks by class of colour, each with what it says.
        label: the figure in words.
        front: the table of the front, the cheapest first.
        failed: why width sets were not scored, with how many each.
        command: of the student of ``example``; '' where the run's own command is not known.
    """

    svg: str
    shown: Sequence[tuple[str, str, str]]
    label: str
    note: str
    front: Table
    failed: Sequence[tuple[str, int]]
    example: str
    command: str
    size: tuple[int, int] = SIZE


def search_of(run: RunFiles, stage: StageFiles) -> Search | None:
    """What a stage's trials.json says; None where there is none, or where it scored nothing.

    To be called inside `figures.drawing`. Raises ConfigError for a file of another form.
    """
    if stage.trials is None:
        return None
    where = f"{stage.name}/{_TRIALS}"
    rows = _rows(stage.trials, where)
    budget = section(stage.trials, "budget", where)
    how = section(stage.trials, "settings", where)
    cost = _cost_of(how, budget, rows)
    points = [point for row in rows if (point := _point(row, cost)) is not None]
    if not points:
        return None
    quality, maximise = str(stage.trials.get("quality", "quality")), stage.trials.get("maximise")
    best = next((p for p in points if p.name == stage.trials.get("best")), None)
    front = sorted((p for p in points if p.front), key=lambda p: p.cost)
    allowed = number(budget.get(cost))
    example = _example(front or points, best)
    better = "larger" if maximise else "smaller"
    title = f"{quality} ({better} is better)"
    reasons = Counter(str(row["error"]) for row in rows if row.get("error"))
    return Search(
        svg=_figure(points, front, best, cost, allowed, title),
        shown=_shown(points, front, best, cost, allowed),
        label=_spoken(points, front, best, cost, title),
        note=_note(how, points),
        front=_table(front, best, cost, quality, _teachers(run, cost, allowed)),
        failed=reasons.most_common(),
        example=example.name,
        command=again(run.card.get("command"), example.name),
    )


def again(command: object, name: str) -> str:
    """The command that makes a student of the width set ``name`` from the run of ``command``, which
    it takes the trained network from: another folder, and two settings more. '' where ``command``
    is no command of 'ganpress compress' with a folder."""
    try:
        words = shlex.split(command) if isinstance(command, str) else []
    except ValueError:
        return ""
    if words[:2] != ["ganpress", "compress"]:
        return ""
    kept, root = words[:2], None
    rest = iter(words[2:])
    for word in rest:
        option, equals, value = word.partition("=")
        if option in ("--run", "--set"):
            value = value if equals else next(rest, "")
            if option == "--run":
                root = value
            elif value.partition("=")[0] not in ("reuse", "search.choose"):
                kept += [option, value]
        elif word != "--extend":
            kept.append(word)
    if not root:
        return ""
    ours = ["--run", f"{root.rstrip('/')}-{name}"]
    return shlex.join([*kept, *ours, "--set", f"reuse={root}", "--set", f"search.choose={name}"])


def _rows(trials: Mapping[str, Any], where: str) -> list[Mapping[str, Any]]:
    rows = trials.get("trials")
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ConfigError(
            f"{where}: 'trials' should be a list of objects. Repair the file, or delete it."
        )
    return rows


def _cost_of(
    how: Mapping[str, Any], budget: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> str:
    """The cost that quality was searched against: the second objective, the budget's, or the
    first there is."""
    objective = how.get("objective")
    known = section(rows[0], "cost", _TRIALS) if rows else {}
    names = [*([objective] if objective in known else []), *budget, *known]
    return str(next(iter(names), ""))


def _point(row: Mapping[str, Any], cost: str) -> Point | None:
    quality = number(row.get("quality"))
    at = number(section(row, "cost", _TRIALS).get(cost))
    if quality is None or at is None:
        return None
    found = section(row, "figures", _TRIALS)
    within, front = bool(row.get("within", True)), bool(row.get("front"))
    return Point(str(row.get("name")), at, quality, found, within, front)


def _example(points: Sequence[Point], best: Point | None) -> Point:
    """A point that a student is still to be made of: the next cheaper than the chosen one, or
    another; the chosen one where there is no other."""
    others = [point for point in points if best is None or point.name != best.name]
    cheaper = [point for point in others if best is not None and point.cost < best.cost]
    return max(cheaper, key=lambda p: p.cost) if cheaper else (others or points)[0]


def _teachers(run: RunFiles, cost: str, allowed: float | None) -> float | None:
    """The teacher's cost at the size at which the search counted: by the budget, which is a
    fraction of it; else as results.json has it, MACs only where that is of the same size."""
    target = section(run.config, "target", "config.json")
    if cost == "latency_ms":
        return number(target.get("teacher_ms"))
    share = number(target.get(cost))
    if share and allowed:
        return allowed / share
    square = not isinstance(section(run.config, "data", "config.json").get("size"), list)
    teacher = section(section(run.results, "model", "results.json"), "teacher", "results.json")
    return number(teacher.get(cost)) if square or cost != "macs" else None


def _show(cost: str) -> Callable[[float], str]:
    return {"bytes": size_bytes, "latency_ms": milliseconds}.get(cost, si)


# --- the figure -----------------------------------------------------------------------------------


def _figure(
    points: Sequence[Point],
    front: Sequence[Point],
    best: Point | None,
    cost: str,
    allowed: float | None,
    title: str,
) -> str:
    figure, axes = new_axes(SIZE, _MARGINS)
    ends = [p.cost for p in points] + ([allowed] if allowed else [])
    _cost_axis(axes, ends, cost)
    values = [p.quality for p in points]
    value_axis(axes, values, min(values) > 0 and wants_log(values))
    axes.set_ylabel(title, labelpad=2)
    _marks(axes, _apart(axes, points), "c0", "trials", size=4.5, alpha=0.55)
    if front:
        line = axes.plot(*_places(front), color=COLOURS["c1"], linewidth=2, clip_on=False)
        line[0].set_gid("front_1")
        _marks(axes, front, "c1", "front", size=5.5)
    if allowed is not None:
        line = [axes.axvline(allowed, color=COLOURS["soft"], linewidth=1, dashes=(5, 4))]
        line[0].set_gid("budget_1")
    if best is not None:
        _marks(axes, [best], "c2", "chosen", size=11, hollow=True)
    return svg_body(figure)


def _marks(
    axes: Axes,
    points: Sequence[Point],
    colour: str,
    kind: str,
    *,
    size: float,
    alpha: float | None = None,
    hollow: bool = False,
) -> None:
    """Dots, or rings, as the group ``kind`` of the SVG."""
    (marks,) = axes.plot(
        *_places(points), "o", color=COLOURS[colour], markersize=size, alpha=alpha,
        markerfacecolor="none" if hollow else COLOURS[colour],
        markeredgewidth=2.5 if hollow else 0, clip_on=False,
    )  # fmt: skip
    marks.set_gid(f"{kind}_1")


def _places(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [p.cost for p in points], [p.quality for p in points]


def _apart(axes: Axes, points: Sequence[Point]) -> list[Point]:
    """One point of those that lie on the same pixel: a search may hold tens of thousands."""
    places = axes.transData.transform([(p.cost, p.quality) for p in points])
    return list(
        {(round(x), round(y)): p for (x, y), p in zip(places, points, strict=True)}.values()
    )


def _cost_axis(axes: Axes, costs: Sequence[float], cost: str) -> None:
    """The axis of a cost, logarithmic where the largest is many times the smallest."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    low, high = min(costs), max(costs)
    log = low > 0 and high > _LOG_ABOVE * low
    edge = 0.04 * ((high - low) or abs(high) or 1.0)
    axes.set_xscale("log" if log else "linear")
    axes.set_xlim(*((low / 1.15, high * 1.15) if log else (low - edge, high + edge)))
    axes.xaxis.set_major_locator(
        LogLocator(subs=(1, 2, 5)) if log else MaxNLocator(5, steps=[1, 2, 5, 10])
    )
    axes.xaxis.set_minor_locator(NullLocator())
    show = _show(cost)
    axes.xaxis.set_major_formatter(lambda value, _: show(value))
    axes.set_xlabel(f"{_NAMES.get(cost, cost)}{', logarithmic' if log else ''}", labelpad=2)


# --- words and tables -----------------------------------------------------------------------------


def _shown(
    points: Sequence[Point],
    front: Sequence[Point],
    best: Point | None,
    cost: str,
    allowed: float | None,
) -> list[tuple[str, str, str]]:
    """The legend: class of the mark, name, and the number beside it."""
    show = _show(cost)
    out = [("dot c0", "width sets", f"{len(points):,}")]
    out += [("c1", "Pareto front", f"{len(front):,}")] if front else []
    if best is not None:
        out.append(("ring c2", "chosen", f"{show(best.cost)}, {significant(best.quality)}"))
    out += [("dashed", "budget", show(allowed))] if allowed is not None else []
    return out


def _spoken(
    points: Sequence[Point], front: Sequence[Point], best: Point | None, cost: str, title: str
) -> str:
    show = _show(cost)
    of = "; ".join(f"{show(p.cost)}, {significant(p.quality)}" for p in front[:20])
    chosen = f" Chosen: {show(best.cost)}, {significant(best.quality)}." if best else ""
    return (
        f"{title} over {_NAMES.get(cost, cost)} of {len(points)} width sets. Front: {of}.{chosen}"
    )


def _note(how: Mapping[str, Any], points: Sequence[Point]) -> str:
    over = sum(not point.within for point in points)
    images = number(how.get("images"))
    said = [
        f"Scored on at most {int(images):,} held-out inputs." if images else "",
        f"{over:,} width set{' is' if over == 1 else 's are'} beyond the budget." if over else "",
    ]
    return " ".join(filter(None, said))


def _table(
    front: Sequence[Point], best: Point | None, cost: str, quality: str, teacher: float | None
) -> Table:
    """Name, cost, its fraction of the teacher's, and every figure, the searched one first."""
    names = list(dict.fromkeys(name for point in front for name in point.figures))
    further = [name for name in names if name != quality]
    show = _show(cost)
    heads = ["Width set", _NAMES.get(cost, cost), *(["Of the teacher's"] if teacher else [])]
    rows = [
        [
            point.name + (" (chosen)" if best and point.name == best.name else ""),
            marked(point.cost, show(point.cost)),
            *([_percent(point.cost / teacher)] if teacher else []),
            marked(point.quality, significant(point.quality, 4)),
            *(
                optional(number(point.figures.get(name)), lambda v: significant(v, 4))
                for name in further
            ),
        ]
        for point in front
    ]
    return Table(
        [*heads, quality, *further],
        rows,
        numeric=True,
        caption="The Pareto front: no other width set is better at the same or a smaller cost",
    )


def _percent(share: float) -> Any:
    return marked(share, f"{significant(100 * share)}\u00a0%")
