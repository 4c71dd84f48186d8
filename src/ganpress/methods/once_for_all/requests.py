"""What is asked of a compression: its space of width sets and its budget; and what is refused
before any training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ganpress.channels.ranking import largest_ratio, widths_at_ratio
from ganpress.errors import ConfigError, InfeasibleTarget
from ganpress.measures.cost import CostTable
from ganpress.measures.target import LATENCY
from ganpress.measures.timing.latency_target import latency_cost
from ganpress.methods.base import Given
from ganpress.methods.checks import (
    check_discriminator,
    check_features,
    check_images,
    rounded_up,
    without_loss,
)
from ganpress.methods.latency import resolved_latency
from ganpress.methods.once_for_all.beginning import full_widths, options_of
from ganpress.methods.once_for_all.holdout import hold_out, unmeasurable
from ganpress.methods.once_for_all.reuse import BY_BUDGET, check_reuse, found_widths
from ganpress.methods.once_for_all.scoring import check_quality
from ganpress.methods.once_for_all.search.evolution import Affords
from ganpress.methods.once_for_all.search.space import Choice, Space
from ganpress.methods.once_for_all.search.spaces import space_for
from ganpress.methods.once_for_all.settings import OnceForAllConfig, OnceForAllDiscriminator
from ganpress.methods.once_for_all.tasks import TASKS
from ganpress.methods.once_for_all.truth import has_truth
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import from_noise
from ganpress.quantisation.attach import quantiser_of_settings
from ganpress.quantisation.quantise import quantise
from ganpress.run.proposals import ways
from ganpress.training.shared_settings import resolved_alike
from ganpress.types import Widths


def resolve(given: Given, config: OnceForAllConfig) -> OnceForAllConfig:
    """The settings as the stages use them: what is left to the family or to the images is filled
    in (`tasks.TASKS`)."""
    teacher, c = given.teacher, config
    task, paired = TASKS[teacher.family.name], has_truth(teacher, given.images)
    s, d, f = c.supernet, c.distil, c.finetune
    dense = c.student.wiring == "dense"
    dense |= c.student.wiring == "auto" and c.student.form == "integers"
    separable = "separable" in teacher.family.options and not dense
    lr, decay = _or(s.lr, task.lr), _or(s.weight_decay, task.weight_decay)
    own = d.objective == "gan-compression"
    student = {
        "wiring": "separable" if separable else "dense",
        "start": "fresh" if c.procedure == "scratch" else c.student.start,
    }
    distil = {
        "reconstruction": _or(d.reconstruction, task.reconstruction[paired] if own else 0.0),
        "matching": _or(d.matching, task.matching if own else 0.0),
        "perceptual": _or(d.perceptual, task.perceptual if own else 0.0),
        "style": _or(d.style, task.style),
        "taps_weight": _or(
            d.taps_weight, 1.0 if d.objective == "dcd" else task.taps_weight[paired]
        ),
        "tap_loss": d.tap_loss or ("dcd" if d.objective == "dcd" else "mse"),
        "taps": d.taps or task.taps or teacher.family.taps(teacher.options),
    }
    resolved = c.model_copy(
        update={
            "student": c.student.model_copy(update=student),
            "supernet": s.model_copy(
                update={"lr": lr, "weight_decay": decay, "betas": s.betas or task.betas}
            ),
            "distil": d.model_copy(update=distil),
            "discriminator": _discriminator(given, c, task.d_lr),
            "finetune": f.model_copy(
                update={"lr": _or(f.lr, lr), "weight_decay": _or(f.weight_decay, decay)}
            ),
            **resolved_alike(c),
        }
    )
    whole_front = c.target.given is None or c.search.objective != "quality"
    if c.search.widen and whole_front:  # all sets would be the widest, or at the budget
        search = c.search.model_copy(update={"widen": False})
        resolved = resolved.model_copy(update={"search": search})
    asked = wants_latency(c)
    latency = resolved_latency(given, resolved, lambda: supernet(teacher, resolved), wanted=asked)
    return resolved.model_copy(update=latency)


def wants_latency(c: OnceForAllConfig) -> bool:
    """Whether milliseconds are among the costs of a width set."""
    return c.target.latency_ms is not None or c.search.objective == LATENCY


def _or(value: float | None, usual: float) -> float:
    return usual if value is None else value


def _discriminator(given: Given, c: OnceForAllConfig, lr: float) -> OnceForAllDiscriminator:
    """A fresh one where the teacher has none; no GAN term under OMGD."""
    d = c.discriminator
    changes: dict[str, object] = {"lr": _or(d.lr, lr)}
    if given.teacher.discriminator is None and not d.fixed:
        changes["start"] = "fresh"
    if d.real == "auto":
        some = has_truth(given.teacher, given.images) or given.reals is not None
        some = some or (from_noise(given.teacher) and given.images is not None)
        changes["real"] = "images" if some else "teacher"
    if c.distil.objective == "omgd":
        changes["weight"] = 0.0
    return d.model_copy(update=changes)


def check(given: Given, settings: OnceForAllConfig) -> None:
    """Refuse, before any training, what cannot be compressed with the resolved settings."""
    c, teacher = settings, given.teacher
    if c.target.layout is not None:
        raise ConfigError(
            "target.layout binds widths in pruning; a width set is chosen from the space: leave "
            "target.layout out, and export the student to 'pth-plain' or to onnx."
        )
    if c.student.affine and not options_of(teacher, c).get("affine"):
        raise ConfigError(
            "student.affine=true is for networks with InstanceNorms that can do without scales; "
            f"this {teacher.family.name} student has none: leave student.affine out."
        )
    also = {"search.quality=frechet": c.search.quality == "frechet"}
    also |= {"a weight in distil.style": True} if c.distil.style else {}
    check_images(teacher, given.images, given.reals, c, reals_also=also)
    check_discriminator(given, c, resolve=resolve)
    check_features(given, c, resolve=resolve)
    hold_out(given, c)
    check_losses(given, c)
    impossible = unmeasurable(given, c)
    check_quality(c.search.quality, impossible)
    searches = c.procedure == "once-for-all"
    if searches and c.search.segmenter is not None and (why := impossible.get("miou")):
        raise ConfigError(
            f"search.segmenter={c.search.segmenter} {why}: give them, or leave it out (--set "
            "search.segmenter=)."
        )
    if c.procedure == "scratch":
        check_reuse(given, c)
        return
    space = space_of(teacher, c)
    chosen = space.parse(c.search.choose) if searches and c.search.choose else None
    by_quality = c.search.objective == "quality" or not searches
    if chosen is None and c.target.given is None and by_quality:
        some = ({"target.macs": share} for share in (0.05, 0.1, 0.25, 0.5, 0.9))
        how = ways(c, some, check=partial(check, given))
        what = "The search" if searches else f"Procedure '{c.procedure}'"
        raise ConfigError(f"{what} needs a budget, as a fraction of the teacher's cost{how}.")
    check_budget(teacher, space, c)  # also of a set by its name: sets within may be trained
    if chosen is not None:
        check_chosen(given, space, c, chosen)
    check_sampling(given, c)
    if c.reuse:
        check_reuse(given, c)


def check_losses(given: Given, c: OnceForAllConfig) -> None:
    """Refuse weights of which none makes a loss in every step: ConfigError."""
    d = c.distil
    terms = [c.discriminator.weight, d.distance, d.taps_weight and d.taps]
    if has_truth(given.teacher, given.images) or d.unpaired == "teacher":
        terms += [d.reconstruction, d.matching, d.perceptual]
    if any(terms) or d.objective != "gan-compression":  # the others' have weights of their own
        return
    raise without_loss(c, {"distil.taps_weight": 1.0}, partial(check, given))


def check_sampling(given: Given, c: OnceForAllConfig) -> None:
    """Refuse to sample sets of a budget where there is none."""
    if c.supernet.sampling in BY_BUDGET and c.target.given is None:
        targets = ({"target.macs": share} for share in (0.05, 0.1, 0.25, 0.5, 0.9))
        others = ({"supernet.sampling": name} for name in ("sandwich", "uniform"))
        raise ConfigError(
            f"supernet.sampling={c.supernet.sampling} trains width sets of the target, and there "
            f"is none{ways(c, targets, others, check=partial(check, given))}."
        )


def check_chosen(given: Given, space: Space, c: OnceForAllConfig, chosen: Choice) -> None:
    """Refuse a set by its name that is above the target. Raises: ConfigError."""
    teacher = given.teacher
    for name, asked, share in _above_target(teacher, space.widths(chosen), c):
        wider = {f"target.{name}": rounded_up(c.target.as_given(share))}
        how = ways(c, [wider], [{f"target.{name}": None}], check=partial(check, given))
        raise ConfigError(
            f"search.choose={space.name(chosen)} has {c.target.words(rounded_up(share))}, above "
            f"target.{name}={asked:g}: choose a smaller set, or another target{how}."
        )


def check_budget(teacher: Model, space: Space, c: OnceForAllConfig) -> None:
    """Refuse a target below the smallest width set, with the least that can be reached."""
    for name, asked, share in _above_target(teacher, space.widths(space.smallest), c):
        least = rounded_up(c.target.as_given(share))
        how = ways(c, [{f"target.{name}": least}], check=partial(check_budget, teacher, space))
        raise InfeasibleTarget(
            f"target.{name}={asked:g} cannot be reached: the smallest width set of the space, "
            f"{space.name(space.smallest)}, has {c.target.words(rounded_up(share))}. What can be "
            f"reached{how}; or give smaller ratios (search.ratios) or min_channels."
        )


def _above_target(
    teacher: Model, widths: Widths, c: OnceForAllConfig
) -> Iterator[tuple[str, float, float]]:
    """Where these widths cost more than the target: its name, what was asked, in its own unit, and
    what they cost, as a fraction of the teacher's."""
    if c.target.given is None:
        return
    costs = costs_of(teacher, ghost(teacher, c), c)(widths)
    for name, most in budget_of(teacher, c).items():
        if costs[name] > most:
            yield name, c.target.given[1], costs[name] / costs_of(teacher, teacher.net, c)({})[name]


