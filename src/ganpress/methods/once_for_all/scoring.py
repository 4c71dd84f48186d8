"""How good the sub-generator of a width set is, on inputs that were held out of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.channels.recalibrate import batch_norms, recalibrate
from ganpress.channels.take import Elastic
from ganpress.errors import ConfigError, did_you_mean
from ganpress.losses.distance import Distance
from ganpress.losses.features import Features
from ganpress.measures.metrics import frechet_distance
from ganpress.nn.modes import in_eval
from ganpress.types import Inputs, Widths

QUALITIES = ("distance", "l1", "truth", "frechet", "miou", "accuracy")
KEPT_BYTES = 2**30
"""Of the feature maps of what candidates are compared with, at most."""
LARGER_IS_BETTER = ("miou", "accuracy")


@dataclass(frozen=True)
class Held:
    """A batch that was held out: what is read, the teacher's pictures, the truth, if any, and where
    they are compared (None: everywhere)."""

    inputs: Inputs
    teacher: Tensor
    truth: Tensor | None
    mask: Tensor | None = None

    def shown(self, picture: Tensor) -> Tensor:
        """A picture where it matters."""
        return picture if self.mask is None else picture * self.mask


@dataclass
class Scorer:
    """Widths -> figures of the sub-generator, by name; see `OnceForAllSearch.quality`.

    Teacher's pictures and real ones are looked at once. BatchNorm's statistics are read anew for
    each width set; nothing else of the network changes.

    Attributes:
        held: held-out batches, on the device.
        calibration: what BatchNorm's statistics are read from, batch by batch.
        reals: real pictures of the target domain that ``frechet`` compares with, (n, c, h, w) each.
        quality: what is searched by: "distance" and "truth" are computed where they are that.
        segment: pictures of the held-out inputs -> "miou" and "accuracy"; None: not computed.
    """

    net: nn.Module
    held: Sequence[Held]
    distance: Distance
    calibration: Iterable[Inputs] = ()
    reals: Sequence[Tensor] = ()
    segment: Callable[[Sequence[Tensor]], Mapping[str, float]] | None = None
    features: Features | None = None
    quality: str = "distance"
    _seen: list[dict[str, Tensor]] | None = field(default=None, init=False)
    _real_rows: Tensor | None = field(default=None, init=False)

    @torch.no_grad()
    def __call__(self, widths: Widths) -> dict[str, float]:
        """The figures at these widths; groups that are not named stay whole."""
        net = At(self.net, widths)
        if batch_norms(self.net):
            recalibrate(net, self.calibration)
        with in_eval(net):
            made = [net(*batch.inputs).float() for batch in self.held]
        pairs = zip(made, self.held, strict=True)
        found = {"l1": _mean([F.l1_loss(b.shown(x), b.shown(b.teacher)) for x, b in pairs], made)}
        if self.quality in ("distance", "truth"):
            found[self.quality] = self._distance(made)
        if self.features is not None and self.reals:
            found["frechet"] = self._frechet(made)
        if self.segment is not None:
            found |= self.segment(made)
        return found

    def _distance(self, made: Sequence[Tensor]) -> float:
        """To the teacher's pictures, or to the truth; their maps are kept, if they are not many."""
        known = [b.teacher if self.quality == "distance" else b.truth for b in self.held]
        wanted = [b.shown(x) for b, x in zip(self.held, known, strict=True) if x is not None]
        made = [b.shown(x) for b, x in zip(self.held, made, strict=True)]
        if self._seen is None:
            first = self.distance.seen(wanted[0])
            bytes_of_one = sum(m.numel() * m.element_size() for m in first.values())
            fits = bytes_of_one * len(wanted) <= KEPT_BYTES
            self._seen = [first, *map(self.distance.seen, wanted[1:])] if fits else []
        none: list[dict[str, Tensor] | None] = [None] * len(wanted)
        maps = self._seen or none
        triples = zip(made, wanted, maps, strict=True)
        return _mean([self.distance(a, b, maps=m) for a, b, m in triples], made)

    def _frechet(self, made: Sequence[Tensor]) -> float:
        assert self.features is not None
        if self._real_rows is None:
            self._real_rows = torch.cat([self.features.embed(x) for x in self.reals])
        rows = torch.cat([self.features.embed(x) for x in made])
        return float(frechet_distance(self._real_rows, rows))


def _mean(values: Sequence[Tensor], made: Sequence[Tensor]) -> float:
    """The mean over pictures of what is a mean over each batch; batches may differ in length."""
    sums = [float(value) * len(batch) for value, batch in zip(values, made, strict=True)]
    return sum(sums) / sum(map(len, made))


class At(nn.Module):
    """A supernet at one width set, called as the sub-generator would be."""

    def __init__(self, net: nn.Module, widths: Widths) -> None:
        super().__init__()
        self.elastic, self.widths = Elastic(net), dict(widths)

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the sub-generator makes."""
        out: Tensor = self.elastic(self.widths, *inputs)
        return out


def check_quality(name: str, possible: Mapping[str, str]) -> None:
    """Refuse a quality that there is not, or that cannot be measured here: ConfigError.

    Args: possible: of those that cannot, why, by name; "" for the others.
    """
    if name not in QUALITIES:
        raise ConfigError(
            f"There is no search.quality '{name}'{did_you_mean(name, QUALITIES)}. Choose from: "
            f"{', '.join(QUALITIES)}."
        )
    if why := possible.get(name):
        usable = ", ".join(q for q in QUALITIES if not possible.get(q))
        raise ConfigError(f"search.quality={name} {why}. What can be measured here: {usable}.")
