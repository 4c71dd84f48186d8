"""The training loop of GAN Compression: intermediate-feature distillation (section 3.1, 3.2) at
widths drawn anew in each step (section 3.4), or at fixed ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.measures.interest.interest import Interest
from ganpress.methods.once_for_all.passes import STYLE, Passes
from ganpress.methods.once_for_all.settings import OnceForAllConfig
from ganpress.methods.once_for_all.tap_base import TapLoss
from ganpress.methods.once_for_all.terms import PictureTerms, Wanted
from ganpress.methods.once_for_all.truth import truth_in
from ganpress.models.inputs import draw_sample
from ganpress.run.ema import Average
from ganpress.run.restarts import Best, Watch
from ganpress.run.run import Stage
from ganpress.training.distil import Batches, Budget, Networks, mask_of
from ganpress.training.kit import frozen
from ganpress.training.optimisers import adam
from ganpress.training.pool import Pool
from ganpress.types import Keep

SAMPLE_EVERY = 500


@dataclass(frozen=True)
class Objective:
    """What the student minimises beside the GAN term.

    Attributes:
        pictures: terms between pictures.
        taps: the distillation of feature maps; None: none.
        is_paired: the batches' targets are the truth of their inputs.
        interest: where pictures are compared; None: everywhere.
    """

    pictures: PictureTerms
    taps: TapLoss | None
    is_paired: bool
    interest: Interest | None = None


@dataclass(frozen=True)
class Rates:
    """Learning rates at the start of a stage, and the weights' average.

    Attributes: lr, weight_decay: of the student. ema: decay of the average; 0: none.
    """

    lr: float
    weight_decay: float
    ema: float = 0.0


def distil_at_widths(
    stage: Stage,
    networks: Networks,
    batches: Batches,
    objective: Objective,
    settings: OnceForAllConfig,
    sets: Callable[[float], Sequence[Keep]],
    *,
    rates: Rates,
    budget: Budget,
    validate: Callable[[nn.Module], float] | None = None,
) -> dict[str, float]:
    """Train the student in place, at each step's width sets:

    min_G max_D  lambda_GAN L_GAN + lambda_recon L_recon + lambda_distill sum_i ||f_i(S) - T_i||

    (eq. 5), and the further terms of the family's own objective. The discriminator's gradient is
    that of before the student's step, as in the authors' code: both step together.

    Args:
        sets: how much of the stage is over, 0 to 1 -> the width sets of a step, from `random`'s
            state, which is the step's. With several, gradients are their mean.
        validate: of fixed widths, called every ``finetune.validate_every`` steps.
    Returns: facts for done.json. Raises: Diverged.
    """
    c, s, d = settings, settings.supernet, settings.distil
    student, discriminator = networks.student, networks.discriminator
    taps, gan_weight = objective.taps, c.discriminator.weight
    betas, d_lr = s.betas or (0.5, 0.999), c.discriminator.lr or rates.lr
    learned = [*student.parameters(), *(taps.parameters() if taps else ())]
    opt_g = adam(learned, rates.lr, betas=betas, weight_decay=rates.weight_decay)
    of_d = discriminator.parameters()
    opt_d = adam(of_d, d_lr, betas=betas, weight_decay=s.weight_decay or 0.0)
    average, pool = Average(student, rates.ema), Pool(c.discriminator.pool)
    watch, best = Watch(), Best(student, validate, c.finetune.validate_every)
    names = taps.taps if taps else ()
    passes = Passes(student, networks.teacher, names, references=bool(d.style))
    student.train()
    kept: dict[str, Any] = {"taps": taps} if taps else {}
    loop = stage.steps(
        budget.steps, minutes=budget.minutes,
        student=student, discriminator=discriminator, pool=pool, average=average,
        opt_g=opt_g, opt_d=opt_d, watch=watch, best=best, **kept,
    )  # fmt: skip
    stream, step = batches(stage.first), stage.first - 1
    trains_d = gan_weight > 0 and not discriminator.fixed
    for step in loop:
        decay = budget.rate_factor * min(1.0, (1 - stage.progress) / s.decay)
        opt_g.param_groups[0]["lr"] = rates.lr * decay
        opt_d.param_groups[0]["lr"] = d_lr * decay
        batch = next(stream)
        shown = passes(step, batch)
        observed = shown.observed(batch.ids)
        condition = discriminator.condition(shown.inputs)
        true = truth_in(student, batch, is_paired=objective.is_paired)
        mask = mask_of(objective.interest, shown.inputs, observed.pictures, batch.masks)
        wanted = objective.pictures.known(Wanted(observed.pictures, true, condition, mask))
        real, of_real = discriminator.real_side(
            batch, shown.inputs, observed.pictures, c.discriminator.real
        )
        opt_g.zero_grad(set_to_none=True)
        opt_d.zero_grad(set_to_none=True)
        chosen, logs = sets(stage.progress), Logs()
        for keep in chosen:
            with torch.autocast(c.device, torch.bfloat16, enabled=c.precision == "bfloat16"):
                made, maps = shown.student(keep)
            fake, maps = made.float(), {name: x.float() for name, x in maps.items()}
            zero = fake.new_zeros(())

            # D: max_D L_GAN, the student's picture detached
            d_loss = zero
            if trains_d:
                other = fake.detach() if discriminator.is_conditional else pool(fake)
                d_loss = discriminator.d_loss(real, other, of_real=of_real, of_fake=condition)
                if discriminator.is_penalised(step):
                    d_loss = d_loss + discriminator.penalty(real, of_real)
                (d_loss / len(chosen)).backward()

            # G: lambda_GAN L_GAN + lambda_recon L_recon + lambda_distill L_distill (eq. 5)
            with frozen(discriminator):
                gan = zero
                if gan_weight > 0:
                    gan = discriminator.g_loss(fake, observed.pictures, condition)
                near = objective.pictures(fake, wanted)
                distilled = taps(maps, observed.maps) if taps else zero
                style = zero
                if shown.by_reference:  # MUNIT: the codes of the reference picture
                    style = F.l1_loss(maps[STYLE], observed.maps[STYLE])
                loss = gan_weight * gan + sum(near.values(), zero)
                loss = loss + (d.taps_weight or 0.0) * distilled + (d.style or 0.0) * style
                if wrong := watch(loss):
                    stage.give_up(wrong, step)
                (loss / len(chosen)).backward()
            logs.add(gan=gan, d=d_loss, distilled=distilled, style=style, **near)
        opt_d.step()
        opt_g.step()
        average.update()

        stage.log(step, **logs.means(), lr=opt_g.param_groups[0]["lr"])
        if found := best.look(step, average.shadow):
            stage.log(step, **found)
        if step % SAMPLE_EVERY == 0:
            draw_sample(stage, step, student, batch, observed.pictures, fake)
    if step >= stage.first and step % SAMPLE_EVERY:  # the last step has no sample yet
        draw_sample(stage, step, student, batch, observed.pictures, fake)
    best.look(step, average.shadow, last=True)
    student.load_state_dict(best.select(average.shadow))
    return best.facts()


class Logs:
    """The mean of each loss over a step's width sets."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, **losses: Tensor) -> None:
        """The losses of one width set, scalars."""
        self.count += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, value.new_zeros(())) + value.detach()

    def means(self) -> dict[str, Tensor]:
        """By 'loss/NAME'."""
        return {f"loss/{name}": value / self.count for name, value in self.sums.items()}
