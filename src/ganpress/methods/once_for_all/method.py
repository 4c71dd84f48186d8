"""From a teacher to a searched student, stage by stage (GAN Compression, section 3)."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from ganpress.channels.recalibrate import batch_norms, recalibrate
from ganpress.data import Batch, Images
from ganpress.measures.segmenter import digest_of
from ganpress.methods.base import Given
from ganpress.methods.once_for_all.beginning import (
    cut_to,
    first_student,
    sorted_by_importance,
)
from ganpress.methods.once_for_all.holdout import calibration, hold_out, scorer_for
from ganpress.methods.once_for_all.requests import (
    budget_of,
    costs_of,
    falling_budget,
    fixed_widths,
    space_of,
)
from ganpress.methods.once_for_all.reuse import take_over
from ganpress.methods.once_for_all.sampling import sampler
from ganpress.methods.once_for_all.scoring import LARGER_IS_BETTER
from ganpress.methods.once_for_all.search.space import Space
from ganpress.methods.once_for_all.search.study import search
from ganpress.methods.once_for_all.settings import OnceForAllConfig
from ganpress.methods.once_for_all.supernet import Objective, Rates, distil_at_widths
from ganpress.methods.once_for_all.tap_base import TapLoss, tap_widths
from ganpress.methods.once_for_all.taps import tap_loss
from ganpress.methods.once_for_all.tasks import TASKS
from ganpress.methods.once_for_all.terms import picture_terms
from ganpress.methods.once_for_all.truth import has_truth
from ganpress.methods.once_for_all.variants import budgets
from ganpress.models.checkpoint import Model, fingerprint
from ganpress.models.inputs import is_drawn
from ganpress.run.files import read_json, replace_file
from ganpress.run.progress import Progress
from ganpress.run.restarts import with_restarts
from ganpress.run.run import Run, Stage
from ganpress.run.snapshot import put_state, read_saved
from ganpress.training.distil import Budget
from ganpress.training.kit import place
from ganpress.training.setup import (
    Setup,
    keep,
    quantise_student,
    render_teacher,
    set_up,
    take_up,
    training_crops,
)
from ganpress.types import Keep, Widths

RATES = "learning rates"  # what a restart halves
TAPS_FILE = "taps.pt"


def once_for_all(given: Given, settings: OnceForAllConfig, run: Run) -> Model:
    """Compress a teacher; everything is in ``run``'s folder and resumes from there.

    1. predistil, where it has steps: the student at full width learns from the teacher.
    2. supernet: one generator for all width sets of the space.
    3. search: the best width set within the target; its sub-generator is cut out.
    4. finetune, where it has steps: at its own widths.

    Raises: what the stages raise.
    """
    c = settings
    take_over(given, c, run)
    images, held = hold_out(given, c)
    setup = set_up(given.teacher, images, given.reals, given.weights, c, run)
    if not all(run.done(stage) for stage in budgets(c)):  # those of `reuse` are
        render_teacher(setup, c, {"render": training_crops(c)}, compared_maps(c))
    objective = partial(objective_for, setup, given, c)
    widest: list[Keep] = [{}]
    if c.procedure != "once-for-all":
        return of_fixed_widths(setup, c, objective, fixed_widths(given.teacher, c))
    student = beginning(setup, c)
    if c.predistil.steps:
        p = c.predistil
        part = Part("predistil", lambda _: widest, supernet_rates(c), Budget(p.steps, p.minutes))
        student = train(setup, c, student, objective, part)
    if not run.done("supernet") and c.supernet.sort:
        student = sorted_by_importance(student)
    space, s = space_of(given.teacher, c), c.supernet
    sets = sampler(space, c, falling_budget(given.teacher, space, c))
    part = Part("supernet", sets, supernet_rates(c, s.ema), Budget(s.steps, s.minutes))
    student = train(setup, c, student, objective, part)
    chosen = searched(setup, given, c, student, held, space)
    small = cut_to(student, chosen)
    place(small.net, c, c.device)
    quantise(setup, c, small)
    if c.finetune.steps:
        if c.quantise.bits == 32:  # a search leaves the statistics of the last set that it scored
            calibrate(setup, c, small.net)
        f = c.finetune
        rates = Rates(f.lr or 0.0, f.weight_decay or 0.0, f.ema)
        part = Part("finetune", lambda _: widest, rates, Budget(f.steps, f.minutes), student.net)
        small = train(setup, c, small, objective, part)
    calibrate(setup, c, small.net)
    small.net.eval()
    setup.warn_of_empty_masks()
    return small


def of_fixed_widths(
    setup: Setup,
    c: OnceForAllConfig,
    objective: Callable[[Model, Part], Objective],
    widths: Widths,
) -> Model:
    """A student of these widths, trained by the same losses in the time of all stages."""
    student = beginning(setup, c, widths)
    quantise(setup, c, student)
    [(name, (steps, minutes))] = budgets(c).items()
    rates = supernet_rates(c, c.supernet.ema)
    part = Part(name, lambda _: [{}], rates, Budget(steps, minutes))
    student = train(setup, c, student, objective, part)
    calibrate(setup, c, student.net)
    student.net.eval()
    setup.warn_of_empty_masks()
    return student


def calibrate(setup: Setup, c: OnceForAllConfig, net: nn.Module) -> None:
    """Read BatchNorm's running statistics anew, where there are any."""
    if batch_norms(net):
        recalibrate(net, calibration(setup, c))


