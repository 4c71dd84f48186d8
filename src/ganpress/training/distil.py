"""The distillation that methods share: a student of fixed widths learns from its teacher and,
adversarially, from a discriminator."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganpress.data import Batch
from ganpress.measures.interest.interest import Interest
from ganpress.models.inputs import draw_sample, inputs_of
from ganpress.run.ema import Average
from ganpress.run.restarts import Best, Watch
from ganpress.run.run import Stage
from ganpress.training.discriminator import DiscriminatorWithLoss
from ganpress.training.optimisers import adam
from ganpress.training.pool import Pool
from ganpress.training.shared_settings import MethodSettings
from ganpress.training.teacher import CachedTeacher
from ganpress.types import Inputs

Batches = Callable[[int], Iterator[Batch]]
"""First step -> the stream of batches from there on."""


@dataclass(frozen=True)
class Networks:
    """The networks of a stage; student and discriminator are trained in place."""

    student: nn.Module
    teacher: CachedTeacher
    discriminator: DiscriminatorWithLoss


@dataclass(frozen=True)
class Distillation:
    """The loss that pulls the student towards its teacher.

    Attributes:
        loss: (student's pictures, teacher's pictures, mask or None) -> (), 0 for equal pictures.
        weight: of that loss beside the adversarial one (beta in GAN Slimming's eq. 4).
        mask: where pictures are compared; None: everywhere.
    """

    loss: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    weight: float
    mask: Interest | None = None

    def __call__(
        self, inputs: Inputs, made: Tensor, target: Tensor, masks: Tensor | None = None
    ) -> Tensor:
        """The loss of a batch, not weighted. Args: masks: those that came with it, if any."""
        return self.loss(made, target, mask_of(self.mask, inputs, target, masks))


def mask_of(
    interest: Interest | None, inputs: Inputs, target: Tensor, masks: Tensor | None
) -> Tensor | None:
    """Where the teacher's pictures of a batch matter, (n, 1, h, w) in [0, 1]; None: everywhere.

    Args: masks: those that came with the batch, if any.
    """
    if interest is None:
        return None
    return interest(inputs, target) if masks is None else interest(inputs, target, masks)


@dataclass(frozen=True)
class Budget:
    """The length of a stage: a number of steps, or fewer where the wall-clock limit in minutes is
    reached first; schedules follow the fraction used. ``rate_factor`` multiplies the learning rates
    (below 1 after a restart)."""

    steps: int
    minutes: float | None = None
    rate_factor: float = 1.0


def distil(
    stage: Stage,
    networks: Networks,
    batches: Batches,
    distillation: Distillation | None,
    settings: MethodSettings,
    *,
    budget: Budget,
    validate: Callable[[nn.Module], float] | None = None,
) -> dict[str, float]:
    """Train the student in place: L_GAN + beta L_dist (GAN Slimming, section 4.1), no pruning.

    The learning rates fall to 0 along a cosine; the student ends with its averaged weights where
    ``finetune.ema`` is set, of the step at which ``validate`` was smallest where that is given.

    Args:
        distillation: None trains by the discriminator alone.
        validate: called every ``finetune.validate_every`` steps; smaller is better.
    Returns: facts for done.json. Raises: Diverged, also where the loss rises to 100 times its
        running median.
    """
    c, f = settings, settings.finetune
    student, discriminator = networks.student, networks.discriminator
    opt_g = adam(student.parameters(), f.lr, betas=(0.5, 0.999), weight_decay=f.weight_decay)
    opt_d = adam(
        discriminator.parameters(), c.discriminator.lr, betas=(0.5, 0.999), weight_decay=1e-3
    )
    average, pool = Average(student, f.ema), Pool(c.discriminator.pool)
    watch, best = Watch(), Best(student, validate, f.validate_every)
    student.train()
    loop = stage.steps(
        budget.steps, minutes=budget.minutes,
        student=student, discriminator=discriminator, pool=pool, average=average,
        opt_g=opt_g, opt_d=opt_d, watch=watch, best=best,
    )  # fmt: skip
    stream, step = batches(stage.first), stage.first - 1
    for step in loop:
        cosine = budget.rate_factor * 0.5 * (1 + math.cos(math.pi * stage.progress))
        opt_g.param_groups[0]["lr"] = f.lr * cosine
        opt_d.param_groups[0]["lr"] = c.discriminator.lr * cosine
        batch = next(stream)
        inputs = inputs_of(student, batch)
        target = networks.teacher(inputs, batch.ids).pictures
        condition = discriminator.condition(inputs)

        # G step: L_GAN + beta L_dist
        discriminator.requires_grad_(False)
        with torch.autocast(c.device, torch.bfloat16, enabled=c.precision == "bfloat16"):
            fake = student(*inputs).float()
        zero = fake.new_zeros(())
        d = distillation(inputs, fake, target, batch.masks) if distillation else zero
        beta = distillation.weight if distillation else 0.0
        weight = c.discriminator.weight
        gan = discriminator.g_loss(fake, target, condition) if weight > 0 else zero
        loss = beta * d + weight * gan
        if wrong := watch(loss):
            stage.give_up(wrong, step)
        opt_g.zero_grad(set_to_none=True)
        loss.backward()
        opt_g.step()
        average.update()

        # D step (eq. 15)
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

        lr = opt_g.param_groups[0]["lr"]
        stage.log(step, **{"loss/distance": d, "loss/gan": gan, "loss/d": d_loss, "lr": lr})
        if found := best.look(step, average.shadow):
            stage.log(step, **found)
        if step % 500 == 0:
            draw_sample(stage, step, student, batch, target, fake)
    if step >= stage.first and step % 500:  # the last step has no sample yet
        draw_sample(stage, step, student, batch, target, fake)
    best.look(step, average.shadow, last=True)
    student.load_state_dict(best.select(average.shadow))
    return best.facts()
