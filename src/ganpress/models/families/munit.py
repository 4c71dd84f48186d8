"""The translator of MUNIT (Huang et al., ECCV 2018): a photo's content in a style drawn or shown.

Upstream trains two auto-encoders, one per domain; a translator from A to B is the content encoder
of A with the style encoder, MLP and decoder of B. Styles are standard normal. GAN Compression's
mobile form has separable residual blocks and 5x5 up-sampling convolutions.

Cutting is exact but for the groups up1, up2, ...: behind them stands a LayerNorm over all channels
of a sample, whose statistics see the channels that were removed; fine-tuning has to mend that.

GAN Slimming's joint loop has nothing to prune here: the encoder's norms are without affine, AdaIN's
scales are a style's, and LayerNorm's channels hang together. Its narrow student (variant gd) works.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.errors import ConfigError
from ganpress.models.families.base import MADE, READ, Family, Generator, Image, image_axis
from ganpress.nn.adain import AdaIN, SampleNorm
from ganpress.nn.axes import Axis, fixed, named, vanishing
from ganpress.nn.blocks import ConvNorm, ResidualBlock, Separable
from ganpress.nn.layers import conv, linear
from ganpress.nn.norms import norm
from ganpress.nn.resample import OUTER_PADDINGS, check_word
from ganpress.types import Inputs, Options, Widths
from ganpress.types.sizes import Size

OPTIONS: dict[str, Any] = {
    **READ,
    **MADE,
    "style_dim": 8,  # numbers in a style code
    "down": 2,  # stride-2 convolutions of the content encoder; as many steps up
    "res": 4,  # residual blocks of the content encoder, and of the decoder
    "separable": False,  # residual blocks and 5x5 convolutions of GAN Compression's students
    "style_encoder": True,  # False: styles are only drawn, as in GAN Compression's smallest files
    "norm": "instance",  # of the content encoder; or "batch"
    "padding": "reflect",  # of every convolution; or "zero"
    "inner_norm": "instance",  # norm inside a separable convolution; or "batch", "none"
}
NORMS = ("instance", "batch")
STYLE_DOWN = 4  # stride-2 convolutions of the style encoder


class AdaINBlock(nn.Module):
    """x + AdaIN(conv(relu(AdaIN(conv(x))))), padded by reflection or zeros.

    With an inner width of 0 the second convolution gives a constant, of which AdaIN leaves its
    bias: x + bias.
    """

    def __init__(self, trunk: Axis, mid: Axis, options: Options) -> None:
        super().__init__()
        self.is_empty = mid.width == 0
        vanishing(self, mid)
        if self.is_empty:
            return
        reflect, zeros = _around(1, options)
        self.pad = nn.ReflectionPad2d(reflect) if reflect else nn.Identity()
        self.adain = AdaIN()
        self.conv1: Any = _conv(trunk, mid, 3, options, signed=True, padding=zeros)
        self.conv2 = _conv(mid, trunk, 3, options, signed=False, padding=zeros)

    @property
    def width(self) -> int:
        """Its inner channels."""
        if self.is_empty:
            return 0
        weight: Tensor = self.conv1.weight
        return len(weight)

    def forward(
        self, x: Tensor, bias1: Tensor, scale1: Tensor, bias2: Tensor, scale2: Tensor
    ) -> Tensor:
        """(n, trunk, h, w), inner parameters (n, mid), outer ones (n, trunk) -> as x."""
        if not self.width:
            return x + bias2[:, :, None, None]
        y = self.adain(self.conv1(self.pad(x)), bias1, scale1).relu()
        out: Tensor = x + self.adain(self.conv2(self.pad(y)), bias2, scale2)
        return out


class Decoder(nn.Module):
    """Content code and AdaIN parameters -> picture."""

    def __init__(self, a: dict[str, Axis], options: Options) -> None:
        super().__init__()
        mids = [a[f"dec{i}"] for i in range(options["res"])]
        self.layout = tuple(axis for mid in mids for axis in (mid, mid, a["trunk"], a["trunk"]))
        self.blocks = nn.ModuleList(AdaINBlock(a["trunk"], m, options) for m in mids)
        steps = [a["trunk"], *(a[f"up{i + 1}"] for i in range(options["down"]))]
        reflect, zeros = _around(2, options)
        self.ups = nn.ModuleList(
            ConvNorm(
                _conv(i, o, 5, options, signed=i is a["trunk"], padding=zeros),
                SampleNorm(o),
                nn.ReLU(),
                reflect=reflect,
            )
            for i, o in pairwise(steps)
        )
        reflect, zeros = _around(3, options)
        written = conv(steps[-1], image_axis(options, "out_channels"), 7, padding=zeros)
        self.out = ConvNorm(written, nn.Identity(), nn.Tanh(), reflect=reflect)

    def forward(self, content: Tensor, adain: Tensor) -> Tensor:
        """(n, trunk, h, w) and (n, p) -> (n, out_channels, h', w').

        The columns of ``adain`` are, for each AdaIN layer in order, its biases, then its scales.
        """
        trunk = content.shape[1]
        widths = [w for b in self.blocks for w in (b.width, b.width, trunk, trunk)]
        starts = [0, *accumulate(widths)]
        columns = [adain[:, start:end] for start, end in pairwise(starts)]
        x = content
        for i, block in enumerate(self.blocks):
            x = block(x, *columns[4 * i : 4 * i + 4])
        for up in self.ups:
            x = up(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        out: Tensor = self.out(x)
        return out


class MunitGenerator(Generator):
    """A photo (n, in, h, w) in [-1, 1] and a style (n, style_dim) -> (n, out, h, w) in [-1, 1].

    Height and width must be divisible by 2 ** down. The style encoder is not part of `forward`
    (cost counts what forward runs): see `ByReference` for translation in the style of a picture.
    """

    family = "munit"
    reads = ("image", "style")

    def __init__(self, widths: Widths, options: Options) -> None:
        super().__init__(options)
        a = named(widths)
        check_word("padding", options["padding"], OUTER_PADDINGS)
        check_word("norm", options["norm"], NORMS)
        self.style_dim = int(options["style_dim"])
        self.multiple = max(4, 2 ** int(options["down"]))
        self.min_pixels = max(4, 2 * 2 ** int(options["down"]))  # a content code of 2 x 2
        self.content = _content_encoder(a, options)
        self.decoder = Decoder(a, options)
        style = fixed(self.style_dim, "style")
        made = image_axis(options, "out_channels")
        self.style = _style_encoder(a, made, style, options) if options["style_encoder"] else None
        self.mlp = nn.Sequential(
            linear(style, a["mlp0"]),
            nn.ReLU(),
            linear(a["mlp0"], a["mlp1"]),
            nn.ReLU(),
            linear(a["mlp1"], self.decoder.layout),
        )

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(n, in, h, w), (n, style_dim) or (n, style_dim, 1, 1) -> (n, out, h, w)."""
        self.check_pictures(x)
        self.check_rows(style.flatten(1), "style", self.style_dim)
        return self.decode(self.encode_content(x), style)

    def encode_content(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) of the first domain -> content code (n, trunk, h / 4, w / 4)."""
        out: Tensor = self.content(x)
        return out

    def encode_style(self, y: Tensor) -> Tensor:
        """(n, out, h, w) of the second domain, at least 16 x 16 -> style code (n, style_dim, 1, 1).

        Raises: RuntimeError where the network was built without a style encoder.
        """
        if self.style is None:
            raise RuntimeError(
                "This network has no style encoder: give a style, torch.randn(n, d)."
            )
        out: Tensor = self.style(y)
        return out

    def decode(self, content: Tensor, style: Tensor) -> Tensor:
        """Content code (n, trunk, h, w) and style -> picture (n, out_channels, 4 h, 4 w)."""
        out: Tensor = self.decoder(content, self.mlp(style.flatten(1)))
        return out

    def draw(self, n: int, size: Size, generator: torch.Generator | None = None) -> Inputs:
        """((n, in_channels, h, w) in [-1, 1], (n, style_dim) standard normal)."""
        images = super().draw(n, size, generator)
        return (*images, torch.randn(n, self.style_dim, generator=generator))


class ByReference(Generator):
    """A translator that takes its style from a picture of the second domain instead of a code.

    Its cost is what papers call MUNIT with the style encoder (77.28 G against 71.03 G MACs).
    """

    family = "munit"
    reads = ("image", "reference")

    def __init__(self, translator: MunitGenerator) -> None:
        kept = ("in_channels", "out_channels")
        super().__init__({name: getattr(translator, name) for name in kept})
        self.multiple = translator.multiple
        self.translator = translator

    def forward(self, x: Tensor, reference: Tensor) -> Tensor:
        """(n, in, h, w) and (n or 1, out, h', w') -> (n, out, h, w)."""
        style = self.translator.encode_style(reference).expand(len(x), -1, -1, -1)
        out: Tensor = self.translator(x, style)
        return out

    def draw(self, n: int, size: Size, generator: torch.Generator | None = None) -> Inputs:
        """Two batches of pictures in [-1, 1]: of the first domain, and of the second."""
        second = Generator({"in_channels": self.out_channels})
        return (*super().draw(n, size, generator), *second.draw(n, size, generator))


def _around(pixels: int, options: Options) -> tuple[int, int]:
    """The pixels around a map: those reflected before a convolution, and its own zeros."""
    return (pixels, 0) if options["padding"] == "reflect" else (0, pixels)


def _conv(
    i: Axis, o: Axis, kernel: int, options: Options, *, signed: bool, padding: int
) -> nn.Module:
    if options["separable"]:
        middle = options["inner_norm"]
        return Separable(i, o, signed=signed, kernel=kernel, padding=padding, middle=middle)
    return conv(i, o, kernel, signed=signed, padding=padding)


def _content_encoder(a: dict[str, Axis], options: Options) -> nn.Sequential:
    """7x7, stride-2 4x4s, residual blocks; InstanceNorm without affine or BatchNorm throughout."""
    names, kind = ["stem", *_down_groups(options)], options["norm"]

    def step(i: Axis, o: Axis, kernel: int, around: int, **kw: Any) -> ConvNorm:
        reflect, zeros = _around(around, options)
        layer = conv(i, o, kernel, padding=zeros, **kw)
        return ConvNorm(layer, norm(o, kind), nn.ReLU(), reflect=reflect)

    seen = image_axis(options, "in_channels")
    stem = step(seen, a["stem"], 7, 3, signed=True)
    downs = [step(a[i], a[o], 4, 1, stride=2) for i, o in pairwise(names)]
    blocks = [
        ResidualBlock(
            a["trunk"],
            a[f"res{i}"],
            kind=kind,
            separable=options["separable"],
            padding=options["padding"],
            middle=options["inner_norm"],
        )
        for i in range(options["res"])
    ]
    return nn.Sequential(stem, *downs, *blocks)


def _style_encoder(a: dict[str, Axis], shown: Axis, style: Axis, options: Options) -> nn.Sequential:
    """7x7, four stride-2 4x4s, mean over the picture, 1x1; no norms, which would remove the style.

    Its convolutions are not gated: `forward` gives them no gradient, so slimming would cut them
    all.
    """
    groups = [a[f"style{i}"] for i in range(STYLE_DOWN + 1)]

    def step(i: Axis, o: Axis, kernel: int, around: int, **kw: Any) -> ConvNorm:
        reflect, zeros = _around(around, options)
        layer = conv(i, o, kernel, padding=zeros, **kw)
        return ConvNorm(layer, nn.Identity(), nn.ReLU(), reflect=reflect)

    stem = step(shown, groups[0], 7, 3, signed=True)
    downs = [step(i, o, 4, 1, stride=2) for i, o in pairwise(groups)]
    return nn.Sequential(stem, *downs, nn.AdaptiveAvgPool2d(1), conv(groups[-1], style, 1))


def _down_groups(options: Options) -> list[str]:
    """The groups after each stride-2 convolution; the last is the trunk."""
    return [*(f"down{i}" for i in range(1, options["down"])), "trunk"]


def full(options: Options) -> Widths:
    """The paper's widths: 15.026 M parameters with the defaults.

    Raises: ConfigError for less than one step or block.
    """
    steps, res = options["down"], options["res"]
    if min(steps, res) < 1:
        raise ConfigError(f"MUNIT needs down and res of at least 1, got {steps} and {res}.")
    trunk = 64 * 2**steps
    downs = {group: 64 * 2 ** (i + 1) for i, group in enumerate(_down_groups(options))}
    widths = {"stem": 64, **downs, **{f"res{i}": trunk for i in range(res)}}
    widths |= {f"dec{i}": trunk for i in range(res)}
    widths |= {f"up{i + 1}": trunk // 2 ** (i + 1) for i in range(steps)}
    if options["style_encoder"]:
        widths |= {f"style{i}": 64 * 2 ** min(i, 2) for i in range(STYLE_DOWN + 1)}
    return widths | {"mlp0": 256, "mlp1": 256}


def taps(options: Options) -> tuple[str, ...]:
    """The content code (what GAN Compression distils), and the decoder's trunk."""
    return ("content", f"decoder.blocks.{options['res'] - 1}")


def may_vanish(options: Options) -> tuple[str, ...]:
    """The inner groups of all residual blocks; under BatchNorm not those of the content encoder,
    whose emptied branch would still add a constant."""
    parts = ("dec",) if options["norm"] == "batch" else ("res", "dec")
    return tuple(f"{part}{i}" for part in parts for i in range(options["res"]))


MUNIT = Family(
    name="munit",
    options=OPTIONS,
    full=full,
    generator=MunitGenerator,
    taps=taps,
    tied=("trunk",),
    may_vanish=may_vanish,
    image=Image(size=256),
)
