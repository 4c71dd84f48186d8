"""Segmentation networks that see a pixel's class by its colour, as files; and random ones in the
layout of published weight files."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ganpress.losses.weights import WeightFile
from ganpress.measures import segmenter as segmenters
from ganpress.measures.segmenter import Geometry, Segmenter
from ganpress.measures.segmenter_file import checked

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
COLOURS = {"red": RED, "green": GREEN, "blue": BLUE}


def by_colour(colours: dict[str, tuple[int, int, int]] = COLOURS) -> nn.Conv2d:
    """Of values in 0..1: the logit of a class is larger the nearer the pixel is to its colour."""
    at = torch.tensor(list(colours.values())) / 255
    net = nn.Conv2d(3, len(at), 1)
    net.weight = nn.Parameter(2 * at[:, :, None, None])
    net.bias = nn.Parameter(-at.square().sum(1))
    return net.eval()


def colour_segmenter(**changed: object) -> Segmenter:
    """That network, whose classes are the ids 1, 2 and 3 of maps; 0 is not counted."""
    given = checked({**described(), **changed}, "the test")
    geometry = Geometry(given.size, given.resize)
    return Segmenter(
        "colours", by_colour(), given.labelling, given.preprocessing, geometry, "0" * 64
    )


def described() -> dict[str, object]:
    """What `by_colour` reads and gives."""
    return {
        "classes": list(COLOURS),
        "ids": {"red": 1, "green": [2], "blue": 3},
        "ignored": [0],
        "colours": {name: list(colour) for name, colour in COLOURS.items()},
        "ignored_colours": [[0, 0, 0]],
    }


TOML = """classes = ["red", "green", "blue"]
ignored = [0]
ignored_colours = [[0, 0, 0]]
[ids]
red = 1
green = [2]
blue = 3
[colours]
red = [255, 0, 0]
green = [0, 255, 0]
blue = [0, 0, 255]
"""


def write_torchscript(path: Path, net: nn.Module | None = None, toml: str = TOML) -> Path:
    """A network's TorchScript file, and its description beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(net or by_colour(), torch.zeros(1, 3, 8, 8)), path)
    path.with_suffix(".toml").write_text(toml)
    return path


def random_state(net: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Random tensors of the network's keys, but those of training; norms that are no identity."""
    draw = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        fan = tensor[0].numel() if tensor.ndim > 1 else 1
        value = torch.randn(tensor.shape, generator=draw) * (2 / fan) ** 0.5
        if tensor.ndim == 1 and name.endswith(("weight", "running_var")):
            value = 0.5 + torch.rand(tensor.shape, generator=draw)
        state[name] = value
    return state


def publish(
    patch: pytest.MonkeyPatch, folder: Path, name: str, build: Callable[[], nn.Module]
) -> Path:
    """A random file of ``build`` as the published one of a named segmenter, where GANPRESS_WEIGHTS
    points from now on."""
    entry = segmenters._NETS[name]
    folder.mkdir(exist_ok=True)
    path = folder / entry.file.file
    torch.save(random_state(build()), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    file = WeightFile(entry.file.title, entry.file.file, sha256=digest)
    patch.setitem(segmenters._NETS, name, replace(entry, build=build, file=file))
    patch.setenv("GANPRESS_WEIGHTS", str(folder))
    return path
