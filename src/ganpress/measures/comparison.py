"""What every comparison of made pictures with real ones needs: the pictures, and networks' rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ganpress.data import Batch, Images
from ganpress.data import evaluation as every_image
from ganpress.errors import CheckpointError
from ganpress.losses.features import Features
from ganpress.measures.image_metrics import Chosen, protocol_lines, set_distances
from ganpress.measures.looked import Look, Looked
from ganpress.measures.protocol import protocol_of
from ganpress.models.checkpoint import Model
from ganpress.types.sizes import Size

Rows = dict[str, Tensor]
"""(n, d) features of pictures, by the network."""


def eight_bit(x: Tensor) -> Tensor:
    """Pictures as a file keeps them: clamped, and one of 256 values from -1 to 1.

    Raises `CheckpointError` for values that are not finite.
    """
    if not x.isfinite().all():
        raise CheckpointError("The generator makes values that are not finite: it is spoilt.")
    return ((x + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1


@dataclass(frozen=True)
class Context:
    """What all comparisons with real pictures need."""

    model: Model
    net: Features
    chosen: Chosen
    images: Images
    other: Images | None
    size: Size
    batch: int
    device: str
    seed: int
    weights: Path | None

    def make(self, *inputs: Tensor) -> Looked:
        return Looked(eight_bit(self.model(*(each.to(self.device) for each in inputs))))

    def batches(self, images: Images) -> Iterator[Batch]:
        return every_image(images, batch=self.batch, size=self.size)

    def looked(self, pictures: Iterable[Tensor]) -> Iterator[Looked]:
        return (Looked(x.to(self.device)) for x in pictures)

    @property
    def embeddings(self) -> dict[str, Features]:
        """The networks whose rows distances of sets compare, by their weights."""
        nets = (self.net, *self.chosen.sets)
        return {f"{net.name}, {net.digest}": net for net in nets}

    @property
    def looks(self) -> dict[str, Look]:
        return {name: _row_by(net) for name, net in self.embeddings.items()}

    def identity(self, images: Images, part: object) -> object:
        """Of real pictures, in this comparison's geometry."""
        return images.identity(), self.size, self.device, part

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def set_distances(
        self, real: Rows, made: Rows, reference: str = "", of: str = ""
    ) -> dict[str, float]:
        """Frechet and kernel distance of two sets, by each network."""
        found: dict[str, float] = {}
        for name, net in self.embeddings.items():
            found |= set_distances(net, real[name], made[name], reference, of)
        return found

    def halves(self, rows: Rows) -> dict[str, float]:
        """The distances of two random halves of real pictures."""
        count = len(next(iter(rows.values())))
        middle = count // 2
        if middle < 2:
            return {}
        order = torch.randperm(count, generator=self.generator())
        a, b = (
            {n: r[part] for n, r in rows.items()}
            for part in (order[:middle], order[middle : 2 * middle])
        )
        return self.set_distances(a, b, of=f", real against real, {middle} each")

    def protocol(self, reference: str, splits: int = 0) -> dict[str, str]:
        """The lines of a comparison. Args: splits: of a score; 0 where there is none."""
        tap, name = self.net.taps[-1], self.net.name
        return {
            "reference": reference,
            **protocol_of(self.model, self.images, self.size, self.net, self.seed),
            "rounding": "made pictures to 8 bits",
            f"frechet-{name}": f"Frechet distance of normal distributions, {tap} averaged over "
            "space, at this size; smaller sets are further apart: compare equal counts. Not FID",
            f"kernel-{name}": "unbiased cubic-kernel distance of the same features. Not KID",
            **protocol_lines(self.chosen, splits),
        }


def _row_by(net: Features) -> Look:
    return lambda pictures: pictures.row(net)