def space_of(teacher: Model, c: OnceForAllConfig) -> Space:
    """The width sets of the settings, checked against the supernet. Raises: ConfigError."""
    return space_for(
        c.search.space,
        teacher.family.name,
        options_of(teacher, c),
        full_widths(teacher, c),
        ratios=c.search.ratios,
        multiple=c.channel_multiple,
        min_channels=c.min_channels,
    )


def fixed_widths(teacher: Model, c: OnceForAllConfig) -> dict[str, int]:
    """The widths of a student that is not searched: the widest uniform narrowing within the target
    (procedure uniform), or what the run of ``reuse`` found (scratch)."""
    if c.procedure == "scratch":
        return found_widths(Path(c.reuse or ""))
    full, cost = full_widths(teacher, c), costs_of(teacher, ghost(teacher, c), c)
    budget = budget_of(teacher, c)

    def at(ratio: float) -> dict[str, int]:
        how = {"floors": c.min_channels, "multiple": c.channel_multiple}
        return widths_at_ratio(full, ratio, **how)  # type: ignore[arg-type]

    def fits(ratio: float) -> bool:
        costs = cost(at(ratio))
        return all(costs[name] <= most for name, most in budget.items())

    return at(largest_ratio(fits))


def ghost(teacher: Model, c: OnceForAllConfig) -> nn.Module:
    """The supernet without numbers, for its costs."""
    return supernet(teacher, c).net


