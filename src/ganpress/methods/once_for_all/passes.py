"""A step's forward passes of teacher and student: what they read, and which maps are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from ganpress.channels.take import Elastic
from ganpress.data import Batch
from ganpress.models.families.munit import ByReference, MunitGenerator
from ganpress.models.inputs import inputs_of
from ganpress.nn.taps import tapped
from ganpress.training.teacher import CachedTeacher, Observed
from ganpress.types import Inputs, Keep

STYLE = "style"
"""MUNIT's style encoder, among the taps of a pass whose style is a reference picture's."""
_INSIDE = "translator."


@dataclass(frozen=True)
class Pass:
    """One batch through teacher and student.

    Attributes:
        inputs: what both read.
        taps: modules of the bare networks whose maps are wanted.
        by_reference: the style is read from a picture, not drawn.
    """

    net: nn.Module
    elastic: Elastic
    teacher: CachedTeacher
    inputs: Inputs
    taps: tuple[str, ...]
    by_reference: bool = False

    def observed(self, ids: Tensor) -> Observed:
        """The teacher's pictures and maps, without gradients."""
        prefix = _INSIDE if self.by_reference else ""
        found = self.teacher(self.inputs, ids, [prefix + tap for tap in self.taps])
        maps = {name.removeprefix(prefix): m for name, m in found.maps.items()}
        return Observed(found.pictures, maps)

    def student(self, keep: Keep) -> tuple[Tensor, dict[str, Tensor]]:
        """The student's pictures at these widths, (n, c, h, w), and its maps."""
        with tapped(self.net, self.taps) as maps:
            fake: Tensor = self.elastic(keep, *self.inputs)
        return fake, dict(maps)


class Passes:
    """The passes of a stage: a network reads what its family reads, but for MUNIT, whose style is,
    in odd steps, that of a picture of the second domain, where there are any (the batch's
    targets): both networks then encode it themselves."""

    def __init__(
        self, net: nn.Module, teacher: CachedTeacher, taps: tuple[str, ...], *, references: bool
    ) -> None:
        """Args: references: pictures of the second domain come with each batch."""
        self.net, self.teacher, self.taps = net, teacher, taps
        self.elastic = Elastic(net)
        self.shown: tuple[Elastic, CachedTeacher] | None = None
        if references and isinstance(net, MunitGenerator) and net.style is not None:
            shown = CachedTeacher(ByReference(cast(MunitGenerator, teacher.net)))
            self.shown = Elastic(ByReference(net)), shown

    def __call__(self, step: int, batch: Batch) -> Pass:
        """The pass of this step; what is drawn comes from torch's state, which is the step's."""
        inputs = inputs_of(self.net, batch)
        if self.shown is None or step % 2 == 0 or batch.y is None:
            return Pass(self.net, self.elastic, self.teacher, inputs, self.taps)
        elastic, teacher = self.shown
        seen = (inputs[0], batch.y)
        return Pass(self.net, elastic, teacher, seen, (*self.taps, STYLE), by_reference=True)
