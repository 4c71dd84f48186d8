"""Groups that can be pruned, and the widths within a cost target of students that start narrow."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

from ganpress.channels.ranking import (
    Bind,
    largest_ratio,
    rounded_width,
    unbound,
    widths_at_ratio,
)
from ganpress.channels.take import scales
from ganpress.errors import ConfigError, InfeasibleTarget
from ganpress.measures.cost import CostOf
from ganpress.measures.cost import cost_ratio as cost_of
from ganpress.measures.target import LATENCY
from ganpress.measures.timing.latency_target import latency_share
from ganpress.methods.checks import binding, rounded_up
from ganpress.methods.gan_slimming.extract import floors_of, scaled_copy
from ganpress.methods.gan_slimming.goal import Goal
from ganpress.methods.gan_slimming.settings import SlimConfig
from ganpress.models.checkpoint import Model
from ganpress.models.layouts import Binding
from ganpress.nn.layers import add_gates
from ganpress.quantisation.attach import quantiser_of_settings
from ganpress.quantisation.quantise import quantise
from ganpress.run.proposals import fewer, ways
from ganpress.training.student_form import in_form, with_scales
from ganpress.types import Widths

WIDE = 0.5  # of the channels that d+cp's first student has, at least


def frozen_groups(teacher: Model, config: SlimConfig) -> tuple[str, ...]:
    """Groups that are never cut: the residual trunk where it is to be kept."""
    return teacher.family.tied if config.trunk == "keep" else ()


def prunable(teacher: Model, config: SlimConfig) -> tuple[str, ...]:
    """Groups that may be cut in this run.

    All of them for gd, whose student starts narrow; else those with scales, once norms and gates
    have them, without the tied ones where the trunk is kept.
    Raises: ConfigError where there is none.
    """
    if config.procedure == "gd":
        return tuple(teacher.widths)
    frozen = frozen_groups(teacher, config)
    scaled = scales(add_gates(narrowed_from(teacher, config).net))
    found = tuple(group for group in scaled if group not in frozen)
    if not found:
        raise ConfigError(
            f"No group of this '{teacher.family.name}' generator has scales to be pruned by: its "
            "channels are modulated by styles, not by norms of their own. What can be done: a "
            "uniformly narrow student (--set procedure=gd)."
        )
    return found


def narrowed_from(teacher: Model, config: SlimConfig) -> Model:
    """The network that a run narrows, at the teacher's widths, in the form of ``student.form``."""
    formed = in_form(teacher, config)
    return formed if config.procedure == "gd" else scaled_copy(formed)


def cost_ratio(teacher: Model, config: SlimConfig) -> CostOf:
    """Widths -> the targeted cost as a fraction of the teacher's (MACs where no target is set)."""
    name = config.target.given[0] if config.target.given else "macs"
    begin = narrowed_from(teacher, config)
    if name == LATENCY:
        return latency_share(begin, config.target, config.quantise)
    net = begin.net
    if config.quantise.bits < 32 and name == "bytes":
        net = quantise(copy.deepcopy(net), quantiser_of_settings(config.quantise))
    return cost_of(name, teacher.net, net, teacher.family.image.size)


def bind_of(teacher: Model, config: SlimConfig, widths: Widths | None = None) -> Bind:
    """The widths that ``target.layout`` allows a student of now these widths (the teacher's).

    Raises: ConfigError where this procedure cannot prune to any of them.
    """
    if config.target.layout is None:
        return unbound
    otherwise, slimmed = "Leave target.layout out", config.procedure != "gd"
    if slimmed and frozen_groups(teacher, config) and _can_bind(teacher, config, trunk="tied"):
        otherwise = "Set trunk=tied"
    elif slimmed and _can_bind(teacher, config, procedure="gd"):
        otherwise = "Set procedure=gd, a uniformly narrow student, or leave target.layout out"
    formed = in_form(teacher, config)
    options = with_scales(formed.options) if slimmed else formed.options
    groups = prunable(teacher, config)
    have = teacher.widths if widths is None else widths
    return binding(teacher.family.name, options, have, config, groups, otherwise=otherwise)


def _can_bind(model: Model, config: SlimConfig, **changed: str) -> bool:
    try:
        bind_of(model, config.model_copy(update=changed))
    except ConfigError:
        return False
    return True


def final_widths(model: Model, config: SlimConfig, bind: Bind, goal: Goal | None) -> Widths | None:
    """The widths to end with, where a layout and a goal leave no choice: those of the largest
    number within the goal, if all hang on one. Else None."""
    if not (isinstance(bind, Binding) and bind.has_one_number and goal is not None):
        return None
    ratio = largest_ratio(lambda r: goal.cost(_narrowed(model, r, config, bind)) <= goal.end)
    return _narrowed(model, ratio, config, bind)


