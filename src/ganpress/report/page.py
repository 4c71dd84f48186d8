"""The page of a run: what its templates are filled with, and how it is written."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError
from ganpress.report import table, teachers
from ganpress.report.amounts import duration, moment, number, times
from ganpress.report.curves import PANEL, stage_charts
from ganpress.report.figures import drawing
from ganpress.report.latencies import latency_table
from ganpress.report.pictures import AMPLIFIED, sample_rows, stage_snapshots
from ganpress.report.reading import QUALITY, RunFiles, StageFiles, read_run, seconds_of, section
from ganpress.report.searches import search_of
from ganpress.report.sliders import FOLDER, read_sliders
from ganpress.report.toml import to_toml
from ganpress.report.yardsticks import beside_teacher
from ganpress.run.files import make_folder, write_file


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
    write_page(target, render(read_run(run)))
    return target


def write_slider_page(folder: Path, target: Path) -> Path:
    """Write the frames of edit directions that lie in a folder as one page that opens from disk.

    Raises ConfigError for a folder without sliders, or a file that cannot be written, ImagesError
    for a sheet of frames that cannot be read, DiskFull.
    """
    found = read_sliders(folder)
    if found is None:
        raise ConfigError(
            f"'{folder}' has no sliders.json: make it (ganpress edit sliders MODEL -o PAGE)."
        )
    write_page(target, fill("sliders.html.j2", name=target.stem, sliders=found))
    return target


def render(run: RunFiles) -> str:
    """The whole page as HTML text."""
    trained = "train" in run.config
    with drawing():
        stages = [_stage(run, stage) for stage in run.stages]
    return fill(
        f"{'training' if trained else 'compression'}.html.j2",
        name=run.root.resolve().name,
        run=run,
        when=_when(run),
        stages=stages,
        sliders=read_sliders(run.root / FOLDER, run.root),
        repeat=_repeat(run),
        panel=PANEL,
        moment=moment,
        **(_of_training(run) if trained else _of_compression(run)),
    )


def fill(template: str, **values: Any) -> str:
    """One of the templates with these values. Text is escaped; a name without a value is an error.

    A value that is HTML itself is marked so in the template (`safe`): only drawings are.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return pages.get_template(template).render(**values)


def write_page(target: Path, text: str) -> None:
    """Put the whole page in place of the previous one; its folder is made where it is missing.
    Raises ConfigError, DiskFull."""
    make_folder(target.parent)
    try:
        write_file(target, text.encode("utf-8", errors="replace"))
    except OSError as error:
        raise ConfigError(
            f"'{target}' cannot be written: {error.strerror}. Check the folder's permissions."
        ) from error


def _of_compression(run: RunFiles) -> dict[str, Any]:
    model = section(run.results, "model", "results.json")
    gain = table.ratio(model, table.QUANTITIES[0])
    tiles, absent = table.tiles(run.results)
    compared, *conditions = table.comparison(model)
    samples = run.results.get("samples")
    latencies, timed_on, advice = latency_table(run.results)
    return {
        "family": _name_of(model, "family") or _name_of(run.config, "family"),
        "method": (_name_of(run.config, "method") or "").replace("_", " "),
        "gain": times(gain) if gain and gain > 1 else "",
        "tiles": tiles,
        "absent": absent,
        "samples": sample_rows(run.samples) if run.samples else None,
        "amplified": AMPLIFIED,
        "colours": samples.get("colours", "as made") if isinstance(samples, Mapping) else "as made",
        "compared": compared,
        "conditions": conditions,
        "latencies": latencies,
        "timed_on": timed_on,
        "advice": advice,
        "widths": table.widths(model),
        "evaluation": table.evaluation(run.results),
        "quality": table.measured(beside_teacher(run.quality, run.teacher_quality), QUALITY),
        "exports": table.exports(run.results),
    }


def _of_training(run: RunFiles) -> dict[str, Any]:
    return {
        "tiles": teachers.tiles(run.results),
        "pictures": teachers.pictures(run),
        "last": teachers.last(run.results),
        "networks": teachers.networks(run.results),
    }


def _when(run: RunFiles) -> str:
    when = [moment(run.card["started"])] if run.card.get("started") is not None else []
    seconds = [s.seconds for s in run.stages if s.seconds is not None]
    when += [f"{duration(sum(seconds))} of training"] if seconds else []
    when += [str(run.card["device"])] if run.card.get("device") is not None else []
    return " · ".join(when)


def _name_of(config: Mapping[str, Any], key: str) -> str | None:
    value = config.get(key)
    if isinstance(value, Mapping):
        value = value.get("name")
    return value if isinstance(value, str) else None


def _stage(run: RunFiles, stage: StageFiles) -> dict[str, Any]:
    return {
        "files": stage,
        "timing": _timing(run, stage),
        "charts": stage_charts(stage, chart_titles(run)),
        "search": search_of(run, stage),
        "outcome": table.facts(stage.facts or {}, "Written when the stage ended"),
        "snapshots": stage_snapshots(stage),
    }


def chart_titles(run: RunFiles) -> dict[str, str]:
    """Prefix of logged names, such as 'loss' -> title of their chart, in the order of the page: the
    losses, then what the run's card says of its method's."""
    said = run.card.get("charts")
    return {"loss": "Losses", **(said if isinstance(said, dict) else {})}


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


def _repeat(run: RunFiles) -> dict[str, Any]:
    """The command, what the card says besides, and the settings as TOML."""
    command = run.card.get("command")
    facts = {key: v for key, v in run.card.items() if key != "command" and v is not None}
    if "started" in facts:
        facts["started"] = moment(facts["started"])
    resumed = facts.get("resumed")
    if isinstance(resumed, list) and all(isinstance(entry, Mapping) for entry in resumed):
        words = [
            f"{entry.get('stage')} at step {entry.get('step')}, {moment(entry.get('at'))}"
            for entry in resumed
        ]
        facts["resumed"] = "; ".join(words) or "never"
    return {
        "command": shlex.join(map(str, command)) if isinstance(command, list) else command,
        "card": table.facts(facts, "Versions, device, data and seed"),
        "config": to_toml(run.config) if run.config else "",
    }
