"""CartoonGAN generators with the keys of the published PyTorch port (Hayao, Hosoda, ...).

conv01_1 .. conv03_2 go down, conv04_1 onwards are the blocks, deconv* go up, in*.scale and .shift
are InstanceNorm's. The published nets read and write BGR: the first convolution's inputs and the
last one's outputs are turned round, so that ours reads and writes RGB. A network of the same class
that was trained on RGB has the same tensors: option ``colours``. Those of other numbers of channels
(grey, alpha) have no such order and are taken as they are.
"""

from __future__ import annotations

from typing import Any

from ganpress.errors import ConfigError
from ganpress.formats.importers.assumed import assumption
from ganpress.formats.importers.fitting import Plan
from ganpress.models.checkpoint import Model
from ganpress.types import State

FIRST_BLOCK = 4
COLOURS = (
    "the published files read and write BGR; one trained on RGB has the same tensors, and would "
    "come out with red and blue exchanged"
)


def plan(state: State, *, source: str, config: str | None, **options: Any) -> Plan:
    """How a CartoonGAN checkpoint becomes a `cartoongan` generator; widths from the shapes.

    Args: options: ``colours``, the order of its channels: "bgr" (the default) or "rgb".
    """
    unknown = [*(["config"] if config is not None else []), *(options.keys() - {"colours"})]
    if unknown:
        raise ConfigError(f"Kind 'cartoongan' takes no '{unknown[0]}': all is read off {source}.")
    blocks = _count_blocks(state)
    layers, names = layer_names(blocks), tensor_names(blocks)
    made = Plan("cartoongan", {"blocks": blocks}, names=names)
    groups = {"stem": "stem.conv", "down1a": "down1.0", "down1": "down1.1.conv"}
    groups |= {"down2a": "down2.0", "trunk": "down2.1.conv"}
    groups |= {f"block{i}": f"blocks.{i}.conv1" for i in range(blocks)}
    groups |= {"up1a": "up1.0", "up1": "up1.1.conv", "up2a": "up2.0", "up2": "up2.1.conv"}
    for group, layer in groups.items():
        transposed = group in ("up1a", "up2a")  # (in, out, h, w)
        made.width(state, group, f"{layers[layer]}.weight", 1 if transposed else 0)
    made.channels(state, "in_channels", names["stem.conv.weight"], 1, source)
    made.channels(state, "out_channels", names["out.conv.weight"], 0, source)
    if options.get("colours", "bgr") == "bgr":
        made.turn_colours("stem.conv", "out.conv")
    of_colours = 3 in (made.options.get("in_channels"), made.options.get("out_channels"))
    if "colours" not in options and of_colours:
        made.assumed |= assumption("colours", "bgr", ["rgb"], COLOURS)
    return made


def _count_blocks(state: State) -> int:
    count = 0
    while f"conv{FIRST_BLOCK + count:02d}_1.weight" in state:
        count += 1
    return count


def layer_names(blocks: int) -> dict[str, str]:
    """Our layers -> the file's."""
    names = {"stem.conv": "conv01_1", "stem.norm": "in01_1"}
    for step, i in {"down1": 2, "down2": 3}.items():
        names |= {f"{step}.0": f"conv0{i}_1", f"{step}.1.conv": f"conv0{i}_2"}
        names[f"{step}.1.norm"] = f"in0{i}_1"
    for b in range(blocks):
        for half in (1, 2):
            names[f"blocks.{b}.conv{half}"] = f"conv{FIRST_BLOCK + b:02d}_{half}"
            names[f"blocks.{b}.norm{half}"] = f"in{FIRST_BLOCK + b:02d}_{half}"
    for step, i in {"up1": 1, "up2": 2}.items():
        names |= {f"{step}.0": f"deconv0{i}_1", f"{step}.1.conv": f"deconv0{i}_2"}
        names[f"{step}.1.norm"] = f"in{FIRST_BLOCK + blocks + i - 1:02d}_1"
    return names | {"out.conv": "deconv03_1"}


def tensor_names(blocks: int) -> dict[str, str]:
    """Our tensors -> the file's."""
    names: dict[str, str] = {}
    for ours, theirs in layer_names(blocks).items():
        is_norm = ours.rpartition(".")[2].startswith("norm")
        weight, bias = ("scale", "shift") if is_norm else ("weight", "bias")
        names |= {f"{ours}.weight": f"{theirs}.{weight}", f"{ours}.bias": f"{theirs}.{bias}"}
    return names


def state_of(model: Model) -> State:
    """The generator's tensors under the port's names, reading and writing BGR as it does
    where it has three channels.

    Raises: ConfigError for what the port does not have: separable blocks, BatchNorm, norms
        without scales, and residual blocks that were emptied.
    """
    options, empty = model.options, [g for g, width in model.widths.items() if not width]
    if options["separable"] or options["norm"] != "instance" or not options["affine"] or empty:
        raise ConfigError(
            "The published CartoonGAN has plain blocks with scaled InstanceNorms, "
            f"{options['blocks']} of them, none emptied; this generator "
            + (f"lost {', '.join(empty)}." if empty else f"has {options}.")
        )
    names = tensor_names(options["blocks"])
    back = Plan("cartoongan", {})
    back.turn_colours("stem.conv", "out.conv")
    turn = back.turned
    state = {n: turn[n](t) if n in turn else t for n, t in model.net.state_dict().items()}
    return {names[ours]: t.contiguous() for ours, t in state.items()}
