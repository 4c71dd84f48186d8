"""Inception-v3 as FID and IS were published with it: TensorFlow's graph of 2015-12-05.

The weights are the port of pytorch-fid. The graph differs from torchvision's network: average pools
leave the padding out of the mean, the last block pools by the maximum, and there are 1008 classes.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.losses.weights import WeightFile

INCEPTION = WeightFile(
    "Inception-v3 (the network of FID and IS, pytorch-fid's port)",
    "pt_inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth",
    "6726825d",
    instead="Or take another metric, such as --metrics efficientnet-lite0.",
)
CLASSES, POOLED = 1008, 2048
LOGITS = "fc.weight"
"""The classifier's weights in the file, (1008, 2048). The score is published without its bias."""
SIZE = 299
EPS = 1e-3  # of the batch norms
TAPS = {"pool1": 3, "pool2": 6, "Mixed_6e": 14, "Mixed_7c": 17}


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, ReLU; the names are those of the weight file."""

    def __init__(self, i: int, o: int, kernel: int | tuple[int, int], **how: int) -> None:
        super().__init__()
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        stride, padded = how.get("stride", 1), how.get("padded", 0)
        padding = (kernel[0] // 2, kernel[1] // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(i, o, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(o, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(n, i, h, w) -> (n, o, h', w'), >= 0."""
        return F.relu(self.bn(self.conv(x)))


def _same(i: int, o: int, kernel: int | tuple[int, int]) -> ConvNorm:
    return ConvNorm(i, o, kernel, padded=1)


def _mean3(x: Tensor) -> Tensor:
    """3x3 mean of the pixels that there are: the padding is not counted."""
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class BlockA(nn.Module):
    """35 x 35: 1x1, 5x5, two 3x3, pooled."""

    def __init__(self, i: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = ConvNorm(i, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = ConvNorm(i, 48, 1), _same(48, 64, 5)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = ConvNorm(i, 64, 1), _same(64, 96, 3)
        self.branch3x3dbl_3 = _same(96, 96, 3)
        self.branch_pool = ConvNorm(i, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, i, h, w) -> (n, 224 + pooled, h, w)."""
        fives = self.branch5x5_2(self.branch5x5_1(x))
        threes = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), fives, threes, self.branch_pool(_mean3(x))], 1)


class BlockB(nn.Module):
    """35 x 35 to 17 x 17."""

    def __init__(self, i: int) -> None:
        super().__init__()
        self.branch3x3 = ConvNorm(i, 384, 3, stride=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = ConvNorm(i, 64, 1), _same(64, 96, 3)
        self.branch3x3dbl_3 = ConvNorm(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, i, h, w) -> (n, 480 + i, h', w')."""
        threes = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), threes, F.max_pool2d(x, 3, 2)], 1)


class BlockC(nn.Module):
    """17 x 17: 1x1, one 7x7 and two of them, each as 1x7 and 7x1, pooled."""

    def __init__(self, narrow: int) -> None:
        super().__init__()
        c, across, down = narrow, (1, 7), (7, 1)
        self.branch1x1 = ConvNorm(768, 192, 1)
        self.branch7x7_1, self.branch7x7_2 = ConvNorm(768, c, 1), _same(c, c, across)
        self.branch7x7_3 = _same(c, 192, down)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = ConvNorm(768, c, 1), _same(c, c, down)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = _same(c, c, across), _same(c, c, down)
        self.branch7x7dbl_5 = _same(c, 192, across)
        self.branch_pool = ConvNorm(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 768, h, w) -> (n, 768, h, w)."""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        two = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        two = self.branch7x7dbl_5(self.branch7x7dbl_4(two))
        return torch.cat([self.branch1x1(x), seven, two, self.branch_pool(_mean3(x))], 1)


class BlockD(nn.Module):
    """17 x 17 to 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = ConvNorm(768, 192, 1), ConvNorm(192, 320, 3, stride=2)
        self.branch7x7x3_1, self.branch7x7x3_2 = ConvNorm(768, 192, 1), _same(192, 192, (1, 7))
        self.branch7x7x3_3 = _same(192, 192, (7, 1))
        self.branch7x7x3_4 = ConvNorm(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 768, h, w) -> (n, 1280, h', w')."""
        threes = self.branch3x3_2(self.branch3x3_1(x))
        sevens = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return torch.cat([threes, self.branch7x7x3_4(sevens), F.max_pool2d(x, 3, 2)], 1)


class BlockE(nn.Module):
    """8 x 8; the last of the two pools by the maximum, as the published graph does."""

    def __init__(self, i: int, maximum: bool) -> None:
        super().__init__()
        self.maximum = maximum
        self.branch1x1 = ConvNorm(i, 320, 1)
        self.branch3x3_1 = ConvNorm(i, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = _same(384, 384, (1, 3)), _same(384, 384, (3, 1))
        self.branch3x3dbl_1, self.branch3x3dbl_2 = ConvNorm(i, 448, 1), _same(448, 384, 3)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = (
            _same(384, 384, (1, 3)),
            _same(384, 384, (3, 1)),
        )
        self.branch_pool = ConvNorm(i, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, i, h, w) -> (n, 2048, h, w)."""
        one = self.branch3x3_1(x)
        two = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, 1, 1) if self.maximum else _mean3(x)
        parts = [self.branch1x1(x), self.branch3x3_2a(one), self.branch3x3_2b(one)]
        parts += [self.branch3x3dbl_3a(two), self.branch3x3dbl_3b(two), self.branch_pool(pooled)]
        return torch.cat(parts, 1)


def inception_layers() -> nn.Sequential:
    """The whole network up to the last block, whose mean over space is FID's pool3 (2048)."""
    layers: dict[str, nn.Module] = {
        "Conv2d_1a_3x3": ConvNorm(3, 32, 3, stride=2),
        "Conv2d_2a_3x3": ConvNorm(32, 32, 3),
        "Conv2d_2b_3x3": _same(32, 64, 3),
        "pool1": nn.MaxPool2d(3, 2),
        "Conv2d_3b_1x1": ConvNorm(64, 80, 1),
        "Conv2d_4a_3x3": ConvNorm(80, 192, 3),
        "pool2": nn.MaxPool2d(3, 2),
        "Mixed_5b": BlockA(192, 32),
        "Mixed_5c": BlockA(256, 64),
        "Mixed_5d": BlockA(288, 64),
        "Mixed_6a": BlockB(288),
        "Mixed_6b": BlockC(128),
        "Mixed_6c": BlockC(160),
        "Mixed_6d": BlockC(160),
        "Mixed_6e": BlockC(192),
        "Mixed_7a": BlockD(),
        "Mixed_7b": BlockE(1280, maximum=False),
        "Mixed_7c": BlockE(2048, maximum=True),
    }
    return nn.Sequential(OrderedDict(layers))
