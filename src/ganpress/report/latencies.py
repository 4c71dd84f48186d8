"""The latency of exported files as a table, and whether 8 bits are worth it on that device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganpress.report.amounts import milliseconds, number, optional, size_bytes, times
from ganpress.report.reading import section
from ganpress.report.table import Table

_WHERE = "results.json"
INT8 = "int8"
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
    ratio = row.get("ratio")
    value, low, high = map(number, ratio if isinstance(ratio, list) and len(ratio) == 3 else _NONE)
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


def advice(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each runtime in which the student's 8-bit file is no faster than float32 of
    the same widths, with the fastest way to run it on that device.

    Args: rows: ``model`` ("student", and its float form "student, float"), ``runtime``,
        ``precision`` and ``median_ms`` of each.
    """
    ours = [r for r in rows if str(r.get("model", "")).startswith("student")]
    timed = {
        (str(r.get("runtime")), str(r.get("precision"))): ms
        for r in ours
        if (ms := number(r.get("median_ms")))
    }
    slower = [
        (runtime, timed[runtime, INT8], timed[runtime, "fp32"])
        for runtime, precision in timed
        if precision == INT8
        and timed.get((runtime, "fp32"), 0)
        and timed[runtime, INT8] >= timed[runtime, "fp32"]
    ]
    if not slower:
        return []
    best = min(timed, key=lambda key: timed[key])
    fastest = f"{best[1]} in {best[0]} ({milliseconds(timed[best])})"
    return [
        f"In {runtime} the 8-bit file is no faster on this device than float32 of the same widths "
        f"({milliseconds(ours_ms)} against {milliseconds(float_ms)}). Fastest: {fastest}."
        for runtime, ours_ms, float_ms in slower
    ]
