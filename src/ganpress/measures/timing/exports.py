"""Files that are exported to be timed, kept in the user's cache so that no second run exports them.

A file is kept under a hash of all that decides what is in it: the network's weights and card, the
form asked for, the versions of the packages that write it, and the source of networks, quantisers
and exporters.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import cast

import torch

import ganpress
from ganpress.errors import require
from ganpress.formats.exporters import openvino as openvino_exporter
from ganpress.formats.exporters.form import Form, Precision
from ganpress.formats.exporters.graph import Runtime
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.measures.timing.precisions import stored_in
from ganpress.measures.timing.timer import installed
from ganpress.models.checkpoint import Model, fingerprint
from ganpress.models.families.base import draw_inputs
from ganpress.quantisation.quantise import quantiser_of
from ganpress.run.cache import cache_dir, cache_folder, clear_unused, mark_used
from ganpress.run.files import replace_pair, write_file
from ganpress.run.locks import alone
from ganpress.types import Inputs
from ganpress.types.sizes import Size

FOLDER = "timing"
WRITERS = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf")
CALIBRATED = (
    "8 bits after training, calibrated on noise: the time is that of a student of these widths, "
    "the pictures are not"
)
CALIBRATION_BATCHES = 4
WRITING = ("formats/exporters",)
TRACED = (*WRITING, "models", "nn", "quantisation")
"""Rooms of the package whose source decides what is in a file: what a network computes, too."""


def folder() -> Path:
    """Where the files are kept."""
    return cache_dir() / FOLDER


def exported_file(
    model: Model, runtime: str, precision: str, size: Size, batch: int = 1
) -> tuple[Path, str]:
    """The file that is timed, and a note on it ("" where there is nothing to know).

    Args:
        runtime: "onnxruntime": an ONNX file; "openvino": a .xml with its .bin.
        precision: see `precisions`.
        size, batch: of the pictures; the file takes no other.

    Raises: ExportError, ConfigError, MissingExtra.
    """
    require(f"Exporting a model for {runtime}", "onnx", "onnxscript", runtime)
    stored = stored_in(precision)
    note = CALIBRATED if stored == "int8" and quantiser_of(model.net) is None else ""
    suffix = ".xml" if runtime == "openvino" else ".onnx"
    path = folder() / f"{_digest(model, runtime, stored, size, batch)}{suffix}"
    if path.is_file():
        mark_used(path)
        if runtime == "openvino":
            mark_used(path.with_suffix(".bin"))
        return path, note
    cache_folder(folder())
    clear_unused(folder())
    with alone(folder() / "lock"):
        if not path.is_file():
            _write(path, onnx_bytes(model, stored, size, batch, cast(Runtime, runtime)), stored)
    return path, note


def _write(path: Path, data: bytes, stored: Precision) -> None:
    if path.suffix == ".xml":
        xml, weights = openvino_exporter.files(data, stored)
        replace_pair(path, xml, path.with_suffix(".bin"), weights)
    else:
        write_file(path, data)


def onnx_bytes(
    model: Model,
    stored: Precision,
    size: Size,
    batch: int = 1,
    runtime: Runtime = "onnxruntime",
) -> bytes:
    """The ONNX file of a model with these numbers in it, as `ganpress.export` writes it for a
    runtime. int8 is the student's own 8 bits, or calibrated on noise where it has none: good for
    its time alone."""
    form = Form(size=size, batch=batch, precision=stored)
    calibrated = stored == "int8" and quantiser_of(model.net) is None
    inputs = _noise(model, size, batch) if calibrated else []
    return to_bytes(model, form, inputs, runtime=runtime)


def _noise(model: Model, size: Size, batch: int) -> list[Inputs]:
    draw = torch.Generator().manual_seed(0)
    return [draw_inputs(model.net, batch, size, draw) for _ in range(CALIBRATION_BATCHES)]


def _digest(model: Model, runtime: str, stored: str, size: Size, batch: int) -> str:
    card = {k: v for k, v in model.card().items() if k not in ("provenance", "discriminator")}
    seen = {
        "net": fingerprint(model.net),
        "card": card,
        "form": [runtime, stored, size, batch],
        "versions": {name: installed(name) for name in WRITERS},
        "source": source_digest(TRACED),
    }
    return hashlib.sha256(json.dumps(seen, sort_keys=True, default=str).encode()).hexdigest()[:32]


@cache
def source_digest(rooms: tuple[str, ...] = WRITING) -> str:
    """Of the source in some of the package's rooms: of that which writes the files."""
    seen = hashlib.sha256()
    at = Path(ganpress.__file__).parent
    for file in sorted(file for room in rooms for file in (at / room).rglob("*.py")):
        seen.update(f"{file.relative_to(at)}".encode() + file.read_bytes())
    return seen.hexdigest()
