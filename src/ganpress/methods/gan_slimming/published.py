"""A run's numbers in the layout of GAN Slimming's tables, beside what the paper published.

r_s, r_c and r_f are ratios teacher over student of MACs, size and distance: larger is better.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError
from ganpress.report.amounts import larger_is_better, significant
from ganpress.report.reading import QUALITY, TEACHER_QUALITY
from ganpress.run.files import read_json

Pair = tuple[dict[str, float], dict[str, float]]
"""Metrics of the teacher and of the student."""

PUBLISHED = "published, not measured here"
CYCLEGAN: dict[str, dict[str, tuple[float, float, float, float]]] = {
    "horse to zebra": {
        "r_s": (4.23, 3.91, 4.66, 4.81),
        "r_c": (4.27, 4.00, 5.05, 21.75),
        "r_f": (0.77, 0.76, 0.86, 0.84),
    },
    "zebra to horse": {
        "r_s": (4.35, 3.91, 4.39, 4.40),
        "r_c": (4.34, 4.00, 4.81, 21.00),
        "r_f": (0.94, 0.99, 1.24, 1.25),
    },
    "summer to winter": {
        "r_s": (5.14, 3.91, 6.21, 7.18),
        "r_c": (5.44, 4.00, 6.77, 38.10),
        "r_f": (1.01, 1.08, 1.13, 1.12),
    },
    "winter to summer": {
        "r_s": (5.17, 3.91, 6.01, 6.36),
        "r_c": (5.70, 4.00, 6.17, 31.22),
        "r_f": (0.93, 0.97, 0.98, 1.01),
    },
}
"""Ratios of the paper's CycleGAN students; columns CEC, GD, GS-32, GS-8 (FLOPs: MACs with a
transposed convolution at its output resolution; r_f: of FID)."""

SNGAN: tuple[tuple[str, float, float, float], ...] = (
    ("original", 1602.75, 16.28, 8.27),
    ("GS-32", 1108.78, 12.88, 8.01),
    ("GS-32, smaller", 509.39, 8.32, 7.65),
    ("GS-8", 1115.11, 3.24, 8.14),
    ("GS-8, smaller", 510.33, 2.01, 7.62),
)
"""MFLOPs, MB and IS on CIFAR-10. The order of the students is inferred."""

CARTOONGAN = (("GS-32", 42.0, None), ("GS-8", 47.0, None))
"""r_s of CartoonGAN at 256 x 256 (the original: 56.46 GFLOPs); no FID was given."""


def paper_tables(run: Path) -> str:
    """Markdown: our numbers in the paper's layout, their protocol, then the paper's own numbers.

    Reads result files only: of one compression (``results.json``), or of an ablation
    (``ablation.json`` and each variant's), and, for r_f and scores, ``judged-student.json`` beside
    the results and ``judged-teacher.json`` there or one folder up (``ganpress evaluate --json``).

    Raises ConfigError for a folder without results.
    """
    run = Path(run)
    columns = columns_of(run)
    first = _results(columns[0][1][0])
    family = str(first["model"]["family"])
    names = [name for name, _ in columns]
    lines = [f"## {run.resolve().name}: {family}, measured here", ""]
    lines += _table(["", *names], measured(columns))
    if family == "sngan":
        lines += ["", *_table(["", "M MACs (out-res)", "MB", "score"], absolute(columns))]
    lines += ["", *[f"- {line}" for line in _protocol(columns)]]
    return "\n".join([*lines, "", *published(family), ""])


def columns_of(run: Path) -> list[tuple[str, list[Path]]]:
    """(name, folders of its seeds) of each column: the variants of an ablation, or the one run."""
    if (run / "ablation.json").exists():
        variants = read_json(run / "ablation.json")["variants"]
        found = [(str(a["variant"]), [run / name for name in a["runs"]]) for a in variants]
        if found:
            return found
        raise ConfigError(f"No variant of the ablation in {run} has finished yet.")
    if not (run / "results.json").exists():
        raise ConfigError(
            f"{run} has no results.json and no ablation.json: give the folder of a compression "
            "or an ablation that has ended."
        )
    config = _config(run)  # "arm" in runs of the first version
    return [(str(config.get("procedure", config.get("arm", "student"))), [run])]


def measured(columns: Sequence[tuple[str, list[Path]]]) -> list[list[str]]:
    """Rows r_s (both conventions), r_c, r_f by each distance, and each score; means over seeds."""
    ratios = [[_results(f)["model"]["ratios"] for f in folders] for _, folders in columns]
    rows = [
        _line(label, [[one[key] for one in each] for each in ratios])
        for label, key in (
            ("r_s, MACs (out-res, the paper's convention)", "macs_outres"),
            ("r_s, MACs (true)", "macs"),
            ("r_c, weights at stored bits", "bytes"),
        )
    ]
    judged = [[quality_of_pair(folder) for folder in folders] for _, folders in columns]
    pairs = [[pair for pair in each if pair is not None] for each in judged]
    whole = all(len(found) == len(each) for found, each in zip(pairs, judged, strict=True))
    kinds = ("fid-", "frechet-") if whole else ()
    for metric in (name for kind in kinds for name in _shared(pairs, kind)):
        values = [[t[metric] / max(s[metric], 1e-12) for t, s in each] for each in pairs]
        rows.append(_line(f"r_f, {distance_name(metric)}", values))
    if not any(row[0].startswith("r_f") for row in rows):
        rows.append(["r_f", *["not measured"] * len(columns)])
    for metric in _shared(pairs, "is-") if whole else []:
        rows.append(_line(score_name(metric), [[s[metric] for _, s in each] for each in pairs]))
        teacher = [[t[metric] for t, _ in each] for each in pairs]
        rows.append(_line(f"{score_name(metric)}, teacher", teacher))
    return rows


def absolute(columns: Sequence[tuple[str, list[Path]]]) -> list[list[str]]:
    """Rows of the SNGAN table: the teacher, then each column: MACs, size and score."""
    rows: list[list[str]] = []
    for name, folders in columns:
        models = [_results(f)["model"] for f in folders]
        judged = [j for f in folders if (j := quality_of_pair(f)) is not None]
        for kind, label in (("teacher", "original"), ("student", name)):
            if kind == "teacher" and rows:
                continue
            macs = statistics.mean(m[kind]["macs_outres"] for m in models) / 1e6
            size = statistics.mean(m[kind]["bytes"] for m in models) / 1e6
            pairs = [j[kind == "student"] for j in judged]
            scores = [v for each in pairs for n, v in each.items() if larger_is_better(n)]
            score = significant(statistics.mean(scores), 4) if scores else "not measured"
            rows.append([label, significant(macs, 4), significant(size, 4), score])
    return rows


def quality_of_pair(folder: Path) -> Pair | None:
    """Metrics of teacher and student against real pictures; None where either is missing.

    Raises ConfigError where their protocols differ: their ratio would mean nothing.
    """
    student = folder / QUALITY
    teacher = next(
        (p for at in (folder, folder.parent) if (p := at / TEACHER_QUALITY).exists()), None
    )
    if teacher is None or not student.exists():
        return None
    t, s = read_json(teacher), read_json(student)
    differing = [
        n
        for n in {**t["protocol"], **s["protocol"]}
        if _protocol_line(t, n) != _protocol_line(s, n)
    ]
    if differing or t["count"] != s["count"]:
        raise ConfigError(
            f"{teacher} and {student} were not measured alike ({', '.join(differing) or 'count'}): "
            "evaluate both with the same options."
        )
    return t["metrics"], s["metrics"]


def distance_name(metric: str) -> str:
    """The distance's name; FID only for the features that FID is defined by."""
    return f"FID ({metric})" if metric.startswith("fid-") else f"{metric} (not FID)"


def score_name(metric: str) -> str:
    """The score's name; IS only for the classifier that it is defined by."""
    published = metric.startswith("is-inception-") and "@" not in metric
    return f"IS ({metric})" if published else f"{metric} (not IS)"


def published(family: str) -> list[str]:
    """The paper's own numbers for this family, marked as such; CycleGAN's for others."""
    if family == "sngan":
        rows = [[n, *(significant(v, 6) for v in values)] for n, *values in SNGAN]
        head = f"## SNGAN on CIFAR-10: {PUBLISHED}"
        return [head, "", *_table(["", "MFLOPs", "MB", "IS"], rows)]
    if family == "cartoongan":
        rows = [["r_s", *(significant(row[1]) for row in CARTOONGAN)], ["r_f", "–", "–"]]
        head = f"## CartoonGAN, 256 x 256: {PUBLISHED}"
        return [head, "", *_table(["", *(row[0] for row in CARTOONGAN)], rows)]
    rows = [
        [f"{task}, {name}", *(f"{value:.2f}" for value in values)]
        for task, ratios in CYCLEGAN.items()
        for name, values in ratios.items()
    ]
    head = f"## CycleGAN, 256 x 256, r_f of FID: {PUBLISHED}"
    return [head, "", *_table(["", "CEC", "GD", "GS-32", "GS-8"], rows)]


def _pixels(size: Any) -> str:
    return "x".join(map(str, size)) if isinstance(size, list) else str(size)


def _protocol(columns: Sequence[tuple[str, list[Path]]]) -> list[str]:
    """How the numbers were measured."""
    folder = columns[0][1][0]
    model = _results(folder)["model"]
    size = model["student"].get("size")
    lines = [
        "Ratios are teacher over student: larger is better.",
        f"MACs of one picture of {_pixels(size)} pixels, transposed convolutions at output "
        "resolution (out-res) or at input resolution (true); sizes in weights as stored.",
    ]
    counts = {len(folders) for _, folders in columns}
    if counts != {1}:
        lines.append("Means over seeds, ± standard deviation where there are two or more.")
    found = quality_of_pair(folder)
    if found is None:
        lines.append(
            "r_f needs judged-teacher.json and judged-student.json: 'ganpress evaluate MODEL "
            "--images ... --other ... --json FILE' for both."
        )
        return lines
    student = read_json(folder / QUALITY)
    lines += [f"{name}: {text}" for name, text in student["protocol"].items()]
    return [*lines, f"pictures: {student['count']}"]


def _shared(pairs: Sequence[Sequence[Pair]], kind: str) -> list[str]:
    """Metrics of this kind that every teacher and student has."""
    found = [set(t) & set(s) for each in pairs for t, s in each]
    return sorted(n for n in set.intersection(*found) if n.startswith(kind))


def _line(label: str, values: Sequence[Sequence[float]]) -> list[str]:
    cells = [label]
    for each in values:
        mean = significant(statistics.mean(each), 3)
        many = f" ± {significant(statistics.stdev(each), 2)}" if len(each) > 1 else ""
        cells.append(mean + many)
    return cells


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows)]


def _results(folder: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = read_json(folder / "results.json")
    return found


def _config(folder: Path) -> Mapping[str, Any]:
    path = folder / "config.json"
    found: Mapping[str, Any] = read_json(path) if path.exists() else {}
    return found


def _protocol_line(judged: Mapping[str, Any], name: str) -> object:
    return judged["protocol"].get(name)
