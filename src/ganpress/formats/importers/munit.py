"""MUNIT's generators: NVlabs' AdaINGen, and GAN Compression's full, mobile and student forms.

A checkpoint of NVlabs is {"a": state, "b": state}, one auto-encoder per domain: `direction` says
which way to translate, and the content encoder comes from one, the rest from the other. A single
state is taken as it is: an auto-encoder (which reconstructs, or changes the style within a
domain), or a translator that GAN Compression's assemble.py put together.

AdaIN's running_mean and running_var in NVlabs' files are dummies, never read.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from ganpress.errors import CheckpointError, ConfigError
from ganpress.formats.importers.assumed import Assumed, assumption
from ganpress.formats.importers.fitting import DiscriminatorPlan, Plan
from ganpress.models.checkpoint import Model
from ganpress.models.families.munit import STYLE_DOWN
from ganpress.types import State

DIRECTIONS = ("a2b", "b2a")
BOTH = "the file has both directions"
PLAIN = {"pad_type": "reflect", "activ": "relu"}
UNSAID = (
    "the settings of NVlabs' published networks; with another padding or activation in its .yaml a "
    "network has the same tensors"
)
_DUMMY = re.compile(r"(?:[ab]\.)?dec\..*\.norm\.running_(?:mean|var)")


def plan(state: State, *, source: str, config: str | None, **options: Any) -> Plan:
    """How a MUNIT checkpoint becomes a `munit` generator; widths and options from the shapes.

    Args:
        config: GAN Compression's config of 10 numbers; if given, the file must agree with it.
        options: ``direction`` "a2b" (the default) or "b2a" for a file of both domains.
    Raises: ConfigError for another option or direction, or a config that is not the file's.
    """
    for name in options.keys() - {"direction"}:
        raise ConfigError(f"Kind 'munit' takes no '{name}': it is read off {source}.")
    first, second = _domains(state, source, options.get("direction"))
    found = _options(state, first, second)
    theirs = layer_names(found)
    names = {
        ours: (first if t.startswith("enc_content.") else second) + t for ours, t in theirs.items()
    }
    used = set(names.values())
    made = Plan("munit", found, names=names)
    other = [n for n in state if n not in used and n.startswith(("a.", "b."))] if first else []
    made.ignored = {*other, *(n for n in state if _DUMMY.fullmatch(n))}
    made.channels(state, "in_channels", names["content.0.conv.weight"], 1, source)
    made.channels(state, "out_channels", names["decoder.out.conv.weight"], 0, source)
    if first and "direction" not in options:
        made.assumed |= assumption("direction", "a2b", ["b2a"], BOTH)
    made.assumed |= {"pad_type": Assumed(value=PLAIN, why=UNSAID, otherwise=[])}
    _read_widths(made, state, first, second)
    if config is not None:
        _check(config, made, source)
    return made


def _domains(state: State, source: str, direction: str | None) -> tuple[str, str]:
    """Prefixes of the content encoder and of the rest."""
    if direction is not None and direction not in DIRECTIONS:
        raise ConfigError(f"direction is one of {', '.join(DIRECTIONS)}, got {direction!r}.")
    if all(n.startswith(("a.", "b.")) for n in state):
        return ("b.", "a.") if direction == "b2a" else ("a.", "b.")
    if direction is not None:
        raise ConfigError(
            f"{source} holds one network, not those of two domains: leave 'direction' out."
        )
    return "", ""


def _options(state: State, first: str, second: str) -> dict[str, Any]:
    """Options from the names and shapes; what a damaged file does not say is guessed, and the
    missing tensors are named later."""
    down = max(1, _count(state, f"{first}enc_content.model.", ".conv.weight") - 1)
    blocks = f"{first}enc_content.model.{down + 1}.model."
    separable = f"{second}dec.model.2.conv.conv.0.weight" in state or any(
        n.startswith(blocks) and ".conv.conv.0." in n for n in state
    )
    numbers = {n[len(blocks) :].split(".")[0] for n in state if n.startswith(blocks)}
    style = state.get(f"{second}mlp.model.0.fc.weight")
    return {
        "style_dim": style.shape[1] if style is not None and style.ndim == 2 else 8,
        "down": down,
        "res": max(1, len(numbers)),
        "separable": separable,
        "style_encoder": any(n.startswith(f"{second}enc_style.") for n in state),
    }


def _count(state: State, start: str, end: str) -> int:
    count = 0
    while f"{start}{count}{end}" in state:
        count += 1
    return count


def _last(separable: bool) -> str:
    """The weight that says a convolution's output width."""
    return ".conv.2.weight" if separable else ".weight"


