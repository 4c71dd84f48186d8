"""The ResNet generator of SNGAN for CIFAR-10 (Miyato et al., ICLR 2018, table 4a), z to a picture.

A linear layer makes a 4x4 map of z; three residual blocks of two convolutions each double it, and
BatchNorm, ReLU and a last convolution make the picture. The norms stand before the convolutions
(b1 relu up c1 b2 relu c2, plus a 1x1 convolution of the doubled input), so that each block's output
is a channel group of its own. With ``classes`` the norms' gains and shifts are those of each
picture's class (de Vries et al. 2017), as in the conditional networks of Miyato and Koyama.

GAN Slimming prunes every group; a channel of `stem` is 16 outputs of the linear layer.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.errors import ConfigError
from ganpress.models.families.base import MADE, Family, Generator, Image, image_axis
from ganpress.nn.axes import Axis, as_dim, fixed, named, tag
from ganpress.nn.layers import conv, linear
from ganpress.nn.resample import check_word
from ganpress.types import Inputs, Options, Widths
from ganpress.types.sizes import Size

OPTIONS: dict[str, Any] = {
    **MADE,
    "latent_dim": 128,  # numbers in z
    "bottom_width": 4,  # pixels of the first map's side; pictures have 8 times as many
    "classes": 0,  # classes of the conditional network; 0: unconditional
    "norm": "batch",  # or "instance": each picture's own statistics
}
BLOCKS = 3
NORMS = ("batch", "instance")


class ClassNorm(nn.BatchNorm2d):
    """BatchNorm, gain and shift of the picture's class, then scale and bias common to all classes.

    With ``per_image`` its statistics are those of each picture, as of BatchNorm in training mode on
    a batch of one, and there are no running ones. A norm that a shortcut goes around (``bypassed``)
    has no scale that could silence its channels, so it has no ``weight``: its gain is that of its
    class, or of its only row.
    """

    def __init__(self, c: Axis, classes: int, *, bypassed: bool, per_image: bool = False) -> None:
        super().__init__(c.width, affine=not bypassed, track_running_stats=not per_image)
        self.per_image = per_image
        rows = classes or int(bypassed)
        self.gain = nn.Parameter(torch.ones(rows, c.width)) if rows else None
        self.shift = nn.Parameter(torch.zeros(rows, c.width)) if rows else None
        dim = as_dim(c)
        tag(self, weight=(dim,), bias=(dim,), running_mean=(dim,), running_var=(dim,))
        tag(self, gain=(None, dim), shift=(None, dim))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """(n, c, h, w), class weights (n, classes) or None -> (n, c, h, w)."""
        if self.gain is None or self.shift is None:
            if self.per_image:
                return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
            return super().forward(x)
        gain, shift = (self.gain, self.shift) if y is None else (y @ self.gain, y @ self.shift)
        if self.weight is not None:
            gain, shift = gain * self.weight, shift * self.weight + self.bias
        return self._normalised(x) * gain[:, :, None, None] + shift[:, :, None, None]

    def _normalised(self, x: Tensor) -> Tensor:
        """(n, c, h, w) of mean 0 and variance 1, by the statistics of this mode."""
        if self.per_image:
            return F.instance_norm(x, eps=self.eps)
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            training=self._counted(),
            momentum=self._weight_of_batch(),
            eps=self.eps,
        )

    @torch.no_grad()
    def take_in(self, constants: Tensor) -> None:
        """Absorb what is added to the input of each class from now on elsewhere, (classes, c), in
        place: exact with running statistics; those of each picture cancel such constants."""
        if self.per_image:
            return
        assert self.gain is not None and self.shift is not None and self.running_var is not None
        self.shift.add_(self.gain * constants * torch.rsqrt(self.running_var + self.eps))

    def _counted(self) -> bool:
        """Whether the statistics are the batch's; counts the batch if so, as torch does."""
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return self.training

    def _weight_of_batch(self) -> float:
        """Of the batch in the running statistics, 0 to 1: with momentum None all count alike."""
        if self.momentum is not None:
            return self.momentum
        return 1.0 / max(1, int(self.num_batches_tracked or 1))