def supernet(teacher: Model, c: OnceForAllConfig) -> Model:
    """The supernet without numbers."""
    options = options_of(teacher, c)
    with torch.device("meta"):
        net = teacher.family.build(full_widths(teacher, c), **options)
    return Model(net, teacher.family, options)


def affordable(teacher: Model, space: Space, c: OnceForAllConfig) -> Affords:
    """Whether a width set of the space is within the target; all are where there is none."""
    return falling_budget(teacher, space, c)(1.0)


def falling_budget(teacher: Model, space: Space, c: OnceForAllConfig) -> Callable[[float], Affords]:
    """How far the budget has fallen -> whether a width set is within it: at 0 the cost of the
    widest set, at 1 the target, in between by equal factors."""
    costs, budget = costs_of(teacher, ghost(teacher, c), c), budget_of(teacher, c)
    whole = costs(space.widths(space.largest))

    def at(fallen: float) -> Affords:
        most = {name: whole[name] ** (1 - fallen) * b**fallen for name, b in budget.items()}

        def affords(choice: Choice) -> bool:
            found = costs(space.widths(choice))
            return all(found[name] <= some for name, some in most.items())

        return affords

    return at


def costs_of(
    teacher: Model, net: nn.Module, c: OnceForAllConfig
) -> Callable[[Widths], dict[str, float]]:
    """Widths of ``net`` -> MACs, parameters and bytes at ``quantise.bits``, of one picture of the
    family's own size, and milliseconds where those are asked for."""
    latency = latency_of(teacher, net, c)
    if c.quantise.bits < 32 and net is not teacher.net:
        net = quantise(copy.deepcopy(net), quantiser_of_settings(c.quantise))
    table = CostTable(net, teacher.family.image.size)
    names = ("macs", "params", "bytes")

    def costs(widths: Widths) -> dict[str, float]:
        found = table(widths)
        return {**{name: float(getattr(found, name)) for name in names}, **latency(widths)}

    return costs


def latency_of(
    teacher: Model, net: nn.Module, c: OnceForAllConfig
) -> Callable[[Widths], dict[str, float]]:
    """Widths of ``net`` -> {'latency_ms': milliseconds}, or {} where nobody asks; of the teacher as
    it was measured."""
    if not wants_latency(c):
        return lambda widths: {}
    if net is teacher.net:
        return lambda widths: {LATENCY: float(c.target.teacher_ms or 0.0)}
    cost = latency_cost(supernet(teacher, c), c.target, c.quantise)
    return lambda widths: {LATENCY: cost(widths)}


def budget_of(teacher: Model, c: OnceForAllConfig) -> dict[str, float]:
    """The target as a cost of its own unit: {'macs': 2.5e9}; {} where there is none."""
    if c.target.chosen is None:
        return {}
    name, share = c.target.chosen
    if c.target.latency_ms is not None:
        return {LATENCY: c.target.latency_ms}
    return {name: share * costs_of(teacher, teacher.net, c)({})[name]}
