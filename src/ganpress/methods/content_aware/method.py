"""From a teacher to a small student, stage by stage (Content-Aware GAN Compression, section 3)."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import nn

from ganpress.channels.recalibrate import batch_norms, recalibrate
from ganpress.data import Batch
from ganpress.methods.base import Given
from ganpress.methods.content_aware.passes import relation_taps
from ganpress.methods.content_aware.pruning import cut_student, scored
from ganpress.methods.content_aware.requests import discriminator_to_play, remarks
from ganpress.methods.content_aware.retrain import Objective, retrain
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
    quantise_student,
    render_teacher,
    set_up,
    training_crops,
)

RATES = "learning rates"  # what a restart halves
RETRAIN = "finetune"
"""The stage of the retraining, by the name of its settings."""


def content_aware(given: Given, settings: ContentAwareConfig, run: Run) -> Model:
    """Compress a teacher; everything is in ``run``'s folder and resumes from there.

    1. score: the importance of each channel of the teacher, by ``score``.
    2. cut: the least important go, by ``cut`` or to the target.
    3. finetune: what is left is trained anew, under the teacher's guidance.

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
    student = cut_student(setup, c, scored(setup, c))
    quantise(setup, c, student)
    train(setup, c, student, objective(setup, c, terms))
    calibrate(setup, c, student.net)
    student.net.eval()
    setup.warn_of_empty_masks()
    return student


def train(setup: Setup, c: ContentAwareConfig, student: Model, minimised: Objective) -> None:
    """The stage of the retraining, in place; again at lower rates where it diverges."""
    f, teacher = c.finetune, setup.cached_teacher(c, c.data.size)
    networks = setup.networks(student, teacher, c)
    facts: dict[str, float] = {}

    def batches(first: int) -> Iterator[Batch]:
        return setup.source.batches(training_crops(c), first, f.steps, shared=True)

    def attempt(stage: Stage, rate_factor: float) -> None:
        budget = Budget(f.steps, f.minutes, rate_factor)
        found = retrain(
            stage, networks, batches, minimised, c, budget=budget, validate=setup.validate
        )
        facts.update(found)

    trained = {"student": student.net, "discriminator": setup.discriminator}
    stage = with_restarts(setup.run, RETRAIN, attempt, trained, c.restarts, rates=RATES)
    if not setup.run.done(RETRAIN):
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
