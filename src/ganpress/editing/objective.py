"""What a projection minimises, of many photos at once: one row of numbers for each.

A row is a latent code and the noise maps of every layer, one behind the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ganpress.editing.settings import ProjectSettings
from ganpress.losses.lpips import PictureDistance
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import reads
from ganpress.models.spaces import Space, row_shape, synthesise

SMALLEST_MAP = 8
"""Side of the coarsest map whose autocorrelation is looked at, pixels."""


def noise_autocorrelation(maps: Sequence[Tensor]) -> Tensor:
    """Squared correlation of neighbouring pixels, summed over maps, scales and two directions: 0
    for white noise (Karras et al., CVPR 2020, appendix D, "noise regularization").

    Each map is correlated with itself one pixel to the right and one down (around its edges), then
    averaged over 2 x 2 pixels, until its side is at most 8 pixels.

    Args: maps: (n, 1, h, w) each, of mean 0 and variance 1.
    Returns: (n,), >= 0.

    As in the released projector, to which the weight of 1e5 belongs. The paper's text doubles what
    was averaged, so that white noise keeps its variance: coarse scales then weigh 16 times as much
    with each halving.
    """
    total = maps[0].new_zeros(len(maps[0]))
    for x in maps:
        while True:
            for dim in (2, 3):
                total = total + (x * x.roll(1, dim)).mean((1, 2, 3)).square()
            if x.shape[2] <= SMALLEST_MAP:
                break
            x = F.avg_pool2d(x, 2)
    return total


def normalised(x: Tensor) -> Tensor:
    """Maps of mean 0 and variance 1 each: (n, 1, h, w)."""
    centred = x - x.mean((2, 3), keepdim=True)
    return centred * centred.square().mean((2, 3), keepdim=True).add(1e-12).rsqrt()


class Objective:
    """pixel * MSE + perceptual * d + noise * autocorrelation, for each photo by itself.

    Args:
        photos: (n, c, h, w) in [-1, 1], of the network's size, on its device.
        start: row_shape, where the code of every photo starts.
    """

    def __init__(
        self,
        model: Model,
        photos: Tensor,
        distance: PictureDistance,
        settings: ProjectSettings,
        *,
        start: Tensor,
    ) -> None:
        self.net: Any = model.net
        self.photos, self.distance, self.settings = photos, distance, settings
        self.space: Space = settings.space
        self.start = start
        self.shape = row_shape(self.net, self.space)
        self.sides: tuple[int, ...] = tuple(getattr(self.net, "sides", ()))
        self.classes = self._classes(reads(model))
        with torch.no_grad():
            self.seen = distance.maps(photos)

    def _classes(self, names: Sequence[str]) -> tuple[Tensor, ...]:
        if "y" not in names:
            return ()
        label = torch.full((len(self.photos),), int(self.settings.label or 0))
        one = F.one_hot(label, int(self.net.classes)).float()
        return (one.to(self.photos.device),)

    def first_rows(self, draws: Sequence[torch.Generator]) -> Tensor:
        """(n, numbers): the start, and white noise drawn by each photo's own generator."""
        rows = []
        for draw in draws:
            maps = [torch.randn(side * side, generator=draw) for side in self.sides]
            rows.append(torch.cat([self.start.flatten().cpu(), *maps]))
        return torch.stack(rows).to(self.photos.device)

    def codes(self, rows: Tensor) -> Tensor:
        """The latent codes of rows, (n, *row_shape)."""
        codes: Tensor = rows[:, : prod(self.shape)].unflatten(1, self.shape)
        return codes

    def rest(self, rows: Tensor) -> tuple[Tensor, ...]:
        """What the network reads beside the code: noise maps as they are used, or the class."""
        if not self.sides:
            return self.classes
        flat = rows[:, prod(self.shape) :].split([side * side for side in self.sides], dim=1)
        maps = zip(flat, self.sides, strict=True)
        return tuple(normalised(x.unflatten(1, (1, side, side))) for x, side in maps)

    def pictures(self, rows: Tensor) -> Tensor:
        """What the network makes of rows, (n, c, h, w)."""
        return synthesise(self.net, self.space, self.codes(rows), *self.rest(rows))

    def losses(self, rows: Tensor, *, jitter: Tensor | None = None) -> Tensor:
        """(n,), each of its own row.

        Args: jitter: added to the codes for this evaluation, (n, *row_shape).
        """
        s, codes, rest = self.settings, self.codes(rows), self.rest(rows)
        if jitter is not None:
            codes = codes + jitter
        made = synthesise(self.net, self.space, codes, *rest)
        total = s.pixel * (made - self.photos).square().mean((1, 2, 3))
        if s.perceptual:
            seen = self.distance.maps(made)
            total = total + s.perceptual * self.distance.between(seen, self.seen)
        if s.noise and self.sides:
            total = total + s.noise * noise_autocorrelation(rest)
        return total
