"""Sources of masks of interest, as files: networks that see by colour, boxes, mask pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from segmenter_files import by_colour, write_torchscript
from torch import Tensor, nn

RED = 'classes = ["red", "green", "blue"]\nkeep = ["red"]\n'


class Brightness(nn.Module):
    """(n, 3, h, w) in [0, 1] -> (n, 1, h, w): the mean of the channels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True)


class LastBrightness(nn.Module):
    """(n, h, w, 3) -> (n, h, w, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(3, keepdim=True)


class Several(nn.Module):
    """The classes by colour, as the first of two outputs, like BiSeNet's."""

    def __init__(self) -> None:
        super().__init__()
        self.net = by_colour()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.net(x), x


def red_network(folder: Path, toml: str = RED) -> Path:
    """A network whose mask is where a picture is rather red than green or blue."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_torchscript(folder / "red.pt", by_colour(), toml)


def red_left(count: int = 1, height: int = 8, width: int = 8, columns: int = 3) -> Tensor:
    """Blue pictures in [-1, 1], red in the first columns."""
    x = torch.full((count, 3, height, width), -1.0)
    x[:, 2] = 1
    x[..., :columns] = torch.tensor([1.0, -1, -1]).view(3, 1, 1)
    return x


def mask_left(count: int = 1, height: int = 8, width: int = 8, columns: int = 3) -> Tensor:
    """The mask of `red_left`'s red."""
    mask = torch.zeros(count, 1, height, width)
    mask[..., :columns] = 1
    return mask
