"""The scores by name, which of them a generator can have, and two of them combined by rank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ganpress.channels.importance import ranks
from ganpress.errors import ConfigError
from ganpress.methods.content_aware.score_settings import ScoreSettings
from ganpress.methods.content_aware.scores.activations import Over, asv, l1_map
from ganpress.methods.content_aware.scores.diversity import diversity, drawn_directions
from ganpress.methods.content_aware.scores.drawn import PEPPER, Drawn, Noise, salt_and_pepper
from ganpress.methods.content_aware.scores.filters import l1_in, l1_out, style
from ganpress.methods.content_aware.scores.gradients import content_aware, taylor
from ganpress.models.checkpoint import Model
from ganpress.models.spaces import latent_of
from ganpress.nn.axes import widths
from ganpress.nn.modulated import ModulatedConv
from ganpress.types import Scores

Score = Callable[[nn.Module, Drawn, ScoreSettings], Scores]
"""(network, samples, settings) -> group -> (width,), larger is more important."""


@dataclass(frozen=True)
class Kind:
    """A score, and what keeps a generator from having it: a network -> the reason, or None."""

    of: Score
    lacks: Callable[[nn.Module], str | None] = lambda net: None


def _noise(drawn: Drawn, s: ScoreSettings) -> Noise:
    return salt_and_pepper(s.noise, drawn.generator(PEPPER))


def _diversity(detached: bool) -> Score:
    def score(net: nn.Module, drawn: Drawn, s: ScoreSettings) -> Scores:
        latent = latent_of(net)
        assert latent is not None  # `check_score` refuses
        chosen = drawn_directions(net, latent, drawn, count=s.directions, latents=s.latents)
        return diversity(
            net, latent, drawn, directions=chosen, shift=s.shift, detached=detached, rgb=s.rgb
        )

    return score


def _asv(over: Over) -> Score:
    return lambda net, drawn, s: asv(net, drawn, over=over)


def random(net: nn.Module, drawn: Drawn) -> Scores:
    """Numbers from 0 to 1, drawn by the seed: what every score has to beat."""
    draw = drawn.generator(0)
    return {group: torch.rand(width, generator=draw) for group, width in widths(net).items()}


def _no_latent(net: nn.Module) -> str | None:
    if latent_of(net) is not None:
        return None
    return "it reads no random vector, so that there is no latent with directions"


def _no_styles(net: nn.Module) -> str | None:
    if any(isinstance(m, ModulatedConv) for m in net.modules()):
        return None
    return "no style scales its channels"


SCORES: dict[str, Kind] = {
    "content-aware": Kind(
        lambda net, drawn, s: content_aware(net, drawn, noise=_noise(drawn, s), rgb=s.rgb)
    ),
    "diversity": Kind(_diversity(detached=False), _no_latent),
    "diversity-detached": Kind(_diversity(detached=True), _no_latent),
    "l1-out": Kind(lambda net, drawn, s: l1_out(net, drawn, rgb=s.rgb)),
    "l1-in": Kind(lambda net, drawn, s: l1_in(net, drawn)),
    "style": Kind(lambda net, drawn, s: style(net, drawn, rgb=s.rgb), _no_styles),
    "asv": Kind(_asv("nothing")),
    "asv-l1": Kind(_asv("l1")),
    "asv-l2": Kind(_asv("l2")),
    "l1-map": Kind(lambda net, drawn, s: l1_map(net, drawn)),
    "taylor": Kind(lambda net, drawn, s: taylor(net, drawn, noise=_noise(drawn, s), rgb=s.rgb)),
    "random": Kind(lambda net, drawn, s: random(net, drawn)),
}


def possible_scores(net: nn.Module) -> list[str]:
    """Names of the scores that a generator can have."""
    return [name for name, kind in SCORES.items() if kind.lacks(net) is None]


def check_score(model: Model, settings: ScoreSettings) -> None:
    """Refuse a score that a generator cannot have, with the reason. Raises: ConfigError."""
    for setting, name in (("score.name", settings.name), ("score.second", settings.second)):
        reason = SCORES[name].lacks(model.net) if name else None
        if reason:
            raise ConfigError(
                f"{setting}={name}: a '{model.family.name}' generator cannot have this score, for "
                f"{reason}. It can have {', '.join(possible_scores(model.net))}."
            )


def score_channels(model: Model, drawn: Drawn, settings: ScoreSettings) -> Scores:
    """The importance of every channel that the settings ask for, on the CPU: one score as it is, or
    two combined by `ranks`, ``second_weight`` being the second one's part.

    Raises: ConfigError for a score that the generator cannot have, or a mask that is none.
    """
    check_score(model, settings)

    def found(name: str) -> Scores:
        scores = SCORES[name].of(model.net, drawn, settings)
        return {group: score.detach().cpu() for group, score in scores.items()}

    first = found(settings.name)
    if settings.second is None:
        return first
    return combined(first, found(settings.second), settings.second_weight)


def combined(first: Scores, second: Scores, weight: float) -> Scores:
    """Two scores by rank: (1 - weight) of the first's and ``weight`` of the second's."""
    a, b = ranks(first), ranks(second)
    return {group: (1 - weight) * a[group] + weight * b[group] for group in a}
