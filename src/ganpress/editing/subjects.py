"""What an edit is shown on: pictures drawn from seeds, of photos, or projected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganpress.data import Images, evaluation
from ganpress.editing.latent_file import latents_at
from ganpress.editing.latents import LatentSpace, latent_space
from ganpress.errors import ConfigError
from ganpress.models.checkpoint import Model
from ganpress.models.families.base import draw_inputs
from ganpress.models.inputs import check_given, from_noise, images_for, inputs_of, reads
from ganpress.types import Inputs
from ganpress.types.seeds import check_seed
from ganpress.types.sizes import Size


@dataclass(frozen=True)
class Subject:
    """One picture that is edited.

    Attributes:
        name: for people: "seed 3", or a photo's.
        inputs: what the network reads, one row each; a student is given the same.
        code: in place of the code that the inputs lead to, (1, dim) or (1, layers, dim): of a
            projected photo. None: theirs.
    """

    name: str
    inputs: Inputs
    code: Tensor | None = None


def drawn_subjects(
    model: Model, seeds: Sequence[int], images: Images | None = None, size: Size | None = None
) -> list[Subject]:
    """One subject a seed; where the network reads photos, each has the next of the images.

    Args: size: of the photos that are read, pixels: shorter side, then a centre crop.
    Raises: ConfigError for no seeds, too large ones, or no images where they are read; ImagesError.
    """
    latent_space(model)  # refuses other families
    if not seeds:
        raise ConfigError("There are no seeds: give one at least, such as 0.")
    for seed in seeds:
        check_seed(seed)
    if from_noise(model):
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        return [
            Subject(f"seed {seed}", draw_inputs(model.net, 1, model.size, draw))
            for seed, draw in zip(seeds, draws, strict=True)
        ]
    check_given(model, images)
    assert images is not None  # check_given
    side = model.resolve_size(size)
    photos = list(
        evaluation(
            images_for(model, images).some(range(min(len(seeds), len(images)))), batch=1, size=side
        )
    )
    return [
        Subject(
            f"photo {number % len(photos) + 1}, seed {seed}",
            inputs_of(model, photos[number % len(photos)], torch.Generator().manual_seed(seed)),
        )
        for number, seed in enumerate(seeds)
    ]


def projected_subjects(model: Model, paths: Sequence[Path | str]) -> list[Subject]:
    """Photos that `ganpress edit project` found the codes of, or folders of them.

    Raises: ConfigError for latents of another network, and a network that is not edited in the
        space of its noise; CheckpointError.
    """
    space = latent_space(model)
    found = []
    for _, latent in latents_at(paths, model):
        code, rest = latent.row[None], dict(latent.rest)
        z = code if latent.space == "z" else torch.zeros(1, space.dim)
        inputs = (z, *(rest[name] for name in reads(model)[1:]))
        found.append(Subject(latent.name, inputs, None if latent.space == "z" else code))
    return found


def stacked(subjects: Iterable[Subject]) -> Inputs:
    """The inputs of all subjects, one row each."""
    return tuple(torch.cat(rows) for rows in zip(*(s.inputs for s in subjects), strict=True))


def code_of(space: LatentSpace, subject: Subject, psi: float = 1.0) -> Tensor:
    """Where a subject's edits start: (1, dim) or (1, layers, dim).

    Args: psi: truncation of a code that is drawn, as `ganpress run` has it; a projected one
        stays as it is.
    """
    if subject.code is not None:
        return subject.code
    code = space.codes(subject.inputs)
    if psi == 1:
        return code
    net: Any = space.model.net
    mean = net.mean_w(generator=torch.Generator().manual_seed(0)).cpu()
    truncated: Tensor = net.truncate(code, mean, psi)
    return truncated


def check_truncation(model: Model, psi: float) -> None:
    """Raises ConfigError where a network has no truncation."""
    if psi != 1 and not latent_space(model).is_mapped:
        raise ConfigError(
            f"A '{model.family.name}' generator has no truncation, as it reads "
            f"{' and '.join(reads(model))}: leave --truncation out."
        )
