"""The ResNet discriminator of SNGAN for CIFAR-10; it projects classes where there are any."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations


class SnganDiscriminator(nn.Module):
    """(n, inputs, h, w) -> (n, 1) raw logits; Miyato et al., ICLR 2018, table 4b.

    Four residual blocks, two of which halve the picture, then the sum over space and a linear layer
    without bias. With ``classes`` the inner product of the features and the class's embedding is
    added (Miyato and Koyama, ICLR 2018). Spectral norm, if any, is on every layer. The keys are
    upstream's (GongXinyuu/sngan.pytorch).
    """

    def __init__(
        self, width: int = 128, *, classes: int = 0, spectral_norm: bool = True, inputs: int = 3
    ) -> None:
        super().__init__()
        sn = spectral_norm
        self.block1 = _Block(inputs, width, sn, halves=True, first=True)
        self.block2 = _Block(width, width, sn, halves=True)
        self.block3, self.block4 = (_Block(width, width, sn, halves=False) for _ in range(2))
        self.l5 = _normed(nn.Linear(width, 1, bias=False), sn)
        self.embed = _normed(nn.Linear(classes, width, bias=False), sn) if classes else None

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Pictures and, for a conditional one, one-hot classes (n, classes)."""
        h = self.block4(self.block3(self.block2(self.block1(x)))).relu().sum((2, 3))
        out: Tensor = self.l5(h)
        if self.embed is not None and y is not None:
            out = out + (self.embed(y) * h).sum(1, keepdim=True)
        return out


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, then perhaps half the size.

    The ``first`` block reads the picture: it starts without ReLU, and halves before its shortcut's
    convolution, the others behind it.
    """

    def __init__(self, i: int, o: int, sn: bool, *, halves: bool, first: bool = False) -> None:
        super().__init__()
        self.halves, self.first = halves, first
        self.c1 = _normed(nn.Conv2d(i, o, 3, padding=1), sn)
        self.c2 = _normed(nn.Conv2d(o, o, 3, padding=1), sn)
        self.c_sc = _normed(nn.Conv2d(i, o, 1), sn) if halves else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.c2(self.c1(x if self.first else x.relu()).relu())
        if self.c_sc is None:
            return y + x  # type: ignore[no-any-return]
        if self.first:
            return F.avg_pool2d(y, 2) + self.c_sc(F.avg_pool2d(x, 2))  # type: ignore[no-any-return]
        return F.avg_pool2d(y + self.c_sc(x), 2)


def _normed(layer: nn.Module, sn: bool) -> nn.Module:
    return parametrizations.spectral_norm(layer) if sn else layer
