"""The retraining of a pruned student (section 3.3): adversarial, masked L1 and masked LPIPS, in the
order in which StyleGAN2 is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Adam

from ganpress.measures.interest.interest import Interest
from ganpress.methods.content_aware.passes import Passes
from ganpress.methods.content_aware.scores.diversity import Directions
from ganpress.methods.content_aware.settings import ContentAwareConfig
from ganpress.methods.content_aware.terms import Terms
from ganpress.models.families.stylegan2 import StyleGAN2
from ganpress.models.inputs import draw_sample
from ganpress.run import distributed
from ganpress.run.ema import Average
from ganpress.run.restarts import Best, Watch
from ganpress.run.run import Stage
from ganpress.training.discriminator import DiscriminatorWithLoss
from ganpress.training.distil import Batches, Budget, Networks, mask_of
from ganpress.training.kit import frozen
from ganpress.training.optimisers import adam
from ganpress.training.pool import Pool
from ganpress.training.styles import PathPenalty, lazy_ratio, path_loss

SAMPLE_EVERY = 500


@dataclass(frozen=True)
class Objective:
    """What the student minimises beside the GAN term.

    Attributes:
        terms: between its pictures and the teacher's.
        mask: where pictures are compared; None: everywhere.
        directions: of the style's shift, as `Passes` has them.
        taps: of the latent-direction distillation.
    """

    terms: Terms
    mask: Interest | None = None
    directions: Directions | None = None
    taps: tuple[str, ...] = ()


def retrain(
    stage: Stage,
    networks: Networks,
    batches: Batches,
    objective: Objective,
    settings: ContentAwareConfig,
    *,
    budget: Budget,
    decay: float,
    validate: Callable[[nn.Module], float] | None = None,
) -> dict[str, float]:
    """Train the student in place: a step of the discriminator, lazy R1, a step of the student by

    L_GAN + 3 mean |m (T - S)| + 3 LPIPS(m T, m S),

    and the lazy path length penalty, each a step of Adam's. Teacher and student are given the same
    z, the same layer at which styles are mixed, and the same noise maps.

    Args: decay: fraction of the budget, at its end, over which the learning rates fall to 0.
        validate: called every ``finetune.validate_every`` steps; smaller is better.
    Returns: facts for done.json. Raises: Diverged.
    """
    c, f, gan_weight = settings, settings.finetune, settings.discriminator.weight
    student, discriminator = networks.student, networks.discriminator
    path_weight, path_every = c.path.weight or 0.0, c.path.every or 1
    opt_g, opt_d = optimisers(student, discriminator, c)
    first_lrs = [budget.rate_factor * o.param_groups[0]["lr"] for o in (opt_g, opt_d)]
    average, pool, path = Average(student, f.ema), Pool(c.discriminator.pool), PathPenalty()
    path.to(next(student.parameters()).device)
    watch, best = Watch(), Best(student, validate, f.validate_every)
    passes = Passes(
        student, c.data.batch, c.mixing, objective.taps, c.distil.shift, objective.directions
    )
    student.train()
    loop = stage.steps(
        budget.steps, minutes=budget.minutes,
        student=student, discriminator=discriminator, pool=pool, average=average, path=path,
        opt_g=opt_g, opt_d=opt_d, watch=watch, best=best,
    )  # fmt: skip
    stream, step = batches(stage.first), stage.first - 1
    for step in loop:
        left = min(1.0, (1 - stage.progress) / decay) if decay else 1.0
        for optimiser, lr in zip((opt_g, opt_d), first_lrs, strict=True):
            optimiser.param_groups[0]["lr"] = lr * left
        batch = next(stream)

        # D step: max_D L_GAN under the teacher's own objective
        if gan_weight > 0 and not discriminator.fixed:
            discriminator.requires_grad_(True)
            shown = passes(batch)
            with torch.no_grad(), autocast(c):
                fake = shown.made(student).picture.float()
            target = fake  # not looked at where images are real
            if c.discriminator.real == "teacher":
                target = shown.wanted(networks.teacher).picture
            condition = discriminator.condition(shown.inputs)
            real, of_real = discriminator.real_side(
                batch, shown.inputs, target, c.discriminator.real
            )
            other = fake if discriminator.is_conditional else pool(fake)
            d_loss = discriminator.d_loss(real, other, of_real=of_real, of_fake=condition)
            take_step(opt_d, discriminator, d_loss)
            stage.log(step, **{"loss/d": d_loss})

            # lazy R1: gamma / 2 |grad D(x)|^2
            if discriminator.is_penalised(step):
                penalty = discriminator.penalty(real, of_real)
                take_step(opt_d, discriminator, penalty)
                stage.log(step, **{"loss/r1": penalty})

        # G step: L_GAN + L_pixel + L_LPIPS
        with frozen(discriminator):
            shown = passes(batch, shifted=True)
            wanted = shown.wanted(networks.teacher)
            with autocast(c):
                made = shown.made(student)
            mask = mask_of(objective.mask, shown.inputs, wanted.picture, batch.masks)
            terms = objective.terms(made, wanted, mask)
            loss = torch.stack([made.picture.new_zeros(()).float(), *terms.values()]).sum()
            if gan_weight > 0:
                condition = discriminator.condition(shown.inputs)
                gan = discriminator.g_loss(made.picture.float(), wanted.picture, condition)
                loss, terms = loss + gan_weight * gan, {"gan": gan, **terms}
            if wrong := watch(distributed.mean(loss)):
                stage.give_up(wrong, step)
            take_step(opt_g, student, loss)

        # lazy path length, on half a batch, in float32
        if path_weight > 0 and step % path_every == 0 and isinstance(student, StyleGAN2):
            length = path_loss(student, path, mixing=c.mixing, batch=c.data.batch)
            take_step(opt_g, student, path_weight * path_every * length)
            stage.log(step, **{"loss/path": length, "path/mean": path.mean})
        average.update()

        stage.log(step, **{f"loss/{name}": value for name, value in terms.items()})
        stage.log(step, lr=opt_g.param_groups[0]["lr"], **best.look(step, average.shadow))
        if step % SAMPLE_EVERY == 0:
            draw_sample(stage, step, student, batch, wanted.picture, made.picture)
    if step >= stage.first and step % SAMPLE_EVERY:  # the last step has no sample yet
        draw_sample(stage, step, student, batch, wanted.picture, made.picture)
    best.look(step, average.shadow, last=True)
    student.load_state_dict(best.select(average.shadow))
    return best.facts()


def optimisers(
    student: nn.Module, discriminator: DiscriminatorWithLoss, c: ContentAwareConfig
) -> tuple[Adam, Adam]:
    """Adam of both networks; a penalty with steps of its own lowers rate and betas by
    `lazy_ratio`."""
    f, lr = c.finetune, c.finetune.lr or 0.0
    beta1, beta2 = f.betas or (0.5, 0.999)
    ratio_g = lazy_ratio(c.path.weight or 0.0, c.path.every or 1)
    ratio_d = lazy_ratio(discriminator.r1, discriminator.r1_every)

    def of(net: nn.Module, rate: float, ratio: float) -> Adam:
        betas = beta1**ratio, beta2**ratio
        return adam(net.parameters(), rate * ratio, betas=betas, weight_decay=f.weight_decay)

    return of(student, lr, ratio_g), of(discriminator, c.discriminator.lr or lr, ratio_d)


def take_step(optimiser: Adam, net: nn.Module, loss: Tensor) -> None:
    """One step of a network, by the mean gradient of all processes."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    distributed.average_gradients(net)
    optimiser.step()


def autocast(c: ContentAwareConfig) -> torch.autocast:
    """The context of the student's forward passes: bfloat16 where the settings ask for it."""
    return torch.autocast(c.device, torch.bfloat16, enabled=c.precision == "bfloat16")
