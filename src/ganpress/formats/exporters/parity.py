"""Check an exported file on real pictures, and write beside it how far it is from torch.

`<file>.parity.json` names the pictures by the hash of what was read, to be checked again.
A network that reads no pictures is checked on as many draws. What is allowed is what the check on
random inputs allows (`verify`), of each picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganpress.data import Images, evaluation
from ganpress.errors import ExportError
from ganpress.formats.exporters.byte_door import as_bytes, from_bytes
from ganpress.formats.exporters.described import precision_of
from ganpress.formats.exporters.form import Form, Job, Seen
from ganpress.formats.exporters.verify import (
    BYTE_MAX,
    GREY,
    NOISE_FACTOR,
    NOISE_MOST,
    mean_allowed,
    own_noise,
)
from ganpress.formats.runtimes import Opened
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import check_given, from_noise, images_for, inputs_of, reads
from ganpress.models.source import blank
from ganpress.quantisation.quantise import quantiser_of
from ganpress.run.files import write_json
from ganpress.types import Inputs

COUNT = 20
"""Pictures, or draws, that a file is checked on."""
CALIBRATION = 64
"""Pictures, or draws, that a float network's activations are observed on."""


@dataclass(frozen=True)
class Parity:
    """How far a file is from torch on real pictures, in units of [-1, 1].

    Attributes:
        runtime, version: that ran the file.
        rows: of each picture: name, sha256, largest and mean difference.
        allowed: the limits that each picture kept.
    """

    runtime: str
    version: str
    rows: tuple[dict[str, Any], ...]
    allowed: dict[str, float]

    @property
    def largest(self) -> float:
        return max(float(row["largest"]) for row in self.rows)

    @property
    def mean(self) -> float:
        return sum(float(row["mean"]) for row in self.rows) / len(self.rows)


def seen_of(
    model: Model, images: Images | None, form: Form, count: int = COUNT
) -> tuple[Seen, ...]:
    """What the network reads of up to ``count`` pictures, spread over the set, or of as many draws
    where it reads noise; in batches of the form's, each of one picture.

    Raises: ConfigError, ImagesError where the images are not what the network reads.
    """
    if from_noise(model):
        return tuple(
            _seen(f"draw {n}", _repeated(inputs_of(model, blank(1), _draw(n)), form))
            for n in range(count)
        )
    check_given(model, images)
    assert images is not None  # `check_given` has refused that
    places = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int).tolist()
    chosen = images_for(model, images.some(sorted(set(places))))
    shown = evaluation(chosen, batch=1, size=form.size)
    return tuple(
        _seen(name, _repeated(inputs_of(model, photo, _draw(n)), form))
        for n, (name, photo) in enumerate(zip(chosen.names, shown, strict=True))
    )


def check_seen(
    job: Job, reference: Model, opened: Callable[[], Opened], most: float, mean: float
) -> Parity | None:
    """Run a file on the pictures of the job, and compare it with torch; None where it has none.

    Args:
        reference: what the file computes, on the CPU.
        opened: opens the very file that is written.
        most: the largest difference allowed to a float network.
        mean: of a fake-quantised one the mean, where torch's own noise is less.
    Raises: ExportError where a picture is off by more than is allowed.
    """
    if not job.seen:
        return None
    form = job.form
    with opened() as file:
        run = _on_tensors(file, reads(reference), form)
        rows = tuple(_rows(reference, run, job.seen, form))
    allowed = _allowed(reference, form, (most, mean), rows, job.seen)
    for row in rows:
        for what, limit in allowed.items():
            if not row[what] <= limit:
                raise ExportError(
                    f"On {row['name']} the exported network differs from torch by up to "
                    f"{row['largest']:.2e} (mean {row['mean']:.2e}); allowed is a {what} of "
                    f"{limit:.1e}. Nothing was written; please report this with the model."
                )
    return Parity(file.runtime, file.version, rows, allowed)


def _rows(
    model: Model, run: Callable[[Inputs], Tensor], seen: Sequence[Seen], form: Form
) -> Iterator[dict[str, Any]]:
    """Of each picture: its name and hash, and the largest and the mean difference."""
    for one in seen:
        want = model(*one.inputs)
        want = from_bytes(as_bytes(want)) if form.bytes_io else want
        off = (run(one.inputs) - want).abs()
        yield {
            "name": one.name,
            "sha256": one.digest,
            "largest": float(off.max()),
            "mean": float(off.mean()),
        }


def _allowed(
    model: Model,
    form: Form,
    tolerance: tuple[float, float],
    rows: Sequence[dict[str, Any]],
    seen: Sequence[Seen],
) -> dict[str, float]:
    """The limits: of a float network the largest difference, or under another precision the mean;
    of a fake-quantised one the mean, or where torch itself is no surer, twice its own noise."""
    most, mean = tolerance
    if quantiser_of(model.net) is None:
        off = mean_allowed(form)
        if off is not None:
            return {"mean": off}
        return {"largest": max(most, BYTE_MAX) if form.bytes_io else most}
    worst = max(range(len(rows)), key=lambda n: float(rows[n]["mean"]))
    if rows[worst]["mean"] <= mean:
        return {"mean": mean}
    noise = max(own_noise(model, [seen[n].inputs]) for n in {0, worst})
    return {"mean": max(mean, min(NOISE_MOST, NOISE_FACTOR * noise))}


def write_parity(job: Job, parity: Parity | None, *files: bytes) -> Path | None:
    """Write `<file>.parity.json`; its path, or None where nothing was checked.

    Args: files: what was checked, as written.
    """
    path = job.path.with_name(f"{job.path.name}.parity.json")
    if parity is None:
        path.unlink(missing_ok=True)  # it was of the file that was here before
        return None
    form, model = job.form, job.model
    quantised = quantiser_of(model.net) is not None
    trained = precision_of(model, form) == "int8" and quantised
    written = hashlib.sha256()
    for file in files:
        written.update(file)
    write_json(path, {
        "file": job.path.name,
        "sha256": written.hexdigest(),
        "runtime": parity.runtime,
        "version": parity.version,
        "precision": precision_of(model, form),
        "bytes": form.bytes_io,
        "size": form.size,
        "against": f"torch {torch.__version__}, float32"
        + (", fake-quantised" if trained else ", weights on their grid" if quantised else ""),
        "largest": parity.largest,
        "mean": parity.mean,
        "largest_grey_levels": parity.largest / GREY,
        "mean_grey_levels": parity.mean / GREY,
        "allowed": parity.allowed,
        "pictures": list(parity.rows),
    })  # fmt: skip
    return path


def _on_tensors(opened: Opened, names: Sequence[str], form: Form) -> Callable[[Inputs], Tensor]:
    """A file as a function of the network's inputs, pictures in [-1, 1] in and out."""

    def run(inputs: Inputs) -> Tensor:
        fed = {
            name: (as_bytes(x) if opened.inputs[name].dtype == "uint8" else x).numpy()
            for name, x in zip(names, inputs, strict=True)
        }
        made = torch.from_numpy(next(iter(opened.run(fed).values())))
        return from_bytes(made) if form.bytes_io else made

    return run


def _draw(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def _seen(name: str, inputs: Inputs) -> Seen:
    digest = hashlib.sha256()
    for tensor in inputs:
        digest.update(tensor.contiguous().numpy().tobytes())
    return Seen(name, digest.hexdigest(), inputs)


def _repeated(inputs: Inputs, form: Form) -> Inputs:
    """One picture's inputs as a whole batch of a static file."""
    return tuple(t.expand(form.batch, *t.shape[1:]).contiguous() for t in inputs)
