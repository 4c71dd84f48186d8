"""What a target allows: costs as fractions of the teacher's, and the widths of students that start
narrow."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch

from ganpress.channels.take import cut_level
from ganpress.errors import ConfigError, InfeasibleTarget
from ganpress.measures.cost import CostTable
from ganpress.methods.gan_slimming.slimming import prunable, quantiser_asked, scaled_copy
from ganpress.models.checkpoint import Model
from ganpress.quantisation.quantise import quantise
from ganpress.run.slim import SlimConfig
from ganpress.types import Widths

WIDE = 0.5  # share of the channels that d+cp's first student has, at least


def cost_ratio(teacher: Model, config: SlimConfig) -> Callable[[Widths], float]:
    """Widths -> the targeted cost as a fraction of the teacher's (MACs where no target is set)."""
    name = config.target.chosen[0] if config.target.chosen else "macs"
    size = teacher.family.image.size
    whole = getattr(CostTable(teacher.net, size)(), name)
    net = teacher.net if config.arm == "gd" else scaled_copy(teacher).net  # the student's wiring
    if config.quantise.bits < 32 and name == "bytes":
        net = quantise(copy.deepcopy(net), quantiser_asked(config))
    table = CostTable(net, size)

    def ratio(widths: Widths) -> float:
        return float(getattr(table(widths), name)) / float(whole)

    return ratio


def affordable(teacher: Model, config: SlimConfig) -> None:
    """Refuse, before any training, a target below the smallest network, a gd that is told no
    width, and a generator of which nothing can be pruned."""
    groups = prunable(teacher, config)
    if config.target.chosen is None:
        if config.arm == "gd" and config.share is None:
            raise ConfigError(
                "arm 'gd' needs a target, such as --set target.macs=0.05, or a share of the "
                "channels, such as --set share=0.5."
            )
        return
    name, wanted = config.target.chosen
    scores = {g: torch.zeros(w) for g, w in teacher.widths.items() if g in groups}
    cost = cost_ratio(teacher, config)
    try:
        cut_level(scores, budget=wanted, cost=cost, least=config.least, multiple=config.multiple)
    except InfeasibleTarget as error:
        smallest = cost({g: min(config.least, len(s)) for g, s in scores.items()})
        kept = config.trunk == "keep" and config.arm != "gd" and bool(teacher.family.tied)
        bare = [g for g in teacher.widths if g not in groups and g not in teacher.family.tied]
        raise InfeasibleTarget(
            f"target.{name}={wanted:g} cannot be reached: with least={config.least}"
            f"{' and the trunk kept' if kept else ''} the smallest network still has "
            f"{smallest:.4g} of the teacher's {name}. Give at least that, or lower 'least'"
            f"{' or set trunk=tied' if kept else ''}."
            + (f" Groups without scales stay whole: {', '.join(bare)}." if bare else "")
        ) from error


def uniform_widths(teacher: Model, config: SlimConfig) -> dict[str, int]:
    """The widest uniform narrowing of the teacher that fits the target, or ``share`` of its
    channels where that is given (the GD arm's student)."""
    chosen = config.target.chosen
    if config.share is not None or chosen is None:
        return share_of(teacher, 1.0 if config.share is None else config.share, config)
    return share_of(teacher, _share_within(teacher, config, chosen[1]), config)


def wide_widths(teacher: Model, config: SlimConfig) -> dict[str, int]:
    """d+cp's first student: ``share`` of the teacher's channels; where that is not given half of
    them, or as many as cost the root of the target's share where that is more."""
    if config.share is not None:
        return share_of(teacher, config.share, config)
    chosen = config.target.chosen
    between = _share_within(teacher, config, math.sqrt(chosen[1])) if chosen else WIDE
    return share_of(teacher, max(WIDE, between), config)


def _share_within(teacher: Model, config: SlimConfig, budget: float) -> float:
    """The largest share of every group's channels that costs no more than this, by bisection."""
    cost = cost_ratio(teacher, config)

    def fits(share: float) -> bool:
        return cost(share_of(teacher, share, config)) <= budget

    if fits(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def share_of(teacher: Model, share: float, config: SlimConfig) -> dict[str, int]:
    """The same share of every group's channels, at least ``least`` of them and a multiple of
    ``multiple``, or all where it has fewer."""
    m = config.multiple
    return {
        g: min(w, max(config.least, max(1, round(share * w / m)) * m))
        for g, w in teacher.widths.items()
    }
