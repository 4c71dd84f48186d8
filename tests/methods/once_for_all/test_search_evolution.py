"""What is proposed next: the paper's evolution, as a function of what was scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from itertools import product
from random import Random

import pytest
from search_landscapes import (
    BUDGET,
    SMALL,
    adversarial,
    cost,
    separable,
)

from ganpress.methods.once_for_all.search import evolution
from ganpress.methods.once_for_all.search.evolution import (
    Scored,
    best,
    cross,
    finished,
    front,
    mutate,
    narrowed,
    propose,
    widened,
)
from ganpress.methods.once_for_all.search.settings import SearchSettings
from ganpress.methods.once_for_all.search.space import Choice, Slot, Space


@cache
def affords(choice: Choice) -> bool:
    return cost(SMALL.widths(choice))["macs"] <= BUDGET["macs"]


def run(
    landscape: Callable[[Mapping[str, int]], dict[str, float]],
    seed: int,
    count: int,
    **how: object,
) -> list[Scored]:
    settings = SearchSettings(population=16, patience=None, **how)
    history: list[Scored] = []
    while len(history) < count:
        choice = propose(SMALL, history, affords, settings, seed)
        if choice is None:
            break
        history.append(Scored(choice, (landscape(SMALL.widths(choice))["fid"],)))
    return history


WITHIN = [choice for choice in product(*(slot.numbers for slot in SMALL.slots)) if affords(choice)]


@pytest.mark.parametrize(("landscape", "seeds_that_may_fail"), [(separable, 0), (adversarial, 1)])
def test_evolution_finds_the_best_set_in_a_quarter_of_the_evaluations_of_brute_force(
    landscape: Callable[[Mapping[str, int]], dict[str, float]], seeds_that_may_fail: int
) -> None:
    optimum = min(landscape(SMALL.widths(choice))["fid"] for choice in WITHIN)
    quarter = len(WITHIN) // 4
    found = [min(s.point or (9.0,) for s in run(landscape, seed, quarter)) for seed in range(8)]
    assert sum(point > 1.01 * optimum for (point,) in found) <= seeds_that_may_fail


def test_evolution_beats_random_search_at_the_same_number_of_evaluations() -> None:
    def found(kind: str) -> list[float]:
        runs = [run(separable, seed, 64, kind=kind) for seed in range(8)]
        return [min(s.point[0] for s in history if s.point) for history in runs]

    assert sum(found("evolution")) < sum(found("random")) - 2


@pytest.mark.parametrize("kind", ["evolution", "random", "brute-force"])
def test_no_set_is_proposed_twice_and_all_within_the_budget_are_in_the_end(kind: str) -> None:
    history = [scored.choice for scored in run(separable, 0, 10_000, kind=kind)]
    assert sorted(history) == sorted(WITHIN)
    assert len(WITHIN) == 561 < SMALL.size


def test_what_is_proposed_is_a_function_of_the_seed_and_of_what_was_scored() -> None:
    settings = SearchSettings(population=16, patience=None)
    whole = run(separable, 3, 40)
    for cut in (0, 7, 16, 33, 39):
        again = propose(SMALL, whole[:cut], affords, settings, 3)
        assert again == whole[cut].choice
    assert [s.choice for s in whole] != [s.choice for s in run(separable, 4, 40)]


def test_a_generation_is_half_mutants_and_half_crossings_of_the_best_quarter() -> None:
    # With a probability of 1 a mutant is any set at all.
    settings = SearchSettings(population=16, mutation=1.0, patience=None)
    history = run(separable, 0, 16)
    points = sorted(history, key=lambda s: s.point or ())
    parents = [scored.choice for scored in points[:4]]
    slots = list(zip(*parents, strict=True))
    crossed, children = [], set()
    for place in range(16):
        # The children before it failed: the parents are those of the first generation all the same.
        rest = [Scored(choice, None) for choice in WITHIN if choice not in parents][:place]
        child = propose(SMALL, [*history, *rest], affords, settings, 0)
        assert child is not None
        children.add(child)
        crossed.append(all(n in slot for n, slot in zip(child, slots, strict=True)))
    assert all(crossed[8:]) and sum(crossed[:8]) < 4
    assert len(children) > 12  # each is drawn anew


def test_mutation_draws_each_slot_anew_with_its_probability() -> None:
    space = Space(tuple(Slot(f"s{i}", {f"g{i}": 1}, tuple(range(100, 0, -1))) for i in range(50)))
    parent = space.largest
    changed = [sum(n != 100 for n in mutate(space, parent, 0.2, Random(i))) for i in range(100)]
    assert abs(sum(changed) / 100 - 50 * 0.2 * 0.99) < 1


def test_crossover_takes_each_slot_from_either_parent() -> None:
    children = [cross((1,) * 40, (2,) * 40, Random(i)) for i in range(50)]
    assert all(set(child) == {1, 2} for child in children)
    assert abs(sum(map(sum, children)) / 50 - 60) < 2


def test_a_set_over_the_budget_is_repaired_by_shrinking_random_slots() -> None:
    tight = Space(tuple(Slot(f"s{i}", {f"g{i}": 1}, tuple(range(64, 0, -1))) for i in range(8)))

    def fits(choice: Choice) -> bool:
        return sum(choice) <= 12  # about one draw in 10^12 is

    child = narrowed(tight, tight.largest, fits, Random(0))
    assert sum(child) == 12
    assert narrowed(tight, tight.largest, fits, Random(1)) != child
    settings = SearchSettings(population=4)
    found = propose(tight, [], fits, settings, 0)
    assert found is not None and fits(found)


def wider_by_a_step(space: Space, choice: Choice) -> list[Choice]:
    """The set with one slot at its next larger number, for each slot that has one."""
    found = []
    for i, slot in enumerate(space.slots):
        larger = [number for number in slot.numbers if number > choice[i]]
        if larger:
            found.append((*choice[:i], min(larger), *choice[i + 1 :]))
    return found


def test_a_widened_set_holds_what_it_was_and_no_slot_of_it_could_be_wider() -> None:
    made = {widened(SMALL, SMALL.smallest, affords, Random(i)) for i in range(20)}
    assert len(made) > 5  # another slot goes up each time
    for choice in made:
        assert affords(choice)
        assert not any(affords(wider) for wider in wider_by_a_step(SMALL, choice))
    full = widened(SMALL, SMALL.smallest, lambda _: True, Random(0))
    assert full == SMALL.largest
    start = (SMALL.slots[0].numbers[1], *SMALL.smallest[1:])
    wide = widened(SMALL, start, affords, Random(3))
    assert all(a >= b for a, b in zip(wide, start, strict=True))


WIDEST = {c for c in WITHIN if not any(affords(wider) for wider in wider_by_a_step(SMALL, c))}


@pytest.mark.parametrize("kind", ["evolution", "random"])
def test_with_widening_every_proposed_set_is_new_and_no_slot_of_it_could_be_wider(
    kind: str,
) -> None:
    found = [scored.choice for scored in run(separable, 0, 48, kind=kind, widen=True)]
    assert len(set(found)) == 48 and set(found) <= WIDEST
    plain = [scored.choice for scored in run(separable, 0, 48, kind=kind)]
    assert mean_cost(found[:16]) > 1.1 * mean_cost(plain[:16])


@pytest.mark.parametrize("kind", ["evolution", "random"])
def test_with_widening_a_search_ends_when_all_sets_that_use_the_budget_up_are_scored(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left, narrow sets between scored ones, would leave the budget unused."""
    monkeypatch.setattr(evolution, "TRIES", 5)  # so that the last ones are found by counting
    found = [scored.choice for scored in run(separable, 1, 10_000, kind=kind, widen=True)]
    assert len(found) == len(WIDEST) > 16 and set(found) == WIDEST


