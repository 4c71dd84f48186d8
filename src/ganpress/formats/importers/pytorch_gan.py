"""Generators of PyTorch-GAN (eriklindernoren): CycleGAN's ResNet and pix2pix's U-Net.

The ResNet is junyanz's with nearest neighbours and a convolution where that has a transposed
convolution (`resnet_layout`). The U-Net is `down1` to `downN`, `up1` to `upN-1` and `final`: its
decoder reads the encoder's maps behind its own, as LeakyReLU left them, and its last step doubles
by nearest neighbours. Its convolutions have no biases, but for the last.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ganpress.errors import CheckpointError, ConfigError
from ganpress.formats.importers import cyclegan
from ganpress.formats.importers.cyclegan import PARAMETERS
from ganpress.formats.importers.fitting import STATISTICS, Plan, fill_together
from ganpress.models.checkpoint import Model
from ganpress.models.upstream import check_options
from ganpress.types import State

UNET: dict[str, Any] = {"norm": "instance", "leaky_skips": True, "upsampling": "resize-last"}


def plan(state: State, *, source: str, config: str | None, **options: Any) -> Plan:
    """How a file of PyTorch-GAN becomes a `cyclegan` or a `pix2pix` generator.

    Args: options: of the ResNet, as `cyclegan.plan`; the U-Net takes none.
    Raises: CheckpointError for a U-Net of its first versions, and one under BatchNorm, whose eps
        (1e-5, or PyTorch-GAN's 0.8) no file shows; ConfigError for options of the other.
    """
    if not is_unet(state):
        _refuse_grey(state, source)
        return cyclegan.plan(state, source=source, config=config, **options)
    given = [name for name, value in options.items() if value != UNET.get(name)]
    unknown = [*(["config"] if config is not None else []), *given]
    if unknown:
        raise ConfigError(
            f"A U-Net of PyTorch-GAN takes no '{unknown[0]}': all is read off {source}."
        )
    _refuse_other_unets(state, source)
    downs = 1 + max(int(m[1]) for n in state if (m := re.match(r"up(\d+)\.model\.", n)))
    names = tensor_names(downs)
    affine = any(f"{theirs}.weight" in state for theirs in _norms(downs).values())
    made = Plan("pix2pix", {"downs": downs, "affine": affine, **UNET}, names=names)
    for i in range(downs):
        made.width(state, f"enc{i}", names[f"downs.{i}.conv.weight"], 0)
    for i in range(downs - 1):  # transposed convolutions are (in, out, h, w)
        made.width(state, f"dec{downs - 2 - i}", names[f"ups.{i}.conv.weight"], 1)
    fill_together(made, state, [n for n in names if n.endswith("conv.bias") and n[0] != "o"], 0)
    made.ignored = [n for n in state if n.endswith(STATISTICS)]
    made.turned = {
        ours: _swapped(dim, made.widths[f"dec{i}"]) for ours, dim, i in _reading_both(downs)
    }
    return made


def _refuse_grey(state: State, source: str) -> None:
    """Its 7x7 convolutions are padded by as many pixels as the picture has channels."""
    stem = state.get("model.1.weight")
    if stem is not None and stem.ndim == 4 and stem.shape[1] != 3:
        raise CheckpointError(
            f"{source} reads {stem.shape[1]} channels (model.1.weight): PyTorch-GAN pads by as "
            "many pixels as a picture has channels, and ganpress by the 3 that 7x7 convolutions "
            "want. It cannot be imported."
        )


def is_unet(state: State) -> bool:
    """Whether these are tensors of PyTorch-GAN's U-Net, not of its ResNet."""
    return any(name.startswith("down1.model.") for name in state)


def _refuse_other_unets(state: State, source: str) -> None:
    first, up = state.get("down1.model.0.weight"), state.get("up1.model.0.weight")
    if up is None or (first is not None and tuple(first.shape[2:]) != (4, 4)):
        raise CheckpointError(
            f"{source} is a U-Net of an early version of PyTorch-GAN, or of a code base derived "
            "from it: its convolutions are 3x3, with the activation before the norm. ganpress "
            "imports the one with 4x4 convolutions (down1.model.0.weight, up1.model.0.weight)."
        )
    if "down2.model.1.running_mean" in state and "down2.model.1.weight" in state:
        raise CheckpointError(
            f"{source} is a U-Net of PyTorch-GAN under BatchNorm, whose eps no file shows (that "
            "code base has 0.8, others 1e-5). ganpress imports the one under InstanceNorm."
        )


def layer_names(downs: int) -> dict[str, str]:
    """Our layers -> the file's, convolutions and norms alike."""
    convs = {f"downs.{i}.conv": f"down{i + 1}.model.0" for i in range(downs)}
    convs |= {f"ups.{i}.conv": f"up{i + 1}.model.0" for i in range(downs - 1)}
    return convs | _norms(downs) | {"out.conv": "final.2"}


def _norms(downs: int) -> dict[str, str]:
    names = {f"downs.{i}.norm": f"down{i + 1}.model.1" for i in range(1, downs - 1)}
    return names | {f"ups.{i}.norm": f"up{i + 1}.model.1" for i in range(downs - 1)}


def tensor_names(downs: int) -> dict[str, str]:
    """Our tensors -> the file's; more than any one network has."""
    layers = layer_names(downs).items()
    return {f"{ours}.{t}": f"{theirs}.{t}" for ours, theirs in layers for t in PARAMETERS}


def _reading_both(downs: int) -> list[tuple[str, int, int]]:
    """Weights that read the decoder's and the encoder's map: our name, the dim of their inputs,
    and the number of the step whose maps they are."""
    ups = [(f"ups.{i}.conv.weight", 0, downs - 1 - i) for i in range(1, downs - 1)]
    return [*ups, ("out.conv.weight", 1, 0)]


def _swapped(dim: int, first: int) -> Callable[[Tensor], Tensor]:
    """A function that puts the first so many channels of a dim behind the others."""

    def swap(weight: Tensor) -> Tensor:
        rest = weight.shape[dim] - first
        return torch.cat([weight.narrow(dim, first, rest), weight.narrow(dim, 0, first)], dim)

    return swap


def unet_state_of(model: Model) -> State:
    """The U-Net's tensors under PyTorch-GAN's names, for a GeneratorUNet of as many halvings.

    Biases before InstanceNorm, which cancels them, are left out: its class has none.
    Raises: ConfigError for a network that the class cannot be: junyanz's wiring, BatchNorm, or
        biases where no norm follows (slimming puts what cut channels emit there).
    """
    options, state = model.options, dict(model.net.state_dict())
    check_options("pth-pytorch-gan", "pix2pix", options)
    downs, biases = options["downs"], []
    for name in [n for n in state if n.endswith("conv.bias") and n != "out.conv.bias"]:
        bias = state.pop(name)
        if name.replace("conv.bias", "norm") not in _norms(downs) and bias.any():
            biases.append(name)
    if biases:
        raise ConfigError(
            f"PyTorch-GAN's GeneratorUNet has no biases where no norm follows, and this network "
            f"has some ({', '.join(biases)}): export to onnx."
        )
    for ours, dim, i in _reading_both(downs):
        state[ours] = _swapped(dim, model.widths[f"enc{i}"])(state[ours])
    names = tensor_names(downs)
    return {names[ours]: tensor.contiguous() for ours, tensor in state.items()}
