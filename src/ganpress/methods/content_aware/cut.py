"""Which channels stay, by their scores: a ratio of each layer, of all layers, or a cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from torch import Tensor

from ganpress.channels.importance import importance_per_cost, ranks
from ganpress.channels.ranking import (
    Bind,
    filled,
    keep_top,
    largest_ratio,
    rounded_width,
    unbound,
)
from ganpress.channels.recalibrate import recalibrate
from ganpress.channels.take import shrink
from ganpress.errors import ConfigError, InfeasibleTarget
from ganpress.measures.cost import CostOf
from ganpress.measures.target import TargetSettings
from ganpress.methods.content_aware.score_settings import CutSettings
from ganpress.models.checkpoint import Model
from ganpress.types import Inputs, Keep, Scores, Widths

PUBLISHED = 0.7
"""The ratio of the paper's models."""


@dataclass(frozen=True)
class Limits:
    """What holds for the widths of every student.

    Attributes:
        min_channels: of a group, or all that it has. multiple: widths are multiples of it.
        bind: the widths that are allowed.
    """

    min_channels: int = 1
    multiple: int = 1
    bind: Bind = unbound

    def __call__(self, wanted: Widths, have: Widths) -> dict[str, int]:
        """These widths, raised to allowed ones."""
        return self.bind(
            {g: rounded_width(wanted[g], self.min_channels, have[g], self.multiple) for g in have}
        )

    def smallest(self, have: Widths) -> dict[str, int]:
        """The least that is left of every group."""
        return self(dict.fromkeys(have, 0), have)


def check_cut(how: CutSettings, target: TargetSettings) -> None:
    """Refuse a ratio and a cost at once, and neither. Raises: ConfigError."""
    given = target.given
    if how.ratio is not None and given is not None:
        raise ConfigError(
            f"cut.ratio={how.ratio:g} and target.{given[0]}={given[1]:g} contradict each other: "
            f"give one of them, and reset the other (--set cut.ratio= or --set target.{given[0]}=)."
        )
    if how.ratio is None and given is None:
        raise ConfigError(
            "Nothing says how much is to be cut: give a ratio of the channels (--set "
            f"cut.ratio={PUBLISHED}, the paper's) or a cost (--set target.macs=0.09)."
        )


def cut(
    scores: Scores,
    how: CutSettings,
    target: TargetSettings,
    *,
    cost: CostOf | None = None,
    limits: Limits = Limits(),
    whole: Widths | None = None,
) -> dict[str, Tensor]:
    """The channels that are kept: by a ratio, or the most that the target's cost allows.

    Args:
        scores: of every group that may be cut.
        cost: widths of these groups -> the cost that ``target`` names, as a fraction of the
            teacher's; needed with a target, and for ``how.cost_exponent``.
        whole: the teacher's widths, of which fractions are, where this is one of several cuts; it
            may then remove nothing. None: those of the scores.
    Returns: group -> sorted indices, (k,) int64.
    Raises: ConfigError for a ratio beside a cost, or neither; for a ratio that cuts nothing or
        empties a layer; InfeasibleTarget where even the smallest network costs more.
    """
    check_cut(how, target)
    comparable = UNITS[how.unit](scores)
    if how.cost_exponent and cost is not None:
        comparable = importance_per_cost(comparable, cost, how.cost_exponent)
    if how.ratio is not None and how.scope == "layer":
        return cut_each(scores, how.ratio, limits, whole)
    if how.ratio is not None:
        return cut_all(comparable, how.ratio, limits, whole)
    assert target.chosen is not None and cost is not None
    if how.scope == "layer":
        return cut_each_to(scores, target, cost, limits, whole)
    return keep_top(
        comparable, budget=target.chosen[1], cost=cost, floors=limits.min_channels,
        multiple=limits.multiple, bind=limits.bind,
    )  # fmt: skip


def pruned(model: Model, keep: Keep, *, calibration: Iterable[Inputs] = ()) -> Model:
    """The model with these channels only: weights, noise maps and constants are sliced, gains stay
    those of the full network, so that what is left of the picture keeps its brightness.

    A moving average of the weights is cut by the same call: it is a model like any other.

    Args: calibration: batches from which the statistics of BatchNorms are read anew; none: they
        stay those of the wider network.
    """
    return replace(model, net=recalibrate(shrink(model.build, model.net, keep), calibration))


def widths_after(widths: Widths, ratio: float, limits: Limits = Limits()) -> dict[str, int]:
    """Channels that are left of each group: C - int(C ratio), as the authors truncate it."""
    return limits({g: c - int(c * ratio) for g, c in widths.items()}, widths)


def cut_each(
    scores: Scores, ratio: float, limits: Limits = Limits(), whole: Widths | None = None
) -> dict[str, Tensor]:
    """Remove the same fraction of every group's channels, the least important ones (the paper)."""
    have = whole or {g: len(s) for g, s in scores.items()}
    if whole is None:
        _refuse_no_cut(lambda r: widths_after(have, r, limits), have, ratio, limits)
    return best(scores, widths_after(have, ratio, limits))


