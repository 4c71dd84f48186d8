"""Which channels stay: the best over all groups within a budget, or a ratio of each group."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ganpress.errors import InfeasibleTarget
from ganpress.types import Scores, Widths

Bind = Callable[[Widths], dict[str, int]]
"""Widths of groups -> the nearest ones at or above them that a student may have; monotone, and at
most what each group has. Where it ties groups, the one that needs most decides for all."""


def unbound(widths: Widths) -> dict[str, int]:
    """The `Bind` that allows all widths."""
    return dict(widths)


def keep_top(
    scores: Scores,
    *,
    budget: float,
    cost: Callable[[Widths], float],
    floors: int | Mapping[str, int] = 8,
    multiple: int = 1,
    bind: Bind = unbound,
) -> dict[str, Tensor]:
    """Keep the best-scored channels over all groups so that the cost fits the budget.

    Channels are ranked together, so scores must be comparable between groups.

    Args:
        floors: channels that every group, or each group by its name, keeps at least (or all it
            has); 0 for a group that may vanish.
        multiple: widths are multiples of this, or all channels of a group that has fewer.
        bind: the widths that are allowed.

    Returns: group -> sorted indices, (k,) int64.
    Raises `InfeasibleTarget` when even the smallest network costs more than the budget.
    """
    order = {g: torch.argsort(s, descending=True, stable=True) for g, s in scores.items()}
    how = {"floors": floors, "multiple": multiple, "bind": bind}
    _, chosen = cut_level(scores, budget=budget, cost=cost, **how)  # type: ignore[arg-type]
    return {g: order[g][:n].sort().values.cpu() for g, n in chosen.items()}


def cut_level(
    scores: Scores,
    *,
    budget: float,
    cost: Callable[[Widths], float],
    floors: int | Mapping[str, int] = 8,
    multiple: int = 1,
    bind: Bind = unbound,
) -> tuple[float, dict[str, int]]:
    """The lowest score level at which cutting all channels up to it fits the budget.

    Returns: the level (0 where nothing has to go) and the widths that remain, each at least its
        floor whatever the level. Where widths are multiples or bound, these are whole steps, and
        what one level leaves of the budget is spent on the best channels below it (`filled`).
    Raises `InfeasibleTarget` when even the smallest network costs more than the budget.
    """
    minimum = {g: floors if isinstance(floors, int) else floors[g] for g in scores}
    on_cpu = {g: s.detach().float().cpu() for g, s in scores.items()}
    ladder = torch.cat([torch.zeros(1), *on_cpu.values()]).unique()

    def widths_at(level: float) -> dict[str, int]:
        return bind(
            {
                g: rounded_width(int((s > level).sum()), minimum[g], len(s), multiple)
                for g, s in on_cpu.items()
            }
        )

    smallest = widths_at(float("inf"))
    if cost(smallest) > budget:
        floor, may_vanish = max(minimum.values(), default=0), any(not n for n in minimum.values())
        raise InfeasibleTarget(
            f"The target allows {budget:.4g}, but the smallest network (at least {floor} channels "
            f"a group{f' in steps of {multiple}' if multiple > 1 else ''}"
            f"{', or none where it may vanish' if may_vanish else ''}) costs {cost(smallest):.4g}. "
            f"Raise the target{' or lower min_channels' if floor > 1 else ''}."
        )
    low, high = 0, len(ladder) - 1  # the top rung leaves the smallest network, which fits
    while low < high:
        middle = (low + high) // 2
        if cost(widths_at(float(ladder[middle]))) <= budget:
            high = middle
        else:
            low = middle + 1
    level = float(ladder[low])
    if multiple == 1 and bind is unbound:
        return level, widths_at(level)
    falling = {g: s.sort(descending=True).values.tolist() for g, s in on_cpu.items()}
    return level, filled(
        widths_at(level),
        {g: len(s) for g, s in falling.items()},
        lambda group, width: falling[group][width] or -math.inf,  # a silent channel is of no use
        fits=lambda widths: cost(widths) <= budget,
        multiple=multiple,
        bind=bind,
    )


def filled(
    widths: Widths,
    have: Widths,
    worth: Callable[[str, int], float],
    *,
    fits: Callable[[Widths], bool],
    multiple: int = 1,
    bind: Bind = unbound,
) -> dict[str, int]:
    """Widths raised step by step as long as they fit, at each step those of the group whose next
    channels are worth most, so that rounding to whole steps leaves little of a budget unspent.

    Args:
        have: the channels of each group.
        worth: of the next channels of a group, by its name and its width now; -inf: no use.
        fits: whether widths are within the budget; where some do not, wider ones do not either.
        multiple, bind: as of `keep_top`.
    """
    found = dict(widths)

    def grows(group: str) -> bool:
        return found[group] < have[group] and worth(group, found[group]) > -math.inf

    open_groups = [g for g in found if grows(g)]
    while open_groups:
        group = max(open_groups, key=lambda g: worth(g, found[g]))
        step = (found[group] // multiple + 1) * multiple
        wider = bind({**found, group: min(step, have[group])})
        if fits(wider):
            found = wider
        else:
            open_groups.remove(group)
        open_groups = [g for g in open_groups if grows(g)]
    return found


def rounded_width(n: int, smallest: int, largest: int, multiple: int) -> int:
    """``n`` channels of a group of ``largest``, at least ``smallest``, up to a whole multiple."""
    return min(largest, -(-max(n, smallest) // multiple) * multiple)


def beyond(scores: Scores, widths: Widths) -> dict[str, Tensor]:
    """Channels that are not among the best ``widths`` of their group, (width,) bool each."""
    found = {}
    for group, score in scores.items():
        gone = torch.ones(len(score), dtype=torch.bool, device=score.device)
        gone[torch.argsort(score, descending=True, stable=True)[: widths[group]]] = False
        found[group] = gone
    return found


def widths_at_ratio(
    widths: Widths,
    ratio: float,
    *,
    floors: int | Mapping[str, int] = 8,
    multiple: int = 1,
    bind: Bind = unbound,
) -> dict[str, int]:
    """The same ratio of every group's channels, rounded to a multiple of ``multiple``, at least its
    floor, or all where a group has fewer; then raised to the widths that ``bind`` allows."""
    minimum = {g: floors if isinstance(floors, int) else floors[g] for g in widths}
    return bind(
        {
            g: min(w, max(minimum[g], max(1, round(ratio * w / multiple)) * multiple))
            for g, w in widths.items()
        }
    )


def largest_ratio(fits: Callable[[float], bool]) -> float:
    """The largest ratio, 0 to 1, that fits, by bisection; ``fits`` holds below it only."""
    if fits(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
