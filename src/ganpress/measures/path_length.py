"""Perceptual path length of a generator, by a protocol that the metric's name declares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganpress.errors import CheckpointError, ConfigError
from ganpress.losses.features import Features
from ganpress.losses.lpips import PictureDistance
from ganpress.losses.picture_distance import distance_on, load_distance, lpips_is_here
from ganpress.measures.metrics.path_length import EPS, lerp, pair_lengths, slerp, trimmed
from ganpress.models.checkpoint import Model
from ganpress.models.spaces import Space, check_space, draw_latent, synthesise
from ganpress.nn.modes import in_eval
from ganpress.types import Inputs

LOW, HIGH = 1, 99
"""Percentiles: the published trimming keeps what lies between."""
PATHS: dict[str, Space] = {"ppl-w": "w", "ppl-z": "z"}
"""Metrics, and the space that each is measured in."""


def check_paths(model: Model, names: Iterable[str]) -> None:
    """Refuse metrics of `PATHS` in a space that the generator does not have: ConfigError."""
    for name in names:
        check_space(model, PATHS[name])


@dataclass(frozen=True)
class PathLength:
    """A trimmed mean, its standard error over the pairs that were kept, and what it is called."""

    name: str
    value: float
    error: float
    pairs: Tensor
    """(count,) float64, untrimmed."""
    protocol: str


@torch.no_grad()
def path_length(
    model: Model,
    distance: PictureDistance,
    *,
    space: Space = "w",
    count: int = 5000,
    batch: int = 8,
    eps: float = EPS,
    seed: int = 0,
) -> PathLength:
    """Mean of d(G(path(t)), G(path(t + eps))) / eps^2 over pairs of random latents; smaller is
    smoother.

    t is uniform in [0, 1] ("full" in StyleGAN's paper). Both ends of a pair are given the same
    noise maps, or the same class; pictures are neither cropped nor rounded. What is drawn does not
    depend on ``batch``.

    Args: space: "w", along a line, or "z", along a great circle. count: pairs.
    Raises: ConfigError where the generator has no such space; CheckpointError.
    """
    check_space(model, space)
    if count < 2 or not 0 < eps < 1:
        raise ConfigError(f"count is {count} and eps {eps}: give at least 2 pairs, 0 < eps < 1.")
    draw = torch.Generator().manual_seed(seed)
    with in_eval(model.net):
        drawn = _pairs(model, count, batch, draw)
        pairs = torch.cat([_lengths(model, space, distance, eps, *each) for each in drawn])
    if not pairs.isfinite().all():
        raise CheckpointError("The generator makes values that are not finite: it is spoilt.")
    kept = trimmed(pairs, low=LOW, high=HIGH)
    return PathLength(
        f"ppl-{space}-eps{eps:g}-trim{LOW}-{HIGH}-{count}-{distance.name}",
        float(kept.mean()),
        float(kept.std(correction=0)) / len(kept) ** 0.5,
        pairs,
        _protocol(model, space, eps, count, seed, distance),
    )


def path_lengths(
    model: Model,
    names: Iterable[str],
    features: Features,
    count: int,
    *,
    seed: int,
    weights: Path | None = None,
) -> list[PathLength]:
    """The metrics of `PATHS` that are asked for: by LPIPS where its weights are on this machine,
    else by the distance on a feature network. The names say which."""
    names = list(names)
    if not names:
        return []
    device = next(model.net.parameters()).device
    known = lpips_is_here(weights)
    distance = load_distance(weights=weights).to(str(device)) if known else distance_on(features)
    return [path_length(model, distance, space=PATHS[n], count=count, seed=seed) for n in names]


def _pairs(
    model: Model, count: int, batch: int, draw: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor, Inputs]]:
    """Batches of (z of one end, z of the other, fractions, the rest), drawn pair after pair."""
    for start in range(0, count, batch):
        rows = []
        for _ in range(start, min(start + batch, count)):
            z, rest = draw_latent(model.net, draw)
            other, _unused = draw_latent(model.net, draw)
            rows.append((z, other, torch.rand(1, generator=draw), *rest))
        a, b, t, *others = (torch.cat(column) for column in zip(*rows, strict=True))
        yield a, b, t, tuple(others)


def _lengths(
    model: Model,
    space: Space,
    distance: PictureDistance,
    eps: float,
    a: Tensor,
    b: Tensor,
    t: Tensor,
    rest: Inputs,
) -> Tensor:
    """(n,) float64, on the CPU."""
    net: Any = model.net
    device = next(net.parameters()).device
    a, b, t = a.to(device), b.to(device), t.to(device)
    both = tuple(torch.cat([x, x]).to(device) for x in rest)
    if space == "w":
        path = partial(lerp, net.mapping(a), net.mapping(b))
    else:
        path = partial(slerp, a, b)
    return pair_lengths(
        lambda rows: synthesise(net, space, rows, *both), distance, path, t, eps
    ).cpu()


def _protocol(
    model: Model, space: Space, eps: float, count: int, seed: int, distance: PictureDistance
) -> str:
    way = "a line in W" if space == "w" else "a great circle in Z"
    same = "classes" if "y" in getattr(model.net, "reads", ()) else "noise maps"
    of = f" of the same {same}" if len(getattr(model.net, "reads", ())) > 1 else ""
    return (
        f"{count} pairs{of} at t and t + {eps:g} of {way}, t uniform in [0, 1], seed {seed}; "
        f"distance / eps^2, mean between the percentiles {LOW} (lower rank) and {HIGH} (higher); "
        f"not cropped, not rounded; distance: {distance.protocol}"
    )
