"""A generator's pictures against real ones, by protocols that the metrics' names declare.

Real pictures and trivial ones are measured the same way: yardsticks, without which a distance of
two sets says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from ganpress.data import Batch, Images
from ganpress.data import evaluation as every_image
from ganpress.errors import CheckpointError, ConfigError, WeightsError
from ganpress.losses.features import Features, load_features
from ganpress.losses.terms import unit_distance
from ganpress.measures.fidelity import (
    Evaluation,
    distance_protocol,
    pairwise_distances,
    protocol_of,
    standard_error,
)
from ganpress.measures.metrics import (
    CifarResNet,
    frechet_distance,
    inception_score,
    kernel_distance,
    load_classifier,
)
from ganpress.measures.metrics.classifier import CLASSES
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import (
    check_ids,
    drawn,
    from_noise,
    images_for,
    inputs_of,
    reads,
    reals_for,
)
from ganpress.sizes import Size, as_size, height_width

MOST = {"cpu": 5_000, "cuda": 50_000}
"""Largest default number of pictures made from noise, by the kind of device."""
SPLITS = 10


@torch.no_grad()
def judge(
    model: Model,
    images: Images,
    *,
    other: Images | None = None,
    size: Size | None = None,
    batch: int | None = None,
    count: int | None = None,
    features: str = "squeezenet",
    weights: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Evaluation:
    """A generator's pictures, rounded to 8 bits, against real ones.

    Two sets of pictures, smaller is better: ``frechet-<features>`` and ``kernel-<features>``, the
    distances of `metrics` on the last tap's features averaged over space: not FID, not KID. By
    what the generator reads, these are of
        noise: its pictures and as many real ones; for CIFAR-10 with its classes also
            ``is-resnet56``, the score under that classifier, larger is better;
        label maps, or images with targets: its pictures and the true ones; also ``l1`` and
            ``<features>-unit-distance`` of each to its true picture;
        photos, with ``other``: its translations and the images of ``other``; also
            ``<features>-unit-distance-to-photo``, how far a translation goes from its photo.

    Args:
        images: real images, images with targets, photos with label maps, or photos to translate.
        other: real images of the domain that is translated to.
        size: shorter side, then centre crop, or (height, width), pixels; default: as trained,
            or the family's own.
        batch: pictures at a time; default: 8 of 256 pixels, more of smaller ones.
        count: pictures made from noise; default: as many as images, at most `MOST`.
    Raises: ConfigError where the images do not suit what the generator reads.
    """
    way = _comparison_for(model, images, other)
    if count is not None and (count < 2 or way is not _from_noise):
        raise ConfigError("count is for pictures made from noise, and at least 2.")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', but torch sees no CUDA device: leave it out.")
    images, other = images_for(model, images), other and reals_for(model, other)
    size = model.resolve_size(size, trained_size(model))
    batch = batch or max(1, min(64, 8 * 256**2 // prod(height_width(size))))
    net = load_features(features, weights=weights).to(device)
    was = next(model.net.parameters()).device
    model.net.to(device)
    try:
        context = _Context(model, net, images, other, size, batch, device, seed, weights)
        return _from_noise(context, count) if way is _from_noise else way(context)
    finally:
        model.net.to(was)


def trained_size(model: Model) -> Size:
    """The crop that a model's card says it was trained on, else its family's size; pixels."""
    recipe = model.provenance.get("recipe")
    data = recipe.get("data") if isinstance(recipe, dict) else None
    size = data.get("size") if isinstance(data, dict) else None
    try:
        return as_size(size)
    except ConfigError:
        return model.size


def eight_bit(x: Tensor) -> Tensor:
    """Pictures as a file keeps them: clamped, and one of 256 values from -1 to 1.

    Raises `CheckpointError` for values that are not finite.
    """
    if not x.isfinite().all():
        raise CheckpointError("The generator makes values that are not finite: it is spoilt.")
    return ((x + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1


@dataclass(frozen=True)
class _Context:
    """What all comparisons with real pictures need."""

    model: Model
    net: Features
    images: Images
    other: Images | None
    size: Size
    batch: int
    device: str
    seed: int
    weights: Path | None

    def make(self, *inputs: Tensor) -> Tensor:
        return eight_bit(self.model(*(each.to(self.device) for each in inputs)))

    def batches(self, images: Images) -> Iterator[Batch]:
        return every_image(images, batch=self.batch, size=self.size)

    def pool(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, d): the last tap's features averaged over space."""
        last: Tensor = self.net(x.to(self.device))[self.net.taps[-1]]
        return last.mean((2, 3))

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def set_distances(self, real: Tensor, made: Tensor, of: str = "") -> dict[str, float]:
        """Frechet and kernel distance of two sets of features."""
        if min(len(real), len(made)) < 2:
            raise ConfigError("The distance of two sets takes at least two pictures of each.")
        return {
            f"frechet-{self.net.name}{of}": frechet_distance(real, made),
            f"kernel-{self.net.name}{of}": kernel_distance(real, made),
        }

    def halves(self, rows: Tensor) -> dict[str, float]:
        """The distances of two random halves of real pictures."""
        middle = len(rows) // 2
        if middle < 2:
            return {}
        order = torch.randperm(len(rows), generator=self.generator())
        a, b = rows[order[:middle]], rows[order[middle : 2 * middle]]
        return self.set_distances(a, b, f", real against real, {middle} each")

    def protocol(self, reference: str) -> dict[str, str]:
        tap, name = self.net.taps[-1], self.net.name
        return {
            "reference": reference,
            **protocol_of(self.model, self.images, self.size, self.net, self.seed),
            "rounding": "made pictures to 8 bits",
            f"frechet-{name}": f"Frechet distance of normal distributions, {tap} averaged over "
            "space, at this size; smaller sets are further apart: compare equal counts. Not FID",
            f"kernel-{name}": "unbiased cubic-kernel distance of the same features. Not KID",
        }


