"""Scores from the maps that a channel's readers are given, as they differ between samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ganpress.methods.content_aware.scores.drawn import Drawn
from ganpress.methods.content_aware.scores.gradients import evaluating, read_maps, zeros
from ganpress.methods.content_aware.scores.readers import entrance, readers
from ganpress.models.inputs import reads
from ganpress.types import Inputs, Scores

Over = Literal["nothing", "l1", "l2"]
"""What the deviation of a map is divided by: nothing, its mean magnitude, or its L2 norm."""

SMALL = 1e-12


@dataclass
class Moments:
    """Of each number of a channel's map over the samples so far, each (width, pixels): the mean,
    and the sum of squared deviations from it; and per channel, (width,), sums of |x| and x^2.

    Batches are merged by Chan's formula, so that memory does not grow with the samples and small
    deviations of large numbers keep their digits.
    """

    count: int
    mean: Tensor
    spread: Tensor
    magnitude: Tensor
    power: Tensor

    def take_in(self, maps: Tensor) -> None:
        """A batch more, (n, width, pixels)."""
        n = len(maps)
        spread, mean = torch.var_mean(maps, 0, correction=0)
        apart, both = mean - self.mean, self.count + n
        self.spread += spread * n + apart.square() * (self.count * n / both)
        self.mean += apart * (n / both)
        self.magnitude += maps.abs().sum((0, 2))
        self.power += maps.square().sum((0, 2))
        self.count = both


def asv(net: nn.Module, drawn: Drawn, *, over: Over = "nothing") -> Scores:
    """Activation standard deviation: of each pixel of a channel's map over the samples (population
    form), as a mean over pixels; divided by the mean of |map|, or by its L2 norm over samples and
    pixels, where ``over`` says so. Of several readers the mean.

    StyleGAN2's noise maps are 0: what they add is no feature of the sample.
    Returns: group -> (width,); 0 for a channel whose maps are 0.
    """
    out = {
        group: torch.stack([_deviation(m, over) for m in found]).mean(0)
        for group, found in _moments(net, drawn).items()
    }
    return {**zeros(net), **out}


def l1_map(net: nn.Module, drawn: Drawn) -> Scores:
    """Mean of |map| over samples and pixels, noise maps being 0; of several readers the mean.

    Returns: group -> (width,).
    """
    out = {
        group: torch.stack([_mean_size(m) for m in found]).mean(0)
        for group, found in _moments(net, drawn).items()
    }
    return {**zeros(net), **out}


def _deviation(m: Moments, over: Over) -> Tensor:
    deviation = (m.spread / m.count).sqrt().mean(1)
    if over == "nothing":
        return deviation
    size = _mean_size(m) if over == "l1" else m.power.sqrt()
    return torch.where(size > SMALL, deviation / size.clamp_min(SMALL), 0.0)


def _mean_size(m: Moments) -> Tensor:
    return m.magnitude / (m.count * m.mean.shape[1])


def _moments(net: nn.Module, drawn: Drawn) -> dict[str, list[Moments]]:
    """Of each group, those of its map as each of its readers is given it."""
    read, found = readers(net), dict[tuple[str, int], Moments]()
    with evaluating(net), torch.no_grad(), read_maps(net, read) as maps:
        for inputs in drawn.batches():
            maps.clear()
            net(*_without_noise(net, inputs))
            for group, shares in read.items():
                for k, share in enumerate(shares):
                    if (path := entrance(net, share)) in maps:
                        own = share.maps(maps[path])
                        if (group, k) not in found:
                            found[group, k] = _none_yet(own)
                        found[group, k].take_in(own)
    return {
        group: ran
        for group, shares in read.items()
        if (ran := [found[group, k] for k in range(len(shares)) if (group, k) in found])
    }


def _none_yet(maps: Tensor) -> Moments:
    flat, each = torch.zeros_like(maps[0]), torch.zeros_like(maps[0, :, 0])
    return Moments(0, flat, flat.clone(), each, each.clone())


def _without_noise(net: nn.Module, inputs: Inputs) -> Inputs:
    return tuple(
        torch.zeros_like(t) if name.startswith("noise_") else t
        for name, t in zip(reads(net), inputs, strict=False)
    )
