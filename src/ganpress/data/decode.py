"""One image file, of any mode, to uint8 pixels; and whether a file can be decoded at all."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ganpress.data.endings import formats_of
from ganpress.errors import ImagesError
from ganpress.sniff import dead_link, misplaced

Ids: TypeAlias = NDArray[np.uint8] | NDArray[np.int32]
"""(h, w) ids of classes or things."""

_READABLE = "JPEG, PNG, WebP, BMP, TIFF or GIF"
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_KEEP_IDS = ("PNG", "GIF", "BMP", "DIB", "TIFF")
"""Formats whose pixels are given as they are stored, unless a TIFF holds a JPEG."""
_ID_MODES = ("1", "P", "L", "I", "I;16", "I;16B", "I;16L", "I;16N")
_ORIENTATION, _BITS_PER_SAMPLE = 0x0112, 0x0102
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImagesWarning(UserWarning):
    """Images were left out because they cannot be decoded; the message names them."""


class NotIds(ValueError):
    """A whole image that cannot be a map of ids: its folder is a mistake, not a bad file."""


def read_rgb(file: Path | bytes | BinaryIO, name: str | None = None) -> NDArray[np.uint8]:
    """Decode one image to (h, w, 3) uint8 RGB, 0..255, upright by its EXIF orientation.

    Palette, grey, 1-bit and CMYK become RGB; transparency is laid over white; 16-bit grey is
    scaled to 8 bits (v * 255 / 65535, rounded). The first frame is taken of an animation.

    Args:
        file: a path, the encoded bytes, or a file open for binary reading.
        name: what to call it in an error; a path's own name by default.
    Raises ImagesError: the file is missing, not an image, truncated, too large (more than
        about 179 million pixels), or of a mode without an agreed range (float, 32-bit).
    """
    called = name or (str(file) if isinstance(file, Path) else "the image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's: corrupt EXIF, big image, odd palette
        return decode(encoded(file, called), called)


def encoded(file: Path | bytes | BinaryIO, name: str) -> bytes:
    """The bytes of an image file; ImagesError where they cannot be read."""
    if isinstance(file, bytes):
        return file
    try:
        return file.read_bytes() if isinstance(file, Path) else file.read()
    except OSError as error:
        link = dead_link(file) if isinstance(file, Path) else ""
        reason = f"it {link}" if link else error.strerror or error
        raise ImagesError(f"Cannot read {name}: {reason}.") from error


def decode(stored: bytes, name: str, channels: int = 3) -> NDArray[np.uint8]:
    """`read_rgb` of bytes that leaves Pillow's warnings alone, so that threads can call it.

    Args: channels: of the pixels, (h, w, channels): 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and
        alpha. Without alpha transparency is laid over white; what had none is opaque, 255.
    """
    try:
        with Image.open(io.BytesIO(stored), formats=formats_of(stored, name)) as image:
            turn = _UPRIGHT.get(_orientation(image))
            return converted(image if turn is None else image.transpose(turn), channels)
    except Exception as error:  # Pillow raises nearly anything on bad bytes
        raise ImagesError(f"Cannot decode {name}: {_reason(error, stored)}.") from error


def probe(stored: bytes, name: str) -> tuple[int, int]:
    """(height, width), upright, of an image that has been decoded whole to prove it can be.

    A JPEG is decoded at 1/8 scale: all of its bytes are read, at about a third of the time.
    Raises ImagesError as `read_rgb` does. Leaves Pillow's warnings alone.
    """
    try:
        with Image.open(io.BytesIO(stored), formats=formats_of(stored, name)) as image:
            width, height = image.size
            turned = _orientation(image) >= 5
            if image.format in ("JPEG", "MPO"):
                image.draft("L", (1, 1))
                image.load()
            else:
                converted(image, 3)
    except Exception as error:  # Pillow raises nearly anything on bad bytes
        raise ImagesError(f"Cannot decode {name}: {_reason(error, stored)}.") from error
    return (width, height) if turned else (height, width)


def decode_ids(stored: bytes, name: str) -> Ids:
    """(h, w) ids of a label or instance map, uint8 or int32, upright.

    Pixels are taken as they are stored: the index into a palette, or grey of 1 to 32 bits.
    Raises NotIds: colours, or a JPEG or its like, which changes ids. ImagesError as `read_rgb`.
    """
    try:
        with Image.open(io.BytesIO(stored), formats=formats_of(stored, name)) as image:
            in_tiff = image.info.get("compression") == "jpeg"
            if image.format in ("JPEG", "MPO", "JPEG2000") or in_tiff:
                kind = "JPEG 2000" if image.format == "JPEG2000" else "JPEG"
                raise NotIds(f"{name} is a {kind}, whose compression changes ids: use PNG.")
            if image.format not in _KEEP_IDS and image.mode in _ID_MODES:
                raise NotIds(f"{name} is a {image.format}, which may not keep ids: use PNG.")
            if image.mode not in _ID_MODES:
                raise NotIds(
                    f"{name} holds colours ({image.mode}), not ids. A label or instance map has "
                    "one number for each pixel: a palette or grey PNG of 8 or 16 bits."
                )
            turn = _UPRIGHT.get(_orientation(image))
            ids = np.asarray(image if turn is None else image.transpose(turn))
            grey = _bits(image, stored) if image.mode == "L" else 8
    except NotIds:
        raise
    except Exception as error:  # Pillow raises nearly anything on bad bytes
        raise ImagesError(f"Cannot decode {name}: {_reason(error, stored)}.") from error
    if grey < 8:  # Pillow spreads grey of 2 and 4 bits over 0..255
        ids = ids // (255 // (2**grey - 1))
    return ids.astype(np.int32) if ids.dtype.itemsize > 1 else ids.astype(np.uint8)


def _bits(image: Image.Image, stored: bytes) -> int:
    """Bits of a grey pixel in the file."""
    if image.format == "PNG":
        return stored[24]
    tags = getattr(image, "tag_v2", {})
    return int(tags.get(_BITS_PER_SAMPLE, (8,))[0])


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a corrupt EXIF block does not matter for the pixels
        return 1
    return value if isinstance(value, int) else 1


def converted(image: Image.Image, channels: int) -> NDArray[np.uint8]:
    """(h, w, channels) uint8 of an image in any of Pillow's modes; channels as in `decode`.

    Colours become grey by BT.601's luma.
    """
    if image.mode.startswith("I"):
        image = Image.fromarray(_from_16_bits(np.asarray(image)))
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode in _ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        if channels in (1, 3):
            white = Image.new("RGBA", image.size, (255, 255, 255, 255))
            image = Image.alpha_composite(white, image).convert("RGB")
    elif image.mode not in ("RGB", "L"):
        image = image.convert("RGB")
    mode = _MODES[channels]
    pixels = np.array(image if image.mode == mode else image.convert(mode))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _from_16_bits(grey: NDArray[np.integer]) -> NDArray[np.uint8]:
    wide = grey.astype(np.int64)
    if wide.size and (wide.min() < 0 or wide.max() > 65535):
        raise ValueError("32-bit pixels beyond 0..65535; save it with 8 or 16 bits")
    return ((wide * 255 + 32767) // 65535).astype(np.uint8)


def _reason(error: Exception, stored: bytes) -> str:
    if isinstance(error, UnidentifiedImageError):
        other = misplaced(stored, "picture")
        return f"it {other}" if other else f"not a {_READABLE} image"
    if isinstance(error, Image.DecompressionBombError):
        return "more than 179 million pixels; make it smaller"
    return str(error).rstrip(".") or type(error).__name__
