"""ResNet generators of junyanz's CycleGAN and pix2pix, and of GAN Slimming.

`model.1` is the stem, `model.4` and `model.7` the down-sampling, `model.10` onwards the blocks,
then two transposed convolutions and a last convolution. A dropout layer in the blocks moves their
second convolution from conv_block.5 to .6. Blocks padded with copies of the border have the keys
of reflect-padded ones and cannot be told apart: ganpress pads by reflection.
"""

from __future__ import annotations

from typing import Any

from ganpress.errors import CheckpointError, ConfigError
from ganpress.importers.fitting import STATISTICS, Plan, fill_together
from ganpress.types import State

BLOCKS_FROM = 10


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
    end = BLOCKS_FROM + blocks
    second = second_convolution(state)
    names = {"stem.conv": "model.1", "stem.norm": "model.2"}
    for place, i in {"down1": 4, "down2": 7, "up1": end, "up2": end + 3}.items():
        names |= {f"{place}.conv": f"model.{i}", f"{place}.norm": f"model.{i + 1}"}
    names["out.conv"] = f"model.{end + 7}"
    parts = {"": ""}
    if is_separable(state):
        parts = {".depthwise": ".conv.0", ".pointwise": ".conv.2"}
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
        for tensor in ("weight", "bias", *STATISTICS)
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
    trunk = [n for n in norms if n == "down2.norm" or n.endswith(".norm2")]
    rest = [n for n in norms if n not in trunk]
    for group in (outer, inner):
        fill_together(made, state, [f"{n}.bias" for n in group], 0)
    if made.options["affine"]:
        for group in (trunk, rest):
            fill_together(made, state, [f"{n}.weight" for n in group], 1)
            fill_together(made, state, [f"{n}.bias" for n in group], 0)
    fill_together(made, state, [f"{n}.num_batches_tracked" for n in norms], 0)
