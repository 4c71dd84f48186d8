"""GAN Slimming (Wang, Gui, Yang, Liu, Wang; ECCV 2020), from a teacher to a small student."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ganpress.channels import counts, cut_level, keep_top
from ganpress.checkpoint import Model, fingerprint, load, save
from ganpress.config import SlimConfig, settled
from ganpress.cost import CostTable
from ganpress.critic import Critic
from ganpress.data import Batch, Images, stream
from ganpress.distance import Distance
from ganpress.errors import ConfigError, InfeasibleTarget
from ganpress.files import replace_file
from ganpress.nn.layers import add_gates
from ganpress.quantise import FakeQuantiser, calibrate, quantise
from ganpress.run import Run
from ganpress.silence import extract, sizes, survivors
from ganpress.stages.finetune import finetune
from ganpress.stages.sparsify import Goal, sparsify
from ganpress.teachers import Teacher
from ganpress.types import Widths

EXTRACT_IMAGES = 8  # pictures over which the constants of cut channels are read
CALIBRATE_IMAGES = 16  # pictures over which activation ranges are read


def slim(
    teacher: Model, images: Images, config: SlimConfig, run: Run, *, weights: Path | None = None
) -> Model:
    """Compress ``teacher``; everything is in ``run``'s folder and resumes from there.

    arm "gs": joint pruning, distillation (and quantisation), extraction, fine-tuning.
    arm "cp": the same without the distillation term: pruning in the minimax game alone.
    arm "gd": a uniformly narrow student of the target's cost, distilled from scratch.

    Raises: InfeasibleTarget before any training; ConfigError; and what the stages raise.
    """
    config = settled(config)
    affordable(teacher, config)
    run.seed_all("critic")
    shape = config.critic.model_dump(include={"width", "layers", "pooled"})
    critic = Critic(**shape).to(config.device)
    distance = Distance(config.distance, weights=weights).to(config.device)
    teacher.net.to(config.device)
    render_teacher(teacher, images, config, run)
    if config.arm == "gd":
        run.seed_all("student")
        student = narrow(teacher, images, config)
    else:
        student = joint(teacher, images, config, run, critic, distance)
    stage = run.stage("finetune")
    minutes = config.finetune.minutes
    at_work = teacher_at_work(teacher, images, config, run, config.data.size)
    batches = partial(_batches, images, config, config.finetune.steps)
    finetune(stage, student.net, at_work, critic, distance, batches, config, minutes=minutes)
    if not run.done("finetune"):
        stage.finish(computed=at_work.computed, recalled=at_work.recalled)
    student.net.eval()
    return student


def narrow(teacher: Model, images: Images, config: SlimConfig) -> Model:
    """A uniformly narrow student of the target's cost, with fresh weights (the GD arm)."""
    net = teacher.build(uniform_widths(teacher, config)).to(config.device)
    attach_quantiser(net, teacher, images, config)
    return Model(net, teacher.family, teacher.options)


def joint(
    teacher: Model, images: Images, config: SlimConfig, run: Run, critic: Critic, distance: Distance
) -> Model:
    """The minimax game in ``sparsify.rounds`` parts; silent channels are cut after each."""
    c = config.sparsify
    student = scaled_copy(teacher)
    cost = cost_ratio(teacher, config)
    attach_quantiser(student.net, teacher, images, config)
    student.net.to(config.device)
    frozen = teacher.family.tied if config.trunk == "keep" else ()
    at_work = teacher_at_work(teacher, images, config, run, c.size or config.data.size)
    for part in range(c.rounds):
        stage = run.stage("sparsify" if c.rounds == 1 else f"sparsify-{part + 1}")
        if run.done(stage.name):
            student = take_up(stage.root, critic, config.device)
            continue
        add_gates(student.net)
        goal, steps = goal_of(part, cost, config), c.steps // c.rounds
        references = first_scales(student.net) if c.relative else {}
        sparsify(
            stage,
            student.net,
            at_work,
            critic,
            distance,
            partial(_batches, images, config, steps, part=part),
            config,
            steps=steps,
            minutes=c.minutes / c.rounds if c.minutes else None,
            goal=goal,
            references=references,
            frozen=frozen,
            overall=lambda progress, part=part: (part + progress) / c.rounds,  # type: ignore[misc]
        )
        final = goal if part + 1 == c.rounds else None
        student = cut(student, images, config, references, frozen, final)
        save(student, stage.root / "student.safetensors", trainable=True)
        replace_file(stage.root / "critic.pt", partial(torch.save, critic.state_dict()))
        stage.finish(widths=student.widths, cost=cost(student.widths))
    return student


