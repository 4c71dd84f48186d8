"""StyleGAN2's skip generator (Karras et al., CVPR 2020), as rosinality and NVlabs publish it.

z -> mapping network -> w; constant 4x4 -> modulated convolutions, two for each doubling of the
size, each resolution adding its ToRGB to the picture so far. Noise maps are inputs: the same z and
maps give the same picture.

No norm has scales here; slimming gives one to each style instead. A channel is silent once every
layer that reads it (the next convolution, and ToRGB at its size) multiplies it by 0, whatever z;
cutting it is then exact. The mapping network stays whole.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ganpress.errors import ConfigError
from ganpress.models.families.base import MADE, Family, Generator, Image, image_axis
from ganpress.nn.axes import as_dim, fixed, named, tag
from ganpress.nn.modulated import SQRT2, EqualLinear, StyledConv, ToRGB
from ganpress.types import Inputs, Options, Widths
from ganpress.types.sizes import Size

OPTIONS: dict[str, Any] = {
    **MADE,
    "size": 256,  # pixels: a power of two from 8 to 1024
    "style_dim": 512,  # width of z, w and the mapping network
    "n_mlp": 8,  # layers of the mapping network
    "lr_mlp": 0.01,  # learning rate of the mapping network, relative
    "base": 32768,  # channels at r pixels are at most base / r (16384: config-e)
    "most": 512,  # channels of the coarse layers
}


class StyleGAN2(Generator):
    """(n, style_dim) standard normal [, one noise map per layer] -> (n, out, size, size).

    Pictures are about [-1, 1]; nothing clamps them. Groups in order: the constant, then the output
    of every convolution (`conv4`, `up8`, `conv8`, ...): ToRGB reads that of its resolution's last.
    """

    family = "stylegan2"
    const: Tensor

    def __init__(self, widths: Widths, options: Options) -> None:
        super().__init__(options)
        a, wide = named(widths), full(options)
        self.size, self.style_dim = int(options["size"]), int(options["style_dim"])
        z, w = fixed(self.style_dim, "z"), fixed(self.style_dim, "style")
        lr = options["lr_mlp"]
        self.const = nn.Parameter(torch.randn(1, a["const"].width, 4, 4))
        tag(self, const=(None, as_dim(a["const"]), None, None))
        self.mlp = nn.ModuleList(
            EqualLinear(w if i else z, w, lr_mul=lr) for i in range(options["n_mlp"])
        )
        self.layers = nn.ModuleList(
            StyledConv(a[i], a[o], w, fan_in=wide[i], up=o.startswith("up"))
            for i, o in pairwise(wide)
        )
        last = [g for g in wide if g.startswith("conv")]
        made = image_axis(options, "out_channels")
        self.to_rgb = nn.ModuleList(
            ToRGB(a[g], made, w, fan_in=wide[g], first=g == "conv4") for g in last
        )
        sides = [int(g.removeprefix("up").removeprefix("conv")) for g in list(wide)[1:]]
        for k, side in enumerate(sides):
            self.register_buffer(f"noise_{k}", torch.randn(1, 1, side, side))
        self.sides = tuple(sides)
        self.reads = ("z", *(f"noise_{k}" for k in range(len(sides))))

    @property
    def styles(self) -> int:
        """Layers that w can differ between: one per convolution and the last ToRGB."""
        return len(self.layers) + 1

    def draw(self, n: int, size: Size, generator: torch.Generator | None = None) -> Inputs:
        """z, (n, style_dim), and a noise map (n, 1, h, w) per layer; ``size`` is the options'."""
        z = torch.randn(n, self.style_dim, generator=generator)
        maps = (torch.randn(n, 1, side, side, generator=generator) for side in self.sides)
        return (z, *maps)

    def noise(self, n: int) -> tuple[Tensor, ...]:
        """Fresh noise maps on the network's device, (n, 1, h, w) for each layer."""
        device = self.const.device
        return tuple(torch.randn(n, 1, side, side, device=device) for side in self.sides)

    def forward(self, z: Tensor, *noise: Tensor) -> Tensor:
        """(n, style_dim) -> (n, out, size, size); without maps the stored ones are used."""
        self.check_rows(z, "z", self.style_dim)
        return self.synthesis(self.mapping(z), *noise)

    def mapping(self, z: Tensor) -> Tensor:
        """z -> w, (n, style_dim) each; z is normalised to unit mean square first."""
        w = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.mlp:
            w = nn.functional.leaky_relu(layer(w), 0.2) * SQRT2
        return w

    def synthesis(self, w: Tensor, *noise: Tensor) -> Tensor:
        """w, (n, dim), or W+, (n, styles, dim) -> (n, out_channels, size, size)."""
        return self.rgbs(w, *noise)[-1]

    def rgbs(self, w: Tensor, *noise: Tensor) -> list[Tensor]:
        """The sum of the ToRGBs up to each resolution: (n, out, 4, 4), ..., (n, out, size, size).

        Args:
            w: (n, dim) or (n, styles, dim).
            noise: none (the stored maps), or one (n or 1, 1, h, w) per layer.
        """
        if len(noise) not in (0, len(self.layers)):
            raise ConfigError(f"Give {len(self.layers)} noise maps or none, not {len(noise)}.")
        maps = noise or tuple(getattr(self, f"noise_{k}") for k in range(len(self.layers)))
        ws = [w] * self.styles if w.ndim == 2 else w.unbind(1)
        x = self.layers[0](self.const.expand(w.shape[0], -1, -1, -1), ws[0], maps[0])
        images = [self.to_rgb[0](x, ws[1], None)]
        for k, rgb in enumerate(list(self.to_rgb)[1:]):
            i = 2 * k + 1
            x = self.layers[i](x, ws[i], maps[i])
            x = self.layers[i + 1](x, ws[i + 1], maps[i + 1])
            images.append(rgb(x, ws[i + 2], images[-1]))
        return images

    def mix(self, coarse: Tensor, fine: Tensor, crossover: int) -> Tensor:
        """W+, (n, styles, dim): ``coarse`` in the first ``crossover`` layers, then ``fine``."""
        first = torch.arange(self.styles, device=coarse.device)[:, None] < crossover
        return torch.where(first, coarse[:, None], fine[:, None])

    @staticmethod
    def truncate(w: Tensor, mean: Tensor, psi: float) -> Tensor:
        """mean + psi (w - mean): psi 1 changes nothing, 0 gives the mean face."""
        return mean + psi * (w - mean)

    @torch.no_grad()
    def mean_w(self, n: int = 4096, generator: torch.Generator | None = None) -> Tensor:
        """The mean of w over ``n`` draws of z, (1, style_dim)."""
        z = torch.randn(n, self.style_dim, generator=generator)
        return self.mapping(z.to(self.const.device)).mean(0, keepdim=True)


