"""What the edits of the command line leave in a folder: pictures, an animation, figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ganpress.editing.animation import check_animation, write_animation
from ganpress.editing.latent_file import Latent
from ganpress.editing.mixing import mix
from ganpress.editing.morphing import morph
from ganpress.editing.pictures import Edited, beside_teacher, edited
from ganpress.editing.projection import write_picture
from ganpress.editing.settings import MorphSettings
from ganpress.losses.picture_distance import load_distance
from ganpress.models.checkpoint import Model
from ganpress.run.files import check_folder, make_folder, write_json

_SHOWN = 8  # frames of a strip


@dataclass(frozen=True)
class Teacher:
    """What a student's edit is shown beside.

    Attributes:
        model: the generator that the student was made from.
        latents: its own projections of the student's photos, files or folders.
    """

    model: Model
    latents: Sequence[Path | str] = ()


@dataclass(frozen=True)
class Written:
    """The files of one edit, and its figures by name."""

    files: tuple[Path, ...]
    figures: dict[str, float] = field(default_factory=dict)


def write_morph(
    model: Model,
    given: Sequence[str | Path | Latent],
    out: Path | str,
    settings: MorphSettings | None = None,
    *,
    teacher: Teacher | None = None,
    weights: Path | None = None,
) -> Written:
    """A morph as strip.png and an animation, its smoothness in results.json.

    Args:
        given: latent files, folders of a projection, whole numbers (seeds of random ones), in the
            order of the morph.
        teacher: shown above the student, on the same pictures; the smoothness is then also a ratio.
        weights: file or folder of the distance's weights.
    Raises: ConfigError, CheckpointError, WeightsError, DiskFull.
    """
    s = settings or MorphSettings()
    film = Path(out) / f"morph.{s.ending}"
    check_animation(film, s.frames, s.seconds)
    check_folder(Path(out))
    rows = _networks(model, given, teacher)
    by = load_distance(s.distance, weights=weights, side=model.size)
    found = morph(rows, frames=s.frames, space=s.space, distance=by)
    folder = make_folder(Path(out))
    count = min(_SHOWN, s.frames)
    write_animation(found.frames, film, seconds=s.seconds)
    strip = write_picture(found.strip(count), folder / "strip.png", columns=count)
    write_json(
        folder / "results.json",
        {
            "space": found.space,
            "frames": s.frames,
            "latents": [latent.name for latent in rows[-1].latents],
            "smoothness": dict(found.smoothness),
            "protocol": {
                "morph-step": "distance of neighbouring frames as the generator makes them, over "
                f"all of them; {by.protocol}; smaller is smoother"
            },
        },
    )
    return Written((strip, film, folder / "results.json"), dict(found.smoothness))


def write_mix(
    model: Model,
    sources: Sequence[str | Path | Latent],
    destinations: Sequence[str | Path | Latent],
    out: Path | str,
    *,
    layers: tuple[int, int],
    teacher: Teacher | None = None,
    same_noise: bool = True,
) -> Written:
    """A table of mixed styles as mix.png: sources above, destinations on the left.

    Args: as of `write_morph`, and `mix`; the teacher's table is above the student's.
    Raises: ConfigError, CheckpointError, DiskFull.
    """
    check_folder(Path(out))
    across, down = (_networks(model, given, teacher) for given in (sources, destinations))
    tables = [
        mix(a, b, layers, same_noise=same_noise).picture for a, b in zip(across, down, strict=True)
    ]
    path = make_folder(Path(out)) / "mix.png"
    return Written((write_picture(torch.cat(tables), path, columns=len(across[0].latents) + 1),))


def _networks(
    model: Model, given: Sequence[str | Path | Latent], teacher: Teacher | None
) -> tuple[Edited, ...]:
    own = edited(model, given)
    return (own,) if teacher is None else beside_teacher(own, teacher.model, teacher.latents)
