"""From a teacher to a small student, stage by stage (GAN Slimming, sections 3 and 4)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn

from ganpress.channels.recalibrate import batch_norms, recalibrate
from ganpress.data import Batch
from ganpress.errors import ConfigError
from ganpress.measures.cost import CostOf
from ganpress.methods.base import Given
from ganpress.methods.checks import check_discriminator, check_features, check_images
from ganpress.methods.gan_slimming.extract import cut, first_scales, floors_of, scaled_copy
from ganpress.methods.gan_slimming.goal import Goal
from ganpress.methods.gan_slimming.joint import Pruning, joint
from ganpress.methods.gan_slimming.settings import SlimConfig, resolve
from ganpress.methods.gan_slimming.targets import (
    bind_of,
    check_target,
    cost_ratio,
    final_widths,
    frozen_groups,
    narrowed_from,
    uniform_widths,
    wide_widths,
)
from ganpress.methods.latency import resolved_latency
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import from_noise, made_size
from ganpress.models.source import Crops
from ganpress.nn.layers import add_gates
from ganpress.run.proposals import ways
from ganpress.run.restarts import with_restarts
from ganpress.run.run import Run, Stage
from ganpress.training.distil import Budget, Distillation, distil
from ganpress.training.kit import place
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
from ganpress.training.student_form import in_form, options_in_form
from ganpress.types import Widths

RATES = "rho and learning rates"  # what a restart halves
EXTRACT_IMAGES = 8  # pictures over which the constants of cut channels are read


def slim(given: Given, settings: SlimConfig, run: Run) -> Model:
    """Compress a teacher; everything is in ``run``'s folder and resumes from there.

    Procedures that prune the teacher itself can go on from a student of it (`Given.start`).

    procedure "gs": joint pruning, distillation (and quantisation), extraction, fine-tuning.
    procedure "cp": the same without the distillation term: adversarial loss and pruning alone.
    procedure "cp+d": cp, fine-tuned with distillation.
    procedure "d+cp": a wide student distilled, then cp.
    procedure "gd": a uniformly narrow student of the target's cost, distilled from scratch.
    procedure "postq": gs in float, rounded at the end with calibrated ranges.

    Raises: what the stages raise.
    """
    c = settings
    setup = set_up(given.teacher, given.images, given.reals, given.weights, c, run)
    if c.procedure == "gd":
        render_teacher(setup, c, {"render": training_crops(c)})
    else:
        render_teacher(setup, c, {"render-sparsify": joint_crops(c), "render": training_crops(c)})
    distillation = distillation_of(setup, c) if c.beta > 0 else None  # cp: 0
    f = c.finetune
    budget = Budget(f.steps, f.minutes)
    if c.procedure == "gd":
        student = narrow(setup, c, uniform_widths(setup.teacher, c))
    elif c.procedure == "d+cp":
        first = Budget(-(-f.steps // 2), f.minutes and f.minutes / 2)
        student = prune_in_rounds(setup, c, None, wide(setup, c, first))
        budget, distillation = Budget(f.steps - first.steps, first.minutes), None
    else:
        alone = c.procedure == "cp+d"
        begin = replace(given.begin, net=place(given.begin.net, c, c.device))
        student = prune_in_rounds(setup, c, None if alone else distillation, begin)
    train(setup, "finetune", student, c, distillation, budget)
    if c.student.form == "integers" and batch_norms(student.net):  # of averaged weights, too
        recalibrate(student.net, calibration_batches(setup, c))
    student.net.eval()
    if c.procedure == "postq":
        quantise_student(setup, student.net, copy.deepcopy(student.net), c)
    setup.warn_of_empty_masks()
    return student


def distillation_of(setup: Setup, c: SlimConfig) -> Distillation:
    """beta d of eq. 4, where the pictures matter."""
    return Distillation(setup.distance, c.beta, setup.interest)


def resolve_for(given: Given, settings: SlimConfig) -> SlimConfig:
    """`resolve`, for the discriminator and the pictures that this teacher has."""
    d, teacher = settings.discriminator, given.teacher
    fresh = teacher.discriminator is None or d.start == "fresh"
    if fresh and not d.fixed:
        settings = settings.model_copy(
            update={"discriminator": d.model_copy(update={"start": "fresh"})}
        )
    side = made_size(teacher) if from_noise(teacher) else None
    resolved = resolve(settings, fresh=fresh, pictures=side)
    latency = resolved_latency(given, resolved, lambda: narrowed_from(teacher, resolved))
    return resolved.model_copy(update=latency)


def check(given: Given, settings: SlimConfig) -> None:
    """Refuse, before any training, images that are of no use, a discriminator that the teacher does
    not have or that cannot read the crops, and a target that cannot be met."""
    c, teacher = settings, given.teacher
    sizes = {} if c.procedure == "gd" else {"sparsify.size": c.sparsify.size or c.data.size}
    check_images(teacher, given.images, given.reals, c, sizes=sizes)
    check_discriminator(given, c, sizes=sizes, resolve=resolve_for)
    check_features(given, c, sizes=sizes, resolve=resolve_for)
    _check_start(given, c)
    check_target(teacher, c, given.begin)


def _check_start(given: Given, c: SlimConfig) -> None:
    """Refuse a student to start from where the procedure makes a first student of its own."""
    if given.start is None or c.procedure not in ("gd", "d+cp"):
        return
    pruning = {"gd": "gs", "d+cp": "cp"}[c.procedure]

    def is_accepted(changed: SlimConfig) -> None:
        check(given, resolve_for(given, changed))

    how = ways(c, [{"procedure": pruning}], check=is_accepted)
    raise ConfigError(
        f"Procedure '{c.procedure}' begins with a narrow student of fresh weights, so it cannot go "
        f"on from one: leave --from out, or prune that student{how}."
    )


def joint_crops(c: SlimConfig) -> Crops:
    """The crops of the joint loop; ``data.load_size`` in the proportion of its size."""
    size, batch = c.sparsify.size or c.data.size, c.sparsify.batch or c.data.batch
    return training_crops(c, size=size, batch=batch)


def train(
    setup: Setup,
    name: str,
    student: Model,
    c: SlimConfig,
    distillation: Distillation | None,
    budget: Budget,
) -> None:
    """One stage of training of a fixed student, in place: fine-tuning, or distillation."""
    teacher = setup.cached_teacher(c, c.data.size)
    networks = setup.networks(student, teacher, c)
    facts: dict[str, float] = {}

    def batches(first: int) -> Iterator[Batch]:
        return setup.source.batches(training_crops(c), first, budget.steps)

    def attempt(stage: Stage, rate_factor: float) -> None:
        slower = Budget(budget.steps, budget.minutes, rate_factor)
        validate = setup.validate if distillation and distillation.weight > 0 else None
        found = distil(stage, networks, batches, distillation, c, budget=slower, validate=validate)
        facts.update(found)

    trained = {"student": student.net, "discriminator": setup.discriminator}
    stage = with_restarts(setup.run, name, attempt, trained, c.restarts, rates=RATES)
    if not setup.run.done(name):
        if name == "distil":
            keep(stage.root, student, setup.discriminator)
        stage.finish(computed=teacher.computed, recalled=teacher.recalled, **facts)


def narrow(setup: Setup, c: SlimConfig, widths: Widths) -> Model:
    """A student of these widths with fresh weights, quantised below 32 bits."""
    pattern = formed(setup, setup.teacher, c, observed=c.quantise.bits < 32)
    setup.run.seed_all("student")
    net = pattern.build(widths).to(c.device)
    quantise_first(setup, net, pattern.net, c)
    return Model(net, pattern.family, pattern.options)


def formed(setup: Setup, model: Model, c: SlimConfig, *, observed: bool = True) -> Model:
    """The model in the wiring of ``student.form``. Args: observed: BatchNorms that are new read
    their statistics from pictures."""
    is_new = options_in_form(model.family.name, model.options, c) != model.options
    return in_form(model, c, calibration_batches(setup, c) if is_new and observed else ())


def quantise_first(setup: Setup, net: nn.Module, observed: nn.Module, c: SlimConfig) -> None:
    """Below 32 bits the student trains with quantisers, but where it is rounded at the end."""
    if c.procedure != "postq":
        quantise_student(setup, net, observed, c)


def wide(setup: Setup, c: SlimConfig, budget: Budget) -> Model:
    """The student that d+cp prunes: uniformly narrower than the teacher, distilled from scratch."""
    if setup.run.done("distil"):
        return take_up(setup.run.root / "distil", setup.discriminator, c)
    floats = c.model_copy(update={"quantise": c.quantise.model_copy(update={"bits": 32})})
    student = narrow(setup, floats, wide_widths(setup.teacher, floats))
    train(setup, "distil", student, c, distillation_of(setup, c), budget)
    return student


@dataclass(frozen=True)
class Round:
    """One of the rounds that the joint loop is divided into: ``number`` of ``count``."""

    number: int
    count: int

    @property
    def name(self) -> str:
        """The name of its stage."""
        return "sparsify" if self.count == 1 else f"sparsify-{self.number + 1}"

    @property
    def is_last(self) -> bool:
        """Whether this is the last round."""
        return self.number + 1 == self.count

    def overall(self, progress: float) -> float:
        """Progress of this round -> progress of all of them, 0 to 1."""
        return (self.number + progress) / self.count


def prune_in_rounds(
    setup: Setup, c: SlimConfig, distillation: Distillation | None, start: Model
) -> Model:
    """The joint loop in ``sparsify.rounds`` parts; silent channels are cut after each.

    Args: start: what the student starts as: the teacher, or a wide student of it.
    """
    s, run, teacher = c.sparsify, setup.run, setup.teacher
    start = formed(setup, start, c, observed=not run.done(Round(0, s.rounds).name))
    student = scaled_copy(start)
    cost = cost_ratio(teacher, c)
    quantise_first(setup, student.net, start.net, c)
    student.net.to(c.device)
    first = min(1.0, cost(start.widths))  # fewer bits alone can be part of the way
    for number in range(s.rounds):
        part = Round(number, s.rounds)
        if run.done(part.name):
            student = take_up(run.root / part.name, setup.discriminator, c)
            continue
        add_gates(student.net)
        bind, goal = bind_of(teacher, c, student.widths), goal_of(part, cost, c, first)
        final = final_widths(student, c, bind, goal)
        pruning = Pruning(
            floors=final or bind(floors_of(student, c)),
            goal=goal,
            references=first_scales(student.net) if s.relative else {},
            frozen=frozen_groups(teacher, c),
            overall=part.overall,
            bind=bind if c.target.layout else None,
            ends_at_floors=final is not None,
        )
        stage = joint_round(setup, c, part, student, distillation, pruning)
        inputs = setup.source.sample(EXTRACT_IMAGES, c.data.size, flip=c.data.flip)
        calibration = calibration_batches(setup, c) if batch_norms(student.net) else ()
        student = cut(student, inputs, c, pruning, to_budget=part.is_last, calibration=calibration)
        keep(stage.root, student, setup.discriminator)
        stage.finish(widths=student.widths, cost=cost(student.widths))
    return student


def joint_round(
    setup: Setup,
    c: SlimConfig,
    part: Round,
    student: Model,
    distillation: Distillation | None,
    pruning: Pruning,
) -> Stage:
    """Run one round of the joint loop, again at lower rates where it diverges; its stage."""
    s, crops = c.sparsify, joint_crops(c)
    networks = setup.networks(student, setup.cached_teacher(c, crops.size), c)
    offset, end = (n * s.steps // s.rounds for n in (part.number, part.number + 1))
    steps, minutes = end - offset, s.minutes / s.rounds if s.minutes else None

    def batches(first: int) -> Iterator[Batch]:
        return setup.source.batches(crops, offset + first, end)  # on from the round before it

    def attempt(stage: Stage, rate_factor: float) -> None:
        budget = Budget(steps, minutes, rate_factor)
        joint(stage, networks, batches, distillation, c, pruning, budget=budget)

    trained = {"student": student.net, "discriminator": setup.discriminator}
    return with_restarts(setup.run, part.name, attempt, trained, c.restarts, rates=RATES)


def goal_of(part: Round, cost: CostOf, c: SlimConfig, first: float = 1.0) -> Goal | None:
    """The cost target of a round: the rounds divide the way to the target into equal ratios.

    Args: first: the cost before the first round.
    """
    chosen = c.target.chosen
    if chosen is None:
        return None
    start, end = (
        first * (chosen[1] / first) ** (n / part.count) for n in (part.number, part.number + 1)
    )
    ramp_fraction = c.sparsify.ramp_fraction if part.is_last else 1.0
    return Goal(cost, start=start, end=end, ramp_fraction=ramp_fraction)
