"""Directions of a teacher as directions of its student."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ganpress.editing.directions import Directions, check_network, move, some
from ganpress.editing.latents import LatentSpace, latent_space
from ganpress.editing.subjects import drawn_subjects, stacked
from ganpress.errors import ConfigError
from ganpress.losses.features import Features, load_features
from ganpress.measures.fidelity import check_channels
from ganpress.models.checkpoint import Model, fingerprint
from ganpress.types import Inputs

SEEDS = range(1000, 1016)
"""Of the pictures on which the agreement of edits is measured."""
POOR_RESIDUAL = 0.5
"""From here on, of the variance of the student's codes, a fitted map is warned about."""
_LOST = 1e-6  # relative length from which on a mapped direction is rounding


@dataclass(frozen=True)
class CodeMap:
    """student's code = teacher's code @ matrix + offset.

    Attributes:
        matrix: (teacher's dim, student's dim) float32.
        offset: (student's dim,) float32.
        inherited: whether both networks make the same codes, so that the map changes nothing.
        residual: the part of the variance of the student's codes that the map does not explain, on
            draws that it was not fitted on: 0 is exact, 1 no better than their mean.
        pairs: draws that it was fitted on.
    """

    matrix: Tensor
    offset: Tensor
    inherited: bool
    residual: float
    pairs: int

    def __call__(self, codes: Tensor) -> Tensor:
        """Codes (..., dim) of the teacher as the student's."""
        return codes if self.inherited else codes @ self.matrix.to(codes) + self.offset.to(codes)


@dataclass(frozen=True)
class Agreement:
    """How alike the pictures of two networks change along directions, as cosines in [-1, 1].

    Attributes:
        pixels: (k,), of the pictures' changes, mean over pictures.
        features: (k,), of the changes of a feature network's last maps.
        network: the feature network's name.
        pictures: how many.
        strength: standard deviations that were moved.
    """

    pixels: Tensor
    features: Tensor
    network: str
    pictures: int
    strength: float

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        cosines = {"pixels": self.pixels.tolist(), "features": self.features.tolist()}
        facts = {"network": self.network, "pictures": self.pictures, "strength": self.strength}
        return {**cosines, **facts}


@dataclass(frozen=True)
class Transfer:
    """A teacher's directions on its student: how they got there, and how well they do.

    Attributes:
        directions, teacher: the same directions in the student's form and in the teacher's.
    """

    directions: Directions
    teacher: Directions
    map: CodeMap
    agreement: Agreement


def transfer(
    directions: Directions,
    teacher: Model,
    student: Model,
    *,
    draws: Inputs | None = None,
    samples: int = 10_000,
    strength: float = 2.0,
    features: str = "tiny",
    weights: Path | None = None,
) -> Transfer:
    """The directions of a teacher as those of its student.

    Where both make the same codes (the student has inherited the mapping network unchanged, or both
    read z itself), the vectors are the same. Else the map between the two spaces is fitted.

    Args:
        draws: what both networks read where the agreement of the edits is measured, one row a
            picture; None: 16 of seeds.
        samples: pairs of codes of the same draws that the map is fitted on.
        strength: of the edits whose agreement is measured, standard deviations.
        features, weights: the feature network of the agreement, as `load_features` takes them.
    Raises: ConfigError where the directions are not the teacher's, or the student is no
        student of it.
    """
    check_network(directions, teacher)
    check_channels(student, teacher)
    net = load_features(features, weights=weights)
    found = fit_map(latent_space(teacher), latent_space(student), samples=samples)
    kept, moved = mapped(directions, found, student)
    draws = stacked(drawn_subjects(teacher, SEEDS)) if draws is None else draws
    ours = some(directions, kept)
    agreed = agreement((teacher, ours), (student, moved), draws, strength=strength, features=net)
    return Transfer(moved, ours, found, agreed)


