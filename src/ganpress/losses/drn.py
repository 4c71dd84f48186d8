"""DRN-D for segmentation (Yu, Koltun and Funkhouser, "Dilated Residual Networks", CVPR 2017).

The network by which mean IoU on Cityscapes is measured (GAN Compression, section 4.1). Modules
have the names of fyu/drn, so that its published files load key for key.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ganpress.losses.weights import WeightFile

DRN_D_105_CITYSCAPES = WeightFile(
    "DRN-D-105 (fyu/drn, Cityscapes)",
    "drn-d-105_ms_cityscapes.pth",
    instead="fyu/drn's README names the folder that has it: http://go.yf.io/drn-cityscapes-models.",
)
DEPTHS = {
    22: ("basic", (1, 1, 2, 2, 2, 2, 1, 1)),
    38: ("basic", (1, 1, 3, 4, 6, 3, 1, 1)),
    54: ("bottleneck", (1, 1, 3, 4, 6, 3, 1, 1)),
    105: ("bottleneck", (1, 1, 3, 4, 23, 3, 1, 1)),
}
"""Kind of block, and layers or blocks of each level, by the number in the network's name."""
WIDTHS = (16, 32, 64, 128, 256, 512, 512, 512)
_STRIDES = (1, 2, 2, 2, 1, 1, 1, 1)
_DILATIONS = (1, 1, 1, 1, 2, 4, 2, 1)
_RESIDUAL = (2, 3, 4, 5)  # levels of residual blocks; the others are plain, which removes gridding
STRIDE = 8


class BasicBlock(nn.Module):
    """Two dilated 3x3 convolutions and the shortcut. (n, i, h, w) -> (n, o, h / stride, ...)."""

    expansion = 1

    def __init__(self, i: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = _conv3(i, width, stride, dilation)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3(width, width, 1, dilation)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(i, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (hidden + (x if self.downsample is None else self.downsample(x))).relu()  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """1x1, dilated 3x3 and 1x1 convolution to four times the width, and the shortcut."""

    expansion = 4

    def __init__(self, i: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(i, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3(width, width, stride, dilation)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = _shortcut(i, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.bn1(self.conv1(x)).relu()
        hidden = self.bn2(self.conv2(hidden)).relu()
        hidden = self.bn3(self.conv3(hidden))
        return (hidden + (x if self.downsample is None else self.downsample(x))).relu()  # type: ignore[no-any-return]


class DRNSegmenter(nn.Module):
    """(n, 3, h, w) normalised pictures -> (n, classes, h, w) logits; sides divisible by 8.

    Other sides give logits of the next multiple of 8. `base` is the trunk of stride 8, `seg` the
    1x1 classifier, `up` a transposed convolution that holds bilinear weights and is not trained.

    Args: depth: one of `DEPTHS`. widths: of the eight levels; those of the paper by default.
    """

    def __init__(self, classes: int, depth: int = 105, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        kind, layers = DEPTHS[depth]
        block = BasicBlock if kind == "basic" else Bottleneck
        stem = nn.Conv2d(3, widths[0], 7, padding=3, bias=False)
        levels = [nn.Sequential(stem, nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True))]
        i = widths[0]
        for level, (width, count) in enumerate(zip(widths, layers, strict=True)):
            stride, dilation = _STRIDES[level], _DILATIONS[level]
            if level in _RESIDUAL:
                levels.append(_residual(block, i, width, count, stride, dilation))
                i = width * block.expansion
            else:
                levels.append(_plain(i, width, count, stride, dilation))
                i = width
        self.base = nn.Sequential(*levels)
        self.seg = nn.Conv2d(i, classes, 1)
        self.up = nn.ConvTranspose2d(
            classes, classes, 16, stride=STRIDE, padding=4, groups=classes, bias=False
        )
        self.up.weight = nn.Parameter(bilinear_kernel(classes), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, before the logarithm of the softmax, which changes no class."""
        out: Tensor = self.up(self.seg(self.base(x)))
        return out


def bilinear_kernel(classes: int, stride: int = STRIDE) -> Tensor:
    """(classes, 1, 2 stride, 2 stride): the tent by which a transposed convolution interpolates."""
    at = (torch.arange(2 * stride) + 0.5) / stride - 1
    tent = 1 - at.abs()
    return (tent[:, None] * tent).expand(classes, 1, -1, -1).clone()


def _residual(
    block: type[BasicBlock] | type[Bottleneck],
    i: int,
    width: int,
    count: int,
    stride: int,
    dilation: int,
) -> nn.Sequential:
    blocks: list[nn.Module] = [block(i, width, stride, dilation)]
    blocks += [block(width * block.expansion, width, 1, dilation) for _ in range(1, count)]
    return nn.Sequential(*blocks)


def _plain(i: int, width: int, count: int, stride: int, dilation: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(count):
        conv = _conv3(i if index == 0 else width, width, stride if index == 0 else 1, dilation)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _conv3(i: int, o: int, stride: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(i, o, 3, stride, padding=dilation, dilation=dilation, bias=False)


def _shortcut(i: int, o: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and i == o:
        return None
    return nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))
