"""Widths of a network -> milliseconds on this machine, from times of its parts.

Each part of the exported graph (`segments`) is timed at a grid of widths, between two thin layers
whose own time is taken off, and interpolated linearly along each axis. What runtimes do between
parts is not in their times, and a part alone finds its numbers in the cache: so whole networks of a
few widths are timed, and a line through (sum of the parts, time of the whole) turns one into the
other. Other widths, not used for the line, say how far the predictions are off.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from random import Random
from typing import Any

import numpy as np

from ganpress.channels.ranking import rounded_width
from ganpress.measures.timing.cut_graph import parts_of
from ganpress.measures.timing.layer_table import Job, LayerTable
from ganpress.measures.timing.segments import Part, vanishes
from ganpress.measures.timing.template import Template
from ganpress.measures.timing.thin_layers import empty_file, thin_file
from ganpress.measures.timing.timer import Timer, in_turns
from ganpress.models.checkpoint import Model
from ganpress.nn.axes import vanishing_with
from ganpress.types import Widths
from ganpress.types.sizes import Size

LEVELS = {0: 1, 1: 5, 2: 4}
MORE_AXES = 3  # levels of each axis of a part with three or more
FITTED, CHECKED = 6, 4  # whole networks that the line is fitted to, and that it is checked on
ERROR_MOST = 0.10
STEPS = (16, 8, 4)  # channels that a runtime may round up to
LEAST = 0.1
PROBED = 64  # channels at which that is tried


def levels(least: int, largest: int, count: int) -> tuple[int, ...]:
    """So many whole numbers from least to largest, each about as many times the one before it.

    >>> levels(8, 256, 4)
    (8, 24, 80, 256)
    """
    if least >= largest or count < 2:
        return (largest,)
    ratio = (largest / least) ** (1 / (count - 1))
    inner = (round(least * ratio**k / least) * least for k in range(1, count - 1))
    return tuple(sorted({least, *(min(n, largest) for n in inner), largest}))


@dataclass(frozen=True)
class Grid:
    """Milliseconds of a part over numbers of channels: at each point of a grid, linear along each
    axis between them, and the same beyond its ends. It falls nowhere where a number rises."""

    axes: tuple[tuple[int, ...], ...]
    ms: Any
    """numpy, one dim for each axis."""

    @classmethod
    def of(cls, axes: tuple[tuple[int, ...], ...], ms: Mapping[tuple[int, ...], float]) -> Grid:
        """A grid of measured times, by point."""
        points = itertools.product(*axes)
        values = np.array([ms[point] for point in points]).reshape([len(a) for a in axes])
        return cls(axes, rising(values.clip(min=0)))

    def __call__(self, point: Sequence[int]) -> float:
        """The time at these numbers of channels."""
        places = [_place(axis, n) for axis, n in zip(self.axes, point, strict=True)]
        total = 0.0
        for corner in itertools.product((0, 1), repeat=len(places)):
            weight = math.prod(
                f if up else 1 - f for up, (_, f) in zip(corner, places, strict=True)
            )
            if weight:
                at = tuple(low + up for up, (low, _) in zip(corner, places, strict=True))
                total += weight * float(self.ms[at])
        return total


def _place(axis: tuple[int, ...], n: int) -> tuple[int, float]:
    """The level at or below a number, and how far it is from there to the next, 0 to 1."""
    low = max(0, min(bisect_right(axis, n) - 1, len(axis) - 2))
    if len(axis) == 1:
        return 0, 0.0
    span = axis[low + 1] - axis[low]
    return low, min(1.0, max(0.0, (n - axis[low]) / span))


def rising(values: Any) -> Any:
    """The nearest values that fall along no axis: half way between the least ones that are nowhere
    below these and the largest that are nowhere above."""
    above, below = values, values
    for axis in range(values.ndim):
        above = np.maximum.accumulate(above, axis)
        below = np.flip(np.minimum.accumulate(np.flip(below, axis), axis), axis)
    return (above + below) / 2


@dataclass(frozen=True)
class Fit:
    """The line from the sum of the parts to the whole, and how good it is.

    Attributes:
        offset_ms, factor: whole = offset_ms + factor x sum.
        error: the largest relative error on networks that it was not fitted to.
        sets: of each network its widths, predicted and measured ms, and whether it was fitted.
    """

    offset_ms: float
    factor: float
    error: float
    sets: tuple[Mapping[str, Any], ...] = ()

    def __call__(self, parts_ms: float) -> float:
        """The time of the whole; never below a tenth of what the factor alone says."""
        scaled = self.factor * parts_ms
        return max(self.offset_ms + scaled, LEAST * scaled)


def line(sums: Sequence[float], wholes: Sequence[float]) -> tuple[float, float]:
    """(offset, factor) of the least sum of squared relative errors; the factor is above 0.

    The offset is below 0 where parts cost something each that a whole network does not.
    """
    x, y = np.asarray(sums, float), np.asarray(wholes, float)
    columns = np.stack([1 / y, x / y], 1)
    offset, factor = np.linalg.lstsq(columns, np.ones(len(y)), rcond=None)[0]
    if factor <= 0:
        alone = x / y
        offset, factor = 0.0, float(alone.sum() / (alone @ alone))
    return float(offset), float(factor)


@dataclass
class LatencyModel:
    """Widths -> milliseconds of the exported network, by a table of this machine.

    Attributes:
        full: the largest width of each group.
        step: widths are measured at multiples of it.
        gone: widths -> paths of blocks that are empty, each with the tensors that remain.
    """

    template: Template
    parts: list[Part]
    table: LayerTable
    full: Widths
    step: int
    vanishing: Mapping[str, tuple[str, tuple[str, ...]]]
    family: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    size: Size = 0
    fit: Fit = Fit(0.0, 1.0, math.inf)
    _seen: dict[tuple[int, tuple[int, ...]], float] = field(default_factory=dict)

    def __call__(self, widths: Widths) -> float:
        """Milliseconds at these widths (the full ones for groups not named)."""
        return self.fit(self.sum(widths))

    def sum(self, widths: Widths) -> float:
        """The sum of the parts' times."""
        w = {**self.full, **widths}
        gone = {p: remains for p, (g, remains) in self.vanishing.items() if w.get(g) == 0}
        return sum(
            self._of(i, tuple(count(w) for count in part.counts))
            for i, part in enumerate(self.parts)
            if not vanishes(part, gone, w)
        )

    def _of(self, i: int, point: tuple[int, ...]) -> float:
        if (i, point) not in self._seen:
            self._seen[i, point] = self.grids[self.parts[i].key](point)
        return self._seen[i, point]

    @cached_property
    def grids(self) -> dict[str, Grid]:
        """The grid of each kind of part, measured where the table lacks it."""
        kinds = {part.key: part for part in self.parts}
        axes = {key: self._axes(key) for key in kinds}
        jobs = [
            Job(key, part.label, point, lambda part=part, point=point: part.file(point))  # type: ignore[misc]
            for key, part in kinds.items()
            for point in itertools.product(*axes[key])
        ]
        maps = {dims for job in jobs for dims in kinds[job.key].maps(job.point)}
        jobs += [self._thin(dims) for dims in sorted(maps)]
        jobs.append(self._empty)
        self.table.fill(jobs, "a latency table")
        return {
            key: Grid.of(axes[key], self._alone(part, axes[key])) for key, part in kinds.items()
        }

    def _axes(self, key: str) -> tuple[tuple[int, ...], ...]:
        """The levels of each axis, up to the largest that a part of this kind has."""
        alike = [part for part in self.parts if part.key == key]
        full = [max(part.counts[i](self.full) for part in alike)
                for i in range(len(alike[0].basis))]  # fmt: skip
        least = [count.plus + self.step * sum(k for _, k in count.of) for count in alike[0].counts]
        count = LEVELS.get(len(full), MORE_AXES)
        return tuple(levels(a, b, count) for a, b in zip(least, full, strict=True))

    def _alone(self, part: Part, axes: tuple[tuple[int, ...], ...]) -> dict[tuple[int, ...], float]:
        """The times of a part by itself: without the call, and half of the thin layers of each map
        that it shares, of which the part at the map's other side has the other half."""
        call = self.table.ms(self._empty.key, ())
        found = {}
        for point in itertools.product(*axes):
            maps = [self._thin(dims) for dims in part.maps(point)]
            thin = sum((self.table.ms(job.key, job.point) - call) / 2 for job in maps)
            found[point] = self.table.ms(part.key, point) - call - thin
        return found

    def _thin(self, dims: tuple[int, ...]) -> Job:
        n, c, h, w = dims
        return Job(f"thin/{n}x{h}x{w}", f"thin layers at {h}x{w}", (c,),
                   lambda: thin_file(dims, self.template))  # fmt: skip

    @property
    def _empty(self) -> Job:
        return Job("empty", "a call", (), lambda: empty_file(self.template))

    def fitted(self) -> Fit:
        """Fit the line on whole networks, and try it on others; kept with the table."""
        _ = self.grids  # measured first, so that the wholes are timed one after the other
        found = self.table.fact(f"fit/{self.key}", self._fit)
        self.fit = Fit(**{**found, "sets": tuple(found["sets"])})
        return self.fit

    @property
    def key(self) -> str:
        """What the fit hangs on: the graph and how it is cut, its widths, and the step."""
        widths = "-".join(map(str, self.full.values()))
        parts = sha256("/".join(part.key for part in self.parts).encode()).hexdigest()[:8]
        return f"{self.template.key}/{parts}/{self.step}/{widths}"

    def _fit(self, timer: Timer) -> dict[str, Any]:
        sets = [self.some_widths(i) for i in range(FITTED + CHECKED)]
        wholes = in_turns(timer, [self.template.whole(widths) for widths in sets])
        sums = [self.sum(widths) for widths in sets]
        chosen = [i % 5 not in (2, 4) for i in range(len(sets))]
        pairs = [(s, t) for s, t, used in zip(sums, wholes, chosen, strict=True) if used]
        offset, factor = line(*zip(*pairs, strict=True))
        predicted = [Fit(offset, factor, 0.0)(s) for s in sums]
        rows = [
            {"widths": dict(w), "predicted_ms": p, "measured_ms": t, "fitted": used}
            for w, p, t, used in zip(sets, predicted, wholes, chosen, strict=True)
        ]
        rest = zip(predicted, wholes, chosen, strict=True)
        error = max(off(p, t) for p, t, used in rest if not used)
        return {"offset_ms": offset, "factor": factor, "error": error, "sets": rows}

    def some_widths(self, i: int) -> dict[str, int]:
        """Widths of the i-th network that is timed whole: the full ones, an eighth of them, then
        random ones from a sixth to all, by group."""
        draw = Random(i)
        share = {0: 1.0, 1: 0.125}.get(i) or math.exp(draw.uniform(math.log(0.2), 0.0))

        def at(full: int) -> int:
            own = share if i < 2 else share * draw.uniform(0.6, 1.4)
            return rounded_width(round(own * full), min(self.step, full), full, self.step)

        return {group: at(full) if full else 0 for group, full in self.full.items()}