def resolutions(size: int) -> list[int]:
    """4, 8, ..., size. Raises `ConfigError` where ``size`` is no power of two from 8 to 1024."""
    if size not in (8, 16, 32, 64, 128, 256, 512, 1024):
        raise ConfigError(f"size is {size}: StyleGAN2 needs a power of two from 8 to 1024.")
    return [2**k for k in range(2, size.bit_length())]


def full(options: Options) -> Widths:
    """config-f's widths at this size: 512 channels up to 64 pixels, then half per doubling."""
    found: dict[str, int] = {}
    for side in resolutions(int(options["size"])):
        c = max(1, min(int(options["most"]), int(options["base"]) // side))
        found |= {"const" if side == 4 else f"up{side}": c, f"conv{side}": c}
    return found


def taps(options: Options) -> tuple[str, ...]:
    """The last convolution of every resolution but the coarsest and the finest."""
    return tuple(f"layers.{2 * k}" for k in range(1, len(resolutions(options["size"])) - 1))


def may_vanish(options: Options) -> tuple[str, ...]:
    """None: every group feeds the picture alone."""
    return ()


STYLEGAN2 = Family(
    name="stylegan2",
    options=OPTIONS,
    full=full,
    generator=StyleGAN2,
    taps=taps,
    may_vanish=may_vanish,
    image=Image(size=256),
)
