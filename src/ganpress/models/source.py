"""Where a generator's inputs come from: photos, label maps or noise. Made once for a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ganpress.data import Batch, Images, evaluation, stream
from ganpress.errors import ConfigError
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import from_noise, inputs_of
from ganpress.run import distributed
from ganpress.types import Inputs
from ganpress.types.sizes import Size


@dataclass(frozen=True)
class Crops:
    """How a stream of training crops is drawn; see `data.stream` for each of these."""

    size: Size
    batch: int
    seed: int = 0
    load_size: Size | None = None
    flip: bool = True
    cached_crops: int = 0
    workers: int = 1


class HeldOut(NamedTuple):
    """Inputs that are never trained on, and their images' masks, if those have any."""

    inputs: Inputs
    masks: Tensor | None


@dataclass(frozen=True)
class Sampled:
    """Inputs of a generator in parts, the same whenever they are gone through; each part is made
    when it is wanted, as one-hot label maps are many times as large as what they are made of."""

    model: Model
    batch: Batch
    parts: int
    device: str

    def __iter__(self) -> Iterator[Inputs]:
        draw = torch.Generator().manual_seed(0)
        each, more = divmod(len(self.batch.x), self.parts)
        ends = [k * each + min(k, more) for k in range(self.parts + 1)]
        for start, end in pairwise(ends):
            yield inputs_of(self.model, self.batch.rows(start, end).to(self.device), draw)


@dataclass(frozen=True)
class Source:
    """The inputs of one generator, whatever it reads.

    Attributes:
        model: the generator that reads them; a student of it reads the same.
        images: photos, with label maps or targets where there are any; of a generator that reads
            noise the images that its discriminator takes as real, or None.
        reals: images of another domain, which become the targets ``y`` of a batch.
        device: where batches and inputs are put.
    """

    model: Model
    images: Images | None
    reals: Images | None = None
    device: str = "cpu"

    @property
    def is_noise(self) -> bool:
        """Whether the generator reads neither photos nor label maps."""
        return from_noise(self.model)

    def batches(
        self, crops: Crops, first: int, total: int, *, shared: bool = False
    ) -> Iterator[Batch]:
        """Training batches number ``first`` to ``total`` - 1, each a function of (seed, step).

        Args: shared: of each, this process's rows alone (`run.distributed`).
        """
        ranks = (distributed.rank(), distributed.world()) if shared else (0, 1)
        others = None
        if self.reals:
            others = _stream(self.reals, crops, first, total, salt=1, ranks=ranks)
        for batch in _stream(self.images, crops, first, total, salt=0, ranks=ranks):
            shown = batch if others is None else replace(batch, y=next(others).x)
            yield shown.to(self.device)

    def sample(self, count: int, size: Size, *, flip: bool = True) -> Inputs:
        """The same ``count`` inputs each time, of crops of ``size`` pixels, half of them mirrored
        if ``flip``."""
        return next(iter(self.sampled(count, size, flip=flip)))

    def sampled(self, count: int, size: Size, parts: int = 1, *, flip: bool = True) -> Sampled:
        """`sample` in so many parts, whose lengths differ by one at most."""
        if self.images is None or self.is_noise:
            batch = blank(count)
        else:
            drawn = Crops(size, count, flip=flip, workers=0)
            batch = next(_stream(self.images, drawn, 0, 1, salt=0))
        return Sampled(self.model, batch, parts, self.device)

    def split(self, count: int, size: Size, seed: int) -> tuple[Source, HeldOut]:
        """What is left to train on, and ``count`` inputs that are never trained on.

        Images are taken out of the given ones, the same for every seed, so that all seeds share
        the teacher's pictures; noise is drawn for this.
        Raises: ConfigError where nothing would be left.
        """
        rest, batch = self, blank(count)
        if self.images is not None and not self.is_noise:
            if count >= len(self.images):
                raise ConfigError(
                    f"finetune.holdout_images={count} would leave nothing of {len(self.images)} "
                    "images to train on: lower it, or set finetune.select=last."
                )
            left, shown = split_images(self.images, count)
            rest = replace(self, images=left)
            batch = next(evaluation(shown, batch=count, size=size))
        drawn = torch.Generator().manual_seed(seed)
        here = batch.to(self.device)
        return rest, HeldOut(inputs_of(self.model, here, drawn), here.masks)


def split_images(images: Images, count: int) -> tuple[Images, Images]:
    """All images but ``count``, and those, the same for every seed."""
    order = np.random.default_rng(count).permutation(len(images)).tolist()
    return images.some(sorted(order[count:])), images.some(sorted(order[:count]))


def blank(count: int) -> Batch:
    """A batch without pictures: only its length counts."""
    return Batch(torch.empty(count, 0), torch.full((count,), -1), None)


def _stream(
    images: Images | None,
    crops: Crops,
    first: int,
    total: int,
    *,
    salt: int,
    ranks: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Args: ranks: this process's number, and how many share each batch."""
    rank, world = ranks
    if images is None:
        return (blank(crops.batch // world) for _ in range(first, total))
    return stream(
        images,
        batch=crops.batch,
        size=crops.size,
        seed=crops.seed + (salt << 32),
        first=first,
        total=total,
        crops=0 if salt else crops.cached_crops,
        flip=crops.flip,
        load_size=crops.load_size,
        workers=crops.workers,
        rank=rank,
        world=world,
    )