def _comparison_for(
    model: Model, images: Images, other: Images | None
) -> Callable[..., Evaluation]:
    """The comparison that fits what the generator reads and which images are given."""
    name, maps = model.family.name, "semantics" in reads(model)
    if from_noise(model):
        if other is not None or images.paired or images.has_labels:
            raise ConfigError(f"A '{name}' generator reads noise: give --images alone.")
        return _from_noise
    if maps and not images.has_labels:
        raise ConfigError(f"A '{name}' generator reads label maps: give them (--labels).")
    check_ids(model, images)
    if maps or images.paired:
        if other is not None:
            raise ConfigError("The images come with their true pictures: leave --other out.")
        return _paired
    if other is None:
        raise ConfigError(
            f"To judge a '{name}' generator takes real pictures beside the photos: their targets "
            "(--pairs, --side-by-side), or images of the other domain (--other). To compare it "
            "with the generator it was made from, give that (--teacher)."
        )
    return _unpaired


def _rows(pictures: Iterable[Tensor], looks: Iterable[Callable[[Tensor], Tensor]]) -> list[Tensor]:
    """The results of each function over all pictures: one tensor a function, on the CPU."""
    looks = list(looks)
    found = [[look(p).cpu() for look in looks] for p in pictures]
    return [torch.cat(column) for column in zip(*found, strict=True)]


def _from_noise(context: _Context, count: int | None) -> Evaluation:
    images = context.images
    count = count or min(len(images), MOST[torch.device(context.device).type])
    classifier, said = _classifier(context)
    looks: list[Callable[[Tensor], Tensor]] = [context.pool]
    if classifier is not None:
        looks.append(lambda x: classifier(x.to(context.device)))
    inputs = drawn(context.model, count, context.batch, context.generator())
    made = _rows((context.make(*each) for each in inputs), looks)
    order = torch.randperm(len(images), generator=context.generator())[: 2 * count]
    rank = order.argsort().argsort()  # the pictures come in their own order, not in the drawn one
    real = [rows[rank] for rows in _rows(_chosen(context, order), looks)]
    rest = real[0][count:]
    metrics, spread = context.set_distances(real[0][:count], made[0]), {}
    yardsticks = (
        context.set_distances(real[0][:count], rest, f", real against real, {count} each")
        if len(rest) == count
        else context.halves(real[0])
    )
    if classifier is not None:
        name, splits = f"is-{classifier.name}", min(SPLITS, count, len(real[1]))
        score = inception_score(made[1], splits=splits)
        metrics[name], spread[name] = score.mean, score.std
        best = inception_score(real[1][:count], splits=splits)
        yardsticks[f"{name}, real"] = best.mean
    kept = min(count, len(images))
    lines = {
        **context.protocol(f"{kept} real images, drawn by the seed from those given"),
        "made": f"{count} pictures; truncation: none",
    }
    return Evaluation(metrics, spread, count, lines | said, yardsticks)


