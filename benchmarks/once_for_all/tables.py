"""The result files of each part, and one page of all, read from the runs' own files."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.once_for_all.parts import BUDGETS, LONG_SUPERNET, STUDENTS, trials
from ganpress.report.ablation_welch import clear_from
from ganpress.report.figures import drawing, new_axes, whole_svg

RESULTS = Path(__file__).parents[1] / "results"
ABLATIONS = ("openmoji", "hayao", "facades", "monet")
WAYS = {"once": "one supernet", "slim": "GAN Slimming"}
"""How the students of `students` are made, by the beginning of a run's name."""
LONGER = {
    "openmoji-slim/gs-32-0": "GAN Slimming, 5 minutes",
    "longer/slim": "GAN Slimming, 15 minutes",
    "openmoji/uniform-0": "uniformly narrow, 5 minutes",
    "longer/uniform": "uniformly narrow, 15 minutes",
    "openmoji/fast-0": "searched, 5 minutes, 1 of them for the supernet",
    "openmoji/shrinking-0": "shrunk and searched, 5 minutes",
    "longer/shrinking": "shrunk and searched, 15 minutes",
    "longer/searched": f"searched, 15 minutes, {LONG_SUPERNET} of them for the supernet",
}
WIDENED = {"drawn": "as they are drawn", "widened": "widened to the budget"}
"""How the sets of `widened` were drawn, by the beginning of a run's name."""
FURTHER = ("st-lpips-alex", "real/frechet-efficientnet-lite0", "real/miou-facades")
"""Columns of an ablation's table where they were measured."""
OURS, FIRST = "once-for-all", ("shrinking", "fast")
"""Variants that the others are compared with; the first one that is there."""
FOLDERS = {
    "slim": "-slim",
    **{f"{OURS}, {name}" if name else OURS: end for name, (end, _) in STUDENTS.items()},
}
"""Ends of the names of a part's folders, by what stands in the table."""


def keep(runs: Path, part: str) -> None:
    """Write the part's JSON from what has ended of it; nothing where nothing has."""
    made = {
        "students": _students,
        "longer": _longer,
        "widened": _widened,
        "rank": _rank,
        "evolution": _evolution,
    }
    found = made[part](runs) if part in made else _ablation(runs, part)
    if found:
        text = json.dumps(found, indent=1, sort_keys=True) + "\n"
        (RESULTS / f"once-for-all-{part}.json").write_text(text)
    if found and part == "students":
        _draw_students(found, RESULTS / "once-for-all-students.svg")
    if part in ABLATIONS and (shown := _shown(runs, part)):
        from PIL import Image

        goal = RESULTS / f"once-for-all-{part}.jpg"
        Image.open(shown / "fig4.png").convert("RGB").save(goal, quality=85, optimize=True)
        shutil.copyfile(shown / "ablation.md", RESULTS / f"once-for-all-{part}.md")


def _shown(runs: Path, part: str) -> Path | None:
    """The folder of the searched students that has the first of `FIRST`, and pictures."""
    ends = [end for end, _ in STUDENTS.values()]
    folders = [f for end in ends if ((f := runs / f"{part}{end}") / "fig4.png").exists()]
    return next(
        (f for name in FIRST for f in folders if (f / f"{name}-0" / "results.json").exists()), None
    )


def _ablation(runs: Path, part: str) -> dict[str, Any]:
    """Both methods' variants, and whether the first of `FIRST` that is there (the best one of
    several students) differs clearly from each other one."""
    files = {method: runs / f"{part}{end}" / "ablation.json" for method, end in FOLDERS.items()}
    found = {m: json.loads(f.read_text()) for m, f in files.items() if f.exists()}
    if not found:
        return {}
    whole = next(iter(found.values()))
    metric, rows = whole["metric"], []
    for method, of in found.items():
        for variant in of["variants"]:
            numbers = variant["numbers"]
            wanted = [metric, "l1", *FURTHER, "ratio/macs", "ratio/bytes", "training_steps"]
            wanted += ["training_seconds", *(n for n in numbers if n.startswith("real/"))]
            kept = {name: numbers[name] for name in wanted if name in numbers}
            rows.append({"method": method, "variant": variant["variant"], "numbers": kept})
    rows.sort(key=lambda row: row["numbers"][metric]["mean"])
    ours = {r["variant"]: r for r in reversed(rows) if r["method"].startswith(OURS)}
    first = next((ours[name] for name in FIRST if name in ours), None)
    for row in rows:
        if first and row is not first:
            row["against"] = difference(first["numbers"][metric], row["numbers"][metric])
    names = ("machine", "protocol", "judged_teacher", "judged_protocol", "statements", "minutes")
    beside = {"first": first and first["variant"]}
    return {"metric": metric, "rows": rows, **beside, **{n: whole[n] for n in names if n in whole}}


