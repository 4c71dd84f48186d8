"""What is asked of a compression, as its stages use it, and what is refused before any of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from ganpress.errors import ConfigError
from ganpress.losses.lpips import PictureDistance
from ganpress.methods.base import Given
from ganpress.methods.checks import (
    check_discriminator,
    check_features,
    check_images,
    without_loss,
)
from ganpress.methods.content_aware.passes import relation_taps
from ganpress.methods.content_aware.pruning import check_pruning
from ganpress.methods.content_aware.settings import (
    ContentAwareConfig,
    ContentAwareDiscriminator,
    PathSettings,
)
from ganpress.methods.content_aware.tasks import SMALL_BATCH, SMALLER, TASKS
from ganpress.methods.latency import resolved_latency
from ganpress.models.checkpoint import Model
from ganpress.models.families.stylegan2 import StyleGAN2
from ganpress.models.inputs import from_noise
from ganpress.nn.discriminators.stylegan2 import StyleGAN2Discriminator
from ganpress.run import distributed
from ganpress.run.proposals import ways
from ganpress.training.discriminator import family_discriminator
from ganpress.training.shared_settings import resolved_alike
from ganpress.training.student_form import in_form


def resolve(given: Given, config: ContentAwareConfig) -> ContentAwareConfig:
    """The settings as the stages use them: what is left to the family, to the teacher's own
    training or to the images is filled in."""
    teacher, c = given.teacher, config
    task, f = TASKS[teacher.family.name], config.finetune
    small = teacher.family.name == "stylegan2" and c.data.batch <= SMALL_BATCH
    usual = SMALLER if small else 1.0
    lr = usual * task.lr if f.lr is None else f.lr
    resolved = c.model_copy(
        update={
            "finetune": f.model_copy(update={"lr": lr, "betas": f.betas or task.betas}),
            "path": _path(teacher, c),
            "discriminator": _discriminator(given, c, usual * task.d_lr),
            **resolved_alike(c),
        }
    )
    latency = resolved_latency(given, resolved, lambda: in_form(teacher, resolved))
    return resolved.model_copy(update=latency)


def _path(teacher: Model, c: ContentAwareConfig) -> PathSettings:
    """The penalty as the teacher was trained; none of a family without styles."""
    recipe: Any = teacher.provenance.get("recipe")
    known = recipe if isinstance(recipe, dict) and recipe.get("train") == "stylegan2" else {}
    styled = isinstance(teacher.net, StyleGAN2)
    weight = known.get("path", 2.0) if styled else 0.0
    every = known.get("path_every", 4)
    p = c.path
    return p.model_copy(
        update={
            "weight": weight if p.weight is None else p.weight,
            "every": p.every or every,
        }
    )


def _discriminator(given: Given, c: ContentAwareConfig, lr: float) -> ContentAwareDiscriminator:
    """A fresh one where the teacher has none."""
    d = c.discriminator
    changes: dict[str, object] = {"lr": lr if d.lr is None else d.lr}
    if given.teacher.discriminator is None and not d.fixed:
        changes["start"] = "fresh"
    if d.real == "auto":
        paired = given.images is not None and given.images.paired
        some = paired or given.reals is not None or _shows_the_domain(given)
        changes["real"] = "images" if some else "teacher"
    return d.model_copy(update=changes)


def _shows_the_domain(given: Given) -> bool:
    """Whether the images are of the domain that the generator makes: it reads noise, or their label
    maps."""
    images = given.images
    return images is not None and (from_noise(given.teacher) or images.has_labels)


def discriminator_to_play(
    teacher: Model, c: ContentAwareConfig
) -> tuple[Model, ContentAwareConfig]:
    """The teacher with the discriminator that the retraining begins with, and settings that take
    it: where a fresh one is asked for, one of the family's own kind, if it has one, initialised
    from torch's global state."""
    if c.discriminator.start != "fresh":
        return teacher, c
    own = family_discriminator(teacher)
    if own is None:
        return teacher, c
    played = c.discriminator.model_copy(update={"start": "teacher"})
    return replace(teacher, discriminator=own), c.model_copy(update={"discriminator": played})


def check(given: Given, settings: ContentAwareConfig) -> None:
    """Refuse, before any stage, what cannot be compressed with the resolved settings: ConfigError,
    InfeasibleTarget, NotPossible."""
    c, teacher = settings, given.teacher
    check_images(teacher, given.images, given.reals, c)
    with_own, played = discriminator_to_play(teacher, c)
    check_discriminator(replace(given, teacher=with_own), played, resolve=resolve)
    check_features(given, c, resolve=resolve)
    check_processes(c)
    check_losses(given, c)
    check_terms(given, c)
    check_rounds(given, c)
    check_pruning(teacher, c, partial(check, given))


