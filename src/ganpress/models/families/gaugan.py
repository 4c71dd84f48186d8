"""The generator of SPADE, also called GauGAN (Park et al., CVPR 2019): label maps to photos.

The label map, shrunk to the latent grid, goes through one convolution, then through residual blocks
whose norms read the whole label map again, with nearest up-sampling between them. The same class
serves NVlabs' networks (128 hidden channels in every SPADE) and GAN Compression's (twice the
block's channels; gamma and beta separable in its students): they differ in widths and options only.

GAN Slimming prunes the hidden channels of every SPADE; trunk, inner and up groups have no scale
that could silence a channel (beta differs from pixel to pixel) and stay whole, so that its targets
have a floor. Uniformly narrow students (variant gd) narrow all groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ganpress.errors import ConfigError, ImagesError
from ganpress.models.families.base import MADE, Family, Generator, Image, image_axis
from ganpress.nn.axes import fixed, named
from ganpress.nn.layers import conv
from ganpress.nn.resample import check_word
from ganpress.nn.spade import LEAK, SpadeBlock
from ganpress.types import Inputs, Options, Widths
from ganpress.types.sizes import Size, height_width

OPTIONS: dict[str, Any] = {
    **MADE,
    "labels": 35,  # classes of the label map: ids 0 to labels - 1
    "dontcare": False,  # one more class, last, for pixels nobody labelled (id 255)
    "edges": True,  # one more channel: edges between instances
    "upsampling": "normal",  # doublings: "normal" 5, "more" 6, "most" 7 (and a block more)
    "separable": False,  # gamma and beta of GAN Compression's students
    "middle": "instance",  # norm inside a separable gamma or beta; or "batch", "none"
    "norm": "batch",  # in front of gamma and beta; or "instance": each picture's own statistics
}
NORMS = ("batch", "instance")
UNKNOWN = 255  # the id that data sets give to pixels nobody labelled
DOUBLINGS = {"normal": 5, "more": 6, "most": 7}
TRUNK = ("head_0", "G_middle_0", "G_middle_1")
CELL = 8  # pixels of a random label map that share a label


class SpadeGenerator(Generator):
    """(n, channels, h, w) semantics -> (n, out_channels, h, w) in [-1, 1].

    ``semantics`` is one-hot: a channel for each label, then don't-care, then instance edges (see
    `semantics`). Height and width are multiples of 32 (64 for "more", 128 for "most").
    """

    family = "gaugan"
    min_pixels = 1
    reads = ("semantics",)

    def __init__(self, widths: Widths, options: Options) -> None:
        super().__init__(options)
        a = named(widths)
        self.labels, self.upsampling = int(options["labels"]), options["upsampling"]
        self.dontcare, self.edges = bool(options["dontcare"]), bool(options["edges"])
        self.multiple = 2 ** doublings(options)
        self.classes = self.labels + self.dontcare
        self.channels = self.classes + self.edges
        separable, middle, kind = options["separable"], options["middle"], str(options["norm"])
        check_word("norm", kind, NORMS)
        self.needs_pixels = kind == "instance" or (separable and middle == "instance")
        seen = fixed(self.channels, "labels")
        how: dict[str, Any] = {"separable": separable, "middle": middle, "kind": kind}

        def block(name: str, i: str, o: str | None) -> SpadeBlock:
            hidden = tuple(a[f"{name}_hidden_{k}"] for k in ("0", "1", *("s" if o else "")))
            out = a[o] if o else None
            return SpadeBlock(a[i], a[f"{name}_mid"], out, hidden, seen, **how)

        self.fc = conv(seen, a["trunk"], 3, padding=1)
        self.head_0 = block("head_0", "trunk", None)
        self.G_middle_0 = block("G_middle_0", "trunk", None)
        self.G_middle_1 = block("G_middle_1", "trunk", None)
        last = "trunk"
        for name in ups(options):
            self.add_module(name, block(name, last, name))
            last = name
        self.ups = ups(options)
        made = image_axis(options, "out_channels")
        self.conv_img = conv(a[last], made, 3, signed=True, padding=1)

    def forward(self, semantics: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, out_channels, h, w)."""
        self.check_pictures(semantics)
        h, w = semantics.shape[2:]
        grid = (h // self.multiple, w // self.multiple)
        x = self.fc(F.interpolate(semantics, size=grid, mode="nearest"))
        x = _double(self.head_0(x, semantics))
        x = self.G_middle_0(x, semantics)
        if self.upsampling != "normal":
            x = _double(x)
        x = self.G_middle_1(x, semantics)
        for name in self.ups:
            x = self.get_submodule(name)(_double(x), semantics)
        out: Tensor = self.conv_img(F.leaky_relu(x, LEAK)).tanh()
        return out

    @property
    def needs(self) -> str:
        """What `takes` asks of a size, as the end of a sentence."""
        least = f", and {2 * self.multiple} in one direction" if self.needs_pixels else ""
        return super().needs + least

    def takes(self, height: int, width: int) -> bool:
        """Whether it makes pictures of just this size, pixels; an InstanceNorm cannot do with a
        latent grid of one pixel."""
        if self.needs_pixels and height // self.multiple == 1 and width // self.multiple == 1:
            return False
        return super().takes(height, width)

    def draw(self, n: int, size: Size, generator: torch.Generator | None = None) -> Inputs:
        """Random label maps in cells of 8 pixels, each cell an instance: ((n, channels, h, w),)."""
        h, w = height_width(size)
        grid = (n, -(-h // CELL), -(-w // CELL))
        labels = _spread(torch.randint(self.classes, grid, generator=generator), h, w)
        things = _spread(torch.randint(9, grid, generator=generator), h, w)
        return (self.encode(labels, things),)

    def encode(self, labels: Tensor, instances: Tensor | None = None) -> Tensor:
        """Label maps (and instance maps), (n, h, w) int64, as this network reads them."""
        how = {"dontcare": self.dontcare, "edges": self.edges}
        return semantics(labels, instances, count=self.labels, **how)

    def check_ids(self, ids: Sequence[int], where: Callable[[int], str]) -> None:
        """Refuse label ids that this network does not know. ImagesError.

        Args: ids: those that occur. where: names the maps that hold an id.
        """
        free = {UNKNOWN} if self.dontcare else set()
        rest = [i for i in ids if not 0 <= i < self.classes and i not in free]
        if rest:
            raise unknown_id(
                f"The label map {where(rest[-1])}", rest[-1], self.labels, self.dontcare
            )


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _spread(cells: Tensor, h: int, w: int) -> Tensor:
    return cells.repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)[:, :h, :w]


def semantics(
    labels: Tensor,
    instances: Tensor | None = None,
    *,
    count: int,
    dontcare: bool = False,
    edges: bool = False,
) -> Tensor:
    """What a SPADE generator reads: one-hot labels, don't-care, instance edges.

    Args:
        labels: (n, h, w) int64, ids 0 to ``count`` - 1; with ``dontcare`` also ``count`` or 255.
        instances: (n, h, w), numbers of things; needed for ``edges``.
    Returns: (n, count + dontcare + edges, h, w) float32.
    Raises: ImagesError for an id past the count; ConfigError for edges without instances.
    """
    classes = count + dontcare
    if dontcare:
        labels = labels.masked_fill(labels == UNKNOWN, count)
    low, top = (int(t) for t in labels.aminmax())
    if low < 0 or top >= classes:
        raise unknown_id("A label map", low if low < 0 else top, count, dontcare)
    n, h, w = labels.shape
    out = torch.zeros(n, classes + edges, h, w, device=labels.device)
    out.scatter_(1, labels.unsqueeze(1), 1.0)
    if edges:
        if instances is None:
            raise ConfigError(
                "Instance edges need instance maps, and there are none: give them, or set the "
                "option 'edges' to false."
            )
        out[:, -1] = instance_edges(instances)
    return out


def unknown_id(where: str, label: int, count: int, dontcare: bool) -> ImagesError:
    """The error for an id that a network of ``count`` labels does not know."""
    more = f", and {count} or {UNKNOWN} for don't-care" if dontcare else ""
    return ImagesError(
        f"{where} holds id {label}, but the network knows {count} labels: 0 to {count - 1}{more}. "
        "Set the option 'labels' to the number of classes, or check that the maps hold ids, not "
        "colours."
    )


def instance_edges(instances: Tensor) -> Tensor:
    """1 where a pixel's instance differs from one of its 4 neighbours', else 0: (n, h, w)."""
    across = instances[:, :, 1:] != instances[:, :, :-1]
    down = instances[:, 1:] != instances[:, :-1]
    found = torch.zeros_like(instances, dtype=torch.bool)
    found[:, :, 1:] |= across
    found[:, :, :-1] |= across
    found[:, 1:] |= down
    found[:, :-1] |= down
    return found.float()


def doublings(options: Options) -> int:
    """How often height and width double from the latent grid on. Raises `ConfigError`."""
    check_word("upsampling", options["upsampling"], tuple(DOUBLINGS))
    return DOUBLINGS[options["upsampling"]]


def ups(options: Options) -> tuple[str, ...]:
    """The blocks with a learned shortcut, behind the trunk."""
    return tuple(f"up_{i}" for i in range(5 if options["upsampling"] == "most" else 4))


def full(options: Options) -> Widths:
    """Widths at ngf 64: 93.048 M parameters with 35 labels and edges."""
    found = {"trunk": 1024}
    for name in TRUNK:
        found |= {f"{name}_hidden_0": 128, f"{name}_mid": 1024, f"{name}_hidden_1": 128}
    for i, name in enumerate(ups(options)):
        width = 512 >> i
        found |= {f"{name}_hidden_0": 128, f"{name}_mid": width, f"{name}_hidden_1": 128}
        found |= {name: width, f"{name}_hidden_s": 128}
    return found


def taps(options: Options) -> tuple[str, ...]:
    """GAN Compression's three, before the up-sampling behind them."""
    return ("head_0", "G_middle_1", "up_1")


def may_vanish(options: Options) -> tuple[str, ...]:
    """None. A trunk block without inner channels would be exactly x + conv_1.bias, but the hidden
    groups of its two SPADEs would have to go with it, which a single group cannot say."""
    return ()


GAUGAN = Family(
    name="gaugan",
    options=OPTIONS,
    full=full,
    generator=SpadeGenerator,
    taps=taps,
    tied=("trunk",),
    may_vanish=may_vanish,
    image=Image(size=256, multiple=32),
)