def quantise(setup: Setup, c: OnceForAllConfig, student: Model) -> None:
    """Below 32 bits a student of fixed widths trains with quantisers, its BatchNorm calibrated."""
    if c.quantise.bits < 32:
        calibrate(setup, c, student.net)
        quantise_student(setup, student.net, copy.deepcopy(student.net), c)


@dataclass(frozen=True)
class Part:
    """A stage of training.

    Attributes:
        sets: how much of the stage is over, 0 to 1 -> the width sets of a step.
        cut_from: the supernet that the student was cut from, with whose tap loss the stage goes
            on; None: with a fresh one.
    """

    name: str
    sets: Callable[[float], Sequence[Keep]]
    rates: Rates
    budget: Budget
    cut_from: nn.Module | None = None


def beginning(setup: Setup, c: OnceForAllConfig, chosen: Widths | None = None) -> Model:
    """The student before any training, on the device; at full width, or at the widths chosen."""
    setup.run.seed_all("student")
    student = first_student(setup.teacher, c, chosen)
    return replace(student, net=place(student.net, c, c.device))


def supernet_rates(c: OnceForAllConfig, ema: float = 0.0) -> Rates:
    """Learning rate and weight decay before fine-tuning."""
    return Rates(c.supernet.lr or 0.0, c.supernet.weight_decay or 0.0, ema)


def compared_maps(c: OnceForAllConfig) -> tuple[str, ...]:
    """The modules whose feature maps are distilled; none where their term has no weight."""
    d = c.distil
    return tuple(d.taps or ()) if d.taps_weight and d.tap_loss else ()


def objective_for(
    setup: Setup, given: Given, c: OnceForAllConfig, student: Model, part: Part
) -> Objective:
    """What a stage minimises beside the GAN term, on the device."""
    d, teacher = c.distil, setup.teacher
    taps: TapLoss | None = None
    if d.tap_loss and d.taps and compared_maps(c):
        source = part.cut_from or student.net
        ours, theirs = (tap_widths(net, d.taps, c.data.size) for net in (source, teacher.net))
        setup.run.seed_all(f"{part.name}/taps")
        distance = TASKS[teacher.family.name].distance
        critic = setup.discriminator
        taps = tap_loss(d.tap_loss, d.taps, ours, theirs, critic, distance=distance)
        taps.to(c.device)
        if part.cut_from is not None:
            stage = setup.run.root / "supernet"
            saved = read_saved(stage / TAPS_FILE, f"Delete the folder {stage} to run it again.")
            put_state({"taps": taps}, {"taps": saved}, stage / TAPS_FILE)
    pictures = picture_terms(c, setup.discriminator, given.weights, setup.distance)
    return Objective(pictures, taps, has_truth(teacher, given.images), setup.interest)


