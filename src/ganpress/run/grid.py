"""Network images as one picture for people: the door from [-1, 1] floats to bytes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganpress.types.pictures import CHANNELS, as_widest


def grid(tensor: Tensor, *, columns: int | None = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Images side by side in one picture, with white gaps of 2 pixels.

    Args:
        tensor: (n, 1 to 4, h, w), [-1, 1]; values outside are clamped, NaN is grey.
        columns: images in a row; the default makes the grid about square.
    Returns: (rows*(h+2)-2, columns*(w+2)-2, c) uint8, [0, 255], without the last dim for grey: what
        `PIL.Image.fromarray` makes a picture of, grey, with alpha, RGB, RGB with alpha.
    Raises: TypeError for another shape.
    """
    if tensor.ndim != 4 or tensor.shape[0] < 1 or tensor.shape[1] not in CHANNELS:
        raise TypeError(f"images takes (n, 1 to 4, h, w), not {tuple(tensor.shape)}.")
    n, c, h, w = tensor.shape
    columns = min(n, columns or math.ceil(math.sqrt(n)))
    x = ((tensor.detach().float().cpu().nan_to_num(0.0) + 1.0) * 127.5).round().clamp(0, 255)
    pixels = x.to(torch.uint8).permute(0, 2, 3, 1).numpy()
    rows = math.ceil(n / columns)
    canvas = np.full((rows * (h + 2) - 2, columns * (w + 2) - 2, c), 255, dtype=np.uint8)
    for index, image in enumerate(pixels):
        top, left = index // columns * (h + 2), index % columns * (w + 2)
        canvas[top : top + h, left : left + w] = image
    return canvas[:, :, 0] if c == 1 else canvas


def first_rows(*pictures: Tensor, count: int = 4) -> Tensor:
    """The first `count` of each batch of pictures, one kind after the other: a grid's rows. Kinds
    of different channels are shown in the fewest that hold all of them."""
    return torch.cat(as_widest(*(p[:count].detach() for p in pictures)))
