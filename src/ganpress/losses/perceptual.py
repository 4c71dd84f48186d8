"""The perceptual loss of pix2pixHD and SPADE: L1 between feature maps of five depths."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ganpress.losses.features import Features, load_features

LAYER_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)  # of VGG's five depths, the deepest last
TAPS = {"squeezenet": ("relu1", "fire3", "fire5", "fire7", "fire9")}
"""One tap for each resolution, where a network has more taps than that."""


def perceptual_features(name: str, weights: Path | None = None) -> Features:
    """The feature network of `perceptual`, read at its depths (`load_features`)."""
    return load_features(name, weights=weights, taps=TAPS.get(name))


def perceptual(features: Features, fake: Tensor, real: Tensor) -> Tensor:
    """L1 between feature maps, deeper ones weighing more (pix2pixHD's 1/32 to 1).

    A network of fewer than five taps has the last of these weights.

    Args: fake, real: (n, 1 to 4, h, w) in [-1, 1]; ``real`` gets no gradient.
    """
    with torch.no_grad():
        target = features(real)
    found = features(fake)
    depths = LAYER_WEIGHTS[-len(target) :]
    terms = [w * F.l1_loss(found[tap], target[tap]) for w, tap in zip(depths, target, strict=True)]
    return torch.stack(terms).sum()
