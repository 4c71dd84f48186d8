"""ResNet generators of junyanz's CycleGAN and pix2pix, and of GAN Slimming.

`model.1` is the stem, `model.4` and `model.7` the down-sampling, `model.10` onwards the blocks,
then two transposed convolutions and a last convolution. A dropout layer in the blocks moves their
second convolution from conv_block.5 to .6. Blocks padded with copies of the border have the keys
of reflect-padded ones and cannot be distinguished: ganpress pads by reflection.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ganpress.channels.widen import widen
from ganpress.errors import CheckpointError, ConfigError
from ganpress.formats.importers.fitting import STATISTICS, Plan, fill_together
from ganpress.models.checkpoint import Model
from ganpress.nn.axes import widths
from ganpress.types import State

BLOCKS_FROM = 10
PARAMETERS = ("weight", "bias")


def plan(state: State, *, source: str, config: str | None, **options: Any) -> Plan:
    """How a CycleGAN or GAN Slimming checkpoint becomes a `cyclegan` generator.

    The input is not clamped. GAN Slimming's InstanceNorms have scales on some layers only; the
    others get gamma 1 and beta 0, which changes nothing.
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
    return resnet_plan(state, source=source, **options)


def is_separable(state: State) -> bool:
    """Whether the residual blocks are depthwise and pointwise convolutions."""
    return any(".conv_block.1.conv.0." in name for name in state)


def second_convolution(state: State) -> int:
    """Where a block keeps its second convolution: 6 after a dropout layer, else 5."""
    later = (
        n for n in state if n.endswith((".conv_block.6.weight", ".conv_block.6.conv.0.weight"))
    )
    return 6 if any(state[name].ndim == 4 for name in later) else 5


def resnet_plan(state: State, *, source: str, clamp: bool = False, norm: str | None = None) -> Plan:
    """The plan of any ResNet generator with junyanz's key numbers; widths from the shapes.

    Args:
        clamp: whether the network clamps its input to [-1, 1].
        norm: "instance" or "batch"; read off the file when None.
    """
    _refuse_other_wirings(state, source)
    last = [int(n.split(".")[1]) for n in state if n.startswith("model.") and ".conv_block." in n]
    blocks = max(last, default=BLOCKS_FROM - 1) - BLOCKS_FROM + 1
    kind = norm or _norm_kind(state, blocks)
    affine = kind == "instance" and any(f"{n}.weight" in state for n in _norms(state, blocks))
    separable = is_separable(state)
    made = Plan(
        "cyclegan",
        {"blocks": blocks, "norm": kind, "affine": affine, "separable": separable, "clamp": clamp},
        names=tensor_names(state, blocks),
    )
    _widths(made, state, blocks, separable)
    _may_be_absent(made, state, blocks)
    if kind == "instance":  # 2018 files keep statistics that their own loader drops
        made.ignored = [n for n in state if n.endswith(STATISTICS)]
    return made


def _refuse_other_wirings(state: State, source: str) -> None:
    if any(name.endswith(".conv_block.0.weight") for name in state):
        raise CheckpointError(
            f"{source} pads its residual blocks with zeros (padding_type='zero'); ganpress's "
            "are padded by reflection, so the picture would differ. It cannot be imported."
        )
    first = state.get("model.1.weight")
    if first is not None and first.ndim == 4 and first.shape[1] != 3:
        raise CheckpointError(
            f"{source} reads {first.shape[1]} channels (model.1.weight); ganpress's generators "
            "read RGB."
        )


def layer_names(state: State, blocks: int) -> dict[str, str]:
    """Our layers -> the file's, convolutions and norms alike."""
    second = second_convolution(state)
    return numbered_layers(blocks, second=second, separable=is_separable(state))


def numbered_layers(blocks: int, *, second: int, separable: bool) -> dict[str, str]:
    """Our layers -> junyanz's; ``second``: where a block keeps its second convolution, 5 or 6."""
    end = BLOCKS_FROM + blocks
    names = {"stem.conv": "model.1", "stem.norm": "model.2"}
    for place, i in {"down1": 4, "down2": 7, "up1": end, "up2": end + 3}.items():
        names |= {f"{place}.conv": f"model.{i}", f"{place}.norm": f"model.{i + 1}"}
    names["out.conv"] = f"model.{end + 7}"
    parts = {".depthwise": ".conv.0", ".pointwise": ".conv.2"} if separable else {"": ""}
    for b in range(blocks):
        block = f"model.{BLOCKS_FROM + b}.conv_block"
        for ours, theirs in parts.items():
            names[f"blocks.{b}.conv1{ours}"] = f"{block}.1{theirs}"
            names[f"blocks.{b}.conv2{ours}"] = f"{block}.{second}{theirs}"
        names[f"blocks.{b}.norm1"] = f"{block}.2"
        names[f"blocks.{b}.norm2"] = f"{block}.{second + 1}"
    return names


