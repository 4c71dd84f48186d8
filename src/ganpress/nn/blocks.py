"""Blocks that more than one family is built from."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from ganpress.nn.axes import Axis, vanishing
from ganpress.nn.integer_layers import OutputGrid, sub_pixel
from ganpress.nn.layers import conv, deconv, depthwise
from ganpress.nn.norms import NormKind, norm, shift
from ganpress.nn.resample import Double

PADS: dict[str, type[nn.Module]] = {
    "reflect": nn.ReflectionPad2d,
    "replicate": nn.ReplicationPad2d,
}


class ConvNorm(nn.Module):
    """[reflection pad, or another step before] -> convolution -> norm -> activation."""

    def __init__(
        self,
        layer: nn.Module,
        norm: nn.Module,
        act: nn.Module | None,
        *,
        reflect: int = 0,
        before: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.pad = nn.ReflectionPad2d(reflect) if reflect else before or nn.Identity()
        self.conv, self.norm = layer, norm
        self.grid = OutputGrid() if isinstance(act, nn.LeakyReLU) else None
        self.act = act if act is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) -> (n, out, h', w')."""
        y = self.norm(self.conv(self.pad(x)))
        out: Tensor = self.act(y if self.grid is None else self.grid(y))
        return out


class Separable(nn.Module):
    """Depthwise -> InstanceNorm without affine -> pointwise 1x1 (GAN Compression, section 3.2).

    The middle norm is InstanceNorm whatever the network's own norm is, as in the authors' code,
    where ``middle`` does not say another.
    """

    def __init__(
        self,
        i: Axis,
        o: Axis,
        *,
        signed: bool,
        kernel: int = 3,
        padding: int = 0,
        middle: NormKind = "instance",
    ) -> None:
        super().__init__()
        self.depthwise = depthwise(i, kernel, signed=signed, padding=padding)
        self.norm = norm(i, middle)
        self.pointwise = conv(i, o, 1, signed=True)

    @property
    def weight(self) -> Tensor:
        """The weight that makes its channels, (out, in, 1, 1)."""
        return self.pointwise.weight

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h + k - 1, w + k - 1) -> (n, out, h, w), less what ``padding`` adds in zeros."""
        out: Tensor = self.pointwise(self.norm(self.depthwise(x)))
        return out


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), padded by reflection, copies of the border, or zeros.

    With an inner width of 0 the block is the identity (plus the last norm's shift, if affine):
    never 2x, which is what the authors' extraction made of an emptied block.
    """

    def __init__(
        self,
        trunk: Axis,
        mid: Axis,
        *,
        kind: NormKind = "instance",
        affine: bool = False,
        separable: bool = False,
        padding: str = "reflect",
        middle: NormKind = "instance",
        eps: float = 1e-5,
    ) -> None:
        """Args: middle: the norm inside a separable convolution."""
        super().__init__()
        self.is_empty = mid.width == 0
        has_shift = kind == "batch" or affine
        vanishing(self, mid, remains=("norm2.bias",) if has_shift else ())
        if self.is_empty:
            self.norm2: nn.Module = shift(trunk) if has_shift else nn.Identity()
            return
        convs: Any = partial(Separable, middle=middle) if separable else _plain
        zeros = int(padding == "zero")
        self.pad = nn.Identity() if zeros else PADS[padding](1)
        self.conv1 = convs(trunk, mid, signed=True, padding=zeros)
        self.norm1 = norm(mid, kind, affine=affine, eps=eps)
        self.conv2 = convs(mid, trunk, signed=False, padding=zeros)
        self.norm2 = norm(trunk, kind, affine=affine, eps=eps)
        self.grid = OutputGrid()

    def forward(self, x: Tensor) -> Tensor:
        """(n, trunk, h, w) -> (n, trunk, h, w)."""
        if self.is_empty or not len(self.conv1.weight):
            bias = getattr(self.norm2, "bias", None)
            return x if bias is None else x + bias.view(1, -1, 1, 1)
        y = self.norm1(self.conv1(self.pad(x))).relu()
        out: Tensor = x + self.grid(self.norm2(self.conv2(self.pad(y))))
        return out


def _plain(i: Axis, o: Axis, *, signed: bool, padding: int) -> nn.Module:
    return conv(i, o, 3, signed=signed, padding=padding)


def up(i: Axis, o: Axis, *, signed: bool = False, gated: bool = False) -> nn.Module:
    """A transposed convolution that doubles height and width."""
    return deconv(i, o, 3, signed=signed, gated=gated, stride=2, padding=1, output_padding=1)


def doubling(
    i: Axis, o: Axis, how: str, *, signed: bool = False, gated: bool = False
) -> tuple[nn.Module, nn.Module | None]:
    """What doubles height and width by one of `UPS`: a layer, and what stands before it, if
    anything: interpolation, then a convolution at every pixel."""
    if how == "transposed":
        return up(i, o, signed=signed, gated=gated), None
    if how == "sub-pixel":
        return sub_pixel(i, o, signed=signed, gated=gated), None
    return conv(i, o, 3, signed=signed, gated=gated, padding=1), Double(how)
