"""Perceptual distances of pictures that can be asked for by name, with gradients.

A distance is a frozen network, seen at its taps, with the learned weights of its channels or
without. Its name says which, so that a number under one is never taken for a number under another.
"""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from ganpress.errors import ConfigError, did_you_mean
from ganpress.losses.features import Features, load_features, weights_among
from ganpress.losses.terms import learned_unit_distance, unit_distance

AUTO = "auto"
"""Stands for the first of `PREFERRED` whose weights are here."""
PREFERRED = ("squeezenet",)
"""In this order."""
DISTANCES = {
    "squeezenet": "unit distance on SqueezeNet 1.1: LPIPS's form without its learned weights",
    "tiny": "the same on ganpress's own small network, whose weights are always here",
    "vgg16": "the same on VGG-16",
    "st-lpips-alex": "ST-LPIPS, with its learned weights",
}
MOST_PIXELS = 256
"""Larger pictures are averaged down to this side first, as StyleGAN2's projector and PPL do."""


class PictureDistance:
    """d(a, b) of pictures, (n,), >= 0, 0 for equal ones; the gradient flows to both.

    Attributes:
        name: fixes the protocol: network, weights, learned or not.
        features: the network.
    """

    def __init__(self, features: Features) -> None:
        self.features = features
        learned = len(features.heads) == len(features.taps)  # Inception's are its logits
        self._weights = list(features.heads.values()) if learned else []
        self.name = features.name if self._weights else f"{features.name}-unit-distance"

    def to(self, device: str) -> PictureDistance:
        """Move the network."""
        self.features.to(device)
        self._weights = [weight.to(device) for weight in self._weights]
        return self

    @property
    def protocol(self) -> str:
        """What it is, in a line."""
        form = "learned weights" if self._weights else "no learned weights: not LPIPS"
        return (
            f"squared difference of unit-length features of {self.features.name} (sha256 "
            f"{self.features.digest[:12]}), mean over space, sum over layers, {form}; pictures "
            f"beyond {MOST_PIXELS} px averaged down to that"
        )

    def maps(self, x: Tensor) -> dict[str, Tensor]:
        """What the network sees of pictures, (n, 1 to 4, h, w) in [-1, 1]: maps by tap."""
        factor = min(x.shape[2:]) // MOST_PIXELS
        seen: dict[str, Tensor] = self.features(F.avg_pool2d(x, factor) if factor > 1 else x)
        return seen

    def between(self, a: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        """The distance of pictures whose `maps` these are, (n,)."""
        return learned_unit_distance(a, b, self._weights) if self._weights else unit_distance(a, b)

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """The distance of pictures, (n, 1 to 4, h, w) each, in [-1, 1]: (n,)."""
        return self.between(self.maps(a), self.maps(b))


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
    chosen = PREFERRED[0] if name == AUTO else name
    at = weights_among(chosen, weights) if chosen == "st-lpips-alex" else weights
    features = load_features(chosen, weights=at)
    if side is not None and side < features.min_size:
        raise ConfigError(
            f"The distance '{chosen}' compares pictures of at least {features.min_size} pixels, "
            f"not {side}: choose another one ({', '.join(n for n in DISTANCES if n != chosen)})."
        )
    return PictureDistance(features)
