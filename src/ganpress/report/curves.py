"""Charts of what a stage logged: lines in one chart, or a small panel each when they are many."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

from ganpress.report.amounts import significant
from ganpress.report.figures import COLOURS, LINES, new_axes, svg_body
from ganpress.report.reading import Series, StageFiles
from ganpress.report.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 480, 216
LEFT, TOP, RIGHT, BOTTOM = 48, 10, 12, 36
PANEL = (140, 42)
"""Width and height of one small panel, in pixels."""
_LOG_ABOVE = 30.0
_FURTHEST = 1e200  # larger magnitudes are plotted there; below 1 over this, no logarithmic axis


@dataclass(frozen=True)
class Chart:
    """One chart of a page."""

    title: str
    shown: Sequence[tuple[str, str]]
    """Each line's name and the number beside it."""
    numbers: Table
    svg: Sequence[str]
    """The drawing; of small panels, each line's."""
    panels: bool
    note: str
    label: str
    """The chart in words."""
    hover: str = ""
    """JSON with the points of each line, for the page's script."""


def stage_charts(stage: StageFiles, titles: Mapping[str, str]) -> list[Chart]:
    """Every chart of a stage, one per prefix: first those with a title, in that order.

    Args: titles: prefix of the logged names, such as "loss" -> title.
    """
    groups: dict[str, list[Series]] = {prefix: [] for prefix in titles}
    for series in stage.series:
        prefix, slash, rest = series.name.partition("/")
        name = rest if slash else prefix
        groups.setdefault(prefix if slash else "", []).append(
            Series(name, series.steps, series.values)
        )
    return [
        chart
        for prefix, lines in groups.items()
        if lines
        for chart in _charts(prefix, titles.get(prefix, prefix.capitalize()), lines)
    ]


def _charts(prefix: str, title: str, lines: Sequence[Series]) -> list[Chart]:
    if not prefix or len(lines) > len(LINES):
        return [panels(title or "Settings over time", lines, from_zero=prefix not in ("", "loss"))]
    if prefix != "loss":
        high = 1.0 if prefix == "cost" else None
        return [line_chart(title, lines, smooth=False, from_zero=True, high=high)]
    positive = [s for s in lines if min(s.values) > 0]
    others = [s for s in lines if min(s.values) <= 0]
    if others and positive and wants_log(_values(positive)):
        rest = line_chart(f"{title} that reach zero or below", others)
        return [line_chart(title, positive), rest]
    return [line_chart(title, lines)]


def line_chart(
    title: str,
    lines: Sequence[Series],
    *,
    smooth: bool = True,
    from_zero: bool = False,
    high: float | None = None,
) -> Chart:
    """One chart of at most six lines, whose colours follow their order.

    Args:
        smooth: a thin raw line and a thick exponential mean, of lines with 20 points or more.
        from_zero: the value axis starts at zero; otherwise it may be logarithmic or zoomed.
        high: the value axis reaches at least this.
    """
    figure, axes = new_axes((WIDTH, HEIGHT), (LEFT, TOP, RIGHT, BOTTOM))
    log = not from_zero and wants_log(_values(lines))
    steps = _step_axis(axes, lines)
    ends = [0.0] * from_zero + [v for v in (high,) if v is not None]
    value_axis(axes, ends + _values(lines), log)
    means = [exponential_mean(s.values) if smooth and len(s.values) >= 20 else [] for s in lines]
    points, last = [], []
    for colour, line, mean in zip(LINES, lines, means, strict=False):
        if mean:
            _draw(axes, *_thin(line.steps, line.values), colour, "raw")
        points.append(_thin(line.steps, mean or line.values))
        _draw(axes, *points[-1], colour)
        last.append((line.name, significant((mean or line.values)[-1])))
    note = "Thin: as logged; thick and in figures: exponential mean. " if any(means) else ""
    return Chart(
        title=title,
        shown=last,
        numbers=_numbers(lines),
        svg=[svg_body(figure)],
        panels=False,
        note=(note + "Logarithmic axis." * log).strip(),
        label=_spoken(title, lines),
        hover=_hover(steps, points),
    )


def panels(title: str, lines: Sequence[Series], *, from_zero: bool) -> Chart:
    """One small panel per line, each with its own value axis.

    With `from_zero` a panel runs from 0 to the line's largest value, otherwise from its smallest.
    All are drawn as one tall figure, of which the page shows a part in each panel.
    """
    width, height = PANEL
    figure, axes = new_axes((width, height * len(lines)), (2, 0, 2, 0))
    first, last = _step_axis(axes, lines)
    axes.set_axis_off()
    axes.set_ylim(len(lines), 0)
    changes = []
    for row, line in enumerate(lines):
        steps, values = _thin(line.steps, line.values)
        values = [*map(_near, values)]
        low, high = min(values + [0.0] * from_zero), max(values)
        reach = (high - low) or 1.0
        _draw(axes, steps, [row + 0.9 - 0.8 * ((v - low) / reach) for v in values], LINES[0])
        start, end = significant(line.values[0]), significant(line.values[-1])
        changes.append((line.name, end if start == end else f"{start} → {end}"))
    axis = "from zero to its own largest value" if from_zero else "over its own range"
    return Chart(
        title=title,
        shown=changes,
        numbers=_numbers(lines),
        svg=re.findall('<g class="line">.*?</g>', svg_body(figure), re.DOTALL),
        panels=True,
        note=f"One panel each, {axis}; steps {int(first):,} to {int(last):,}.",
        label=_spoken(title, lines),
    )


