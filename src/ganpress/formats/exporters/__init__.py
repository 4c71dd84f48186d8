"""Write a model in a format that other programs run, and check that they agree with torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ganpress.errors import ConfigError, did_you_mean
from ganpress.formats.exporters import pth
from ganpress.formats.exporters.onnx import export_onnx
from ganpress.formats.exporters.openvino import export_openvino
from ganpress.formats.exporters.verify import ExportFacts
from ganpress.models.checkpoint import Model

TARGETS: dict[str, Callable[[Model, Path, int], ExportFacts]] = {
    "onnx": export_onnx,
    "openvino": export_openvino,
    **pth.TARGETS,
}


def export(
    model: Model, path: Path | str, *, to: str = "onnx", size: int | None = None
) -> ExportFacts:
    """Export a model and verify the file against torch; a file that differs is never written.

    Args:
        to: one of `TARGETS`.
        size: height and width of the pictures to verify with, in pixels; the file takes others.
            None: the network's own or its family's; a network of one size takes no notice.

    Raises:
        ConfigError: an unknown target, or a size the network cannot take.
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
    size = model.size if size is None else size
    if not model.is_fixed and (size < model.min_size or size % model.multiple):
        raise ConfigError(
            f"Size {size} does not suit '{model.family.name}': it must be divisible by "
            f"{model.multiple} and at least {model.min_size} pixels."
        )
    return TARGETS[to](model, Path(path), size)


__all__ = ["TARGETS", "ExportFacts", "export"]
