"""ResNet generators of junyanz's CycleGAN and pix2pix, of GAN Slimming, and of their relatives:
pix2pixHD's global generator, CUT's anti-aliased one, PyTorch-GAN's.

`resnet_layout` says what lies where in each. Blocks padded with copies of the border have the keys
of reflect-padded ones (option ``padding``), and nearest neighbours have those of bilinear
interpolation without a stored filter (option ``up``).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ganpress.channels.widen import widen
from ganpress.errors import CheckpointError, ConfigError
from ganpress.formats.importers.assumed import assumption
from ganpress.formats.importers.fitting import STATISTICS, Plan, fill_together
from ganpress.formats.importers.resnet_layout import (
    Layout,
    has_dropout,
    is_separable,
    layout_for,
    layout_of,
    padding_of,
    resampling_of,
    stored_filters,
)
from ganpress.formats.importers.unsaid import (
    FULL_CLAMPS,
    assume_instance,
    assume_no_clamp,
    assume_padding,
    assume_statistics,
    norm_of,
    statistics_alone,
)
from ganpress.models.checkpoint import Model
from ganpress.models.families.cyclegan import down_groups
from ganpress.models.upstream import check_options
from ganpress.nn.axes import widths
from ganpress.types import State

PARAMETERS = ("weight", "bias")
NO_FILTER = "up-sampling without a stored filter is by nearest neighbours or bilinear"


def plan(state: State, *, source: str, config: str | None, **options: Any) -> Plan:
    """How a checkpoint of CycleGAN, GAN Slimming, pix2pixHD, CUT or PyTorch-GAN becomes a
    `cyclegan` generator.

    The input is not clamped unless option ``clamp`` says so. GAN Slimming's InstanceNorms have
    scales on some layers only; the others get gamma 1 and beta 0, which changes nothing.
    """
    if config is not None:
        raise ConfigError(
            "A config string describes GAN Compression's students: leave it out, or import with "
            "kind 'gan-compression'."
        )
    if is_separable(state):
        raise CheckpointError(
            f"{source} has separable residual blocks (conv_block.1.conv.0): it looks like a "
            "student of GAN Compression. Import it with kind 'gan-compression'."
        )
    layout = layout_of(state, source)
    made = resnet_plan(state, layout, source=source, **options)
    drops = has_dropout(layout)
    assume_statistics(made, options, dropout=drops)
    assume_instance(made, state, options, norms_of(layout))
    assume_padding(made, options)
    if made.options["up"] == "nearest" and "up" not in options:
        made.assumed |= assumption("up", "nearest", ["bilinear"], NO_FILTER)
    if drops:
        assume_no_clamp(made, options, FULL_CLAMPS)
    return made


def resnet_plan(
    state: State,
    layout: Layout,
    *,
    source: str,
    clamp: bool = False,
    norm: str | None = None,
    padding: str | None = None,
    up: str | None = None,
    colours: str = "rgb",
) -> Plan:
    """The plan of any ResNet generator with junyanz's key numbers; widths from the shapes.

    Args:
        layout: of the file, by `layout_of`.
        clamp: whether the network clamps its input to [-1, 1].
        norm: "instance" or "batch"; read off the file when None.
        padding: of the residual blocks, "reflect" or "replicate" (reflect when None); zero padding
            is read off the file.
        up: "nearest" or "bilinear" where the file has up-sampling without a filter (nearest when
            None).
        colours: the order in which it reads and writes colours, "rgb" or "bgr".
    """
    names = tensor_names(layout)
    kind = _norm_kind(state, layout, source, norm)
    affine = kind == "instance" and any(f"{n}.weight" in state for n in norms_of(layout))
    found = {
        "blocks": layout.blocks,
        "norm": kind,
        "affine": affine,
        "separable": layout.separable,
        "clamp": clamp,
        "downsamplings": layout.downs,
        "padding": padding_of(layout, padding, source),
        **resampling_of(state, layout, up, source),
    }
    made = Plan("cyclegan", found, names=names)
    made.channels(state, "in_channels", names["stem.conv.weight"], 1, source)
    made.channels(state, "out_channels", names["out.conv.weight"], 0, source)
    _widths(made, state, layout)
    _may_be_absent(made, state, layout)
    if kind == "batch" and statistics_alone(state, norms_of(layout)):
        made.without_scales([n for n in layout.layers() if ".norm" in n])
    made.ignored = [n for n in layout.filters() if n in state]
    if colours == "bgr":
        made.turn_colours("stem.conv", "out.conv")
    if kind == "instance":  # 2018 files keep statistics that their own loader drops
        made.ignored += [n for n in state if n.endswith(STATISTICS)]
    return made


def tensor_names(layout: Layout) -> dict[str, str]:
    """Our tensors -> the file's; more than any one network has."""
    return {
        f"{ours}.{tensor}": f"{theirs}.{tensor}"
        for ours, theirs in layout.layers().items()
        for tensor in (*PARAMETERS, *STATISTICS)
    }


def norms_of(layout: Layout) -> list[str]:
    """The norms, by the file's names."""
    return [theirs for ours, theirs in layout.layers().items() if ".norm" in ours]


