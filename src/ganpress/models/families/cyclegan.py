"""The ResNet generator of CycleGAN and pix2pix (Johnson et al.; Zhu et al., ICCV 2017).

stem 7x7 -> two stride-2 convolutions -> residual trunk -> two transposed convolutions -> 7x7 tanh.
The same class serves junyanz's networks, GAN Slimming's (InstanceNorm with scales everywhere),
GAN Compression's separable students, pix2pixHD's global generator (more halvings), CUT's
(anti-aliased: a blur halves, and bilinear interpolation doubles, with 3x3 convolutions between) and
PyTorch-GAN's (nearest neighbours double): they differ in widths and options only.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from ganpress.nn.resample import OUTER_PADDINGS, PADDINGS, UPS, BlurDown, check_word
from ganpress.types import Options, Widths

OPTIONS: dict[str, Any] = {
    **READ,
    **MADE,
    "blocks": 9,  # residual blocks in the trunk
    "norm": "instance",  # or "batch"
    "affine": False,  # scales on InstanceNorm: False in junyanz's files, True while slimming
    "separable": False,  # residual blocks of GAN Compression's students
    "clamp": False,  # clamp the input to [-1, 1], as GAN Compression's classes do
    "downsamplings": 2,  # halvings: 2, or as many as pix2pixHD's network has (3, 4)
    "padding": "reflect",  # of the residual blocks; or "replicate", "zero"
    "antialias": 0,  # taps of the blur that halves (CUT: 3); 0: strided convolutions
    "up": "transposed",  # what doubles; or "nearest", "bilinear" (CUT) before a 3x3 convolution;
    # or "sub-pixel": one 2x2 convolution for all four pixels
    "outer_padding": "reflect",  # of the first and last convolution; or "zero"
    "inner_norm": "instance",  # norm inside a separable convolution; or "batch", "none"
}


class ResnetGenerator(Generator):
    """(n, in, h, w) in [-1, 1] -> (n, out, h, w) in [-1, 1]; h and w divisible by
    2**downsamplings.

    InstanceNorm's statistics are of each image, so a picture's borders and size matter. Every
    convolution has a bias, also before BatchNorm, so that constants can be absorbed into it.
    """

    family = "cyclegan"
    min_pixels = 4

    def __init__(self, widths: Widths, options: Options) -> None:
        super().__init__(options)
        a = named(widths)
        kind, affine, clamp = options["norm"], options["affine"], options["clamp"]
        self.clamp = bool(clamp)
        check_word("padding", options["padding"], PADDINGS)
        check_word("up", options["up"], UPS)
        check_word("outer_padding", options["outer_padding"], OUTER_PADDINGS)
        around = 3 if options["outer_padding"] == "reflect" else 0
        self.multiple = 2 ** options["downsamplings"]
        in_middle = options["separable"] and options["inner_norm"] == "instance"
        in_blocks = options["padding"] == "reflect" or in_middle
        needs_two = (options["blocks"] > 0 and in_blocks) or options["antialias"] > 0
        self.min_map = 2 if needs_two or kind == "instance" else 1
        self.steps = tuple(range(1, options["downsamplings"] + 1))

        def n(group: str) -> nn.Module:
            return norm(a[group], kind, affine=affine)

        seen, made = (image_axis(options, name) for name in ("in_channels", "out_channels"))
        first = conv(seen, a["stem"], 7, signed=True, padding=3 - around)
        self.stem = ConvNorm(first, n("stem"), nn.ReLU(), reflect=around)
        last = "stem"
        for k, group in zip(self.steps, down_groups(options), strict=True):
            self.add_module(f"down{k}", _down(a[last], a[group], n(group), options["antialias"]))
            last = group
        self.blocks = nn.ModuleList(
            ResidualBlock(
                a["trunk"],
                a[f"block{i}"],
                kind=kind,
                affine=affine,
                separable=options["separable"],
                padding=options["padding"],
                middle=options["inner_norm"],
            )
            for i in range(options["blocks"])
        )
        for k in self.steps:
            layer = _up(a[last], a[f"up{k}"], n(f"up{k}"), options["up"], signed=last == "trunk")
            self.add_module(f"up{k}", layer)
            last = f"up{k}"
        written = conv(a[last], made, 7, padding=3 - around)
        self.out = ConvNorm(written, nn.Identity(), nn.Tanh(), reflect=around)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) -> (n, out_channels, h, w)."""
        self.check_pictures(x)
        if self.clamp:
            x = x.clamp(-1, 1)
        x = self.stem(x)
        for k in self.steps:
            x = self.get_submodule(f"down{k}")(x)
        for block in self.blocks:
            x = block(x)
        for k in self.steps:
            x = self.get_submodule(f"up{k}")(x)
        out: Tensor = self.out(x)
        return out


def _down(i: Axis, o: Axis, norm: nn.Module, taps: int) -> ConvNorm:
    """Halve: a strided convolution, or one at every pixel and a blur behind its activation."""
    if not taps:
        return ConvNorm(conv(i, o, 3, stride=2, padding=1), norm, nn.ReLU())
    return ConvNorm(conv(i, o, 3, padding=1), norm, nn.Sequential(nn.ReLU(), BlurDown(taps)))


def _up(i: Axis, o: Axis, norm: nn.Module, how: str, *, signed: bool) -> ConvNorm:
    """Double height and width."""
    layer, before = doubling(i, o, how, signed=signed)
    return ConvNorm(layer, norm, nn.ReLU(), before=before)


def halvings_of(options: Mapping[str, Any]) -> int:
    """Option ``downsamplings`` of a configuration; the usual 2 where it is of no use, which is
    refused with the family."""
    given = options.get("downsamplings", OPTIONS["downsamplings"])
    return given if type(given) is int and given > 0 else 2


def down_groups(options: Options) -> tuple[str, ...]:
    """The group behind each halving: down1, ..., and the residual trunk behind the last."""
    return (*(f"down{k}" for k in range(1, options["downsamplings"])), "trunk")


def full(options: Options) -> Widths:
    """Widths at ngf 64: 11.378 M parameters with 9 blocks (pix2pixHD's global generator, with 4
    halvings: 182.44 M)."""
    halvings = options["downsamplings"]
    trunk = 64 * 2**halvings
    down = {group: 128 * 2**i for i, group in enumerate(down_groups(options))}
    inner = {f"block{i}": trunk for i in range(options["blocks"])}
    up = {f"up{k}": trunk // 2**k for k in range(1, halvings + 1)}
    return {"stem": 64, **down, **inner, **up}


def taps(options: Options) -> tuple[str, ...]:
    """After the last down-sampling and after each third of the blocks (GAN Compression)."""
    blocks = options["blocks"]
    ends = sorted({round(blocks * k / 3) - 1 for k in (1, 2, 3) if blocks * k >= 3})
    return (f"down{options['downsamplings']}", *(f"blocks.{i}" for i in ends))


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
