"""SNGAN's CIFAR-10 networks of GongXinyuu/sngan.pytorch (also those of AutoGAN's code base).

Their blocks are numbered from 2 (l1 is the first); widths, the size of z and that of the first map
are read off the shapes. A discriminator under spectral norm keeps the vectors of the file.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from ganpress.errors import CheckpointError, ConfigError
from ganpress.formats.importers.fitting import STATISTICS, DiscriminatorPlan, Plan
from ganpress.models.checkpoint import Model
from ganpress.models.families.sngan import BLOCKS
from ganpress.types import State

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
CONV = ("weight", "bias")
LAYERS = {"b1": NORM, "c1": CONV, "b2": NORM, "c2": CONV, "c_sc": CONV}
TABLES = {"weight": "gain", "bias": "shift"}
"""What a norm that the shortcut goes around calls its scale and bias here; tables of one row."""


def tensor_names() -> dict[str, str]:
    """Our tensors by name -> upstream's."""
    names = {f"l1.{e}": f"l1.{e}" for e in CONV}
    for i in range(BLOCKS):
        for layer, entries in LAYERS.items():
            for e in entries:
                ours = TABLES.get(e, e) if layer == "b1" else e
                names[f"blocks.{i}.{layer}.{ours}"] = f"block{i + 2}.{layer}.{e}"
    names |= {f"b5.{e}": f"b5.{e}" for e in NORM}
    return names | {f"c5.{e}": f"c5.{e}" for e in CONV}


def plan(state: State, *, source: str, config: str | None = None, **options: Any) -> Plan:
    """How a generator's file becomes an 'sngan' generator.

    Args: options: ``norm`` "instance" takes each picture's statistics, not those of the file.
    Raises: ConfigError for a config string; CheckpointError where l1 does not fit the blocks.
    """
    if config is not None:
        raise ConfigError(
            f"SNGAN files have no config string ('{config}'): widths are read off {source}."
        )
    found = Plan("sngan", {}, names=tensor_names())
    found.width(state, "stem", "block2.c1.weight", 1)
    for i in range(BLOCKS):
        found.width(state, f"mid{i}", f"block{i + 2}.c1.weight", 0)
        found.width(state, f"block{i}", f"block{i + 2}.c2.weight", 0)
    found.options = {**_options(state, found.widths["stem"], source), **options}
    found.channels(state, "out_channels", "c5.weight", 0, source)
    if options.get("norm") == "instance":
        found.ignored = [n for n in state if n.endswith(STATISTICS)]
    found.made = {
        ours: ((theirs,), _row)
        for ours, theirs in found.names.items()
        if ours.endswith(tuple(TABLES.values()))
    }
    return found


def _options(state: State, stem: int, source: str) -> dict[str, int]:
    weight = state.get("l1.weight")
    if weight is None or weight.ndim != 2:
        return {}
    side = math.isqrt(weight.shape[0] // stem)
    if stem * side * side != weight.shape[0]:
        raise CheckpointError(
            f"{source}: l1.weight has {weight.shape[0]} rows, which make no square maps of the "
            f"{stem} channels that block2.c1.weight reads."
        )
    return {"latent_dim": weight.shape[1], "bottom_width": side}


def _row(vector: Tensor) -> Tensor:
    """(c,) -> (1, c)."""
    return vector.reshape(1, -1)


def state_of(model: Model) -> State:
    """The generator's tensors under upstream's names.

    Raises: ConfigError for a conditional network and one with InstanceNorm, which upstream does
        not have.
    """
    if model.options["norm"] == "instance":
        raise ConfigError(
            "GongXinyuu's SNGAN has BatchNorm only, and this network (norm=instance) takes the "
            "statistics of each picture: export it to onnx."
        )
    if model.options["classes"]:
        raise ConfigError("GongXinyuu's SNGAN has no classes: this network does not fit its keys.")
    state = model.net.state_dict()
    return {
        theirs: state[ours].reshape(-1) if ours.endswith(tuple(TABLES.values())) else state[ours]
        for ours, theirs in tensor_names().items()
    }


def discriminator_plan(state: State, *, source: str) -> DiscriminatorPlan:
    """How a discriminator's file becomes an 'sngan' one, with or without spectral norm.

    Raises: CheckpointError where block1.c1 is missing.
    """
    bias = state.get("block1.c1.bias")
    if bias is None or bias.ndim != 1:
        raise CheckpointError(f"{source} does not hold a discriminator of SNGAN (block1.c1.bias).")
    sn = "block1.c1.weight_orig" in state
    first = state.get("block1.c1.weight_orig" if sn else "block1.c1.weight")
    inputs = first.shape[1] if first is not None and first.ndim == 4 else 3
    names: dict[str, str] = {}
    for i in range(1, 5):
        for layer in ("c1", "c2", "c_sc")[: 3 if i <= 2 else 2]:
            names |= _weight(f"block{i}.{layer}", sn)
            names[f"block{i}.{layer}.bias"] = f"block{i}.{layer}.bias"
    names |= _weight("l5", sn)
    return DiscriminatorPlan(
        "sngan",
        {"inputs": inputs, "width": len(bias), "classes": 0, "spectral_norm": sn},
        names,
    )


def _weight(layer: str, sn: bool) -> dict[str, str]:
    if not sn:
        return {f"{layer}.weight": f"{layer}.weight"}
    at = f"{layer}.parametrizations.weight"
    vectors = {f"{at}.0._{v}": f"{layer}.weight_{v}" for v in "uv"}
    return {f"{at}.original": f"{layer}.weight_orig", **vectors}
