"""The stages before the retraining: each channel's importance, and the cut."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from ganpress.channels.recalibrate import batch_norms
from ganpress.channels.take import counts
from ganpress.errors import InfeasibleTarget
from ganpress.measures.cost import CostOf, cost_ratio
from ganpress.measures.target import LATENCY
from ganpress.measures.timing.latency_target import latency_share
from ganpress.methods.checks import binding, rounded_up
from ganpress.methods.content_aware.cut import Limits, check_cut, check_ratio_of_all, cut, pruned
from ganpress.methods.content_aware.rounds import ONCE, Round, amount
from ganpress.methods.content_aware.scores.drawn import drawn_from
from ganpress.methods.content_aware.scores.table import check_score, score_channels
from ganpress.methods.content_aware.settings import ContentAwareConfig
from ganpress.models.checkpoint import Model
from ganpress.quantisation.attach import quantiser_of_settings
from ganpress.quantisation.quantise import quantise
from ganpress.run import distributed
from ganpress.run.files import write_file
from ganpress.run.proposals import ways
from ganpress.training.kit import place
from ganpress.training.setup import Setup, calibration_batches
from ganpress.training.student_form import in_form, options_in_form
from ganpress.types import Scores

SCORES_FILE = "scores.safetensors"


def scored(
    setup: Setup, c: ContentAwareConfig, student: Model, part: Round = ONCE
) -> dict[str, Tensor]:
    """The stage ``score``: each group's importance, (width,) float32 on the CPU, larger is more
    important; read back where the stage has finished. Every process counts them, and all take
    process 0's.

    Args: student: what is to be cut: the teacher, or what a round before has left of it.
    """
    run, s, name = setup.run, c.score, part.named("score")
    path = run.root / name / SCORES_FILE
    if not run.done(name):
        stage = run.stage(name)
        drawn = drawn_from(
            setup.source, samples=s.samples, batch=s.batch, size=c.data.size,
            load_size=c.data.load_size, flip=c.data.flip, interest=setup.interest,
            seed=c.seed if s.seed is None else s.seed,
        )  # fmt: skip
        found = score_channels(student, drawn, s)
        plain = {group: score.float().contiguous() for group, score in found.items()}
        distributed.first(lambda: write_file(path, to_bytes(plain)))
        stage.finish(samples=s.samples)
        distributed.wait()
    return load_file(path)


def cut_student(
    setup: Setup, c: ContentAwareConfig, scores: Scores, student: Model, part: Round = ONCE
) -> Model:
    """The stage ``cut``: the network that was scored without its least important channels, on the
    device, its BatchNorm calibrated."""
    run, teacher, name = setup.run, setup.teacher, part.named("cut")
    cost = cost_of(teacher, c)
    how, target = amount(c, part, min(1.0, cost(teacher.widths)))
    whole = None if part.count == 1 else teacher.widths
    keep = cut(scores, how, target, cost=cost, limits=limits(teacher, c), whole=whole)
    bare = in_form(Model(student.net, student.family, student.options), c)
    seen = calibration_batches(setup, c) if batch_norms(bare.net) else ()
    narrower = pruned(bare, keep, calibration=seen)
    place(narrower.net, c, c.device).requires_grad_(True)
    if not run.done(name):
        run.stage(name).finish(widths=counts(keep), cost=cost(narrower.widths))
        distributed.wait()
    return narrower


def limits(teacher: Model, c: ContentAwareConfig) -> Limits:
    """What holds for the widths of a student of these settings.

    Raises: ConfigError where the class of ``target.layout`` cannot be a student of this teacher.
    """
    name, widths = teacher.family.name, teacher.widths
    bind = binding(name, options_in_form(name, teacher.options, c), widths, c, widths)
    return Limits(min_channels=c.min_channels, multiple=c.channel_multiple, bind=bind)


def cost_of(teacher: Model, c: ContentAwareConfig) -> CostOf:
    """Widths -> the targeted cost as a fraction of the teacher's (MACs where no target is set)."""
    name = c.target.given[0] if c.target.given else "macs"
    begin = in_form(teacher, c)
    if name == LATENCY:
        return latency_share(begin, c.target, c.quantise)
    net = begin.net
    if c.quantise.bits < 32 and name == "bytes":
        net = quantise(copy.deepcopy(net), quantiser_of_settings(c.quantise))
    return cost_ratio(name, teacher.net, net, teacher.family.image.size)


def check_pruning(
    teacher: Model, c: ContentAwareConfig, check: Callable[[ContentAwareConfig], Any]
) -> None:
    """Refuse, before anything is scored, a score that this generator cannot have, a layout that it
    does not fit, a target that cannot be met, and ratios that cut nothing or everything whatever
    the scores. Args: check: tries what is proposed."""
    check_score(teacher, c.score)
    cost, widths, within = cost_of(teacher, c), teacher.widths, limits(teacher, c)
    check_cut(c.cut, c.target)
    if c.cut.ratio is not None and c.cut.scope == "network":
        check_ratio_of_all(widths, c.cut.ratio, within)
        return
    any_scores = {g: torch.arange(1.0, w + 1) for g, w in widths.items()}
    try:
        cut(any_scores, c.cut, c.target, cost=cost, limits=within)
    except InfeasibleTarget as error:
        if c.target.chosen is None:
            raise
        reached = rounded_up(c.target.as_given(cost(within.smallest(widths))))
        how = ways(c, [{f"target.{c.target.chosen[0]}": reached}], check=check)
        raise InfeasibleTarget(f"{error} What can be reached{how}.") from error
