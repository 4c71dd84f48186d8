"""Which of the timed rows is what results.json calls a network's latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

TEACHER, STUDENT, FLOAT = "teacher", "student", "student, float"
BOTH = (TEACHER, STUDENT)


def headline(results: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The latency of one network's file in the first runtime that ran the student's and the
    teacher's: what `latency_ms` is. None where there is no such runtime.

    Args: name: `TEACHER` or `STUDENT`.
    """
    rows: Sequence[Mapping[str, Any]] = results["rows"]
    there = {row["runtime"] for row in rows if row["model"] == TEACHER}
    ours = (row["runtime"] for row in rows if row["model"] == STUDENT)
    runtime = next((one for one in ours if one in there), None)
    row = next((r for r in rows if r["model"] == name and r["runtime"] == runtime), None)
    if row is None:
        return None
    return {
        "median": row["median_ms"],
        "p95": row["p95_ms"],
        "device": "cpu",
        "threads": results["threads"],
        "batch": results["batch"],
        "size": results["size"],
        "repeats": row["passes"],
        "runtime": row["runtime"],
        "precision": row["precision"],
    }