def cut_all(
    scores: Scores, ratio: float, limits: Limits = Limits(), whole: Widths | None = None
) -> dict[str, Tensor]:
    """Remove a fraction of all channels, the least important ones of all groups together.

    Raises: ConfigError where a whole group would be among them, before ``min_channels`` of it are
        put back: what is left would have little to do with the scores. Not of one of several cuts,
        since a group that is narrow by then is judged anew in each.
    """
    have = {g: len(s) for g, s in scores.items()}

    def left(r: float, within: Limits) -> dict[str, Tensor]:
        total = sum((whole or have).values())
        return keep_top(
            scores, budget=_reachable(total - int(total * r), have, within),
            cost=lambda widths: sum(widths.values()), floors=within.min_channels,
            multiple=within.multiple, bind=within.bind,
        )  # fmt: skip

    def emptied(r: float) -> list[str]:
        bare = left(r, Limits(min_channels=0))
        return [g for g, kept in bare.items() if have[g] and not len(kept)]

    def widths_at(r: float) -> Widths:
        return have if emptied(r) else {g: len(k) for g, k in left(r, limits).items()}

    if whole is not None:
        return left(ratio, limits)
    if gone := emptied(ratio):
        most = _down(largest_ratio(lambda r: not emptied(r)))
        cuts = most > 0 and _is_narrower(widths_at(most), have)
        lower = f"Lower it to {most} at most, or cut" if cuts else "Cut"
        raise ConfigError(
            f"cut.ratio={ratio:g} with cut.scope=network would leave no channel of "
            f"{', '.join(gone)}. {lower} each layer alike (--set cut.scope=layer)."
        )
    _refuse_no_cut(widths_at, have, ratio, limits)
    return left(ratio, limits)


def check_ratio_of_all(have: Widths, ratio: float, limits: Limits = Limits()) -> None:
    """Refuse a ratio of all channels that cuts nothing, or empties a group, whatever their scores.

    Raises: ConfigError. Ratios that only some scores refuse are `cut_all`'s to refuse.
    """
    total, groups = sum(have.values()), sum(map(bool, have.values()))
    smallest = limits.smallest(have)
    _refuse_no_cut(lambda r: smallest if int(total * r) else have, have, ratio, limits)
    left = total - int(total * ratio)
    if left < groups:
        raise ConfigError(
            f"cut.ratio={ratio:g} with cut.scope=network leaves {left} of {total} channels for "
            f"{groups} groups: some would have none. Cut each layer alike (--set cut.scope=layer)."
        )


def cut_each_to(
    scores: Scores,
    target: TargetSettings,
    cost: CostOf,
    limits: Limits = Limits(),
    whole: Widths | None = None,
) -> dict[str, Tensor]:
    """Remove as small a fraction of every group's channels as fits the cost. What whole steps of
    ``limits.multiple`` leave of it goes to the groups that have kept the smallest share."""
    have = whole or {g: len(s) for g, s in scores.items()}
    assert target.chosen is not None
    name, allowed = target.chosen

    def widths_at(kept: float) -> dict[str, int]:
        return widths_after(have, 1 - kept, limits)

    if (smallest := cost(widths_at(0.0))) > allowed:
        raise InfeasibleTarget(
            f"target.{name}={target.as_given(allowed):g} cannot be reached: with min_channels="
            f"{limits.min_channels} the smallest network still has {target.words(smallest)}. Raise "
            "the target or lower min_channels."
        )
    widths = widths_at(largest_ratio(lambda kept: cost(widths_at(kept)) <= allowed))
    if limits.multiple > 1:
        widths = filled(
            widths, have, lambda group, width: -width / have[group],
            fits=lambda wider: cost(wider) <= allowed, multiple=limits.multiple, bind=limits.bind,
        )  # fmt: skip
    return best(scores, widths)


def best(scores: Scores, widths: Widths) -> dict[str, Tensor]:
    """The best-scored channels of each group, as many as ``widths`` says, in their own order."""
    return {
        g: s.argsort(descending=True, stable=True)[: widths[g]].sort().values.cpu()
        for g, s in scores.items()
    }


def over_mean(scores: Scores) -> Scores:
    """Scores divided by their group's mean: a layer whose gradients are all large keeps no more
    channels for that. A group without any score other than 0 is left as it is."""
    return {g: s / m if len(s) and (m := s.mean()) > 0 else s for g, s in scores.items()}


UNITS: dict[str, Callable[[Scores], Scores]] = {
    "mean": over_mean,
    "rank": ranks,
    "none": lambda scores: scores,
}
"""What makes layers comparable, by ``cut.unit``."""


def _refuse_no_cut(
    widths_at: Callable[[float], Widths], have: Widths, ratio: float, limits: Limits
) -> None:
    """Refuse a ratio at which no group is narrower. Raises: ConfigError, with one that cuts."""
    if _is_narrower(widths_at(ratio), have):
        return
    more = (r / 100 for r in range(5, 96, 5) if r / 100 > ratio)
    first = next((r for r in more if _is_narrower(widths_at(r), have)), None)
    lower = "Lower min_channels, or take a teacher with more channels."
    raise ConfigError(
        f"cut.ratio={ratio:g} removes no channel: the groups have {min(have.values())} to "
        f"{max(have.values())} channels, of which {limits.min_channels} stay in any case"
        f"{f', in multiples of {limits.multiple}' if limits.multiple > 1 else ''}. "
        + (f"Raise it (--set cut.ratio={first:g})." if first is not None else lower)
    )


def _is_narrower(widths: Widths, have: Widths) -> bool:
    return any(width < have[g] for g, width in widths.items())


def _reachable(wanted: int, have: Widths, limits: Limits) -> int:
    """As many channels in all, or as few as the limits allow where those are more."""
    return max(wanted, sum(limits.smallest(have).values()))


def _down(ratio: float) -> float:
    return int(ratio * 1000) / 1000
