"""Images in: folders, pairs and packs to deterministic batches of float32 NCHW RGB in [-1, 1].

Names are loaded when first used, so that the pictures of `data.drawn` are drawn without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganpress.data.batches import Batch, evaluation, stream
    from ganpress.data.decode import ImagesWarning, read_rgb
    from ganpress.data.endings import EXTENSIONS
    from ganpress.data.images import Images, open_images

_HOME = {
    **dict.fromkeys(("Batch", "evaluation", "stream"), "batches"),
    **dict.fromkeys(("ImagesWarning", "read_rgb"), "decode"),
    "EXTENSIONS": "endings",
    **dict.fromkeys(("Images", "open_images"), "images"),
}

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


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"ganpress.data.{_HOME[name]}"), name)
    raise AttributeError(f"module 'ganpress.data' has no attribute '{name}'")