def fit_map(
    teacher: LatentSpace, student: LatentSpace, *, samples: int = 10_000, seed: int = 1
) -> CodeMap:
    """The affine map from a teacher's codes to its student's: the identity where both make the same
    codes, else by least squares on codes of the same draws; half as many more measure what is left.

    Raises ConfigError where the two cannot be given the same draws, or ``samples`` are too few.
    """
    one, other = teacher.model.family.name, student.model.family.name
    if (one, teacher.dim, teacher.layers) != (other, student.dim, student.layers):
        here, there = (
            f"'{space.model.family.name}', {space.name} of {space.dim} numbers for {space.layers} "
            "layer(s)"
            for space in (teacher, student)
        )
        raise ConfigError(
            f"Directions go from a teacher to its own student: this is a teacher ({here}) and "
            f"another network ({there}). Find that one's own: ganpress edit directions MODEL -o "
            "FILE"
        )
    if teacher.fingerprint() == student.fingerprint():
        dim = teacher.dim
        return CodeMap(torch.eye(dim), torch.zeros(dim), True, 0.0, 0)
    if samples <= teacher.dim:
        raise ConfigError(
            f"samples is {samples}: a map of codes of {teacher.dim} numbers needs more than that; "
            f"{10 * teacher.dim} would do."
        )
    total = samples + max(2, samples // 2)
    x, y = (space.sample(total, seed).double() for space in (teacher, student))
    matrix, offset = least_squares(x[:samples], y[:samples])
    left = (y[samples:] - x[samples:] @ matrix - offset).square().sum()
    varied = (y[samples:] - y[samples:].mean(0)).square().sum()
    residual = float(left / varied.clamp_min(torch.finfo(varied.dtype).tiny))
    return CodeMap(matrix.float(), offset.float(), False, residual, samples)


def least_squares(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The affine map, matrix (d, e) and offset (e,), that minimises the sum of |x matrix + offset -
    y|^2 over rows x (n, d) and y (n, e); of several the smallest matrix."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    matrix = torch.linalg.lstsq(x - mean_x, y - mean_y, driver="gelsd").solution
    return matrix, mean_y - mean_x @ matrix


def mapped(directions: Directions, found: CodeMap, student: Model) -> tuple[list[int], Directions]:
    """The directions as the student's, and which of them have one there.

    A direction's unit of strength is mapped with it, so that one strength is the same edit on both
    networks. What the student's codes do not vary along is left out, with a warning.
    """
    space = latent_space(student)
    if not found.inherited and found.residual > POOR_RESIDUAL:
        warnings.warn(
            f"The student's codes hardly follow from the teacher's: a linear map leaves "
            f"{found.residual:.0%} of their variance. Its own directions are better: ganpress edit "
            "directions STUDENT -o FILE",
            stacklevel=2,
        )
    moved = directions.vectors if found.inherited else directions.vectors @ found.matrix
    lengths = moved.norm(dim=1)
    kept = [k for k, n in enumerate(lengths.tolist()) if n > _LOST]
    if not kept:
        raise ConfigError("None of the directions changes the student's codes: find its own.")
    if lost := [str(k + 1) for k in range(len(directions)) if k not in kept]:
        warnings.warn(f"The student has no direction {', '.join(lost)}: left out.", stacklevel=2)
    facts: Mapping[str, Any] = {
        **directions.found,
        "from": directions.network,
        "map": "inherited" if found.inherited else "fitted",
        "residual": found.residual,
        "pairs": found.pairs,
    }
    chosen = some(directions, kept)
    return kept, replace(
        chosen,
        vectors=chosen.vectors if found.inherited else F.normalize(moved[kept], dim=1),
        deviations=chosen.deviations if found.inherited else chosen.deviations * lengths[kept],
        mean=found(directions.mean),
        of_layers=space.layers,
        network=fingerprint(student.net),
        latent=space.fingerprint(),
        found=facts,
    )


def agreement(
    teacher: tuple[Model, Directions],
    student: tuple[Model, Directions],
    draws: Inputs,
    *,
    strength: float,
    features: Features,
) -> Agreement:
    """The cosine of the two networks' changes for each direction, mean over the draws.

    Args:
        teacher, student: each with its own form of the same directions.
        draws: what both read, one row a picture.
        features: its last tap's maps are compared place by place; smaller pictures than it takes
            are enlarged, pixel by pixel.
    """
    changes = [_changes(*one, draws, strength, features) for one in (teacher, student)]
    pixels, seen = (
        torch.stack(
            [F.cosine_similarity(a[kind], b[kind]).mean() for a, b in zip(*changes, strict=True)]
        )
        for kind in (0, 1)
    )
    return Agreement(pixels, seen, features.name, len(draws[0]), strength)


@torch.no_grad()
def _changes(
    model: Model, directions: Directions, draws: Inputs, strength: float, features: Features
) -> list[tuple[Tensor, Tensor]]:
    """For each direction the changes of pictures and of features, flattened, (n, ...) each."""
    space, tap = latent_space(model), features.taps[-1]
    codes = space.codes(draws)

    def seen(x: Tensor) -> tuple[Tensor, Tensor]:
        pictures = space.pictures(x, draws)
        enlarged = -(-features.min_size // min(pictures.shape[2:]))  # 1 where they are large enough
        large = pictures.repeat_interleave(enlarged, 2).repeat_interleave(enlarged, 3)
        return pictures.flatten(1), features(large)[tap].flatten(1)

    still = seen(codes)
    moved = [seen(move(codes, directions, k, strength)) for k in range(len(directions))]
    return [(a - still[0], b - still[1]) for a, b in moved]
