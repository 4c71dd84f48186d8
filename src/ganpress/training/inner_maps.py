"""The maps inside a discriminator, before its logits: what feature matching and the distillation
through a discriminator compare."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ganpress.errors import ConfigError
from ganpress.nn.taps import tapped
from ganpress.training.discriminator import DiscriminatorWithLoss
from ganpress.training.kit import float32_norms

LARGEST_SIDE = 1024  # pixels; a discriminator that cannot read this reads nothing


def inner_maps(
    discriminator: DiscriminatorWithLoss, x: Tensor, seen: Tensor | None = None
) -> list[list[Tensor]]:
    """For each scale, the output of every stage before the one that makes logits, the deepest last.

    A stage is a convolution with its norm and activation (PatchGANs, MUNIT, SPADE) or a residual
    block (SNGAN, StyleGAN2). The maps may be in bfloat16 (`half` of the discriminator).

    Args:
        x: (n, c, h, w), pictures alone or, where ``seen`` is None, all channels that it reads.
        seen: the condition that is read as channels before the picture; a class (n, k), which is
            read behind these maps alone, changes nothing.
    """
    if seen is not None and seen.ndim == 4:
        x = torch.cat([seen, x], 1)
    net, half = discriminator.net, discriminator.half_precision
    with (
        float32_norms(net),
        torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=half),
    ):
        return _STAGES[discriminator.kind](net, x)


def channels_read(discriminator: DiscriminatorWithLoss) -> int:
    """Channels of what its first layer reads: the picture's, and the condition's except classes."""
    classes = discriminator.kind == "sngan"
    return discriminator.made_channels + (0 if classes else discriminator.extra_channels)


def smallest_side(discriminator: DiscriminatorWithLoss) -> int:
    """The smallest power of two for which pictures of that height and width have `inner_maps`, also
    one by one and in training, where an InstanceNorm or BatchNorm needs more than one place."""
    ghost = copy.deepcopy(discriminator.net).to("meta", torch.float32).train()
    stages, channels = _STAGES[discriminator.kind], channels_read(discriminator)
    side = 1
    while side <= LARGEST_SIDE:
        try:
            with torch.no_grad():
                stages(ghost, torch.zeros(1, channels, side, side, device="meta"))
        except (RuntimeError, ValueError):
            side *= 2
        else:
            return side
    raise ConfigError(
        f"The discriminator ('{discriminator.kind}') has too many halvings for pictures of "
        f"{LARGEST_SIDE} pixels: take one with fewer layers."
    )


def _patch(net: Any, x: Tensor) -> list[list[Tensor]]:
    found = []
    for layer in net.model[:-1]:
        x = layer(x)
        if isinstance(layer, nn.LeakyReLU):
            found.append(x)
    return [found]


def _spade(net: Any, x: Tensor) -> list[list[Tensor]]:
    return [maps[:-1] for maps in net(x)]


def _munit(net: Any, x: Tensor) -> list[list[Tensor]]:
    names = [[f"cnns.{s}.{i}" for i in range(len(cnn) - 1)] for s, cnn in enumerate(net.cnns)]
    with tapped(net, [name for scale in names for name in scale]) as maps:
        net(x)
    return [[maps[name] for name in scale] for scale in names]


def _sngan(net: Any, x: Tensor) -> list[list[Tensor]]:
    return [_chain([net.block1, net.block2, net.block3, net.block4], x)]


def _stylegan2(net: Any, x: Tensor) -> list[list[Tensor]]:
    return [_chain(net.blocks, net.stem(x))]


def _chain(blocks: Any, x: Tensor) -> list[Tensor]:
    found = []
    for block in blocks:
        x = block(x)
        found.append(x)
    return found


_STAGES: dict[str, Callable[[Any, Tensor], list[list[Tensor]]]] = {
    "munit": _munit,
    "patch": _patch,
    "sngan": _sngan,
    "spade": _spade,
    "stylegan2": _stylegan2,
}
"""How each kind of `nn.discriminators` is read. StyleGAN2's stops before the standard deviation
over the batch, so that maps are of each picture alone and of any size."""
