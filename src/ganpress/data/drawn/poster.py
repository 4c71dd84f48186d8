"""The cartoon poster of a picture: what a demo teacher learns to paint."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ganpress.errors import ConfigError

Picture = NDArray[np.uint8]
Field = NDArray[np.floating[Any]]


def stylise(picture: Picture) -> Picture:
    """The same scene as a cartoon poster: flat warm colours in a few tones, dark outlines.

    Args:
        picture: (h, w, 3) uint8 RGB, any size.
    Returns: (h, w, 3) uint8 RGB; a fixed, local function of the picture (no randomness).
    Raises: ConfigError for another shape or type.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ConfigError(
            f"stylise needs an (h, w, 3) uint8 picture, not {picture.dtype} {picture.shape}. "
            "Convert it with Image.convert('RGB') and numpy.asarray."
        )
    step = max(1, round(min(picture.shape[:2]) / 96))
    calm = Image.fromarray(picture).filter(ImageFilter.MedianFilter(3))
    planes = np.asarray(calm, np.float32).transpose(2, 0, 1) / np.float32(255)
    for spread, reach in ((0.11, 2), (0.09, 1), (0.07, 1)):
        planes = _bilateral(planes, step, spread, reach)
    flat = planes.transpose(1, 2, 0)
    luma = flat @ np.array((0.3, 0.59, 0.11), np.float32)
    ink = _outlines(luma, step)
    tone = luma * 5.0
    edge = np.clip((tone - np.floor(tone) - 0.5) * 5, -0.5, 0.5)  # steep, but continuous steps
    poster = (np.floor(tone) + 0.5 + edge) / 5.0
    colour = flat * ((poster + 0.05) / (luma + 0.05))[..., None]
    colour = poster[..., None] + 1.45 * (colour - poster[..., None])
    warm = np.array((1.08, 1.0, 0.84), np.float32) * colour + np.array((0.05, 0.02, 0.02))
    line = np.array((0.13, 0.08, 0.16), np.float32)
    inked = warm + ink[..., None] * (line - warm)
    bounded: Field = np.clip(inked, 0, 1)
    return (bounded * 255 + 0.5).astype(np.uint8)


def _shifted(field: Field, dy: int, dx: int, border: int) -> Field:
    """`field` (..., h, w), padded by `border`, seen from (dy, dx)."""
    tall, wide = field.shape[-2] - 2 * border, field.shape[-1] - 2 * border
    return field[..., border + dy : border + dy + tall, border + dx : border + dx + wide]


def _bilateral(planes: Field, step: int, spread: float, reach: int) -> Field:
    """Smooth (3, h, w) in [0, 1] inside regions, not across edges; neighbours `step` apart."""
    border = reach * step
    padded = np.pad(planes, ((0, 0), (border, border), (border, border)), mode="edge")
    total = planes.copy()
    weights = np.ones(planes.shape[1:], np.float32)
    sharp = np.float32(-0.5 / spread**2)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if dy or dx:
                other = _shifted(padded, dy * step, dx * step, border)
                red, green, blue = other - planes
                gap = red * red + green * green + blue * blue
                weight = np.exp(gap * sharp - np.float32((dy * dy + dx * dx) / 6))
                total += weight * other
                weights += weight
    return total / weights


def _outlines(luma: Field, step: int) -> Field:
    """(h, w) in [0, 1]: 1 on the dark side of the strong edges of `luma`, `step` wide."""
    padded = np.pad(luma, step, mode="edge")
    lightest = luma
    for dy, dx in ((0, step), (0, -step), (step, 0), (-step, 0)):
        lightest = np.maximum(lightest, _shifted(padded, dy, dx, step))
    lines: Field = np.clip((lightest - luma) * 9 - 0.8, 0, 1)
    return lines
