"""The page: headline numbers, pictures, tables, curves, and how to repeat the run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError
from ganpress.report import table, teachers
from ganpress.report.amounts import duration, moment, number, times
from ganpress.report.curves import stage_charts
from ganpress.report.pictures import sample_rows, stage_snapshots
from ganpress.report.reading import RunFiles, StageFiles, read_run, seconds_of, section
from ganpress.report.style import CSS, SCRIPT
from ganpress.report.toml import to_toml
from ganpress.run.files import replace_file

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def write_report(run: Path) -> Path:
    """Write `report.html` into a run directory and return its path.

    The file is complete in itself: it opens from disk, without a network and without scripts.
    Parts that the run has not produced are named on the page.

    Raises ConfigError for a folder that is not a run or a file in it that is not valid JSON,
    ImagesError for a picture that cannot be read, DiskFull when there is no space left; the
    previous report is intact then.
    """
    run = Path(run)
    target = run / "report.html"
    _write(target, render(read_run(run)))
    return target


def render(run: RunFiles) -> str:
    """The whole page as HTML text."""
    trained = teachers.is_training(run)
    parts = _of_training(run) if trained else _of_compression(run)
    headline = teachers.tiles(run.results) if trained else table.tiles(run.results)
    summary = _training_summary(run) if trained else _summary(run)
    ids = {title: title.lower().replace(" ", "-") for title in parts}
    links = "".join(f'<a href="#{ids[t]}">{t}</a>' for t in parts)
    body = "".join(
        f'<section id="{ids[title]}"><h2>{title}</h2>{html}</section>'
        for title, html in parts.items()
    )
    name = escape(run.root.resolve().name)
    return (
        '<!doctype html>\n<html lang="en-GB"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{name} – ganpress report</title><style>{CSS}</style></head><body>"
        f"<header><p class='eyebrow'>ganpress report</p><h1>{name}</h1>{summary}"
        f"<nav aria-label='Sections'>{links}</nav></header>"
        f"<main><section id='headline' aria-label='Headline numbers'>"
        f"{_gave_up(run)}{headline}{_missing_files(run)}</section>{body}</main>"
        f"<dialog aria-label='Enlarged picture'><form method='dialog'><button>Close</button>"
        f"</form><p></p></dialog><script>{SCRIPT}</script></body></html>\n"
    )


def _of_compression(run: RunFiles) -> dict[str, str]:
    return {
        "Pictures": _pictures(run),
        "Teacher and student": _networks(run),
        "Evaluation": _evaluation(run),
        "Exported files": _exports(run),
        "Training": _training(run),
        "Repeat it": _repeat(run),
    }


def _of_training(run: RunFiles) -> dict[str, str]:
    results = run.results
    return {
        "Pictures": teachers.pictures(run) or _missing("No samples: the training has not ended."),
        "Training": _training(run) + teachers.last(results),
        "Teacher": teachers.networks(results) or _missing("No teacher yet."),
        "Repeat it": _repeat(run),
    }


def _training_summary(run: RunFiles) -> str:
    """One sentence on what was trained, then when and where."""
    family = escape(str(run.config["train"]))
    return f"<p class='lead'>A {family} generator, trained as a teacher.</p>{_when(run)}"


def _summary(run: RunFiles) -> str:
    """One sentence on what was compressed and by how much, then when and where."""
    model = section(run.results, "model", "results.json")
    gain = table.ratio(model, table.QUANTITIES[0])
    family = model.get("family") or _name_of(run.config, "family")
    method = _name_of(run.config, "method")
    what = f"A {escape(family)} generator" if isinstance(family, str) else "A generator"
    how = f", compressed with {escape(method.replace('_', ' '))}" if method else ""
    much = f": {times(gain)} fewer MACs than its teacher" if gain and gain > 1 else ""
    return f"<p class='lead'>{what}{how}{much}.</p>{_when(run)}"


def _when(run: RunFiles) -> str:
    when = [moment(run.card["started"])] if run.card.get("started") is not None else []
    seconds = [s.seconds for s in run.stages if s.seconds is not None]
    when += [f"{duration(sum(seconds))} of training"] if seconds else []
    when += [str(run.card["device"])] if run.card.get("device") is not None else []
    return f"<p class='when'>{escape(' · '.join(when))}</p>"


def _name_of(config: Mapping[str, Any], key: str) -> str | None:
    value = config.get(key)
    if isinstance(value, Mapping):
        value = value.get("name")
    return value if isinstance(value, str) else None


def _gave_up(run: RunFiles) -> str:
    """Why the run has no result, where it diverged for good, with the advice that goes with it."""
    if not run.failed.get("error"):
        return ""
    at = f" on {moment(run.failed['at'])}" if run.failed.get("at") else ""
    return _missing(f"This run gave up{at}. {run.failed['error']}")


def _missing_files(run: RunFiles) -> str:
    if not run.missing:
        return ""
    return _missing(f"This run has no {' and no '.join(run.missing)} yet.")


def _missing(text: str) -> str:
    return f'<p class="missing">{escape(text)}</p>'


def _pictures(run: RunFiles) -> str:
    if run.samples:
        return sample_rows(run.samples) + _colours(run)
    return _missing("No sample pictures: the run has no samples/ folder with *_student.png.")


def _colours(run: RunFiles) -> str:
    """A note where the pictures are not shown as the networks made them."""
    told = run.results.get("samples")
    if not isinstance(told, Mapping) or told.get("colours", "as made") == "as made":
        return ""
    return (
        f"<p class='note'>Teacher's and student's pictures have colours {escape(told['colours'])} "
        "(mean and deviation of chroma); the numbers are of the pictures as made.</p>"
    )


def _networks(run: RunFiles) -> str:
    model = section(run.results, "model", "results.json")
    compared = table.comparison(model) or _missing("No sizes: results.json has no 'model' part.")
    widths = table.widths(model) or _missing("No widths of teacher and student in results.json.")
    return f"{compared}<h3>Channels kept</h3>{widths}"


def _evaluation(run: RunFiles) -> str:
    missing = _missing("Not evaluated: results.json has no 'evaluation' part.")
    return table.evaluation(run.results) or missing


def _exports(run: RunFiles) -> str:
    return table.exports(run.results) or _missing(
        "Not exported: results.json has no 'export' part."
    )


def _training(run: RunFiles) -> str:
    if not run.stages:
        return _missing("No stage folder with a log.jsonl was found in the run.")
    return "".join(_stage(stage, _timing(run, stage)) for stage in run.stages)


def _stage(stage: StageFiles, timing: str) -> str:
    charts = stage_charts(stage)
    html = f'<div class="charts">{charts}</div>' if charts else _missing("No log.jsonl lines.")
    if stage.unreadable:
        html += _missing(f"{stage.unreadable} lines of log.jsonl are unreadable and left out.")
    ended = table.facts(stage.facts, "Written when the stage ended") if stage.facts else ""
    html = _restarts(stage) + html
    state = "" if stage.facts is not None else ' <span class="badge">unfinished</span>'
    return (
        f'<article><h3>{escape(stage.name)}{state} <span class="when">{escape(timing)}</span>'
        f"</h3>{html}{stage_snapshots(stage)}"
        + (f"<details><summary>Outcome</summary>{ended}</details>" if ended else "")
        + "</article>"
    )


def _restarts(stage: StageFiles) -> str:
    """A line for each time that the stage diverged and went back to go on more gently."""
    return "".join(
        _missing(
            f"Diverged{f' on {moment(at)}' if at else ''}: {why}. It went back to its last saved "
            f"state and on with rho and learning rates halved, to 1/{2**count} of the settings'."
        )
        for count, (why, at) in enumerate(stage.restarts, 1)
    )


def _timing(run: RunFiles, stage: StageFiles) -> str:
    """'20,000 steps, 1 h 20 min', from results.json where it says so, else from the stage."""
    listed = run.results.get("stages") or []
    if not isinstance(listed, list):
        raise ConfigError("results.json: 'stages' should be a list. Repair the file, or delete it.")
    said = next((e for e in listed if isinstance(e, Mapping) and e.get("name") == stage.name), {})
    known = {**(stage.facts or {}), **said}
    steps, seconds = number(known.get("steps")), seconds_of(said) or stage.seconds
    last = max((s.steps[-1] for s in stage.series), default=None)
    words = []
    if steps is not None:
        words.append(f"{int(steps):,} steps")
    elif last is not None:
        words.append(f"last logged step {last:,}")
    return ", ".join(words + ([duration(seconds)] if seconds else []))


def _repeat(run: RunFiles) -> str:
    command = run.card.get("command")
    if isinstance(command, list):
        command = shlex.join(map(str, command))
    html = (
        f'<div class="copy"><pre><code>{escape(str(command))}</code></pre>'
        '<button type="button" hidden>Copy</button></div>'
        if command
        else _missing("The command is not known: card.json does not give it.")
    )
    html += table.facts(_card(run.card), "Versions, device, data and seed")
    if not run.config:
        return html + _missing("The resolved config is not known: config.json is missing or empty.")
    return html + (
        '<details><summary>Resolved config</summary><div class="copy"><pre><code>'
        f'{escape(to_toml(run.config))}</code></pre><button type="button" hidden>Copy</button>'
        "</div></details>"
    )


def _card(card: Mapping[str, Any]) -> dict[str, Any]:
    """What the card says besides the command, with times and resumptions in words."""
    facts = {key: value for key, value in card.items() if key != "command" and value is not None}
    if "started" in facts:
        facts["started"] = moment(facts["started"])
    resumed = facts.get("resumed")
    if isinstance(resumed, list) and all(isinstance(entry, Mapping) for entry in resumed):
        words = [
            f"{entry.get('stage')} at step {entry.get('step')}, {moment(entry.get('at'))}"
            for entry in resumed
        ]
        facts["resumed"] = "; ".join(words) or "never"
    return facts


def _write(target: Path, text: str) -> None:
    """Put the whole page in place of the previous one."""
    data = text.encode("utf-8", errors="replace")
    try:
        replace_file(target, lambda file: file.write(data))
    except OSError as error:
        raise ConfigError(
            f"'{target}' cannot be written: {error.strerror}. Check the folder's permissions."
        ) from error