def tensor_names(state: State, blocks: int) -> dict[str, str]:
    """Our tensors -> the file's; more than any one network has."""
    return {
        f"{ours}.{tensor}": f"{theirs}.{tensor}"
        for ours, theirs in layer_names(state, blocks).items()
        for tensor in (*PARAMETERS, *STATISTICS)
    }


def _norms(state: State, blocks: int) -> list[str]:
    return [theirs for ours, theirs in layer_names(state, blocks).items() if ".norm" in ours]


def _norm_kind(state: State, blocks: int) -> str:
    """Batch if a norm has both scales and running statistics, else instance."""
    batch = any(
        f"{n}.weight" in state and f"{n}.running_mean" in state for n in _norms(state, blocks)
    )
    return "batch" if batch else "instance"


def _widths(made: Plan, state: State, blocks: int, separable: bool) -> None:
    where = {"stem": "stem", "down1": "down1", "trunk": "down2"}
    for group, place in where.items():
        made.width(state, group, made.names[f"{place}.conv.weight"], 0)
    for b in range(blocks):
        part = ".pointwise" if separable else ""
        made.width(state, f"block{b}", made.names[f"blocks.{b}.conv1{part}.weight"], 0)
    for group in ("up1", "up2"):  # transposed convolutions are (in, out, h, w)
        made.width(state, group, made.names[f"{group}.conv.weight"], 1)


def _may_be_absent(made: Plan, state: State, blocks: int) -> None:
    """What a whole file may lack: biases in front of norms, and scales of InstanceNorm."""
    layers = layer_names(state, blocks)
    outer = [n for n in layers if n.endswith(".conv") and n != "out.conv"]
    inner = [n for n in layers if n.startswith("blocks.") and ".conv" in n]
    norms = [n for n in layers if ".norm" in n]
    for group in (outer, inner):
        fill_together(made, state, [f"{n}.bias" for n in group], 0)
    if made.options["affine"]:
        for group in _trunk_and_rest(norms):
            fill_together(made, state, [f"{n}.weight" for n in group], 1)
            fill_together(made, state, [f"{n}.bias" for n in group], 0)
    fill_together(made, state, [f"{n}.num_batches_tracked" for n in norms], 0)


def _trunk_and_rest(norms: Collection[str]) -> tuple[list[str], list[str]]:
    """Norms that write the residual trunk, of which GAN Slimming scales none; and the others."""
    trunk = [n for n in norms if n == "down2.norm" or n.endswith(".norm2")]
    return trunk, [n for n in norms if n not in trunk]


def state_of(model: Model) -> State:
    """The generator's tensors under junyanz's names, for a ResnetGenerator without dropout.

    Option ``affine`` makes it GAN Slimming's: InstanceNorms whose scales are all 1 and shifts all 0
    are left out, as its class has none on the trunk. An emptied block becomes one of a single
    channel and zeros, which adds as much.

    Raises: ConfigError for separable blocks, which junyanz's code does not have.
    """
    if model.options["separable"]:
        raise ConfigError(
            "junyanz's generators have no separable blocks; GAN Compression's have: export to "
            "'pth-gan-compression'."
        )
    return resnet_state(model, second=5)


def resnet_state(model: Model, *, second: int) -> State:
    """A `cyclegan` generator under junyanz's key numbers.

    Upstream's classes have no biases before BatchNorm (except in separable blocks): here they
    are folded into the means.

    Args: second: where a block keeps its second convolution, 5 or 6 (with a dropout layer).
    """
    options, state = model.options, _whole(model)
    blocks, separable = options["blocks"], options["separable"]
    layers = numbered_layers(blocks, second=second, separable=separable)
    convolutions = [n for n in layers if n.endswith(("conv", "conv1", "conv2")) and n != "out.conv"]
    if options["norm"] == "batch":
        state = fold_into_means(state, [f"{n}.bias" for n in convolutions])
    if options["affine"]:
        for norms in _trunk_and_rest([n for n in layers if ".norm" in n]):
            state = _without_identities(state, norms)
    names = {f"{o}.{t}": f"{layers[o]}.{t}" for o in layers for t in (*PARAMETERS, *STATISTICS)}
    return {names[ours]: tensor for ours, tensor in state.items()}


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
