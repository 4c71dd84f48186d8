"""What is shared: a model's file or a run's folder, with what lies beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError
from ganpress.models.checkpoint import Model, load
from ganpress.report.reading import RunFiles, read_run, section
from ganpress.run.files import object_beside
from ganpress.sharing.private import without_paths

ONNX_OF_A_RUN = "student.onnx"
_OBJECTS = ("data", "evaluation")
"""Of a card beside a model's file."""
PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Source:
    """Models to share, by the names that they get: "model", or of two directions "model-A2B".

    Attributes:
        files: name -> file here.
        models: name -> the model in it.
        run: the folder of the run that made them, read; None for a file alone.
        beside: the JSON card beside a file alone, as the zoo's have one; {} without.
    """

    path: Path
    files: Mapping[str, Path]
    models: Mapping[str, Model]
    run: RunFiles | None = None
    beside: Mapping[str, Any] = field(default_factory=dict)

    @property
    def first(self) -> Model:
        """The model that the card describes."""
        return next(iter(self.models.values()))

    @property
    def inside(self) -> str:
        """What follows a repository's address to name the first model: "" where it is the only one,
        "/model-A2B.safetensors" of several."""
        return f"/{next(iter(self.files))}.safetensors" if len(self.files) > 1 else ""

    @property
    def is_compressed(self) -> bool:
        """Whether it is the student of a run."""
        return self.run is not None and "train" not in self.run.config

    @property
    def onnx(self) -> Path | None:
        """The exported file of the run's student, if there is one."""
        exported = self.run.root / ONNX_OF_A_RUN if self.run and self.is_compressed else None
        return exported if exported is not None and exported.is_file() else None

    @property
    def picture(self) -> Path | None:
        """A picture beside a model's file: of its name, PNG or JPEG."""
        found = (self.path.with_suffix(ending) for ending in PICTURES if self.run is None)
        return next((path for path in found if path.is_file()), None)


def open_source(path: Path | str) -> Source:
    """A model's file, or the folder of a finished run, compressed or trained; what is read has no
    path of this machine in it.

    Raises: ConfigError for a folder that is no finished run, CheckpointError.
    """
    path = Path(path)
    if not path.is_dir():
        found = object_beside(path)
        if not all(isinstance(found.get(key, {}), Mapping) for key in _OBJECTS):
            found = {}  # another program's
        card = without_paths(found)
        return Source(path, {"model": path}, {"model": _loaded(path)}, beside=card)
    run = read_run(path)
    run = replace(run, results=without_paths(run.results), card=without_paths(run.card))
    files = _files_of(run)
    return Source(path, files, {name: _loaded(file) for name, file in files.items()}, run)


def _loaded(file: Path) -> Model:
    model = load(file)
    return replace(model, provenance=without_paths(model.provenance))


def _files_of(run: RunFiles) -> dict[str, Path]:
    student = run.root / "student.safetensors"
    if student.is_file() and run.results:
        return {"model": student}
    teachers = section(run.results, "teachers", "results.json")
    found = {
        f"model-{name}" if name else "model": run.root
        / str(section(teachers, name, "").get("file"))
        for name in teachers
    }
    if not found:
        raise ConfigError(
            f"{run.root} is no folder of a finished run: it has neither a student nor teachers, "
            "with a results.json. Finish it (the same command again), or give a model's file."
        )
    return found
