"""The ResNet generator of CycleGAN and pix2pix (Johnson et al.; Zhu et al., ICCV 2017).

stem 7x7 -> two stride-2 convolutions -> residual trunk -> two transposed convolutions -> 7x7 tanh.
The same class serves junyanz's networks, GAN Slimming's (InstanceNorm with scales everywhere) and
GAN Compression's separable students: they differ in widths and options only.
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
from ganpress.nn.axes import named
from ganpress.nn.blocks import ConvNorm, ResidualBlock, up
from ganpress.nn.layers import conv
from ganpress.nn.norms import norm
from ganpress.types import Options, Widths

OPTIONS: dict[str, Any] = {
    **READ,
    **MADE,
    "blocks": 9,  # residual blocks in the trunk
    "norm": "instance",  # or "batch"
    "affine": False,  # scales on InstanceNorm: False in junyanz's files, True while slimming
    "separable": False,  # residual blocks of GAN Compression's students
    "clamp": False,  # clamp the input to [-1, 1], as GAN Compression's classes do
}


class ResnetGenerator(Generator):
    """(n, in, h, w) in [-1, 1] -> (n, out, h, w) in [-1, 1]; h and w divisible by 4.

    InstanceNorm's statistics are of each image, so a picture's borders and size matter. Every
    convolution has a bias, also before BatchNorm, so that constants can be absorbed into it.
    """

    family = "cyclegan"

    def __init__(self, widths: Widths, options: Options) -> None:
        super().__init__(options)
        a = named(widths)
        kind, affine, clamp = options["norm"], options["affine"], options["clamp"]
        self.clamp = bool(clamp)

        def n(group: str) -> nn.Module:
            return norm(a[group], kind, affine=affine)

        def down(i: str, o: str) -> ConvNorm:
            return ConvNorm(conv(a[i], a[o], 3, stride=2, padding=1), n(o), nn.ReLU())

        seen, made = (image_axis(options, name) for name in ("in_channels", "out_channels"))
        self.stem = ConvNorm(conv(seen, a["stem"], 7, signed=True), n("stem"), nn.ReLU(), reflect=3)
        self.down1, self.down2 = down("stem", "down1"), down("down1", "trunk")
        self.blocks = nn.ModuleList(
            ResidualBlock(
                a["trunk"],
                a[f"block{i}"],
                kind=kind,
                affine=affine,
                separable=options["separable"],
            )
            for i in range(options["blocks"])
        )
        self.up1 = ConvNorm(up(a["trunk"], a["up1"], signed=True), n("up1"), nn.ReLU())
        self.up2 = ConvNorm(up(a["up1"], a["up2"]), n("up2"), nn.ReLU())
        self.out = ConvNorm(conv(a["up2"], made, 7), nn.Identity(), nn.Tanh(), reflect=3)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) -> (n, out_channels, h, w)."""
        self.check_pictures(x)
        if self.clamp:
            x = x.clamp(-1, 1)
        x = self.down2(self.down1(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.out(self.up2(self.up1(x)))
        return out


def full(options: Options) -> Widths:
    """Widths at ngf 64: 11.378 M parameters with 9 blocks."""
    inner = {f"block{i}": 256 for i in range(options["blocks"])}
    return {"stem": 64, "down1": 128, "trunk": 256, **inner, "up1": 128, "up2": 64}


def taps(options: Options) -> tuple[str, ...]:
    """After the second down-sampling and after each third of the blocks (GAN Compression)."""
    blocks = options["blocks"]
    ends = sorted({round(blocks * k / 3) - 1 for k in (1, 2, 3) if blocks * k >= 3})
    return ("down2", *(f"blocks.{i}" for i in ends))


CYCLEGAN = Family(
    name="cyclegan",
    options=OPTIONS,
    full=full,
    generator=ResnetGenerator,
    taps=taps,
    tied=("trunk",),
    may_vanish=residual_groups,
    image=Image(size=256),
)
