"""Small plain-torch copies of upstream wirings, with upstream's keys, for files to import."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PLAIN_BATCH = partial(nn.BatchNorm2d, affine=False)


class UnetBlock(nn.Module):
    """junyanz's UnetSkipConnectionBlock, but the outermost; the innermost has no `sub`."""

    def __init__(
        self, outer: int, inner: int, sub: nn.Module | None, norm: Any, *, drop: bool, bias: bool
    ) -> None:
        super().__init__()
        half = {"kernel_size": 4, "stride": 2, "padding": 1, "bias": bias}
        down, wide = nn.Conv2d(outer, inner, **half), 2 * inner if sub else inner
        up = [nn.ReLU(), nn.ConvTranspose2d(wide, outer, **half), norm(outer)]
        middle = [norm(inner), sub] if sub else []
        last = [nn.Dropout(0.5)] if drop and sub else []
        self.model = nn.Sequential(nn.LeakyReLU(0.2), down, *middle, *up, *last)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.model(x)], 1)


class Unet(nn.Module):
    """junyanz's UnetGenerator of these widths, outermost first; h and w divisible by 2^len."""

    def __init__(
        self, widths: list[int], norm: Any = nn.BatchNorm2d, *, drop: bool = False, bias: bool
    ) -> None:
        super().__init__()
        first, *_ = widths
        sub: nn.Module | None = None
        for outer, inner in zip(widths[-2::-1], widths[:0:-1], strict=True):
            sub = UnetBlock(outer, inner, sub, norm, drop=drop, bias=bias)
        last = nn.ConvTranspose2d(2 * first, 3, 4, 2, 1)
        outermost = nn.Module()
        outermost.model = nn.Sequential(
            nn.Conv2d(3, first, 4, 2, 1, bias=bias), sub, nn.ReLU(), last, nn.Tanh()
        )
        self.model = outermost

    def forward(self, x: Tensor) -> Tensor:
        return self.model.model(x)


class SeparableGamma(nn.Module):
    """GAN Compression's SeparableConv2d, zero padded."""

    def __init__(self, i: int, o: int, middle: Any) -> None:
        super().__init__()
        depthwise = nn.Conv2d(i, i, 3, padding=1, groups=i)
        self.conv = nn.Sequential(depthwise, middle(i), nn.Conv2d(i, o, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class SpadeNorm(nn.Module):
    """SPADE's norm; `middle` makes gamma and beta separable, with that norm inside."""

    def __init__(self, c: int, labels: int, free: Any, middle: Any) -> None:
        super().__init__()
        self.param_free_norm = free(c)
        self.mlp_shared = nn.Sequential(nn.Conv2d(labels, 5, 3, padding=1), nn.ReLU())
        plain = partial(nn.Conv2d, kernel_size=3, padding=1)
        convs = partial(SeparableGamma, middle=middle) if middle else plain
        self.mlp_gamma, self.mlp_beta = convs(5, c), convs(5, c)

    def forward(self, x: Tensor, seg: Tensor) -> Tensor:
        hidden = self.mlp_shared(F.interpolate(seg, size=x.shape[2:], mode="nearest"))
        return self.param_free_norm(x) * (1 + self.mlp_gamma(hidden)) + self.mlp_beta(hidden)


class SpadeBlock(nn.Module):
    def __init__(self, i: int, o: int, **how: Any) -> None:
        super().__init__()
        mid = min(i, o)
        self.norm_0, self.norm_1 = SpadeNorm(i, **how), SpadeNorm(mid, **how)
        self.conv_0, self.conv_1 = nn.Conv2d(i, mid, 3, 1, 1), nn.Conv2d(mid, o, 3, 1, 1)
        if i != o:
            self.norm_s, self.conv_s = SpadeNorm(i, **how), nn.Conv2d(i, o, 1, bias=False)

    def forward(self, x: Tensor, seg: Tensor) -> Tensor:
        y = self.conv_0(F.leaky_relu(self.norm_0(x, seg), 0.2))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, seg), 0.2))
        return y + (self.conv_s(self.norm_s(x, seg)) if hasattr(self, "conv_s") else x)


class Spade(nn.Module):
    """NVlabs' SPADEGenerator that reads `labels` channels; grid: of the latent map, pixels."""

    def __init__(
        self,
        labels: int = 5,
        *,
        upsampling: str = "normal",
        free: Any = PLAIN_BATCH,
        middle: Any = None,
    ) -> None:
        super().__init__()
        how: dict[str, Any] = {"labels": labels, "free": free, "middle": middle}
        self.upsampling = upsampling
        self.fc = nn.Conv2d(labels, 9, 3, padding=1)
        for name in ("head_0", "G_middle_0", "G_middle_1"):
            self.add_module(name, SpadeBlock(9, 9, **how))
        widths = [9, 8, 7, 6, 5, *([4] if upsampling == "most" else [])]
        self.ups = [f"up_{k}" for k in range(len(widths) - 1)]
        for k, name in enumerate(self.ups):
            self.add_module(name, SpadeBlock(widths[k], widths[k + 1], **how))
        self.conv_img = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, seg: Tensor) -> Tensor:
        cell = {"normal": 32, "more": 64, "most": 128}[self.upsampling]
        h, w = seg.shape[2:]
        x = self.fc(F.interpolate(seg, size=(h // cell, w // cell), mode="nearest"))
        x = self.G_middle_0(twice(self.head_0(x, seg)), seg)
        x = self.G_middle_1(x if self.upsampling == "normal" else twice(x), seg)
        for name in self.ups:
            x = self.get_submodule(name)(twice(x), seg)
        return self.conv_img(F.leaky_relu(x, 0.2)).tanh()


def twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class SnganBlock(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(i, o, 3, padding=1), nn.Conv2d(o, o, 3, padding=1)
        self.b1, self.b2 = nn.BatchNorm2d(i), nn.BatchNorm2d(o)
        self.c_sc = nn.Conv2d(i, o, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.c1(twice(self.b1(x).relu()))
        return self.c2(self.b2(inner).relu()) + self.c_sc(twice(x))


class Sngan(nn.Module):
    """GongXinyuu's generator: z (n, 6) -> (n, 3, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.l1 = nn.Linear(6, 5 * 16)
        self.block2, self.block3, self.block4 = (
            SnganBlock(i, o) for i, o in ((5, 7), (7, 4), (4, 6))
        )
        self.b5, self.c5 = nn.BatchNorm2d(6), nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.block4(self.block3(self.block2(self.l1(z).view(-1, 5, 4, 4))))
        return self.c5(self.b5(x).relu()).tanh()
