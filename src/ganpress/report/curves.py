"""Charts of what was logged, as inline SVG: line charts, and small panels when lines are many."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ganpress.report.amounts import significant
from ganpress.report.reading import Series, StageFiles

WIDTH, HEIGHT = 480, 216
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 10, 36
_MOST_LINES = 6
_LOG_ABOVE = 30.0
_TITLES = {
    "loss": "Losses",
    "width": "Widths, channels",
    "scale": "Scales, mean size",
    "cost": "Cost, share of the teacher",
}


@dataclass(frozen=True)
class Scale:
    """A map from data to pixels along one axis; `low` < `high`, both > 0 when `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Pixel of a data value."""
        low, high, here = self.low, self.high, value
        if self.log:
            low, high, here = math.log(low), math.log(high), math.log(value)
        return self.start + (here - low) / (high - low) * (self.end - self.start)


def stage_charts(stage: StageFiles) -> str:
    """HTML of every chart of a stage: one per prefix, losses first; '' when nothing was logged."""
    groups: dict[str, list[Series]] = {"loss": [], "cost": [], "width": [], "scale": []}
    for series in stage.series:
        prefix, slash, rest = series.name.partition("/")
        name = rest if slash else prefix
        key = prefix if slash else ""
        groups.setdefault(key, []).append(Series(name, series.steps, series.values))
    return "".join(_prefix_charts(key, lines) for key, lines in groups.items() if lines)


def _prefix_charts(prefix: str, lines: Sequence[Series]) -> str:
    title = _TITLES.get(prefix, prefix.capitalize() or "Settings over time")
    if not prefix or len(lines) > _MOST_LINES:
        return panels(title, lines, from_zero=prefix in ("width", "scale", "cost"))
    if prefix != "loss":
        return line_chart(title, lines, high=1.0 if prefix == "cost" else None, from_zero=True)
    positive = [s for s in lines if min(s.values) > 0]
    others = [s for s in lines if min(s.values) <= 0]
    if others and positive and _wants_log(positive):
        return line_chart(title, positive, smooth=True) + line_chart(
            f"{title} that reach zero or below", others, smooth=True
        )
    return line_chart(title, lines, smooth=True)


def line_chart(
    title: str,
    lines: Sequence[Series],
    *,
    smooth: bool = False,
    from_zero: bool = False,
    high: float | None = None,
) -> str:
    """HTML figure of one chart with a legend and a table of its numbers.

    Args:
        lines: at most six; their colours follow their order.
        smooth: thin raw line plus a thick exponential mean (only with 20 points or more).
        from_zero: the value axis starts at zero; otherwise it may be logarithmic or zoomed.
        high: the value axis reaches at least this.
    """
    values = [v for s in lines for v in s.values]
    x = _step_scale(lines)
    log = not from_zero and _wants_log(lines)
    y, ticks = _value_scale(values + ([high] if high is not None else []), log, from_zero)
    means = {s.name: exponential_mean(s.values) for s in lines if smooth and _is_smoothed(s)}
    body = _grid(x, y, ticks) + "".join(
        _line(index, s, means.get(s.name), x, y) for index, s in enumerate(lines)
    )
    note = " Thin: as logged; thick and in figures: exponential mean." if means else ""
    note += " Logarithmic axis." if log else ""
    return (
        f'<figure class="chart"><figcaption><h4>{escape(title)}</h4>'
        f"{_legend(lines, means)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_spoken(title, lines)}" '
        f'data-x0="{x.low!r}" data-x1="{x.high!r}" data-y0="{y.low!r}" data-y1="{y.high!r}" '
        f'data-log="{int(log)}">{body}</svg>'
        f'<p class="note">{note.strip()}</p>{_numbers(lines)}</figure>'
    )


def panels(title: str, lines: Sequence[Series], *, from_zero: bool) -> str:
    """HTML figure of one small panel per line, each with its own value axis.

    With `from_zero` a panel runs from 0 to the line's largest value, otherwise from its smallest.
    """
    x = _step_scale(lines, 2, 138)
    cells = []
    for line in lines:
        low, high = min(line.values), max(line.values)
        low = min(0.0, low) if from_zero else low
        y = Scale(low, high if high > low else low + (abs(low) or 1.0), 38, 4)
        first, last = significant(line.values[0]), significant(line.values[-1])
        change = last if first == last else f"{first} → {last}"
        path = _polyline("line s0", *_thin(line.steps, line.values), x, y)
        cells.append(
            f'<li><span class="name" title="{escape(line.name)}">{escape(line.name)}</span>'
            f'<span class="num">{change}</span>'
            f'<svg viewBox="0 0 140 42" aria-hidden="true" data-series="{escape(line.name)}" '
            f'data-x0="{x.low!r}" data-x1="{x.high!r}" data-y0="{y.low!r}" data-y1="{y.high!r}">'
            f'<line class="axis" x1="2" x2="138" y1="38" y2="38"/>{path}</svg></li>'
        )
    axis = "from zero to its own largest value" if from_zero else "over its own range"
    steps = f"steps {int(x.low):,} to {int(x.high):,}"
    return (
        f'<figure class="chart wide"><figcaption><h4>{escape(title)}</h4></figcaption>'
        f'<ul class="panels">{"".join(cells)}</ul>'
        f'<p class="note">One panel each, {axis}; {steps}.</p>{_numbers(lines)}</figure>'
    )


def exponential_mean(values: Sequence[float]) -> list[float]:
    """Mean with weights that fall off exponentially to both sides, so that it does not lag.

    The weights fall to 1/e over a fiftieth of the series.
    """
    keep = 1.0 - 1.0 / max(1.0, len(values) / 50)
    before, after = _decayed(values, keep), _decayed(values[::-1], keep)[::-1]
    return [
        (b[0] + a[0] - value) / (b[1] + a[1] - 1.0)
        for b, a, value in zip(before, after, values, strict=True)
    ]


def _decayed(values: Sequence[float], keep: float) -> list[tuple[float, float]]:
    """Sum of each value and all earlier ones, decayed by `keep` a step, and the sum of weights."""
    total = weight = 0.0
    sums = []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1.0
        sums.append((total, weight))
    return sums


def _wants_log(lines: Sequence[Series]) -> bool:
    values = [v for s in lines for v in s.values]
    return min(values) > 0 and max(values) > _LOG_ABOVE * min(values)


def _step_scale(lines: Sequence[Series], start: float = LEFT, end: float = WIDTH - RIGHT) -> Scale:
    low = float(min(s.steps[0] for s in lines))
    high = float(max(s.steps[-1] for s in lines))
    return Scale(low, high if high > low else low + 1.0, start, end)


def _value_scale(values: Sequence[float], log: bool, from_zero: bool) -> tuple[Scale, list[float]]:
    """The value axis, widened to round numbers, and its ticks."""
    low, high = min(values), max(values)
    start, end = HEIGHT - BOTTOM, TOP
    if log:
        every = [m * 10.0**e for e in range(-320, 309) for m in (1, 2, 5)]
        low = max((v for v in every if 0 < v <= low), default=low)
        high = min((v for v in every if v >= high), default=high)
        ticks = [v for v in every if low <= v <= high]
        decades = [v for v in ticks if f"{v:e}".startswith("1.0")]
        chosen = ticks if len(ticks) <= 6 else decades
        return Scale(low, high, start, end, log=True), chosen[:: math.ceil(len(chosen) / 7)]
    if low >= 0 and (from_zero or low < 0.5 * high):
        low = 0.0
    if high <= low:
        high = low + (abs(low) or 1.0)
    step = _round_step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Scale(first * step, last * step, start, end), [n * step for n in range(first, last + 1)]


def _round_step(rough: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is at least `rough` (> 0)."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))


def _grid(x: Scale, y: Scale, ticks: Iterable[float]) -> str:
    """Grid lines and their labels; steps are ticked at round numbers inside the range."""
    parts = []
    for tick in ticks:
        at = f"{y.at(tick):.2f}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 6}" y="{at}" dy=".33em" text-anchor="end">'
            f"{_tick(tick)}</text>"
        )
    step = max(1.0, _round_step((x.high - x.low) / 5))
    for n in range(math.ceil(x.low / step), math.floor(x.high / step) + 1):
        at = f"{x.at(n * step):.2f}"
        parts.append(
            f'<text class="tick" x="{at}" y="{HEIGHT - 20}" text-anchor="middle">'
            f"{_tick(n * step)}</text>"
        )
    base = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    parts.append(
        f'<text class="tick steptext" x="{(LEFT + WIDTH - RIGHT) / 2:g}" y="{HEIGHT - 5}" '
        'text-anchor="middle">step</text>'
        f'<line class="cursor" x1="0" x2="0" y1="{TOP}" y2="{base}"/>'
    )
    return "".join(parts)


def _tick(value: float) -> str:
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.6g}{suffix}"
    return "0" if value == 0 else significant(value)


def _is_smoothed(line: Series) -> bool:
    return len(line.values) >= 20


def _line(index: int, line: Series, mean: list[float] | None, x: Scale, y: Scale) -> str:
    """A thick line; with a mean, that is the thick one, over a thin line of what was logged."""
    raw = _thin(line.steps, line.values)
    if mean is None:
        return _polyline(f"line s{index}", *raw, x, y, line.name)
    thick = _polyline(f"line s{index}", *_thin(line.steps, mean), x, y, line.name)
    return _polyline(f"raw s{index}", *raw, x, y, line.name) + thick


def _polyline(
    classes: str,
    steps: Sequence[int],
    values: Sequence[float],
    x: Scale,
    y: Scale,
    name: str = "",
) -> str:
    """One line; a single point is drawn as a dot (a zero-length line with round ends)."""
    pairs = [f"{x.at(s):.2f},{y.at(v):.2f}" for s, v in zip(steps, values, strict=True)]
    points = " ".join(pairs * 2 if len(pairs) == 1 else pairs)
    data = ""
    if name and classes.startswith("line"):
        shown = json.dumps([[s, significant(v, 4)] for s, v in zip(steps, values, strict=True)])
        data = f' data-values="{escape(shown.replace(" ", ""))}"'
    return f'<polyline class="{classes}" data-series="{escape(name)}"{data} points="{points}"/>'


def _thin(steps: Sequence[int], values: Sequence[float]) -> tuple[list[int], list[float]]:
    """At most about 500 points that keep the first, the last, and every dip and peak."""
    count, buckets = len(values), 250
    if count <= 2 * buckets:
        return list(steps), list(values)
    kept = {0, count - 1}
    for bucket in range(buckets):
        inside = range(bucket * count // buckets, (bucket + 1) * count // buckets)
        kept |= {min(inside, key=values.__getitem__), max(inside, key=values.__getitem__)}
    order = sorted(kept)
    return [steps[i] for i in order], [values[i] for i in order]


def _legend(lines: Sequence[Series], means: Mapping[str, list[float]]) -> str:
    items = "".join(
        f'<li><i class="s{index}"></i>{escape(s.name)} '
        f'<b data-series="{escape(s.name)}">{significant(means.get(s.name, s.values)[-1])}</b></li>'
        for index, s in enumerate(lines)
    )
    return f'<ul class="legend" aria-label="Lines and their last values">{items}</ul>'


def _spoken(title: str, lines: Sequence[Series]) -> str:
    parts = [
        f"{s.name} from {significant(s.values[0])} to {significant(s.values[-1])}" for s in lines
    ]
    steps = f"steps {lines[0].steps[0]:,} to {lines[0].steps[-1]:,}"
    return escape(f"{title}, line chart over {steps}: {'; '.join(parts)}.")


def _numbers(lines: Sequence[Series]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(s.name)}</th>'
        + "".join(
            f"<td>{significant(v, 4)}</td>"
            for v in (s.values[0], s.values[-1], min(s.values), max(s.values))
        )
        + "</tr>"
        for s in lines
    )
    heads = "".join(f'<th scope="col">{h}</th>' for h in ("Name", "First", "Last", "Min", "Max"))
    return (
        "<details><summary>Numbers</summary><div class='scroll'><table><thead><tr>"
        f"{heads}</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )
