"""What GAN Slimming's stages stand on: the student's start, what it costs, how it is cut, and the
stream of batches that student and teacher share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from ganpress.channels.silence import extract, sizes, survivors, warn_of_minimum
from ganpress.channels.take import counts, keep_top, scales
from ganpress.data import Batch, Images, evaluation, stream
from ganpress.errors import ConfigError
from ganpress.losses.distance import Distance
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import from_noise, inputs_of, made_size, reads
from ganpress.nn.layers import add_gates
from ganpress.quantisation.quantise import FakeQuantiser, calibrate, learn_ranges, quantise
from ganpress.run.slim import SlimConfig, settled
from ganpress.types import Inputs, Widths

CALIBRATE_IMAGES = 16  # pictures over which activation ranges are read
EXTRACT_IMAGES = 8  # pictures over which the constants of cut channels are read

Streams = tuple[Images | None, Images | None]
"""What the generator reads or the critic holds for real, and real images of another domain."""


def check_images(
    teacher: Model, images: Images | None, reals: Images | None, config: SlimConfig
) -> None:
    """Refuse images that the teacher or the critic cannot use: ConfigError."""
    name, wants_real = teacher.family.name, config.critic.real == "images"
    if from_noise(teacher):
        side = made_size(teacher)
        if wants_real and images is None:
            raise ConfigError("critic.real=images needs images: give them, or set it to teacher.")
        if wants_real and {config.data.size, config.sparsify.size or side} != {side}:
            raise ConfigError(
                f"The teacher makes pictures of {side} pixels: with critic.real=images set "
                f"data.size={side}, and sparsify.size not at all."
            )
    elif images is None:
        raise ConfigError(f"A '{name}' generator reads images: give them.")
    if "semantics" in reads(teacher) and images is not None and not images.has_labels:
        raise ConfigError(f"A '{name}' generator reads label maps: give them (--labels).")
    if not from_noise(teacher):
        for key, size in (("data", config.data.size), ("sparsify", config.sparsify.size)):
            if size and size % teacher.multiple:
                raise ConfigError(
                    f"{key}.size is {size}; this '{name}' generator needs a multiple of "
                    f"{teacher.multiple}."
                )
    if reals is not None and not wants_real:
        raise ConfigError("Images of the target domain are used with critic.real=images only.")
    unpaired = "image" in reads(teacher) and images is not None and not images.paired
    if wants_real and unpaired and reals is None:
        raise ConfigError(
            "critic.real=images needs real pictures of the target domain: targets of the photos "
            "(pairs), or other images (reals); or set critic.real=teacher."
        )


def settled_for(teacher: Model, config: SlimConfig) -> SlimConfig:
    """`settled`, for the discriminator and the pictures that this teacher has."""
    fresh = teacher.critic is None or config.critic.start == "fresh"
    side = made_size(teacher) if from_noise(teacher) else None
    return settled(config, fresh=fresh, pictures=side)


def least_seen(teacher: Model, config: SlimConfig) -> int:
    """Side of the smallest pictures that the discriminator sees, pixels."""
    if from_noise(teacher):
        return made_size(teacher)
    return min(config.data.size, config.sparsify.size or config.data.size)


def scaled_copy(teacher: Model) -> Model:
    """The teacher's function with a scale for every group that can have one: InstanceNorm without
    affine gets gamma 1 and beta 0, which is exact; gates come with `add_gates`."""
    options = dict(teacher.options)
    if "affine" in options and options.get("norm", "instance") == "instance":
        options["affine"] = True
    net = teacher.family.build(teacher.widths, **options)
    with torch.no_grad():
        own = {**net.state_dict(), **{n: t.cpu() for n, t in teacher.net.state_dict().items()}}
    net.load_state_dict(own)
    return Model(net, teacher.family, options, copy.deepcopy(teacher.provenance))


def scalable(teacher: Model) -> tuple[str, ...]:
    """Groups that the joint loop can prune: those with scales, once norms and gates have them."""
    return tuple(scales(add_gates(scaled_copy(teacher).net)))


def frozen_groups(teacher: Model, config: SlimConfig) -> tuple[str, ...]:
    """Groups that are never cut: the residual trunk where it is to be kept."""
    return teacher.family.tied if config.trunk == "keep" else ()


def prunable(teacher: Model, config: SlimConfig) -> tuple[str, ...]:
    """Groups that may be cut in this run.

    All of them for gd, whose student starts narrow; else those with scales, without the tied ones
    where the trunk is kept. Raises `ConfigError` where there is none.
    """
    if config.arm == "gd":
        return tuple(teacher.widths)
    frozen = frozen_groups(teacher, config)
    found = tuple(g for g in scalable(teacher) if g not in frozen)
    if not found:
        raise ConfigError(
            f"No group of this '{teacher.family.name}' generator has scales to be pruned by: its "
            "channels are modulated by styles, not by norms of their own. What can be done: a "
            "uniformly narrow student (--set arm=gd)."
        )
    return found


def first_scales(net: nn.Module) -> dict[str, float]:
    """The mean size of each group's scales: the unit of its thresholds."""
    return {g: float(s.mean().clamp_min(1e-8)) for g, s in sizes(net).items()}


