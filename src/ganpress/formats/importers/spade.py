"""SPADE generators of NVlabs and of GAN Compression (full, mobile, and its students).

Both code bases name the layers alike; they differ in the widths, which are read off the shapes. A
spectral norm is folded with the vectors of the file, weight_orig / (u^T W v), as both do in eval
mode. A file does not show the options ``upsampling`` ("normal" and "more" have the same tensors),
``dontcare`` and ``edges`` (of which only the sum shows), and ``middle``, the norm inside separable
convolutions: they are given as options, or taken to be "normal", false, true and "instance".

A student's config string is c0_c1_..._c7: a trunk of 16 c0, inner widths 16 c1 to 16 c3 of its
three blocks, then up-blocks of 8 c4, 4 c5, 2 c6 and c7; the hidden width of a block's SPADEs is
twice the block's own number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ganpress.errors import CheckpointError, ConfigError
from ganpress.formats.importers.fitting import STATISTICS, DiscriminatorPlan, Plan, fill_together
from ganpress.models.checkpoint import Model
from ganpress.models.families.gaugan import TRUNK, ups
from ganpress.types import State

OPTIONS = ("upsampling", "dontcare", "edges", "middle", "labels")


def plan(state: State, *, source: str, config: str | None, **options: Any) -> Plan:
    """How a SPADE checkpoint becomes a `gaugan` generator.

    Args: options: `upsampling`, `dontcare`, `edges`, `middle` and `labels`, as the family's.
    Raises: CheckpointError for a network with an image encoder (a latent vector instead of a label
        map); ConfigError where options or ``config`` are not those of the file.
    """
    resolved = _options(state, source, options)
    made = Plan("gaugan", resolved, names=tensor_names(resolved))
    made.width(state, "trunk", "fc.weight", 0)
    for name in _blocks(resolved):
        norms = ("0", "1", "s") if name.startswith("up_") else ("0", "1")
        for k in norms:
            made.width(state, f"{name}_hidden_{k}", f"{name}.norm_{k}.mlp_shared.0.weight", 0)
        made.width(state, f"{name}_mid", _stored_name(state, f"{name}.conv_0.weight"), 0)
        if "s" in norms:
            made.width(state, name, _stored_name(state, f"{name}.conv_1.weight"), 0)
    counters = [n for n in made.names if n.endswith("num_batches_tracked")]
    fill_together(made, state, counters, 0)  # torch before 0.4.1 had none
    made.made = {**_folded(made, state), **_cut_statistics(made, state)}
    if config is not None:
        _check(config, made, source)
    return made


def _options(state: State, source: str, given: dict[str, Any]) -> dict[str, Any]:
    fc = state.get("fc.weight")
    if fc is not None and fc.ndim != 4:
        raise CheckpointError(
            f"{source} starts from a latent vector (fc.weight is {tuple(fc.shape)}; trained with "
            "--use_vae), not from a label map. It cannot be imported."
        )
    found = {
        "upsampling": "most" if any(n.startswith("up_4.") for n in state) else "normal",
        "dontcare": False,
        "edges": True,
        "middle": "instance",
        **{name: value for name, value in given.items() if name in OPTIONS},
        "separable": any(".mlp_gamma.conv.0." in n for n in state),
    }
    channels = fc.shape[1] if fc is not None else 1 + found["dontcare"] + found["edges"]
    labels = channels - found["dontcare"] - found["edges"]
    if labels < 1 or found.setdefault("labels", labels) != labels:
        raise ConfigError(
            f"{source} reads {channels} channels, which are not "
            f"{found.get('labels', 'any')} labels with dontcare={found['dontcare']} and "
            f"edges={found['edges']}: give the options that it was trained with."
        )
    return found


def _blocks(options: dict[str, Any]) -> tuple[str, ...]:
    return (*TRUNK, *ups(options))


def _stored_name(state: State, name: str) -> str:
    """The name a weight has in the file: with spectral norm it is kept before the division."""
    return f"{name}_orig" if f"{name}_orig" in state else name


def tensor_names(options: dict[str, Any]) -> dict[str, str]:
    """Our tensors -> the code bases', without spectral norm."""
    layers = {"fc": "fc", "conv_img": "conv_img"}
    names = {}
    for block in _blocks(options):
        norms = ["norm_0", "norm_1"]
        layers |= {f"{block}.{c}": f"{block}.{c}" for c in ("conv_0", "conv_1")}
        if block.startswith("up_"):
            norms.append("norm_s")
            names[f"{block}.conv_s.weight"] = f"{block}.conv_s.weight"
        for norm in norms:
            at = f"{block}.{norm}"
            layers[f"{at}.shared"] = f"{at}.mlp_shared.0"
            layers |= _modulation(at, options["separable"])
            names |= {f"{at}.norm.{s}": f"{at}.param_free_norm.{s}" for s in STATISTICS}
    ends = ("weight", "bias")
    return {f"{ours}.{e}": f"{theirs}.{e}" for ours, theirs in layers.items() for e in ends} | names


