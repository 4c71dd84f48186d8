"""Distil a fixed student: after extraction, or a narrow student from scratch (the GD arm)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.optim import Adam

from ganpress.config import SlimConfig
from ganpress.critic import Critic, Pool
from ganpress.data import Batch
from ganpress.distance import Distance
from ganpress.grid import first_rows
from ganpress.run import Stage
from ganpress.teachers import Teacher
from ganpress.types import State


class Average:
    """Exponential moving average of a network's floating tensors; ``decay`` 0 follows exactly.

    The decay is ramped up as (1 + t) / (10 + t), so that the first weights are soon forgotten.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net, self.decay, self.updates = net, decay, 0
        self.shadow = {n: t.detach().clone() for n, t in net.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Follow the network by one step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, tensor in self.net.state_dict().items():
            if tensor.is_floating_point() and self.decay > 0:
                self.shadow[name].lerp_(tensor, 1 - decay)
            else:
                self.shadow[name].copy_(tensor)

    def state_dict(self) -> dict[str, int | State]:
        """The average and how many updates made it."""
        return {"updates": self.updates, "shadow": self.shadow}

    def load_state_dict(self, state: dict[str, int | State]) -> None:
        """Go on from a saved average."""
        updates, shadow = state["updates"], state["shadow"]
        if isinstance(updates, int) and isinstance(shadow, dict):
            self.updates = updates
            for name, tensor in self.shadow.items():  # which may be on another device
                tensor.copy_(shadow[name])


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
