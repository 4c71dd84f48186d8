"""What the training loops of all families share: networks, batches, device and precision."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.utils import parametrize

from ganpress.data import Batch, Images, stream
from ganpress.errors import ConfigError
from ganpress.models.checkpoint import Model
from ganpress.models.discriminator import Discriminator
from ganpress.models.families import Family
from ganpress.models.families.base import MADE, READ
from ganpress.nn.discriminators import build_discriminator
from ganpress.run import distributed
from ganpress.run.ema import Average
from ganpress.run.progress import say
from ganpress.run.run import Run
from ganpress.training.settings import RunSettings, TrainConfig
from ganpress.training.start import Start, unlike
from ganpress.types import Widths

Net = TypeVar("Net", bound=nn.Module)


def scaled(
    family: Family, config: TrainConfig, widths: Widths | None = None, **options: Any
) -> nn.Module:
    """The family's network under `config.options`, every group at `config.width` of its channels.

    Args:
        widths: in place of those.
        options: in place of those of the config.

    Seed torch before: the weights are initialised from its global generator.
    """
    chosen = {**config.options, **options}
    full = family.full(family.resolve(chosen))
    usual = {group: max(1, round(width * config.width)) for group, width in full.items()}
    return family.build(usual if widths is None else widths, **chosen)


def generator(
    family: Family,
    config: TrainConfig,
    initialise: Callable[[nn.Module], nn.Module],
    start: Start | None,
    way: str = "",
    **options: Any,
) -> nn.Module:
    """The network that a training begins with: the start's, in its widths, or `scaled`'s with fresh
    weights, which are sampled in both cases, so that what is sampled next is the same.

    Args: way: the direction, of those in the start's models.
    """
    fresh = initialise(scaled(family, config, **options))
    model = start.models.get(way) if start else None
    return copy.deepcopy(model.net).requires_grad_(True).train() if model else fresh


def discriminator(
    run: Run,
    kind: str,
    options: Mapping[str, Any],
    initialise: Callable[[nn.Module], nn.Module],
    start: Start | None,
    way: str = "",
) -> nn.Module:
    """The discriminator that a training begins with: that of the start's model of this direction
    where it is of this kind and these options, or else a fresh one, which is said in a line."""
    net = initialise(build_discriminator(kind, **options))
    if start is None:
        return net
    model = start.models.get(way)
    own = model.discriminator if model else None
    if why := unlike(own, kind, options):
        said = f" of {way}" if way else ""
        say(
            f"The discriminator{said} is a fresh one: {why}.",
            quiet=run.quiet or distributed.rank() > 0,
        )
    elif own:
        net.load_state_dict(own.net.state_dict())
    return net


def average_of(net: nn.Module, config: TrainConfig, start: Start | None) -> Average:
    """The average of the weights from here on: a start's are not forgotten sooner than others."""
    return Average(net, config.ema, ramped=start is None)


def batches(images: Images, config: TrainConfig, first: int, *, salt: str = "") -> Iterator[Batch]:
    """The batches of steps `first` to `config.steps` - 1; of each, this process's rows.

    Args: salt: a name for a second stream that must be random independently of the first.
    """
    c = config
    check_split(c)
    return stream(
        images,
        batch=c.batch,
        size=c.data.size,
        seed=_salted(c.seed, salt),
        first=first,
        total=c.steps,
        flip=c.data.flip,
        load_size=c.data.load_size,
        workers=c.data.workers,
        rank=distributed.rank(),
        world=distributed.world(),
    )


def channels_of(family: Family, config: TrainConfig) -> tuple[int, int]:
    """Channels of the picture that the config's generator reads, and of what it makes."""
    options = family.resolve(config.options)
    return int(options.get("in_channels", 0)), int(options["out_channels"])


def check_split(config: TrainConfig) -> None:
    """Refuse a batch that the processes, and the parts of each, cannot share evenly."""
    processes = distributed.world()
    if config.batch % (processes * config.accumulate):
        raise ConfigError(
            f"A batch of {config.batch} cannot be split over {processes} process(es) of "
            f"{config.accumulate} part(s) each: make batch a multiple of "
            f"{processes * config.accumulate}."
        )


def autocast(config: TrainConfig) -> torch.autocast:
    """The context for forward passes and losses: bfloat16 where the config asks for it."""
    return torch.autocast(
        config.device, dtype=torch.bfloat16, enabled=config.precision == "bfloat16"
    )


def device_of(config: TrainConfig) -> str:
    """The device of this process: "cpu", "cuda", or under torchrun "cuda:N".

    Raises `ConfigError` where there is no such device.
    """
    if config.device == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', but torch sees no CUDA device: --set device=cpu.")
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if distributed.world() > 1 else "cuda"


def place(net: Net, config: RunSettings, device: str) -> Net:
    """The network on its device, in the memory format of the config."""
    return _formatted(
        net.to(device), torch.channels_last if config.channels_last else torch.preserve_format
    )


def _formatted(net: Net, memory_format: torch.memory_format) -> Net:
    moved: Net = net.to(memory_format=memory_format)  # type: ignore[call-overload]
    return moved


@contextmanager
def float32_norms(*networks: nn.Module) -> Iterator[None]:
    """Context in which each spectral norm is computed once, in float32 also under autocast."""
    with parametrize.cached():
        for network in networks:
            for layer in network.modules():
                if parametrize.is_parametrized(layer, "weight"):
                    _ = layer.weight
        yield


@contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Within, no parameter of ``net`` gets a gradient; those that did before do so again after."""
    trained = [p for p in net.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def averaged(net: Net, average: Average) -> Net:
    """A copy with the averaged weights, in eval mode, without gradients."""
    end = copy.deepcopy(net)
    end.load_state_dict(average.shadow)
    return end.eval().requires_grad_(False)


def model_of(
    net: nn.Module,
    family: Family,
    config: TrainConfig,
    discriminator: Discriminator | None = None,
    provenance: dict[str, Any] | None = None,
) -> Model:
    """A finished teacher: copies of the networks on the CPU, in eval mode. Its options are the
    config's, with the channels that the network has."""
    own = discriminator and replace(
        discriminator, net=_finished(discriminator.net), options=dict(discriminator.options)
    )
    channels = {name: getattr(net, name) for name in (*READ, *MADE) if name in family.options}
    options = family.resolve({**config.options, **channels})
    return Model(_finished(net), family, options, dict(provenance or {}), own)


def _finished(net: nn.Module) -> nn.Module:
    finished = _formatted(copy.deepcopy(net).to("cpu"), torch.contiguous_format)
    finished.zero_grad(set_to_none=True)
    return finished.eval().requires_grad_(True)


def _salted(seed: int, salt: str) -> int:
    if not salt:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}/{salt}".encode()).digest()[:7], "little")
