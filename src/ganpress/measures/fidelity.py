"""How close a student's pictures are to its teacher's, by protocols that metrics' names declare."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganpress.data import Images
from ganpress.data import evaluation as every_image
from ganpress.errors import ConfigError
from ganpress.losses.features import Features, load_features
from ganpress.losses.terms import unit_distance
from ganpress.measures.image_metrics import choose, learned_distance, protocol_lines
from ganpress.measures.interest.distances import mask_protocol, masked_pairwise
from ganpress.measures.interest.interest import Counted, interest_for, masked_images, resolved_mask
from ganpress.measures.interest.settings import MaskSettings
from ganpress.measures.looked import Columns, Looked, neighbours
from ganpress.measures.path_length import check_paths, path_lengths
from ganpress.measures.protocol import distance_protocol, protocol_of
from ganpress.models.checkpoint import Model, digest
from ganpress.models.inputs import (
    channels_of,
    check_given,
    drawn,
    from_noise,
    images_for,
    inputs_of,
    reads,
)
from ganpress.run.settings import CropSettings
from ganpress.types import Inputs
from ganpress.types.pictures import as_widest
from ganpress.types.sizes import Size, as_size, height_width, scaled, shorter

ANOTHER = "the teacher's picture of another input"
"""The yardstick of distances to the teacher: how far apart its own pictures are."""
FROM_NOISE = 1000
"""Default number of pairs of pictures made from noise, where no images give it."""
_READ = {"image": "photo", "semantics": "label map", "z": "noise", "y": "class", "style": "style"}


@dataclass(frozen=True)
class Evaluation:
    """Metrics with the protocol they were measured under, and their spread over images."""

    metrics: dict[str, float]
    spread: dict[str, float]
    """Standard error of each metric's mean over the images; of a score, its deviation."""
    count: int
    protocol: dict[str, str]
    yardsticks: dict[str, float] = field(default_factory=dict)
    """What the same metrics are for real pictures, or for something trivial: 'metric, of what'."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Metrics that would suit but are not computed, and how to have them."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@torch.no_grad()
def evaluate(
    student: Model,
    teacher: Model,
    images: Images | None,
    *,
    size: Size | None = None,
    batch: int = 8,
    count: int | None = None,
    features: str = "squeezenet",
    metrics: Sequence[str] = (),
    weights: str | os.PathLike[str] | None = None,
    seed: int = 0,
    mask: MaskSettings | None = None,
) -> Evaluation:
    """Distance of the student's pictures to the teacher's, both made from the same inputs.

    Inputs are photos or label maps; noise and styles are sampled once and given to both.

    Metrics, smaller is better, 0 for equal pictures:
        ``<features>-unit-distance``: mean over photos of the unit distance (`losses.unit_distance`)
        on the named feature network. It is not FID and not LPIPS.
        ``l1``: mean absolute difference, as a fraction of the grey range (0 to 1).
        ``<features>-masked-unit-distance`` and ``masked-l1``, where there is a mask: the same of
        what it shows (`interest.distances.masked_pairwise`).
        ``st-lpips-alex``, where it is among ``metrics``: ST-LPIPS, a learned perceptual distance.
        ``ppl-w``, ``ppl-z``: the student's perceptual path length; the teacher's is a yardstick.

    The yardstick of each distance to the teacher, but for masked ones: what it is of the teacher's
    picture of the input before, which has the teacher's style and not this content.

    Args:
        images: photos, with label maps where the family reads those; None where it reads noise.
        metrics: names of `image_metrics.KINDS` that compare pairs or follow paths, or `AUTO`.
        size: shorter side, then centre crop, or (height, width), pixels; default: the family's
            own size.
        count: pictures made from noise; default: as many as the images, or `FROM_NOISE`.
        mask: where the teacher's pictures matter. Warns, at the end, of pictures whose mask is
            empty.
    """
    _check_comparable(student, teacher, images)
    if count is not None and (count < 1 or not from_noise(teacher)):
        raise ConfigError("count is for pictures made from noise, and at least 1.")
    size, at = teacher.resolve_size(size), None if weights is None else Path(weights)
    kinds = ["pairs", "paths"] if from_noise(teacher) else ["pairs"]
    chosen = choose(metrics, kinds=kinds, side=shorter(size), weights=at)
    check_paths(teacher, chosen.paths)
    net = load_features(features, weights=at)
    check_side(net, shorter(size))
    mask = resolved_mask(mask or MaskSettings())
    interest = interest_for(mask)
    given = _given(teacher, images, mask, size=size, batch=batch, count=count, seed=seed)
    values, beside = _compared(student, teacher, given, net, chosen.pairs, interest)
    if interest is not None:
        interest.warn()
    ours, theirs = (
        path_lengths(m, chosen.paths, net, given.count, seed=seed, weights=at)
        for m in (student, teacher)
    )
    read = dict.fromkeys(_READ.get(name, "noise") for name in reads(teacher))
    return Evaluation(
        metrics={k: float(v.mean()) for k, v in values.items()}
        | {path.name: path.value for path in ours},
        spread={k: standard_error(v) for k, v in values.items()}
        | {path.name: path.error for path in ours},
        count=given.count,
        protocol={
            "reference": f"the teacher's output on the same {' and '.join(read)}",
            **protocol_of(teacher, given.images, size, net, seed),
            **distance_protocol("on [-1, 1] pictures"),
            **(mask_protocol(mask, interest) if interest is not None else {}),
            **protocol_lines(chosen),
            **{path.name: path.protocol for path in ours},
        },
        yardsticks={f"{k}, {ANOTHER}": float(v.mean()) for k, v in beside.items()}
        | {f"{path.name}, the teacher": path.value for path in theirs},
        left_out=chosen.left_out,
    )


@dataclass(frozen=True)
class _Given:
    """What student and teacher read: batches, each with the photos' masks if they have any; how
    many pictures in all; the photos; and what tells these inputs from others."""

    batches: Iterable[tuple[Inputs, Tensor | None]]
    count: int
    images: Images | None
    key: object


def _given(
    teacher: Model,
    images: Images | None,
    mask: MaskSettings,
    *,
    size: Size,
    batch: int,
    count: int | None,
    seed: int,
) -> _Given:
    """The inputs of `evaluate`, whose arguments these are."""
    draw = torch.Generator().manual_seed(seed)
    if from_noise(teacher):
        count = count or (len(images) if images else FROM_NOISE)
        noise = drawn(teacher, count, batch, draw)
        return _Given(((z, None) for z in noise), count, None, ("", size, batch, count, seed))
    assert images is not None  # `_check_comparable`
    photos = masked_images(images_for(teacher, images), mask)
    each = every_image(photos, batch=batch, size=size)
    inputs = ((inputs_of(teacher, b, draw), b.masks) for b in each)
    count = len(photos)
    return _Given(inputs, count, photos, (photos.identity(), size, batch, count, seed))


def _compared(
    student: Model,
    teacher: Model,
    given: _Given,
    net: Features,
    learned: Sequence[Features],
    interest: Counted | None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Every distance of each picture to the teacher's, (count,) by name; and of the teacher's
    picture of the input before to it, for which nothing is made."""
    _teacher_pictures.of((digest(teacher), given.key))
    columns, beside, before = Columns(), Columns(), None
    for place, (inputs, masks) in enumerate(given.batches):
        wanted, made = Looked(_teacher_pictures(teacher, place, inputs)), Looked(student(*inputs))
        found = pairwise(net, learned, made, wanted)
        if interest is not None:
            found |= masked_pairwise(net, made.x, wanted.x, interest(inputs, wanted.x, masks))
        columns.add(found)
        other, same = neighbours(before, wanted)
        if len(other.x):
            beside.add(pairwise(net, learned, other, same))
        before = wanted.part(slice(-1, None))
    return columns.rows, beside.rows