def check_target(teacher: Model, config: SlimConfig, begin: Model | None = None) -> None:
    """Refuse, before any training, a target below the smallest network (InfeasibleTarget), a gd
    without a width, a generator of which nothing can be pruned, and a layout whose classes this
    procedure cannot prune to (ConfigError).

    Args: begin: what is pruned, where that is not the teacher but a student of it.
    """
    is_student = begin is not None and begin is not teacher
    begin = in_form(begin or teacher, config)
    try:
        groups = prunable(begin, config)
    except ConfigError as error:
        raise ConfigError(
            f"{error}{' That starts anew: leave --from out.' * is_student}"
        ) from error
    bind_of(begin, config)
    if config.target.chosen is None:
        if config.procedure == "gd" and config.width_ratio is None:
            some = ({"target.macs": share} for share in (0.05, 0.1, 0.25, 0.5, 0.9))
            ratio = [{"width_ratio": 0.5}]
            raise ConfigError(
                "procedure 'gd' needs a target or a ratio of the channels"
                f"{ways(config, some, ratio, check=partial(check_target, teacher, begin=begin))}."
            )
        return
    target, (name, wanted) = config.target, config.target.chosen
    smallest = _smallest_cost(teacher, config, begin)
    if smallest <= wanted:
        return
    layout = config.target.layout
    kept = config.trunk == "keep" and config.procedure != "gd" and bool(teacher.family.tied)
    bare = [
        g for g, n in begin.widths.items() if n and g not in groups and g not in teacher.family.tied
    ]
    raise InfeasibleTarget(
        f"target.{name}={target.as_given(wanted):g} cannot be reached: with "
        f"min_channels={config.min_channels}"
        f"{' and the trunk kept' if kept else ''}{f' as {layout} has it' if layout else ''} the "
        f"smallest network still has {target.words(rounded_up(smallest))}. What can be "
        f"reached{_ways_to_reach(teacher, config, begin, smallest)}."
        + (f" Groups without scales stay whole: {', '.join(bare)}." if bare else "")
    )


def _smallest_cost(teacher: Model, config: SlimConfig, begin: Model) -> float:
    """The targeted cost of the smallest network that pruning can leave, of the teacher's."""
    floors, multiple = floors_of(teacher, config), config.channel_multiple
    sizes = {g: begin.widths[g] for g in prunable(begin, config)}
    cost = cost_ratio(teacher, config)
    smallest = {g: rounded_width(0, floors[g], n, multiple) for g, n in sizes.items()}
    return float(cost({**begin.widths, **bind_of(begin, config)(smallest)}))


def _ways_to_reach(teacher: Model, config: SlimConfig, begin: Model, smallest: float) -> str:
    """The least target above, or what lowers the smallest network to the target that was asked."""

    def is_met(changed: SlimConfig) -> None:
        chosen = changed.target.chosen
        if chosen is None or _smallest_cost(teacher, changed, begin) > chosen[1]:
            raise InfeasibleTarget("still above the target")

    target = config.target
    name = target.given[0] if target.given else "macs"
    empty: dict[str, Any] = {"sparsify.empty_blocks": True}
    channels = [*fewer("min_channels", config.min_channels)]
    return ways(
        config,
        [{f"target.{name}": rounded_up(target.as_given(smallest))}],
        [*channels, *({**empty, **f} for f in channels)],
        [{"trunk": "tied"}] if config.trunk == "keep" else [],
        [empty],
        check=is_met,
    )


def uniform_widths(teacher: Model, config: SlimConfig) -> dict[str, int]:
    """The widest uniform narrowing of the teacher that fits the target, or ``width_ratio`` of its
    channels where that is given (the student of procedure gd)."""
    chosen, bind = config.target.chosen, bind_of(teacher, config)
    if config.width_ratio is not None or chosen is None:
        return _narrowed(teacher, config.width_ratio or 1.0, config, bind)
    return _narrowed(teacher, _ratio_within(teacher, config, chosen[1], bind), config, bind)


def wide_widths(teacher: Model, config: SlimConfig) -> dict[str, int]:
    """d+cp's first student: ``width_ratio`` of the teacher's channels; where that is not given half
    of them, or as many as cost the root of the target's ratio where that is more."""
    bind = bind_of(teacher, config)
    if config.width_ratio is not None:
        return _narrowed(teacher, config.width_ratio, config, bind)
    chosen = config.target.chosen
    between = _ratio_within(teacher, config, math.sqrt(chosen[1]), bind) if chosen else WIDE
    return _narrowed(teacher, max(WIDE, between), config, bind)


def _ratio_within(teacher: Model, config: SlimConfig, budget: float, bind: Bind) -> float:
    """The largest ratio of every group's channels that costs no more than this."""
    cost = cost_ratio(teacher, config)
    return largest_ratio(lambda ratio: cost(_narrowed(teacher, ratio, config, bind)) <= budget)


def _narrowed(model: Model, ratio: float, config: SlimConfig, bind: Bind) -> dict[str, int]:
    floor, multiple = config.min_channels, config.channel_multiple
    return widths_at_ratio(model.widths, ratio, floors=floor, multiple=multiple, bind=bind)
