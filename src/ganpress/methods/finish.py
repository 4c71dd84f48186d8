"""The end of a compression: measure, evaluate, export and show the student."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ganpress.data import Batch, Images
from ganpress.data import evaluation as every_image
from ganpress.errors import ConfigError, ExportError, GanpressError, MissingExtra
from ganpress.formats.exporters import export
from ganpress.formats.exporters.parity import COUNT
from ganpress.measures.both_costs import compare_costs, cost_size, with_shipped
from ganpress.measures.colour import match_colour
from ganpress.measures.fidelity import evaluate, evaluation_size
from ganpress.measures.protocol import named
from ganpress.measures.timing import shipped
from ganpress.measures.timing.latency_target import in_words, verified
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import from_noise, inputs_of, made_size
from ganpress.models.source import blank
from ganpress.report import write_report
from ganpress.run.files import make_folder, read_json, replace_file, write_json
from ganpress.run.grid import grid
from ganpress.run.progress import say
from ganpress.run.run import Run
from ganpress.training.outcome import stage_facts
from ganpress.training.shared_settings import MethodSettings
from ganpress.types.sizes import Size

SAMPLES = 8
HELD_OUT = {True: "yes", False: "no: these were trained on"}
ONNX = ("onnx", "onnxscript", "onnxruntime")
FROM_NOISE = 200
"""Pictures made from noise for the evaluation of a run; `evaluate` can make more."""


@dataclass(frozen=True)
class Shown:
    """What a student is evaluated and shown on.

    Attributes:
        images: None where pictures are made from noise.
        held_out: the protocol's line on whether they were held out of training.
        match_colours: the samples have the colours of their photos.
    """

    images: Images | None
    held_out: str
    match_colours: bool = False

    @classmethod
    def of(
        cls, teacher: Model, images: Images | None, test: Images | None, *, match_colours: bool
    ) -> Shown:
        """The test images, or else those trained on; random inputs are sampled for it."""
        if from_noise(teacher):
            return cls(None, "yes: drawn for this", match_colours)
        return cls(test or images, HELD_OUT[test is not None], match_colours)

    @property
    def colours(self) -> dict[str, str]:
        """The line of results.json on the samples' colours."""
        return {"colours": "as the photo's" if self.match_colours else "as made"}


def is_finished(run: Path, shown: Shown) -> bool:
    """Whether the run has ended, evaluated and shown on just this, and left all that it can."""
    left = ["done.json", "results.json", "report.html"]
    left += ["student.onnx"] * all(find_spec(name) for name in ONNX)
    if not all((run / name).exists() for name in left):
        return False
    try:
        results = read_json(run / "results.json")
    except ConfigError:  # a broken file is written anew
        return False
    protocol = results.get("evaluation", {}).get("protocol", {})
    there = protocol.get("photos"), protocol.get("held out"), results.get("samples")
    photos = named(shown.images) if shown.images else None
    return there == (photos, shown.held_out, shown.colours)


def finish(
    run: Run,
    student: Model,
    teacher: Model,
    settings: MethodSettings,
    shown: Shown,
    *,
    metrics: Sequence[str] = (),
    weights: Path | None,
) -> None:
    """Measure, evaluate, export, and write the report of a compressed student.

    Args: metrics: further ones of the evaluation, those of pairs among `image_metrics.KINDS`.
    """
    size = evaluated_size(teacher, settings)
    images = shown.images
    say(f"evaluating on {len(images) if images else FROM_NOISE} pictures", quiet=run.quiet)
    evaluation = evaluated(student, teacher, settings, shown, metrics=metrics, weights=weights)
    write_samples(run.root / "samples", student, teacher, shown, size)
    say("measuring latency", quiet=run.quiet)
    model = compare_costs(teacher, student, size=cost_size(settings.data, teacher))
    model["student"]["file_bytes"] = (run.root / "student.safetensors").stat().st_size
    onnx = exported(run, student, size, images)
    latency = shipped_latency(run, teacher, student, size)
    results: dict[str, Any] = {
        "model": with_shipped(model, latency),
        "evaluation": evaluation,
        "stages": stage_facts(run),
        "export": {"onnx": onnx},
        **({"latency": latency} if latency else {}),
        "samples": shown.colours,
        **latency_found(run, student, teacher, settings),
    }
    run.write_json("results.json", results)
    run.finish()
    write_report(run.root)


