"""The whole line in one call: compress, measure, evaluate, export, report."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ganpress.data import Batch, Images, evaluation
from ganpress.errors import ConfigError, ExportError, MissingExtra, did_you_mean
from ganpress.formats.exporters import export
from ganpress.measures.colour import match_colour
from ganpress.measures.fidelity import check_opened, compare_costs, evaluate, evaluation_size, named
from ganpress.methods import METHODS
from ganpress.models.checkpoint import Model, fingerprint, load, save
from ganpress.models.inputs import from_noise, inputs_of, made_size, reads
from ganpress.report import write_report
from ganpress.run.files import make_folder, read_json, replace_file
from ganpress.run.grid import grid
from ganpress.run.progress import tell
from ganpress.run.run import Run
from ganpress.run.slim import SlimConfig
from ganpress.training.outcome import forgotten_if_refused, stage_facts

SAMPLES = 8
HELD = {True: "yes", False: "no: these were trained on"}
ONNX = ("onnx", "onnxscript", "onnxruntime")
FROM_NOISE = 200
"""Pictures made from noise for the evaluation of a run; `evaluate` can make more."""


def compress(
    teacher: Model,
    images: Images | None,
    *,
    run: str | os.PathLike[str],
    config: SlimConfig | None = None,
    method: str = "slim",
    test: Images | None = None,
    reals: Images | None = None,
    weights: str | os.PathLike[str] | None = None,
    match_colours: bool = False,
    command: str | None = None,
    quiet: bool = False,
) -> Model:
    """Compress a generator; run again with the same settings, it goes on where it stopped, and
    where it has finished, its student is given back at once.

    Leaves in ``run``: student.safetensors, student.onnx (where the onnx extra is installed),
    results.json, samples/, report.html, and a folder with log, state and pictures per stage.

    Args:
        images: what is trained on, with maps or targets where the generator or its discriminator
            reads those; None where it reads noise.
        test: photos for the evaluation and the report's pictures; without them ``images`` are
            used, and the protocol says so.
        reals: pictures of the target domain, for ``critic.real=images`` without targets.
        weights: file or folder of the feature network's weights.
        match_colours: in samples/ and the report, give made pictures the colours of their photos
            (`colour.match_colour`); numbers and exported files are of the pictures as made.
    """
    check_request(method, c := config or SlimConfig())
    check_opened(images=images, test=test, reals=reals)
    run, weights = Path(run), None if weights is None else Path(weights)
    if match_colours and "image" not in reads(teacher):
        raise ConfigError(
            f"A '{teacher.family.name}' generator reads no photo whose colours could be matched: "
            "leave --match-colours out."
        )
    if c.threads:
        torch.set_num_threads(c.threads)
    settings = {"method": method, "family": teacher.family.name, **c.model_dump()}
    card = card_of(teacher, images, c, command, reals=reals)
    check_teacher(run, card["teacher"])
    path = run / "student.safetensors"
    with forgotten_if_refused(run):
        folder = Run(run, seed=c.seed, config=settings, card=card, quiet=quiet)
        if not path.exists():
            student = METHODS[method](teacher, images, c, folder, reals=reals, weights=weights)
            student.net.to("cpu")
            student.provenance = {**teacher.provenance, "method": method, "arm": c.arm}
            save(student, path)
    student = load(path)
    teacher.net.to("cpu")
    if finished(run, shown_of(teacher, images, test), held(teacher, test), match_colours):
        tell(
            f"{run} is finished: nothing is done again ('ganpress report {run}' writes its report "
            "anew).",
            quiet=quiet,
        )
        return student
    finish(
        folder,
        student,
        teacher,
        c,
        images=images,
        test=test,
        weights=weights,
        match_colours=match_colours,
    )
    return student


def check_teacher(run: Path, print_now: str) -> None:
    """Refuse to go on with a run that was started with another teacher."""
    card = run / "card.json"
    was = read_json(card).get("teacher") if card.exists() else None
    if was not in (None, print_now):
        raise ConfigError(
            f"The run in {run} was started with another teacher (its weights have fingerprint "
            f"{was[:12]}, these {print_now[:12]}). Give the same one, or choose another folder."
        )


def card_of(
    teacher: Model,
    images: Images | None,
    config: SlimConfig,
    command: str | None,
    *,
    reals: Images | None = None,
) -> dict[str, Any]:
    """What the run's card says of device, data and teacher."""
    return {
        "device": torch.cuda.get_device_name() if config.device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "data_hash": images.digest() if images else "none",
        "photos": len(images) if images else 0,
        **({"reals_hash": reals.digest(), "reals": len(reals)} if reals else {}),
        "teacher": fingerprint(teacher.net),
        **({"command": command} if command else {}),
    }


