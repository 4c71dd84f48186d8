"""A picture's channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha; and each as another.

Everything that was made for RGB (feature networks, metrics, edges) reads pictures through `as_rgb`.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHANNELS = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGB and alpha"}
"""The numbers of channels that a generator can read and make, in words."""
LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue give to grey (BT.601, as in Pillow's mode L)."""


def as_rgb(x: Tensor) -> Tensor:
    """Pictures (n, 1 to 4, h, w) in [-1, 1] as RGB, (n, 3, h, w); RGB is given back as it is.

    Grey is repeated. What has alpha (-1 clear, 1 opaque) is laid over white, so that neither a
    colour under clear pixels nor white on white is seen. Differentiable in colour and alpha.
    """
    if x.shape[1] == 3:
        return x
    colour = x if x.shape[1] == 1 else x[:, :-1]
    rgb = colour.expand(-1, 3, -1, -1)
    if x.shape[1] == 1:
        return rgb
    opaque = (x[:, -1:] + 1) / 2
    return rgb * opaque + (1 - opaque)


def as_grey(x: Tensor) -> Tensor:
    """Pictures (n, 1 to 4, h, w) in [-1, 1] as grey, (n, 1, h, w), alpha laid over white."""
    if x.shape[1] == 1:
        return x
    weights = x.new_tensor(LUMA).view(1, 3, 1, 1)
    return (as_rgb(x) * weights).sum(1, keepdim=True)


def as_widest(*pictures: Tensor) -> tuple[Tensor, ...]:
    """Batches of pictures in the fewest channels that hold all of them: RGB where one has colour,
    alpha where one has that; opaque where a picture had none."""
    counts = {p.shape[1] for p in pictures}
    if len(counts) == 1:
        return pictures
    colours, alpha = 3 if max(counts) > 2 else 1, bool(counts & {2, 4})
    return tuple(_widened(p, colours, alpha) for p in pictures)


def _widened(x: Tensor, colours: int, alpha: bool) -> Tensor:
    has_alpha = x.shape[1] in (2, 4)
    colour = (x[:, :-1] if has_alpha else x).expand(-1, colours, -1, -1)
    if not alpha:
        return colour
    return torch.cat([colour, x[:, -1:] if has_alpha else torch.ones_like(x[:, :1])], 1)
