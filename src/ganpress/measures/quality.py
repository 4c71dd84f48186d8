"""A generator's pictures against real ones, by protocols that the metrics' names declare.

Real pictures and trivial ones are measured the same way: yardsticks, without which a distance of
two sets says nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from ganpress.data import Batch, Images
from ganpress.errors import ConfigError, WeightsError
from ganpress.losses.features import load_features
from ganpress.measures.comparison import Context, Rows, eight_bit
from ganpress.measures.fidelity import (
    Evaluation,
    check_opened,
    check_side,
    pairwise,
    standard_error,
)
from ganpress.measures.image_metrics import SPLITS, choose, score_of
from ganpress.measures.looked import Columns, Looked, real_rows, rows_of
from ganpress.measures.metrics import CifarResNet, inception_score, load_classifier
from ganpress.measures.metrics.classifier import CLASSES
from ganpress.measures.path_length import check_paths, path_lengths
from ganpress.measures.protocol import distance_protocol
from ganpress.measures.segmentation import LabelMetrics
from ganpress.models.checkpoint import Model
from ganpress.models.device import check_device
from ganpress.models.inputs import (
    check_given,
    drawn,
    from_noise,
    images_for,
    inputs_of,
    reads,
    reals_for,
)
from ganpress.types.sizes import Size, as_size, height_width, shorter

MOST = {"cpu": 5_000, "cuda": 50_000}
"""Largest default number of pictures made from noise, by the kind of device."""


@torch.no_grad()
def evaluate_quality(
    model: Model,
    images: Images,
    *,
    other: Images | None = None,
    size: Size | None = None,
    batch: int | None = None,
    count: int | None = None,
    features: str = "squeezenet",
    metrics: Sequence[str] = (),
    weights: str | os.PathLike[str] | None = None,
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

    Further metrics are those of `image_metrics`: FID, KID and, of pictures made from noise, IS;
    Frechet and kernel distance on EfficientNet-lite0; ST-LPIPS where there are pairs; mean IoU and
    pixel accuracy under a segmenter where a generator reads label maps or label pictures;
    perceptual path length in W or Z of generators that read noise, over ``count`` pairs, by LPIPS
    where its weights are, else by the unit distance on ``features``.

    Args:
        images: real images, images with targets, photos with label maps, or photos to translate.
        other: real images of the domain that is translated to.
        size: shorter side, then centre crop, or (height, width), pixels; default: as trained,
            or the family's own.
        batch: pictures at a time; default: 8 of 256 pixels, more of smaller ones.
        count: pictures made from noise; default: as many as images, at most `MOST`.
        metrics: names of `image_metrics.KINDS`, beside those of ``features``; or `AUTO`.
    Raises: ConfigError where the images do not suit what the generator reads, or a metric does
        not suit the comparison; WeightsError.
    """
    check_opened(images=images, other=other)
    way = _comparison_for(model, images, other)
    if count is not None and (count < 2 or way is not _from_noise):
        raise ConfigError("count is for pictures made from noise, and at least 2.")
    if batch is not None and batch < 1:
        raise ConfigError(f"batch is {batch}; it must be at least 1.")
    check_device(device)
    images, other = images_for(model, images), other and reals_for(model, other)
    size = model.resolve_size(size, trained_size(model))
    batch = batch or max(1, min(64, 8 * 256**2 // prod(height_width(size))))
    kinds = ["sets", "paths"] if way is _from_noise else ["sets", "pairs"]
    kinds += ["labels"] if way is _paired else []
    at = None if weights is None else Path(weights)
    chosen = choose(metrics, kinds=kinds, side=shorter(size), weights=at, device=device)
    check_paths(model, chosen.paths)
    net = load_features(features, weights=at).to(device)
    check_side(net, shorter(size))
    was = next(model.net.parameters()).device
    model.net.to(device)
    try:
        context = Context(model, net, chosen, images, other, size, batch, device, seed, at)
        found: Evaluation = _from_noise(context, count) if way is _from_noise else way(context)
        return replace(found, left_out=chosen.left_out)
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


def _comparison_for(
    model: Model, images: Images, other: Images | None
) -> Callable[..., Evaluation]:
    """The comparison that fits what the generator reads and which images are given."""
    name, maps = model.family.name, "semantics" in reads(model)
    if from_noise(model):
        if other is not None or images.paired or images.has_labels:
            raise ConfigError(f"A '{name}' generator reads noise: give --images alone.")
        return _from_noise
    check_given(model, images)
    if maps or images.paired:
        if other is not None:
            raise ConfigError("The images come with their true pictures: leave --other out.")
        return _paired
    if other is None:
        raise ConfigError(
            f"To evaluate a '{name}' generator takes real pictures beside the photos: their "
            "targets (--pairs, --side-by-side), or images of the other domain (--other). To "
            "compare it with the generator it was made from, give that (--teacher)."
        )
    return _unpaired


def _from_noise(context: Context, count: int | None) -> Evaluation:
    images = context.images
    count = count or min(len(images), MOST[torch.device(context.device).type])
    classifier, said = _classifier(context, min(SPLITS, count, len(images)))
    looks = dict(context.looks)
    if classifier is not None:
        looks[_logits(classifier)] = lambda pictures: classifier(pictures.x)
    inputs = drawn(context.model, count, context.batch, context.generator())
    made = rows_of((context.make(*each) for each in inputs), looks)
    order = torch.randperm(len(images), generator=context.generator())[: 2 * count]
    rank = order.argsort().argsort()  # the pictures come in their own order, not in the drawn one
    part = None if len(order) == len(images) else sorted(order.tolist())
    who = context.identity(images, repr(part))
    seen = real_rows(who, looks, lambda: context.looked(_chosen(context, order)))
    every = {name: rows[rank] for name, rows in seen.items()}
    real = {name: rows[:count] for name, rows in every.items()}
    rest = {name: rows[count:] for name, rows in every.items()}
    kept = min(count, len(images))
    reference = images.digest()[:8] + (f"-seed{context.seed}" if kept < len(images) else "")
    metrics = context.set_distances(real, made, reference)
    yardsticks = (
        context.set_distances(real, rest, of=f", real against real, {count} each")
        if len(order) == 2 * count
        else context.halves(every)
    )
    scores, spread, best = _scores(context, made, real, classifier)
    lines = {
        **context.protocol(
            f"{kept} real images, drawn by the seed from those given", min(SPLITS, count)
        ),
        "made": f"{count} pictures; truncation: none",
    }
    paths = path_lengths(
        context.model,
        context.chosen.paths,
        context.net,
        count,
        seed=context.seed,
        weights=context.weights,
    )
    metrics |= {path.name: path.value for path in paths}
    spread |= {path.name: path.error for path in paths}
    said |= {path.name: path.protocol for path in paths}
    return Evaluation(metrics | scores, spread, count, lines | said, yardsticks | best)


def _logits(classifier: CifarResNet) -> str:
    return f"logits of {classifier.name}, {classifier.digest}"


def _scores(
    context: Context, made: Rows, real: Rows, classifier: CifarResNet | None
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Scores by each classifier of what is made, their deviations, and those of real pictures."""
    found, best = {}, {}
    if classifier is not None:
        ours, theirs = (rows[_logits(classifier)] for rows in (made, real))
        splits = min(SPLITS, len(ours), len(theirs))
        found[f"is-{classifier.name}"] = inception_score(ours, splits=splits)
        best[f"is-{classifier.name}"] = inception_score(theirs, splits=splits)
    for key, net in context.embeddings.items():
        for rows, scores in ((made, found), (real, best)):
            if named := score_of(net, rows[key]):
                scores[named[0]] = named[1]
    return (
        {name: score.mean for name, score in found.items()},
        {name: score.std for name, score in found.items()},
        {f"{name}, real": score.mean for name, score in best.items()},
    )


def _chosen(context: Context, order: Tensor) -> Iterator[Tensor]:
    """The pictures of these numbers, in the images' own order."""
    wanted, start = torch.zeros(len(context.images), dtype=torch.bool), 0
    wanted[order] = True
    for batch in context.batches(context.images):
        keep = wanted[start : start + len(batch.x)]
        start += len(batch.x)
        if keep.any():
            yield batch.x[keep]


def _classifier(context: Context, splits: int) -> tuple[CifarResNet | None, dict[str, str]]:
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
        f"{net.digest[:12]}, splits: {splits}; larger is better. Not IS"
    }


def _paired(context: Context) -> Evaluation:
    generator, looks = context.generator(), context.looks
    who = context.identity(context.images, "targets")
    lacking = real_rows.lacking(who, looks)
    mean = eight_bit(_mean(_truth(batch) for batch in context.batches(context.images)))
    dull = Looked(mean.to(context.device))
    seen = LabelMetrics(context.chosen.labels, context.images, context.size, who)
    ours, trivial, made, fresh = (Columns() for _ in range(4))
    for batch in context.batches(context.images):
        truth = Looked(_truth(batch).to(context.device))
        picture = context.make(*inputs_of(context.model, batch, generator))
        made.add({name: look(picture) for name, look in looks.items()})
        fresh.add({name: look(truth) for name, look in lacking.items()})
        seen.add(picture.x, truth.x)
        ours.add(_distances(context, picture, truth))
        trivial.add(_distances(context, dull.like(truth.x), truth))
    real = real_rows.complete(who, looks, fresh.rows)
    values, beside = ours.rows, trivial.rows
    return Evaluation(
        {k: float(v.mean()) for k, v in values.items()}
        | context.set_distances(real, made.rows, context.images.digest()[:8])
        | seen.metrics,
        {k: standard_error(v) for k, v in values.items()},
        len(context.images),
        context.protocol("the true pictures")
        | distance_protocol("on 8-bit pictures")
        | seen.protocol,
        {f"{k}, the mean picture": float(v.mean()) for k, v in beside.items()}
        | context.halves(real)
        | seen.yardsticks,
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


def _unpaired(context: Context) -> Evaluation:
    assert context.other is not None
    generator, looks = context.generator(), context.looks
    who = context.identity(context.images, "photos")
    lacking = real_rows.lacking(who, looks)
    change, made, fresh = Columns(), Columns(), Columns()
    for batch in context.batches(context.images):
        photo = Looked(batch.x.to(context.device))
        picture = context.make(*inputs_of(context.model, batch, generator))
        made.add({name: look(picture) for name, look in looks.items()})
        fresh.add({name: look(photo) for name, look in lacking.items()})
        distances = _distances(context, picture, photo)
        change.add({f"{name}-to-photo": v for name, v in distances.items() if name != "l1"})
    photos = real_rows.complete(who, looks, fresh.rows)
    other = context.other
    real = real_rows(
        context.identity(other, "whole"),
        looks,
        lambda: context.looked(batch.x for batch in context.batches(other)),
    )
    count = len(next(iter(real.values())))
    reference = f"{count} images of the other domain, data hash {other.digest()[:12]}"
    return Evaluation(
        context.set_distances(real, made.rows, other.digest()[:8])
        | {name: float(v.mean()) for name, v in change.rows.items()},
        {name: standard_error(v) for name, v in change.rows.items()},
        len(context.images),
        context.protocol(reference) | {"unit distance": distance_protocol("")["unit distance"]},
        context.set_distances(real, photos, of=", the photos untranslated") | context.halves(real),
    )


def _distances(context: Context, made: Looked, wanted: Looked) -> dict[str, Tensor]:
    """Of each picture to its reference, (n,) each."""
    return pairwise(context.net, context.chosen.pairs, made, wanted)
