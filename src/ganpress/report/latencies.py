"""The latency of exported files as a table, and whether 8 bits are worth it on that device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ganpress.report.amounts import milliseconds, number, optional, size_bytes, times
from ganpress.report.reading import section
from ganpress.report.table import Table

_WHERE = "results.json"
FP32, INT8 = "fp32", "int8"
_NONE = (None, None, None)
HEADS = ("Network", "Runtime", "Precision", "Median", "95th percentile", "File", "Teacher / this")


def latency_table(results: Mapping[str, Any]) -> tuple[Table | None, str, list[str]]:
    """The rows, what they were measured on, and advice; None, "" and [] where there are none."""
    found = section(results, "latency", _WHERE)
    rows = [row for row in found.get("rows") or [] if isinstance(row, Mapping)]
    if not rows:
        return None, "", []
    table = Table(HEADS, [_row(row) for row in rows], numeric=True)
    return table, conditions(found), advice(rows)


def _row(row: Mapping[str, Any]) -> list[Any]:
    value, low, high = _interval(row)
    text = optional(value, times)
    if low is not None and high is not None and not isinstance(text, str):
        text = text._replace(shown=f"{text.shown} ({times(low)}–{times(high)})")
    return [
        str(row.get("model", "–")),
        str(row.get("runtime", "–")),
        str(row.get("precision", "–")),
        optional(number(row.get("median_ms")), milliseconds),
        optional(number(row.get("p95_ms")), milliseconds),
        optional(number(row.get("file_bytes")), size_bytes),
        text,
    ]


def _interval(row: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    """How many times as fast as the teacher in the same runtime, and from what to what that is
    sure."""
    ratio = row.get("ratio")
    value, low, high = map(number, ratio if isinstance(ratio, list) and len(ratio) == 3 else _NONE)
    return value, low, high


def conditions(found: Mapping[str, Any]) -> str:
    """'Intel(R) Xeon(R), AVX-512 VNNI; 1 thread; batch 1; size 256; onnxruntime 1.31'."""
    device = section(found, "device", _WHERE)
    size = found.get("size")
    threads = found.get("threads")
    versions = section(found, "versions", _WHERE)
    known = device.get("instructions")
    instructions = [str(name) for name in known] if isinstance(known, list) else []
    parts = [
        ", ".join([str(device.get("processor", "")), *instructions]).strip(", "),
        f"{threads} thread{'s' if threads != 1 else ''}" if threads is not None else "",
        f"batch {found['batch']}" if found.get("batch") is not None else "",
        f"size {'x'.join(map(str, size)) if isinstance(size, list) else size}" if size else "",
        f"load {device['load']} at the start" if device.get("load") is not None else "",
        ", ".join(f"{name} {version}" for name, version in versions.items()),
    ]
    return "; ".join(part for part in parts if part)


@dataclass(frozen=True)
class _Timed:
    """A row's runtime and median, and how many times as fast it is as the teacher in that runtime:
    (that, from what, to what)."""

    runtime: str
    ms: float
    ratio: tuple[float, float, float] | None

    def against(self, other: _Timed) -> str:
        """ "faster", "slower", or "alike" where the two intervals overlap; by the medians where the
        measurement had one round, and so no intervals. Ratios of two runtimes are to two teachers'
        times: there it is speeds, as uncertain as the ratios, that are compared."""
        ours, theirs = self.ratio, other.ratio
        if ours is None or theirs is None:
            return "faster" if self.ms < other.ms else "slower" if self.ms > other.ms else "alike"
        if self.runtime != other.runtime:
            ours, theirs = self._speeds(ours), other._speeds(theirs)
        (_, low, high), (_, least, most) = ours, theirs
        return "faster" if low > most else "slower" if high < least else "alike"

    def _speeds(self, ratio: tuple[float, float, float]) -> tuple[float, float, float]:
        """How many times in a millisecond, from how many, to how many."""
        value, low, high = ratio
        return 1 / self.ms, low / value / self.ms, high / value / self.ms


def advice(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each runtime in which the student's 8-bit file is not surely faster than
    float32 of the same widths, with the fastest way to run it on that device.

    Args: rows: ``model`` ("student", and its float form "student, float"), ``runtime``,
        ``precision``, ``median_ms`` and ``ratio`` (times as fast as the teacher in the same
        runtime: its value, and what covers it) of each.
    """
    timed = _timed([r for r in rows if str(r.get("model", "")).startswith("student")])
    pairs = [
        (runtime, ours, timed[runtime, FP32])
        for (runtime, precision), ours in timed.items()
        if precision == INT8 and (runtime, FP32) in timed
    ]
    best = min(timed.values(), key=lambda one: one.ms, default=None)
    fastest = " or ".join(
        f"{precision} in {runtime} ({milliseconds(one.ms)})"
        for (runtime, precision), one in sorted(timed.items(), key=lambda item: item[1].ms)
        if one is best or (best is not None and one.against(best) == "alike")
    )
    how = {"slower": "slower", "alike": "not measurably faster"}
    return [
        f"In {runtime} the 8-bit file is {how[found]} on this device than float32 of the same "
        f"widths ({milliseconds(ours.ms)} against {milliseconds(other.ms)}). Fastest: {fastest}."
        for runtime, ours, other in pairs
        if (found := ours.against(other)) != "faster"
    ]


def _timed(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], _Timed]:
    """By runtime and precision: the rows that have a time."""
    found = {}
    for row in rows:
        if ms := number(row.get("median_ms")):
            value, low, high = _interval(row)
            ratio = (value, low, high) if value and low is not None and high is not None else None
            runtime = str(row.get("runtime"))
            found[runtime, str(row.get("precision"))] = _Timed(runtime, ms, ratio)
    return found
