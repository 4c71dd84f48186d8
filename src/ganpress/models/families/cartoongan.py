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
from ganpress.nn.blocks import ConvNorm, ResidualBlock, doubling
from ganpress.nn.layers import conv
from ganpress.nn.norms import norm
from ganpress.nn.resample import OUTER_PADDINGS, PADDINGS, UPS, check_word
from ganpress.types import Options, Widths

OPTIONS: dict[str, Any] = {
    **READ,
    **MADE,
    "blocks": 8,
    "norm": "instance",
    "affine": True,
    "separable": False,
    "padding": "reflect",  # of the residual blocks; or "replicate", "zero"
    "up": "transposed",  # what doubles; or "nearest", "bilinear" before a 3x3 convolution; or
    # "sub-pixel": one 2x2 convolution for all four pixels
    "outer_padding": "reflect",  # of the first and last convolution; or "zero"
    "inner_norm": "instance",  # norm inside a separable convolution; or "batch", "none"
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
        check_word("padding", options["padding"], PADDINGS)
        check_word("up", options["up"], UPS)
        check_word("outer_padding", options["outer_padding"], OUTER_PADDINGS)
        around = 3 if options["outer_padding"] == "reflect" else 0

        def step(first: nn.Module, inner: Axis, out: Axis) -> nn.Sequential:
            second = conv(inner, out, 3, signed=True, padding=1)
            return nn.Sequential(first, ConvNorm(second, n(out), nn.ReLU()))

        def n(group: Axis) -> nn.Module:
            return norm(group, kind, affine=affine, eps=EPS)

        def down(i: str, o: str) -> nn.Module:
            return conv(a[i], a[o], 3, gated=True, stride=2, padding=1)

        seen, made = (image_axis(options, name) for name in ("in_channels", "out_channels"))

        def up(i: str, o: str) -> nn.Module:
            layer, before = doubling(a[i], a[o], options["up"], signed=i == "trunk", gated=True)
            return layer if before is None else ConvNorm(layer, nn.Identity(), None, before=before)

        stem = conv(seen, a["stem"], 7, signed=True, padding=3 - around)
        self.stem = ConvNorm(stem, n(a["stem"]), nn.ReLU(), reflect=around)
        self.down1 = step(down("stem", "down1a"), a["down1a"], a["down1"])
        self.down2 = step(down("down1", "down2a"), a["down2a"], a["trunk"])
        self.blocks = nn.ModuleList(
            ResidualBlock(
                a["trunk"],
                a[f"block{i}"],
                kind=kind,
                affine=affine,
                separable=options["separable"],
                padding=options["padding"],
                middle=options["inner_norm"],
                eps=EPS,
            )
            for i in range(options["blocks"])
        )
        self.up1 = step(up("trunk", "up1a"), a["up1a"], a["up1"])
        self.up2 = step(up("up1", "up2a"), a["up2a"], a["up2"])
        written = conv(a["up2"], made, 7, padding=3 - around)
        self.out = ConvNorm(written, nn.Identity(), nn.Tanh(), reflect=around)

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
