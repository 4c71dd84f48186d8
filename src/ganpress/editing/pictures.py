"""What the networks of an edit make of codes: one network, or a student below its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganpress.editing.latent_file import Latent, check_latent, latents_at
from ganpress.editing.latents import in_parts
from ganpress.errors import ConfigError, did_you_mean
from ganpress.models.checkpoint import Model, fingerprint
from ganpress.models.inputs import reads
from ganpress.models.spaces import SPACES, Space, check_space, draw_latent, in_space, synthesise
from ganpress.types.seeds import check_seed


@dataclass(frozen=True)
class Edited:
    """One network, and its codes of the pictures that are edited.

    Attributes:
        model: the network.
        latents: of this network, checked.
    """

    model: Model
    latents: tuple[Latent, ...]

    def __post_init__(self) -> None:
        key = fingerprint(self.model.net)
        for latent in self.latents:
            check_latent(latent, self.model, f"'{latent.name}'", key)

    @property
    def largest_space(self) -> Space:
        """The smallest space that all latents lie in."""
        return max((latent.space for latent in self.latents), key=SPACES.index)

    @torch.no_grad()
    def rows(self, space: Space) -> Tensor:
        """The latents as rows of a space, (n, *row_shape), on the CPU.

        Raises: ConfigError where one lies in a larger space, or the network has no such space.
        """
        net: Any = self.model.net
        check_space(self.model, space)
        device = next(net.parameters()).device
        found = []
        for latent in self.latents:
            row = latent.row[None].to(device)
            try:
                found.append(in_space(net, row, latent.space, space).cpu())
            except ConfigError as error:
                raise ConfigError(f"'{latent.name}': {error}") from error
        return torch.cat(found)

    def rest(self, index: int) -> tuple[Tensor, ...]:
        """What the network reads beside the code of one latent, one row each."""
        return tuple(self.latents[index].rest[name] for name in reads(self.model)[1:])

    @torch.no_grad()
    def pictures(self, space: Space, rows: Tensor, rest: Sequence[Tensor]) -> Tensor:
        """(n, c, h, w) on the CPU, about [-1, 1]; the network in eval mode.

        Args: rest: n rows each, or one that all share.
        """
        net: Any = self.model.net
        device = next(net.parameters()).device

        def make(part: Tensor) -> Tensor:
            beside = [x[part % len(x)].to(device) for x in rest]
            return synthesise(net, space, rows[part].to(device), *beside)

        return in_parts(net, len(rows), make)


def drawn_latents(model: Model, seeds: Sequence[int], key: str | None = None) -> list[Latent]:
    """The latents of random z, one for each seed: what two networks of one z are compared on."""
    check_space(model, "z")
    key, found = key or fingerprint(model.net), []
    for seed in seeds:
        z, rest = draw_latent(model.net, torch.Generator().manual_seed(check_seed(seed)))
        beside = dict(zip(reads(model)[1:], rest, strict=True))
        found.append(Latent("z", z[0], beside, key, f"seed {seed}"))
    return found


def edited(model: Model, given: Sequence[str | Path | Latent]) -> Edited:
    """A network with the latents of files, of folders, and of whole numbers, which are seeds."""
    check_space(model, "z")
    key, found = fingerprint(model.net), []
    for one in given:
        if isinstance(one, Latent):
            found.append(one)
        elif str(one).isdecimal() and not Path(one).exists():
            found += drawn_latents(model, [int(str(one))], key)
        else:
            found += [latent for _, latent in latents_at([one], model, key)]
    return Edited(model, tuple(found))


def beside_teacher(
    student: Edited, teacher: Model, latents: Sequence[Path | str] = ()
) -> tuple[Edited, Edited]:
    """The teacher's codes of the same pictures, above the student's.

    Drawn ones are the same z and the same noise. Of a projected photo it is the teacher's own
    projection of the photo of that name, among ``latents`` (files or folders).

    Raises: ConfigError where one is missing, or the two networks cannot be set side by side.
    """
    check_space(teacher, "z")
    _check_alike(student.model, teacher)
    key = fingerprint(teacher.net)
    theirs = {one.name: one for _, one in latents_at(latents, teacher, key)} if latents else {}
    found = []
    for latent in student.latents:
        if latent.space == "z" and not latent.facts:
            found.append(replace(latent, network=key))
        elif latent.name in theirs:
            found.append(theirs[latent.name])
        else:
            raise ConfigError(
                f"There is no projection of '{latent.name}' by the teacher"
                f"{did_you_mean(latent.name, theirs)}: its code means something else there. "
                "Project the photos with the teacher, and give that folder (--teacher-latents)."
            )
    return Edited(teacher, tuple(found)), student


def _check_alike(student: Model, teacher: Model) -> None:
    """Refuse two networks that do not read the same, or make pictures of other sizes."""
    shapes = []
    for model in (student, teacher):
        z, rest = draw_latent(model.net, torch.Generator().manual_seed(0))
        shapes.append((model.family.name, [tuple(x.shape) for x in (z, *rest)], model.size))
    if shapes[0] != shapes[1]:
        raise ConfigError(
            f"The student ({shapes[0][0]}, {shapes[0][2]} pixels) and the teacher ({shapes[1][0]}, "
            f"{shapes[1][2]} pixels) do not read the same inputs: give the teacher that it was "
            "made from."
        )
