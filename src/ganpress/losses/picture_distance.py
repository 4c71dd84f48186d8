"""The perceptual distances of pictures that can be asked for by name; the result's own name says
which one it is, so that a number under one is never taken for a number under another."""

from __future__ import annotations

from pathlib import Path

from ganpress.errors import ConfigError, WeightsError, did_you_mean
from ganpress.losses.feature_nets import VGG16
from ganpress.losses.features import Features, load_features, smallest_side, weights_among
from ganpress.losses.lpips import LPIPS_VGG_HEADS, PictureDistance, picture_distance
from ganpress.losses.weights import file_for, find_weights

AUTO = "auto"
"""Stands for LPIPS where its weights are on this machine, else for `INSTEAD`."""
LPIPS, INSTEAD = "lpips-vgg16", "squeezenet"
DISTANCES = {
    LPIPS: "LPIPS, with its learned weights",
    "squeezenet": "unit distance on SqueezeNet 1.1: LPIPS's form without its learned weights",
    "tiny": "the same on ganpress's own small network, whose weights are always here",
    "st-lpips-alex": "ST-LPIPS, with its learned weights",
}


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
    if name == AUTO:
        name = LPIPS if lpips_is_here(weights) else INSTEAD
    network = "vgg16" if name == LPIPS else name
    smallest = smallest_side(network)
    if side is not None and side < smallest:  # before anything is fetched
        others = ", ".join(other for other in DISTANCES if other != name)
        raise ConfigError(
            f"The distance '{name}' compares pictures of at least {smallest} pixels, not {side}: "
            f"choose another one ({others})."
        )
    if name == LPIPS:
        return picture_distance(network, weights)
    at = weights_among(network, weights) if name == "st-lpips-alex" else weights
    return distance_on(load_features(network, weights=at))


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
