"""What a search is asked for: the arguments of `study.search`, as its steps use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganpress.methods.once_for_all.search.evolution import Scored
from ganpress.methods.once_for_all.search.ledger import Candidate
from ganpress.methods.once_for_all.search.settings import SearchSettings
from ganpress.methods.once_for_all.search.space import Choice, Space

if TYPE_CHECKING:
    from ganpress.types import Widths

Evaluate = Callable[["Widths"], Mapping[str, float]]
"""A width set -> its figures by name; may take minutes, may raise, may give NaN."""
CostOf = Callable[["Widths"], Mapping[str, float]]
"""A width set -> its costs by name: "macs", "params", "bytes", and perhaps "latency_ms"."""
ProgressOf = Callable[[int, int | None, Mapping[str, float]], None]
"""Called after each set with how many are scored, how many there will be at most (None: as many as
there are), and the best one's figures."""


@dataclass
class Task:
    """The arguments of `search`, and what is worked out from them once.

    Attributes:
        retried: names of sets that failed in an earlier run, where all did.
        shown: rows that ``progress`` was called for.
    """

    space: Space
    evaluate: Evaluate
    cost: CostOf
    budget: Mapping[str, float]
    how: SearchSettings
    seed: int
    quality: str
    maximise: bool
    folder: Path
    say: Callable[[str], None]
    progress: ProgressOf | None
    given_identity: Mapping[str, Any]
    retried: set[str] = field(default_factory=set)
    shown: int = 0
    _costs: dict[Choice, dict[str, float]] = field(default_factory=dict)

    def costs(self, choice: Choice) -> dict[str, float]:
        """Every cost of a width set, worked out once."""
        if choice not in self._costs:
            found = self.cost(self.space.widths(choice))
            self._costs[choice] = {name: float(value) for name, value in found.items()}
        return self._costs[choice]

    def affords(self, choice: Choice) -> bool:
        """Whether a width set is within the budget."""
        costs = self.costs(choice)
        return all(costs[name] <= most for name, most in self.budget.items())

    @property
    def against(self) -> str | None:
        """The cost that is the second objective."""
        return None if self.how.objective == "quality" else self.how.objective

    @property
    def identity(self) -> dict[str, Any]:
        """What the figures depend on: JSON values."""
        slots = [[slot.name, dict(slot.groups), slot.numbers] for slot in self.space.slots]
        metric = {"quality": self.quality, "maximise": self.maximise}
        return {**self.given_identity, "space": slots, **metric, "objective": self.how.objective}

    def values(self, choice: Choice, figures: Mapping[str, float]) -> list[float]:
        """The objectives, as the study holds them."""
        costs = [self.costs(choice)[self.against]] if self.against else []
        return [figures[self.quality], *costs]

    def history(self, candidates: Mapping[str, Candidate]) -> list[Scored]:
        """What the evolution sees: every set within the budget, objectives to be made small."""
        signs = (-1.0 if self.maximise else 1.0, 1.0)
        return [
            Scored(c.choice, tuple(s * v for s, v in zip(signs, c.values, strict=False)) or None)
            for c in candidates.values()
            if self.affords(c.choice)
        ]
