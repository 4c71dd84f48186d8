"""Distances of student and teacher inside the mask."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ganpress.losses.features import Features
from ganpress.measures.interest.card import PRESETS
from ganpress.measures.interest.interest import Counted
from ganpress.measures.interest.settings import MaskSettings
from ganpress.types.pictures import as_widest


def masked_pairwise(net: Features, made: Tensor, wanted: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Unit distance and l1 of each picture to its reference inside the mask, (n,) each, >= 0.

    Both are weighted means over the mask, so that they do not depend on its area.

    Args: made, wanted: (n, c, h, w) in [-1, 1]. mask: (n, 1, h, w) in [0, 1], none of it empty.
    """
    ours, theirs = as_widest(made, wanted)
    difference = (ours - theirs).abs().mean(1, keepdim=True) / 2
    return {
        f"{net.name}-masked-unit-distance": masked_unit_distance(net, ours, theirs, mask),
        "masked-l1": _mean_inside(difference, mask),
    }


def masked_unit_distance(net: Features, a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """`losses.terms.unit_distance` of pictures multiplied by the mask, each layer's mean over space
    weighted by the mask at that layer's resolution (its mean over what a place covers).

    Args: a, b: (n, c, h, w) in [-1, 1]. mask: (n, 1, h, w) in [0, 1].
    Returns: (n,), 0 where pictures are equal inside the mask; each layer adds at most 4.
    """
    ours, theirs = net(a * mask), net(b * mask)
    found = []
    for tap in theirs:
        x, y = (F.normalize(maps[tap].float(), dim=1) for maps in (ours, theirs))
        weights = F.adaptive_avg_pool2d(mask, (x.shape[-2], x.shape[-1]))
        found.append(_mean_inside((x - y).square().sum(1, keepdim=True), weights))
    return torch.stack(found).sum(0)


def mask_protocol(mask: MaskSettings, interest: Counted) -> dict[str, str]:
    """The protocol's lines on the mask and on what is measured inside it."""
    card = f" ({mask.card})" if mask.card in PRESETS else ""
    source = f"{Path(mask.source or '').name}{card}, sha256 {(mask.digest or '')[:12]}"
    return {
        "mask": f"{source}, of the teacher's picture; empty, and so taken as the whole, in "
        f"{interest.empty} of {interest.seen}",
        "masked unit distance": "unit distance of pictures multiplied by the mask, mean over the "
        "mask",
        "masked-l1": "l1, mean over the mask",
    }


def _mean_inside(values: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean over space of (n, 1, h, w) values, (n,)."""
    return (values * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3))
