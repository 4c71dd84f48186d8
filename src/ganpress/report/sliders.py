"""Sliders of edit directions: frames that were made beforehand, in a page that opens from disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError
from ganpress.report.amounts import si, significant
from ganpress.report.pictures import data_uri, open_picture
from ganpress.sniff import misplaced

FOLDER = "editing"
"""Of a run: where its frames lie."""
FORMAT = 1
_KINDS = {
    "pca": "Principal components (GANSpace)",
    "sefa": "Weight factorisation (SeFa)",
}


@dataclass(frozen=True)
class Direction:
    """One slider: its frames in one picture, and what is known of it."""

    number: int
    src: str
    """A data URI: a row for each subject and network, a column for each strength."""
    note: str


@dataclass(frozen=True)
class Sliders:
    """All that the page shows."""

    facts: Mapping[str, Any]
    directions: list[Direction]
    frame: tuple[int, int]
    """Height and width, pixels."""
    strengths: list[float]
    kind: str
    about: list[str]
    """Sentences: what is shown, how the student got its directions, how large it is."""
    stale: str
    """A warning where the networks have changed since; else ''."""

    @property
    def middle(self) -> int:
        """The column of strength 0."""
        return len(self.strengths) // 2

    @property
    def networks(self) -> list[str]:
        """Their names, in the order of the frames."""
        return [str(one["name"]) for one in self.facts["networks"]]


def read_sliders(folder: Path, run: Path | None = None) -> Sliders | None:
    """The sliders that lie in a folder; None where there are none.

    Args: run: the run whose files the networks were, to see whether they have changed.
    Raises: ConfigError, ImagesError for files that are not whole or do not fit each other.
    """
    path = folder / "sliders.json"
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_bytes())
        if facts["format"] != FORMAT:
            raise ConfigError(
                f"{path} has format {facts['format']}, this version reads {FORMAT}: make the "
                "sliders again (ganpress edit sliders)."
            )
        return _shown(folder, facts, run)
    except (ValueError, KeyError, TypeError, IndexError, OSError) as error:
        why = misplaced(path, "json") or f"is not whole ({type(error).__name__}: {error})"
        raise ConfigError(
            f"'{path}' {why}. Make the sliders again (ganpress edit sliders), or delete it."
        ) from error


def sha256(path: Path) -> str:
    """Of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shown(folder: Path, facts: Mapping[str, Any], run: Path | None) -> Sliders:
    height, width = map(int, facts["frame"])
    strengths = [float(s) for s in facts["strengths"]]
    rows = len(facts["subjects"]) * len(facts["networks"])
    directions, size = [], 0
    for number, one in enumerate(facts["directions"], 1):
        sheet = folder / str(one["file"])
        picture = open_picture(sheet)
        if picture.size != (width * len(strengths), height * rows):
            raise ConfigError(
                f"'{sheet}' has {picture.size[0]} x {picture.size[1]} pixels, where sliders.json "
                f"says {width * len(strengths)} x {height * rows}. Make the sliders again "
                "(ganpress edit sliders)."
            )
        src = data_uri(sheet.read_bytes())
        size += len(src)
        directions.append(Direction(number, src, _note(facts, one)))
    frames = rows * len(strengths) * len(directions)
    return Sliders(
        facts,
        directions,
        (height, width),
        strengths,
        _KINDS.get(str(facts["kind"]), str(facts["kind"])),
        [*_about(facts), f"{frames:,} frames of {height} x {width} pixels, {size / 1e6:.2f} MB."],
        _stale(facts, run),
    )


def _note(facts: Mapping[str, Any], one: Mapping[str, Any]) -> str:
    of = "of the weights' power" if facts["kind"] == "sefa" else "of the variance"
    note = f"{100 * one['ratio']:.1f}\u00a0% {of}"
    if "features" in one:
        note += f"; cosine of the changes {significant(one['features'], 2)} in features, "
        note += f"{significant(one['pixels'], 2)} in pixels"
    return note


def _about(facts: Mapping[str, Any]) -> list[str]:
    first, last, count = facts["layers"]
    where = "all layers" if last - first + 1 == count else f"layers {first} to {last} of {count}"
    cut = f" Truncation {facts['truncation']:g}." if facts["truncation"] != 1 else ""
    said = [f"Directions in {facts['space']}, applied to {where}.{cut}"]
    said += [f"{one['name']}: {si(one['macs'])} MACs." for one in facts["networks"]]
    moved = facts["transfer"]
    if moved is None:
        return said
    if moved["inherited"]:
        said.append(
            "Teacher and student make the same codes: the student's directions are the same."
        )
    else:
        said.append(
            "The student's codes are its own: its directions were fitted, which leaves "
            f"{100 * moved['residual']:.1f}\u00a0% of its codes' variance unexplained."
        )
    said.append(
        f"Cosine: of the teacher's and the student's change by {moved['strength']:g} standard "
        f"deviations, mean of {moved['pictures']} pictures; features: {moved['features']}."
    )
    return said


def _stale(facts: Mapping[str, Any], run: Path | None) -> str:
    changed = [
        name
        for name, digest in facts["files"].items()
        if run is not None and (not (run / name).is_file() or sha256(run / name) != digest)
    ]
    if not changed:
        return ""
    return f"Made of another {' and '.join(changed)} than the run has now: make the sliders again."
