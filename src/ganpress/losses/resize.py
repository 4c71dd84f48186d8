"""How pictures are resized before a network that metrics of sets are named by sees them.

FIDs of one generator differ by tens of points with the resize (Parmar et al., CVPR 2022), so each
way is part of a metric's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Way = Literal["tf1", "pytorch", "clean"]

_WORDS = {
    "tf1": "bilinear without antialiasing, sampled at i * in / out (TensorFlow 1's default)",
    "pytorch": "bilinear without antialiasing, half-pixel centres (pytorch-fid)",
    "clean": "bicubic, antialiased (clean-fid)",
}


@dataclass(frozen=True)
class Resize:
    """A resize to ``size`` x ``size`` pixels in float32, whatever the shape was.

    way: "tf1": the ResizeBilinear of the graph that FID and IS were published with; "pytorch": that
    of pytorch-fid, by which the papers of GAN compression measure; "clean": clean-fid's, which is
    Pillow's bicubic filter on float pictures. Values are not clamped or rounded afterwards.
    """

    size: int
    way: Way

    @property
    def words(self) -> str:
        """For the protocol's lines: '299 x 299 px, bicubic, antialiased (clean-fid)'."""
        return f"{self.size} x {self.size} px, {_WORDS[self.way]}"

    def __call__(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, size, size), float32."""
        x = x.float()
        if self.way == "tf1":
            return tf1_bilinear(x, self.size)
        shape = (self.size, self.size)
        if self.way == "pytorch":
            return F.interpolate(x, shape, mode="bilinear", align_corners=False)
        return F.interpolate(x, shape, mode="bicubic", align_corners=False, antialias=True)


def tf1_bilinear(x: Tensor, size: int) -> Tensor:
    """ResizeBilinear of TensorFlow 1 (align_corners and half_pixel_centers false).

    Output pixel i is read at i * in / out, so the picture is shifted by up to half a pixel to the
    upper left, and the last rows repeat the edge where it grows.

    Args: x: (n, c, h, w). Returns: (n, c, size, size).
    """
    rows, columns = (_tf1_weights(n, size).to(x) for n in x.shape[2:])
    return rows @ x @ columns.T


def _tf1_weights(length: int, size: int) -> Tensor:
    """(size, length): the weights by which an axis is interpolated, two in each row."""
    at = torch.arange(size, dtype=torch.float64) * (length / size)
    low = at.floor().long().clamp(max=length - 1)
    high = (low + 1).clamp(max=length - 1)
    part = at - low
    found = torch.zeros(size, length, dtype=torch.float64)
    found.scatter_add_(1, low[:, None], (1 - part)[:, None])
    found.scatter_add_(1, high[:, None], part[:, None])
    return found
