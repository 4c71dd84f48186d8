"""The cost allowed at each point of the joint loop, and what is cut to it first."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ganpress.channels.importance import importance_per_cost, ranks
from ganpress.measures.cost import CostOf
from ganpress.methods.gan_slimming.settings import SparsifySettings
from ganpress.types import Scores, Widths


@dataclass(frozen=True)
class Goal:
    """The cost target of pruning: a schedule of cost ratios, and how cost is computed.

    Attributes:
        cost: widths -> cost as a fraction of the teacher's.
        start, end: the ratio at the beginning of the loop and at the end of the ramp.
        ramp_fraction: of the loop in which the ratio falls from start to end, geometrically.
    """

    cost: Callable[[Widths], float]
    start: float
    end: float
    ramp_fraction: float

    def at(self, progress: float) -> float:
        """The cost ratio allowed at this point of the loop, 0 to 1."""
        passed = min(1.0, progress / self.ramp_fraction)
        return self.start * math.pow(self.end / self.start, passed)


def compared(magnitudes: Scores, cost: CostOf, s: SparsifySettings) -> Scores:
    """The importance of channels, comparable between groups: by ``ranking`` and ``cost_exponent``.

    Args: magnitudes: of scales, over those they began with where they are compared so.
    """
    importance = ranks(magnitudes) if s.ranking == "rank" else magnitudes
    return importance_per_cost(importance, cost, s.cost_exponent)