def shown_of(teacher: Model, images: Images | None, test: Images | None) -> Images | None:
    """What a run is evaluated and shown on; None where pictures are made from noise."""
    return None if from_noise(teacher) else test or images


def held(teacher: Model, test: Images | None) -> str:
    """The protocol's line on whether that was held out of training."""
    return "yes: drawn for this" if from_noise(teacher) else HELD[test is not None]


def finished(run: Path, shown: Images | None, held_out: str, match_colours: bool) -> bool:
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
    return there == (named(shown) if shown else None, held_out, _colours(match_colours))


def _colours(match_colours: bool) -> dict[str, str]:
    return {"colours": "as the photo's" if match_colours else "as made"}


def check_request(method: str, config: SlimConfig) -> None:
    """Refuse a method that does not exist, and cuda where there is none."""
    if method not in METHODS:
        raise ConfigError(
            f"There is no method '{method}'{did_you_mean(method, METHODS)}. "
            f"Methods: {', '.join(METHODS)}."
        )
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', but torch sees no CUDA device: --set device=cpu.")


def finish(
    run: Run,
    student: Model,
    teacher: Model,
    config: SlimConfig,
    *,
    images: Images | None,
    test: Images | None,
    weights: Path | None,
    match_colours: bool = False,
) -> None:
    """Measure, evaluate, export, and write the report of a compressed student."""
    size = made_size(teacher) if from_noise(teacher) else evaluation_size(config.data, teacher)
    shown = shown_of(teacher, images, test)
    tell(f"evaluating on {len(shown) if shown else FROM_NOISE} pictures", quiet=run.quiet)
    found = evaluate(
        student,
        teacher,
        shown,
        size=size,
        count=FROM_NOISE,
        features=config.distance.features,
        weights=weights,
    )
    write_samples(run.root / "samples", student, teacher, shown, size, match_colours=match_colours)
    tell("measuring latency", quiet=run.quiet)
    model = compare_costs(teacher, student, size=teacher.family.image.size)
    model["student"]["file_bytes"] = (run.root / "student.safetensors").stat().st_size
    results: dict[str, Any] = {
        "model": model,
        "evaluation": {
            **found.as_dict(),
            "protocol": {**found.protocol, "held out": held(teacher, test)},
        },
        "stages": stage_facts(run),
        "export": {"onnx": exported(run, student, size)},
        "samples": _colours(match_colours),
    }
    run.write_json("results.json", results)
    run.finish()
    write_report(run.root)


def exported(run: Run, student: Model, size: int) -> dict[str, Any]:
    """What results.json says of student.onnx, once that is written; or why there is none."""
    tell("exporting to ONNX and checking it", quiet=run.quiet)
    try:
        facts = export(student, run.root / "student.onnx", size=size)
    except (MissingExtra, ExportError) as error:
        return {"file": f"none: {error}"}
    return {
        "file": facts.file.name,
        "bytes": facts.bytes,
        "max_abs_diff": facts.max_abs_diff,
        "mean_abs_diff": facts.mean_abs_diff,
    }


def write_samples(
    folder: Path,
    student: Model,
    teacher: Model,
    images: Images | None,
    size: int,
    *,
    match_colours: bool = False,
) -> None:
    """photo, teacher and student pictures, spread over the images, as PNG files; no photo where
    the generator reads noise. What is drawn is the same for both, and for every student.

    Args: match_colours: both made pictures with the colours of the photo.
    """
    make_folder(folder)
    for index, photos in _shown(images, size):
        inputs = inputs_of(teacher, photos, torch.Generator().manual_seed(index))
        kinds = {"teacher": teacher(*inputs), "student": student(*inputs)}
        if match_colours:
            kinds = {kind: match_colour(made, photos.x) for kind, made in kinds.items()}
        if not from_noise(teacher):
            kinds = {"photo": photos.x, **kinds}
        for kind, picture in kinds.items():
            image = Image.fromarray(grid(picture))
            replace_file(folder / f"{index:05d}_{kind}.png", partial(image.save, format="PNG"))


def _shown(images: Images | None, size: int) -> Iterator[tuple[int, Batch]]:
    """`SAMPLES` batches of one, with their places: images spread over the set, or bare ones."""
    if images is None:
        bare = Batch(torch.empty(1, 0), torch.full((1,), -1), None)
        yield from ((index, bare) for index in range(SAMPLES))
        return
    wanted = set(np.linspace(0, len(images) - 1, min(SAMPLES, len(images))).astype(int).tolist())
    for index, photos in enumerate(evaluation(images, batch=1, size=size)):
        if index in wanted:
            yield index, photos
