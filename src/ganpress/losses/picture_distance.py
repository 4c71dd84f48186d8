"""The perceptual distances of pictures that can be asked for by name; the result's own name says
which one it is, so that a number under one is never taken for a number under another."""

from __future__ import annotations

from pathlib import Path

from ganpress.errors import ConfigError, WeightsError, did_you_mean
from ganpress.losses.feature_nets import NETS, VGG16
from ganpress.losses.features import Features, load_features, weights_among
from ganpress.losses.lpips import LPIPS_VGG_HEADS, PictureDistance, picture_distance
from ganpress.losses.weights import file_for, find_weights

AUTO = "auto"
"""Stands for LPIPS where its weights are on this machine, else for `INSTEAD`."""
INSTEAD = "squeezenet"
DISTANCES = {
    "lpips-vgg16": "LPIPS, with its learned weights",
    "squeezenet": "unit distance on SqueezeNet 1.1: LPIPS's form without its learned weights",
    "tiny": "the same on ganpress's own small network, whose weights are always here",
    "st-lpips-alex": "ST-LPIPS, with its learned weights",
}

_NETWORKS = {"lpips-vgg16": "vgg16", "squeezenet": "squeezenet-1.1"}


def load_distance(
    name: str = AUTO, *, weights: Path | None = None, side: int | None = None
) -> PictureDistance:
    """A perceptual distance by its name.

    Args:
        name: one of `DISTANCES`, or `AUTO`.
        weights: a weight file or folder, as of `load_features`.
        side: of the pictures to compare, pixels: refused where the network needs larger ones.
    Raises: ConfigError for a name that there is not, or pictures too small; WeightsError.
    """
    if name not in (*DISTANCES, AUTO):
        raise ConfigError(
            f"There is no distance '{name}'{did_you_mean(name, [*DISTANCES, AUTO])}. Distances: "
            f"{', '.join(DISTANCES)}, {AUTO}."
        )
    if side is not None:
        known = NETS.get(_NETWORKS.get(name, name))
        _check_side(name, side, known.min_size if known else 0)
    found = _loaded(name, weights)
    if side is not None:
        _check_side(name, side, found.features.min_size)
    return found


def _check_side(name: str, side: int, smallest: int) -> None:
    """Refuse pictures that are too small, before a network is fetched where it is known by then."""
    if side < smallest:
        others = ", ".join(other for other in DISTANCES if other != name)
        raise ConfigError(
            f"The distance '{name}' compares pictures of at least {smallest} pixels, not {side}: "
            f"choose another one ({others})."
        )


def _loaded(name: str, weights: Path | None) -> PictureDistance:
    if name == "lpips-vgg16" or (name == AUTO and lpips_is_here(weights)):
        return picture_distance("vgg16", weights)
    name = INSTEAD if name == AUTO else name
    at = weights_among(name, weights) if name == "st-lpips-alex" else weights
    return distance_on(load_features(name, weights=at))


def distance_on(features: Features) -> PictureDistance:
    """The distance on a network that is loaded: with its learned weights, where its file has some
    for every tap (Inception's are those of its logits)."""
    heads = list(features.heads.values())
    if heads and len(heads) == len(features.taps):
        return PictureDistance(features, heads, features.name)
    return PictureDistance(features, None, f"{features.name}-unit-distance")


def lpips_is_here(weights: Path | None = None) -> bool:
    """Whether the weights of LPIPS are on this machine: nothing is fetched."""
    files = (VGG16, LPIPS_VGG_HEADS)
    try:
        return all(find_weights(f, given=file_for(f, weights), fetch=False) for f in files)
    except WeightsError:
        return False
