"""The U-Net generator of pix2pix (Isola et al., CVPR 2017), with junyanz's unet_128 and unet_256.

Halve ``downs`` times with 4x4 convolutions down to the bottleneck, then double as often; each
decoder step reads the encoder's map of its size beside the decoder's (skip connections). The
paper's other generator, the ResNet one, is family ``cyclegan`` (9 or 6 blocks, norm "batch").

PyTorch-GAN's U-Net is this one with ``leaky_skips``, where the decoder reads the encoder's maps
(and the bottleneck) as LeakyReLU left them, and ``upsampling="resize-last"``, whose last step
doubles by nearest neighbours before its convolution.

An encoder group has two readers: the next encoder convolution, after LeakyReLU, and the decoder
step of its size, after ReLU. A channel whose scale and shift are both 0 is cut exactly, and so are
those of enc0 and of the bottleneck, which no norm follows (their gates take the bias along). The
constant of a shift is absorbed but for the zero-padded borders, since every reader pads by zeros;
a negative one is silent for the decoder.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ganpress.errors import ConfigError
from ganpress.models.families.base import MADE, READ, Family, Generator, Image, image_axis
from ganpress.nn.axes import Axis, AxisLike, named
from ganpress.nn.blocks import ConvNorm
from ganpress.nn.integer_layers import sub_pixel
from ganpress.nn.layers import conv, deconv
from ganpress.nn.norms import norm
from ganpress.nn.resample import Double, check_word
from ganpress.types import Options, Widths

OPTIONS: dict[str, Any] = {
    **READ,
    **MADE,
    "downs": 8,  # halvings: 8 is unet_256, 7 is unet_128
    "norm": "batch",  # or "instance"
    "affine": False,  # scales on InstanceNorm; BatchNorm has them always
    "dropout": False,  # in the middle of the decoder, in training only
    "leaky_skips": False,  # the decoder reads negative values too (PyTorch-GAN)
    "upsampling": "deconv",  # or "resize": nearest neighbours, then a 3x3 convolution; or
    # "resize-last" (PyTorch-GAN): deconv, but for the last step, by a 4x4 convolution; or
    # "sub-pixel": one 2x2 convolution for all four pixels; both also with "+resize-last"
    "biased": False,  # under BatchNorm too, the first convolution and the bottleneck have a bias
}
RESIZE_LAST = "resize-last"
UPSAMPLINGS = {
    "deconv": "deconv",
    "resize": "resize",
    RESIZE_LAST: "deconv",
    "sub-pixel": "sub-pixel",
    f"sub-pixel+{RESIZE_LAST}": "sub-pixel",
    f"resize+{RESIZE_LAST}": "resize",
}
"""Values of the option ``upsampling`` -> how each step doubles, but for the last one where they say
so."""
STEP: dict[str, Any] = {"kernel": 4, "stride": 2, "padding": 1}


class Crop(nn.Module):
    """(n, c, h + 1, w + 1) -> (n, c, h, w): without the last row and column."""

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x[:, :, :-1, :-1]


class UnetGenerator(Generator):
    """(n, in, h, w) in [-1, 1] -> (n, out, h, w) in [-1, 1]; h and w divisible by 2**downs.

    A convolution before a norm has a bias, also under BatchNorm, so that constants can be absorbed
    into it; the first one and the bottleneck have theirs under InstanceNorm, as upstream, or where
    the option ``biased`` says so.
    """

    family = "pix2pix"
    min_pixels = 1

    def __init__(self, widths: Widths, options: Options) -> None:
        super().__init__(options)
        self.multiple = 2 ** options["downs"]
        a, downs, kind = named(widths), options["downs"], options["norm"]
        bare = kind != "batch" or options["biased"]  # bias of a convolution that no norm follows
        self.leaky_skips = leaky = bool(options["leaky_skips"])

        def n(group: str) -> nn.Module:
            return norm(a[group], kind, affine=options["affine"])

        seen, made = (image_axis(options, name) for name in ("in_channels", "out_channels"))
        first = conv(seen, a["enc0"], signed=True, gated=True, bias=bare, **STEP)
        self.downs = nn.ModuleList([ConvNorm(first, nn.Identity(), nn.LeakyReLU(0.2))])
        for i in range(1, downs - 1):
            layer = conv(a[f"enc{i - 1}"], a[f"enc{i}"], signed=True, **STEP)
            self.downs.append(ConvNorm(layer, n(f"enc{i}"), nn.LeakyReLU(0.2)))
        last = f"enc{downs - 1}"
        layer = conv(a[f"enc{downs - 2}"], a[last], signed=True, gated=True, bias=bare, **STEP)
        inmost = nn.LeakyReLU(0.2) if leaky else nn.ReLU()
        self.downs.append(ConvNorm(layer, nn.Identity(), inmost))
        below: AxisLike = a[last]
        self.ups = nn.ModuleList()
        for i in reversed(range(downs - 1)):
            drop = nn.Dropout(0.5) if options["dropout"] and 3 <= i < downs - 2 else None
            self.ups.append(_double(below, a[f"dec{i}"], n(f"dec{i}"), drop, options))
            below = (a[f"enc{i}"], a[f"dec{i}"])
        self.out = _double(below, made, nn.Identity(), nn.Tanh(), options)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) -> (n, out_channels, h, w)."""
        self.check_pictures(x)
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        x = skips.pop()
        for up in self.ups:
            if self.leaky_skips:
                x = torch.cat([skips.pop(), up(x).relu()], 1)
            else:
                x = torch.cat([skips.pop(), up(x)], 1).relu()
        out: Tensor = self.out(x)
        return out