def layer_names(options: dict[str, Any]) -> dict[str, str]:
    """Our tensors -> those of AdaINGen (without the domain's prefix)."""
    down, res, separable = options["down"], options["res"], options["separable"]
    names: dict[str, str] = {}

    def add(ours: str, theirs: str, separable: bool = False) -> None:
        halves = {".depthwise": ".conv.0", ".pointwise": ".conv.2"} if separable else {"": ""}
        for mine, yours in halves.items():
            for leaf in ("weight", "bias"):
                names[f"{ours}{mine}.{leaf}"] = f"{theirs}{yours}.{leaf}"

    for i in range(down + 1):
        add(f"content.{i}.conv", f"enc_content.model.{i}.conv")
    for i in range(res):
        for half in (0, 1):
            ours = f"content.{down + 1 + i}.conv{half + 1}"
            add(ours, f"enc_content.model.{down + 1}.model.{i}.model.{half}.conv", separable)
            ours = f"decoder.blocks.{i}.conv{half + 1}"
            add(ours, f"dec.model.0.model.{i}.model.{half}.conv", separable)
    for i in range(down):
        theirs = f"dec.model.{2 * i + 2}"
        add(f"decoder.ups.{i}.conv", f"{theirs}.conv", separable)
        names[f"decoder.ups.{i}.norm.weight"] = f"{theirs}.norm.gamma"
        names[f"decoder.ups.{i}.norm.bias"] = f"{theirs}.norm.beta"
    add("decoder.out.conv", f"dec.model.{2 * down + 1}.conv")
    if options["style_encoder"]:
        for i in range(STYLE_DOWN + 1):
            add(f"style.{i}.conv", f"enc_style.model.{i}.conv")
        add(f"style.{STYLE_DOWN + 2}", f"enc_style.model.{STYLE_DOWN + 2}")
    for i in range(3):
        add(f"mlp.{2 * i}", f"mlp.model.{i}.fc")
    return names


def _read_widths(made: Plan, state: State, first: str, second: str) -> None:
    down, separable = made.options["down"], made.options["separable"]
    last = _last(separable)
    content, dec = f"{first}enc_content.model.", f"{second}dec.model."
    for i, group in enumerate(["stem", *(f"down{i}" for i in range(1, down)), "trunk"]):
        made.width(state, group, f"{content}{i}.conv.weight", 0)
    for i in range(made.options["res"]):
        made.width(state, f"res{i}", f"{content}{down + 1}.model.{i}.model.0.conv{last}", 0)
        made.width(state, f"dec{i}", f"{dec}0.model.{i}.model.0.conv{last}", 0)
    for i in range(down):
        made.width(state, f"up{i + 1}", f"{dec}{2 * i + 2}.conv{last}", 0)
    if made.options["style_encoder"]:
        for i in range(STYLE_DOWN + 1):
            made.width(state, f"style{i}", f"{second}enc_style.model.{i}.conv.weight", 0)
    for i in range(2):
        name = f"{second}mlp.model.{i}.fc.weight"
        if name in state:
            made.widths[f"mlp{i}"] = state[name].shape[0]
        else:
            made.unread.append(name)


