"""Folders of pictures of 1 to 4 channels: grey, grey with alpha, RGB, RGB with alpha."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

PAIRS = ((1, 1), (1, 3), (3, 1), (4, 4), (3, 4))
"""Channels that generators read and make in the tests."""


def picture(channels: int, seed: int, size: int = 40) -> Image.Image:
    """Random cells of 8 pixels; alpha from clear to opaque."""
    cells = np.random.default_rng(seed).integers(0, 256, (size // 8, size // 8, channels))
    pixels = cells.astype(np.uint8).repeat(8, 0).repeat(8, 1)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)


def write_pictures(folder: Path, channels: int, count: int = 4, size: int = 40) -> Path:
    """PNG files 0.png, 1.png, ... of so many channels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture(channels, number, size).save(folder / f"{number}.png")
    return folder