def take_up(done: Path, critic: Critic, device: str) -> Model:
    """The student that a finished round left; the critic gets its weights of that moment."""
    critic.load_state_dict(torch.load(done / "critic.pt", weights_only=True, map_location="cpu"))
    student = load(done / "student.safetensors")
    student.net.to(device)
    return student


def first_scales(net: nn.Module) -> dict[str, float]:
    """The mean size of each group's scales: the unit of its thresholds."""
    return {g: float(s.mean().clamp_min(1e-8)) for g, s in sizes(net).items()}


def goal_of(part: int, cost: Callable[[Widths], float], config: SlimConfig) -> Goal | None:
    """What a round is after: an equal share, in ratio, of the way to the target."""
    c, chosen = config.sparsify, config.target.chosen
    if chosen is None:
        return None
    start, end = (chosen[1] ** (p / c.rounds) for p in (part, part + 1))
    return Goal(cost, start=start, end=end, ramp=c.ramp if part + 1 == c.rounds else 1.0)


def cut(
    student: Model,
    images: Images,
    config: SlimConfig,
    references: Mapping[str, float],
    frozen: tuple[str, ...],
    goal: Goal | None,
) -> Model:
    """Extraction: what the silent channels emit is absorbed, then they are cut.

    With a goal (in the last round) the target is met for certain: where the loop ended short of
    it, for want of steps or by rounding, the weakest channels go, too.
    """
    family = student.family
    found = {g: s for g, s in sizes(student.net).items() if g not in frozen}
    keep = survivors(student.net, least=config.least, may_vanish=family.may_vanish(student.options))
    keep = rounded({g: keep[g] for g in found}, found, config.multiple)
    if goal is not None:
        cost, whole, least, multiple = goal.cost, student.widths, config.least, config.multiple

        def affords(chosen: Widths) -> float:
            return cost({**whole, **chosen})

        if affords(counts(keep)) > goal.end:
            scores = {g: s / references.get(g, 1.0) for g, s in found.items()}
            keep = keep_top(scores, budget=goal.end, cost=affords, least=least, multiple=multiple)
    photos = some_photos(images, EXTRACT_IMAGES, config)
    small = extract(student.build, student.net, keep, photos)
    return Model(small, family, student.options, student.provenance)