def check_processes(c: ContentAwareConfig) -> None:
    """Refuse a batch that torchrun's processes cannot share, and a cache that they would write
    together."""
    processes = distributed.world()
    if c.data.batch % processes:
        up = -(-c.data.batch // processes) * processes
        raise ConfigError(
            f"A batch of {c.data.batch} cannot be split over {processes} processes"
            f"{ways(c, [{'data.batch': up}])}."
        )
    if processes > 1 and c.data.cached_crops:
        raise ConfigError(
            "Several processes do not share a cache of the teacher's pictures"
            f"{ways(c, [{'data.cached_crops': 0}])}."
        )


def check_losses(given: Given, c: ContentAwareConfig) -> None:
    """Refuse weights of which none makes a loss: ConfigError."""
    d = c.distil
    if any((c.discriminator.weight, d.pixel, d.perceptual, d.relation, d.mmd)):
        return
    raise without_loss(c, {"distil.pixel": 3.0}, partial(check, given))


def check_rounds(given: Given, c: ContentAwareConfig) -> None:
    """Refuse rounds without a step between them: ConfigError."""
    n = c.narrow
    if n.rounds - 1 > n.steps:
        fewer = [{"narrow.rounds": n.steps + 1}], [{"narrow.steps": n.rounds - 1}]
        raise ConfigError(
            f"narrow.rounds={n.rounds} has {n.rounds - 1} trainings between its cuts, and "
            f"narrow.steps={n.steps} gives each less than a step"
            f"{ways(c, *fewer, check=partial(check, given))}."
        )


def check_terms(given: Given, c: ContentAwareConfig) -> None:
    """Refuse terms that this family or so small a batch does not have."""
    d, teacher = c.distil, given.teacher
    name, styled = teacher.family.name, isinstance(teacher.net, StyleGAN2)
    accepted = partial(check, given)
    if d.mode == "intermediate" and not styled:
        how = ways(c, [{"distil.mode": "output"}], check=accepted)
        raise ConfigError(
            "distil.mode=intermediate compares the pictures of every resolution, and a "
            f"'{name}' generator makes the last one only{how}."
        )
    if d.relation and not styled:
        how = ways(c, [{"distil.relation": 0.0}], check=accepted)
        raise ConfigError(
            "distil.relation shifts the style that a mapping network makes, and a "
            f"'{name}' generator has none{how}."
        )
    if (c.path.weight or 0.0) > 0 and not styled:
        how = ways(c, [{"path.weight": 0.0}], check=accepted)
        raise ConfigError(
            f"path.weight is of StyleGAN2's styles, and a '{name}' generator has none{how}."
        )
    if d.relation and not relation_taps(teacher.net, d.relation_side):
        sides = ", ".join(map(str, dict.fromkeys(teacher.net.sides)))  # type: ignore[arg-type]
        how = ways(c, [{"distil.relation_side": 32}], check=accepted)
        raise ConfigError(
            f"distil.relation_side is {d.relation_side}, and this generator has layers of {sides} "
            f"pixels{how}."
        )
    alone = c.data.batch // distributed.world() < 2
    for term in ("relation", "mmd"):
        if getattr(d, term) and alone:
            how = ways(c, [{"data.batch": 2 * distributed.world()}], [{f"distil.{term}": 0.0}])
            raise ConfigError(
                f"distil.{term} compares the pictures of a batch with one another: it needs at "
                f"least 2 for each process{how}."
            )


def remarks(given: Given, c: ContentAwareConfig, distance: PictureDistance | None) -> Iterator[str]:
    """What is said at the start: that the discriminator is a fresh one, what stands for LPIPS, and
    a batch that does not suit the discriminator's minibatch statistics."""
    teacher, d = given.teacher, c.discriminator
    if teacher.discriminator is None and d.weight > 0:
        kind = "of the family's own kind" if family_discriminator(teacher) else "PatchGAN"
        yield (
            f"The teacher's file has no discriminator: a fresh one ({kind}) is trained "
            "(import --discriminator brings the teacher's)."
        )
    if distance is not None and not distance.is_lpips:
        yield (
            f"The perceptual term is {distance.name}; LPIPS is that of VGG-16 "
            "(distance.features=vgg16)."
        )
    own = discriminator_to_play(teacher, c)[0].discriminator
    if own is None or not isinstance(own.net, StyleGAN2Discriminator) or d.weight == 0:
        return
    each, group = c.data.batch // distributed.world(), own.net.group
    if each % group:
        fits = max(n for n in range(1, group) if each % n == 0)
        yield (
            f"A batch of {each}{' in each process' if distributed.world() > 1 else ''} is no "
            f"multiple of {group}, the pictures over which the teacher's discriminator takes its "
            f"statistics: it takes them over {fits} (--set data.batch="
            f"{-(-each // group) * group * distributed.world()})."
        )
