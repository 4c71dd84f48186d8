"""From a teacher to a small student, stage by stage (Content-Aware GAN Compression, section 3)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from ganpress.channels.recalibrate import batch_norms, recalibrate
from ganpress.data import Batch
from ganpress.methods.base import Given
from ganpress.methods.content_aware.passes import relation_taps
from ganpress.methods.content_aware.pruning import cut_student, scored
from ganpress.methods.content_aware.requests import discriminator_to_play, remarks
from ganpress.methods.content_aware.retrain import Objective, retrain
from ganpress.methods.content_aware.rounds import Round, rounds_of, share_of
from ganpress.methods.content_aware.scores.diversity import principal_directions
from ganpress.methods.content_aware.settings import ContentAwareConfig
from ganpress.methods.content_aware.terms import Terms, terms_of
from ganpress.models.checkpoint import Model
from ganpress.models.families.stylegan2 import StyleGAN2
from ganpress.models.spaces import latent_of
from ganpress.run import distributed
from ganpress.run.progress import say
from ganpress.run.restarts import with_restarts
from ganpress.run.run import Run, Stage
from ganpress.training.distil import Budget
from ganpress.training.setup import (
    Setup,
    calibration_batches,
    keep,
    quantise_student,
    render_teacher,
    set_up,
    take_up,
    training_crops,
)

RATES = "learning rates"  # what a restart halves


def content_aware(given: Given, settings: ContentAwareConfig, run: Run) -> Model:
    """Compress a teacher; everything is in ``run``'s folder and resumes from there.

    1. score: the importance of each channel of the teacher, by ``score``.
    2. cut: the least important go, by ``cut`` or to the target.
    3. finetune: what is left is trained anew, under the teacher's guidance.

    With ``narrow.rounds`` there are rounds of all three on the way, in the stages score-1, cut-1,
    narrow-1, ...; quantisers come after the last cut.

    Raises: what the stages raise.
    """
    c = settings
    quiet = run.quiet or distributed.rank() > 0
    run.seed_all("discriminator")
    teacher, played = discriminator_to_play(given.teacher, c)
    setup = set_up(teacher, given.images, given.reals, given.weights, played, run)
    terms = terms_of(c, given.weights)
    for line in remarks(given, c, terms.distance):
        say(line, quiet=quiet)
    render_teacher(setup, c, {"render": training_crops(c)})
    minimised = objective(setup, c, terms)
    *before, last = rounds_of(c)
    student = narrowed(setup, c, minimised, before)
    student = cut_student(setup, c, scored(setup, c, student, last), student, last)
    quantise(setup, c, student)
    train(setup, c, student, minimised, last)
    calibrate(setup, c, student.net)
    student.net.eval()
    setup.warn_of_empty_masks()
    return student


def narrowed(
    setup: Setup, c: ContentAwareConfig, minimised: Objective, rounds: Iterable[Round]
) -> Model:
    """What these rounds leave of the teacher; the teacher itself where there are none."""
    student = setup.teacher
    for part in rounds:
        if setup.run.done(part.training):
            student = take_up(setup.run.root / part.training, setup.discriminator, c)
            continue
        student = cut_student(setup, c, scored(setup, c, student, part), student, part)
        train(setup, c, student, minimised, part)
    return student


def train(
    setup: Setup, c: ContentAwareConfig, student: Model, minimised: Objective, part: Round
) -> None:
    """The stage that trains after a round's cut, in place; again at lower rates where it diverges.
    What a round before the last leaves is kept in its folder."""
    share, teacher, name = share_of(c, part), setup.cached_teacher(c, c.data.size), part.training
    networks = setup.networks(student, teacher, c)
    facts: dict[str, float] = {}

    def batches(first: int) -> Iterator[Batch]:
        crops = training_crops(c)
        return setup.source.batches(crops, share.first + first, share.end, shared=True)

    def attempt(stage: Stage, rate_factor: float) -> None:
        budget = Budget(share.steps, share.minutes, rate_factor)
        found = retrain(
            stage, networks, batches, minimised, c, budget=budget, decay=share.decay,
            validate=setup.validate if part.is_last else None,
        )  # fmt: skip
        facts.update(found)

    trained = {"student": student.net, "discriminator": setup.discriminator}
    stage = with_restarts(setup.run, name, attempt, trained, c.restarts, rates=RATES)
    if not part.is_last:
        calibrate(setup, c, student.net)
        distributed.first(lambda: keep(stage.root, student, setup.discriminator))
    if not setup.run.done(name):
        stage.finish(computed=teacher.computed, recalled=teacher.recalled, **facts)


def objective(setup: Setup, c: ContentAwareConfig, terms: Terms) -> Objective:
    """What the student minimises beside the GAN term."""
    d, teacher = c.distil, setup.teacher.net
    mask = setup.interest if d.masked else None
    if not (d.relation and isinstance(teacher, StyleGAN2)):
        return Objective(terms, mask)
    latent, directions = latent_of(teacher), None
    if d.directions == "principal" and latent is not None:
        draw = torch.Generator().manual_seed(c.seed)
        directions = principal_directions(teacher, latent, latents=c.score.latents, draw=draw)
    return Objective(terms, mask, directions, relation_taps(teacher, d.relation_side))


def quantise(setup: Setup, c: ContentAwareConfig, student: Model) -> None:
    """Below 32 bits the student is retrained with quantisers, its BatchNorm calibrated."""
    if c.quantise.bits < 32:
        calibrate(setup, c, student.net)
        quantise_student(setup, student.net, copy.deepcopy(student.net), c)


def calibrate(setup: Setup, c: ContentAwareConfig, net: nn.Module) -> None:
    """Read BatchNorm's running statistics anew, where there are any."""
    if batch_norms(net):
        recalibrate(net, calibration_batches(setup, c))
