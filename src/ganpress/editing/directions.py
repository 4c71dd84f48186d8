"""Edit directions: found without labels, and applied to a code.

A direction is a unit vector of the generator's latent space, with the standard deviation of its
codes along it: a strength is given in such deviations, so that 2 is as far for every direction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ganpress.editing.latents import LatentSpace, check_layers, latent_space
from ganpress.errors import ConfigError, did_you_mean
from ganpress.models.checkpoint import Model, fingerprint
from ganpress.models.components import (
    Components,
    input_components,
    principal_components,
    weight_components,
)

Kind = Literal["pca", "sefa"]
KINDS: Mapping[str, str] = {
    "pca": "principal components of the codes (GANSpace); without a mapping network, of the first "
    "layer's outputs",
    "sefa": "eigenvectors of the weights that read the code (SeFa)",
}
_NEGLIGIBLE = 1e-10  # of the whole: what a direction explains that is rounding alone


@dataclass(frozen=True)
class Directions:
    """The directions of one network.

    Attributes:
        vectors: (k, dim) float32, of unit length, the most important first.
        deviations: (k,), the standard deviation of the network's codes along each.
        ratios: (k,), what each explains: of the codes' variance ("pca"; without a mapping network
            of the first layer's outputs'), or of the weights' squared norm ("sefa").
        mean: (dim,), of the codes.
        kind: one of `KINDS`.
        space: "w", "z" or "style".
        layers: first and last that they are applied to; of "sefa" those they were found in.
        of_layers: how many layers of the network can have a code of their own; 1: all share one.
        family, network, latent: of the network: its family, its fingerprint, and that of what makes
            its codes (`LatentSpace.fingerprint`).
        found: how: the model's file, samples, seed; where they were transferred, from what.
    """

    vectors: Tensor
    deviations: Tensor
    ratios: Tensor
    mean: Tensor
    kind: str
    space: str
    layers: tuple[int, int]
    of_layers: int
    family: str
    network: str
    latent: str
    found: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.vectors)


def find_directions(
    model: Model,
    kind: str = "pca",
    *,
    count: int = 16,
    layers: tuple[int, int] | None = None,
    samples: int = 10_000,
    seed: int = 0,
    file: str = "",
) -> Directions:
    """The first ``count`` directions of a generator.

    Args:
        kind: "pca" or "sefa", see `KINDS`.
        layers: first and last layer, both included: those that the directions are applied to, and
            whose weights "sefa" factorises; None: all.
        samples: codes drawn for the components and the deviations.
        file: the model's, for messages about the directions.
    Raises: ConfigError for a generator without a latent code, an unknown kind, layers or a number
        of directions that it does not have.
    """
    space = latent_space(model)
    if kind not in get_args(Kind):
        raise ConfigError(
            f"There are no directions '{kind}'{did_you_mean(kind, KINDS)}. Choose "
            f"{' or '.join(KINDS)}."
        )
    first, last = check_layers(layers, space.layers)
    if samples < 2:
        raise ConfigError(f"samples is {samples}: standard deviations need 2 codes at least.")
    codes = space.sample(samples, seed).double()
    parts = _components(space, kind, codes, (first, last))
    chosen = _first(parts, count, samples)
    return Directions(
        chosen.vectors.float(),
        deviations_along(codes, chosen.vectors).float(),
        chosen.ratios.float(),
        codes.mean(0).float(),
        kind,
        space.name,
        (first, last),
        space.layers,
        model.family.name,
        fingerprint(model.net),
        space.fingerprint(),
        {"model": file, "samples": samples, "seed": seed},
    )


def deviations_along(codes: Tensor, vectors: Tensor) -> Tensor:
    """The standard deviation of codes (n, dim) along unit vectors (k, dim): (k,)."""
    return (codes @ vectors.to(codes.dtype).T).std(0)


def move(
    codes: Tensor,
    directions: Directions,
    which: int,
    strength: float | Tensor,
    layers: tuple[int, int] | None = None,
) -> Tensor:
    """Codes moved along one direction: code + strength * deviation * vector.

    Args:
        codes: of the directions' network (`check_network`), (n, dim), or (n, layers, dim) with a
            code for each layer.
        which: number of the direction, from 0.
        strength: in standard deviations, one or (n,); 0 changes nothing.
        layers: first and last that are moved; None: the directions' own.
    Returns: (n, dim) where all layers are moved alike, else (n, layers, dim).
    Raises: ConfigError for a direction or layers that are not there, and codes of another width.
    """
    count, dim = directions.of_layers, directions.vectors.shape[1]
    if not 0 <= which < len(directions):
        raise ConfigError(f"There is no direction {which}: there are 0 to {len(directions) - 1}.")
    if (
        codes.shape[-1] != dim
        or codes.ndim not in (2, 3)
        or codes.shape[1:-1] not in ((), (count,))
    ):
        raise ConfigError(
            f"These directions move codes (n, {dim}) or (n, {count}, {dim}), not "
            f"{tuple(codes.shape)}."
        )
    first, last = check_layers(layers or directions.layers, count)
    steps = torch.as_tensor(strength).to(codes).reshape(-1, 1)
    shift = steps * (directions.deviations[which] * directions.vectors[which]).to(codes)
    if codes.ndim == 2 and last - first + 1 == count:
        return codes + shift
    each = codes if codes.ndim == 3 else codes[:, None].expand(-1, count, -1)
    moved = torch.zeros(count, 1).to(codes)
    moved[first : last + 1] = 1
    return each + moved * shift[:, None]


def check_network(directions: Directions, model: Model, file: str = "FILE") -> None:
    """Refuse the directions of another network, saying how they get here: ConfigError.

    Args: file: the directions', for the message.
    """
    own = fingerprint(model.net)
    if directions.network == own:
        return
    space = latent_space(model)
    origin = str(directions.found.get("model") or "TEACHER")
    head = (
        f"These directions are of another network ('{directions.family}', fingerprint "
        f"{directions.network[:12]}; this one is '{model.family.name}', {own[:12]})"
    )
    if (directions.family, directions.space) != (model.family.name, space.name):
        raise ConfigError(
            f"{head}, whose codes '{directions.space}' mean nothing here: find this network's own "
            "(ganpress edit directions MODEL -o FILE)."
        )
    same = directions.latent == space.fingerprint()
    what = (
        "which makes the same codes, so that they hold here, too"
        if same
        else "whose codes are not this one's, so that they have to be fitted"
    )
    raise ConfigError(
        f"{head}, {what}. Transfer them: ganpress edit directions MODEL --from {file} "
        f"--teacher {origin} -o NEW"
    )


def some(directions: Directions, which: Sequence[int]) -> Directions:
    """Some of the directions, by their numbers from 0."""
    rows = torch.tensor(list(which))
    return replace(
        directions,
        vectors=directions.vectors[rows],
        deviations=directions.deviations[rows],
        ratios=directions.ratios[rows],
    )


def _components(
    space: LatentSpace, kind: str, codes: Tensor, layers: tuple[int, int]
) -> Components:
    if kind == "sefa":
        return weight_components(space.weights(*layers), space.dim)
    if space.is_mapped:
        return principal_components(codes, space.dim)
    return input_components(codes, space.weights(0, 0), space.dim)


def _first(found: Components, count: int, samples: int) -> Components:
    """The first ``count``, all of which explain something. Raises ConfigError."""
    there = int((found.ratios > _NEGLIGIBLE).sum())
    if there == 0:
        raise ConfigError("The network's codes do not vary: it has no directions.")
    if not 1 <= count <= there:
        raise ConfigError(
            f"count is {count}, but of {samples} samples there are 1 to {there} directions here: "
            f"give --count {min(max(count, 1), there)}."
        )
    return Components(found.vectors[:count], found.ratios[:count])
