"""The result files of each part, and one page of all, read from the runs' own files."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.content_aware import students
from benchmarks.content_aware.faces import COSTS, PHOTO_SETS
from benchmarks.once_for_all.tables import difference

RESULTS = Path(__file__).parents[1] / "results"
OURS = "content-aware"
TWINS = ("unmasked", "l1-out")
"""Variants that lack one of the paper's two parts each: the mask in distillation, or its scores."""
SALIENT = "cifar10-salient"
PARTS: dict[str, dict[str, str]] = {
    **{part: {"content-aware": part, "slim": f"{part}-slim", "once-for-all": f"{part}-once-for-all"}
       for part in COSTS},
    "low-gan": {"content-aware": "low-gan", "slim": "eleventh-slim",
                "once-for-all": "eleventh-once-for-all"},
    "steps": {"content-aware": "steps"},
    "cifar10": {"content-aware": "cifar10"},
    SALIENT: {"content-aware": SALIENT},
}  # fmt: skip
"""Ablations of each part: method -> folder."""
INSIDE, WHOLE, INSIDE_L1 = "-masked-unit-distance", "-unit-distance", "masked-l1"


def keep(runs: Path, part: str, to: Path) -> None:
    """Write the part's JSON and pictures from what has ended of it; nothing where nothing has."""
    if part == "students":
        _save(to, part, _students(runs))
        mine = runs / "students" / f"quarter-{OURS}-{OURS}"
        for name, picture in (
            ("morph", mine / "morph" / "strip.png"),
            ("mix", mine / "mix" / "mix.png"),
        ):
            _save_picture(picture, to / f"content-aware-{name}.jpg")
        return
    for name in (part, SALIENT) if part == "cifar10" else (part,):
        _save(to, name, _ablation(runs, name))
        _save_picture(runs / name / "fig4.png", to / f"content-aware-{name}.jpg")
        if (statements := runs / name / "ablation.md").exists():
            shutil.copyfile(statements, to / f"content-aware-{name}.md")


def _save(to: Path, name: str, found: Mapping[str, Any]) -> None:
    if found:
        text = json.dumps(found, indent=1, sort_keys=True) + "\n"
        (to / f"content-aware-{name}.json").write_text(text)


def _save_picture(picture: Path, goal: Path) -> None:
    if picture.exists():
        Image.open(picture).convert("RGB").save(goal, quality=85, optimize=True)


# --- the ablations ------------------------------------------------------------------------------


def found_in(runs: Path, part: str) -> dict[str, dict[str, Any]]:
    """What the ablations of a part hold, by method."""
    files = {method: runs / folder / "ablation.json" for method, folder in PARTS[part].items()}
    return {m: json.loads(f.read_text()) for m, f in files.items() if f.exists()}


def closest_twin(run: Path) -> str:
    """The twin whose distance inside the mask is nearest to the paper's method's."""
    rows = {row["variant"]: row["numbers"] for row in
            json.loads((run / "ablation.json").read_text())["variants"]}  # fmt: skip
    there = [twin for twin in TWINS if twin in rows]
    if OURS not in rows or not there:
        return TWINS[0]
    inside = judged_by(rows[OURS])[-1]
    return min(there, key=lambda t: abs(rows[t][inside]["mean"] - rows[OURS][inside]["mean"]))


def judged_by(numbers: Mapping[str, Any]) -> list[str]:
    """Names of the distances to the teacher: on the whole picture, then inside the mask, if any."""
    whole = [n for n in numbers if n.endswith(WHOLE) and not n.startswith(("real/", "ppl-"))]
    return sorted(whole, key=lambda n: n.endswith(INSIDE))


def _ablation(runs: Path, part: str) -> dict[str, Any]:
    """All variants, and whether the paper's method differs clearly from each other one, by every
    distance to the teacher."""
    found = found_in(runs, part)
    if not found:
        return {}
    rows = []
    for method, of in found.items():
        for variant in of["variants"]:
            numbers = variant["numbers"]
            wanted = [*judged_by(numbers), "l1", INSIDE_L1, "ratio/macs", "ratio/bytes"]
            wanted += ["training_steps", "training_seconds"]
            wanted += [n for n in numbers if n.startswith("real/")]
            kept = {name: numbers[name] for name in wanted if name in numbers}
            rows.append({"method": method, "variant": variant["variant"], "numbers": kept})
    metrics = judged_by(rows[0]["numbers"])
    rows.sort(key=lambda row: row["numbers"][metrics[-1]]["mean"])
    ours = next((r["numbers"] for r in rows if r["variant"] == OURS), None)
    for row in rows:
        if ours is not None and row["variant"] != OURS:
            names = [n for n in (*metrics, "l1", INSIDE_L1) if n in ours and n in row["numbers"]]
            row["against"] = {n: difference(ours[n], row["numbers"][n]) for n in names}
    whole = next(iter(found.values()))
    beside = ("machine", "protocol", "judged_teacher", "judged_protocol", "minutes")
    said = {n: whole[n] for n in beside if n in whole}
    failed = {m: of["failed"] for m, of in found.items() if of.get("failed")}
    return {"metrics": metrics, "rows": rows, **said, **({"failed": failed} if failed else {})}


# --- the students -------------------------------------------------------------------------------


