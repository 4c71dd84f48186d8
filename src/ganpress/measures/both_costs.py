"""What teacher and student cost, beside each other, as results.json holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ganpress.measures.cost import latency, measure
from ganpress.measures.timing.latency_rows import BOTH, headline
from ganpress.models.checkpoint import Model
from ganpress.run.settings import CropSettings
from ganpress.types.sizes import Size

_MEASURED_ON = ("device", "threads", "batch", "size", "repeats", "runtime", "precision")


def compare_costs(
    teacher: Model, student: Model, *, size: Size, quick: bool = False
) -> dict[str, Any]:
    """Cost, latency in torch and widths of both, as `results.json` holds them.

    `with_shipped` puts the latency of the exported files in its place.

    Args: size: pixels; quick: a shorter latency measurement.
    """
    out: dict[str, Any] = {"family": teacher.family.name}
    for name, model in (("teacher", teacher), ("student", student)):
        time = latency(model, size=size, seconds=1.0 if quick else 2.0)
        out[name] = {
            **asdict(measure(model.net, size)),
            "size": size,
            "latency_ms": {
                "median": round(time.median_ms, 3),
                "p95": round(time.p95_ms, 3),
                **{k: getattr(time, k) for k in _MEASURED_ON},
            },
            "widths": model.widths,
        }
    t, s = out["teacher"], out["student"]
    out["ratios"] = {k: round(t[k] / s[k], 3) for k in ("params", "macs", "macs_outres", "bytes")}
    out["ratios"]["latency_ms"] = round(t["latency_ms"]["median"] / s["latency_ms"]["median"], 3)
    return out


def with_shipped(model: dict[str, Any], shipped: Mapping[str, Any] | None) -> dict[str, Any]:
    """`compare_costs` with the latency of the exported files as what is called latency, and torch's
    beside it, named so. Unchanged where the files were not timed.

    Args: shipped: of `timing.shipped.time_files`.
    """
    teacher, student = (headline(shipped, name) if shipped else None for name in BOTH)
    if teacher is None or student is None:
        return model
    out: dict[str, Any] = {**model, "ratios": dict(model["ratios"])}
    for name, latency_ms in zip(BOTH, (teacher, student), strict=True):
        in_torch = model[name]["latency_ms"]
        out[name] = {**model[name], "latency_ms": latency_ms, "latency_torch_ms": in_torch}
    out["ratios"]["latency_torch_ms"] = out["ratios"].pop("latency_ms")
    out["ratios"]["latency_ms"] = round(teacher["median"] / student["median"], 3)
    return out


def cost_size(data: CropSettings, teacher: Model) -> Size:
    """The size whose cost a run reports: the family's own, or what training saw if not square."""
    return data.size if isinstance(data.size, tuple) else teacher.family.image.size
