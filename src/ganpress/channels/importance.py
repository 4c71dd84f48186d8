"""What makes the importance of channels comparable between groups: ranks, and what they cost."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ganpress.types import Scores, Widths


def ranks(magnitudes: Scores) -> Scores:
    """Each channel's rank in its group as a fraction of the width: (0, 1], 0 for a dead one.

    Groups whose scales lie close together (a trunk's mean over its producers, gates) would
    otherwise be kept or pruned as a whole.
    """
    return {
        g: torch.where(s > 0, (s.argsort(stable=True).argsort() + 1) / len(s), 0.0)
        for g, s in magnitudes.items()
    }


def importance_per_cost(
    importance: Scores, cost: Callable[[Widths], float], exponent: float
) -> Scores:
    """Each group's importance divided by what one of its channels costs now.

    The price of a group is the cost saved by its next channel, in units of the mean over groups,
    to the ``exponent``: 0 is the paper's (all channels alike), 1 the full price (as MorphNet's
    resource-weighted L1, Gordon et al., CVPR 2018).
    """
    if exponent == 0:
        return importance
    alive = {g: int((s > 0).sum()) for g, s in importance.items()}
    now = cost(alive)
    saved = {g: now - cost({**alive, g: max(0, n - 1)}) for g, n in alive.items()}
    mean = sum(saved.values()) / len(saved) or 1.0  # nothing is saved anywhere: all alike
    prices = {g: max(v / mean, 1e-3) ** exponent for g, v in saved.items()}
    return {g: s / prices[g] for g, s in importance.items()}
