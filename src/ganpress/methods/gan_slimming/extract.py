"""The student's start, with a scale for every group, and its extraction without silent channels."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ganpress.channels.ranking import Bind, keep_top, unbound
from ganpress.channels.recalibrate import recalibrate
from ganpress.channels.silence import extract, scale_magnitudes, survivors, warn_of_floor
from ganpress.channels.take import counts
from ganpress.methods.gan_slimming.goal import compared
from ganpress.methods.gan_slimming.joint import Pruning
from ganpress.methods.gan_slimming.settings import SlimConfig
from ganpress.models.checkpoint import Model
from ganpress.training.student_form import with_scales
from ganpress.types import Inputs, Widths


def scaled_copy(teacher: Model) -> Model:
    """The teacher's function with a scale for every group that can have one: InstanceNorm without
    affine gets gamma 1 and beta 0, which is exact; gates come with `add_gates`."""
    options = with_scales(teacher.options)
    net = teacher.family.build(teacher.widths, **options)
    with torch.no_grad():
        own = {**net.state_dict(), **{n: t.cpu() for n, t in teacher.net.state_dict().items()}}
    net.load_state_dict(own)
    return Model(net, teacher.family, options, copy.deepcopy(teacher.provenance))


def first_scales(net: nn.Module) -> dict[str, float]:
    """The mean magnitude of each group's scales: the unit of its thresholds."""
    return {g: float(s.mean().clamp_min(1e-8)) for g, s in scale_magnitudes(net).items()}


def floors_of(model: Model, config: SlimConfig) -> dict[str, int]:
    """Channels that each group keeps at least: ``min_channels``, or 0 of a residual block's inner
    group where ``sparsify.empty_blocks`` lets it vanish.

    Such a block may also be left with fewer than ``min_channels``: the shortcut goes around it, so
    that it holds nothing back. The uniformly narrow student of procedure gd empties none.
    """
    may_vanish: tuple[str, ...] = ()
    if config.sparsify.empty_blocks and config.procedure != "gd":
        may_vanish = model.family.may_vanish(model.options)
    return {g: 0 if g in may_vanish else config.min_channels for g in model.widths}


def cut(
    student: Model,
    inputs: Inputs,
    config: SlimConfig,
    pruning: Pruning,
    *,
    to_budget: bool = False,
    calibration: Iterable[Inputs] = (),
) -> Model:
    """Extraction: what the silent channels emit is absorbed, then they are cut.

    A group of which all channels are silent keeps its floor of them, with a warning. It vanishes
    where that is 0, and where it was silent in the teacher and the family can do without it, which
    changes nothing.

    Args:
        inputs: what the generator reads, from which constants are taken.
        to_budget: the last round: the goal is met for certain; where the loop ended short of it,
            for want of steps or by rounding, the weakest channels go, too.
        calibration: batches from which BatchNorm's statistics are read for the new widths; none:
            they stay those of the wider network.
    """
    family, goal, multiple = student.family, pruning.goal, config.channel_multiple
    bind = pruning.bind or unbound
    found = {g: s for g, s in scale_magnitudes(student.net).items() if g not in pruning.frozen}
    may_vanish = () if pruning.bind else family.may_vanish(student.options)
    keep = survivors(student.net, floors=pruning.floors, may_vanish=may_vanish)
    warn_of_floor(
        [g for g, s in found.items() if not s.any() and len(keep[g])], config.min_channels
    )
    keep = rounded({g: keep[g] for g in found}, found, multiple, bind)
    if goal is not None and to_budget:
        whole, cost = student.widths, goal.cost

        def cost_with_the_rest(chosen: Widths) -> float:
            return cost({**whole, **chosen})

        if cost_with_the_rest(counts(keep)) > goal.end:
            relative = {g: s / pruning.references.get(g, 1.0) for g, s in found.items()}
            scores = compared(relative, cost_with_the_rest, config.sparsify)
            floors = {g: pruning.floors[g] for g in found}
            keep = keep_top(
                scores, budget=goal.end, cost=cost_with_the_rest, floors=floors,
                multiple=multiple, bind=bind,
            )  # fmt: skip
    small = recalibrate(extract(student.build, student.net, keep, *inputs), calibration)
    return Model(small, family, student.options, student.provenance)


def rounded(
    keep: dict[str, Tensor], scores: dict[str, Tensor], multiple: int, bind: Bind = unbound
) -> dict[str, Tensor]:
    """Fill each group up to a multiple of ``multiple``, and to the widths that ``bind`` allows,
    with its next best channels; where those are fewer, its best stay."""
    wanted = bind(
        {g: min(len(s), -(-len(keep[g]) // multiple) * multiple) for g, s in scores.items()}
    )
    out = dict(keep)
    for group, score in scores.items():
        if wanted[group] != len(keep[group]):
            favoured = score.clone()
            favoured[keep[group]] += 1e6
            out[group] = favoured.topk(wanted[group]).indices.sort().values.cpu()
    return out
