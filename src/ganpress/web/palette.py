"""The few colours that drawings and label pictures are made of, found in samples of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 16
"""Colours that a drawing has at most; pictures with more are photos."""
COVERED = 0.93
"""Of the pixels, by the colours of a drawing; the rest are borders between them."""
RARE = 0.002
NEAR = 56.0
"""Distance in RGB below which two colours are one: compression and smooth borders spread them."""
NAMES = {
    "white": (255, 255, 255), "black": (0, 0, 0), "grey": (128, 128, 128), "red": (255, 0, 0),
    "green": (0, 160, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0), "cyan": (0, 255, 255),
    "magenta": (255, 0, 255), "orange": (255, 165, 0), "brown": (140, 80, 30),
    "pink": (255, 190, 200), "purple": (128, 0, 160), "light blue": (0, 128, 255),
    "dark blue": (0, 0, 128), "light green": (150, 255, 120), "dark red": (140, 0, 0),
    "turquoise": (64, 224, 190),
}  # fmt: skip


def palette_of(pictures: Sequence[NDArray[np.uint8]]) -> list[dict[str, Any]]:
    """The colours of drawings or label pictures, the most frequent (the ground) first; [] of
    photos, which have too many.

    Args: pictures: (h, w, 1 to 4) each, 0..255; alpha is left out.
    Returns: ``{"name", "colour": [r, g, b]}`` each.
    """
    if not pictures:
        return []
    pixels = np.concatenate([_rgb(picture).reshape(-1, 3) for picture in pictures])
    bins, counts = np.unique(pixels >> 3, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    kept: list[NDArray[np.float64]] = []
    covered = np.zeros(0)
    for colour, count in zip(bins[order] * 8.0 + 4, counts[order], strict=True):
        apart = [float(np.linalg.norm(colour - other)) for other in kept]
        if apart and min(apart) < NEAR:
            covered[int(np.argmin(apart))] += count
        elif len(kept) < MOST:
            kept.append(colour)
            covered = np.append(covered, count)
    fractions = covered / len(pixels)
    if _centres_covered(pixels, kept) < COVERED:
        return []
    by_weight = np.argsort(-fractions, kind="stable")
    chosen = [_snapped(pixels, kept[k]) for k in by_weight if fractions[k] >= RARE]
    return named_colours(chosen)


def _rgb(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return picture[..., :3] if picture.shape[-1] >= 3 else np.repeat(picture[..., :1], 3, -1)


def _centres_covered(pixels: NDArray[np.uint8], kept: list[NDArray[np.float64]]) -> float:
    """Fraction of the pixels that are nearly one of the colours themselves."""
    near = np.zeros(len(pixels), bool)
    for colour in kept:
        near |= np.abs(pixels - colour).max(1) < 20
    return float(near.mean())


def _snapped(pixels: NDArray[np.uint8], centre: NDArray[np.float64]) -> tuple[int, int, int]:
    """The most frequent colour near a bin's centre."""
    inside = pixels[np.abs(pixels - centre).max(1) <= 4]
    values, counts = np.unique(inside, axis=0, return_counts=True)
    r, g, b = values[int(np.argmax(counts))].tolist()
    return r, g, b


def named_colours(colours: Sequence[tuple[int, int, int]]) -> list[dict[str, Any]]:
    """Each with the nearest colour's name; a second one of a name has its number behind it."""
    found: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for colour in colours:
        name = min(NAMES, key=lambda n: float(np.linalg.norm(np.subtract(NAMES[n], colour))))
        seen[name] = seen.get(name, 0) + 1
        number = f" {seen[name]}" if seen[name] > 1 else ""
        found.append({"name": f"{name}{number}", "colour": list(colour)})
    return found