def rounded(
    keep: dict[str, torch.Tensor], scores: dict[str, torch.Tensor], multiple: int
) -> dict[str, torch.Tensor]:
    """Fill each group up to a multiple of ``multiple`` with its next best channels."""
    out = dict(keep)
    for group, score in scores.items():
        n = len(keep[group])
        most = min(len(score), -(-n // multiple) * multiple)
        if most > n:
            favoured = score.clone()
            favoured[keep[group]] += 1e6
            out[group] = favoured.topk(most).indices.sort().values.cpu()
    return out


def scaled_copy(teacher: Model) -> Model:
    """The teacher's function with a scale for every group: InstanceNorm without affine gets
    gamma 1 and beta 0, which is exact."""
    options = dict(teacher.options)
    if "affine" in options and options.get("norm") == "instance":
        options["affine"] = True
    net = teacher.family.build(teacher.widths, **options)
    with torch.no_grad():
        own = {**net.state_dict(), **{n: t.cpu() for n, t in teacher.net.state_dict().items()}}
    net.load_state_dict(own)
    return Model(net, teacher.family, options, copy.deepcopy(teacher.provenance))


def cost_ratio(teacher: Model, config: SlimConfig) -> Callable[[Widths], float]:
    """Widths -> the targeted cost as a fraction of the teacher's (MACs where no target is set)."""
    name = config.target.chosen[0] if config.target.chosen else "macs"
    size = teacher.family.image.size
    whole = getattr(CostTable(teacher.net, size)(), name)
    net = teacher.net if config.arm == "gd" else scaled_copy(teacher).net  # the student's wiring
    if config.quantise.bits < 32 and name == "bytes":
        net = quantise(copy.deepcopy(net), FakeQuantiser(bits=config.quantise.bits))
    table = CostTable(net, size)

    def ratio(widths: Widths) -> float:
        return float(getattr(table(widths), name)) / float(whole)

    return ratio


def affordable(teacher: Model, config: SlimConfig) -> None:
    """Refuse, before any training, a target below the smallest network, or a gd without target."""
    if config.target.chosen is None:
        if config.arm == "gd":
            raise ConfigError("arm 'gd' needs a target, such as --set target.macs=0.05.")
        return
    name, wanted = config.target.chosen
    frozen = teacher.family.tied if config.trunk == "keep" else ()
    scores = {g: torch.zeros(w) for g, w in teacher.widths.items() if g not in frozen}
    cost = cost_ratio(teacher, config)
    try:
        cut_level(scores, budget=wanted, cost=cost, least=config.least, multiple=config.multiple)
    except InfeasibleTarget as error:
        smallest = cost({g: min(config.least, len(s)) for g, s in scores.items()})
        raise InfeasibleTarget(
            f"target.{name}={wanted:g} cannot be reached: with least={config.least}"
            f"{' and the trunk kept' if frozen else ''} the smallest network still has "
            f"{smallest:.4g} of the teacher's {name}. Give at least that, or lower 'least'"
            f"{' or set trunk=tied' if frozen else ''}."
        ) from error


def uniform_widths(teacher: Model, config: SlimConfig) -> dict[str, int]:
    """The widest uniform narrowing of the teacher that fits the target (the GD arm's student)."""
    cost, chosen = cost_ratio(teacher, config), config.target.chosen
    budget = chosen[1] if chosen else 1.0

    def at(share: float) -> dict[str, int]:
        m = config.multiple
        return {g: min(w, max(1, round(share * w / m)) * m) for g, w in teacher.widths.items()}

    low, high = 0.0, 1.0
    if cost(at(high)) <= budget:
        return at(high)
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(at(middle)) <= budget else (low, middle)
    return at(low)


def attach_quantiser(net: nn.Module, teacher: Model, images: Images, config: SlimConfig) -> None:
    """q_w and q_a on every convolution, below 32 bits; ranges fixed at p, or read off the
    teacher's activations where ``quantise.ranges = "calibrated"``."""
    q = config.quantise
    if q.bits >= 32:
        return
    quantise(net, FakeQuantiser(q.bits, q.p, q.per_channel, q.levels))
    if q.ranges == "calibrated":
        calibrate(net, teacher.net, some_photos(images, CALIBRATE_IMAGES, config))


def some_photos(images: Images, count: int, config: SlimConfig) -> torch.Tensor:
    """The same ``count`` crops each time, (count, 3, s, s)."""
    size = config.data.size
    batch = next(stream(images, batch=count, size=size, seed=0, first=0, total=1, workers=0))
    return batch.x.to(config.device)


def teacher_at_work(
    teacher: Model, images: Images, config: SlimConfig, run: Run, size: int
) -> Teacher:
    """The teacher, with its cache where views are fixed: in ``data.cache``, which runs of the same
    teacher, images, seed and geometry share, or else in the run's own folder."""
    d = config.data
    views = d.views * len(images)
    what = [
        fingerprint(teacher.net),
        images.digest(),
        config.seed,
        size,
        d.load_size,
        d.size,
        d.flip,
    ]
    key = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
    root = Path(d.cache) if d.cache else run.root / "teacher-cache"
    return Teacher(teacher.net, cache=root / key, views=views, size=size)


def _batches(
    images: Images, config: SlimConfig, steps: int, first: int, *, part: int | None = None
) -> Iterator[Batch]:
    """The stream of a stage: fine-tuning where ``part`` is None, else a part of the joint loop,
    which goes on where the part before it ended."""
    d, c = config.data, config.sparsify
    size = d.size if part is None else c.size or d.size
    load = d.load_size if d.load_size is None else max(size, round(d.load_size * size / d.size))
    offset = 0 if part is None else part * steps
    for batch in stream(
        images,
        batch=d.batch if part is None else c.batch or d.batch,
        size=size,
        seed=config.seed,
        first=offset + first,
        total=offset + steps,
        views=d.views,
        flip=d.flip,
        load_size=load,
        workers=d.workers,
    ):
        yield Batch(batch.x.to(config.device), batch.ids, batch.y)


def render_teacher(teacher: Model, images: Images, config: SlimConfig, run: Run) -> None:
    """Where views are fixed, make all the teacher's pictures that the stages will ask for.

    Done first, so that a stage's ``minutes`` are all training; pictures that a shared cache
    already has are not made again.
    """
    c, d = config.sparsify, config.data
    if d.views == 0:
        return
    wanted: list[tuple[int, int, int | None]] = [(d.size, d.batch, None)]
    if config.arm != "gd":
        wanted.insert(0, (c.size or d.size, c.batch or d.batch, 0))
    for size, batch, part in wanted:
        stage = run.stage("render" if part is None else "render-sparsify")
        if run.done(stage.name):
            continue
        at_work = teacher_at_work(teacher, images, config, run, size)
        steps = -(-len(images) * d.views // batch)
        loop = stage.steps(steps)
        stream = _batches(images, config, steps, stage.first, part=part)
        for _ in loop:
            at_work(next(stream))
        stage.finish(computed=at_work.computed, recalled=at_work.recalled)
