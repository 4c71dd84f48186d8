"""DeepLabV2 on ResNet-101, at several scales (Chen et al., arXiv 1606.00915, TPAMI 2018).

The network by which mean IoU and pixel accuracy on COCO-Stuff are measured (GAN Compression; SPADE,
section 4). Modules have the names of kazuto1011/deeplab-pytorch, so that its files load key for
key.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.losses.weights import WeightFile

DEEPLABV2_COCO_STUFF = WeightFile(
    "DeepLabV2 on ResNet-101 (kazuto1011/deeplab-pytorch, COCO-Stuff 164k)",
    "deeplabv2_resnet101_msc-cocostuff164k-100000.pth",
    instead="kazuto1011/deeplab-pytorch's README, section Performance, says where it is.",
)
BLOCKS = (3, 4, 23, 3)
RATES = (6, 12, 18, 24)
SCALES = (0.5, 0.75)
WIDTHS = (64, 256, 512, 1024, 2048)
_STRIDES, _DILATIONS = (1, 2, 1, 1), (1, 1, 2, 4)


class ConvNorm(nn.Sequential):
    """A convolution, batch norm, and a ReLU where ``active``."""

    def __init__(
        self, i: int, o: int, kernel: int, stride: int = 1, dilation: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(i, o, kernel, stride, padding, dilation, bias=False)
        self.bn = nn.BatchNorm2d(o)
        if active:
            self.relu = nn.ReLU()


class Bottleneck(nn.Module):
    """A residual block of the Caffe form: its 1x1 convolution has the stride."""

    def __init__(self, i: int, o: int, stride: int, dilation: int, first: bool) -> None:
        super().__init__()
        self.reduce = ConvNorm(i, o // 4, 1, stride)
        self.conv3x3 = ConvNorm(o // 4, o // 4, 3, dilation=dilation)
        self.increase = ConvNorm(o // 4, o, 1, active=False)
        self.shortcut = ConvNorm(i, o, 1, stride, active=False) if first else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.increase(self.conv3x3(self.reduce(x)))
        return (hidden + self.shortcut(x)).relu()  # type: ignore[no-any-return]


class AtrousPyramid(nn.Module):
    """The sum of dilated 3x3 convolutions of several rates (ASPP)."""

    def __init__(self, i: int, o: int, rates: Sequence[int]) -> None:
        super().__init__()
        for index, rate in enumerate(rates):
            self.add_module(f"c{index}", nn.Conv2d(i, o, 3, padding=rate, dilation=rate))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([stage(x) for stage in self.children()]).sum(0)


class DeepLabV2(nn.Module):
    """(n, 3, h, w): blue, green, red, 0..255 less the mean -> (n, classes, about h / 8, w / 8).

    The logits of the picture and of the picture at `SCALES`, resized to the first: their maximum.

    Args: blocks: of the four levels. widths: of the stem and the four levels. rates: of the ASPP.
    """

    def __init__(
        self,
        classes: int,
        blocks: Sequence[int] = BLOCKS,
        widths: Sequence[int] = WIDTHS,
        rates: Sequence[int] = RATES,
    ) -> None:
        super().__init__()
        self.base = nn.Sequential()
        stem = nn.Sequential()
        stem.add_module("conv1", ConvNorm(3, widths[0], 7, 2))
        stem.add_module("pool", nn.MaxPool2d(3, 2, 1, ceil_mode=True))
        self.base.add_module("layer1", stem)
        for level, count in enumerate(blocks):
            i, o, layer = widths[level], widths[level + 1], nn.Sequential()
            for index in range(count):
                stride = _STRIDES[level] if index == 0 else 1
                block = Bottleneck(o if index else i, o, stride, _DILATIONS[level], index == 0)
                layer.add_module(f"block{index + 1}", block)
            self.base.add_module(f"layer{level + 2}", layer)
        self.base.add_module("aspp", AtrousPyramid(widths[-1], classes, rates))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the largest scale's size."""
        out: Tensor = self.base(x)
        for scale in SCALES:
            small = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
            size = out.shape[-2:]
            also = F.interpolate(self.base(small), size, mode="bilinear", align_corners=False)
            out = torch.maximum(out, also)
        return out
