"""The inputs that width sets are scored on, which nothing is trained on (the authors' split)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ganpress.channels.recalibrate import batch_norms
from ganpress.data import Images, evaluation
from ganpress.errors import ConfigError
from ganpress.losses.features import Features, load_features
from ganpress.measures.interest.interest import Interest, masked_images
from ganpress.measures.labels import Labelling, truth_of
from ganpress.measures.labels import has_truth as says_classes
from ganpress.measures.segmentation import segmentation_quality
from ganpress.measures.segmenter import load_segmenter
from ganpress.methods.base import Given
from ganpress.methods.once_for_all.scoring import Held, Scorer
from ganpress.methods.once_for_all.settings import OnceForAllConfig
from ganpress.methods.once_for_all.truth import has_truth, truth_in
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import drawn, from_noise, inputs_of
from ganpress.models.source import Sampled, blank, split_images
from ganpress.training.distil import mask_of
from ganpress.training.setup import Setup

BATCH = 8  # pictures that are scored at a time
CALIBRATED = 32  # pictures that BatchNorm's statistics are read from at a time
REALS = 2048  # real pictures that a Frechet distance compares with, at most


def hold_out(given: Given, c: OnceForAllConfig) -> tuple[Images | None, Images | None]:
    """The images that are trained on, and ``search.images`` that width sets are scored on; a
    generator that reads noise is scored on noise of its own.

    Raises: ConfigError where nothing would be left.
    """
    images = given.images
    if images is None or from_noise(given.teacher):
        return images, None
    if c.search.images >= len(images):
        raise ConfigError(
            f"search.images={c.search.images} would leave nothing of {len(images)} images to train "
            f"on: hold out fewer (--set search.images={max(1, len(images) // 10)})."
        )
    return split_images(images, c.search.images)


def scorer_for(
    setup: Setup, net: torch.nn.Module, held: Images | None, given: Given, c: OnceForAllConfig
) -> Scorer:
    """What scores width sets of ``net``: held-out batches; the teacher's pictures are made once."""
    teacher = setup.teacher
    batches = list(_held(teacher, held, c, copy.copy(setup.interest)))
    calibrated = calibration(setup, c) if batch_norms(net) else ()
    scored = c.search.quality == "frechet"
    features = _features(c, given.weights) if scored else None
    reals = list(_reals(given, held, c)) if scored else []
    quality = c.search.quality
    segment = _segmenting(held, c, given.weights)
    return Scorer(net, batches, setup.distance, calibrated, reals, segment, features, quality)


def _segmenting(
    held: Images | None, c: OnceForAllConfig, weights: Path | None
) -> Callable[[Sequence[Tensor]], dict[str, float]] | None:
    """Pictures of the held-out inputs -> mean IoU and pixel accuracy; None without a segmenter."""
    if c.search.segmenter is None or held is None:
        return None
    segmenter = load_segmenter(c.search.segmenter, weights=weights).to(c.device)
    truth = list(truth_of(held, c.data.size, segmenter.labelling)[1])

    def measure(made: Sequence[Tensor]) -> dict[str, float]:
        return segmentation_quality(made, [blank(len(x)) for x in made], segmenter, truth=truth)

    return measure


def calibration(setup: Setup, c: OnceForAllConfig) -> Sampled:
    """What BatchNorm's statistics are read from for each width set (`search.calibrate`), in
    batches of one length, or lengths that differ by one: `recalibrate` counts all alike."""
    parts = -(-c.search.calibrate // max(c.data.batch, CALIBRATED))
    return setup.source.sampled(c.search.calibrate, c.data.size, parts, flip=c.data.flip)


@torch.no_grad()
def _held(
    teacher: Model, held: Images | None, c: OnceForAllConfig, interest: Interest | None
) -> Iterator[Held]:
    """Held-out batches, on the device; what is drawn is the same each time."""
    draw = torch.Generator().manual_seed(c.seed + 1)
    net = teacher.net.eval()
    if held is None:
        for noise in drawn(teacher, c.search.images, BATCH, draw):
            inputs = tuple(t.to(c.device) for t in noise)
            made: Tensor = net(*inputs).float()
            yield Held(inputs, made, None, mask_of(interest, inputs, made, None))
        return
    for batch in evaluation(masked_images(held, c.mask), batch=BATCH, size=c.data.size):
        here = batch.to(c.device)
        inputs = inputs_of(teacher, here, draw)
        truth = truth_in(teacher, here, is_paired=has_truth(teacher, held))
        made = net(*inputs).float()
        yield Held(inputs, made, truth, mask_of(interest, inputs, made, here.masks))


def _reals(given: Given, held: Images | None, c: OnceForAllConfig) -> Iterator[Tensor]:
    """Real pictures of the target domain: of more than `REALS` some at random, since sets are often
    in the order of their classes."""
    is_true = held is not None and has_truth(given.teacher, held)
    images = held if is_true else given.reals or given.images
    if images is None:
        return
    some = split_images(images, REALS)[1] if len(images) > REALS else images
    for batch in evaluation(some, batch=BATCH, size=c.data.size):
        true = truth_in(given.teacher, batch, is_paired=True) if is_true else None
        yield (batch.x if true is None else true).to(c.device)


def _features(c: OnceForAllConfig, weights: Path | None) -> Features:
    return load_features(c.distance.features, weights=weights).to(c.device)


def unmeasurable(given: Given, c: OnceForAllConfig) -> dict[str, str]:
    """Why a quality cannot be measured with what is given, by its name."""
    teacher, images = given.teacher, given.images
    truth = has_truth(teacher, images)
    found = {}
    if not truth:
        found["truth"] = "needs the truth of each input: targets (--pairs), or label maps"
    reals = images if from_noise(teacher) else given.reals
    if not (truth or reals):
        found["frechet"] = "needs real pictures of the target domain (--reals)"
    elif min(c.search.images, len(reals) if reals and not truth else 2) < 2:
        found["frechet"] = "needs at least 2 held-out inputs (search.images) and 2 real pictures"
    if c.search.segmenter is None:
        why = "needs a segmenter, such as --set search.segmenter=facades"
        found |= {"miou": why, "accuracy": why}
    elif images is None or not says_classes(images, _labelling(given, c.search.segmenter)):
        why = "needs label maps (--labels), or label pictures in the segmenter's colours"
        found |= {"miou": why, "accuracy": why}
    return found


def _labelling(given: Given, segmenter: str) -> Labelling:
    return load_segmenter(segmenter, weights=given.weights).labelling
