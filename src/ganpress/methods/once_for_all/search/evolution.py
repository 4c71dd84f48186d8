"""Which width set is scored next, as a function of the seed and of those scored before.

Nothing here keeps a state, so that a search that was killed goes on exactly as it would have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from ganpress.methods.once_for_all.search.settings import SearchSettings
from ganpress.methods.once_for_all.search.space import Choice, Space

TRIES = 1000
"""Draws until one is new and within the budget (the authors' limit); then one is repaired."""
COUNTABLE = 100_000
"""Sets of a space that are counted through where no draw finds a new one."""

Point = tuple[float, ...]
"""Objectives, smaller is better each."""
Affords = Callable[[Choice], bool]
"""Whether a width set is within the budget; any narrower one then is, too."""


@dataclass(frozen=True)
class Scored:
    """A width set that was taken up; ``point`` is None while it is scored, and where it failed."""

    choice: Choice
    point: Point | None


def propose(
    space: Space, history: Sequence[Scored], affords: Affords, how: SearchSettings, seed: int
) -> Choice | None:
    """The next width set; None where there is none left.

    Args:
        history: every set within the budget that was taken up, in that order.
        affords: true of the smallest set at least.
    """
    seen = {scored.choice for scored in history}
    if how.kind == "brute-force":
        return next((c for c in space.enumerate() if c not in seen and affords(c)), None)
    rng = Random(f"{seed}/{len(history)}")

    def new(make: Callable[[], Choice]) -> Choice | None:
        return _new(make, space, affords, seen, rng, widen=how.widen)

    if how.kind == "random":
        return new(lambda: space.sample(rng))
    generation, place = divmod(len(history), how.population)
    parents = parents_of(history[: generation * how.population], how)
    if not parents:
        return new(lambda: space.sample(rng, how.small_bias))
    mutants = round(how.mutants * how.population)

    def child() -> Choice:
        if place < mutants or len(parents) < 2:
            return mutate(space, rng.choice(parents), how.mutation, rng)
        one, other = rng.sample(parents, 2)
        return cross(one, other, rng)

    return new(child)


def parents_of(earlier: Sequence[Scored], how: SearchSettings) -> list[Choice]:
    """The best of the earlier generations: parents stay in the population until better ones come,
    so that these are the authors' (elitist) parents."""
    points = {scored.choice: scored.point for scored in earlier if scored.point is not None}
    return best(points, max(2, round(how.parents * how.population)))


def finished(history: Sequence[Scored], how: SearchSettings) -> bool:
    """Whether all that was asked for is scored, or no better one came for ``patience``
    generations."""
    if how.evaluations is not None and len(history) >= how.evaluations:
        return True
    if how.kind == "random":
        return how.evaluations is None and len(history) >= 100
    if how.kind == "brute-force":
        return False
    generations = len(history) // how.population
    if how.patience is not None and generations > how.patience:
        now, then = (
            front([s.point for s in history[: g * how.population] if s.point is not None])
            for g in (generations, generations - how.patience)
        )
        if now == then:
            return True
    return generations >= how.generations


def planned(how: SearchSettings) -> int | None:
    """How many sets are scored at most; None: as many as there are."""
    if how.kind == "evolution":
        whole = how.population * how.generations
        return min(how.evaluations or whole, whole)
    return how.evaluations if how.kind == "brute-force" else how.evaluations or 100


def mutate(space: Space, parent: Choice, probability: float, rng: Random) -> Choice:
    """Each slot is drawn anew with this probability."""
    return tuple(
        rng.choice(slot.numbers) if rng.random() < probability else number
        for slot, number in zip(space.slots, parent, strict=True)
    )


def cross(one: Choice, other: Choice, rng: Random) -> Choice:
    """Uniform crossover: each slot is one parent's or the other's."""
    return tuple(rng.choice(pair) for pair in zip(one, other, strict=True))


def narrowed(space: Space, choice: Choice, affords: Affords, rng: Random) -> Choice:
    """Random slots go to their next smaller number until the set is within the budget."""
    numbers = list(choice)
    while not affords(tuple(numbers)):
        larger = [i for i, slot in enumerate(space.slots) if numbers[i] > slot.numbers[-1]]
        i = rng.choice(larger)
        of = space.slots[i].numbers
        numbers[i] = of[of.index(numbers[i]) + 1]
    return tuple(numbers)


def widened(space: Space, choice: Choice, affords: Affords, rng: Random) -> Choice:
    """Random slots go to their next larger number for as long as the set stays within the budget:
    then no slot can."""
    numbers, left = list(choice), list(range(len(choice)))
    while left:
        i = rng.choice(left)
        of = space.slots[i].numbers
        at = of.index(numbers[i])
        wider = (*numbers[:i], of[at - 1], *numbers[i + 1 :])
        if at and affords(wider):
            numbers = list(wider)
        else:
            left.remove(i)
    return tuple(numbers)


def _new(
    make: Callable[[], Choice],
    space: Space,
    affords: Affords,
    seen: set[Choice],
    rng: Random,
    *,
    widen: bool,
) -> Choice | None:
    """The first draw that is new and within the budget; else one that is repaired; else any.

    Args: widen: each is widened first, so that only sets are given of which no slot could be wider.
    """

    def grown(choice: Choice) -> Choice:
        return widened(space, choice, affords, rng) if widen else choice

    for _ in range(TRIES):
        if (drawn := make()) not in seen and affords(drawn) and (wide := grown(drawn)) not in seen:
            return wide
    for source in (make, lambda: space.sample(rng)):
        for _ in range(TRIES):
            if (wide := grown(narrowed(space, source(), affords, rng))) not in seen:
                return wide
    if space.size > COUNTABLE:
        return None
    rest = (choice for choice in space.enumerate() if choice not in seen and affords(choice))
    left = [choice for choice in rest if grown(choice) == choice]
    return rng.choice(left) if left else None


def dominates(one: Point, other: Point) -> bool:
    """Whether one is at least as good in everything, and better in something."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def front(points: Sequence[Point]) -> list[Point]:
    """The points that none dominates, each once, in order."""
    found: list[Point] = []
    for point in sorted(set(points)):  # what dominates a point stands before it
        if not any(dominates(other, point) for other in found):
            found.append(point)
    return found


def best(points: dict[Choice, Point], count: int) -> list[Choice]:
    """The best sets: by fronts, the next one of what the last left; of the front that does not fit
    whole, those in the least crowded places (NSGA-II, Deb et al. 2002). With one objective: the
    smallest, the first of equals."""
    if all(len(point) == 1 for point in points.values()):
        return sorted(points, key=lambda choice: points[choice])[:count]
    left, found = dict(points), list[Choice]()
    while left and len(found) < count:
        layer = set(front(list(left.values())))
        members = [choice for choice, point in left.items() if point in layer]
        room = count - len(found)
        if len(members) > room:
            crowding = _crowding([left[choice] for choice in members])
            order = sorted(range(len(members)), key=lambda i: -crowding[i])
            members = [members[i] for i in order[:room]]
        found += members
        left = {choice: point for choice, point in left.items() if choice not in members}
    return found


def _crowding(points: Sequence[Point]) -> list[float]:
    """How far each point's neighbours are apart, summed over the objectives, each as a fraction of
    its range; infinite at the ends."""
    distance = [0.0] * len(points)
    for axis in range(len(points[0])):
        order = sorted(range(len(points)), key=lambda i: points[i][axis])
        values = [points[i][axis] for i in order]
        if (span := values[-1] - values[0]) == 0:
            continue
        distance[order[0]] = distance[order[-1]] = math.inf
        for k in range(1, len(order) - 1):
            distance[order[k]] += (values[k + 1] - values[k - 1]) / span
    return distance
