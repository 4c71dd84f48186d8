"""How many frames an image file has; of several (an animation, pages) the first is used."""

from __future__ import annotations

import io

from PIL import Image

from ganpress.data.endings import formats_of

_MANY = ("GIF", "TIFF", "WEBP", "PNG", "AVIF", "HEIF", "DCX")
"""Formats whose frames are pictures in their own right: not a phone's previews, nor layers."""
ANIMATED = (".gif", ".webp", ".apng", ".tif", ".tiff", ".avif", ".avifs", ".heic", ".heif", ".dcx")
"""Endings of files that often have several frames."""
_LOOK_AT = (b"GIF8", b"II*\0", b"II+\0", b"MM\0*", b"MM\0+")


def frames(stored: bytes, name: str) -> int:
    """The number of frames of an encoded image; 1 also where they cannot be counted."""
    if not _may_have_many(stored, name):
        return 1
    try:
        with Image.open(io.BytesIO(stored), formats=formats_of(stored, name)) as image:
            return int(getattr(image, "n_frames", 1)) if image.format in _MANY else 1
    except Exception:  # Pillow raises nearly anything; whether the first can be used is known
        return 1


def _may_have_many(stored: bytes, name: str) -> bool:
    """By the first bytes: so that the many files with one frame are not opened a second time."""
    if stored.startswith(b"\x89PNG"):
        return b"acTL" in stored[: stored.find(b"IDAT")]
    if stored[8:16] == b"WEBPVP8X":
        return bool(stored[20] & 2)
    return stored.startswith(_LOOK_AT) or stored[4:8] == b"ftyp" or name.lower().endswith(".dcx")
