"""OpenVINO's IR, a .xml and a .bin beside it, made from the ONNX file and checked on the CPU.

The quantised convolutions run on integers there; what stays float is float32 in this check, and has
to be asked for (`INFERENCE_PRECISION_HINT` "f32"), since some CPUs would take bfloat16.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganpress.checkpoint import Model
from ganpress.errors import ConfigError, ExportError, MissingExtra
from ganpress.exporters import verify
from ganpress.exporters.layerwise import Session
from ganpress.exporters.onnx import OPSET, to_bytes
from ganpress.exporters.verify import GREY, ExportFacts, Tolerance, compare
from ganpress.files import make_folder, replace_file

FLOAT_MAX = 1e-3  # its float kernels reorder and fuse more than onnxruntime's
PACKAGES = {"openvino": "openvino", "onnx": "onnx", "onnxscript": "onnx"}


def export_openvino(model: Model, path: Path, size: int) -> ExportFacts:
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
    data = to_bytes(model)
    quantised = Tolerance(mean=GREY, share=0.0, exact=None)
    found = compare(model, data, session, size, float_max=FLOAT_MAX, quantised=quantised)
    xml, weights = files(data)
    make_folder(path.parent)
    replace_file(path.with_suffix(".bin"), lambda file: file.write(weights))
    replace_file(path, lambda file: file.write(xml))
    total = len(xml) + len(weights)
    return ExportFacts(
        path, total, found.most, found.mean, found.sizes, OPSET, found.near, found.noise
    )


def session(data: bytes, **settings: Any) -> Session:
    """An ONNX file as a function of its inputs by name, run by OpenVINO on the CPU in float32.

    Args: settings: of the CPU plugin, besides threads and precision.
    """
    import openvino

    wanted = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        **settings,
    }
    try:
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(data), "CPU", wanted)
    except Exception as error:  # openvino's errors share no public base
        raise ExportError(
            f"OpenVINO cannot load the exported network ({error}). Nothing was written."
        ) from error

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        made = compiled({name: t.numpy() for name, t in inputs.items()})
        named = [(name, port) for port in compiled.outputs for name in port.names]
        return {name: torch.from_numpy(made[port].copy()) for name, port in named}

    return run


def runner(data: bytes, names: tuple[str, ...], **settings: Any) -> Callable[..., Tensor]:
    """An ONNX file as a function of the network's inputs; ``settings`` as in `session`."""
    return verify.runner(session(data, **settings), names)


def files(data: bytes) -> tuple[bytes, bytes]:
    """The .xml and the .bin of an ONNX file, weights at the precision they have there."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.xml"
        openvino.save_model(openvino.Core().read_model(data), path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()
