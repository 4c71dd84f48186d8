"""SINet, a network of 87 thousand parameters that finds people in portraits.

Park et al., "SINet: Extreme Lightweight Portrait Segmentation Networks Using Spatial Squeeze
Modules and Information Blocking Decoder", WACV 2020. Parts are named as the tensors of the
published file (clovaai/ext_portrait_segmentation, result/SINet/SINet.pth) are.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 2
_EPS = 1e-3
Branch = tuple[int, int]
"""Kernel size, and by how much its input is squeezed."""
_LEVEL2: tuple[tuple[Branch, Branch], ...] = (((3, 1), (5, 1)), ((3, 1), (3, 1)))
_LEVEL3: tuple[tuple[Branch, Branch], ...] = (
    ((3, 1), (5, 1)),
    ((3, 1), (3, 1)),
    ((5, 1), (3, 2)),
    ((5, 2), (3, 4)),
    ((3, 1), (3, 1)),
    ((5, 1), (5, 1)),
    ((3, 2), (3, 4)),
    ((3, 1), (5, 2)),
)


class SINet(nn.Module):
    """(n, 3, h, w), sides divisible by 32 -> (n, 2, h, w) logits: background, person."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _Encoder()
        self.bn_3 = _norm(CLASSES)
        self.level2_C = _Layer(nn.Conv2d(48, CLASSES, 1, bias=False), CLASSES)
        self.bn_2 = _norm(CLASSES)
        last = nn.Conv2d(CLASSES, CLASSES, 3, padding=1, bias=False)
        self.classifier = nn.Sequential(_Enlarge(2), last)

    def forward(self, x: Tensor) -> Tensor:
        """The decoder lets fine features in only where the coarse map is unsure (section 3.3)."""
        coarse, fine = self.encoder(x)
        coarse = self.bn_3(_enlarged(coarse, 2))
        unsure = 1 - coarse.softmax(1).amax(1, keepdim=True)
        joined = self.bn_2(_enlarged(self.level2_C(fine) * unsure + coarse, 2))
        out: Tensor = self.classifier(joined)
        return out


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.level1 = _Layer(nn.Conv2d(3, 12, 3, stride=2, padding=1, bias=False), 12)
        self.level2_0 = _Layer(_separable(12, 16, squeezed=None), 16)
        self.level2 = _modules(16, 48, _LEVEL2)
        self.BR2 = _NormAct(64)
        self.level3_0 = _Layer(_separable(64, 48, squeezed=32), 48)
        self.level3 = _modules(48, 96, _LEVEL3)
        self.BR3 = _NormAct(144)
        self.classifier = _Wrapped(nn.Conv2d(144, CLASSES, 1, bias=False))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits at 1/8 of the size, and features at 1/4."""
        first = self.level2_0(self.level1(x))
        fine = self.level2(first)
        second = self.level3_0(self.BR2(torch.cat([first, fine], 1)))
        deep = self.BR3(torch.cat([second, self.level3(second)], 1))
        return self.classifier(deep), fine


class _SqueezeModule(nn.Module):
    """S2-module: one grouped 1x1 convolution, its channels shuffled, read by two branches."""

    def __init__(self, i: int, o: int, branches: tuple[Branch, Branch], *, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.c1 = _Wrapped(nn.Conv2d(i, o // 2, 1, groups=2, bias=False))
        self.shuffle = nn.ChannelShuffle(2)
        self.d1, self.d2 = (_Branch(o // 2, kernel, down) for kernel, down in branches)
        self.BR = _NormAct(o)

    def forward(self, x: Tensor) -> Tensor:
        shared = self.shuffle(self.c1(x))
        both = torch.cat([self.d1(shared), self.d2(shared)], 1)
        out: Tensor = self.BR(both + x if self.residual else both)
        return out


class _Branch(nn.Module):
    """S2-block: a depthwise separable convolution of a map that is squeezed by average pooling."""

    def __init__(self, width: int, kernel: int, down: int) -> None:
        super().__init__()
        self.down = down
        self.conv = nn.Sequential(_depthwise(width, kernel), _norm(width))
        self.act_conv1x1 = nn.Sequential(nn.PReLU(width), nn.Conv2d(width, width, 1, bias=False))
        self.bn = _norm(width)

    def forward(self, x: Tensor) -> Tensor:
        if self.down > 1:
            x = F.avg_pool2d(x, self.down)
        found = self.act_conv1x1(self.conv(x))
        out: Tensor = self.bn(_enlarged(found, self.down) if self.down > 1 else found)
        return out


class _ChannelGate(nn.Module):
    """Squeeze and excitation whose last activation is a PReLU."""

    def __init__(self, width: int, squeezed: int | None) -> None:
        super().__init__()
        sides = (width, width) if squeezed is None else (width, squeezed, width)
        layers: list[nn.Module] = []
        for i, o in pairwise(sides):
            layers += [nn.Linear(i, o), nn.PReLU(o)]
        self.dense = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.dense(x.mean((2, 3)))
        return x * gate[:, :, None, None]


class _Layer(nn.Module):
    """A convolution, its norm and a PReLU."""

    def __init__(self, conv: nn.Module, width: int) -> None:
        super().__init__()
        self.conv, self.bn, self.act = conv, _norm(width), nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class _NormAct(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn, self.act = _norm(width), nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.bn(x))
        return out


class _Wrapped(nn.Module):
    """A convolution that the file calls ``NAME.conv``."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class _Enlarge(nn.Module):
    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return _enlarged(x, self.factor)


def _modules(i: int, o: int, branches: tuple[tuple[Branch, Branch], ...]) -> nn.Sequential:
    first, *rest = branches
    others = (_SqueezeModule(o, o, each, residual=True) for each in rest)
    return nn.Sequential(_SqueezeModule(i, o, first, residual=False), *others)


def _separable(i: int, o: int, *, squeezed: int | None) -> nn.Sequential:
    """A depthwise convolution of stride 2, a gate of its channels, a 1x1 convolution."""
    pointwise = nn.Conv2d(i, o, 1, bias=False)
    return nn.Sequential(_depthwise(i, 3, stride=2), _ChannelGate(i, squeezed), pointwise)


def _depthwise(width: int, kernel: int, *, stride: int = 1) -> nn.Conv2d:
    pad = kernel // 2
    return nn.Conv2d(width, width, kernel, stride, pad, groups=width, bias=False)


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=_EPS)


def _enlarged(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=True)
