"""Write a model in a format that other programs run, and check that they agree with torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ganpress.errors import ConfigError, did_you_mean
from ganpress.formats.exporters import plain, pth
from ganpress.formats.exporters.onnx import export_onnx
from ganpress.formats.exporters.openvino import export_openvino
from ganpress.formats.exporters.verify import ExportFacts
from ganpress.models.checkpoint import Model
from ganpress.types.sizes import Size

TARGETS: dict[str, Callable[[Model, Path, Size], ExportFacts]] = {
    "onnx": export_onnx,
    "openvino": export_openvino,
    plain.TARGET: plain.export_plain,
    **pth.TARGETS,
}
SUFFIXES = {"onnx": (".onnx",), "openvino": (".xml",)} | {
    target: (".pth", ".pt") for target in TARGETS if target.startswith("pth-")
}
"""Endings of a target's file; the first is the one that is proposed."""
FILE_KINDS = ("tflite", "onnx", "xml", "bin", "pth", "pt", "pkl", "ckpt", "safetensors", "h5", "pb")
"""Endings that say what a file is, and are replaced where they are wrong; others are names."""


def export(
    model: Model, path: Path | str, *, to: str = "onnx", size: Size | None = None, pad: bool = False
) -> ExportFacts:
    """Export a model and verify the file against torch; a file that differs is never written.

    Args:
        to: one of `TARGETS`.
        size: side, or (height, width), of the pictures to verify with, in pixels; the file takes
            others. None: the network's own or its family's.
        pad: of the targets pth-*: add zero channels up to the next widths that the class of that
            code base can have.

    Raises:
        ConfigError: an unknown target, a file name of another format, a family that the target
            does not have, or a size the network cannot take.
        MissingExtra: the packages of the target are not installed.
        ExportError: the exported file does not compute what torch computes.
        DiskFull: no space left; the previous file is intact.
    """
    if to not in TARGETS:
        name = model.family.name
        able = [t for t in TARGETS if t not in pth.LAYOUTS or name in pth.LAYOUTS[t]]
        raise ConfigError(
            f"There is no export target '{to}'{did_you_mean(to, able)}. "
            f"Targets of a '{name}' generator: {', '.join(able)}."
        )
    check_suffix(Path(path), to)
    if pad and to not in pth.LAYOUTS:
        raise ConfigError(
            f"--pad is for the layouts of other code bases ({', '.join(pth.LAYOUTS)}); '{to}' "
            "takes any widths: leave it out."
        )
    size = model.resolve_size(size)
    if pad:
        return pth.export_pth(to, model, Path(path), size, pad=True)
    return TARGETS[to](model, Path(path), size)


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


__all__ = ["SUFFIXES", "TARGETS", "ExportFacts", "check_suffix", "export"]
