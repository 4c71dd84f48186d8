"""The network of ST-LPIPS (Ghildyal and Liu, ECCV 2022): AlexNet without strides, blurred instead.

A learned perceptual distance that hardly changes when pictures are shifted by a pixel. Its weights
are whole in a package of PyPI, whose code is not run (ADR 0026).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.losses.weights import WeightFile

ST_LPIPS_ALEX = WeightFile(
    "ST-LPIPS (AlexNet)",
    "alex_shift_tolerant.pth",
    sha256="b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee",
    package="stlpips_pytorch",
    extra="features",
)
SHIFT = (-0.030, -0.088, -0.188)  # of pictures in [-1, 1]
SCALE = (0.458, 0.448, 0.450)
TAPS = {"relu1": 2, "relu2": 6, "relu3": 10, "relu4": 12, "relu5": 14}
HEADS = {f"lin{i}.model.1.weight": (1, c, 1, 1) for i, c in enumerate((64, 192, 384, 256, 256))}
"""The learned weights of each tap's channels, by their names in the file; >= 0."""
MIN_SIZE = 21
_SLICES = {"0": 1, "5": 2, "9": 3, "11": 4, "13": 5}


class Blur(nn.Module):
    """Binomial 3x3 filter of each channel, then every second pixel; two pixels are reflected."""

    taps: Tensor

    def __init__(self) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("taps", torch.outer(line, line)[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, (h + 3) // 2, (w + 3) // 2)."""
        channels = x.shape[1]
        padded = F.pad(x, (2, 2, 2, 2), mode="reflect")
        return F.conv2d(padded, self.taps.expand(channels, 1, 3, 3), stride=2, groups=channels)


def st_alexnet_layers() -> nn.Sequential:
    """The five convolutions; each stride of AlexNet is a `Blur`."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, padding=2),
        Blur(),
        nn.ReLU(),
        nn.MaxPool2d(3, 1),
        Blur(),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 1),
        Blur(),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )


def key_in_file(name: str) -> str:
    """'5.weight' -> 'net.slice2.5.weight', as the weight file calls it."""
    index, _, tensor = name.partition(".")
    return f"net.slice{_SLICES[index]}.{index}.{tensor}"
