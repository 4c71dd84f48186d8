"""Tiny networks in float64 for channel scores, and what the scores are computed on."""

from __future__ import annotations

import copy
from typing import Any

import torch
from nets import WIRINGS, Wiring
from torch import Tensor, nn

from ganpress.methods.content_aware.scores.drawn import (
    Drawn,
    Sample,
)
from ganpress.models.spaces import latent_of
from ganpress.types import Inputs


def drawn_of(*batches: Inputs, interest: Any = None) -> Drawn:
    return Drawn(lambda: map(Sample, batches), interest)


def doubled(wiring: Wiring) -> nn.Module:
    return copy.deepcopy(wiring.net()).double()


def frozen(wiring: Wiring) -> nn.Module:
    return doubled(wiring).requires_grad_(False)


def inputs(wiring: Wiring, n: int = 2, seed: int = 1) -> Inputs:
    return tuple(t.double() for t in wiring.inputs(n, seed))


def fixed_noise(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Far from any picture, so that no difference changes its sign between two steps."""
    checks = torch.arange(mask.numel(), device=mask.device).view_as(mask) % 3 == 0
    return checks.to(mask) * mask, torch.where(checks, 9.0, -9.0).to(mask)


def latents(name: str) -> tuple[nn.Module, Inputs, Any]:
    wiring = WIRINGS[name]
    net = doubled(wiring)
    latent = latent_of(net)
    assert latent is not None
    return net, inputs(wiring), latent