def _check_comparable(student: Model, teacher: Model, images: Images | None) -> None:
    """Refuse a student of something else, and images that the teacher cannot read, before weights
    that are not here are asked for: ConfigError, ImagesError."""
    check_opened(images=images)
    if student.family.name != teacher.family.name:
        raise ConfigError(
            f"The student is a '{student.family.name}', the teacher a '{teacher.family.name}': "
            "compare a student with the teacher it was made from."
        )
    check_channels(student, teacher)
    check_given(teacher, images)


def check_opened(**given: object) -> None:
    """Refuse, by its argument's name, what is neither opened images nor None: ConfigError."""
    for name, images in given.items():
        if images is not None and not isinstance(images, Images):
            raise ConfigError(
                f"{name} is a {type(images).__name__} ({str(images)[:60]}), not images: open them "
                "with ganpress.open_images(...)."
            )


def check_channels(student: Model, teacher: Model) -> None:
    """Refuse to compare pictures of different channels: ConfigError."""
    ours, theirs = channels_of(student), channels_of(teacher)
    if ours != theirs:
        raise ConfigError(
            f"The student has {ours[0]} channels in and {ours[1]} out, the teacher {theirs[0]} and "
            f"{theirs[1]}: compare a student with the teacher it was made from."
        )


_MOST_BYTES = 1 << 29


