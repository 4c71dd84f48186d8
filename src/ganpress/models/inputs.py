"""What a generator reads, made of a batch of images or drawn: the same for student and teacher."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ganpress.data import Batch, Images
from ganpress.errors import ConfigError
from ganpress.models.checkpoint import Model
from ganpress.models.families.base import draw_inputs
from ganpress.nn.modes import in_eval
from ganpress.run import distributed
from ganpress.run.grid import first_rows
from ganpress.run.run import Stage
from ganpress.types import Inputs

GIVEN = ("image", "semantics")
"""Inputs that are made of images; all others are drawn."""


def reads(of: Model | nn.Module) -> tuple[str, ...]:
    """Names of what the generator reads, in order."""
    return getattr(_net(of), "reads", ("image",))


def from_noise(of: Model | nn.Module) -> bool:
    """Whether it reads neither photos nor label maps."""
    return not set(GIVEN) & set(reads(of))


def channels_of(of: Model | nn.Module) -> tuple[int, int]:
    """Channels of the picture that the generator reads (where it reads one), and of what it makes;
    RGB for a plain module."""
    net = _net(of)
    return int(getattr(net, "in_channels", 3)), int(getattr(net, "out_channels", 3))


def images_for(of: Model | nn.Module, images: Images) -> Images:
    """The images decoded to the channels that the generator has: what it reads, and their targets
    to what it makes; of one that reads label maps or noise, all to what it makes."""
    seen, made = channels_of(of)
    return images.with_channels(seen if "image" in reads(of) else made, made)


def reals_for(of: Model | nn.Module, images: Images) -> Images:
    """Pictures of the domain that the generator makes, decoded to the channels that it makes."""
    made = channels_of(of)[1]
    return images.with_channels(made, made)


def is_drawn(of: Model | nn.Module) -> bool:
    """Whether anything it reads is drawn: then a crop alone does not determine the output."""
    return bool(set(reads(of)) - set(GIVEN))


def inputs_of(of: Model | nn.Module, batch: Batch, draw: torch.Generator | None = None) -> Inputs:
    """What the generator reads of a batch, on the batch's device; noise and styles are drawn,
    picture after picture.

    Args: draw: None draws from torch's own state, which `Stage.steps` seeds from (seed, step), and
        in several processes takes this one's rows of what is drawn for all.
    Raises `ConfigError` where it reads label maps and the batch has none.
    """
    net: Any = _net(of)
    given: dict[str, Tensor] = {"image": batch.x}
    if "semantics" in reads(net):
        if batch.labels is None:
            name = f"A '{of.family.name}' generator" if isinstance(of, Model) else "The generator"
            raise ConfigError(f"{name} reads label maps: give them (--labels).")
        given["semantics"] = net.encode(batch.labels, batch.instances)
    if given.keys() >= set(reads(net)):
        return tuple(given[name] for name in reads(net))
    side = batch.x.shape[-1] if batch.x.ndim == 4 else 16
    shared = draw is None and distributed.world() > 1  # drawn for all processes alike
    count = len(batch.x) * (distributed.world() if shared else 1)
    noise = next(drawn(net, count, count, draw, side))
    noise = tuple(map(distributed.share, noise)) if shared else noise
    return tuple(
        given[name] if name in given else z.to(batch.x.device)
        for name, z in zip(reads(net), noise, strict=True)
    )


def check_given(of: Model, images: Images | None) -> None:
    """Refuse images that lack what the generator reads: none at all, no label maps, or maps with
    ids that it does not know.

    Raises: ConfigError, ImagesError. A generator that reads noise takes anything.
    """
    if from_noise(of):
        return
    if images is None:
        raise ConfigError(f"A '{of.family.name}' generator reads images: give them.")
    if "semantics" in reads(of) and not images.has_labels:
        raise ConfigError(f"A '{of.family.name}' generator reads label maps: give them (--labels).")
    check_ids(of, images)


def check_ids(of: Model | nn.Module, images: Images) -> None:
    """Refuse images whose label maps hold ids that the generator does not know, naming the map.

    Raises: ImagesError. Of a generator that reads no label maps, anything is well.
    """
    net: Any = _net(of)
    if "semantics" in reads(net):
        net.check_ids(images.label_ids, images.maps_with)


def drawn(
    of: Model | nn.Module,
    count: int,
    batch: int,
    draw: torch.Generator | None = None,
    size: int = 16,
) -> Iterator[Inputs]:
    """Random inputs in batches, drawn one by one: they do not depend on the size of a batch."""
    net = _net(of)
    for start in range(0, count, batch):
        each = [draw_inputs(net, 1, size, draw) for _ in range(start, min(start + batch, count))]
        yield tuple(torch.cat(column) for column in zip(*each, strict=True))


def made_size(of: Model | nn.Module) -> int:
    """Side in pixels of the pictures of a generator that reads noise."""
    net = _net(of)
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    example = draw_inputs(net, 1, 16, torch.Generator().manual_seed(0))
    with torch.no_grad(), in_eval(net):
        return int(net(*(t.to(device) for t in example)).shape[-1])


def draw_sample(
    stage: Stage, step: int, net: nn.Module, batch: Batch, target: Tensor, fake: Tensor
) -> None:
    """A grid in the stage's folder: photos (where there are any), teacher's and student's pictures,
    at most four of each side by side."""
    photos = () if from_noise(net) else (batch.x,)
    name = "photo-teacher-student" if photos else "teacher-student"
    stage.images(step, name, first_rows(*photos, target, fake), columns=min(4, len(fake)))


def _net(of: Model | nn.Module) -> nn.Module:
    return of.net if isinstance(of, Model) else of
