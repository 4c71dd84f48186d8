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
from ganpress.sizes import Size

TARGETS: dict[str, Callable[[Model, Path, Size], ExportFacts]] = {
    "onnx": export_onnx,
    "openvino": export_openvino,
    **pth.TARGETS,
}


def export(
    model: Model, path: Path | str, *, to: str = "onnx", size: Size | None = None
) -> ExportFacts:
    """Export a model and verify the file against torch; a file that differs is never written.

    Args:
        to: one of `TARGETS`.
        size: side, or (height, width), of the pictures to verify with, in pixels; the file takes
            others. None: the network's own or its family's.

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
    return TARGETS[to](model, Path(path), model.resolve_size(size))


__all__ = ["TARGETS", "ExportFacts", "export"]