def _double(
    i: AxisLike, o: Axis, norm: nn.Module, act: nn.Module | None, options: Options
) -> ConvNorm:
    """(n, i, h, w) -> (n, o, 2h, 2w): a step of the decoder.

    A transposed convolution of stride 2 can weave a pattern of its two phases into the picture;
    resizing before a convolution cannot (Odena et al., Distill 2016), for 9/4 of the MACs.
    """
    signed = bool(options["leaky_skips"])
    how = UPSAMPLINGS[options["upsampling"]]
    if options["upsampling"].endswith(RESIZE_LAST) and o.fixed:
        # cropped, since upstream pads by 2 above and on the left, by 1 below and on the right
        layer = conv(i, o, 4, signed=signed, padding=2)
        return ConvNorm(layer, Crop(), act, before=Double("nearest"))
    if how == "resize":
        layer = conv(i, o, 3, signed=signed, padding=1)
        return ConvNorm(layer, norm, act, before=Double("nearest"))
    if how == "sub-pixel":
        return ConvNorm(sub_pixel(i, o, signed=signed), norm, act)
    return ConvNorm(deconv(i, o, signed=signed, **STEP), norm, act)


def full(options: Options) -> Widths:
    """Widths at ngf 64: 54.419 M parameters with 8 halvings, 41.833 M with 7 (upstream's 54.414 M
    and 41.829 M lack the biases before BatchNorm)."""
    downs = options["downs"]
    check_word("upsampling", options["upsampling"], tuple(UPSAMPLINGS))
    if downs < 2:
        raise ConfigError(f"A U-Net halves at least twice; downs is {downs}.")
    width = [64 * min(2**i, 8) for i in range(downs)]
    up = {f"dec{i}": width[i] for i in reversed(range(downs - 1))}
    return {**{f"enc{i}": width[i] for i in range(downs)}, **up}


def taps(options: Options) -> tuple[str, ...]:
    """The bottleneck, the decoder half way up, and its last step."""
    last = options["downs"] - 2
    return (f"downs.{options['downs'] - 1}", *(f"ups.{i}" for i in sorted({last // 2, last})))


def may_vanish(options: Options) -> tuple[str, ...]:
    """None: every group is on the way from the image to the picture."""
    return ()


PIX2PIX = Family(
    name="pix2pix",
    options=OPTIONS,
    full=full,
    generator=UnetGenerator,
    taps=taps,
    may_vanish=may_vanish,
    image=Image(size=256),
)