def _norm_kind(state: State, layout: Layout, source: str, given: str | None) -> str:
    """The norm; the convolutions outside of the blocks have a bias under InstanceNorm only."""
    layers = layout.layers()
    outer = [theirs for o, theirs in layers.items() if o.endswith(".conv") and o != "out.conv"]
    norms = norms_of(layout)
    return norm_of(state, norms=norms, convolutions=outer, given=given, source=source)


def _widths(made: Plan, state: State, layout: Layout) -> None:
    made.width(state, "stem", made.names["stem.conv.weight"], 0)
    for k, group in enumerate(down_groups(made.options), start=1):
        made.width(state, group, made.names[f"down{k}.conv.weight"], 0)
    for b in range(layout.blocks):
        part = ".pointwise" if layout.separable else ""
        made.width(state, f"block{b}", made.names[f"blocks.{b}.conv1{part}.weight"], 0)
    for k in range(1, layout.downs + 1):  # transposed convolutions are (in, out, h, w)
        made.width(state, f"up{k}", made.names[f"up{k}.conv.weight"], int(not layout.doubled))


def _may_be_absent(made: Plan, state: State, layout: Layout) -> None:
    """What a whole file may lack: biases in front of norms, and scales of InstanceNorm."""
    layers = layout.layers()
    outer = [n for n in layers if n.endswith(".conv") and n != "out.conv"]
    inner = [n for n in layers if n.startswith("blocks.") and ".conv" in n]
    norms = [n for n in layers if ".norm" in n]
    for group in (outer, inner):
        fill_together(made, state, [f"{n}.bias" for n in group], 0)
    if made.options["affine"]:
        for group in _trunk_and_rest(norms, layout.downs):
            fill_together(made, state, [f"{n}.weight" for n in group], 1)
            fill_together(made, state, [f"{n}.bias" for n in group], 0)
    fill_together(made, state, [f"{n}.num_batches_tracked" for n in norms], 0)


def _trunk_and_rest(norms: Collection[str], downs: int) -> tuple[list[str], list[str]]:
    """Norms that write the residual trunk, of which GAN Slimming scales none; and the others."""
    trunk = [n for n in norms if n == f"down{downs}.norm" or n.endswith(".norm2")]
    return trunk, [n for n in norms if n not in trunk]


def state_of(model: Model, target: str = "pth-junyanz") -> State:
    """The generator's tensors under the names of a code base, for its class without dropout
    (GAN Compression's: with).

    Option ``affine`` makes it GAN Slimming's: InstanceNorms whose scales are all 1 and shifts all 0
    are left out, as its class has none on the trunk. An emptied block becomes one of a single
    channel and zeros, which adds as much. Upstream's classes have no biases before BatchNorm
    (except in separable blocks): here they are folded into the means.

    Raises: ConfigError for a network that no class of the code base is.
    """
    check_options(target, "cyclegan", model.options)
    options, state = model.options, _whole(model)
    layout = layout_for(options, dropout=target == "pth-gan-compression")
    layers = layout.layers()
    convolutions = [n for n in layers if n.endswith(("conv", "conv1", "conv2")) and n != "out.conv"]
    if options["norm"] == "batch":
        state = fold_into_means(state, [f"{n}.bias" for n in convolutions])
    if options["affine"]:
        for norms in _trunk_and_rest([n for n in layers if ".norm" in n], layout.downs):
            state = _without_identities(state, norms)
    names = {f"{o}.{t}": f"{layers[o]}.{t}" for o in layers for t in (*PARAMETERS, *STATISTICS)}
    out = {names[ours]: tensor for ours, tensor in state.items()}
    return out | stored_filters(options, model.widths)


def _whole(model: Model) -> State:
    """The state with emptied blocks given back as one channel of zeros, which is the same."""
    have = widths(model.net)
    if all(have.values()):
        return model.net.state_dict()
    return widen(model.build, model.net, {g: max(1, w) for g, w in have.items()}).state_dict()


def fold_into_means(state: State, biases: Collection[str]) -> State:
    """Leave out convolutions' biases by lowering the running means of the BatchNorms behind them.

    Args: biases: names such as 'stem.conv.bias', whose norm is 'stem.norm' (or 'norm1' for
        'conv1').
    """
    out = dict(state)
    for name in biases:
        layer = name.removesuffix(".bias")
        at, _, conv = layer.rpartition(".")
        mean = f"{at}.{conv.replace('conv', 'norm')}.running_mean"
        out[mean] = out[mean] - out.pop(name)
    return out


def _without_identities(state: State, norms: Collection[str]) -> State:
    """Leave out these norms' scales and shifts if they all change nothing."""
    scales = [state[f"{n}.weight"] for n in norms if f"{n}.weight" in state]
    shifts = [state[f"{n}.bias"] for n in norms if f"{n}.bias" in state]
    if all((t == 1).all() for t in scales) and not any(t.any() for t in shifts):
        folded = {f"{n}.{tensor}" for n in norms for tensor in PARAMETERS}
        return {name: tensor for name, tensor in state.items() if name not in folded}
    return state
