"""Discriminators. They are never compressed, so their layers carry no axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ganpress.errors import ConfigError, did_you_mean
from ganpress.nn.discriminators.munit import MunitDiscriminator
from ganpress.nn.discriminators.patch import PatchDiscriminator
from ganpress.nn.discriminators.sngan import SnganDiscriminator
from ganpress.nn.discriminators.spade import SpadeDiscriminator
from ganpress.nn.discriminators.stylegan2 import StyleGAN2Discriminator

DISCRIMINATORS: dict[str, Callable[..., nn.Module]] = {
    "munit": MunitDiscriminator,
    "patch": PatchDiscriminator,
    "sngan": SnganDiscriminator,
    "spade": SpadeDiscriminator,
    "stylegan2": StyleGAN2Discriminator,
}


def build_discriminator(kind: str, **options: Any) -> nn.Module:
    """A fresh discriminator of one of the `DISCRIMINATORS`; options are its class's arguments.

    Raises `ConfigError` for a kind or an option that does not exist.
    """
    if kind not in DISCRIMINATORS:
        raise ConfigError(
            f"There is no discriminator '{kind}'{did_you_mean(kind, DISCRIMINATORS)}. "
            f"Discriminators: {', '.join(DISCRIMINATORS)}."
        )
    try:
        return DISCRIMINATORS[kind](**options)
    except TypeError as error:
        raise ConfigError(f"Discriminator '{kind}' cannot be built: {error}.") from error


__all__ = ["DISCRIMINATORS", "PatchDiscriminator", "build_discriminator"]
