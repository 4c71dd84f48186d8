"""GAN Slimming's joint loop: distil, quantise and prune in one minimax game (eq. 4-15)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from ganpress.channels.silence import sizes, warn_of_minimum
from ganpress.channels.take import cut_level, scales
from ganpress.data import Batch
from ganpress.losses.distance import Distance
from ganpress.losses.terms import group_soft_threshold
from ganpress.models.inputs import draw, inputs_of
from ganpress.nn.axes import widths
from ganpress.run.run import Stage
from ganpress.run.slim import SlimConfig
from ganpress.training.discriminator import Critic, Pool, real_pictures
from ganpress.training.teacher import Teacher
from ganpress.types import Scores, Widths

SWOLLEN = 100.0
"""Times its group's first mean size (1 where thresholds are not relative): SGD on the scales has
diverged, which the losses tell only later, where a norm downstream hides it."""


@dataclass(frozen=True)
class Goal:
    """What pruning is after: cost ratios to pass through, and how they are counted.

    Attributes:
        cost: widths -> cost as a fraction of the teacher's.
        start, end: the ratio at the beginning of the loop and at the end of the ramp.
        ramp: share of the loop in which the ratio falls from start to end, geometrically.
    """

    cost: Callable[[Widths], float]
    start: float
    end: float
    ramp: float

    def at(self, progress: float) -> float:
        """The cost ratio allowed at this point of the loop."""
        share = min(1.0, progress / self.ramp)
        return self.start * math.pow(self.end / self.start, share)


def sparsify(
    stage: Stage,
    student: nn.Module,
    teacher: Teacher,
    critic: Critic,
    distance: Distance,
    batches: Callable[[int], Iterator[Batch]],
    config: SlimConfig,
    *,
    steps: int,
    minutes: float | None = None,
    goal: Goal | None = None,
    references: Mapping[str, float] | None = None,
    frozen: tuple[str, ...] = (),
    overall: Callable[[float], float] = lambda progress: progress,
    gentle: float = 1.0,
) -> None:
    """Train ``student`` in place until its silent channels can be cut.

    The L1 weight rho shrinks all scales, as in the paper. With a goal, the least important channels
    are also zeroed outright in each step, just so many that the goal's cost ratio at that point is
    met (ADR 0010); pruning by the goal stops once its end is met.

    Departures from the paper, each a setting: a channel among the last ``least`` of its group is
    never zeroed; thresholds are relative to each group's first scales (``references``), since
    imported teachers do not start at gamma = 1.

    Args:
        student: with scales on every group that is to be pruned (`add_gates`).
        batches: first step -> stream of batches from there on.
        frozen: groups that are never cut (`trunk = "keep"`).
        overall: progress of this loop -> progress of the whole stage, for the schedules.
        gentle: factor of the learning rates and of rho.
    Warns of groups that keep channels only because none falls below ``least``.
    Raises: Diverged where a value is not finite, a scale explodes, or all groups shrink to the
        least at once.
    """
    c, every = config, stage.run.log_every
    groups = {g: ss for g, ss in scales(student).items() if g not in frozen}
    reference = {g: (references or {}).get(g, 1.0) for g in groups}
    affords = _with_the_rest(goal.cost, student, groups) if goal else None
    opt_w, opt_s, opt_d = optimisers = _optimisers(student, critic, groups, c)
    first_lrs = [gentle * o.param_groups[0]["lr"] for o in optimisers]
    pool = Pool(c.critic.pool)
    student.train()
    loop = stage.steps(
        steps, minutes=minutes, student=student, critic=critic, pool=pool,
        opt_w=opt_w, opt_s=opt_s, opt_d=opt_d,
    )  # fmt: skip
    stream = batches(stage.first)
    last: tuple[Scores, float, Mapping[str, Tensor] | None] | None = None
    for step in loop:
        decays = rate_factors(c.sparsify.schedule, overall(stage.progress))
        for optimiser, lr, factor in zip(optimisers, first_lrs, decays, strict=True):
            optimiser.param_groups[0]["lr"] = lr * max(factor, 0.01)
        batch = next(stream)
        inputs = inputs_of(student, batch)
        target, seen = teacher(inputs, batch.ids), critic.condition(inputs)

        # G step: L_GAN + beta L_dist (eq. 4, 6, 11); weights by Adam, scales by SGD
        critic.requires_grad_(False)
        with torch.autocast(c.device, torch.bfloat16, enabled=c.precision == "bfloat16"):
            fake = student(*inputs).float()
        d = distance(fake, target) if c.beta > 0 else fake.new_zeros(())
        gan = critic.g_loss(fake, target, seen) if c.critic.weight > 0 else fake.new_zeros(())
        opt_w.zero_grad(set_to_none=True)
        opt_s.zero_grad(set_to_none=True)
        (c.beta * d + c.critic.weight * gan).backward()
        opt_w.step()
        opt_s.step()

        # proximal step on the scales (eq. 12-14), with the learning rate in use
        amount = gentle * c.sparsify.rho * opt_s.param_groups[0]["lr"]
        relative = {g: s / reference[g] for g, s in sizes(student).items() if g in groups}
        if swollen := [g for g, s in relative.items() if float(s.max()) > SWOLLEN]:
            told = f"scales of '{swollen[0]}' have grown {SWOLLEN:.0f}-fold"
            stage.give_up(f"{told} (lower sparsify.scale_lr)", step)
        worth: Scores = relative
        level = 0.0
        if goal is not None and affords is not None:
            compared = ranks(relative) if c.sparsify.compare == "rank" else relative
            worth = per_cost(compared, affords, c.sparsify.per_cost)
            level, _ = cut_level(
                worth,
                budget=goal.at(stage.progress),
                cost=affords,
                least=c.least,
                multiple=c.multiple,
            )
        doomed = {g: w <= level for g, w in worth.items()} if level > 0 else None
        alive = prune_step(groups, relative, reference, amount, least=c.least, doomed=doomed)
        last = relative, amount, doomed
        if collapsed(alive, relative, c.least) and not (
            goal and affords and affords(alive) > 0.5 * goal.end
        ):
            stage.give_up(f"all groups have shrunk to least={c.least} (lower rho)", step)

        # D step (eq. 15); real are the teacher's pictures (the authors' code) or images (paper)
        d_loss = fake.new_zeros(())
        if c.critic.weight > 0 and not critic.fixed:
            critic.requires_grad_(True)
            real, of_real = real_pictures(batch, target, c.critic.real), seen
            if c.critic.real == "images":
                of_real = critic.real_condition(batch, inputs)
            made = fake.detach() if critic.is_conditional else pool(fake)
            d_loss = critic.d_loss(real, made, of_real=of_real, of_fake=seen)
            opt_d.zero_grad(set_to_none=True)
            d_loss.backward()
            opt_d.step()

        stage.log(step, **{"loss/distance": d, "loss/gan": gan, "loss/d": d_loss})
        if step % every == 0:
            ratio = {"cost/target": affords(alive)} if affords else {}
            means = {f"scale/{g}": s.mean() for g, s in relative.items()}
            counts = {f"width/{g}": n for g, n in alive.items()}
            stage.log(step, level=level, lr=opt_w.param_groups[0]["lr"], **ratio)
            stage.log(step, **means, **counts)
        if step % 200 == 0:
            draw(stage, step, student, batch, target, fake)
    if last is not None:
        if step % 200:  # the last step, not drawn yet
            draw(stage, step, student, batch, target, fake)
        warn_of_minimum(held_back(*last), c.least)


def rate_factors(schedule: str, progress: float) -> tuple[float, float, float]:
    """Factors of the learning rates of weights (eta), scales (alpha) and critic at this point of
    the loop, 0 to 1."""
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "linear":  # the paper: alpha linearly from T/2, eta along a cosine
        return cosine, min(1.0, 2 * (1 - progress)), cosine
    return (1.0, 1.0, 1.0) if schedule == "constant" else (cosine, cosine, cosine)


def _optimisers(
    student: nn.Module, critic: Critic, groups: Mapping[str, list[nn.Parameter]], c: SlimConfig
) -> tuple[Adam, SGD, Adam]:
    """Adam on the weights, SGD on the scales (methods.md 6.1), Adam on the critic."""
    prunable = [s for ss in groups.values() for s in ss]
    ids = {id(s) for s in prunable}
    weights = [p for p in student.parameters() if id(p) not in ids]
    decay = c.sparsify.weight_decay
    return (
        Adam(weights, c.sparsify.lr, betas=(0.5, 0.999), weight_decay=decay),
        SGD(prunable, c.sparsify.scale_lr, momentum=0.5),
        Adam(critic.parameters(), c.critic.lr, betas=(0.5, 0.999), weight_decay=1e-3),
    )


def _with_the_rest(
    cost: Callable[[Widths], float], student: nn.Module, groups: Collection[str]
) -> Callable[[Widths], float]:
    """The cost where groups that have no scales (frozen, or empty by now) stay as they are."""
    rest = {g: w for g, w in widths(student).items() if g not in groups}
    return lambda chosen: cost({**rest, **chosen})


@torch.no_grad()
def prune_step(
    groups: Mapping[str, list[nn.Parameter]],
    relative: Mapping[str, Tensor],
    reference: Mapping[str, float],
    amount: float,
    *,
    least: int,
    doomed: Mapping[str, Tensor] | None = None,
) -> dict[str, int]:
    """Soft-threshold every group's scales by ``amount`` (eq. 14), in place.

    Args:
        relative: each channel's size in units of its group's reference, (width,).
        amount: rho times the learning rate in use, in that unit.
        doomed: channels to zero outright, (width,) bool, to meet a cost.

    Returns the channels alive in each group. The best ``least`` of a group are never zeroed.
    """
    alive = {}
    for group, producers in groups.items():
        before, size = torch.stack(list(producers)), relative[group]
        after = before
        if amount > 0 or doomed is not None:
            gone = size <= amount  # all that the amount means to cut, whatever the rounding
            gone = gone if doomed is None else gone | doomed[group]
            after = torch.stack(group_soft_threshold(producers, amount * reference[group]))
            after[:, gone] = 0
            best = size.topk(min(least, len(size))).indices
            guarded = best[(after[:, best] == 0).all(0)]
            after[:, guarded] = before[:, guarded]
            for scale, new in zip(producers, after, strict=True):
                scale.copy_(new)
        alive[group] = int((after != 0).any(0).sum())
    return alive


def held_back(
    relative: Scores, amount: float, doomed: Mapping[str, Tensor] | None = None
) -> list[str]:
    """Groups with scales that would have lost every channel in a `prune_step`, were the best ones
    not kept; none where that is all groups: then the target asks for it."""
    gone = {g: s <= amount for g, s in relative.items()}
    whole = [g for g, cut in gone.items() if bool((cut | doomed[g] if doomed else cut).all())]
    return [g for g in whole if relative[g].any()] if len(whole) < len(gone) else []


def collapsed(alive: Mapping[str, int], scores: Scores, least: int) -> bool:
    """Whether no group has more than ``least`` channels alive, and some had at first."""
    can = any(len(s) > least for s in scores.values())
    return can and all(n <= least for n in alive.values())


def ranks(sizes: Scores) -> Scores:
    """Each channel's rank in its group as a share of the width: (0, 1], 0 for a dead one.

    Groups whose scales lie close together (a trunk's mean over its producers, gates) would
    otherwise live or die as a whole.
    """
    return {
        g: torch.where(s > 0, (s.argsort(stable=True).argsort() + 1) / len(s), 0.0)
        for g, s in sizes.items()
    }


def per_cost(relative: Scores, cost: Callable[[Widths], float], power: float) -> Scores:
    """Importance per cost: each group's sizes divided by what one of its channels costs now.

    The price of a group is the cost saved by its next channel, in units of the mean over groups,
    to the ``power``: 0 is the paper's (all channels alike), 1 the full price (as MorphNet's
    resource-weighted L1, Gordon et al., CVPR 2018).
    """
    if power == 0:
        return relative
    alive = {g: int((s > 0).sum()) for g, s in relative.items()}
    now = cost(alive)
    saved = {g: now - cost({**alive, g: max(0, n - 1)}) for g, n in alive.items()}
    mean = sum(saved.values()) / len(saved)
    prices = {g: max(v / mean, 1e-3) ** power for g, v in saved.items()}
    return {g: s / prices[g] for g, s in relative.items()}
