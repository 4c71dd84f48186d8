"""Which width sets a step of the supernet trains (section 3.4)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import lru_cache

from ganpress.channels.ranking import largest_ratio
from ganpress.methods.once_for_all.search.evolution import Affords, narrowed, widened
from ganpress.methods.once_for_all.search.space import Choice, Space
from ganpress.methods.once_for_all.settings import OnceForAllConfig
from ganpress.types import Keep, Widths


def sampler(
    space: Space, c: OnceForAllConfig, within: Callable[[float], Affords]
) -> Callable[[float], Sequence[Keep]]:
    """How much of the stage is over, 0 to 1 -> the width sets of a step, drawn from `random`'s
    state.

    Args: within: how far the budget has fallen -> whether a width set is within it
        (`falling_budget`); of sampling "within" and "shrinking".
    """
    s = c.supernet

    @lru_cache(maxsize=1)  # the budget stays once it has fallen
    def uniform(fallen: float) -> Choice:
        return widest_uniform(space, within(fallen))

    def drawn(progress: float) -> Widths:
        rng = random.Random(random.getrandbits(64))
        if s.sampling == "shrinking":
            fallen = min(1.0, progress / s.shrink_fraction)
            affords = within(fallen)
            choice = narrowed(space, near(space, uniform(fallen), rng), affords, rng)
            return space.widths(widened(space, choice, affords, rng))
        choice = space.sample(rng)
        if s.sampling == "within":
            choice = narrowed(space, choice, within(1.0), rng)
            if c.search.widen:  # as the search's own
                choice = widened(space, choice, within(1.0), rng)
        return space.widths(choice)

    def sets(progress: float) -> Sequence[Keep]:
        if s.sampling != "sandwich":
            return [drawn(progress)]
        ends = [space.widths(space.largest), space.widths(space.smallest)]
        return [*ends, *(drawn(progress) for _ in range(s.sandwich_random))]

    return sets


def widest_uniform(space: Space, affords: Affords) -> Choice:
    """The widest uniform narrowing within a budget; the smallest set where none is."""
    return _at(space, largest_ratio(lambda ratio: affords(_at(space, ratio))))


def near(space: Space, choice: Choice, rng: random.Random) -> Choice:
    """The width set, of which each slot is left, or goes to its next larger or smaller number: in
    a quarter of the draws each."""
    found = []
    for slot, number in zip(space.slots, choice, strict=True):
        place = slot.numbers.index(number) + rng.choice((-1, 0, 0, 1))
        found.append(slot.numbers[min(max(place, 0), len(slot.numbers) - 1)])
    return tuple(found)


def _at(space: Space, ratio: float) -> Choice:
    """Each slot's number that is nearest to this fraction of its largest one."""
    return tuple(
        min(slot.numbers, key=lambda n, of=ratio * slot.numbers[0]: abs(n - of))  # type: ignore[misc]
        for slot in space.slots
    )