def cut(
    student: Model,
    inputs: Inputs,
    config: SlimConfig,
    *,
    references: Mapping[str, float],
    frozen: Collection[str] = (),
    cost: Callable[[Widths], float] | None = None,
    budget: float = 1.0,
) -> Model:
    """Extraction: what the silent channels emit is absorbed, then they are cut.

    A group of which all channels are silent keeps ``least`` of them, with a warning, or vanishes
    where it may. With a cost (in the last round) the budget is met for certain: where the loop
    ended short of it, for want of steps or by rounding, the weakest channels go, too.

    Args: inputs: what the generator reads, from which constants are taken.
    """
    family = student.family
    found = {g: s for g, s in sizes(student.net).items() if g not in frozen}
    keep = survivors(student.net, least=config.least, may_vanish=family.may_vanish(student.options))
    warn_of_minimum([g for g, s in found.items() if not s.any() and len(keep[g])], config.least)
    keep = rounded({g: keep[g] for g in found}, found, config.multiple)
    if cost is not None:
        whole, least, multiple, price = student.widths, config.least, config.multiple, cost

        def affords(chosen: Widths) -> float:
            return price({**whole, **chosen})

        if affords(counts(keep)) > budget:
            scores = {g: s / references.get(g, 1.0) for g, s in found.items()}
            keep = keep_top(scores, budget=budget, cost=affords, least=least, multiple=multiple)
    small = extract(student.build, student.net, keep, *inputs)
    return Model(small, family, student.options, student.provenance)


def rounded(
    keep: dict[str, torch.Tensor], scores: dict[str, torch.Tensor], multiple: int
) -> dict[str, torch.Tensor]:
    """Fill each group up to a multiple of ``multiple`` with its next best channels."""
    out = dict(keep)
    for group, score in scores.items():
        n = len(keep[group])
        most = min(len(score), -(-n // multiple) * multiple)
        if most > n:
            favoured = score.clone()
            favoured[keep[group]] += 1e6
            out[group] = favoured.topk(most).indices.sort().values.cpu()
    return out


def quantiser_asked(config: SlimConfig) -> FakeQuantiser:
    """The quantiser of the settings, ranges as yet fixed."""
    q = config.quantise
    return FakeQuantiser(q.bits, q.p, q.per_channel, q.levels, q.trunk, q.last, q.exact)


def attach_quantiser(
    net: nn.Module, observed: nn.Module, inputs: Inputs, config: SlimConfig
) -> None:
    """q_w and q_a on every convolution, below 32 bits; ranges fixed at p, or read off the
    activations of ``observed`` on ``inputs`` (``quantise.ranges``), and then perhaps learned."""
    q = config.quantise
    if q.bits >= 32:
        return
    quantise(net, quantiser_asked(config))
    if q.ranges != "fixed":
        calibrate(net, observed, *inputs)
    if q.ranges == "learned":
        learn_ranges(net)


def some_inputs(teacher: Model, images: Images | None, count: int, config: SlimConfig) -> Inputs:
    """The same ``count`` inputs each time, of crops of ``data.size``, on the device."""
    if images is None:
        batch = _no_images(count)
    else:
        size = config.data.size
        batch = next(stream(images, batch=count, size=size, seed=0, first=0, total=1, workers=0))
    draw = torch.Generator().manual_seed(0)
    return inputs_of(teacher, batch.to(config.device), draw)


def held_out(
    teacher: Model, images: Images | None, config: SlimConfig, distance: Distance
) -> tuple[Images | None, Callable[[nn.Module], float]]:
    """What is left to train on, and the distance of a student on ``finetune.held`` inputs that it
    is never trained on: images taken out of the given ones, the same for every seed, so that all
    seeds share the teacher's pictures; noise drawn for this.

    Raises: ConfigError where nothing would be left.
    """
    count = config.finetune.held
    rest, shown = images, images
    if images is not None and not from_noise(teacher):
        if count >= len(images):
            raise ConfigError(
                f"finetune.held={count} would leave nothing of {len(images)} images to train on: "
                "lower it, or set finetune.keep=last."
            )
        order = np.random.default_rng(count).permutation(len(images)).tolist()
        shown, rest = images.some(sorted(order[:count])), images.some(sorted(order[count:]))
    if shown is None or from_noise(teacher):
        batch = _no_images(count)
    else:
        batch = next(evaluation(shown, batch=count, size=config.data.size))
    draw = torch.Generator().manual_seed(config.seed + 1)
    inputs = inputs_of(teacher, batch.to(config.device), draw)
    with torch.no_grad():
        target = teacher.net.eval()(*inputs)

    @torch.no_grad()
    def measure(net: nn.Module) -> float:
        return float(distance(net(*inputs), target))

    return rest, measure


def batches(
    streams: Streams, config: SlimConfig, steps: int, first: int, *, part: int | None = None
) -> Iterator[Batch]:
    """The stream of a stage: fine-tuning where ``part`` is None, else a part of the joint loop,
    which goes on where the part before it ended.

    Without images (noise to pictures) a batch says only how many are wanted; with real images of
    another domain they are its targets, y.
    """
    images, reals = streams
    c = config.sparsify
    each = config.data.batch if part is None else c.batch or config.data.batch
    offset = 0 if part is None else part * steps
    span = offset + first, offset + steps
    others = _of(reals, config, each, span, part, salt=1) if reals is not None else None
    for batch in _of(images, config, each, span, part, salt=0):
        real = batch if others is None else replace(batch, y=next(others).x)
        yield real.to(config.device)


def _of(
    images: Images | None,
    config: SlimConfig,
    batch: int,
    span: tuple[int, int],
    part: int | None,
    *,
    salt: int,
) -> Iterator[Batch]:
    d, c = config.data, config.sparsify
    if images is None:
        return (_no_images(batch) for _ in range(*span))
    size = d.size if part is None else c.size or d.size
    load = d.load_size if d.load_size is None else max(size, round(d.load_size * size / d.size))
    return stream(
        images,
        batch=batch,
        size=size,
        seed=config.seed + (salt << 32),
        first=span[0],
        total=span[1],
        views=0 if salt else d.views,
        flip=d.flip,
        load_size=load,
        workers=d.workers,
    )


def _no_images(count: int) -> Batch:
    return Batch(torch.empty(count, 0), torch.full((count,), -1), None)
