"""Distil a fixed student: after extraction, or a narrow student from scratch (the GD arm)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.optim import Adam

from ganpress.data import Batch
from ganpress.losses.distance import Distance
from ganpress.models.inputs import draw, inputs_of
from ganpress.run.ema import Average
from ganpress.run.restarts import Best, Watch
from ganpress.run.run import Stage
from ganpress.run.slim import SlimConfig
from ganpress.training.discriminator import Critic, Pool, real_pictures
from ganpress.training.teacher import Teacher


def finetune(
    stage: Stage,
    student: nn.Module,
    teacher: Teacher,
    critic: Critic,
    distance: Distance,
    batches: Callable[[int], Iterator[Batch]],
    config: SlimConfig,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    gentle: float = 1.0,
    measure: Callable[[nn.Module], float] | None = None,
) -> dict[str, float]:
    """Train ``student`` in place with the game's objective, without pruning (GAN Slimming, 4.1).

    The learning rates fall to 0 along a cosine; the student ends with its averaged weights where
    ``finetune.ema`` is set, of the step at which ``measure`` was smallest where that is given.

    Args:
        batches: first step -> stream of batches from there on.
        steps: of the whole stage; None: ``finetune.steps``.
        minutes: wall-clock limit; with it the schedule follows the time used.
        gentle: factor of the learning rates.
        measure: looked at every ``finetune.check_every`` steps; smaller is better.
    Returns: facts for done.json. Raises: Diverged, also where the loss leaps to 100 times its
        running median.
    """
    c = config
    decay = c.finetune.weight_decay
    opt_g = Adam(student.parameters(), c.finetune.lr, betas=(0.5, 0.999), weight_decay=decay)
    opt_d = Adam(critic.parameters(), c.critic.lr, betas=(0.5, 0.999), weight_decay=1e-3)
    average, pool = Average(student, c.finetune.ema), Pool(c.critic.pool)
    watch, best = Watch(), Best(student, measure, c.finetune.check_every)
    student.train()
    loop = stage.steps(
        c.finetune.steps if steps is None else steps, minutes=minutes,
        student=student, critic=critic, pool=pool, average=average, opt_g=opt_g, opt_d=opt_d,
        watch=watch, best=best,
    )  # fmt: skip
    stream, step = batches(stage.first), stage.first - 1
    for step in loop:
        cosine = gentle * 0.5 * (1 + math.cos(math.pi * stage.progress))
        opt_g.param_groups[0]["lr"] = c.finetune.lr * cosine
        opt_d.param_groups[0]["lr"] = c.critic.lr * cosine
        batch = next(stream)
        inputs = inputs_of(student, batch)
        target, seen = teacher(inputs, batch.ids), critic.condition(inputs)

        # G step: L_GAN + beta L_dist
        critic.requires_grad_(False)
        with torch.autocast(c.device, torch.bfloat16, enabled=c.precision == "bfloat16"):
            fake = student(*inputs).float()
        d = distance(fake, target) if c.beta > 0 else fake.new_zeros(())
        gan = critic.g_loss(fake, target, seen) if c.critic.weight > 0 else fake.new_zeros(())
        loss = c.beta * d + c.critic.weight * gan
        if wrong := watch(loss):
            stage.give_up(wrong, step)
        opt_g.zero_grad(set_to_none=True)
        loss.backward()
        opt_g.step()
        average.update()

        # D step (eq. 15)
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

        lr = opt_g.param_groups[0]["lr"]
        stage.log(step, **{"loss/distance": d, "loss/gan": gan, "loss/d": d_loss, "lr": lr})
        if found := best.look(step, average.shadow):
            stage.log(step, **found)
        if step % 500 == 0:
            draw(stage, step, student, batch, target, fake)
    if step >= stage.first and step % 500:  # the last step, not drawn yet
        draw(stage, step, student, batch, target, fake)
    best.look(step, average.shadow, last=True)
    student.load_state_dict(best.settle(average.shadow))
    return best.facts()