class UpBlock(nn.Module):
    """c_sc(up(x)) + c2(relu(b2(c1(up(relu(b1(x))))))), nearest doubling."""

    def __init__(
        self, i: Axis, mid: Axis, o: Axis, classes: int, *, per_image: bool = False
    ) -> None:
        super().__init__()
        self.b1 = ClassNorm(i, classes, bypassed=True, per_image=per_image)
        self.c1 = conv(i, mid, 3, padding=1)
        self.b2 = ClassNorm(mid, classes, bypassed=False, per_image=per_image)
        self.c2 = conv(mid, o, 3, gated=True, padding=1)
        self.c_sc = conv(i, o, 1, signed=True, gated=True)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """(n, i, h, w), class weights (n, classes) or None -> (n, o, 2 h, 2 w)."""
        inner = self.c1(_double(self.b1(x, y).relu()))
        out: Tensor = self.c_sc(_double(x)) + self.c2(self.b2(inner, y).relu())
        return out


class SnganGenerator(Generator):
    """z (n, latent_dim), standard normal -> (n, out, s, s) in [-1, 1], s = 8 * bottom_width.

    A conditional network also reads y (n, classes), one-hot; other weights mix the classes' norms.
    """

    family = "sngan"
    multiple = 8

    def __init__(self, widths: Widths, options: Options) -> None:
        super().__init__(options)
        a = named(widths)
        self.latent_dim, self.side = int(options["latent_dim"]), int(options["bottom_width"])
        self.size, self.classes = 8 * self.side, int(options["classes"])
        self.reads = ("z", "y") if self.classes else ("z",)
        per_image = _is_per_image(options)
        stem = Axis("stem", a["stem"].width, span=self.side**2)
        self.l1 = linear(fixed(self.latent_dim, "z"), stem, gated=True)
        outs = ["stem", *(f"block{i}" for i in range(BLOCKS))]
        self.blocks = nn.ModuleList(
            UpBlock(a[outs[i]], a[f"mid{i}"], a[outs[i + 1]], self.classes, per_image=per_image)
            for i in range(BLOCKS)
        )
        self.b5 = ClassNorm(a[outs[-1]], self.classes, bypassed=False, per_image=per_image)
        blocks = range(BLOCKS) if self.classes else ()
        self.norms_behind = {f"blocks.{i}.c1": f"blocks.{i}.b2" for i in blocks}
        self.c5 = conv(a[outs[-1]], image_axis(options, "out_channels"), 3, padding=1)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """(n, latent_dim), and (n, classes) where it has any -> (n, out_channels, s, s)."""
        self.check_rows(z, "z", self.latent_dim)
        if y is not None:
            self.check_rows(y, "y", self.classes)
        elif self.classes:
            raise ConfigError(
                "This 'sngan' generator reads the class of each picture: give y, "
                f"(n, {self.classes})."
            )
        x = self.l1(z).unflatten(1, (-1, self.side, self.side))
        for block in self.blocks:
            x = block(x, y)
        out: Tensor = self.c5(self.b5(x, y).relu()).tanh()
        return out

    def draw(self, n: int, size: Size, generator: torch.Generator | None = None) -> Inputs:
        """((n, latent_dim) standard normal, and one-hot classes (n, classes) if it reads them)."""
        z = torch.randn(n, self.latent_dim, generator=generator)
        if not self.classes:
            return (z,)
        y = torch.randint(self.classes, (n,), generator=generator)
        return z, F.one_hot(y, self.classes).float()


def _is_per_image(options: Options) -> bool:
    """Whether norms take each picture's statistics. Raises `ConfigError`."""
    kind = str(options["norm"])
    check_word("norm", kind, NORMS)
    if kind == "instance" and options["bottom_width"] < 2:
        raise ConfigError(
            "norm=instance needs more than one pixel in the first map: bottom_width of 2 or more."
        )
    return kind == "instance"


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def full(options: Options) -> Widths:
    """The paper's widths, 256 throughout: 1 680 605 184 MACs at 32 pixels."""
    blocks = {f"{part}{i}": 256 for i in range(BLOCKS) for part in ("mid", "block")}
    return {"stem": 256, **blocks}


def taps(options: Options) -> tuple[str, ...]:
    """Each block's output."""
    return tuple(f"blocks.{i}" for i in range(BLOCKS))


def may_vanish(options: Options) -> tuple[str, ...]:
    """None: an emptied block would still add its last convolution's bias."""
    return ()


SNGAN = Family(
    name="sngan",
    options=OPTIONS,
    full=full,
    generator=SnganGenerator,
    taps=taps,
    may_vanish=may_vanish,
    image=Image(size=32, multiple=8),
)
