"""GAN Slimming (Wang, Gui, Yang, Liu, Wang; ECCV 2020), from a teacher to a small student."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ganpress.data import Images
from ganpress.losses.distance import Distance
from ganpress.methods.gan_slimming.joint import Goal, sparsify
from ganpress.methods.gan_slimming.slimming import (
    CALIBRATE_IMAGES,
    EXTRACT_IMAGES,
    Streams,
    attach_quantiser,
    batches,
    check_images,
    cut,
    first_scales,
    frozen_groups,
    held_out,
    least_seen,
    scaled_copy,
    settled_for,
    some_inputs,
)
from ganpress.methods.gan_slimming.targets import (
    affordable,
    cost_ratio,
    uniform_widths,
    wide_widths,
)
from ganpress.models.checkpoint import Model, load, save
from ganpress.models.inputs import from_noise, inputs_of, is_drawn, reads
from ganpress.nn.layers import add_gates
from ganpress.run.files import replace_file
from ganpress.run.restarts import going_back
from ganpress.run.run import Run, Stage
from ganpress.run.slim import SlimConfig
from ganpress.training.discriminator import Critic, check_size, critic_of
from ganpress.training.distil import finetune
from ganpress.training.kit import place
from ganpress.training.teacher import Teacher, teacher_at_work
from ganpress.types import Widths


@dataclass(frozen=True)
class Game:
    """What every stage of a run is given: the teacher, its images, and both judges."""

    run: Run
    teacher: Model
    images: Images | None
    streams: Streams
    critic: Critic
    distance: Distance
    measure: Callable[[nn.Module], float] | None
    """Distance on what was held out of training; None where nothing is. Stages without
    distillation are not judged by it: they keep their last weights."""


def slim(
    teacher: Model,
    images: Images | None,
    config: SlimConfig,
    run: Run,
    *,
    reals: Images | None = None,
    weights: Path | None = None,
) -> Model:
    """Compress ``teacher``; everything is in ``run``'s folder and resumes from there.

    arm "gs": joint pruning, distillation (and quantisation), extraction, fine-tuning.
    arm "cp": the same without the distillation term: pruning in the minimax game alone.
    arm "cp+d": cp, fine-tuned with distillation. arm "d+cp": a wide student distilled, then cp.
    arm "gd": a uniformly narrow student of the target's cost, distilled from scratch.
    arm "postq": gs in float, rounded at the end with calibrated ranges.

    Args:
        images: what the generator reads, and with ``critic.real=images`` what is real; None where
            it reads noise and the teacher's pictures are real.
        reals: pictures of the target domain, where neither targets nor ``images`` are that.
    Raises: InfeasibleTarget before any training; ConfigError; and what the stages raise.
    """
    config = settled_for(teacher, config)
    check_images(teacher, images, reals, config)
    affordable(teacher, config)
    run.seed_all("critic")
    half = config.precision == "bfloat16"
    critic = critic_of(config.critic, teacher.critic, reads(teacher), half=half)
    check_size(critic, least_seen(teacher, config))
    distance = Distance(config.distance, weights=weights, half=half).to(config.device)
    place(teacher.net, config, config.device)
    measure = None
    if config.finetune.keep == "best":
        images, measure = held_out(teacher, images, config, distance)
    seen = None if from_noise(teacher) and config.critic.real == "teacher" else images
    place(critic, config, config.device)
    game = Game(run, teacher, images, (seen, reals), critic, distance, measure)
    render_teacher(teacher, images, config, run)
    alone = config.model_copy(update={"beta": 0.0})  # of pruning without distillation
    steps, minutes = config.finetune.steps, config.finetune.minutes
    if config.arm == "gd":
        student = narrow(game, config, uniform_widths(teacher, config))
    elif config.arm == "d+cp":
        first = -(-steps // 2)
        student = joint(game, alone, wide(game, config, first, minutes and minutes / 2))
        steps, minutes = steps - first, minutes and minutes / 2
    else:
        student = joint(game, alone if config.arm == "cp+d" else config, teacher)
    train(game, "finetune", student, alone if config.arm == "d+cp" else config, steps, minutes)
    student.net.eval()
    if config.arm == "postq":
        seen_by = some_inputs(teacher, images, CALIBRATE_IMAGES, config)
        attach_quantiser(student.net, copy.deepcopy(student.net), seen_by, config)
    return student


def train(
    game: Game, name: str, student: Model, config: SlimConfig, steps: int, minutes: float | None
) -> None:
    """One stage of training of a fixed student, in place: fine-tuning, or distillation."""
    at_work = teacher_at_work(game.teacher, game.images, config, game.run.root, config.data.size)
    facts: dict[str, float] = {}

    def attempt(stage: Stage, gentle: float) -> None:
        found = finetune(
            stage,
            student.net,
            at_work,
            game.critic,
            game.distance,
            partial(batches, game.streams, config, steps),
            config,
            steps=steps,
            minutes=minutes,
            gentle=gentle,
            measure=game.measure if config.beta > 0 else None,
        )
        facts.update(found)

    trained = {"student": place(student.net, config, config.device), "critic": game.critic}
    stage = going_back(game.run, name, attempt, trained, config.restarts)
    if not game.run.done(name):
        if name == "distil":
            keep(stage.root, student, game.critic)
        stage.finish(computed=at_work.computed, recalled=at_work.recalled, **facts)


def narrow(game: Game, config: SlimConfig, widths: Widths) -> Model:
    """A student of these widths with fresh weights, quantised below 32 bits."""
    teacher = game.teacher
    game.run.seed_all("student")
    net = teacher.build(widths).to(config.device)
    if config.arm != "postq" and config.quantise.bits < 32:
        inputs = some_inputs(teacher, game.images, CALIBRATE_IMAGES, config)
        attach_quantiser(net, teacher.net, inputs, config)
    return Model(net, teacher.family, teacher.options)


def wide(game: Game, config: SlimConfig, steps: int, minutes: float | None) -> Model:
    """The student that d+cp prunes: uniformly narrower than the teacher, distilled from scratch."""
    if game.run.done("distil"):
        return take_up(game.run.root / "distil", game.critic, config.device)
    floats = config.model_copy(update={"quantise": config.quantise.model_copy(update={"bits": 32})})
    student = narrow(game, floats, wide_widths(game.teacher, floats))
    train(game, "distil", student, config, steps, minutes)
    return student


def joint(game: Game, config: SlimConfig, start: Model) -> Model:
    """The minimax game in ``sparsify.rounds`` parts; silent channels are cut after each.

    Args: start: what the student starts as: the teacher, or a wide student of it.
    """
    c, run, teacher, critic = config.sparsify, game.run, game.teacher, game.critic
    student = scaled_copy(start)
    cost = cost_ratio(teacher, config)
    if config.arm != "postq" and config.quantise.bits < 32:
        inputs = some_inputs(teacher, game.images, CALIBRATE_IMAGES, config)
        attach_quantiser(student.net, start.net, inputs, config)
    student.net.to(config.device)
    first = min(1.0, cost(start.widths))  # fewer bits alone can be part of the way
    size = c.size or config.data.size
    at_work = teacher_at_work(teacher, game.images, config, run.root, size)
    for part in range(c.rounds):
        name = "sparsify" if c.rounds == 1 else f"sparsify-{part + 1}"
        if run.done(name):
            student = take_up(run.root / name, critic, config.device)
            continue
        goal = goal_of(part, cost, config, first)
        add_gates(student.net)
        references = first_scales(student.net) if c.relative else {}
        stage = play(game, config, name, part, student, at_work, goal, references)
        student = cut(
            student,
            some_inputs(teacher, game.images, EXTRACT_IMAGES, config),
            config,
            references=references,
            frozen=frozen_groups(teacher, config),
            cost=goal.cost if goal and part + 1 == c.rounds else None,
            budget=goal.end if goal else 1.0,
        )
        keep(stage.root, student, critic)
        stage.finish(widths=student.widths, cost=cost(student.widths))
    return student


def play(
    game: Game,
    config: SlimConfig,
    name: str,
    part: int,
    student: Model,
    at_work: Teacher,
    goal: Goal | None,
    references: dict[str, float],
) -> Stage:
    """One round of the game, more gently where it diverges; the stage that was run."""
    c = config.sparsify
    steps, rounds = c.steps // c.rounds, c.rounds

    def attempt(stage: Stage, gentle: float) -> None:
        sparsify(
            stage,
            student.net,
            at_work,
            game.critic,
            game.distance,
            partial(batches, game.streams, config, steps, part=part),
            config,
            steps=steps,
            minutes=c.minutes / rounds if c.minutes else None,
            goal=goal,
            references=references,
            frozen=frozen_groups(game.teacher, config),
            overall=lambda progress: (part + progress) / rounds,
            gentle=gentle,
        )

    trained = {"student": place(student.net, config, config.device), "critic": game.critic}
    return going_back(game.run, name, attempt, trained, config.restarts)


def keep(root: Path, student: Model, critic: Critic) -> None:
    """Leave what the next stage starts from, for a run that is taken up again."""
    save(student, root / "student.safetensors", trainable=True)
    replace_file(root / "critic.pt", partial(torch.save, critic.state_dict()))


def take_up(done: Path, critic: Critic, device: str) -> Model:
    """The student that a finished stage left; the critic gets its weights of that moment."""
    critic.load_state_dict(torch.load(done / "critic.pt", weights_only=True, map_location="cpu"))
    student = load(done / "student.safetensors")
    student.net.to(device)
    return student


def goal_of(
    part: int, cost: Callable[[Widths], float], config: SlimConfig, first: float = 1.0
) -> Goal | None:
    """What a round is after: an equal share, in ratio, of the way to the target.

    Args: first: the cost before the first round.
    """
    c, chosen = config.sparsify, config.target.chosen
    if chosen is None:
        return None
    start, end = (first * (chosen[1] / first) ** (p / c.rounds) for p in (part, part + 1))
    return Goal(cost, start=start, end=end, ramp=c.ramp if part + 1 == c.rounds else 1.0)


def render_teacher(teacher: Model, images: Images | None, config: SlimConfig, run: Run) -> None:
    """Where views are fixed, make all the teacher's pictures that the stages will ask for.

    Done first, so that a stage's ``minutes`` are all training; pictures that a shared cache
    already has are not made again. Nothing to do where the generator reads noise or styles.
    """
    c, d = config.sparsify, config.data
    if d.views == 0 or images is None or is_drawn(teacher):
        return
    wanted: list[tuple[int, int, int | None]] = [(d.size, d.batch, None)]
    if config.arm != "gd":
        wanted.insert(0, (c.size or d.size, c.batch or d.batch, 0))
    for size, batch, part in wanted:
        stage = run.stage("render" if part is None else "render-sparsify")
        if run.done(stage.name):
            continue
        at_work = teacher_at_work(teacher, images, config, run.root, size)
        steps = -(-len(images) * d.views // batch)
        loop = stage.steps(steps)
        stream = batches((images, None), config, steps, stage.first, part=part)
        for _ in loop:
            views = next(stream)
            at_work(inputs_of(teacher, views), views.ids)
        stage.finish(computed=at_work.computed, recalled=at_work.recalled)
