"""What a step shows to teacher and student alike: the same styles, mixed at the same layer, and the
same noise maps; or photos, label maps and noise of other families."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.data import Batch
from ganpress.methods.content_aware.scores.diversity import Directions
from ganpress.models.families.stylegan2 import StyleGAN2
from ganpress.models.inputs import inputs_of, is_drawn
from ganpress.nn.taps import tapped
from ganpress.run import distributed
from ganpress.training.styles import RandomInputs, random_inputs
from ganpress.training.teacher import CachedTeacher
from ganpress.types import Inputs


@dataclass(frozen=True)
class Made:
    """What a network makes: its pictures, (n, c, h, w) each, the last one the picture itself, and
    feature maps, (2 n, ...), of the plain batch and then of the shifted one."""

    pictures: list[Tensor]
    maps: dict[str, Tensor] = field(default_factory=dict)

    @property
    def picture(self) -> Tensor:
        """The picture that the network is for."""
        return self.pictures[-1]


class Shown(Protocol):
    """One batch, for teacher and student."""

    @property
    def inputs(self) -> Inputs:
        """What the generator reads."""

    def made(self, net: nn.Module) -> Made:
        """What the student makes of it."""

    def wanted(self, teacher: CachedTeacher) -> Made:
        """What the teacher makes of it, without gradients."""


@dataclass
class Read:
    """A batch of any family's inputs."""

    inputs: Inputs
    ids: Tensor
    _seen: Made | None = field(default=None, init=False)

    def made(self, net: nn.Module) -> Made:
        """See `Shown`."""
        return Made([net(*self.inputs)])

    def wanted(self, teacher: CachedTeacher) -> Made:
        """See `Shown`; from the teacher's cache, where there is one. Made once."""
        if self._seen is None:
            self._seen = Made([teacher(self.inputs, self.ids).pictures])
        return self._seen


@dataclass(frozen=True)
class Styled:
    """A batch of StyleGAN2's random inputs.

    Attributes:
        shift: (n, dim), added to all styles of a second copy of the batch; None: no copy.
        taps: modules whose maps of both copies are wanted.
    """

    random: RandomInputs
    shift: Tensor | None = None
    taps: Collection[str] = ()

    @property
    def inputs(self) -> Inputs:
        """z of the coarse layers, and the noise maps."""
        return (self.random.z, *self.random.noise)

    def made(self, net: nn.Module) -> Made:
        """Every resolution's picture of the plain batch."""
        styled = cast(StyleGAN2, net)
        styles, noise = self.random.styles(styled), self.random.noise
        if self.shift is None:
            return Made(styled.rgbs(styles, *noise))
        n = len(styles)
        both = torch.cat([styles, styles + self.shift[:, None]])
        with tapped(net, self.taps) as maps:
            pictures = styled.rgbs(both, *(torch.cat([m, m]) for m in noise))
        return Made([picture[:n] for picture in pictures], dict(maps))

    @torch.no_grad()
    def wanted(self, teacher: CachedTeacher) -> Made:
        """The same of the teacher, whose mapping network makes its own styles."""
        return self.made(teacher.net)


@dataclass
class Passes:
    """The passes of a stage; what is drawn comes from torch's state, which is the step's. Where
    nothing is drawn, all passes on a batch are one, and the teacher runs once.

    Attributes:
        batch: pictures of a step over all processes.
        mixing: probability that a batch mixes two styles.
        taps: of the student and the teacher, whose maps are compared; (): none.
        shift: standard deviation of the style's shift.
        directions: principal ones; None: any direction.
    """

    net: nn.Module
    batch: int
    mixing: float = 0.0
    taps: tuple[str, ...] = ()
    shift: float = 0.0
    directions: Directions | None = None
    _last: tuple[Batch, Read] | None = field(default=None, init=False)

    def __call__(self, batch: Batch, *, shifted: bool = False) -> Shown:
        """A pass on this batch. Args: shifted: with a second copy, where maps are compared."""
        if not isinstance(self.net, StyleGAN2):
            if self._last is None or self._last[0] is not batch or is_drawn(self.net):
                self._last = batch, Read(inputs_of(self.net, batch), batch.ids)
            return self._last[1]
        random = random_inputs(self.net, self.mixing, self.batch)
        if not (shifted and self.taps):
            return Styled(random)
        return Styled(random, distributed.share(self._shifts()), self.taps)

    def _shifts(self) -> Tensor:
        """StyleKD's: a unit direction times a normal number for each picture, (batch, dim)."""
        net: Any = self.net
        if self.directions is None:
            units = F.normalize(torch.randn(self.batch, net.style_dim), dim=1)
        else:
            units = self.directions.draw(self.batch, torch.default_generator)
        amounts = self.shift * torch.randn(self.batch, 1)
        shifts: Tensor = (amounts * units.cpu()).to(net.const.device)
        return shifts


def relation_taps(net: nn.Module, side: int) -> tuple[str, ...]:
    """The layers whose maps are ``side`` pixels wide, or as the pictures where those are smaller;
    () of a network without a mapping network."""
    if not isinstance(net, StyleGAN2):
        return ()
    wanted = min(side, net.size)
    return tuple(f"layers.{k}" for k, own in enumerate(net.sides) if own == wanted)
