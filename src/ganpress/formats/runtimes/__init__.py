"""Run files that were exported, ours and other people's: the one place that opens them.

Nothing here needs torch, so that a process that runs a file alone is as small as the runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ganpress.errors import CheckpointError, ConfigError, did_you_mean, no_file
from ganpress.formats.runtimes.base import Arrays, Hint, NodeTime, Opened, Port, Source
from ganpress.formats.runtimes.onnxruntime import open_with_onnxruntime
from ganpress.formats.runtimes.openvino import open_with_openvino

RUNTIMES: dict[str, Callable[..., Opened]] = {
    "onnxruntime": open_with_onnxruntime,
    "openvino": open_with_openvino,
}
ENDINGS = {".onnx": ("onnxruntime", "openvino"), ".xml": ("openvino",)}
"""Which runtimes take a file of this ending; the first is the usual one."""
HINTS: dict[str, Hint] = {
    "fp32": "f32",
    "f32": "f32",
    "bf16": "bf16",
    "fp16": "f16",
    "f16": "f16",
    "int8": "f32",
}
"""Names of a precision -> what float arithmetic is done in; beside int8 the rest is float32."""


def open_file(
    source: Path | str | bytes,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
    profile: bool = False,
    weights: bytes | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Opened:
    """Open an ONNX file or an OpenVINO network to run it on the CPU.

    Args:
        source: the file, or the bytes of one.
        runtime: a key of `RUNTIMES`; None: OpenVINO for a .xml, or for bytes that have
            ``weights``, else onnxruntime.
        threads: to compute with; None: as many as torch.
        precision: what float arithmetic is done in, a key of `HINTS`; None: float32. onnxruntime
            has no choice: it computes in what the file says.
        profile: measure each node (`Opened.profile`); that costs time of its own.
        weights: of an OpenVINO network that is given as bytes: its .bin.
        settings: of the runtime, by its own names.

    Raises:
        ConfigError: an unknown runtime or precision, or one that the file or runtime cannot have.
        MissingExtra: the runtime is not installed.
        CheckpointError: the file is not there or cannot be loaded; the runtime's own error is its
            ``__cause__``.
    """
    given = Source(source if isinstance(source, bytes) else Path(source), weights)
    name = runtime or _usual(given)
    _check(given, name, precision)
    if threads is None:
        import torch

        threads = torch.get_num_threads()
    hint = None if precision is None else HINTS[precision]
    return RUNTIMES[name](
        given, threads=threads, hint=hint, profile=profile, settings=settings or {}
    )


def is_exported(path: Path) -> bool:
    """Whether a file's ending says that it is one that these runtimes run."""
    return path.suffix.lower() in ENDINGS


def _usual(given: Source) -> str:
    if isinstance(given.file, bytes):
        return "onnxruntime" if given.weights is None else "openvino"
    return ENDINGS.get(given.file.suffix.lower(), ("onnxruntime",))[0]


def _check(given: Source, runtime: str, precision: str | None) -> None:
    if runtime not in RUNTIMES:
        raise ConfigError(
            f"There is no runtime '{runtime}'{did_you_mean(runtime, RUNTIMES)}: choose "
            f"{' or '.join(RUNTIMES)}."
        )
    if precision is not None and precision not in HINTS:
        raise ConfigError(
            f"There is no precision '{precision}'{did_you_mean(precision, HINTS)}: choose one of "
            f"{', '.join(HINTS)}."
        )
    file = given.file
    if isinstance(file, bytes):
        return
    if file.suffix.lower() == ".bin" and file.with_suffix(".xml").is_file():
        raise CheckpointError(f"{file} holds weights alone: give {file.with_suffix('.xml')}.")
    if not file.is_file():
        raise no_file(file, "exported", ("*.onnx", "*.xml"))
    able = ENDINGS.get(file.suffix.lower())
    if able is not None and runtime not in able:
        raise ConfigError(f"{file} is run by {' or '.join(able)}, not by {runtime}.")


__all__ = [
    "ENDINGS",
    "HINTS",
    "RUNTIMES",
    "Arrays",
    "NodeTime",
    "Opened",
    "Port",
    "is_exported",
    "open_file",
]
