"""Boxes of interest, of all pictures alike or photo by photo, from a TOML or JSON file."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ganpress.data.images import Images
from ganpress.data.masks import Box, Boxes, coverage, of_photos
from ganpress.data.pairing import stem_of
from ganpress.errors import ConfigError
from ganpress.measures.segmenter_file import read_toml, settings_from
from ganpress.run.files import text_of
from ganpress.run.settings import PixelSize, Settings
from ganpress.types.sizes import height_width

ENDINGS = (".toml", ".json")
EXAMPLE = "boxes = [[0.2, 0.1, 0.8, 0.9]] (left, top, right, bottom, of the picture's sides)"


class BoxSettings(Settings):
    """A file of boxes: left, top, right, bottom."""

    unit: Literal["fraction", "pixel"] = Field(
        default="fraction", description="fraction: of width and height; pixel: pixels"
    )
    size: PixelSize | None = Field(
        default=None, description="of the pictures that the pixels of boxes are of"
    )
    boxes: tuple[Box, ...] | None = Field(
        default=None, description="of every picture, as it is made"
    )
    photos: dict[str, tuple[Box, ...]] | None = Field(
        default=None, description="by the photo's file name; they follow its crop and flip"
    )


def read_boxes(path: Path) -> BoxSettings:
    """The boxes in a file. Raises: ConfigError, which names the file."""
    if path.suffix == ".json":
        try:
            values, text = json.loads(text_of(path)), ""
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid JSON: {error}.") from error
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
        if not isinstance(values, dict):
            raise ConfigError(f'{path} holds no boxes: write {{"boxes": [[0.2, 0.1, 0.8, 0.9]]}}.')
    else:
        values, text = read_toml(path, f"write boxes, such as {EXAMPLE}")
    found = settings_from(BoxSettings, values, str(path), text)
    if (found.boxes is None) == (found.photos is None):
        raise ConfigError(
            f"{path}: give either boxes of every picture, such as {EXAMPLE}, or the table [photos] "
            "with boxes by file name."
        )
    if found.boxes is not None and found.unit == "pixel" and found.size is None:
        raise ConfigError(
            f"{path}: of which size are the pixels of these boxes? Add size = 256, or give "
            'fractions and leave unit = "pixel" out.'
        )
    if found.size is not None and (found.photos is not None or found.unit == "fraction"):
        raise ConfigError(f"{path}: 'size' is of boxes of every picture in pixels: leave it out.")
    _check(found, path)
    return found


def _check(found: BoxSettings, path: Path) -> None:
    """Refuse boxes that are turned, empty or beyond their picture."""
    each = [("boxes", found.boxes or ()), *(found.photos or {}).items()]
    for where, boxes in each:
        for box in boxes:
            left, top, right, bottom = box
            said = f"{path}: the box {list(box)} ({where})"
            if left >= right or top >= bottom or min(left, top) < 0:
                raise ConfigError(
                    f"{said} has no area: give left, top, right, bottom, from the upper left "
                    "corner, which is 0, 0."
                )
            if found.unit == "fraction" and max(right, bottom) > 1:
                raise ConfigError(f'{said} is beyond 1: of pixels, add unit = "pixel".')
            if found.size is not None:
                height, width = height_width(found.size)
                if right > width or bottom > height:
                    raise ConfigError(f"{said} is beyond the size of {width} x {height} pixels.")


class BoxMask:
    """Boxes of every picture: (n, c, h, w) -> (n, 1, h, w) in [0, 1], soft at their edges."""

    def __init__(self, given: BoxSettings) -> None:
        of = (1, 1) if given.size is None else height_width(given.size)
        boxes = given.boxes or ()
        self._at = lru_cache(maxsize=8)(
            lambda height, width: torch.from_numpy(coverage(boxes, of, height, width)).float()
        )

    def __call__(self, pictures: Tensor) -> Tensor:
        """See the class."""
        height, width = pictures.shape[-2:]
        one = self._at(height, width).to(pictures.device)
        return one.expand(len(pictures), 1, height, width)


def with_boxes(images: Images, given: BoxSettings, path: Path) -> Images:
    """The images, each with the mask of its own boxes.

    Raises: ConfigError where a photo has none, or a box is beyond it.
    """
    pixels = given.unit == "pixel"
    boxes = {stem_of(name): Boxes(some, pixels) for name, some in (given.photos or {}).items()}
    found = of_photos(images, boxes, path)
    for name, each, (height, width) in zip(images.names, found, images.sizes, strict=True):
        for box in each.boxes if pixels else ():
            if box[2] > width or box[3] > height:
                raise ConfigError(
                    f"{path}: the box {list(box)} of '{name}' is beyond the photo, which is "
                    f"{width}x{height} pixels."
                )
    return images.with_masks(found)