def widths_of_config(config: str, *, style_encoder: bool = True) -> dict[str, int]:
    """Widths of GAN Compression's config string, as '16_16_16_24_56_16_40_40_32_24'.

    In order: style encoder; content stem, down1 * 2, trunk * 4; inner widths * 4 of the content
    encoder's first and second pair of blocks, then of the decoder's; up1 * 2; up2. The MLP is
    not searched: 256.
    Raises: ConfigError where it is not 10 whole numbers from 1 joined by '_'.
    """
    parts = config.split("_")
    if len(parts) != 10 or not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise ConfigError(
            f"'{config}' is no MUNIT config of GAN Compression: it is 10 numbers, as in "
            "16_16_16_24_56_16_40_40_32_24."
        )
    style, stem, down1, trunk, *pairs, up1, up2 = map(int, parts)
    widths = {"stem": stem, "down1": 2 * down1, "trunk": 4 * trunk}
    for part, inner in (("res", pairs[:2]), ("dec", pairs[2:])):
        widths |= {f"{part}{i}": 4 * inner[i // 2] for i in range(4)}
    widths |= {"up1": 2 * up1, "up2": up2}
    if style_encoder:
        widths |= {f"style{i}": style * 2 ** min(i, 2) for i in range(STYLE_DOWN + 1)}
    return widths | {"mlp0": 256, "mlp1": 256}


def _check(config: str, made: Plan, source: str) -> None:
    described = widths_of_config(config, style_encoder=made.options["style_encoder"])
    if not made.options["separable"]:
        raise ConfigError(
            f"{source} has full convolutions; a config ('{config}') describes separable students. "
            "Leave the config out."
        )
    wrong = [
        f"{group} {width} in the file, {described.get(group, 'none')} in the config"
        for group, width in made.widths.items()
        if width != described.get(group) and not group.startswith("mlp")
    ]
    if wrong and not made.unread:
        raise ConfigError(
            f"Config '{config}' is not that of {source}: {', '.join(wrong)}. Leave the config out "
            "to read the widths off the file."
        )


def state_of(model: Model) -> State:
    """The tensors under the names of NVlabs' AdaINGen, with AdaIN's dummy buffers; of a separable
    network, which only GAN Compression has, as `bare_state_of`.

    Raises: CheckpointError for a network with an emptied block, which neither class can hold.
    """
    out = bare_state_of(model)
    if model.options["separable"]:
        return out
    for i in range(model.options["res"]):
        for half, group in ((0, f"dec{i}"), (1, "trunk")):
            at = f"dec.model.0.model.{i}.model.{half}.norm.running"
            out[f"{at}_mean"] = torch.zeros(model.widths[group])
            out[f"{at}_var"] = torch.ones(model.widths[group])
    return out


def bare_state_of(model: Model) -> State:
    """The tensors under GAN Compression's names, whose AdaIN has no buffers; errors as above."""
    state = model.net.state_dict()
    empty = [g for g, width in model.widths.items() if width == 0]
    if empty:
        raise CheckpointError(
            f"Block '{empty[0]}' has no channels left; MUNIT's classes have no such block. Keep at "
            "least one channel of it."
        )
    names = layer_names(model.options)
    return {theirs: state[ours].detach().float().clone() for ours, theirs in names.items()}


def discriminator_plan(state: State, *, source: str, direction: str = "a2b") -> DiscriminatorPlan:
    """How a file of MsImageDis becomes a `munit` discriminator.

    Args: direction: of a file of both domains, the one that the translator ends in.
    Raises: CheckpointError where the file holds no such discriminator.
    """
    both = all(n.startswith(("a.", "b.")) for n in state)
    at = ("a." if direction == "b2a" else "b.") if both else ""
    layers = _count(state, f"{at}cnns.0.", ".conv.weight")
    first = state.get(f"{at}cnns.0.0.conv.weight")
    if first is None or first.ndim != 4:
        raise CheckpointError(
            f"{source} holds no discriminator of MUNIT: cnns.0.0.conv.weight is missing. Its first "
            f"tensors are {', '.join(list(state)[:10])}."
        )
    scales = _count(state, f"{at}cnns.", ".0.conv.weight")
    options = {
        "inputs": first.shape[1], "width": first.shape[0], "layers": layers, "scales": scales
    }  # fmt: skip
    names: dict[str, str] = {}
    for i in range(scales):
        for j in range(layers + 1):
            part = f"cnns.{i}.{j}" + (".conv" if j < layers else "")
            names |= {f"{part}.{leaf}": f"{at}{part}.{leaf}" for leaf in ("weight", "bias")}
    other = [n for n in state if both and not n.startswith(at)]
    return DiscriminatorPlan("munit", options, names, other)