def train(
    setup: Setup,
    c: OnceForAllConfig,
    student: Model,
    objective: Callable[[Model, Part], Objective],
    part: Part,
) -> Model:
    """One stage of training, or its student where it has finished."""
    run = setup.run
    if run.done(part.name):
        return take_up(run.root / part.name, setup.discriminator, c)
    minimised = objective(student, part)
    networks = setup.networks(student, setup.cached_teacher(c, c.data.size), c)
    facts: dict[str, float] = {}

    def batches(first: int) -> Iterator[Batch]:
        return setup.source.batches(training_crops(c), first, part.budget.steps)

    def attempt(stage: Stage, rate_factor: float) -> None:
        slower = replace(part.budget, rate_factor=rate_factor)
        validate = setup.validate if part.name == "finetune" else None
        found = distil_at_widths(
            stage, networks, batches, minimised, c, part.sets,
            rates=part.rates, budget=slower, validate=validate,
        )  # fmt: skip
        facts.update(found)

    trained: dict[str, nn.Module] = {"student": student.net, "discriminator": setup.discriminator}
    trained |= {"taps": minimised.taps} if minimised.taps else {}
    stage = with_restarts(run, part.name, attempt, trained, c.restarts, rates=RATES)
    keep(stage.root, student, setup.discriminator)
    if minimised.taps:
        replace_file(stage.root / TAPS_FILE, partial(torch.save, minimised.taps.state_dict()))
    stage.finish(widths=student.widths, **facts)
    return student


def searched(
    setup: Setup,
    given: Given,
    c: OnceForAllConfig,
    supernet: Model,
    held: Images | None,
    space: Space,
) -> Widths:
    """The widths of the best set within the target, or of ``search.choose``."""
    run = setup.run
    if run.done("search"):
        widths: dict[str, int] = read_json(run.root / "search" / "done.json")["widths"]
        return widths
    stage = run.stage("search")
    scorer = scorer_for(setup, supernet.net, held, given, c)
    if c.search.choose:
        widths = space.widths(space.parse(c.search.choose))
        stage.finish(set=c.search.choose, widths=widths, figures=scorer(widths))
        return widths
    began, endless = time.monotonic(), float("inf")
    with Progress("search", 1, 0, budget_s=endless, used_s=0.0, quiet=run.quiet) as bar:

        def progress(done: int, total: int | None, best: Any) -> None:
            bar.total, bar.losses = max(done, total or space.size), dict(best)
            bar.update(done, time.monotonic() - began)

        found = search(
            space,
            scorer,
            costs_of(given.teacher, supernet.net, c),
            budget=budget_of(given.teacher, c),
            settings=c.search,
            folder=stage.root,
            identity=identity_of(setup, supernet, given, c),
            seed=c.seed,
            quality=c.search.quality,
            maximise=c.search.quality in LARGER_IS_BETTER,
            quiet=run.quiet,
            progress=progress,
        )
    facts = {"set": found.name, "widths": found.widths, "figures": found.figures}
    took = round(time.monotonic() - began, 3)  # since it was taken up, the last time
    stage.finish(**facts, cost=found.cost, elapsed_s=took)
    return found.widths


def identity_of(setup: Setup, supernet: Model, given: Given, c: OnceForAllConfig) -> dict[str, Any]:
    """What the figures of a width set depend on."""
    images, segmenter = setup.source.images, c.search.segmenter
    reals = (given.reals or given.images) if c.search.quality == "frechet" else None
    found = {
        "supernet": fingerprint(supernet.net),
        "teacher": fingerprint(setup.teacher.net),
        "images": images.digest() if images else "none",
        "data": [str(c.data.size), c.search.images, c.search.calibrate],
        "distance": c.distance.model_dump(),
        "mask": c.mask.digest,
        "seed": c.seed + 1 if is_drawn(setup.teacher) else None,  # of noise, styles and classes
        "reals": reals.digest() if reals else None,
        "segmenter": segmenter and (digest_of(segmenter) or segmenter),
    }
    return {name: value for name, value in found.items() if value is not None}