def _modulation(at: str, separable: bool) -> dict[str, str]:
    if not separable:
        return {f"{at}.{m}": f"{at}.mlp_{m}" for m in ("gamma", "beta")}
    places = {"depthwise": 0, "pointwise": 2}
    return {
        f"{at}.{m}.{part}": f"{at}.mlp_{m}.conv.{i}"
        for m in ("gamma", "beta")
        for part, i in places.items()
    }


Recipe = tuple[tuple[str, ...], Callable[..., Tensor]]


def _folded(made: Plan, state: State) -> dict[str, Recipe]:
    """Weights that the file keeps before their spectral norm."""
    return {
        ours: ((f"{theirs}_orig", f"{theirs}_u", f"{theirs}_v"), fold)
        for ours, theirs in made.names.items()
        if f"{theirs}_orig" in state
    }


def fold(weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """weight / (u^T W v), W (out, rest): spectral norm in eval mode, with the stored vectors."""
    return weight / (u @ (weight.flatten(1) @ v))


def _cut_statistics(made: Plan, state: State) -> dict[str, Recipe]:
    """Statistics of which only the first are used: students keep those of the full width."""
    cut: dict[str, Recipe] = {}
    for ours, theirs in made.names.items():
        if theirs.endswith((".running_mean", ".running_var")) and theirs in state:
            width = made.widths[normed_group(ours)]
            if len(state[theirs]) > width:
                cut[ours] = ((theirs,), lambda t, width=width: t[:width])
    return cut


def normed_group(name: str) -> str:
    """The group that the SPADE of this tensor normalises ('up_1.norm_0.norm.running_mean')."""
    block, norm = name.split(".")[:2]
    if norm == "norm_1":
        return f"{block}_mid"
    number = int(block[3:]) if block.startswith("up_") else 0
    return f"up_{number - 1}" if number else "trunk"


def widths_of(config: str) -> dict[str, int]:
    """Widths of a config string, as '32_40_40_32_40_24_32_24'.

    Raises: ConfigError where it is not 8 whole numbers from 1 joined by '_'.
    """
    parts = config.split("_")
    if len(parts) != 8 or not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise ConfigError(
            f"'{config}' is no config of a SPADE student: it is 8 numbers, trunk, three blocks and "
            "four up-blocks, as in 32_40_40_32_40_24_32_24."
        )
    trunk, *rest = map(int, parts)
    found = {"trunk": 16 * trunk}
    for name, c in zip(TRUNK, rest[:3], strict=True):
        found |= {f"{name}_hidden_0": 2 * c, f"{name}_mid": 16 * c, f"{name}_hidden_1": 2 * c}
    for i, c in enumerate(rest[3:]):
        width = c * (8 >> i)
        found |= {f"up_{i}_hidden_{k}": 2 * c for k in "01s"}
        found |= {f"up_{i}_mid": width, f"up_{i}": width}
    return found


def _check(config: str, made: Plan, source: str) -> None:
    described = widths_of(config)
    wrong = [
        f"{group} {width} in the file, {described.get(group, 'none')} in the config"
        for group, width in made.widths.items()
        if width != described.get(group)
    ]
    if wrong and not made.unread:
        raise ConfigError(
            f"Config '{config}' is not that of {source}: {', '.join(wrong[:10])}. Leave the config "
            "out to read the widths off the file."
        )


def state_of(model: Model) -> State:
    """The generator's tensors under both code bases' names, without spectral norm.

    GAN Compression's compressed networks have none; its and NVlabs' full classes take these tensors
    strictly when built with --norm_G spadesyncbatch3x3 (NVlabs' with 128 hidden channels only).
    """
    state = model.net.state_dict()
    return {theirs: state[ours] for ours, theirs in tensor_names(model.options).items()}


def discriminator_plan(state: State, *, source: str) -> DiscriminatorPlan:
    """How NVlabs' and GAN Compression's MultiscaleDiscriminator becomes a 'spade' one.

    Raises: CheckpointError where the keys are not those of a 'spectralinstance' discriminator.
    """
    numbers = [n.split(".")[:2] for n in state if n.startswith("discriminator_")]
    scales = 1 + max((int(d.split("_")[1]) for d, *_ in numbers), default=-1)
    layers = max((int(m.removeprefix("model")) for _, m in numbers), default=0)
    first = state.get("discriminator_0.model0.0.weight")
    if scales < 1 or layers < 2 or first is None or first.ndim != 4:
        raise CheckpointError(
            f"{source} does not hold a multiscale discriminator of SPADE "
            "(discriminator_0.model0.0.weight and so on)."
        )
    names: dict[str, str] = {}
    for i in range(scales):
        ours, theirs = f"scales.{i}.stages", f"discriminator_{i}.model"
        for k in (0, layers):
            names |= {f"{ours}.{k}.0.{e}": f"{theirs}{k}.0.{e}" for e in ("weight", "bias")}
        for k in range(1, layers):
            at = f"{ours}.{k}.0.parametrizations.weight"
            names[f"{at}.original"] = f"{theirs}{k}.0.0.weight_orig"
            names |= {f"{at}.0._{v}": f"{theirs}{k}.0.0.weight_{v}" for v in "uv"}
    options = {"inputs": first.shape[1], "width": first.shape[0], "layers": layers}
    return DiscriminatorPlan("spade", {**options, "scales": scales}, names)