def _students(runs: Path) -> dict[str, Any]:
    """What the commands found of each network that was judged."""
    folders = sorted(p for p in (runs / "students").glob("*") if (p / "distances.json").exists())
    return {folder.name: students.figures(folder) for folder in folders}


# --- the page -----------------------------------------------------------------------------------


def write_all(to: Path) -> None:
    """content-aware.md, of all parts that have results."""
    lines = ["# Content-Aware GAN Compression, measured here", ""]
    writers: dict[str, Callable[[dict[str, Any]], list[str]]] = {
        **dict.fromkeys(PARTS, _ablation_lines), "students": _student_lines,
    }  # fmt: skip
    for name, write in writers.items():
        file = to / f"content-aware-{name}.json"
        if file.exists():
            lines += [f"## {name}", "", *write(json.loads(file.read_text())), ""]
    if len(lines) == 2:
        lines += ["Nothing of it has been run yet.", ""]
    text = "Written by `python -m benchmarks.content_aware`; one thread of a CPU for each run."
    (to / "content-aware.md").write_text("\n".join([*lines, text]) + "\n")


def _ablation_lines(found: dict[str, Any]) -> list[str]:
    metrics, inside = found["metrics"], found["metrics"][-1]
    heads = ["method", "variant", "seeds", "1/MACs", "steps", *map(_short, metrics)]
    heads += ["l1", INSIDE_L1, "to real pictures", f"{OURS} is smaller by"]
    rows = []
    for row in found["rows"]:
        n = row["numbers"]
        real = next((v for name, v in n.items() if name.startswith("real/frechet")), None)
        cells = [row["method"], row["variant"], str(len(n[inside]["values"]))]
        cells += [f"{n['ratio/macs']['mean']:.1f}", f"{n['training_steps']['mean']:.0f}"]
        cells += [_number(n.get(name)) for name in (*metrics, "l1", INSIDE_L1)]
        cells += [_number(real), _said(row.get("against", {}).get(inside))]
        rows.append(cells)
    real_name = next((name for row in found["rows"] for name in row["numbers"]
                      if name.startswith("real/frechet")), "")  # fmt: skip
    lines = table(heads, rows)
    teacher = found.get("judged_teacher", {}).get(real_name.removeprefix("real/"))
    if teacher is not None:
        lines += ["", f"The teacher's own distance to real pictures: {teacher:.4g}."]
    ends = f"; to real pictures: {real_name.removeprefix('real/')}" if real_name else ""
    said = f"Smaller is better. The last column is of {inside}, in units of its standard error"
    lines += ["", f"{said} where there are seeds{ends}."]
    return lines


def _said(against: Mapping[str, Any] | None) -> str:
    if not against:
        return "–"
    said = f"{against['smaller by']:.3g}"
    if "units" in against:
        said += f" ({against['units']:.1f} units{', clear' if against['clear'] else ''})"
    return said


def _student_lines(found: dict[str, Any]) -> list[str]:
    named = next(iter(found.values()))
    distances = judged_by(named)
    paths = [n for n in named if n.startswith("ppl-") and not n.endswith("the teacher")]
    heads = ["network", *map(_short, distances), *(n[:5] for n in paths)]
    heads += [*(f"PSNR, {kind}" for kind in PHOTO_SETS), "projections' distance"]
    heads += ["morph, ratio", "random morph, ratio"]
    rows = []
    for name, n in found.items():
        cells = [name, *(_plain(n.get(d)) for d in (*distances, *paths))]
        cells += _projection_cells(n.get("projection", {}))
        for way in ("morph", "morph-random"):
            ratios = [v for k, v in n.get(way, {}).items() if "-mean-" in k and k.endswith("ratio")]
            cells.append(_plain(next(iter(ratios), None)))
        rows.append(cells)
    notes = (
        "Distances to the teacher, path lengths, and projections of photos that no student saw "
        "(those of celeba no teacher either): smaller is better; PSNR in dB: larger. Ratios are of "
        "the steps of a morph, the student's over the teacher's: 1 is as smooth. "
        f"{'; '.join(paths)}."
    )
    return [*table(heads, rows), "", notes]


def _projection_cells(found: Mapping[str, Any]) -> list[str]:
    """The mean PSNR of each set of photos, and the mean distance of all."""
    photos = found.get("photos", {})
    cells = []
    for kind in PHOTO_SETS:
        values = [facts["psnr"] for name, facts in photos.items() if name.startswith(f"{kind}-")]
        cells.append(_plain(statistics.fmean(values) if values else None))
    means = found.get("mean", {})
    return [*cells, _plain(next((v for name, v in means.items() if name != "psnr"), None))]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, numbers to the right."""
    rule = [
        "---" if i < 2 and not heads[i].startswith("squeeze") else "---:" for i in range(len(heads))
    ]
    return ["| " + " | ".join(heads) + " |", "|" + "|".join(rule) + "|",
            *("| " + " | ".join(row) + " |" for row in rows)]  # fmt: skip


def _short(metric: str) -> str:
    """The feature network's name, and whether inside the mask."""
    inside = metric.endswith(INSIDE)
    net = metric.removesuffix(INSIDE if inside else WHOLE)
    return f"{net}, inside" if inside else net


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _number(values: Mapping[str, Any] | None) -> str:
    if not values:
        return "–"
    spread = f" ± {values['spread']:.2g}" if values["spread"] else ""
    return f"{values['mean']:.4g}{spread}"
