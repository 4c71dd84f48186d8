"""What every method refuses before any training."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from ganpress.channels.ranking import Bind, unbound
from ganpress.data import Images
from ganpress.errors import ConfigError, NotPossible
from ganpress.losses.features import smallest_side
from ganpress.measures.interest.interest import interest_for, is_by_photo, masked_images
from ganpress.methods.base import Given
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import channels_of, check_ids, from_noise, made_size, reads
from ganpress.models.upstream import binding_of
from ganpress.run.proposals import fewer, ways
from ganpress.training.discriminator import (
    DiscriminatorWithLoss,
    check_size,
    starting_discriminator,
)
from ganpress.training.shared_settings import MethodSettings
from ganpress.types import Options, Widths
from ganpress.types.sizes import Size, is_multiple, multiples_near, shorter, words


def check_images(
    teacher: Model,
    images: Images | None,
    reals: Images | None,
    settings: MethodSettings,
    *,
    sizes: dict[str, Size] | None = None,
    reals_also: Mapping[str, bool] | None = None,
) -> None:
    """Refuse images that the teacher or the discriminator cannot use: ConfigError, ImagesError.

    Args:
        sizes: crops of the method's own stages by their settings' names, pixels.
        reals_also: settings with which the method itself looks at pictures of the target domain,
            and whether they are so.
    """
    check_mask(teacher, images, settings)
    if reals is not None and (why := own_reals(teacher, images)):
        raise ConfigError(
            "Pictures of the target domain (reals) are for photos without targets, and here "
            f"{why}: leave it out."
        )
    wants_real, name = settings.discriminator.real == "images", teacher.family.name
    crops = {"data.size": settings.data.size, **(sizes or {})}
    if from_noise(teacher):
        if wants_real:
            _check_drawn(made_size(teacher), images, crops)
        return
    if images is None:
        raise ConfigError(f"A '{name}' generator reads images: give them.")
    if "semantics" in reads(teacher) and not images.has_labels:
        raise ConfigError(f"A '{name}' generator reads label maps: give them (--labels).")
    check_ids(teacher, images)
    for key, size in crops.items():
        if not is_multiple(size, teacher.multiple):
            near = multiples_near(size, math.lcm(4, teacher.multiple))
            how = ways(settings, *([{key: one}] for one in near))
            raise ConfigError(
                f"{key} is {words(size)}; this '{name}' generator needs a multiple of "
                f"{teacher.multiple}{how}."
            )
    uses = {"discriminator.real=images": wants_real, **(reals_also or {})}
    if reals is not None and not any(uses.values()):
        raise ConfigError(f"Images of the target domain are used with {' or '.join(uses)} only.")
    unpaired = "image" in reads(teacher) and not images.paired
    if wants_real and unpaired and reals is None:
        raise ConfigError(
            "discriminator.real=images needs real pictures of the target domain: targets of the "
            "photos (pairs), or other images (reals); or set discriminator.real=teacher."
        )


def _check_drawn(side: int, images: Images | None, crops: dict[str, Size]) -> None:
    """Refuse real pictures of another size than those made of noise, of ``side`` pixels."""
    if images is None:
        raise ConfigError(
            "discriminator.real=images needs images: give them, or set it to teacher."
        )
    if set(crops.values()) != {side}:
        rest = "".join(f", and {other} not at all" for other in crops if other != "data.size")
        raise ConfigError(
            f"The teacher makes pictures of {side} pixels: with discriminator.real=images set "
            f"data.size={side}{rest}."
        )


def own_reals(teacher: Model, images: Images | None) -> str:
    """Why no further pictures can be real beside these images, as words; "": they can."""
    name = teacher.family.name
    if from_noise(teacher):
        return f"a '{name}' generator reads noise, so that the images are what is real"
    if "semantics" in reads(teacher):
        return "each label map comes with its photo"
    return "each photo comes with its target" if images is not None and images.paired else ""


def check_mask(teacher: Model, images: Images | None, settings: MethodSettings) -> None:
    """Refuse a mask that cannot be used: a network that gives something else than its card says,
    photos without their masks, and masks by photo where the generator reads none.

    Raises: ConfigError, WeightsError, MissingExtra, ImagesError.
    """
    mask = settings.mask
    if interest_for(mask) is None or not is_by_photo(mask):
        return
    if from_noise(teacher):
        raise ConfigError(
            f"The masks of {mask.source} belong to photos by their names, and a "
            f"'{teacher.family.name}' generator reads none: give a network, or boxes of every "
            "picture."
        )
    if images is not None:
        masked_images(images, mask)


def check_discriminator(
    given: Given,
    settings: MethodSettings,
    *,
    sizes: dict[str, Size] | None = None,
    resolve: Callable[[Given, Any], Any],
) -> None:
    """Refuse a discriminator that the teacher does not have (NotPossible), that cannot read the
    pictures it will be shown, or that reads beside them what the images do not have (ConfigError).

    Args:
        settings: resolved ones.
        sizes: crops of the method's own stages by their settings' names, pixels.
        resolve: the method's, by which proposals are tried.
    """
    d, teacher = settings.discriminator, given.teacher
    own = teacher.discriminator if d.start != "fresh" else None
    if d.fixed and d.start == "teacher" and own is None:
        raise NotPossible(
            "discriminator.fixed needs the discriminator that the teacher was trained against, "
            "and there is none in its file: import or train the teacher with it "
            "(import --discriminator), or set discriminator.fixed=false."
        )
    crops = [settings.data.size, *(sizes or {}).values()]
    seen = made_size(teacher) if from_noise(teacher) else min(map(shorter, crops))
    start = {"discriminator.start": "fresh"}
    layers = fewer("discriminator.layers", d.layers)
    check = partial(resolve, given)
    if own is not None:
        anew = [start, *({**start, **f} for f in layers)]
        try:
            shown = starting_discriminator(d, own, reads(teacher), channels_of(teacher))
            check_size(shown, seen)
        except ConfigError as error:
            how = ways(settings, anew, check=check)
            raise ConfigError(f"{error} Enlarge the crop, or start from a new one{how}.") from error
        if d.real == "images" and d.weight > 0 and (why := _lacking(shown, given.images)):
            raise ConfigError(f"{why}, or start from a new one{ways(settings, anew, check=check)}.")
    elif d.weight > 0 and seen < (smallest := 3 * 2**d.layers):
        fits = [f for f in layers if 3 * 2 ** f["discriminator.layers"] <= seen]
        larger = [] if from_noise(teacher) else [{"data.size": smallest}]
        raise ConfigError(
            f"A discriminator of discriminator.layers={d.layers} needs pictures of at least "
            f"{smallest} pixels, got {seen}: {'enlarge the crops or ' if larger else ''}lower "
            f"discriminator.layers{ways(settings, larger, fits, check=check)}."
        )


def check_features(
    given: Given,
    settings: MethodSettings,
    *,
    sizes: dict[str, Size] | None = None,
    resolve: Callable[[Given, Any], Any],
) -> None:
    """Refuse pictures that the feature network of the settings cannot read, by which students are
    evaluated at the end, whatever they are trained by: ConfigError.

    Args: as of `check_discriminator`.
    """
    name, crops = settings.distance.features, [settings.data.size, *(sizes or {}).values()]
    drawn = from_noise(given.teacher)
    seen = made_size(given.teacher) if drawn else min(map(shorter, crops))
    if seen < (smallest := smallest_side(name)):
        others = [{"distance.features": n} for n in ("vgg16", "tiny") if smallest_side(n) <= seen]
        raise ConfigError(
            f"distance.features={name} reads pictures of at least {smallest} pixels, and these "
            f"have {seen}{ways(settings, others[::-1], check=partial(resolve, given))}."
        )


def _lacking(shown: DiscriminatorWithLoss, images: Images | None) -> str:
    """What a conditional discriminator reads of real pictures and these images do not have, as the
    beginning of a message; "": nothing."""
    classes = images.classes if images is not None else None
    if shown.kind == "patch" and shown.is_conditional and not (images and images.paired):
        return (
            "The teacher's discriminator reads each picture beside the photo that it was made "
            "from, and pictures of the target domain (reals) are of no photo: give targets "
            "(pairs), leave reals out"
        )
    if shown.kind != "sngan" or not shown.is_conditional:
        return ""
    asked = "The teacher's discriminator reads classes"
    if images is None or classes is None:
        return f"{asked}, which the images do not have: give a pack (.npz) with 'labels'"
    if (top := int(classes.max())) >= shown.extra_channels:
        name, most = images.names[int(classes.argmax())], shown.extra_channels - 1
        return f"{asked} 0 to {most}, and '{name}' is of class {top}: check the pack's labels"
    return ""


def binding(
    family: str,
    options: Options,
    widths: Widths,
    settings: MethodSettings,
    prunable: Collection[str],
    *,
    otherwise: str = "Leave target.layout out",
) -> Bind:
    """What ``target.layout`` allows the widths of a student to be; everything where it is not set.

    Args:
        options: those that the student is exported with.
        widths: its present ones.
        prunable: groups that the method can narrow.
        otherwise: what to do where these can never be narrower in that class.
    Raises: ConfigError where the code base has no such network, or no narrower one by pruning
        these groups.
    """
    layout = settings.target.layout
    if layout is None:
        return unbound
    found = binding_of(
        layout,
        family,
        options,
        widths,
        scaled=options.get("norm") == "instance" and bool(options.get("affine")),
        whole=[g for g in widths if g not in prunable],
        multiple=settings.channel_multiple,
    )
    if not set(found.free) & set(prunable):
        raise ConfigError(
            f"target.layout={layout} leaves nothing to prune: in {found.of.name} of {found.of.of} "
            "the groups that can be pruned here are fixed, or hang on one number with groups that "
            f"stay whole. {otherwise}, and export to 'pth-plain' or to onnx."
        )
    return found


def rounded_up(cost: float) -> float:
    """A cost rounded up to four digits: what is said to be reached must not be below it."""
    digits = 3 - math.floor(math.log10(cost))
    return math.ceil(round(cost * 10.0**digits, 6)) / float(10.0**digits)


def without_loss(
    c: MethodSettings, instead: Mapping[str, float], check: Callable[[Any], object]
) -> ConfigError:
    """What is said where neither the discriminator nor ``distil`` has a weight.

    Args: instead: a weight of the method's own that would make a loss. check: of all settings.
    """
    how = ways(c, [{"discriminator.weight": 1.0}], [instead], check=check)
    return ConfigError(
        "With discriminator.weight=0 and without a weight in distil there is no loss to train "
        f"with: give one of them{how}."
    )