def exponential_mean(values: Sequence[float]) -> list[float]:
    """Mean with weights that fall off exponentially to both sides, so that it does not lag.

    The weights fall to 1/e over a fiftieth of the series.
    """
    keep = 1.0 - 1.0 / max(1.0, len(values) / 50)

    def decayed(series: Sequence[float]) -> list[float]:
        return list(accumulate(series, lambda total, value: keep * total + value))

    before, after = decayed(values), decayed(values[::-1])[::-1]
    weights = decayed([1.0] * len(values))
    return [
        (b + a - value) / (w + v - 1.0)
        for b, a, value, w, v in zip(before, after, values, weights, weights[::-1], strict=True)
    ]


def wants_log(values: Sequence[float]) -> bool:
    """Whether these values are drawn on a logarithmic axis: all above 0 and over a wide range."""
    return min(values) > 1 / _FURTHEST and max(values) > _LOG_ABOVE * min(values)


def _values(lines: Sequence[Series]) -> list[float]:
    return [v for s in lines for v in s.values]


def _step_axis(axes: Axes, lines: Sequence[Series]) -> tuple[int, int]:
    """The axis of steps with round ticks; its ends."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    low, high = min(s.steps[0] for s in lines), max(s.steps[-1] for s in lines)
    axes.set_xlim(low, high := max(high, low + 1))
    axes.set_xlabel("step", labelpad=2)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    return low, high


def value_axis(axes: Axes, values: Sequence[float], log: bool) -> None:
    """The axis of values with a grid line at each round number; a linear one ends at such."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    low, high = max(-_FURTHEST, min(values)), min(_FURTHEST, max(values))
    if log:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.2, high * 1.2)
        wide = high > 100 * low
        axes.yaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5), numticks=6))
    else:
        low = 0.0 if 0 <= low < 0.5 * high else low
        locator = MaxNLocator(4, steps=[1, 2, 5, 10], min_n_ticks=1)
        ticks = locator.tick_values(low, high if high > low else low + (abs(low) or 1.0))
        axes.set_ylim(ticks[0], ticks[-1])
        axes.yaxis.set_major_locator(locator)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: significant(value))
    axes.yaxis.grid(True, clip_on=False)


def _draw(
    axes: Axes, steps: Sequence[int], values: Sequence[float], colour: str, kind: str = "line"
) -> None:
    """One line, 'raw' or 'line'; a single point is a dot (a line without length, round ends)."""
    twice = 2 if len(steps) == 1 else 1
    (line,) = axes.plot(
        list(steps) * twice,
        [_near(v) for v in values] * twice,
        color=COLOURS[colour],
        linewidth={"raw": 1.0, "line": 2.0}[kind] * twice,
        alpha=None if kind == "line" else 0.32,
        clip_on=False,
        solid_capstyle="round",
    )
    line.set_gid(f"{kind}_1")


def _near(value: float) -> float:
    return max(-_FURTHEST, min(_FURTHEST, value))


def _thin(steps: Sequence[int], values: Sequence[float]) -> tuple[list[int], list[float]]:
    """At most about 500 points that keep the first, the last, and every dip and peak."""
    count, buckets = len(values), 250
    if count <= 2 * buckets:
        return list(steps), list(values)
    kept, array = {0, count - 1}, np.asarray(values)
    for start, end in pairwise(n * count // buckets for n in range(buckets + 1)):
        part = array[start:end]
        kept |= {start + int(part.argmin()), start + int(part.argmax())}
    order = sorted(kept)
    return [steps[i] for i in order], [values[i] for i in order]


def _spoken(title: str, lines: Sequence[Series]) -> str:
    parts = [
        f"{s.name} from {significant(s.values[0])} to {significant(s.values[-1])}" for s in lines
    ]
    steps = f"steps {lines[0].steps[0]:,} to {lines[0].steps[-1]:,}"
    return f"{title}, line chart over {steps}: {'; '.join(parts)}."


def _hover(steps: tuple[int, int], points: Sequence[tuple[list[int], list[float]]]) -> str:
    lines = [[[s, float(f"{v:.4g}")] for s, v in zip(*line, strict=True)] for line in points]
    data = {"from": LEFT / WIDTH, "to": 1 - RIGHT / WIDTH, "steps": steps, "lines": lines}
    return json.dumps(data, separators=(",", ":"))


def _numbers(lines: Sequence[Series]) -> Table:
    rows = [
        [
            s.name,
            *(significant(v, 4) for v in (s.values[0], s.values[-1], min(s.values), max(s.values))),
        ]
        for s in lines
    ]
    return Table(("Name", "First", "Last", "Min", "Max"), rows)
