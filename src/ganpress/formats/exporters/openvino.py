"""OpenVINO's IR, a .xml and a .bin beside it, made from the ONNX file and checked on the CPU.

The picture that is compared with torch's is made by the very bytes of these two files. Layer by
layer, a quantised network is checked on the ONNX graph that they were made from.

The quantised convolutions run on integers there; what stays float is float32 in this check, and has
to be asked for (`INFERENCE_PRECISION_HINT` "f32"), since some CPUs would take bfloat16.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from ganpress.errors import CheckpointError, ConfigError, ExportError, MissingExtra
from ganpress.formats.exporters import verify
from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.layerwise import Session
from ganpress.formats.exporters.onnx import OPSET, to_bytes
from ganpress.formats.exporters.verify import GREY, ExportFacts, Tolerance, compare
from ganpress.formats.runtimes import open_file
from ganpress.models.checkpoint import Model
from ganpress.run.files import make_folder, replace_pair
from ganpress.types.sizes import Size

FLOAT_MAX = 1e-3  # its float kernels reorder and fuse more than onnxruntime's
PACKAGES = {"openvino": "openvino", "onnx": "onnx", "onnxscript": "onnx"}


def export_openvino(model: Model, path: Path, size: Size) -> ExportFacts:
    """Write ``path``, a .xml, and its weights in a .bin; arguments and errors as in
    `ganpress.export`. A quantised network may be off by a mean of one grey level."""
    for package, extra in PACKAGES.items():
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise MissingExtra(
                f"Export to OpenVINO needs the package '{package}': pip install 'ganpress[{extra}]'"
            ) from error
    if path.suffix != ".xml":
        raise ConfigError(f"OpenVINO reads a .xml with a .bin beside it: name the file *.xml, "
                          f"not '{path.name}'.")  # fmt: skip
    data = to_bytes(model, Form(size, dynamic=True))
    quantised = Tolerance(mean=GREY, share=0.0, exact=None)
    xml, weights = files(data)

    def open_(file: bytes) -> Session:  # the other files are cut into layers (`layerwise`)
        return session(xml, weights) if file == data else session(file)

    found = compare(model, data, open_, size, float_max=FLOAT_MAX, quantised=quantised)
    make_folder(path.parent)
    replace_pair(path, xml, path.with_suffix(".bin"), weights)
    total = len(xml) + len(weights)
    return ExportFacts(
        path, total, found.most, found.mean, found.sizes, OPSET, found.near, found.noise
    )


def session(data: bytes, weights: bytes | None = None, **settings: Any) -> Session:
    """A file as a function of its inputs by name, run by OpenVINO on the CPU in float32.

    Args:
        data: an ONNX file, or an IR's .xml.
        weights: the IR's .bin; None for ONNX.
        settings: of the CPU plugin, besides threads and precision.
    """
    try:
        opened = open_file(data, runtime="openvino", weights=weights, settings=settings)
    except CheckpointError as error:
        raise _cannot("load", error.__cause__ or error) from error
    return verify.on_tensors(opened)


def runner(data: bytes, names: tuple[str, ...], **settings: Any) -> Callable[..., Tensor]:
    """An ONNX file as a function of the network's inputs; ``settings`` as in `session`."""
    return verify.runner(session(data, **settings), names)


def files(data: bytes) -> tuple[bytes, bytes]:
    """The .xml and the .bin of an ONNX file, weights at the precision they have there."""
    import openvino

    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.xml"
            openvino.save_model(openvino.Core().read_model(data), path, compress_to_fp16=False)
            return path.read_bytes(), path.with_suffix(".bin").read_bytes()
    except Exception as error:  # openvino's errors share no public base
        raise _cannot("convert", error) from error


def _cannot(what: str, error: BaseException) -> ExportError:
    return ExportError(
        f"OpenVINO cannot {what} the exported network ({error}). Nothing was written."
    )
