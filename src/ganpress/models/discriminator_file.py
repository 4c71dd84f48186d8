"""A discriminator's own file, where it is too large to lie beside its generator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_bytes

from ganpress.errors import CheckpointError, GanpressError
from ganpress.models.discriminator import Discriminator
from ganpress.models.stored import FORMAT, fill, not_finite, read_stored, unpack
from ganpress.nn.discriminators import build_discriminator
from ganpress.run.files import write_file


def save_discriminator(discriminator: Discriminator, path: Path, *, half: bool = False) -> Path:
    """Write a discriminator alone, where it is too large to lie beside its generator.

    Raises `CheckpointError` for values that are not finite, or not in half precision.
    """
    state = {n: t.detach().cpu() for n, t in discriminator.net.state_dict().items()}
    if half:
        state = {n: t.half() if t.is_floating_point() else t for n, t in state.items()}
    if bad := not_finite(state):
        raise CheckpointError(f"{path}: not saved, {bad[0]} has values that are not finite.")
    card = {"format": FORMAT, "discriminator": discriminator.card()}
    plain = {n: t.contiguous().clone() for n, t in state.items()}
    data = to_bytes(plain, metadata={"ganpress": json.dumps(card)})
    write_file(path, data)
    return path


def load_discriminator(path: Path) -> Discriminator:
    """Read what `save_discriminator` wrote, in float32. Raises `CheckpointError`."""
    card, state = read_stored(path)
    fields = card.get("discriminator")
    if "family" in card or not isinstance(fields, dict) or not {"kind", "options"} <= fields.keys():
        raise CheckpointError(f"{path} is not a discriminator alone: read it with ganpress.load.")
    try:
        discriminator = build_described(fields)
    except (KeyError, TypeError, GanpressError) as error:
        raise CheckpointError(
            f"{path} has a card that does not describe a discriminator "
            f"({type(error).__name__}: {error}). Write it again with the version that made it."
        ) from error
    fill(discriminator.net, unpack(state), source=str(path))
    return discriminator


def build_described(fields: Mapping[str, Any]) -> Discriminator:
    """The discriminator that a card's fields describe, on the meta device."""
    with torch.device("meta"):
        return Discriminator(build_discriminator(fields["kind"], **fields["options"]), **fields)
