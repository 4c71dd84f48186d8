"""The rounds in which channels go: one, as in the paper, or several with training between them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ganpress.measures.target import TargetSettings
from ganpress.methods.content_aware.score_settings import CutSettings
from ganpress.methods.content_aware.settings import ContentAwareConfig


@dataclass(frozen=True)
class Round:
    """One cut and the training after it: ``number`` of ``count``, from 0."""

    number: int = 0
    count: int = 1

    @property
    def is_last(self) -> bool:
        """Whether this is the last round, whose training is the retraining of the paper."""
        return self.number + 1 == self.count

    def named(self, stage: str) -> str:
        """The name of its score's or cut's stage: 'cut-1', of the last one 'cut'."""
        return stage if self.is_last else f"{stage}-{self.number + 1}"

    @property
    def training(self) -> str:
        """The name of the stage that trains after its cut."""
        if self.is_last:
            return "finetune"
        return "narrow" if self.count == 2 else f"narrow-{self.number + 1}"

    def extent(self, whole: float, first: float = 1.0) -> float:
        """What is left after this round's cut where ``whole`` is left at the end and ``first`` was
        there before the first one; the rounds divide the way into equal ratios."""
        return first * math.pow(whole / first, (self.number + 1) / self.count)


ONCE = Round()
"""The paper's: all at once."""


def rounds_of(c: ContentAwareConfig) -> list[Round]:
    """The rounds of these settings, in order; at least one."""
    return [Round(number, c.narrow.rounds) for number in range(c.narrow.rounds)]


def amount(
    c: ContentAwareConfig, part: Round, first: float = 1.0
) -> tuple[CutSettings, TargetSettings]:
    """How much has gone after a round's cut: the settings' own ratio or target after the last one,
    milder ones before.

    Args: first: the targeted cost before the first cut, as a fraction of the teacher's.
    """
    if part.is_last:
        return c.cut, c.target
    if c.cut.ratio is not None:
        return c.cut.model_copy(update={"ratio": 1 - part.extent(1 - c.cut.ratio)}), c.target
    assert c.target.chosen is not None  # `check_cut` refuses
    name, wanted = c.target.chosen
    milder = c.target.as_given(part.extent(wanted, max(first, wanted)))
    return c.cut, c.target.model_copy(update={name: milder})


@dataclass(frozen=True)
class Share:
    """The training after a round's cut.

    Attributes: first, end: its steps among those of all rounds, from 0. minutes: its limit.
        decay: as of ``finetune.decay``.
    """

    first: int
    end: int
    minutes: float | None
    decay: float

    @property
    def steps(self) -> int:
        """How many."""
        return self.end - self.first


def share_of(c: ContentAwareConfig, part: Round) -> Share:
    """A round's training: of ``finetune`` after the last cut; those before share ``narrow``
    equally, at constant rates."""
    n, f, between = c.narrow, c.finetune, part.count - 1
    if part.is_last:
        first = n.steps if between else 0
        return Share(first, first + f.steps, f.minutes, f.decay)
    first, end = (k * n.steps // between for k in (part.number, part.number + 1))
    return Share(first, end, n.minutes and n.minutes / between, decay=0.0)