def mean_cost(choices: list[Choice]) -> float:
    return sum(cost(SMALL.widths(c))["macs"] for c in choices) / len(choices)


def test_the_first_generation_can_be_biased_to_small_sets() -> None:
    def mean(bias: float) -> float:
        how = SearchSettings(population=40, small_bias=bias)
        found = [Scored(c, None) for c in ()]
        for _ in range(40):
            choice = propose(SMALL, found, lambda _: True, how, 0)
            assert choice is not None
            found.append(Scored(choice, None))
        return sum(sum(s.choice) for s in found) / 40

    assert mean(3.0) < mean(1.0) - 10


def test_it_ends_after_its_patience_its_generations_or_its_evaluations() -> None:
    def scored(*points: float) -> list[Scored]:
        return [Scored((i,), (point,)) for i, point in enumerate(points)]

    how = SearchSettings(population=2, patience=2, generations=5)
    assert not finished(scored(3, 2, 4, 4), how)
    assert not finished(scored(3, 2, 4, 4, 4), how)
    assert finished(scored(3, 2, 4, 4, 4, 4), how)
    assert not finished(scored(3, 2, 4, 4, 4, 1), how)
    assert not finished(scored(3, 3, 2, 4, 4, 4), how)  # one generation without a better one
    patient = how.model_copy(update={"patience": None})
    assert not finished(scored(*[1.0] * 9), patient)
    assert finished(scored(*[1.0] * 10), patient)
    assert finished(scored(1, 2, 3), how.model_copy(update={"evaluations": 3}))
    assert not finished(scored(1, 2, 3), how.model_copy(update={"kind": "brute-force"}))


def test_the_front_is_what_no_other_point_beats() -> None:
    points = [(1.0, 9.0), (2.0, 5.0), (2.0, 6.0), (3.0, 5.0), (4.0, 1.0), (4.0, 1.0)]
    assert front(points) == [(1.0, 9.0), (2.0, 5.0), (4.0, 1.0)]
    rng = Random(0)
    many = [(float(rng.randrange(20)), float(rng.randrange(20))) for _ in range(100)]
    beaten = {
        p
        for p in many
        for q in many
        if q[0] <= p[0] and q[1] <= p[1] and (q[0] < p[0] or q[1] < p[1])
    }
    assert set(front(many)) == set(many) - beaten


def test_the_best_of_two_objectives_are_those_of_nsga_ii() -> None:
    optuna = pytest.importorskip("optuna")
    from optuna.samplers import nsgaii
    from optuna.samplers.nsgaii import _elite_population_selection_strategy as elite

    assert nsgaii
    rng = Random(1)
    points = {(i,): (rng.random(), rng.random()) for i in range(60)}
    study = optuna.create_study(directions=["minimize", "minimize"])
    for point in points.values():
        study.add_trial(optuna.trial.create_trial(values=list(point), params={}, distributions={}))
    chosen = elite.NSGAIIElitePopulationSelectionStrategy(population_size=15)(study, study.trials)
    assert {t.number for t in chosen} == {choice[0] for choice in best(points, 15)}


def test_the_best_of_one_objective_are_the_smallest_and_the_first_of_equals() -> None:
    points = {(3,): (2.0,), (1,): (1.0,), (2,): (2.0,), (4,): (5.0,)}
    assert best(points, 2) == [(1,), (3,)]
    assert best(points, 9) == [(1,), (3,), (2,), (4,)]
