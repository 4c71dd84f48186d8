"""What is put on a page: ganpress models, the teacher and student of runs, exported ONNX files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError, GanpressError, WeightsError
from ganpress.generation.program import open_program
from ganpress.losses.weights import zoo_models, zoo_path
from ganpress.models.checkpoint import Model, fingerprint, load
from ganpress.run.files import object_beside, read_object
from ganpress.run.hub.fetch import local_file

STUDENT = "student.safetensors"
_TEACHERS = re.compile(r"teacher(-\w+)?\.safetensors")
_PHOTO = "*_photo.png"


@dataclass(frozen=True)
class Given:
    """One model of a page, before it is exported.

    Attributes:
        title: for people.
        model: without weights where ``data`` is there.
        role: "teacher", "student", or None.
        data: the finished ONNX file, where one was given.
        size: side that the run trained with, pixels; None where there is no run.
        card: of the zoo's models: their card, which says what they read (`inputs.input_facts`).
        samples: pictures that it read in its run.
    """

    title: str
    model: Model
    role: str | None = None
    data: bytes | None = None
    size: Any = None
    card: Mapping[str, Any] = field(default_factory=dict)
    samples: tuple[Path, ...] = ()


def open_given(paths: Sequence[Path]) -> list[Given]:
    """The models of files and runs, in this order, a run's teacher before its student; each once.

    Raises: ConfigError for no path, a folder that is no run or has no model yet, and a file that no
        browser runs; CheckpointError, MissingExtra.
    """
    if not paths:
        raise ConfigError("Give at least one model: a file, or the folder of a run.")
    found: list[Given] = []
    seen: set[str] = set()
    for path in paths:
        for one in _opened(path):
            key = fingerprint(one.model.net) if one.data is None else str(path.resolve())
            if key not in seen:
                seen.add(key)
                found.append(one)
    return found


def _opened(path: Path) -> Iterator[Given]:
    path = local_file(path)  # of the hub, too
    if path.is_dir():
        yield from _of_run(path)
    elif path.suffix.lower() in (".xml", ".bin") and path.is_file():
        raise ConfigError(
            f"{path} is OpenVINO's, which no browser runs: give the ganpress model "
            "(.safetensors) or the .onnx file."
        )
    elif path.suffix.lower() == ".onnx" and path.is_file():
        yield Given(path.stem, open_program(path).model, data=path.read_bytes())
    else:
        yield Given(path.stem, load(path), card=_card_of(path))


def _card_of(path: Path) -> Mapping[str, Any]:
    """The card beside a model of the zoo; {} without one, or for another program's file of that
    name."""
    found = object_beside(path)
    return found if {"family", "widths"} <= found.keys() else {}


def _of_run(run: Path) -> Iterator[Given]:
    """The teacher and the student of a compression, or the teachers of a training."""
    if not any((run / name).is_file() for name in ("config.json", "card.json")):
        raise ConfigError(_no_run(run))
    card, config = (read_object(run / name) for name in ("card.json", "config.json"))
    data = config.get("data")
    size = data.get("size") if isinstance(data, Mapping) else None
    samples = tuple(sorted((run / "samples").glob(_PHOTO)))
    teachers = [
        path for path in sorted(run.glob("*.safetensors")) if _TEACHERS.fullmatch(path.name)
    ]
    if not teachers and not (run / STUDENT).is_file():
        raise ConfigError(
            f"{run} has no model yet ({STUDENT} or teacher.safetensors): let its command go on to "
            "the end, or give a model file."
        )
    for path in teachers:
        yield Given(path.stem, load(path), "teacher", size=size)
    if not (run / STUDENT).is_file():
        return
    beside: Mapping[str, Any] = {}
    if (found := _teacher(run, card)) is not None:
        file, teacher = found
        beside = _card_of(file)
        yield Given(file.stem, teacher, "teacher", size=size, card=beside, samples=samples)
    student = load(run / STUDENT)
    yield Given(run.resolve().name, student, "student", size=size, card=beside, samples=samples)


def _teacher(run: Path, card: Mapping[str, Any]) -> tuple[Path, Model] | None:
    """A run's teacher and its file: the one that its command named, or else one of the zoo, as that
    of the demo; None where no file has its weights."""
    wanted = card.get("teacher")
    if not isinstance(wanted, str):
        return None
    named = teacher_of(run, card)
    for file in [*([named] if named is not None else []), *zoo_models()]:
        try:
            model = load(file)
        except GanpressError:  # no model, or one of another version
            continue
        if fingerprint(model.net) == wanted:
            return file, model
    return None


def teacher_of(run: Path, card: Mapping[str, Any]) -> Path | None:
    """The file of a run's teacher, as its command named it; None where it is not there now."""
    try:
        words = shlex.split(str(card.get("command", "")))
    except ValueError:
        return None
    named = [b for a, b in pairwise(words) if a in ("--teacher", "-t")]
    named += [word.partition("=")[2] for word in words if word.startswith("--teacher=")]
    for name in named:
        above = [Path(), *run.resolve().parents]
        places = [folder / name for folder in above]
        if (found := next((p for p in places if p.is_file()), None)) is not None:
            return found
        try:
            return zoo_path(Path(name).name)
        except WeightsError:  # a file of the user's that has gone
            continue
    return None


def _no_run(folder: Path) -> str:
    """Why a folder is not taken, with what could be meant."""
    runs = sorted({p.parent for p in folder.glob(f"*/{STUDENT}")})
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.onnx")])
    meant = [str(p) for p in (*runs, *files)][:3]
    advice = f"Give {' or '.join(meant)}." if meant else "Give a run's folder, or a model file."
    return f"{folder} is not the folder of a run: it has no config.json. {advice}"


def unique_ids(titles: Sequence[str]) -> list[str]:
    """Titles as names that can stand in an address, each once."""
    found: list[str] = []
    for title in titles:
        plain = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "model"
        name, number = plain, 2
        while name in found:
            name, number = f"{plain}-{number}", number + 1
        found.append(name)
    return found
