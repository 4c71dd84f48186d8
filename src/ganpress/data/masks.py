"""Masks that belong to photos, by their names: drawn from boxes, or read from files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganpress.data.images import Images
from ganpress.data.pairing import listed, stem_of
from ganpress.data.sources import Source, pixels_of, sources_at
from ganpress.errors import ConfigError, ImagesError, did_you_mean

Box: TypeAlias = tuple[float, float, float, float]
"""left, top, right, bottom."""
T = TypeVar("T")

_DARK = 128
"""A folder whose brightest pixel is below this, but above 1, is none of masks."""


@dataclass(frozen=True)
class Boxes:
    """Boxes in a photo, as fractions of its width and height, or in pixels of it."""

    boxes: tuple[Box, ...]
    in_pixels: bool = False

    def __call__(self, height: int, width: int) -> NDArray[np.uint8]:
        """(h, w, 1) 0..255: how much of each pixel a box covers."""
        of = (height, width) if self.in_pixels else (1, 1)
        covered = coverage(self.boxes, of, height, width)
        return np.round(255 * covered).astype(np.uint8)[:, :, None]


@dataclass(frozen=True)
class MaskFile:
    """A picture whose bright parts are of interest; ``white`` is its brightest value, 1 or 255."""

    source: Source
    white: int

    def __call__(self, height: int, width: int) -> NDArray[np.uint8]:
        """(h, w, 1) 0..255, resized to the photo's size.

        Raises: ImagesError where its proportions are not the photo's.
        """
        grey = brightness(self.source)
        if self.white == 1:
            grey = grey * np.uint8(255)
        tall, wide = grey.shape
        if (tall, wide) == (height, width):
            return grey[:, :, None]
        if abs(wide * height / tall - width) > max(1.0, height / tall):
            raise ImagesError(
                f"The mask {self.source.where} is {wide}x{tall} and its photo {width}x{height}: "
                "resize the mask to the photo's proportions."
            )
        resized = Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(resized)[:, :, None]


def coverage(
    boxes: Sequence[Box], of: tuple[float, float], height: int, width: int
) -> NDArray[np.float64]:
    """(h, w) in [0, 1]: the fraction of each pixel that the box which covers most of it covers.

    Args: of: height and width of a picture in the unit of the boxes, (1, 1) for fractions.
    """
    found = np.zeros((height, width))
    y, x = height / of[0], width / of[1]
    for left, top, right, bottom in boxes:
        rows = _covered(top * y, bottom * y, height)
        found = np.maximum(found, rows[:, None] * _covered(left * x, right * x, width))
    return found


def _covered(low: float, high: float, count: int) -> NDArray[np.float64]:
    """(count,): how much of each pixel of an axis lies between two places on it."""
    at = np.arange(count)
    return np.asarray(np.clip(np.minimum(high, at + 1) - np.maximum(low, at), 0, 1))


def brightness(source: Source) -> NDArray[np.uint8]:
    """(h, w) 0..255 of a picture; what is clear is black, not white as on paper."""
    grey, alpha = np.moveaxis(pixels_of(source, 2).astype(np.uint16), 2, 0)
    return np.asarray((grey * alpha + 127) // 255, np.uint8)


def mask_files(folder: Path) -> dict[str, MaskFile]:
    """The mask files of a folder (or an archive, or a pack), by name without ending.

    A folder in which no pixel is brighter than 1 has masks of 0 and 1, else white is 255.
    Raises: ImagesError where a file cannot be read, or none is brighter than grey.
    """
    sources = sources_at(folder).sources
    most = max((int(brightness(source).max()) for source in sources.values()), default=0)
    if 1 < most < _DARK:
        raise ImagesError(
            f"The brightest pixel of the masks in {folder} is {most} of 255, so these are no masks "
            "(label maps, perhaps): what is of interest is to be white, all else black."
        )
    white = 1 if most == 1 else 255
    found: dict[str, MaskFile] = {}
    for name, source in sources.items():
        if (stem := stem_of(name)) in found:
            raise ImagesError(
                f"Two masks in {folder} are called '{stem}' (the ending does not count): rename or "
                "remove one."
            )
        found[stem] = MaskFile(source, white)
    return found


def of_photos(images: Images, known: Mapping[str, T], where: Path) -> list[T]:
    """What belongs to each photo: by its name with folders, or else by its file name, both without
    the ending.

    Raises: ConfigError where a photo has none, or its file name fits several.
    """
    bare: dict[str, list[str]] = {}
    for name in known:
        bare.setdefault(PurePosixPath(name).name, []).append(name)
    found, lonely = [], []
    for name in images.names:
        stem = stem_of(name)
        fits = [stem] if stem in known else bare.get(PurePosixPath(stem).name, [])
        if len(fits) > 1:
            raise ConfigError(
                f"The photo '{name}' fits {listed(fits)} in {where}: name them as the photos, with "
                "their folders."
            )
        if fits:
            found.append(known[fits[0]])
        else:
            lonely.append(name)
    if lonely:
        near = did_you_mean(PurePosixPath(stem_of(lonely[0])).name, bare)
        raise ConfigError(
            f"{where} has no mask for {len(lonely)} of {len(images)} photos: {listed(lonely)}"
            f"{near}. Add one of the photo's name for each (all white where everything matters)."
        )
    return found


def with_mask_files(images: Images, folder: Path) -> Images:
    """The images, each with its mask of the folder. Raises: ConfigError, ImagesError."""
    masks = of_photos(images, mask_files(folder), folder)
    for mask, size in zip(masks, images.sizes, strict=True):
        mask(*size)  # other proportions are refused before any work
    return images.with_masks(masks)