def latency_found(
    run: Run, student: Model, teacher: Model, settings: MethodSettings
) -> dict[str, Any]:
    """What results.json says of a target in milliseconds: asked for, predicted, and measured of the
    student's file; {} where there is no such target."""
    if settings.target.teacher_ms is None:
        return {}
    found = verified(student, teacher, settings.target)
    say(in_words(found), quiet=run.quiet)
    return {"latency_target": found}


def shipped_latency(run: Run, teacher: Model, student: Model, size: Size) -> dict[str, Any] | None:
    """Latency of student.onnx beside the teacher's file, as results.json holds it; None where there
    is no such file."""
    file = run.root / "student.onnx"
    if not file.is_file():
        return None
    say("measuring the latency of the exported files", quiet=run.quiet)
    try:
        return shipped.time_files(teacher, student, file, size=size)
    except GanpressError as error:  # a finished student is worth more than its time
        say(f"not measured: {error}", quiet=run.quiet)
        return None


def evaluated_size(teacher: Model, settings: MethodSettings) -> Size:
    """Side, or height and width, of the pictures of the evaluation, pixels."""
    return made_size(teacher) if from_noise(teacher) else evaluation_size(settings.data, teacher)


def evaluated(
    student: Model,
    teacher: Model,
    settings: MethodSettings,
    shown: Shown,
    *,
    metrics: Sequence[str] = (),
    weights: Path | None,
) -> dict[str, Any]:
    """The student's evaluation against its teacher, as results.json holds it."""
    found = evaluate(
        student,
        teacher,
        shown.images,
        size=evaluated_size(teacher, settings),
        count=FROM_NOISE if from_noise(teacher) else None,
        features=settings.distance.features,
        metrics=metrics,
        weights=weights,
        mask=settings.mask,
    )
    return {**found.as_dict(), "protocol": {**found.protocol, "held out": shown.held_out}}


def evaluate_again(
    folder: Path,
    student: Model,
    teacher: Model,
    settings: MethodSettings,
    shown: Shown,
    *,
    metrics: Sequence[str],
    weights: Path | None,
) -> None:
    """Evaluate a finished run's student anew, by further metrics too, and write its results and
    its report. Nothing is trained, exported or timed again."""
    results = read_json(folder / "results.json")
    found = evaluated(student, teacher, settings, shown, metrics=metrics, weights=weights)
    write_json(folder / "results.json", {**results, "evaluation": found})
    write_report(folder)


def exported(run: Run, student: Model, size: Size, images: Images | None) -> dict[str, Any]:
    """What results.json says of student.onnx, once that is written; or why there is none.

    The file takes one picture of this size at a time: it is the one to ship, whose time can be
    measured, and that every runtime takes. Whoever wants other sizes exports the student again.
    """
    say("exporting to ONNX and checking it", quiet=run.quiet)
    seen: Images | int = images or COUNT
    try:
        facts = export(student, run.root / "student.onnx", size=size, images=seen)
    except (MissingExtra, ExportError) as error:
        return {"file": f"none: {error}"}
    return {
        "file": facts.file.name,
        "bytes": facts.bytes,
        "max_abs_diff": facts.max_abs_diff,
        "mean_abs_diff": facts.mean_abs_diff,
        **({"parity": facts.parity.name} if facts.parity else {}),
    }


def write_samples(
    folder: Path,
    student: Model,
    teacher: Model,
    shown: Shown,
    size: Size,
) -> None:
    """photo, teacher and student pictures, spread over the images, as PNG files; no photo where
    the generator reads noise. Random inputs are the same for both, and for every student.

    Both made pictures have the colours of the photo where ``shown`` says so.
    """
    make_folder(folder)
    for index, photos in _spread(shown.images, size):
        inputs = inputs_of(teacher, photos, torch.Generator().manual_seed(index))
        kinds = {"teacher": teacher(*inputs), "student": student(*inputs)}
        if shown.match_colours:
            kinds = {kind: match_colour(made, photos.x) for kind, made in kinds.items()}
        if not from_noise(teacher):
            kinds = {"photo": photos.x, **kinds}
        for kind, picture in kinds.items():
            image = Image.fromarray(grid(picture))
            replace_file(folder / f"{index:05d}_{kind}.png", partial(image.save, format="PNG"))


def _spread(images: Images | None, size: Size) -> Iterator[tuple[int, Batch]]:
    """`SAMPLES` batches of one, with their places: images spread over the set, or bare ones."""
    if images is None:
        yield from ((index, blank(1)) for index in range(SAMPLES))
        return
    wanted = set(np.linspace(0, len(images) - 1, min(SAMPLES, len(images))).astype(int).tolist())
    for index, photos in enumerate(every_image(images, batch=1, size=size)):
        if index in wanted:
            yield index, photos
