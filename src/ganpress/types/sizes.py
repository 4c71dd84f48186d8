"""Sizes of pictures in pixels: a side for squares, (height, width) for others; "256", "256x512".

One type for the command line, the settings, the Python functions and the cards. Height comes first
everywhere, as in a tensor's shape.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from ganpress.errors import ConfigError

Size: TypeAlias = int | tuple[int, int]
"""Pixels: the side of a square, or (height, width)."""

MAX_PIXELS = 178_956_970  # of a picture that is read, too: Pillow's limit
_TEXT = re.compile(r"\s*(-?\d+)\s*(?:[x×,]\s*(-?\d+)\s*)?", re.IGNORECASE)


def as_size(value: object, what: str = "The size") -> Size:
    """A size in its one form, an int where it is square: cards and results hold it so.

    Args:
        value: an int, (height, width), or text such as "256", "256x512".
        what: its name, the beginning of an error's sentence.
    Raises: ConfigError where it is none of these, less than 1 pixel, or more than `MAX_PIXELS`.

    >>> as_size("256x512"), as_size((64, 64)), as_size(128)
    ((256, 512), 64, 128)
    """
    height, width = _sides(value, what)
    if min(height, width) < 1:
        raise ConfigError(f"{what} is {_shown(value)}: it must be at least 1 pixel.")
    if height * width > MAX_PIXELS:
        millions = MAX_PIXELS // 10**6
        raise ConfigError(
            f"{what} is {_shown(value)}: a picture has at most {millions} million pixels, as 13000."
        )
    return height if height == width else (height, width)


def _sides(value: object, what: str) -> tuple[int, int]:
    if isinstance(value, str) and (found := _TEXT.fullmatch(value)):
        return int(found[1]), int(found[2] or found[1])
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    if isinstance(value, (tuple, list)) and len(value) == 2:
        height, width = value
        if all(isinstance(side, int) and not isinstance(side, bool) for side in value):
            return height, width
    raise ConfigError(
        f"{what} is {_shown(value)}: give a side in pixels, such as 256, or height x width, such "
        "as 256x512."
    )


def _shown(value: object) -> str:
    return value if isinstance(value, str) else repr(value)


def height_width(size: Size) -> tuple[int, int]:
    """(height, width) of a size, pixels."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def shorter(size: Size) -> int:
    """The shorter side, pixels."""
    return min(height_width(size))


def words(size: Size) -> str:
    """A size as it is written: '256' for a square, '256x512' for height x width."""
    height, width = height_width(size)
    return f"{height}" if height == width else f"{height}x{width}"


def spelled(size: Size) -> str:
    """Height and width, also of a square: '256x256'."""
    return "{}x{}".format(*height_width(size))


def is_multiple(size: Size, step: int) -> bool:
    """Whether both sides are divisible by ``step``."""
    return not any(side % step for side in height_width(size))


def multiples_near(size: Size, step: int) -> list[Size]:
    """The nearest sizes of which both sides are divisible by ``step``, below and above.

    >>> multiples_near(130, 4), multiples_near((3, 9), 8)
    ([128, 132], [8, (8, 16)])
    """
    below = tuple(max(1, side // step) * step for side in height_width(size))
    above = tuple(-(-side // step) * step for side in height_width(size))
    return [as_size(below), as_size(above)]


def covers(size: Size, other: Size) -> bool:
    """Whether neither side is shorter than that of ``other``."""
    return all(a >= b for a, b in zip(height_width(size), height_width(other), strict=True))


def scaled(size: Size, of: Size, to: Size) -> Size:
    """``size`` in the proportion in which ``of`` becomes ``to``, rounded, at least ``to``.

    >>> scaled(286, 256, 128), scaled((286, 572), (256, 512), (128, 256))
    (143, (143, 286))
    """
    sides = zip(height_width(size), height_width(of), height_width(to), strict=True)
    return as_size(tuple(max(t, round(side * t / o)) for side, o, t in sides))
