"""SPADE generators of NVlabs and of GAN Compression (full, mobile, and its students).

Both code bases name the layers alike; they differ in the widths, which are read off the shapes. A
spectral norm is folded with the vectors of the file, weight_orig / (u^T W v), as both do in eval
mode. A file does not show the options ``upsampling`` ("normal" and "more" have the same tensors),
``labels``, ``dontcare`` and ``edges`` (of which only the sum shows), and ``middle``, the norm
inside separable convolutions: what is not given as an option is assumed to be "normal", no
don't-care, edges, and "instance".

A student's config string is c0_c1_..._c7: a trunk of 16 c0, inner widths 16 c1 to 16 c3 of its
three blocks, then up-blocks of 8 c4, 4 c5, 2 c6 and c7; the hidden width of a block's SPADEs is
twice the block's own number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ganpress.errors import CheckpointError, ConfigError
from ganpress.formats.importers.assumed import (
    Assumed,
    Assumptions,
    assumption,
    named,
    pick,
    reject_others,
    typed,
)
from ganpress.formats.importers.fitting import STATISTICS, DiscriminatorPlan, Plan, fill_together
from ganpress.models.checkpoint import Model
from ganpress.models.families.gaugan import TRUNK, ups
from ganpress.types import State

OPTIONS = ("upsampling", "dontcare", "edges", "middle", "labels", "norm")
FREE_NORM = ".param_free_norm."
UPSAMPLING = (
    "networks that double once more inside ('more', which NVlabs uses at 512 pixels and GAN "
    "Compression by default) have the same tensors"
)
SUM = "the network reads {} channels, of which only the sum shows"
MIDDLE = "an InstanceNorm inside separable convolutions (--separable_conv_norm) has no tensors"


def plan(state: State, *, source: str, config: str | None, **options: Any) -> Plan:
    """How a SPADE checkpoint becomes a `gaugan` generator.

    Args: options: `OPTIONS`, as the family's.
    Raises: CheckpointError for a network with an image encoder (a latent vector instead of a label
        map); ConfigError where options or ``config`` are not those of the file.
    """
    reject_others("SPADE", options, OPTIONS, source)
    resolved, assumed = _options(state, source, options)
    made = Plan("gaugan", resolved, names=tensor_names(resolved), assumed=assumed)
    made.channels(state, "out_channels", "conv_img.weight", 0, source)
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
    cut = _cut_statistics(made, state)
    made.made = {**_folded(made, state), **cut}
    if resolved["norm"] == "instance":
        made.ignored = [n for n in state if FREE_NORM in n]
    is_student = config is not None or cut  # of SubMobileSPADE, whose middle norm is InstanceNorm
    if resolved["separable"] and "middle" not in options and not is_student:
        made.assumed |= assumption("middle", "instance", ["none"], MIDDLE)
    if config is not None:
        _check(config, made, source)
    return made


def _options(
    state: State, source: str, given: dict[str, Any]
) -> tuple[dict[str, Any], Assumptions]:
    """The family's options, and which of them were assumed."""
    fc = state.get("fc.weight")
    if fc is not None and fc.ndim != 4:
        raise CheckpointError(
            f"{source} starts from a latent vector (fc.weight is {tuple(fc.shape)}; trained with "
            "--use_vae), not from a label map. It cannot be imported."
        )
    has_up_4 = any(n.startswith("up_4.") for n in state)
    upsampling = pick(
        source,
        "upsampling",
        given.get("upsampling"),
        ("most",) if has_up_4 else ("normal", "more"),
        f"only 'most' has a block up_4, which is {'there' if has_up_4 else 'not there'}",
    )
    free = any(FREE_NORM in n for n in state)
    norm = pick(
        source,
        "norm",
        given.get("norm"),
        ("batch", "instance") if free else ("instance",),
        "its norms (param_free_norm) have no running statistics",
    )
    assumed: Assumptions = {}
    if not has_up_4 and "upsampling" not in given:
        assumed |= assumption("upsampling", "normal", ["more"], UPSAMPLING)
    meaning, unsaid = _meaning(fc.shape[1] if fc is not None else None, given, source)
    return {
        "upsampling": upsampling,
        "norm": norm,
        "middle": given.get("middle", "instance"),
        "separable": any(".mlp_gamma.conv.0." in n for n in state),
        **meaning,
    }, assumed | unsaid


def _meaning(
    channels: int | None, given: dict[str, Any], source: str
) -> tuple[dict[str, Any], Assumptions]:
    """What the channels that a network reads are: its options labels, dontcare and edges.

    Args: channels: None where a damaged file does not say.
    Raises: ConfigError where the options given do not add up to them.
    """
    known = {n: v for n, v in given.items() if n in ("labels", "dontcare", "edges")}
    if channels is None:
        return known, {}
    possible: list[dict[str, Any]] = [
        {"labels": channels - dontcare - edges, "dontcare": dontcare, "edges": edges}
        for dontcare, edges in ((False, True), (False, False), (True, True), (True, False))
        if channels > dontcare + edges
    ]
    fitting = [one for one in possible if all(one[n] == v for n, v in known.items())]
    if not fitting:
        raise ConfigError(
            f"{source} reads {channels} channels, and {named(known)} does not give as many: a "
            "channel for each label, one for don't-care and one for edges, where they are true. "
            f"Give {' or '.join(map(typed, possible))}."
        )
    first, *others = [{n: v for n, v in one.items() if n not in known} for one in fitting]
    if not others:
        return fitting[0], {}
    otherwise = [typed(one) for one in others]
    unsaid = Assumed(value=first, why=SUM.format(channels), otherwise=otherwise)
    return fitting[0], {"labels": unsaid}


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
    strictly when built with --norm_G spadesyncbatch3x3, or spadeinstance3x3 where the option norm
    is "instance" (NVlabs' with 128 hidden channels only).
    """
    state, names = model.net.state_dict(), tensor_names(model.options)
    return {theirs: state[ours] for ours, theirs in names.items() if ours in state}


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
