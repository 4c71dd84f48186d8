"""Frames as one animated file, written by Pillow."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from PIL import Image
from torch import Tensor

from ganpress.errors import ConfigError
from ganpress.run.files import replace_file
from ganpress.run.grid import grid

FORMATS = {".gif": "GIF", ".webp": "WEBP"}
_LEAST_MS = {"GIF": 20, "WEBP": 1}  # a GIF's shorter frames are played slowly by browsers
_MOST_MS = {"GIF": 655_350, "WEBP": 16_777_215}
_STEP_MS = {"GIF": 10, "WEBP": 1}  # what a frame's duration is counted in


def check_animation(path: Path, count: int, seconds: float) -> tuple[str, list[int]]:
    """The format, and the duration of each frame in ms: ``seconds`` in all, the frames as alike as
    the format has them. Raises: ConfigError, as `write_animation`."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(f"{path} is no animation: end its name with {' or '.join(FORMATS)}.")
    each_ms, least, most = 1000 * seconds / count, _LEAST_MS[kind], _MOST_MS[kind]
    if each_ms < least:
        raise ConfigError(
            f"{count} frames in {seconds:g} seconds are {each_ms:.3g} ms each: a {kind} shows at "
            f"least {least} ms. Give more seconds, or at most {int(1000 * seconds / least)} frames."
        )
    if each_ms > most:
        raise ConfigError(
            f"{count} frames in {seconds:g} seconds are {each_ms / 1e3:.3g} s each: a {kind} shows "
            f"at most {most / 1e3:g} s. Give fewer seconds, or more frames."
        )
    ends = [_STEP_MS[kind] * round(each_ms * k / _STEP_MS[kind]) for k in range(count + 1)]
    return kind, [end - start for start, end in pairwise(ends)]


def write_animation(frames: Tensor, path: Path, *, seconds: float) -> Path:
    """Write an endless animation; the file appears whole or not at all.

    Args:
        frames: (networks, frames, c, h, w) in [-1, 1]: the networks one below the other.
        path: ends in .gif (256 colours a frame) or .webp (lossless).
        seconds: of one round.
    Raises: ConfigError for another ending, or frames too short or too long for the format;
        DiskFull.
    """
    count = frames.shape[1]
    kind, durations = check_animation(path, count, seconds)
    first, *others = (Image.fromarray(grid(frames[:, i], columns=1)) for i in range(count))
    extra = {"lossless": True} if kind == "WEBP" else {"optimize": False}
    replace_file(
        path,
        lambda file: first.save(
            file, kind, save_all=True, append_images=others, duration=durations, loop=0, **extra
        ),
    )
    return path
