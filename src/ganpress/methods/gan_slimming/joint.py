"""GAN Slimming's joint loop: distil, quantise and prune in one minimax problem (eq. 4-15)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from ganpress.channels.ranking import Bind, beyond, cut_level, unbound
from ganpress.channels.silence import warn_of_floor
from ganpress.channels.take import scales
from ganpress.methods.gan_slimming.goal import Goal, compared
from ganpress.methods.gan_slimming.proximal import (
    HostScales,
    collapsed,
    empty_groups,
    hold_empty,
    kept_by_floor,
    magnitudes,
    prune_step,
)
from ganpress.methods.gan_slimming.settings import SlimConfig
from ganpress.models.inputs import draw_sample, inputs_of
from ganpress.nn.axes import widths
from ganpress.run.run import Stage
from ganpress.training.discriminator import DiscriminatorWithLoss
from ganpress.training.distil import Batches, Budget, Distillation, Networks
from ganpress.training.optimisers import adam
from ganpress.training.pool import Pool
from ganpress.types import Scores, Widths

EXPLODED = 100.0
"""Times its group's first mean magnitude (1 where thresholds are not relative): SGD on the scales
has diverged, which the losses show only later, where a norm downstream hides it."""


LOWEST_RATE = 0.01
"""Of a learning rate at the start: with it falls the threshold of the scales."""


@dataclass(frozen=True)
class Pruning:
    """How a round of the joint loop prunes.

    Attributes:
        floors: channels that each group keeps at least; 0 of one that may vanish.
        goal: the cost to reach; None: pruning by rho alone.
        references: the unit of each group's thresholds; 1 for a group that is not named.
        frozen: groups that are never cut (`trunk = "keep"`).
        overall: progress of this round -> of the whole stage, both 0 to 1, for the schedules.
        bind: the widths that ``target.layout`` allows; None: all.
        ends_at_floors: the floors are the widths to end with.
    """

    floors: Mapping[str, int]
    goal: Goal | None = None
    references: Mapping[str, float] = field(default_factory=dict)
    frozen: Collection[str] = ()
    overall: Callable[[float], float] = lambda progress: progress
    bind: Bind | None = None
    ends_at_floors: bool = False


def joint(
    stage: Stage,
    networks: Networks,
    batches: Batches,
    distillation: Distillation | None,
    settings: SlimConfig,
    pruning: Pruning,
    *,
    budget: Budget,
) -> None:
    """Train the student in place until its silent channels can be cut.

    The L1 weight rho shrinks all scales, as in the paper. With a goal, the least important channels
    are also zeroed outright in each step, just so many that the goal's cost ratio at that point is
    met (ADR 0010); pruning by the goal stops once its end is met.

    Departures from the paper, each a setting: a channel among the last of its group's floor is
    never zeroed, and a group of floor 0 stays empty once it is (`hold_empty`); thresholds are
    relative to each group's first scales (``references``), since imported teachers do not start at
    gamma = 1. And without one: no rate falls below `LOWEST_RATE` of its first value (theirs to 0).

    Args:
        networks: the student with scales on every group that is to be pruned (`add_gates`).
        distillation: None leaves the term out (the ablation's CP).
        budget: its rate factor is also that of rho.
    Warns of groups that keep channels only because of their floor.
    Raises: Diverged where a value is not finite, a scale explodes, or all groups shrink to their
        floors at once.
    """
    c, s, every = settings, settings.sparsify, stage.run.log_every
    student, discriminator = networks.student, networks.discriminator
    groups = {g: ss for g, ss in scales(student).items() if g not in pruning.frozen}
    floors = {g: pruning.floors[g] for g in groups}
    references = {g: pruning.references.get(g, 1.0) for g in groups}
    goal, host = pruning.goal, HostScales(groups)
    cost_of = _with_the_rest(goal.cost, student, groups) if goal else None
    opt_w, opt_s, opt_d = optimisers = _optimisers(student, discriminator, groups, c)
    first_lrs = [budget.rate_factor * o.param_groups[0]["lr"] for o in optimisers]
    pool = Pool(c.discriminator.pool)
    student.train()
    loop = stage.steps(
        budget.steps, minutes=budget.minutes,
        student=student, discriminator=discriminator, pool=pool,
        opt_w=opt_w, opt_s=opt_s, opt_d=opt_d,
    )  # fmt: skip
    stream, emptied = batches(stage.first), empty_groups(host.fetch(), floors)
    last: tuple[Scores, float, Mapping[str, Tensor] | None] | None = None
    for step in loop:
        decays = rate_factors(s.schedule, pruning.overall(stage.progress))
        for optimiser, lr, factor in zip(optimisers, first_lrs, decays, strict=True):
            optimiser.param_groups[0]["lr"] = lr * max(factor, LOWEST_RATE)
        batch = next(stream)
        inputs = inputs_of(student, batch)
        target = networks.teacher(inputs, batch.ids).pictures
        condition = discriminator.condition(inputs)

        # G step: L_GAN + beta L_dist (eq. 4, 6, 11); weights by Adam, scales by SGD
        discriminator.requires_grad_(False)
        with torch.autocast(c.device, torch.bfloat16, enabled=c.precision == "bfloat16"):
            fake = student(*inputs).float()
        zero = fake.new_zeros(())
        d = distillation(inputs, fake, target, batch.masks) if distillation else zero
        beta = distillation.weight if distillation else 0.0
        weight = c.discriminator.weight
        gan = discriminator.g_loss(fake, target, condition) if weight > 0 else zero
        opt_w.zero_grad(set_to_none=True)
        opt_s.zero_grad(set_to_none=True)
        (beta * d + weight * gan).backward()
        opt_w.step()
        opt_s.step()

        # proximal step on the scales (eq. 12-14), with the learning rate in use
        amount = budget.rate_factor * s.rho * opt_s.param_groups[0]["lr"]
        now = host.fetch()
        hold_empty(now, emptied)
        relative = magnitudes(now, references)
        if exploded := [g for g, m in relative.items() if float(m.max()) > EXPLODED]:
            what = f"scales of '{exploded[0]}' have grown {EXPLODED:.0f}-fold"
            stage.give_up(f"{what} (lower sparsify.scale_lr)", step)
        level, to_prune = 0.0, None
        if goal is not None and cost_of is not None:
            importance = compared(relative, cost_of, s)
            allowed = goal.at(stage.progress)
            level, allowed_widths = cut_level(
                importance, budget=allowed, cost=cost_of, floors=floors,
                multiple=c.channel_multiple, bind=pruning.bind or unbound,
            )  # fmt: skip
            if pruning.bind is not None or c.channel_multiple > 1:
                to_prune = beyond(importance, allowed_widths)
            elif level > 0:
                to_prune = {g: i <= level for g, i in importance.items()}
        alive = prune_step(now, relative, references, amount, floors=floors, to_prune=to_prune)
        emptied = empty_groups(now, floors)
        host.store()
        last = relative, amount, to_prune
        near = bool(goal and cost_of and cost_of(alive) > 0.5 * goal.end)
        if collapsed(alive, relative, floors) and not (near or pruning.ends_at_floors):
            stage.give_up(f"{_shrunk(floors, c.min_channels)} (lower sparsify.rho)", step)

        # D step (eq. 15); real are the teacher's pictures (the authors' code) or images (paper)
        d_loss = zero
        if weight > 0 and not discriminator.fixed:
            discriminator.requires_grad_(True)
            real, of_real = discriminator.real_side(batch, inputs, target, c.discriminator.real)
            made = fake.detach() if discriminator.is_conditional else pool(fake)
            d_loss = discriminator.d_loss(real, made, of_real=of_real, of_fake=condition)
            if discriminator.is_penalised(step):
                d_loss = d_loss + discriminator.penalty(real, of_real)
            opt_d.zero_grad(set_to_none=True)
            d_loss.backward()
            opt_d.step()

        stage.log(step, **{"loss/distance": d, "loss/gan": gan, "loss/d": d_loss})
        if step % every == 0:
            ratio = {"cost/target": cost_of(alive)} if cost_of else {}
            means = {f"scale/{g}": m.mean() for g, m in relative.items()}
            counts = {f"width/{g}": n for g, n in alive.items()}
            stage.log(step, level=level, lr=opt_w.param_groups[0]["lr"], **ratio)
            stage.log(step, **means, **counts)
        if step % 200 == 0:
            draw_sample(stage, step, student, batch, target, fake)
    if last is not None:
        if step % 200:  # the last step has no sample yet
            draw_sample(stage, step, student, batch, target, fake)
        warn_of_floor(kept_by_floor(*last, floors), c.min_channels)


def _shrunk(floors: Mapping[str, int], min_channels: int) -> str:
    """The error message where every group has shrunk to its floor."""
    emptied = ", or to 0 in residual blocks" if 0 in floors.values() else ""
    return f"all groups have shrunk to min_channels={min_channels}{emptied}"


def rate_factors(schedule: str, progress: float) -> tuple[float, float, float]:
    """Factors of the learning rates of weights (alpha), scales (eta) and discriminator (alpha) at
    this point of the loop, 0 to 1."""
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "linear":  # the paper: alpha linearly from T/2, eta along a cosine
        from_half = min(1.0, 2 * (1 - progress))
        return from_half, cosine, from_half
    return (1.0, 1.0, 1.0) if schedule == "constant" else (cosine, cosine, cosine)


def _optimisers(
    student: nn.Module,
    discriminator: DiscriminatorWithLoss,
    groups: Mapping[str, Sequence[nn.Parameter]],
    c: SlimConfig,
) -> tuple[Adam, SGD, Adam]:
    """Adam on the weights, SGD on the scales, Adam on the discriminator."""
    prunable = [s for ss in groups.values() for s in ss]
    ids = {id(s) for s in prunable}
    weights = [p for p in student.parameters() if id(p) not in ids]
    decay, d_lr = c.sparsify.weight_decay, c.discriminator.lr
    return (
        adam(weights, c.sparsify.lr, betas=(0.5, 0.999), weight_decay=decay),
        SGD(prunable, c.sparsify.scale_lr, momentum=0.5),
        adam(discriminator.parameters(), d_lr, betas=(0.5, 0.999), weight_decay=1e-3),
    )


def _with_the_rest(
    cost: Callable[[Widths], float], student: nn.Module, groups: Collection[str]
) -> Callable[[Widths], float]:
    """The cost where groups that have no scales (frozen, or empty by now) stay as they are."""
    rest = {g: w for g, w in widths(student).items() if g not in groups}
    return lambda chosen: cost({**rest, **chosen})
