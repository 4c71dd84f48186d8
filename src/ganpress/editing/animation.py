"""Frames as one animated file, written by Pillow."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from torch import Tensor

from ganpress.errors import ConfigError
from ganpress.run.files import replace_file
from ganpress.run.grid import grid

FORMATS = {".gif": "GIF", ".webp": "WEBP"}
_LEAST_MS = {"GIF": 20, "WEBP": 1}  # a GIF's shorter frames are played slowly by browsers


def check_animation(path: Path, count: int, seconds: float) -> tuple[str, int]:
    """The format, and the duration of a frame in ms. Raises: ConfigError, as `write_animation`."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(f"{path} is no animation: end its name with {' or '.join(FORMATS)}.")
    each_ms = round(1000 * seconds / count)
    if each_ms < _LEAST_MS[kind]:
        raise ConfigError(
            f"{count} frames in {seconds:g} seconds are {each_ms} ms each: a {kind} shows at least "
            f"{_LEAST_MS[kind]} ms. Give more seconds, or at most "
            f"{int(1000 * seconds / _LEAST_MS[kind])} frames."
        )
    return kind, each_ms


def write_animation(frames: Tensor, path: Path, *, seconds: float) -> Path:
    """Write an endless animation; the file appears whole or not at all.

    Args:
        frames: (networks, frames, c, h, w) in [-1, 1]: the networks one below the other.
        path: ends in .gif (256 colours a frame) or .webp (lossless).
        seconds: of one round.
    Raises: ConfigError for another ending, or frames too short for the format; DiskFull.
    """
    count = frames.shape[1]
    kind, each_ms = check_animation(path, count, seconds)
    first, *others = (Image.fromarray(grid(frames[:, i], columns=1)) for i in range(count))
    extra = {"lossless": True} if kind == "WEBP" else {"optimize": False}
    replace_file(
        path,
        lambda file: first.save(
            file, kind, save_all=True, append_images=others, duration=each_ms, loop=0, **extra
        ),
    )
    return path
