"""The ablation's page and table, made from ablation.json and the arms' sample pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError
from ganpress.report.ablation_figures import figure_size, picture_grid
from ganpress.report.amounts import duration, si, significant, size_bytes
from ganpress.report.style import CSS
from ganpress.run.files import read_json, replace_file

_MEANINGS = {
    "gd": "narrow student, distillation alone",
    "cp": "pruning in the game, no distillation",
    "cp+d": "cp, then distillation",
    "d+cp": "distillation, then cp",
    "gs-32": "the joint method",
    "gs-32+postq": "gs-32, then rounded to 8 bits",
    "gs-8": "the joint method in 8 bits",
    "gs-8-mse": "gs-8 with squared error",
    "cec": "gs-32 with a fixed discriminator",
}


def write_ablation(run: Path) -> Path:
    """Write ablation.md, fig3.svg, fig4.png and ablation.html beside ``run/ablation.json``.

    Returns the page's path. Raises ConfigError where ablation.json is missing or not valid.
    """
    run = Path(run)
    found = read_json(run / "ablation.json")
    if not isinstance(found, dict) or not isinstance(found.get("arms"), list):
        raise ConfigError(f"{run / 'ablation.json'} holds no ablation: run 'ganpress ablate'.")
    arms = found["arms"]
    figure = ""
    if arms:
        figure = figure_size(arms, *_headline(found))
        _write(run / "fig3.svg", figure)
        pictures = run / "fig4.png" if picture_grid(run, arms, run / "fig4.png") else None
    else:
        pictures = None
    _write(run / "ablation.md", as_markdown(found))
    target = run / "ablation.html"
    _write(target, _page(run, found, figure, pictures))
    return target


def as_markdown(found: Mapping[str, Any]) -> str:
    """Table, statements and protocol as one Markdown text."""
    heads, body = table(found)
    lines = [f"# Ablation of GAN Slimming, {found['family']}", "", _shared(found), ""]
    if body:
        lines += [_row(heads), _row(["---"] + ["---:"] * (len(heads) - 1))]
        lines += [_row(cells) for cells in body]
    lines += ["", *[f"- {line}" for line in notes(found)]]
    lines += ["", "## The paper's statements, from these numbers", ""]
    lines += [f"- {line}" for line in sentences(found)] or ["No arms have finished."]
    lines += ["", "## Protocol", "", *[f"- {n}: {t}" for n, t in protocol(found).items()], ""]
    return "\n".join(lines)


def table(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows: cost, ratios, then every metric with its spread over seeds."""
    arms: Sequence[Mapping[str, Any]] = found["arms"]
    if not arms:
        return [], []
    fixed = {"bytes", "file_bytes", "macs", "macs_outres", "params", "latency_ms"}
    fixed |= {"training_seconds", "training_steps"}
    names = [n for n in arms[0]["numbers"] if n not in fixed and not n.startswith("ratio/")]
    heads = ["arm", "bits", "seeds", "size", "1/size", "file", "MACs", "1/MACs", "trained", "steps"]
    heads += names
    body = []
    for arm in arms:
        n = arm["numbers"]
        body.append(
            [
                f"{arm['arm']} ({_MEANINGS.get(arm['arm'], '')})",
                str(arm["bits"]),
                str(len(arm["seeds"])),
                size_bytes(n["bytes"]["mean"]),
                significant(n["ratio/bytes"]["mean"]),
                size_bytes(n["file_bytes"]["mean"]) if "file_bytes" in n else "–",
                si(n["macs"]["mean"]),
                significant(n["ratio/macs"]["mean"]),
                duration(n["training_seconds"]["mean"]),
                significant(n["training_steps"]["mean"]),
                *[with_spread(n[name]) if name in n else "–" for name in names],
            ]
        )
    judged = found.get("judged_teacher", {})
    if judged and any(name.startswith("real/") for name in names):
        own = [
            significant(judged[n.removeprefix("real/")])
            if n.startswith("real/") and n.removeprefix("real/") in judged
            else "–"
            for n in names
        ]
        cost = found["teacher_cost"]
        size, macs = size_bytes(cost["bytes"]), si(cost["macs"])
        body.insert(0, ["teacher", "32", "–", size, "1", "–", macs, "1", "–", "–", *own])
    return heads, body


def with_spread(number: Mapping[str, Any]) -> str:
    """'0.352 ± 0.004'; the mean alone for one seed."""
    mean = significant(number["mean"], 4)
    return mean if number["spread"] is None else f"{mean} ± {significant(number['spread'], 2)}"


