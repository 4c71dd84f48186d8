"""Write a model in a format that other programs run, and check that they agree with torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ganpress.data import Images
from ganpress.errors import ConfigError, did_you_mean
from ganpress.formats.exporters import plain, program_file, pth
from ganpress.formats.exporters.choices import check_choices
from ganpress.formats.exporters.form import Form, Job
from ganpress.formats.exporters.onnx import export_onnx
from ganpress.formats.exporters.openvino import export_openvino
from ganpress.formats.exporters.parity import CALIBRATION, COUNT, seen_of
from ganpress.formats.exporters.verify import ExportFacts
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import from_noise
from ganpress.types.sizes import Size


def _by_size(write: Callable[[Model, Path, Size], ExportFacts]) -> Callable[[Job], ExportFacts]:
    """A target whose files have no form but their widths; the size is what it is checked with."""
    return lambda job: write(job.model, job.path, job.form.size)


CONVERTERS = ("tflite", "litert", "coreml", "mlmodel", "ncnn", "mnn", "tensorrt", "tfjs", "tf")
CONVERTED = "Its own converter reads ONNX files, which --to onnx writes. "
TARGETS: dict[str, Callable[[Job], ExportFacts]] = {
    "onnx": export_onnx,
    "openvino": export_openvino,
    "torch": program_file.export_program,
    plain.TARGET: _by_size(plain.export_plain),
    **{target: _by_size(write) for target, write in pth.TARGETS.items()},
}
SUFFIXES = {"onnx": (".onnx",), "openvino": (".xml",), "torch": (program_file.SUFFIX,)} | {
    target: (".pth", ".pt") for target in TARGETS if target.startswith("pth-")
}
"""Endings of a target's file; the first is the one that is proposed."""
FILE_KINDS = (
    "tflite", "onnx", "xml", "bin", "pth", "pt", "pt2", "pkl", "ckpt", "safetensors", "h5", "pb",
    "ort", "mlmodel", "mlpackage", "engine", "trt", "npz", "keras", "json", "zip",
)  # fmt: skip
"""Endings that say what a file is, and are replaced where they are wrong; others are names."""


def export(
    model: Model,
    path: Path | str,
    *,
    to: str = "onnx",
    size: Size | None = None,
    pad: bool = False,
    form: Form | None = None,
    images: Images | int | None = None,
    calibrate: Images | None = None,
) -> ExportFacts:
    """Export a model and verify the file against torch; a file that differs is never written.

    Args:
        to: one of `TARGETS`.
        size: side, or (height, width), of the pictures that the file takes, pixels; a short form of
            ``form``. None: the network's own or its family's.
        pad: of the targets pth-*: add zero channels up to the next widths that the class of that
            code base can have.
        form: shapes, precision, bytes, operator set. None: the model's own precision, one picture
            of ``size`` at a time.
        images: check the file on 20 of these, too, and write `<file>.parity.json`; of a network
            that reads noise, how many draws.
        calibrate: what activations are observed on, for ``precision="int8"`` of a float network;
            one that reads noise is calibrated on draws.

    Raises:
        ConfigError: an unknown target, a file name of another format, a family or form that the
            target does not have, or a size the network cannot take.
        ImagesError: images that the network cannot read.
        MissingExtra: the packages of the target are not installed.
        ExportError: the exported file does not compute what torch computes.
        DiskFull: no space left; the previous file is intact.
    """
    if to not in TARGETS:
        name = model.family.name
        able = [t for t in TARGETS if t not in pth.LAYOUTS or name in pth.LAYOUTS[t]]
        how = CONVERTED if to.lower() in CONVERTERS else ""
        raise ConfigError(
            f"There is no export target '{to}'{did_you_mean(to, able)}. {how}"
            f"Targets of a '{name}' generator: {', '.join(able)}."
        )
    path = Path(path)
    check_suffix(path, to)
    if pad and to not in pth.LAYOUTS:
        raise ConfigError(
            f"--pad is for the layouts of other code bases ({', '.join(pth.LAYOUTS)}); '{to}' "
            "takes any widths: leave it out."
        )
    if form is not None and size is not None:
        raise ConfigError("The size is in the form: give one of them.")
    asked = Form(model.resolve_size(size)) if form is None else form
    asked = replace(asked, size=model.resolve_size(asked.size))
    check_choices(to, model, asked, checks=images is not None, calibrates=calibrate is not None)
    if pad:
        return pth.export_pth(to, model, path, asked.size, pad=True)
    return TARGETS[to](_job(model, path, asked, images, calibrate))


def _job(
    model: Model, path: Path, form: Form, images: Images | int | None, calibrate: Images | None
) -> Job:
    """The job, with what the network reads of the images."""
    count = images if isinstance(images, int) else COUNT
    photos = None if isinstance(images, int) else images
    job = Job(model, path, form)
    if images is not None:
        job = replace(job, seen=seen_of(model, photos, form, count))
    if calibrate is not None or (form.precision == "int8" and from_noise(model)):
        observed = seen_of(model, calibrate, form, CALIBRATION)
        job = replace(job, calibration=tuple(one.inputs for one in observed))
    return job


def check_suffix(path: Path, to: str) -> None:
    """Refuse a file name that says another format than the target's: ConfigError."""
    suffixes, suffix = SUFFIXES[to], path.suffix.lower()
    if suffix in suffixes:
        return
    replaced = suffix[1:] in FILE_KINDS
    name = path.with_suffix(suffixes[0]) if replaced else Path(f"{path}{suffixes[0]}")
    meant = [target for target, others in SUFFIXES.items() if suffix in others]
    other = f", or choose the target of '{suffix}': --to {' or --to '.join(meant)}" if meant else ""
    raise ConfigError(
        f"Target '{to}' writes a {' or '.join(suffixes)} file: name it {name}, not {path}{other}."
    )


__all__ = ["SUFFIXES", "TARGETS", "ExportFacts", "Form", "check_suffix", "export"]
