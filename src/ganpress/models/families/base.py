"""The contract every generator family keeps, and the one way to build a member of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ganpress.errors import ConfigError, WidthsError, did_you_mean
from ganpress.nn.axes import Axis, fixed
from ganpress.types import Inputs, Options, Widths
from ganpress.types.pictures import CHANNELS
from ganpress.types.sizes import Size, height_width, words

READ: Options = {"in_channels": 3}  # of the picture that is read
MADE: Options = {"out_channels": 3}  # of the picture that is made
"""Options of every family that reads pictures, and of every family: see `pictures.CHANNELS`."""


def image_axis(options: Options, name: str) -> Axis:
    """The channels of the picture that is read ("in_channels") or made ("out_channels")."""
    return fixed(int(options[name]), "image")


class Generator(nn.Module):
    """Base of every family's network: it knows what its forward reads, and can draw an example."""

    family: str = "image"
    """The family's name, for messages."""

    reads: tuple[str, ...] = ("image",)
    """Names of the inputs, in the order of `forward`; they name an exported file's inputs, too."""

    multiple: int = 4
    """Height and width must be divisible by this; options can raise it."""

    min_pixels: int = 16
    """The smallest height and width that its outermost layers can read (reflection by 3: 4)."""

    min_map: int = 1
    """The smallest height and width of its innermost map; 2 where a border is reflected there, or
    an InstanceNorm reads it."""

    def __init__(self, options: Options | None = None) -> None:
        """Keeps the channels of the pictures that are read (where any are) and made."""
        super().__init__()
        known = {**READ, **MADE, **(options or {})}
        self.in_channels, self.out_channels = int(known["in_channels"]), int(known["out_channels"])

    @property
    def min_size(self) -> int:
        """The smallest height and width that it can make, pixels; a multiple of `multiple`."""
        return self.multiple * max(self.min_map, -(-self.min_pixels // self.multiple))

    @property
    def needs(self) -> str:
        """What `takes` asks of a size, as the end of a sentence."""
        return f"at least {self.min_size} pixels, divisible by {self.multiple}"

    def takes(self, height: int, width: int) -> bool:
        """Whether it makes pictures of just this size, pixels: the one place that decides it."""
        m, smallest = self.multiple, self.min_size
        return height % m == 0 and width % m == 0 and height >= smallest and width >= smallest

    def fit(self, height: int, width: int) -> tuple[int, int]:
        """The size that it takes, at least this one in both directions, pixels."""
        m, smallest = self.multiple, self.min_size
        tall, wide = (max(smallest, -(-side // m) * m) for side in (height, width))
        while not self.takes(tall, wide):
            wide += m
        return tall, wide

    def check_size(self, height: int, width: int) -> None:
        """Raises `ConfigError` where pictures of this size, pixels, cannot be made."""
        if not self.takes(height, width):
            height, width = int(height), int(width)
            raise ConfigError(
                f"The size is {words((height, width))}: a '{self.family}' generator needs "
                f"{self.needs}. {words(self.fit(height, width))} would do."
            )

    def check_pictures(self, x: Tensor) -> None:
        """Raises `ConfigError` where ``x`` is no (n, c, h, w) of a size that it takes."""
        if x.ndim != 4:
            raise ConfigError(
                f"A '{self.family}' generator reads pictures (n, channels, height, width), not "
                f"{tuple(x.shape)}."
            )
        self.check_size(x.shape[2], x.shape[3])

    def check_rows(self, x: Tensor, name: str, count: int) -> None:
        """Raises `ConfigError` where ``x`` is no (n, count)."""
        if x.ndim != 2 or x.shape[1] != count:
            raise ConfigError(
                f"A '{self.family}' generator reads {name} as (n, {count}), not {tuple(x.shape)}."
            )

    def draw(
        self,
        n: int,
        size: Size,
        generator: torch.Generator | None = None,
    ) -> Inputs:
        """Random inputs that the network can read, float32 on the CPU, one tensor per `reads`.

        Here: ((n, in_channels, h, w) in [-1, 1],). Families that read something else say so; those
        whose picture size is fixed by their options take no notice of ``size`` (pixels).
        """
        h, w = height_width(size)
        return (torch.rand(n, self.in_channels, h, w, generator=generator) * 2 - 1,)


def draw_inputs(
    net: nn.Module, n: int, size: Size, generator: torch.Generator | None = None
) -> Inputs:
    """What `Generator.draw` gives; images in [-1, 1] for a plain module."""
    return (net if isinstance(net, Generator) else Generator()).draw(n, size, generator)


@dataclass(frozen=True)
class Image:
    """The size of what a generator writes, float32 NCHW in [-1, 1], by default; pixels."""

    size: int = 256
    multiple: int = 4
    """Height and width must be divisible by this."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One wiring, built from widths; dense, slimmed and elastic students are all members.

    Attributes:
        name: how the CLI and the checkpoint call it.
        options: what the wiring can vary besides widths, with the defaults.
        full: widths of the papers' full network under these options.
        generator: (widths, options) -> nn.Module, every layer tagged with its axes.
        taps: modules whose features are distilled (GAN Compression, section 3.1).
        tied: groups that many producers share (residual trunks): pruned together or kept.
        may_vanish: groups that can lose all channels (inner width of a residual block).
    """

    name: str
    options: Options
    full: Callable[[Options], Widths]
    generator: Callable[[Widths, Options], nn.Module]
    taps: Callable[[Options], tuple[str, ...]]
    tied: tuple[str, ...] = ()
    may_vanish: Callable[[Options], tuple[str, ...]]
    image: Image = field(default_factory=Image)

    def resolve(self, options: Options) -> dict[str, Any]:
        """Options with every default filled in; an unknown name, or a value of another type than
        the default's, is refused: ConfigError."""
        for name in options:
            if name not in self.options:
                raise ConfigError(
                    f"Family '{self.name}' has no option '{name}'"
                    f"{did_you_mean(name, self.options)}. Options: {', '.join(self.options)}."
                )
            _check_option(name, options[name], self.options[name])
        return {**self.options, **options}

    def build(self, widths: Widths | None = None, **options: Any) -> nn.Module:
        """A generator with these widths (the full ones where not given).

        Raises:
            WidthsError: a group that the family does not have, or a width below 1 for a group
                that cannot vanish.
        """
        resolved = self.resolve(options)
        full = self.full(resolved)
        for group, width in (widths or {}).items():
            if group not in full:
                raise WidthsError(
                    f"Widths for '{self.name}' name no group '{group}'"
                    f"{did_you_mean(group, full)}. Groups: {', '.join(full)}."
                )
            minimum = 0 if group in self.may_vanish(resolved) else 1
            if width < minimum:
                raise WidthsError(
                    f"Group '{group}' of '{self.name}' needs at least {minimum} channel(s), "
                    f"got {width}."
                )
        return self.generator({**full, **(widths or {})}, resolved)


def _check_option(name: str, value: Any, default: Any) -> None:
    """Refuse a value of another type than the default's, and sizes below 1. What is 0 by default
    may be 0; for blocks, each family checks itself whether 0 is allowed."""
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
    kind = type(default)
    fits = type(value) is kind or (kind is float and type(value) is int)
    if not fits:
        raise ConfigError(f"Option '{name}' is {kinds[kind]}, such as {default}; got {value!r}.")
    if name in {**READ, **MADE} and value not in CHANNELS:
        known = ", ".join(f"{count} ({what})" for count, what in CHANNELS.items())
        raise ConfigError(f"Option '{name}' is {value}; pictures have {known} channels.")
    minimum = int(default > 0 and name not in ("blocks", "res")) if kind is int else value
    if value < minimum:
        raise ConfigError(f"Option '{name}' is at least {minimum}; got {value}.")


def residual_groups(options: Options) -> tuple[str, ...]:
    """The inner groups of residual blocks, which may vanish; none under BatchNorm, whose emptied
    branch would still add a constant."""
    if options["norm"] == "batch":
        return ()
    return tuple(f"block{i}" for i in range(options["blocks"]))


def reject_unknown(name: str, families: dict[str, Family]) -> Family:
    """The family of this name, or an error with the nearest one."""
    if name not in families:
        raise ConfigError(
            f"There is no family '{name}'{did_you_mean(name, families)}. "
            f"Families: {', '.join(families)}."
        )
    return families[name]