def sentences(found: Mapping[str, Any]) -> list[str]:
    """The paper's statements with what the numbers say, a line each."""
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
        return f"{far}; the spread is not known: give both arms more seeds"
    return f"{far}, without any spread over {over}{close}"


def notes(found: Mapping[str, Any]) -> list[str]:
    """What the table leaves out or needs to be read with."""
    lines = [
        "Spread: standard deviation over seeds; without one, a single seed.",
        "Clear: two-sided 95 % quantile of Student's t (Welch), over pictures of the normal.",
        "Size: weights at stored bits; file: the safetensors file, with its card and names.",
        "MACs: true convention. 1 M = 1e6, 1 MB = 1e6 bytes.",
    ]
    if any(n.startswith("real/") for arm in found["arms"] for n in arm["numbers"]):
        lines.append("real/...: against real pictures; all other metrics: against the teacher's.")
    lines += [f"{f['arm']}, seed {f['seed']}, failed: {f['error']}" for f in found["failed"]]
    if found["missing"]:
        lines.append(f"Not finished: {', '.join(found['missing'])}.")
    return lines


def protocol(found: Mapping[str, Any]) -> dict[str, str]:
    """What was measured how, on what, and where."""
    lines = {name: str(text) for name, text in found.get("protocol", {}).items()}
    for name, text in found.get("judged_protocol", {}).items():
        lines[f"real/, {name}"] = str(text)
    for name, value in found.get("yardsticks", {}).items():
        lines[f"yardstick real/{name}"] = significant(value, 4)
    lines |= {name: str(text) for name, text in found.get("machine", {}).items()}
    return lines


def _shared(found: Mapping[str, Any]) -> str:
    target = found["settings"]["target"]
    share = next(
        (f"at most {v:g} of the teacher's {k}" for k, v in target.items() if v), "no target"
    )
    minutes = found["minutes"]
    each = f"{duration(60 * minutes)} of training each" if minutes else "equal steps each"
    return f"Every arm: {share}, {each}, the same images, the same test pictures."


def _headline(found: Mapping[str, Any]) -> tuple[str, float | None]:
    """The metric of Fig. 3 and the teacher's own value of it, where it has one."""
    metric = str(found["metric"])
    judged = found.get("judged_teacher", {})
    for name in judged:
        if name.startswith("is-") and all(f"real/{name}" in a["numbers"] for a in found["arms"]):
            return f"real/{name}", float(judged[name])
    return metric, None


def _page(run: Path, found: Mapping[str, Any], figure: str, pictures: Path | None) -> str:
    heads, body = table(found)
    cells = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in body
    )
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    said = "".join(f"<li>{_bold(line)}</li>" for line in sentences(found))
    told = "".join(f"<li>{escape(line)}</li>" for line in notes(found))
    how = "".join(
        f'<tr><th scope="row">{escape(n)}</th><td>{escape(t)}</td></tr>'
        for n, t in protocol(found).items()
    )
    grid = "<p class='missing'>No sample pictures yet.</p>"
    if pictures is not None:
        data = base64.b64encode(pictures.read_bytes()).decode("ascii")
        alt = "Rows: photo, teacher, then one arm each; columns: photos"
        grid = f'<img alt="{alt}" src="data:image/png;base64,{data}">'
    name = escape(run.resolve().name)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en-GB"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name} – ganpress ablation</title><style>{CSS}</style></head><body>"
        f"<header><p class='eyebrow'>ganpress ablation, {escape(str(found['family']))}</p>"
        f"<h1>{name}</h1><p class='lead'>{escape(_shared(found))}</p></header><main>"
        f"<section><h2>Quality over model size</h2>{figure}</section>"
        f"<section><h2>Arms</h2><div class='scroll'><table class='numeric'><thead><tr>{top}</tr>"
        f"</thead><tbody>{cells}</tbody></table></div><ul class='note'>{told}</ul></section>"
        f"<section><h2>The paper's statements</h2><ul>{said}</ul></section>"
        f"<section><h2>Pictures</h2>{grid}</section>"
        f"<section><h2>Protocol</h2><table><tbody>{how}</tbody></table></section>"
        "</main></body></html>\n"
    )


def _bold(line: str) -> str:
    """One **bold** run of a sentence as HTML."""
    before, _, rest = line.partition("**")
    middle, _, after = rest.partition("**")
    return f"{escape(before)}<b>{escape(middle)}</b>{escape(after)}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _write(path: Path, text: str) -> None:
    replace_file(path, lambda file: file.write(text.encode()))
