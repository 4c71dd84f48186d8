"""Morphs: the pictures on the way from one code to the next, and how smooth they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ganpress.editing.pictures import Edited
from ganpress.errors import ConfigError
from ganpress.losses.lpips import PictureDistance
from ganpress.measures.metrics.path_length import lerp, slerp
from ganpress.models.spaces import SPACES, Space

PERCENTILE = 99.0


@dataclass(frozen=True)
class Morph:
    """The frames of one network or of several, and figures of their smoothness.

    Attributes:
        frames: (networks, frames, c, h, w) in [-1, 1] about; the student's last.
        space: that the codes went through.
        smoothness: by the names of `smoothness`.
    """

    frames: Tensor
    space: Space
    smoothness: Mapping[str, float] = field(default_factory=dict)

    def strip(self, count: int) -> Tensor:
        """``count`` frames, evenly spaced, the networks one below the other: what a grid of that
        many columns shows; the first and the last are the ends."""
        chosen = torch.linspace(0, self.frames.shape[1] - 1, count).round().long().unique()
        return self.frames[:, chosen].flatten(0, 1)


def morph(
    networks: Sequence[Edited],
    *,
    frames: int = 60,
    space: Space | None = None,
    distance: PictureDistance | None = None,
) -> Morph:
    """Go from each latent to the next in equal steps, in each network.

    Codes go along lines in W and W+ and along great circles in z; noise maps along great circles,
    which keeps their variance (class weights along lines). The ends are the latents' own pictures.

    Args:
        networks: one, or teacher and student with latents of the same pictures (`beside_teacher`).
        frames: of each network, ends included; at least as many as latents.
        space: to go through; default: the smallest that holds all latents, of all networks.
        distance: of neighbouring frames, for the smoothness; None: not measured.
    Raises: ConfigError for fewer than two latents, too few frames, or a space that does not hold
        the latents.
    """
    counts = {len(edited.latents) for edited in networks}
    if len(counts) != 1 or min(counts) < 2:
        raise ConfigError(
            f"A morph goes between pictures: give at least two latents, not {min(counts)}."
            if min(counts) < 2
            else "Teacher and student need latents of the same pictures."
        )
    count = counts.pop()
    if frames < count:
        raise ConfigError(f"There are {frames} frames for {count} latents: give at least {count}.")
    through = space or SPACES[max(SPACES.index(each.largest_space) for each in networks)]
    at = torch.linspace(0, count - 1, frames, dtype=torch.float64).float()
    made = torch.stack([_way(each, through, at) for each in networks])
    return Morph(made, through, {} if distance is None else smoothness(made, distance))


def _way(edited: Edited, space: Space, at: Tensor) -> Tensor:
    """The pictures at places from 0 to the number of latents less 1, (frames, c, h, w)."""
    rows = edited.rows(space)
    left = at.floor().long().clamp_max(len(rows) - 2)
    t = at - left
    codes = (slerp if space == "z" else lerp)(rows[left], rows[left + 1], t)
    columns = zip(*(edited.rest(i) for i in range(len(rows))), strict=True)
    rest = []
    for name, column in zip(edited.latents[0].rest, columns, strict=True):
        known = torch.cat(column)
        between = lerp if name == "y" else slerp
        rest.append(between(known[left], known[left + 1], t))
    return edited.pictures(space, codes, rest)


@torch.no_grad()
def smoothness(frames: Tensor, distance: PictureDistance) -> dict[str, float]:
    """Mean and 99th percentile of the distance between neighbouring frames; smaller is smoother.

    Names: ``morph-step-mean-FRAMES-DISTANCE`` and ``morph-step-p99-...``, of the last network. With
    a teacher above it also those of the teacher and the ratio of the student's to the teacher's: 1
    is as smooth as the teacher. A morph whose ends differ less has smaller steps, too: compare
    morphs of the same pictures and the same number of frames.

    Args: frames: (networks, frames, c, h, w), at least two frames.
    """
    steps = []
    for one in frames:
        parts = torch.arange(1, len(one)).split(8)
        found = [distance(one[p - 1], one[p]).cpu() for p in parts]
        steps.append(torch.cat(found).double())
    figures = {}
    end = f"{frames.shape[1]}-{distance.name}"
    for name, figure in (("mean", _mean), (f"p{PERCENTILE:g}", _high)):
        *teacher, own = (figure(step) for step in steps)
        figures[f"morph-step-{name}-{end}"] = own
        if teacher:
            figures[f"morph-step-{name}-{end}, the teacher"] = teacher[0]
            figures[f"morph-step-{name}-{end}, ratio"] = own / max(teacher[0], 1e-12)
    return figures


def _mean(steps: Tensor) -> float:
    return float(steps.mean())


def _high(steps: Tensor) -> float:
    return float(torch.quantile(steps, PERCENTILE / 100))
