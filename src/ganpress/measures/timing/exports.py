"""Files that are exported to be timed, kept in the user's cache so that no second run exports them.

A file is kept under a hash of all that decides what is in it: the network's weights and card, the
form asked for, the versions of the packages that write it, and the exporters' own source.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch

from ganpress.errors import MissingExtra
from ganpress.formats import exporters
from ganpress.formats.exporters import openvino as openvino_exporter
from ganpress.formats.exporters.form import Form, as_precision
from ganpress.formats.exporters.graph import Runtime
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.measures.timing.precisions import stored_in
from ganpress.models.checkpoint import Model, fingerprint
from ganpress.models.families.base import draw_inputs
from ganpress.quantisation.quantise import quantiser_of
from ganpress.run.cache import cache_dir, clear_unused, mark_used
from ganpress.run.files import alone, replace_file, replace_pair
from ganpress.types import Inputs
from ganpress.types.sizes import Size

WRITERS = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf")
CALIBRATED = (
    "8 bits after training, calibrated on noise: the time is that of a student of these widths, "
    "the pictures are not"
)
CALIBRATION_BATCHES = 4


def folder() -> Path:
    """Where the files are kept."""
    return cache_dir() / "timing"


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
    _check_packages(runtime)
    stored = stored_in(runtime, precision)
    note = CALIBRATED if stored == "int8" and quantiser_of(model.net) is None else ""
    suffix = ".xml" if runtime == "openvino" else ".onnx"
    path = folder() / f"{_digest(model, runtime, stored, size, batch)}{suffix}"
    if path.is_file():
        mark_used(path)
        if runtime == "openvino":
            mark_used(path.with_suffix(".bin"))
        return path, note
    folder().mkdir(parents=True, exist_ok=True)
    clear_unused(folder())
    with alone(folder() / "lock"):
        if not path.is_file():
            _write(path, onnx_bytes(model, stored, size, batch, runtime))
    return path, note


def _write(path: Path, data: bytes) -> None:
    if path.suffix == ".xml":
        xml, weights = openvino_exporter.files(data)
        replace_pair(path, xml, path.with_suffix(".bin"), weights)
    else:
        replace_file(path, lambda file: file.write(data))


def onnx_bytes(
    model: Model, stored: str, size: Size, batch: int = 1, runtime: str = "onnxruntime"
) -> bytes:
    """The ONNX file of a model with these numbers in it, for a runtime: what `export` writes.

    int8 is the student's own 8 bits, or calibrated on noise where it has none: good for its time
    alone.
    """
    form = Form(size, batch, precision=as_precision(stored))
    made_for: Runtime = "openvino" if runtime == "openvino" else "onnxruntime"
    return to_bytes(model, form, _noise(model, form), runtime=made_for)


def _noise(model: Model, form: Form) -> tuple[Inputs, ...]:
    """What a float network is calibrated on."""
    if form.precision != "int8" or quantiser_of(model.net) is not None:
        return ()
    draw = torch.Generator().manual_seed(0)
    batches = range(CALIBRATION_BATCHES)
    return tuple(draw_inputs(model.net, form.batch, form.size, draw) for _ in batches)


def _check_packages(runtime: str) -> None:
    needed = {
        "onnx": "onnx",
        "onnxscript": "onnx",
        runtime: {"onnxruntime": "onnx"}.get(runtime, runtime),
    }
    for package, extra in needed.items():
        if find_spec(package) is None:
            raise MissingExtra(
                f"Exporting a model for {runtime} needs the package '{package}': "
                f"pip install 'ganpress[{extra}]'"
            )


def _digest(model: Model, runtime: str, stored: str, size: Size, batch: int) -> str:
    card = {k: v for k, v in model.card().items() if k not in ("provenance", "discriminator")}
    seen = {
        "net": fingerprint(model.net),
        "card": card,
        "form": [runtime, stored, size, batch],
        "versions": {name: _version(name) for name in WRITERS},
        "exporters": _source_digest(),
    }
    return hashlib.sha256(json.dumps(seen, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _source_digest() -> str:
    """Of the source that writes the files."""
    seen = hashlib.sha256()
    at = Path(exporters.__file__).parent
    for file in sorted(at.rglob("*.py")):
        seen.update(f"{file.relative_to(at)}".encode() + file.read_bytes())
    return seen.hexdigest()
