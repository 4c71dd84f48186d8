"""Reading a run directory: what is there, what is missing, and what is broken."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError, did_you_mean
from ganpress.report.amounts import number
from ganpress.run.logs import read_log
from ganpress.sniff import misplaced

RESULTS = "results.json"
QUALITY, TEACHER_QUALITY = "judged-student.json", "judged-teacher.json"
_STAGE_FILES = ("done.json", "state.pt", "log.jsonl", "trials.json")
_CLOCKS = ("elapsed_s", "seconds")
_NO_SCALARS = {"step", *_CLOCKS}
_STAGE_IMAGE = re.compile(r"(?P<name>.+)-(?P<step>\d+)\.png")
_SAMPLE = re.compile(r"(?P<stem>.+)_(?P<kind>photo|teacher|student)\.png")


@dataclass(frozen=True)
class Series:
    """One scalar over training: `steps` ascending, `values` finite, of equal length (>= 1)."""

    name: str
    steps: list[int]
    values: list[float]


@dataclass(frozen=True)
class StageFiles:
    """What one stage left behind."""

    name: str
    series: list[Series]
    seconds: float | None
    facts: Mapping[str, Any] | None
    """Content of done.json; None while the stage is unfinished."""
    images: Mapping[str, list[tuple[int, Path]]]
    """Picture name -> (step, file), steps ascending."""
    restarts: list[tuple[str, str]] = field(default_factory=list)
    """Why and when (a time, or '') it diverged and was restarted, at lower rates each time."""
    rates: str = "learning rates"
    """What was lowered, in words."""
    unreadable: int = 0
    """Lines of the log that are no log lines; they are left out."""
    trials: Mapping[str, Any] | None = None
    """Content of trials.json, of a stage that searched."""

    @property
    def trains(self) -> bool:
        """Whether it has, or is to have, a log of training steps."""
        return self.trials is None and (self.facts is None or self.facts.get("steps") is not None)


@dataclass(frozen=True)
class RunFiles:
    """Everything the page shows, as read from disk; empty mappings where a file is missing."""

    root: Path
    config: Mapping[str, Any]
    card: Mapping[str, Any]
    results: Mapping[str, Any]
    stages: list[StageFiles]
    samples: Mapping[str, dict[str, Path]]
    """Stem -> {"photo" | "teacher" | "student": file}."""
    quality: Mapping[str, Any] = field(default_factory=dict)
    """The student against real pictures: content of judged-student.json."""
    teacher_quality: Mapping[str, Any] = field(default_factory=dict)
    """The teacher against real pictures: judged-teacher.json, of an ablation's variant the one
    that lies in the ablation's folder."""
    failed: Mapping[str, Any] = field(default_factory=dict)
    """Why it gave up, where it did: content of failed.json."""
    missing: list[str] = field(default_factory=list)
    """Files that were not found, by name."""


def read_run(root: Path) -> RunFiles:
    """All files of a run directory that the report needs.

    Raises ConfigError for a folder that is not a run, and for a file that is not valid.
    """
    _check_is_run(root)
    found = {name: _read_object(root / name) for name in ("config.json", "card.json")}
    found[RESULTS] = _read_object(root / RESULTS)
    results = found[RESULTS] or {}
    return RunFiles(
        root=root,
        config=found["config.json"] or {},
        card=found["card.json"] or {},
        results=results,
        stages=[_read_stage(folder) for folder in _stage_folders(root, results)],
        samples=_find_samples(root / "samples"),
        quality=_read_object(root / QUALITY) or {},
        teacher_quality=_teacher_quality(root.resolve()),
        failed=_read_object(root / "failed.json") or {},
        missing=[name for name, content in found.items() if content is None],
    )


def section(parent: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    """The object under `key`, {} when absent. Raises ConfigError when it is not an object."""
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{where}: '{key}' should be an object, but is {type(value).__name__}. "
            "Repair the file, or delete it and evaluate the run again."
        )
    return value


def seconds_of(line: Mapping[str, Any]) -> float | None:
    """Seconds that a stage had taken, from a log line, a done.json or results.json; or None."""
    return next((s for key in _CLOCKS if (s := number(line.get(key))) is not None), None)


