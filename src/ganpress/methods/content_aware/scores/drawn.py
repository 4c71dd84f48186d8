"""What scores are computed on: samples of what the generator reads, where the picture matters, and
noise, all drawn sample by sample, so that they do not depend on the size of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from ganpress.errors import ConfigError
from ganpress.measures.interest.interest import Interest
from ganpress.models.inputs import inputs_of
from ganpress.models.source import Crops, Source
from ganpress.types import Inputs
from ganpress.types.sizes import Size

Noise: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Interest, (n, 1, h, w) -> the pixels that noise replaces, 0 or 1, and its values there, -1 or 1;
(n, 1, h, w) each."""

DIRECTIONS, PEPPER = 1, 2
"""Beside the seed, so that samples, directions and noise are drawn independently."""


class Sample(NamedTuple):
    """A batch of samples: what the generator reads, and the masks that came with the photos,
    (n, 1, h, w) in [0, 1], if any did."""

    inputs: Inputs
    masks: Tensor | None = None


@dataclass(frozen=True)
class Drawn:
    """The samples of a score.

    Attributes:
        batches: samples on the generator's device; each call gives the same batches.
        interest: where the pictures matter; None: everywhere.
        seed: of what is drawn beside the samples.
    """

    batches: Callable[[], Iterator[Sample]]
    interest: Interest | None = None
    seed: int = 0

    def generator(self, salt: int) -> torch.Generator:
        """A fresh generator for one use, ``salt``, of this seed."""
        return torch.Generator().manual_seed(self.seed * 1000 + salt)


def drawn_from(
    source: Source,
    *,
    samples: int = 400,
    batch: int = 10,
    size: Size = 256,
    load_size: Size | None = None,
    flip: bool = True,
    interest: Interest | None = None,
    seed: int = 0,
) -> Drawn:
    """Samples of a source: drawn noise, or crops of its photos or label maps.

    Args:
        samples: how many, in batches of ``batch``; the last one may be smaller.
        size, load_size, flip: of crops, pixels, and whether half of them are mirrored; of no
            account where the generator reads noise.
    """

    def batches() -> Iterator[Sample]:
        crops = Crops(size, batch, seed=seed, load_size=load_size, flip=flip, workers=0)
        draw = torch.Generator().manual_seed(seed)
        left = samples
        for one in source.batches(crops, 0, -(-samples // batch)):
            inputs = tuple(t[:left] for t in inputs_of(source.model, one, draw))
            yield Sample(inputs, None if one.masks is None else one.masks[:left])
            left -= batch

    return Drawn(batches, interest, seed)


def interest_in(interest: Interest | None, sample: Sample, pictures: Tensor) -> Tensor:
    """How much each pixel matters, (n, 1, h, w) on the pictures' device; ones where it is None.

    Raises: ConfigError where what the function gives is not of that shape, or not 0 to 1.
    """
    n, _, h, w = pictures.shape
    if interest is None:
        return pictures.new_ones(n, 1, h, w)
    mask = interest(sample.inputs, pictures.detach(), sample.masks).detach().to(pictures)
    if mask.shape != (n, 1, h, w):
        raise ConfigError(
            f"The mask gives {tuple(mask.shape)} for pictures of {tuple(pictures.shape)}: it must "
            f"be ({n}, 1, {h}, {w}), one number from 0 to 1 for each pixel."
        )
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise ConfigError(
            f"The mask gives numbers from {float(mask.min()):.3g} to {float(mask.max()):.3g}: "
            "they must be from 0, where nothing matters, to 1."
        )
    return mask


def salt_and_pepper(probability: float, draw: torch.Generator) -> Noise:
    """The paper's noise (section 3.2): pixels of the content are replaced, with this probability
    each, by -1 or 1, the same for all colours. Where the interest is between 0 and 1 it scales the
    probability."""

    def noise(mask: Tensor) -> tuple[Tensor, Tensor]:
        n, _, h, w = mask.shape
        both = torch.cat([torch.rand(1, 2, h, w, generator=draw) for _ in range(n)]).to(mask)
        hit = (both[:, :1] < probability * mask).to(mask)
        return hit, torch.where(both[:, 1:] < 0.5, -1.0, 1.0).to(mask)

    return noise


def noise_loss(pictures: Tensor, hit: Tensor, values: Tensor) -> Tensor:
    """How far noise is from the pictures, scalar: sum of |noisy - picture| over batch, colours and
    pixels. The noisy picture equals the picture itself where nothing is hit, and is not formed:
    its difference from a recomputed picture would be rounding of either sign.

    Args: pictures: (n, c, h, w). hit, values: (n, 1, h, w).
    """
    return (hit * (values - pictures).abs()).sum()
