"""The generator of CartoonGAN (Chen et al., CVPR 2018) in the wiring of the Hayao weights.

Each down- and up-sampling step is two convolutions, a stride-2 one without norm or activation and
a 3x3 one followed by InstanceNorm and ReLU; the trunk is 8 residual blocks. InstanceNorm is affine
with eps 1e-9. The published files are BGR; the importer turns the first and last convolution
round, so inside ganpress the network reads and writes RGB like every other.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ganpress.models.families.base import (
    MADE,
    READ,
    Family,
    Generator,
    Image,
    image_axis,
    residual_groups,
)
from ganpress.nn.axes import Axis, named
from ganpress.nn.blocks import ConvNorm, ResidualBlock, up
from ganpress.nn.layers import conv
from ganpress.nn.norms import norm
from ganpress.types import Options, Widths

OPTIONS: dict[str, Any] = {
    **READ,
    **MADE,
    "blocks": 8,
    "norm": "instance",
    "affine": True,
    "separable": False,
}
EPS = 1e-9


class CartoonGenerator(Generator):
    """(n, in, h, w) in [-1, 1] -> (n, out, h, w) in [-1, 1]; h and w divisible by 4."""

    family = "cartoongan"
    min_pixels = 4
    min_map = 2

    def __init__(self, widths: Widths, options: Options) -> None:
        super().__init__(options)
        a = named(widths)
        kind, affine = options["norm"], options["affine"]

        def step(first: nn.Module, inner: Axis, out: Axis) -> nn.Sequential:
            second = conv(inner, out, 3, signed=True, padding=1)
            return nn.Sequential(first, ConvNorm(second, n(out), nn.ReLU()))

        def n(group: Axis) -> nn.Module:
            return norm(group, kind, affine=affine, eps=EPS)

        def down(i: str, o: str) -> nn.Module:
            return conv(a[i], a[o], 3, gated=True, stride=2, padding=1)

        seen, made = (image_axis(options, name) for name in ("in_channels", "out_channels"))
        stem = conv(seen, a["stem"], 7, signed=True)
        self.stem = ConvNorm(stem, n(a["stem"]), nn.ReLU(), reflect=3)
        self.down1 = step(down("stem", "down1a"), a["down1a"], a["down1"])
        self.down2 = step(down("down1", "down2a"), a["down2a"], a["trunk"])
        self.blocks = nn.ModuleList(
            ResidualBlock(
                a["trunk"],
                a[f"block{i}"],
                kind=kind,
                affine=affine,
                separable=options["separable"],
                eps=EPS,
            )
            for i in range(options["blocks"])
        )
        up1 = up(a["trunk"], a["up1a"], signed=True, gated=True)
        self.up1 = step(up1, a["up1a"], a["up1"])
        self.up2 = step(up(a["up1"], a["up2a"], gated=True), a["up2a"], a["up2"])
        self.out = ConvNorm(conv(a["up2"], made, 7), nn.Identity(), nn.Tanh(), reflect=3)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) -> (n, out_channels, h, w)."""
        self.check_pictures(x)
        x = self.down2(self.down1(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.out(self.up2(self.up1(x)))
        return out


def full(options: Options) -> Widths:
    """The published widths: 11.130 M parameters with 8 blocks."""
    inner = {f"block{i}": 256 for i in range(options["blocks"])}
    down = {"stem": 64, "down1a": 128, "down1": 128, "down2a": 256, "trunk": 256}
    return {**down, **inner, "up1a": 128, "up1": 128, "up2a": 64, "up2": 64}


def taps(options: Options) -> tuple[str, ...]:
    """After the second down-sampling and after each half of the blocks."""
    blocks = options["blocks"]
    return ("down2", *(f"blocks.{i}" for i in sorted({(blocks - 1) // 2, blocks - 1}) if i >= 0))


CARTOONGAN = Family(
    name="cartoongan",
    options=OPTIONS,
    full=full,
    generator=CartoonGenerator,
    taps=taps,
    tied=("trunk",),
    may_vanish=residual_groups,
    image=Image(size=256),
)
