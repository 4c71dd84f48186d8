"""Distil a fixed student: after extraction, or a narrow student from scratch (the GD arm)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from torch import nn
from torch.optim import Adam

from ganpress.config import SlimConfig
from ganpress.critic import Critic, Pool
from ganpress.data import Batch
from ganpress.distance import Distance
from ganpress.ema import Average
from ganpress.grid import first_rows
from ganpress.run import Stage
from ganpress.teachers import Teacher


def finetune(
    stage: Stage,
    student: nn.Module,
    teacher: Teacher,
    critic: Critic,
    distance: Distance,
    batches: Callable[[int], Iterator[Batch]],
    config: SlimConfig,
    *,
    minutes: float | None = None,
) -> None:
    """Train ``student`` in place with the game's objective, without pruning (GAN Slimming, 4.1).

    The learning rates fall to 0 along a cosine; the student ends with its averaged weights where
    ``finetune.ema`` is set.

    Args:
        batches: first step -> stream of batches from there on.
        minutes: wall-clock limit; with it the schedule follows the time used.
    """
    c = config
    decay = c.finetune.weight_decay
    opt_g = Adam(student.parameters(), c.finetune.lr, betas=(0.5, 0.999), weight_decay=decay)
    opt_d = Adam(critic.parameters(), c.critic.lr, betas=(0.5, 0.999), weight_decay=1e-3)
    average, pool = Average(student, c.finetune.ema), Pool(c.critic.pool)
    student.train()
    loop = stage.steps(
        c.finetune.steps, minutes=minutes, student=student, critic=critic, pool=pool,
        average=average, opt_g=opt_g, opt_d=opt_d,
    )  # fmt: skip
    stream = batches(stage.first)
    for step in loop:
        cosine = 0.5 * (1 + math.cos(math.pi * stage.progress))
        opt_g.param_groups[0]["lr"] = c.finetune.lr * cosine
        opt_d.param_groups[0]["lr"] = c.critic.lr * cosine
        batch = next(stream)
        target = teacher(batch)

        # G step: L_GAN + beta L_dist
        critic.requires_grad_(False)
        fake = student(batch.x)
        d = distance(fake, target) if c.beta > 0 else fake.new_zeros(())
        gan = critic.g_loss(fake) if c.critic.weight > 0 else fake.new_zeros(())
        opt_g.zero_grad(set_to_none=True)
        (c.beta * d + c.critic.weight * gan).backward()
        opt_g.step()
        average.update()

        # D step (eq. 15)
        d_loss = fake.new_zeros(())
        if c.critic.weight > 0:
            critic.requires_grad_(True)
            d_loss = critic.d_loss(target, pool(fake))
            opt_d.zero_grad(set_to_none=True)
            d_loss.backward()
            opt_d.step()

        lr = opt_g.param_groups[0]["lr"]
        stage.log(step, **{"loss/distance": d, "loss/gan": gan, "loss/d": d_loss, "lr": lr})
        if step % 500 == 0:
            stage.images(
                step, "photo-teacher-student", first_rows(batch.x, target, fake), columns=4
            )
    student.load_state_dict(average.shadow)