def _chosen(context: _Context, order: Tensor) -> Iterator[Tensor]:
    """The pictures of these numbers, in the images' own order."""
    wanted, start = torch.zeros(len(context.images), dtype=torch.bool), 0
    wanted[order] = True
    for batch in context.batches(context.images):
        keep = wanted[start : start + len(batch.x)]
        start += len(batch.x)
        if keep.any():
            yield batch.x[keep]


def _classifier(context: _Context) -> tuple[CifarResNet | None, dict[str, str]]:
    """The classifier of CIFAR-10 if the images are of its classes, and the protocol's line."""
    if context.images.class_names != CLASSES or context.size != 32:
        return None, {}
    folder = context.weights if context.weights is not None and context.weights.is_dir() else None
    try:
        net = load_classifier("resnet56", weights=folder).to(context.device)
    except WeightsError as error:
        return None, {"is-resnet56": f"not measured: {error}"}
    return net, {
        f"is-{net.name}": f"score of Salimans et al. under this classifier of CIFAR-10, sha256 "
        f"{net.digest[:12]}, {SPLITS} splits; larger is better. Not IS"
    }


def _paired(context: _Context) -> Evaluation:
    generator, name = context.generator(), context.net.name
    mean = eight_bit(_mean(_truth(batch) for batch in context.batches(context.images)))
    found = []
    for batch in context.batches(context.images):
        truth = _truth(batch).to(context.device)
        made = context.make(*inputs_of(context.model, batch, generator))
        dull = mean.to(context.device).expand_as(truth)
        seen = [
            *pairwise_distances(context.net, made, truth),
            *pairwise_distances(context.net, dull, truth),
        ]
        found.append([row.cpu() for row in (*seen, context.pool(made), context.pool(truth))])
    *values, made, truth = (torch.cat(column) for column in zip(*found, strict=True))
    names = [f"{name}-unit-distance", "l1"]
    ours, trivial = (dict(zip(names, v, strict=True)) for v in (values[:2], values[2:]))
    return Evaluation(
        {k: float(v.mean()) for k, v in ours.items()} | context.set_distances(truth, made),
        {k: standard_error(v) for k, v in ours.items()},
        len(context.images),
        context.protocol("the true pictures") | distance_protocol("on 8-bit pictures"),
        {f"{k}, the mean picture": float(v.mean()) for k, v in trivial.items()}
        | context.halves(truth),
    )


def _truth(batch: Batch) -> Tensor:
    """The target; the photo itself where a label map is what is read."""
    return batch.x if batch.y is None else batch.y


def _mean(pictures: Iterable[Tensor]) -> Tensor:
    """(1, c, h, w): the mean of all pictures."""
    total, count = torch.zeros(()), 0
    for x in pictures:
        total, count = total + x.double().sum(0, keepdim=True), count + len(x)
    return (total / count).float()


def _unpaired(context: _Context) -> Evaluation:
    assert context.other is not None
    generator, name = context.generator(), f"{context.net.name}-unit-distance-to-photo"
    found = []
    for batch in context.batches(context.images):
        photo = batch.x.to(context.device)
        made = context.make(*inputs_of(context.model, batch, generator))
        change = unit_distance(context.net(made), context.net(photo))
        found.append([row.cpu() for row in (change, context.pool(made), context.pool(photo))])
    change, made, photos = (torch.cat(column) for column in zip(*found, strict=True))
    (real,) = _rows((batch.x for batch in context.batches(context.other)), [context.pool])
    reference = f"{len(real)} images of the other domain, data hash {context.other.digest()[:12]}"
    return Evaluation(
        context.set_distances(real, made) | {name: float(change.mean())},
        {name: standard_error(change)},
        len(context.images),
        context.protocol(reference) | {"unit distance": distance_protocol("")["unit distance"]},
        context.set_distances(real, photos, ", the photos untranslated") | context.halves(real),
    )
