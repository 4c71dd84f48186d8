"""rosinality's StyleGAN2 (stylegan2-pytorch), and what Content-Aware GAN Compression cuts from it.

A file is ``{"g": ..., "d": ..., "g_ema": ...}``; widths come from the shapes, so a pruned file
(generator_net_shape) is read as a full one is. That code recomputes every gain from the width it
finds: on the way in a gain is set from the file's own width, and on the way out the weights
carry the difference.
"""

from __future__ import annotations

from math import log10, sqrt
from typing import Any

from torch import Tensor, nn

from ganpress.errors import CheckpointError
from ganpress.formats.importers.assumed import assumption
from ganpress.formats.importers.fitting import DiscriminatorPlan, Plan, fill_together
from ganpress.models.checkpoint import Model
from ganpress.models.families.stylegan2 import STYLEGAN2, StyleGAN2
from ganpress.nn.discriminators.stylegan2 import StyleGAN2Discriminator
from ganpress.types import State

USUAL_RATE = 0.01
RATE = (
    "both code bases' default factor of the mapping network's weights, which are then stored with "
    "a deviation near 100"
)


def plan(state: State, *, source: str, config: str | None = None, **options: Any) -> Plan:
    """The plan of a rosinality generator; ``config`` is ignored.

    Args: options: ``lr_mlp``, as the family's.
    """
    convs = sum(n.startswith("convs.") and n.endswith(".conv.weight") for n in state)
    if convs % 2 or not 2 <= convs <= 16:
        raise CheckpointError(
            f"{source} has {convs} modulated convolutions convs.*: a StyleGAN2 generator has two "
            "for each resolution from 8 to its size."
        )
    size = 4 * 2 ** (convs // 2)
    n_mlp = sum(n.startswith("style.") and n.endswith(".weight") for n in state)
    first = state.get("style.1.weight")
    made = Plan("stylegan2", {"size": size, "n_mlp": n_mlp, "style_dim": 512})
    if first is not None and first.ndim == 2:
        made.options["style_dim"] = first.shape[0]
    made.names = tensor_names(convs, n_mlp)
    shapes = {n: t[0] if t.ndim in (4, 5) else t for n, t in state.items()}  # leading 1
    groups = list(STYLEGAN2.full(STYLEGAN2.resolve(made.options)))
    made.width(shapes, groups[0], "conv1.conv.weight", 1)
    for k, group in enumerate(groups[1:]):
        made.width(shapes, group, f"{_theirs(k)}.conv.weight", 0)
    made.channels(shapes, "out_channels", "to_rgb1.conv.weight", 0, source)
    made.options |= capacity(made.widths, size)
    mapping = [state[n] for k in range(n_mlp) if (n := f"style.{k + 1}.weight") in state]
    resolve_rate(made, mapping, options.get("lr_mlp"))
    made.made = _worked_out(made.names, convs)
    fill_together(made, state, [f"noise_{k}" for k in range(convs + 1)], 0)  # before 2020
    return made


def resolve_rate(made: Plan, mapping: list[Tensor], given: float | None) -> None:
    """Set the option ``lr_mlp``, by which the mapping network's weights are multiplied.

    No tensor holds it. But the stored weights start with a deviation of 1 / lr_mlp and stay near
    it: where theirs is far from that of the usual 0.01, that is an assumption.
    """
    made.options["lr_mlp"] = USUAL_RATE if given is None else given
    if given is not None or not mapping:
        return
    deviation = sqrt(sum(float(w.square().mean()) for w in mapping) / len(mapping))
    near = 10.0 ** round(-log10(max(deviation, 1e-12)))
    if near != USUAL_RATE:
        why = f"{RATE} (here their deviation is {deviation:.3g})"
        made.assumed |= assumption("lr_mlp", USUAL_RATE, [f"{near:g}"], why)


def capacity(widths: dict[str, int], size: int) -> dict[str, int]:
    """The options ``base`` and ``most`` of a full network of these widths; {} if there is none."""
    found = {"most": max(widths.values()), "base": widths[f"conv{size}"] * size}
    if found["most"] == widths[f"conv{size}"]:
        found["base"] = found["most"] * size
    full = STYLEGAN2.full(STYLEGAN2.resolve({"size": size, **found}))
    defaults = STYLEGAN2.full(STYLEGAN2.resolve({"size": size}))
    return found if full == widths and full != defaults else {}


def tensor_names(convs: int, n_mlp: int) -> dict[str, str]:
    """Our tensors -> the file's, for a generator with this many `convs`."""
    names = {"const": "input.input"}
    for i in range(n_mlp):
        names |= {f"mlp.{i}.{t}": f"style.{i + 1}.{t}" for t in ("weight", "bias")}
    for k in range(convs + 1):
        ours, theirs = f"layers.{k}", _theirs(k)
        names |= _modulated(f"{ours}.modulated", f"{theirs}.conv")
        names |= {f"{ours}.bias": f"{theirs}.activate.bias"}
        names |= {f"{ours}.strength": f"{theirs}.noise.weight"}
        names |= {f"noise_{k}": f"noises.noise_{k}"}
        if _is_up(k):
            names[f"{ours}.modulated.blur.kernel"] = f"{theirs}.conv.blur.kernel"
    for k in range(convs // 2 + 1):
        ours, theirs = f"to_rgb.{k}", f"to_rgbs.{k - 1}" if k else "to_rgb1"
        names |= _modulated(f"{ours}.modulated", f"{theirs}.conv")
        names |= {f"{ours}.bias": f"{theirs}.bias"}
        if k:
            names[f"{ours}.blur.kernel"] = f"{theirs}.upsample.kernel"
    return names


def _theirs(k: int) -> str:
    return f"convs.{k - 1}" if k else "conv1"


def _is_up(k: int) -> bool:
    return k % 2 == 1


def _modulated(ours: str, theirs: str) -> dict[str, str]:
    inner = {f"{ours}.affine.{t}": f"{theirs}.modulation.{t}" for t in ("weight", "bias")}
    return {f"{ours}.conv.weight": f"{theirs}.weight", **inner}


def _worked_out(names: dict[str, str], convs: int) -> dict[str, Any]:
    """Weights of transposed convolutions, theirs being (1, out, in, k, k), and all gains."""
    up = {f"layers.{k}.modulated.conv.weight" for k in range(convs + 1) if _is_up(k)}
    weights = [n for n in names if n.endswith(".modulated.conv.weight")]
    gains = {n.replace("conv.weight", "gain"): ((names[n],), _gain) for n in weights}
    return {n: ((names[n],), _turned) for n in up} | gains


def _turned(weight: Tensor) -> Tensor:
    return weight[0].transpose(0, 1)


def _gain(weight: Tensor) -> Tensor:
    """1 / sqrt(in k k) of (1, out, in, k, k)."""
    return weight.new_tensor(1 / sqrt(weight[0, 0].numel()))


def state_of(model: Model) -> State:
    """The generator under rosinality's names, float32; `Generator(size, style_dim, n_mlp)` or, if
    pruned, CAGC's `Generator(..., generator_net_shape)` loads it strictly."""
    net = model.net
    assert isinstance(net, StyleGAN2)
    own = {n: t.detach().float().cpu() for n, t in net.state_dict().items()}
    convs = len(net.layers) - 1
    out = {}
    for ours, theirs in tensor_names(convs, len(net.mlp)).items():
        tensor = own[ours]
        if ours.endswith(".modulated.conv.weight"):
            up = ours.startswith("layers.") and _is_up(int(ours.split(".")[1]))
            tensor = (tensor.transpose(0, 1) if up else tensor)[None]
            tensor = tensor * (own[ours.replace("conv.weight", "gain")] / _gain(tensor))
        elif ours.startswith("to_rgb.") and ours.count(".") == 2:
            tensor = tensor.view(1, -1, 1, 1)
        out[theirs] = (tensor.view(1) if tensor.ndim == 0 else tensor).contiguous().clone()
    return out


R1 = 10.0  # weight of the penalty in the paper and in rosinality's code, every 16 steps


def discriminator_plan(state: State, *, source: str) -> DiscriminatorPlan:
    """The discriminator of the same file (its entry ``d``).

    Raises `CheckpointError` where the tensors that give its widths are missing.
    """
    blocks = sum(n.startswith("convs.") and n.endswith(".conv1.0.weight") for n in state)
    wanted = ["convs.0.0.weight", *(f"convs.{k + 1}.skip.1.weight" for k in range(blocks))]
    if not blocks or any(n not in state for n in wanted):
        missing = ", ".join([n for n in wanted if n not in state][:10]) or "convs.1.conv1.0.weight"
        raise CheckpointError(f"{source} holds no whole StyleGAN2 discriminator: no {missing}.")
    channels = [state[n].shape[0] for n in reversed(wanted)]
    options = {"size": 4 * 2**blocks, "channels": channels}
    options["inputs"] = state[wanted[0]].shape[1]
    return DiscriminatorPlan("stylegan2", options, discriminator_names(blocks), r1=R1)


def discriminator_names(blocks: int) -> dict[str, str]:
    """The discriminator's tensors -> the file's."""
    names = {"stem.weight": "convs.0.0.weight", "stem.bias": "convs.0.1.bias"}
    for k in range(blocks):
        ours, theirs = f"blocks.{k}", f"convs.{k + 1}"
        names |= {
            f"{ours}.blur.kernel": f"{theirs}.conv2.0.kernel",
            f"{ours}.skip_blur.kernel": f"{theirs}.skip.0.kernel",
            f"{ours}.conv1.weight": f"{theirs}.conv1.0.weight",
            f"{ours}.conv1.bias": f"{theirs}.conv1.1.bias",
            f"{ours}.conv2.weight": f"{theirs}.conv2.1.weight",
            f"{ours}.conv2.bias": f"{theirs}.conv2.2.bias",
            f"{ours}.skip.weight": f"{theirs}.skip.1.weight",
        }
    names |= {"last.weight": "final_conv.0.weight", "last.bias": "final_conv.1.bias"}
    for k, ours in enumerate(("hidden", "out")):
        names |= {f"{ours}.{t}": f"final_linear.{k}.{t}" for t in ("weight", "bias")}
    return names


def discriminator_state_of(net: nn.Module) -> State:
    """The discriminator under rosinality's names, float32."""
    assert isinstance(net, StyleGAN2Discriminator)
    own = net.state_dict()
    names = discriminator_names(len(net.blocks))
    return {theirs: own[ours].detach().float().cpu().clone() for ours, theirs in names.items()}