def difference(first: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """How much smaller the first one's mean is, and whether clearly so (Welch's t-test, 95 %)."""
    a, b = first["values"], other["values"]
    found: dict[str, Any] = {"smaller by": other["mean"] - first["mean"]}
    if len(a) > 1 and len(b) > 1:
        errors = [statistics.stdev(v) / len(v) ** 0.5 for v in (a, b)]
        if max(errors) > 0:
            units = found["smaller by"] / (errors[0] ** 2 + errors[1] ** 2) ** 0.5
            least = clear_from(errors, [len(a), len(b)])
            found |= {"units": units, "clear": abs(units) > least}
    return found


def _run(folder: Path) -> dict[str, Any] | None:
    """Costs, distances and training seconds of a finished run."""
    if not (folder / "results.json").exists() or not (folder / "done.json").exists():
        return None
    results = json.loads((folder / "results.json").read_text())
    stages = {s["name"]: s["seconds"] for s in results["stages"]}
    return {
        "ratio/macs": results["model"]["ratios"]["macs"],
        "metrics": results["evaluation"]["metrics"],
        "stages": stages,
        "machine": json.loads((folder / "card.json").read_text()).get("device"),
    }


def _students(runs: Path) -> dict[str, Any]:
    """Students of one supernet, and a slimming run for each; seconds of training and of searching
    of both ways, of the parts that have ended."""
    rows: dict[str, dict[str, Any]] = {}
    for part in BUDGETS:
        for kind in WAYS:
            found = _run(runs / "students" / f"{kind}-{part}")
            if found:
                rows[f"{kind}-{part}"] = found
    first = rows.get(f"once-{BUDGETS[0]}")
    if first is None:
        return {}
    supernet = first["stages"]["supernet"]
    seconds: dict[str, dict[str, float]] = {"once": {"supernet": supernet}, "slim": {}}
    for name, row in rows.items():
        sums = seconds[name.split("-")[0]]
        for stage, took in row["stages"].items():
            if stage != "supernet":  # trained once
                kind = stage.split("-")[0]
                sums[kind] = sums.get(kind, 0.0) + took
    return {"rows": rows, "seconds": seconds}


def _longer(runs: Path) -> dict[str, Any]:
    """The runs of `LONGER` that have ended; nothing where none of this part has."""
    rows = {name: found for name in LONGER if (found := _run(runs / name))}
    return {"rows": rows} if any(name.startswith("longer/") for name in rows) else {}


def _widened(runs: Path) -> dict[str, Any]:
    """The runs of `widened` that have ended, by how the search drew, with what was found."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for way in WIDENED:
        for folder in sorted((runs / "widened").glob(f"{way}-*")):
            if found := _run(folder):
                search = json.loads((folder / "search" / "done.json").read_text())
                found |= {"set": search["set"], "params": search["cost"]["params"]}
                rows.setdefault(way, []).append(found)
    return {"rows": rows} if rows else {}


def _draw_students(found: dict[str, Any], path: Path) -> None:
    """Quality over MACs of both ways, an SVG file."""
    metric = _metric_of(found)
    with drawing():
        figure, axes = new_axes((560, 360), (60, 16, 16, 48))
        for kind, name in WAYS.items():
            rows = [r for n, r in found["rows"].items() if n.startswith(f"{kind}-")]
            points = sorted((100 / r["ratio/macs"], r["metrics"][metric]) for r in rows)
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
        axes.set_xlabel("MACs, % of the teacher's")
        axes.set_ylabel(metric)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
        path.write_text(whole_svg(figure))


def _rank(runs: Path) -> dict[str, Any]:
    """Quality inside the supernet and after separate training."""
    from scipy.stats import kendalltau, spearmanr

    rows: list[dict[str, Any]] = []
    for folder in sorted((runs / "rank").glob("in-*")):
        name = folder.name.removeprefix("in-")
        done, alone = folder / "search" / "done.json", _run(runs / "rank" / f"alone-{name}")
        inside = _run(folder)
        if inside and alone and done.exists():
            rows.append({"set": name, "inside": inside, "alone": alone})
    if len(rows) < 3:
        return {}
    metric = _metric_among(rows[0]["inside"]["metrics"])
    pairs = [[r[side]["metrics"][metric] for r in rows] for side in ("inside", "alone")]
    rho, tau = spearmanr(*pairs), kendalltau(*pairs)
    return {
        "metric": metric,
        "rows": rows,
        "spearman": float(rho.statistic),
        "spearman p": float(rho.pvalue),
        "kendall": float(tau.statistic),
    }


def _evolution(runs: Path) -> dict[str, Any]:
    """The best of brute force, and what evolution finds in a quarter of its evaluations."""
    root = runs / "evolution"
    if not (root / "brute-force" / "search" / "trials.json").exists():
        return {}
    whole = [r for r in trials(root / "brute-force" / "search") if r["quality"] is not None]
    best = min(r["quality"] for r in whole if r["within"])
    found: dict[str, Any] = {"sets": len(whole), "best": best, "evolution": {}}
    for folder in sorted(root.glob("evolution-*")):
        if (folder / "search" / "trials.json").exists():
            rows = [r for r in trials(folder / "search") if r["quality"] is not None]
            own = min(r["quality"] for r in rows if r["within"])
            found["evolution"][folder.name] = {
                "evaluations": len(rows),
                "best": own,
                "above the optimum": own / best - 1,
            }
    return found


def write_all() -> None:
    """once-for-all.md, of all parts that have results."""
    lines = ["# GAN Compression, measured here", ""]
    for name, write in (
        *((part, _ablation_lines) for part in ABLATIONS),
        ("students", _student_lines),
        ("longer", _longer_lines),
        ("widened", _widened_lines),
        ("rank", _rank_lines),
        ("evolution", _evolution_lines),
    ):
        file = RESULTS / f"once-for-all-{name}.json"
        if file.exists():
            lines += [f"## {name}", "", *write(json.loads(file.read_text())), ""]
    text = "Written by `python -m benchmarks.once_for_all`; one thread of a CPU for each run."
    (RESULTS / "once-for-all.md").write_text("\n".join([*lines, text]) + "\n")


def _number(values: dict[str, Any] | None, digits: int = 4) -> str:
    if not values:
        return "–"
    spread = f" ± {values['spread']:.2g}" if values["spread"] else ""
    return f"{values['mean']:.{digits}g}{spread}"


def _ablation_lines(found: dict[str, Any]) -> list[str]:
    metric = found["metric"]
    real = f"real/{metric}"
    further = [m for m in FURTHER if any(m in row["numbers"] for row in found["rows"])]
    heads = ["method", "variant", "seeds", "1/MACs", "steps", "to the teacher", "l1"]
    heads += ["to real pictures", *further, f"{found['first']} is smaller by"]
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2)]
    for row in found["rows"]:
        n, against = row["numbers"], row.get("against", {})
        units = against.get("units")
        said = f"{against['smaller by']:.3g}" if against else "–"
        if units is not None:
            said += f" ({units:.1f} units{', clear' if against['clear'] else ''})"
        cells = [row["method"], row["variant"], str(len(n[metric]["values"]))]
        cells += [f"{n['ratio/macs']['mean']:.1f}", f"{n['training_steps']['mean']:.0f}"]
        cells += [_number(n[metric]), _number(n["l1"]), _number(n.get(real))]
        cells += [*(_number(n.get(m)) for m in further), said]
        lines.append("| " + " | ".join(cells) + " |")
    if teacher := found.get("judged_teacher", {}).get(metric):
        lines += ["", f"The teacher's own distance to real pictures: {teacher:.4g}."]
    if teacher := found.get("judged_teacher", {}).get("miou-facades"):
        lines += ["", f"The teacher's own mIoU: {teacher:.4g}."]
    but = ", but for mIoU" if "real/miou-facades" in further else ""
    return [*lines, "", f"Smaller is better{but}; {metric}; {found['minutes']} minutes each."]


def _student_lines(found: dict[str, Any]) -> list[str]:
    metric = _metric_of(found)
    lines = ["| student | 1/MACs | to the teacher | l1 |", "|---|---:|---:|---:|"]
    rows = [
        (part, name, found["rows"].get(f"{kind}-{part}"))
        for part in BUDGETS
        for kind, name in WAYS.items()
    ]
    for part, way, row in rows:
        if row is None:
            continue
        m, cells = row["metrics"], [f"{way}, at most 1/{part}", f"{row['ratio/macs']:.1f}"]
        lines.append("| " + " | ".join([*cells, f"{m[metric]:.4g}", f"{m['l1']:.4g}"]) + " |")
    for kind, sums in found["seconds"].items():
        each = ", ".join(f"{stage} {took:.0f}" for stage, took in sums.items())
        lines += ["", f"{WAYS[kind]}: {sum(sums.values()):.0f} s in all ({each})."]
    return [*lines, "", "![Quality over MACs](once-for-all-students.svg)"]


def _longer_lines(found: dict[str, Any]) -> list[str]:
    metric = _metric_of(found)
    heads = ["student at 1/9", "1/MACs", "seconds in all", "to the teacher", "l1"]
    lines = ["| " + " | ".join(heads) + " |", "|---|---:|---:|---:|---:|"]
    for name, row in found["rows"].items():
        m, seconds = row["metrics"], sum(row["stages"].values())
        cells = [LONGER[name], f"{row['ratio/macs']:.1f}", f"{seconds:.0f}"]
        lines.append("| " + " | ".join([*cells, f"{m[metric]:.4g}", f"{m['l1']:.4g}"]) + " |")
    return lines


def _widened_lines(found: dict[str, Any]) -> list[str]:
    metric = _metric_among(found["rows"]["drawn"][0]["metrics"])
    heads = ["sets of the search", "seeds", "1/MACs", "thousand parameters", "to the teacher", "l1"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * 5]
    for way, rows in found["rows"].items():
        cells = [WIDENED[way], str(len(rows)), _mean([r["ratio/macs"] for r in rows], 3)]
        cells += [_mean([r["params"] / 1000 for r in rows], 3)]
        cells += [_mean([r["metrics"][name] for r in rows]) for name in (metric, "l1")]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _mean(values: list[float], digits: int = 4) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else None
    return _number({"mean": statistics.mean(values), "spread": spread}, digits)


def _metric_of(found: dict[str, Any]) -> str:
    return _metric_among(_first(found)["metrics"])


def _metric_among(names: Iterable[str]) -> str:
    """The distance that the parts are compared by."""
    return next(name for name in names if name.endswith("unit-distance"))


def _first(found: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = next(iter(found["rows"].values()))
    return row


def _rank_lines(found: dict[str, Any]) -> list[str]:
    metric = found["metric"]
    lines = ["| width set | 1/MACs | inside the supernet | trained alone |", "|---|---:|---:|---:|"]
    for row in sorted(found["rows"], key=lambda r: r["inside"]["metrics"][metric]):
        a, b = row["inside"], row["alone"]
        cells = [row["set"], f"{a['ratio/macs']:.1f}"]
        cells += [f"{x['metrics'][metric]:.4g}" for x in (a, b)]
        lines.append("| " + " | ".join(cells) + " |")
    rho, p, tau = found["spearman"], found["spearman p"], found["kendall"]
    return [*lines, "", f"Spearman's rho {rho:.2f} (p {p:.2g}), Kendall's tau {tau:.2f}."]


def _evolution_lines(found: dict[str, Any]) -> list[str]:
    lines = [f"Brute force: {found['sets']} width sets within the budget."]
    for name, row in found["evolution"].items():
        above = 100 * row["above the optimum"]
        lines.append(f"- {name}: {row['evaluations']} evaluations, {above:.2f} % above the optimum")
    return lines
