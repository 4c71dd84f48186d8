"""The layers of VGG-16, SqueezeNet 1.1 and our own tiny network, without their classifiers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Fire(nn.Module):
    """SqueezeNet's block: squeeze to few channels, expand by 1x1 and 3x3 side by side."""

    def __init__(self, inputs: int, few: int, each: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, few, 1)
        self.expand1x1 = nn.Conv2d(few, each, 1)
        self.expand3x3 = nn.Conv2d(few, each, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, 2 * each, h, w), >= 0."""
        small = torch.relu(self.squeeze(x))
        return torch.relu(torch.cat([self.expand1x1(small), self.expand3x3(small)], 1))


def vgg16_layers(stages: int = 4) -> nn.Sequential:
    """VGG-16's convolutions up to relu4_3, or to the end of so many of its five stages; indices as
    in torchvision's `features`."""
    layers: list[nn.Module] = []
    inputs = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))[:stages]:
        for _ in range(count):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers[:-1])


def squeezenet_layers() -> nn.Sequential:
    """SqueezeNet 1.1 without its classifier; indices as in torchvision's `features`."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, stride=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(64, 16, 64),
        Fire(128, 16, 64),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(128, 32, 128),
        Fire(256, 32, 128),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        Fire(512, 64, 256),
    )


def tiny_layers() -> nn.Sequential:
    """Our own small network (127 k parameters), trained by recipes/train_tiny_features.py."""
    layers: list[nn.Module] = []
    inputs = 3
    for widths in ((16, 16), (32, 32), (64, 64), (96,)):
        for width in widths:
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.AvgPool2d(2))
    return nn.Sequential(*layers[:-1])


VGG16_TAPS = {"relu1_2": 3, "relu2_2": 8, "relu3_3": 15, "relu4_3": 22}
# The seven slices of LPIPS, by the names of the SqueezeNet paper.
SQUEEZENET_TAPS = {
    "relu1": 1,
    "fire3": 4,
    "fire5": 7,
    "fire6": 9,
    "fire7": 10,
    "fire8": 11,
    "fire9": 12,
}
TINY_TAPS = {"relu1": 3, "relu2": 8, "relu3": 13, "relu4": 16}
