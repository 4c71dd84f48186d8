"""The ablation's page and table, made from ablation.json and the variants' sample pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError
from ganpress.report.ablation_figures import SIZE, figure_size, picture_grid, spoken
from ganpress.report.amounts import (
    duration,
    milliseconds,
    number,
    plus_minus,
    si,
    significant,
    size_bytes,
)
from ganpress.report.figures import drawing, svg_body, whole_svg
from ganpress.report.page import fill, write_page
from ganpress.report.pictures import data_uri
from ganpress.report.statements import cost_asked_for, names_of
from ganpress.report.table import Table
from ganpress.report.yardsticks import YARDSTICKS, sorted_by_metric
from ganpress.run.files import read_json


def write_ablation(run: Path) -> Path:
    """Write ablation.md, fig3.svg, fig4.png and ablation.html beside ``run/ablation.json``.

    Returns the page's path. Raises ConfigError where ablation.json is missing or not valid.
    """
    run = Path(run)
    found = read_json(run / "ablation.json")
    if not isinstance(found, dict) or not isinstance(found.get("variants"), list):
        raise ConfigError(f"{run / 'ablation.json'} holds no ablation: run 'ganpress ablate'.")
    shown = _shown(run, found)
    write_page(run / "ablation.md", fill("ablation.md.j2", **shown))
    target = run / "ablation.html"
    write_page(target, fill("ablation.html.j2", **shown))
    return target


def _shown(run: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    """What both templates are filled with; writes the figures."""
    heads, rows = table(found)
    figure = label = pictures = ""
    variants, (metric, baseline) = found["variants"], _headline(found)
    if measured := [one for one in variants if metric in one["numbers"]]:
        with drawing():
            drawn = figure_size(measured, metric, baseline)
            figure = svg_body(drawn)
            drawn.set_facecolor("white")
            write_page(run / "fig3.svg", whole_svg(drawn))
        label = spoken(measured, metric)
    if variants and picture_grid(run, variants, run / "fig4.png"):
        pictures = data_uri((run / "fig4.png").read_bytes())
    return {
        "name": run.resolve().name,
        "method": found.get("paper", "a method"),
        "family": found["family"],
        "shared": _shared(found),
        "figure": figure,
        "size": SIZE,
        "label": label,
        "pictures": pictures,
        "variants": Table(heads, rows, numeric=True),
        "notes": notes(found),
        "sentences": sentences(found),
        "protocol": Table(("Name", "Value"), list(protocol(found).items())),
    }


def table(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows: cost, ratios, then every metric with its spread over seeds."""
    variants: Sequence[Mapping[str, Any]] = found["variants"]
    if not variants:
        return [], []
    fixed = {"bytes", "file_bytes", "macs", "macs_outres", "params", "latency_ms"}
    fixed |= {"training_seconds", "training_steps"}
    names = [n for n in names_of(variants) if n not in fixed and not n.startswith("ratio/")]
    heads = [
        "variant",
        "bits",
        "seeds",
        "size",
        "1/size",
        "file",
        "MACs",
        "1/MACs",
        "trained",
        "steps",
    ]
    body = [_arm_row(variant, names, found.get("meanings", {})) for variant in variants]
    if found.get("judged_teacher") and any(name.startswith("real/") for name in names):
        body.insert(0, _teacher_row(found, names))
    body += _yardstick_rows(found, names)
    return heads + names, body


def _arm_row(
    variant: Mapping[str, Any], names: Sequence[str], meanings: Mapping[str, str]
) -> list[str]:
    name, n = variant["variant"], variant["numbers"]
    return [
        f"{name} ({meanings[name]})" if name in meanings else name,
        str(variant["bits"]),
        str(len(variant["seeds"])),
        size_bytes(n["bytes"]["mean"]),
        significant(n["ratio/bytes"]["mean"]),
        size_bytes(n["file_bytes"]["mean"]) if "file_bytes" in n else "–",
        si(n["macs"]["mean"]),
        significant(n["ratio/macs"]["mean"]),
        duration(n["training_seconds"]["mean"]),
        significant(n["training_steps"]["mean"]),
        *[_with_error(variant, name) if name in n else "–" for name in names],
    ]