class _TeacherPictures:
    """The teacher's pictures of one set of inputs: made once for all the students that a process
    evaluates on it in a row. Half a gigabyte is kept at the most."""

    def __init__(self) -> None:
        self.key: object = None
        self.known: dict[int, Tensor] = {}
        self.room = _MOST_BYTES

    def of(self, key: object) -> None:
        """Start on these inputs and this teacher: pictures of others are dropped."""
        if key != self.key:
            self.key, self.known, self.room = key, {}, _MOST_BYTES

    def __call__(self, teacher: Model, place: int, inputs: Inputs) -> Tensor:
        """The teacher's pictures of batch number ``place``."""
        if place in self.known:
            return self.known[place].to(inputs[0].device)
        out: Tensor = teacher(*inputs)
        if out.nbytes <= self.room:
            self.known[place] = out.cpu()
            self.room -= out.nbytes
        return out


_teacher_pictures = _TeacherPictures()


def pairwise(
    net: Features, learned: Sequence[Features], made: Looked, wanted: Looked
) -> dict[str, Tensor]:
    """Unit distance, l1 and learned distances of each picture to its reference, (n,) each, >= 0."""
    ours, theirs = as_widest(made.x, wanted.x)
    found = {
        f"{net.name}-unit-distance": unit_distance(made.maps(net), wanted.maps(net)),
        "l1": (ours - theirs).abs().mean((1, 2, 3)) / 2,
    }
    for other in learned:
        found[other.name] = learned_distance(other, made.maps(other), wanted.maps(other))
    return found


def check_side(net: Features, side: int) -> None:
    """Refuse pictures smaller than the feature network takes: ConfigError."""
    if side < net.min_size:
        raise ConfigError(
            f"Features '{net.name}' take pictures of at least {net.min_size} pixels, not {side}: "
            "choose others (--features), or a larger --size."
        )


def standard_error(values: Tensor) -> float:
    """Of the mean of (n,) values; 0 for a single one."""
    return float(values.std() / len(values) ** 0.5) if len(values) > 1 else 0.0


def evaluation_size(data: CropSettings, teacher: Model) -> Size:
    """The size to evaluate at: what training saw, its shorter side at most the family's own, and
    divisible as the family needs it."""
    seen, most = data.load_size or data.size, teacher.family.image.size
    if isinstance(data.size, tuple) and isinstance(seen, int):  # of a picture of the crop's shape
        seen = scaled(data.size, shorter(data.size), seen)
    share, step = min(1.0, most / shorter(seen)), teacher.multiple
    return as_size(tuple(round(side * share) // step * step for side in height_width(seen)))
