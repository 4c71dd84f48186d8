"""Which of the timed rows is what results.json calls a network's latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

TEACHER, STUDENT, FLOAT = "teacher", "student", "student, float"
BOTH = (TEACHER, STUDENT)


def headline(results: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The latency of one network's file in the first runtime that has it: what `latency_ms` is.

    Args: name: `TEACHER` or `STUDENT`.
    """
    rows: Sequence[Mapping[str, Any]] = results["rows"]
    runtime = next((r["runtime"] for r in rows if r["model"] == STUDENT), None)
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
