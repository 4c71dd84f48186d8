"""The proximal step on the scales (eq. 12-14), and which channels a target adds to it.

It runs on the CPU whatever the device: the scales of all groups are fetched in one transfer and
stored in one, and everything in between is a few thousand numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from ganpress.losses.terms import group_soft_threshold
from ganpress.types import Scores


class HostScales:
    """The scales of all groups on the CPU, by group: one (width,) tensor for each producer."""

    def __init__(self, groups: Mapping[str, Sequence[nn.Parameter]]) -> None:
        self._parameters = [p for producers in groups.values() for p in producers]
        self._counts = {group: len(producers) for group, producers in groups.items()}
        self._flat = torch.empty(0)

    @torch.no_grad()
    def fetch(self) -> dict[str, list[Tensor]]:
        """What the parameters are now; the tensors may be changed in place, then `store`d."""
        self._flat = torch.cat([p.flatten() for p in self._parameters]).cpu()
        rows = iter(self._flat.split([p.numel() for p in self._parameters]))
        return {group: [next(rows) for _ in range(n)] for group, n in self._counts.items()}

    @torch.no_grad()
    def store(self) -> None:
        """Put the fetched tensors, as they are now, back into the parameters."""
        flat = self._flat.to(self._parameters[0].device, non_blocking=True)
        rows = flat.split([p.numel() for p in self._parameters])
        for parameter, row in zip(self._parameters, rows, strict=True):
            parameter.copy_(row.view_as(parameter))


def magnitudes(groups: Mapping[str, Sequence[Tensor]], references: Mapping[str, float]) -> Scores:
    """Root mean square of each channel's scales over its producers, in units of its group's
    reference: (width,) each."""
    return {
        group: torch.stack(list(producers)).square().mean(0).sqrt() / references[group]
        for group, producers in groups.items()
    }


def empty_groups(
    groups: Mapping[str, Sequence[Tensor]], floors: Mapping[str, int]
) -> frozenset[str]:
    """Groups of floor 0 of which every scale is zero."""
    allowed = (g for g in groups if floors[g] == 0)
    return frozenset(g for g in allowed if not any(bool(s.any()) for s in groups[g]))


@torch.no_grad()
def hold_empty(groups: Mapping[str, Sequence[Tensor]], emptied: Collection[str]) -> None:
    """Zero the scales of groups that are already empty, in place.

    A residual block that has been emptied stays so until it is cut. What is left of it is the last
    InstanceNorm of a constant, whose gradient is 1/sqrt(eps) times too large (316 for 1e-5): a step
    of SGD along it would bring channels back by chance, however small their importance.
    """
    for group in emptied:
        for scale in groups[group]:
            scale.zero_()


@torch.no_grad()
def prune_step(
    groups: Mapping[str, Sequence[Tensor]],
    relative: Scores,
    references: Mapping[str, float],
    amount: float,
    *,
    floors: Mapping[str, int],
    to_prune: Mapping[str, Tensor] | None = None,
) -> dict[str, int]:
    """Soft-threshold every group's scales by ``amount`` (eq. 14), in place.

    Args:
        relative: each channel's magnitude in units of its group's reference, (width,).
        amount: rho times the learning rate in use, in that unit.
        floors: the best so many channels of each group are never zeroed.
        to_prune: channels to zero outright, (width,) bool, to meet a cost.
    Returns: the channels alive in each group.
    """
    alive = {}
    for group, producers in groups.items():
        before, size = torch.stack(list(producers)), relative[group]
        after = before
        if amount > 0 or to_prune is not None:
            gone = (
                size <= amount
            )  # exactly the channels within the threshold, whatever the rounding
            gone = gone if to_prune is None else gone | to_prune[group]
            after = torch.stack(group_soft_threshold(producers, amount * references[group]))
            after[:, gone] = 0
            best = size.topk(min(floors[group], len(size))).indices
            guarded = best[(after[:, best] == 0).all(0)]
            after[:, guarded] = before[:, guarded]
            for scale, new in zip(producers, after, strict=True):
                scale.copy_(new)
        alive[group] = int((after != 0).any(0).sum())
    return alive


def kept_by_floor(
    relative: Scores,
    amount: float,
    to_prune: Mapping[str, Tensor] | None = None,
    floors: Mapping[str, int] | None = None,
) -> list[str]:
    """Groups that would have lost every channel in a `prune_step` but for their floor; none where
    that is all groups: then the target asks for it.

    Args: floors: of each group; one of 0 keeps nothing. None: every group has one.
    """
    gone = {g: s <= amount for g, s in relative.items()}
    whole = [g for g, cut in gone.items() if bool((cut | to_prune[g] if to_prune else cut).all())]
    if len(whole) == len(gone):
        return []
    return [g for g in whole if relative[g].any() and (floors is None or floors[g] > 0)]


def collapsed(alive: Mapping[str, int], scores: Scores, floors: Mapping[str, int]) -> bool:
    """Whether no group has more channels alive than its floor, and some had at first."""
    can = any(len(s) > floors[g] for g, s in scores.items())
    return can and all(n <= floors[g] for g, n in alive.items())