def _teacher_row(found: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    cost = found["teacher_cost"]
    own = {f"real/{name}": significant(v, 4) for name, v in found["judged_teacher"].items()}
    known = ["teacher", "32", "–", size_bytes(cost["bytes"]), "1", "–", si(cost["macs"]), "1"]
    return [*known, "–", "–", *(own.get(name, "–") for name in names)]


def _yardstick_rows(found: Mapping[str, Any], names: Sequence[str]) -> list[list[str]]:
    """What the metrics against real pictures are read beside, in their columns; a row for each
    thing that was measured."""
    rows: dict[str, dict[str, str]] = {}
    for metric, beside in _yardsticks(found, names)[0].items():
        for words, value in beside.items():
            rows.setdefault(words, {})[metric] = _digits(value)
    blank = ["–"] * 9
    return [[words, *blank, *(own.get(n, "–") for n in names)] for words, own in rows.items()]


def _yardsticks(
    found: Mapping[str, Any], names: Iterable[str]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Of the columns `names`, by column; and those of no column, by their whole names."""
    given = {f"real/{name}": value for name, value in found.get("yardsticks", {}).items()}
    return sorted_by_metric([name for name in names if name.startswith("real/")], given)


def _with_error(variant: Mapping[str, Any], name: str) -> str:
    """'0.352 ± 0.004', over seeds, or over the test pictures of a single one; the mean alone where
    neither is known."""
    measured = variant["numbers"][name]
    spread = measured["spread"]
    if spread is None:
        spread = variant.get("over_images", {}).get(name) or None  # 0: of a single picture
    return plus_minus(measured["mean"], spread)


def _digits(value: object) -> str:
    found = number(value)
    return "–" if found is None else significant(found, 4)


def sentences(found: Mapping[str, Any]) -> list[str]:
    """The paper's statements and whether the numbers support them, a line each."""
    lines = []
    for said in found.get("statements", []):
        head = f"{said['statement']}, by {said['metric']}: **{said['verdict']}**"
        if said["verdict"] == "not run":
            if said["metric"] == found["metric"]:  # of the others the same would be said
                lines.append(f"{head} ({said['better']} against {said['worse']})")
            continue
        costs = ""
        if said.get("costs"):
            costs = "; costs differ: " + " against ".join(f"1/{c:.1f}" for c in said["costs"])
        lines.append(f"{head} ({_far(said)}{costs})")
    return lines


def _far(said: Mapping[str, Any]) -> str:
    """'difference +0.3, +8.9 units of spread (standard error over seeds; 'clear' from 2.8)'."""
    far = f"difference {said['difference']:+.4g}"
    over = said["unit"].removeprefix("standard error over ")
    close = "" if said["clear"] else "; too close to be sure"
    if said["units"] is not None:
        limit = said.get("threshold")  # not in a file of before
        clear = f"; 'clear' from {limit:.1f} units" if limit is not None else ""
        return f"{far}, {said['units']:+.1f} units of spread ({said['unit']}{clear}){close}"
    if said.get("error") is None:
        return f"{far}; the spread is not known: give both variants more seeds"
    return f"{far}, without any spread over {over}{close}"


def notes(found: Mapping[str, Any]) -> list[str]:
    """Notes on how to read the table."""
    lines = [
        "±: standard deviation over seeds; of a single seed, standard error over the test pictures "
        "(of a path length, over its pairs of latent codes).",
        "Clear: two-sided 95 % quantile of Student's t (Welch), over pictures of the normal.",
        "Size: weights at stored bits; file: the safetensors file, with its card and names.",
        "MACs: true convention. 1 M = 1e6, 1 MB = 1e6 bytes.",
    ]
    if any(n.startswith("real/") for variant in found["variants"] for n in variant["numbers"]):
        lines.append("real/...: against real pictures; all other metrics: against the teacher's.")
    if rows := _yardstick_rows(found, names_of(found["variants"])):
        lines.append(f"{'; '.join(row[0] for row in rows)}: {YARDSTICKS}.")
    lines += [f"{f['variant']}, seed {f['seed']}, failed: {f['error']}" for f in found["failed"]]
    if found["missing"]:
        lines.append(f"Not finished: {', '.join(found['missing'])}.")
    return lines


def protocol(found: Mapping[str, Any]) -> dict[str, str]:
    """How each number was measured: images, metrics, device."""
    lines = {name: str(text) for name, text in found.get("protocol", {}).items()}
    for name, text in found.get("judged_protocol", {}).items():
        lines[f"real/, {name}"] = str(text)
    for name, value in _yardsticks(found, names_of(found["variants"]))[1].items():
        lines[f"yardstick {name}"] = _digits(value)
    lines |= {name: str(text) for name, text in found.get("machine", {}).items()}
    return lines


def _shared(found: Mapping[str, Any]) -> str:
    target = found["settings"]["target"]
    cost = cost_asked_for(target)
    share = f"at most {target[cost]:g} of the teacher's {cost}" if cost else "no target"
    if cost == "latency_ms":
        share = f"at most {milliseconds(target[cost])}"
    minutes = found["minutes"]
    each = f"{duration(60 * minutes)} of training each" if minutes else "equal steps each"
    return f"Every variant: {share}, {each}, the same images, the same test pictures."


def _headline(found: Mapping[str, Any]) -> tuple[str, float | None]:
    """The metric of Fig. 3 and the teacher's own value of it, where it has one."""
    metric = str(found.get("metric", ""))
    judged = found.get("judged_teacher", {})
    for name in judged:
        if name.startswith("is-") and all(
            f"real/{name}" in a["numbers"] for a in found["variants"]
        ):
            return f"real/{name}", float(judged[name])
    return metric, None
