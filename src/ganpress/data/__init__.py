"""Images in: folders, pairs and packs to deterministic batches of float32 NCHW RGB in [-1, 1]."""

from __future__ import annotations

from ganpress.data.batches import Batch, evaluation, stream
from ganpress.data.decode import EXTENSIONS, ImagesWarning, read_rgb
from ganpress.data.images import Images, open_images

__all__ = [
    "EXTENSIONS",
    "Batch",
    "Images",
    "ImagesWarning",
    "evaluation",
    "open_images",
    "read_rgb",
    "stream",
]
