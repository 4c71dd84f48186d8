"""OpenVINO's IR, a .xml and a .bin beside it, made from the ONNX file and checked on the CPU.

The picture that is compared with torch's is made by the very bytes of these two files. Layer by
layer, a quantised network is checked on the ONNX graph that they were made from.

The quantised convolutions run on integers there; what stays float is float32 in this check, and has
to be asked for (`INFERENCE_PRECISION_HINT` "f32"), since some CPUs would take bfloat16. The file
cannot say so: arithmetic is the runtime's choice. With fp16 and bf16 weights lie in the file as
float16, which holds them to three digits more than bfloat16 would, the check asks for arithmetic in
that precision (a CPU without it computes in float32), and the metadata name the hint to give.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from ganpress.errors import CheckpointError, ExportError, require
from ganpress.formats.exporters import verify
from ganpress.formats.exporters.described import precision_of
from ganpress.formats.exporters.form import OPENVINO_HINTS, Job, Precision
from ganpress.formats.exporters.layerwise import Session
from ganpress.formats.exporters.onnx import versions_of, with_layers
from ganpress.formats.exporters.parity import check_seen, write_parity
from ganpress.formats.exporters.trace import in_form
from ganpress.formats.exporters.verify import FLOAT_MAX, GREY, ExportFacts, Tolerance, compare
from ganpress.formats.runtimes import Opened, open_file
from ganpress.formats.runtimes.openvino import DYNAMIC
from ganpress.run.files import make_folder, replace_pair

QUANTISED = Tolerance(mean=GREY, share=0.0, exact=None)


def export_openvino(job: Job) -> ExportFacts:
    """Write a .xml, and its weights in a .bin; errors as in `ganpress.export`. A quantised network
    may be off by a mean of one grey level."""
    require("Export to OpenVINO", "openvino", "onnx", "onnxscript")
    model, form, path = job.model, job.form, job.path
    plain = in_form(model, form)
    data, layers = with_layers(plain, form, job.calibration, runtime="openvino")
    xml, weights = files(data, form.precision)
    precision = precision_of(plain, form)

    def open_(file: bytes) -> Session:  # the other files are cut into layers (`layerwise`)
        hint = {"INFERENCE_PRECISION_HINT": OPENVINO_HINTS[precision]}
        return session(xml, weights, **hint) if file == data else session(file)

    def opened() -> Opened:
        return open_file(xml, runtime="openvino", weights=weights)

    found = compare(plain, data, open_, form, quantised=QUANTISED, layers=layers)
    parity = check_seen(job, plain, opened, FLOAT_MAX, GREY)
    make_folder(path.parent)
    replace_pair(path, xml, path.with_suffix(".bin"), weights)
    total = len(xml) + len(weights)
    opset, ir = versions_of(data)
    return ExportFacts(
        path, total, found.most, found.mean, found.sizes, opset, found.near, found.noise,
        ir=ir, parity=write_parity(job, parity, xml, weights),
    )  # fmt: skip


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


def files(data: bytes, precision: Precision | None = None) -> tuple[bytes, bytes]:
    """The .xml and the .bin of an ONNX file, weights at the precision they have there; with
    "fp16" or "bf16" in half as many bytes."""
    import openvino

    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.xml"
            half = precision in ("fp16", "bf16")
            network = openvino.Core().read_model(data)
            network.set_rt_info("0", ["runtime_options", DYNAMIC])
            openvino.save_model(network, path, compress_to_fp16=half)
            return path.read_bytes(), path.with_suffix(".bin").read_bytes()
    except Exception as error:  # openvino's errors share no public base
        raise _cannot("convert", error) from error


def _cannot(what: str, error: BaseException) -> ExportError:
    return ExportError(
        f"OpenVINO cannot {what} the exported network ({error}). Nothing was written."
    )
