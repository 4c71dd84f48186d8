"""The results of an ablation's variants, and whether the paper's statements hold: from files."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganpress.report.ablation_welch import clear_from, student_t
from ganpress.report.amounts import larger_is_better
from ganpress.report.reading import QUALITY, TEACHER_QUALITY
from ganpress.run.files import read_json

_COSTS = ("macs", "params", "bytes", "latency_ms")
UNEQUAL = 1.05
"""Variants whose costs differ by more than this factor are reported as of different cost."""


def summary(run: Path) -> dict[str, Any]:
    """The results of the variants in ``run``: every number with mean and spread over seeds."""
    facts = read_json(run / "settings.json")
    variants = list(facts["stage_minutes"])
    found, failed = _variants_in(run, variants)
    out: dict[str, Any] = {
        **{name: facts[name] for name in ("family", "teacher", "minutes", "settings")},
        "stage_minutes": facts["stage_minutes"],
        "variants": found,
        "failed": failed,
        "paper": facts.get("paper", "a method"),
        "meanings": facts.get("meanings", {}),
        "missing": [
            variant for variant in variants if variant not in {r["variant"] for r in found}
        ],
    }
    if found:
        first = run / found[0]["runs"][0]
        results, card = read_json(first / "results.json"), read_json(first / "card.json")
        metrics = list(results["evaluation"]["metrics"])
        measured = {name for one in found for name in one["numbers"]}
        out["metric"] = next((name for name in metrics if name in measured), metrics[0])
        out["protocol"] = results["evaluation"]["protocol"]
        out["teacher_cost"] = results["model"]["teacher"]
        known = ("device", "threads", "platform", "ganpress", "torch", "python", "data_hash")
        out["machine"] = {name: card.get(name) for name in known}
        kinds = ("real/frechet-", "real/fid-", "real/is-", "real/miou-", "real/accuracy-")
        metrics += [name for name in names_of(found) if name.startswith(kinds)]
        target = cost_asked_for(facts["settings"]["target"])
        out["statements"] = statements(found, metrics, facts.get("claims", []), target)
    if (judged := run / TEACHER_QUALITY).exists():
        teacher = read_json(judged)
        out["judged_teacher"], out["judged_protocol"] = teacher["metrics"], teacher["protocol"]
        out["yardsticks"] = teacher["yardsticks"]
    return out


def _variants_in(
    run: Path, variants: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A row for each variant with a finished seed, and what failed."""
    found, failed = [], []
    for variant in variants:
        of_variant = {
            int(folder.name.removeprefix(f"{variant}-")): folder
            for folder in run.glob(f"{variant}-*")
            if folder.name.removeprefix(f"{variant}-").isdigit()
        }
        done = {s: f for s, f in sorted(of_variant.items()) if (f / "results.json").exists()}
        failed += [
            {"variant": variant, "seed": seed, "error": read_json(folder / "failed.json")["error"]}
            for seed, folder in sorted(of_variant.items())
            if (folder / "failed.json").exists()
        ]
        if done:
            found.append(row(variant, done))
    return found, failed


def cost_asked_for(target: Mapping[str, Any]) -> str | None:
    """The name of the cost that the settings `target` ask for: "macs", ...; None: none of them."""
    return next((name for name in _COSTS if target.get(name)), None)