def off(predicted: float, measured: float) -> float:
    """The relative error of a prediction."""
    return abs(predicted - measured) / measured


def wired(template: Template, model: Model, table: LayerTable, *, step: int) -> LatencyModel:
    """The cost model of a network's wiring; `LatencyModel.fitted` calibrates it.

    Args:
        template: of this wiring, with its quantisers.
        model: at the largest widths. step: widths are multiples of it.
    """
    found = {
        f"{path}." if path else "": (inner[0].group, inner[1])
        for path, module in model.net.named_modules()
        if (inner := vanishing_with(module)) is not None
    }
    return LatencyModel(
        template, parts_of(template), table, dict(model.widths), step, found,
        family=model.family.name, options=dict(model.options), size=template.size,
    )  # fmt: skip


def fast_step(model: LatencyModel) -> int:
    """How many channels the runtime rounds up to: the largest step below which narrower is not
    faster, tried on the part with the most weights; 1 where there is none."""
    wide = [
        p
        for p in model.parts
        if len(p.basis) == 2 and min(c(model.full) for c in p.counts) >= PROBED
    ]
    if not wide:
        return 1
    part = max(wide, key=lambda p: math.prod(c(model.full) for c in p.counts))

    def probed(timer: Timer) -> int:
        def at(channels: int) -> float:
            return min(timer(part.file([channels] * 2)) for _ in range(3))

        return step_of(at)

    return int(model.table.fact(f"round/{part.key}", probed))


def step_of(at: Callable[[int], float]) -> int:
    """The step of a function of channels: ms. One that rounds up to a step takes as long just above
    the multiple before as at the multiple; one that does not takes less by the square."""
    whole = at(PROBED)
    for step in STEPS:
        narrow = PROBED - step + 1
        if at(narrow) >= whole * (1 + (narrow / PROBED) ** 2) / 2:
            return step
    return 1