def _check_is_run(root: Path) -> None:
    if not root.is_dir():
        siblings = [p.name for p in root.parent.iterdir()] if root.parent.is_dir() else []
        raise ConfigError(
            f"No run directory at '{root}'{did_you_mean(root.name, siblings)}. "
            "Give the folder that a compression was written to."
        )
    if not any((root / name).is_file() for name in ("config.json", "card.json")):
        raise ConfigError(
            f"'{root}' is not a run directory: it has neither config.json nor card.json. "
            "Give the folder that a compression was written to."
        )


def _read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None when there is no such file."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise ConfigError(
            f"'{path}' {misplaced(path, 'json') or f'is not readable JSON: {error}'}. "
            "Repair the file, or delete it and let the run write it again."
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"'{path}' should hold a JSON object, but holds {type(content).__name__}. "
            "Repair the file, or delete it and let the run write it again."
        )
    return content


def _teacher_quality(root: Path) -> dict[str, Any]:
    above = [root.parent] if (root.parent / "settings.json").is_file() else []
    found = (_read_object(folder / TEACHER_QUALITY) for folder in (root, *above))
    return next((content for content in found if content is not None), {})


def _stage_folders(root: Path, results: Mapping[str, Any]) -> list[Path]:
    """Stage folders in the order they ran: as results.json lists them, then by file time."""
    listed = results.get("stages")
    entries = listed if isinstance(listed, list) else []
    names = [entry.get("name") for entry in entries if isinstance(entry, Mapping)]
    folders = [p for p in root.iterdir() if any((p / name).is_file() for name in _STAGE_FILES)]

    def order(folder: Path) -> tuple[int, float, str]:
        if folder.name in names:
            return names.index(folder.name), 0.0, folder.name
        first = next(folder / name for name in _STAGE_FILES if (folder / name).is_file())
        return len(names), first.stat().st_mtime, folder.name

    return sorted(folders, key=order)


def _read_stage(folder: Path) -> StageFiles:
    lines, unreadable = _read_lines(folder / "log.jsonl")
    images: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted((folder / "images").glob("*.png")):
        if match := _STAGE_IMAGE.fullmatch(path.name):
            images.setdefault(match["name"], []).append((int(match["step"]), path))
    for found in images.values():
        found.sort()
    restarts = _read_object(folder.parent / f"{folder.name}-restarts.json") or {}
    return StageFiles(
        name=folder.name,
        series=_columns(lines),
        seconds=next((s for line in lines[::-1] if (s := seconds_of(line))), None),
        facts=_read_object(folder / "done.json"),
        images=images,
        restarts=_restarts(restarts),
        rates=str(restarts.get("rates", "learning rates")),
        unreadable=unreadable,
        trials=_read_object(folder / "trials.json"),
    )


def _restarts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    reasons, times = (found.get(key) for key in ("why", "at"))
    whys = [_reason(str(why)) for why in reasons] if isinstance(reasons, list) else []
    ats = [str(at) for at in times] if isinstance(times, list) else []
    return list(zip(whys, ats + [""] * len(whys), strict=False))


def _reason(why: str) -> str:
    """The reason alone: runs of before kept the whole message, with its advice."""
    return why.removeprefix("Training diverged: ").partition(". ")[0]


def _read_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Lines of a log by ascending step, and how many whole lines could not be read."""
    if not path.is_file():
        return [], 0
    try:
        lines = read_log(path)
        whole = [row for row in path.read_bytes().split(b"\n")[:-1] if row.strip()]
    except (OSError, RecursionError) as error:
        raise ConfigError(f"'{path}' cannot be read: {error}. Check or delete the file.") from error
    by_step = {line["step"]: line for line in lines if abs(line["step"]) < 2**53}
    return [by_step[step] for step in sorted(by_step)], max(0, len(whole) - len(lines))


def _columns(lines: list[dict[str, Any]]) -> list[Series]:
    """One series per scalar, in the order the scalars first appear."""
    columns: dict[str, Series] = {}
    for line in lines:
        step = int(line["step"])
        for name, raw in line.items():
            if name not in _NO_SCALARS and (value := number(raw)) is not None:
                if name not in columns:  # a log may hold millions of numbers
                    columns[name] = Series(name, [], [])
                columns[name].steps.append(step)
                columns[name].values.append(value)
    return list(columns.values())


def _find_samples(folder: Path) -> dict[str, dict[str, Path]]:
    samples: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*.png")):
        if match := _SAMPLE.fullmatch(path.name):
            samples.setdefault(match["stem"], {})[match["kind"]] = path
    return samples
