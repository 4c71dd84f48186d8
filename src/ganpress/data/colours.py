"""Say so, once, where pictures have colours and the network that is given them has none."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from ganpress.types.pictures import CHANNELS

if TYPE_CHECKING:
    from ganpress.data.images import Images

LOOKED_AT = 64
"""Pictures of a set that are looked at, spread over it, until one has colours."""
TINT = 8
"""Of 255: what the largest and the smallest of red, green and blue may differ by in a grey pixel,
for the rounding of JPEGs."""

_said: set[tuple[str, str, int]] = set()


class ColoursLost(UserWarning):
    """Colours are turned to grey; the message names a picture that has some."""


def warn_of_lost_colours(coloured: Images, wanted: Images) -> None:
    """Warn if pictures, or their targets, have colours that ``wanted`` does not keep.

    Args: coloured: the images in RGB. wanted: the same in the channels that a network has.
    """
    for place, (kind, channels) in enumerate(zip("xy", wanted.channels, strict=True)):
        if channels > 2 or kind not in wanted.columns:
            continue
        key = (wanted.where(kind), kind, channels)
        name = None if key in _said else _first_with_colours(coloured, place)
        if name is None:
            continue
        _said.add(key)
        which = "pictures" if kind == "x" else "targets"
        warnings.warn(
            f"The {which} have colours ('{name}' does), and the network has {channels} "
            f"channel{'s' if channels > 1 else ''} for them ({CHANNELS[channels]}): they are "
            "turned to grey by their luma (BT.601).",
            ColoursLost,
            stacklevel=4,
        )


def _first_with_colours(images: Images, place: int) -> str | None:
    count = len(images)
    for index in np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(int).tolist():
        pixels = images.read(index)[place]
        if int((pixels.max(2) - pixels.min(2)).max()) > TINT:
            return str(images.names[index])
    return None