def names_of(variants: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every number that a variant has, by name, once."""
    return list(dict.fromkeys(name for one in variants for name in one["numbers"]))


def row(variant: str, runs: Mapping[int, Path]) -> dict[str, Any]:
    """One variant: its seeds, and the mean, spread (None for one seed) and values of each number
    that all of them have."""
    each = [numbers_of(folder) for folder in runs.values()]
    shared = [name for name in each[0] if all(name in one for one in each)]
    over_images = [_errors_of(folder) for folder in runs.values()]
    return {
        "variant": variant,
        "bits": read_json(next(iter(runs.values())) / "config.json")["quantise"]["bits"],
        "seeds": list(runs),
        "runs": [folder.name for folder in runs.values()],
        "numbers": {
            name: {
                "mean": statistics.mean(values := [one[name] for one in each]),
                "spread": statistics.stdev(values) if len(values) > 1 else None,
                "values": values,
            }
            for name in shared
        },
        "over_images": {
            name: statistics.mean(one[name] for one in over_images)
            for name in over_images[0]
            if all(name in one for one in over_images)
        },
    }


def _errors_of(folder: Path) -> dict[str, float]:
    """Standard errors over the pictures of one finished variant's metrics; of a score, whose spread
    is a deviation over splits, none."""
    errors = dict(read_json(folder / "results.json")["evaluation"]["spread"])
    judged = folder / QUALITY
    if judged.exists():
        spread = read_json(judged).get("spread", {})
        errors |= {f"real/{n}": v for n, v in spread.items() if not larger_is_better(n)}
    return _finite(errors)


def numbers_of(folder: Path) -> dict[str, float]:
    """Every number of one finished variant, but for those that are not finite; those against real
    pictures are named ``real/...``."""
    results = read_json(folder / "results.json")
    model, student = results["model"], results["model"]["student"]
    out = {name: student[name] for name in ("bytes", "macs", "macs_outres", "params")}
    out["file_bytes"] = student["file_bytes"]
    out |= {f"ratio/{name}": value for name, value in model["ratios"].items()}
    out["latency_ms"] = student["latency_ms"]["median"]
    stages = [s for s in results["stages"] if s["steps"] is not None]
    trained = [s for s in stages if not s["name"].startswith("render")]
    out["training_seconds"] = sum(stage["seconds"] for stage in trained)
    out["training_steps"] = sum(stage["steps"] for stage in trained)
    out |= results["evaluation"]["metrics"]
    judged = folder / QUALITY
    if judged.exists():
        out |= {f"real/{name}": v for name, v in read_json(judged)["metrics"].items()}
    return _finite(out)


def _finite(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Without what is no number: a network can have failed at a metric."""
    return {n: float(v) for n, v in numbers.items() if v is not None and math.isfinite(v)}


def statements(
    rows: Sequence[Mapping[str, Any]],
    metrics: Sequence[str],
    claims: Sequence[Sequence[str]],
    target: str | None = None,
) -> list[dict[str, Any]]:
    """The paper's statements, each by each metric: whether it holds here, and how clearly.

    Args:
        claims: (statement, the better variant, the worse variant) each.
        target: the cost that the variants were to have alike, such as "macs".
    """
    by_name = {r["variant"]: r for r in rows}
    return [
        {"statement": text, "better": better, "worse": worse, "metric": metric}
        | compared(by_name.get(better), by_name.get(worse), metric, target)
        for metric in metrics
        for text, better, worse in claims
    ]


def compared(
    a: Mapping[str, Any] | None,
    b: Mapping[str, Any] | None,
    metric: str,
    target: str | None = None,
) -> dict[str, Any]:
    """Whether variant ``a`` is better than ``b`` by a metric.

    ``difference`` is positive where it is. ``error`` is the standard error of that difference:
    over seeds where both have two or more, else over the test pictures; None where that is not
    known. ``units`` is one divided by the other, None where there is no error, and from
    ``threshold`` units on (Welch's t-test) the difference is ``clear``. ``costs`` are how many
    times the teacher costs what each variant does, where that is not the same.
    """
    if a is None or b is None or metric not in a["numbers"] or metric not in b["numbers"]:
        return {"verdict": "not run", "difference": None, "units": None, "clear": False}
    sign = -1.0 if larger_is_better(metric) else 1.0
    difference = sign * (b["numbers"][metric]["mean"] - a["numbers"][metric]["mean"])
    return {
        "verdict": "holds" if difference > 0 else "does not hold",
        "difference": difference,
        **_clarity(a, b, metric, difference),
        "costs": _costs(a, b, target),
    }


def _clarity(
    a: Mapping[str, Any], b: Mapping[str, Any], metric: str, difference: float
) -> dict[str, Any]:
    """What the difference is beside its standard error."""
    counts = [len(one["seeds"]) for one in (a, b)]
    over_seeds = min(counts) > 1
    errors = [e for one in (a, b) if (e := _error(one, metric, over_seeds)) is not None]
    error = math.hypot(*errors) if len(errors) == 2 else None
    units = threshold = None
    clear = error is not None and over_seeds and difference != 0  # without spread: for certain
    if error:
        threshold = clear_from(errors, counts) if over_seeds else student_t(math.inf)
        units = difference / error
        clear = abs(units) >= threshold
    return {
        "error": error,
        "units": units,
        "unit": "standard error over " + ("seeds" if over_seeds else "test pictures, one seed"),
        "threshold": threshold,
        "clear": clear,
    }


def _error(variant: Mapping[str, Any], metric: str, over_seeds: bool) -> float | None:
    if over_seeds:
        return float(variant["numbers"][metric]["spread"]) / math.sqrt(len(variant["seeds"]))
    found = variant["over_images"].get(metric)
    return None if found is None else float(found)


def _costs(
    a: Mapping[str, Any], b: Mapping[str, Any], target: str | None
) -> tuple[float, float] | None:
    """Teacher's cost over each variant's, where those are not near each other."""
    name = f"ratio/{target}"
    if name not in a["numbers"] or name not in b["numbers"]:
        return None
    ours, theirs = (float(one["numbers"][name]["mean"]) for one in (a, b))
    return (ours, theirs) if max(ours, theirs) > UNEQUAL * min(ours, theirs) else None
