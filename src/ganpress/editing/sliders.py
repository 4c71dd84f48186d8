"""Frames of edits for the report's sliders: pictures of a few subjects moved along each direction.

What a page needs lies in one folder: a sheet of frames (JPEG) for each direction, and sliders.json.
`report.sliders` shows it without the networks.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import Field
from torch import Tensor

from ganpress.editing.directions import Directions, check_network, move
from ganpress.editing.latents import latent_space
from ganpress.editing.subjects import Subject, check_truncation, code_of
from ganpress.editing.transfer import Transfer
from ganpress.errors import ConfigError
from ganpress.measures.cost import measure
from ganpress.models.checkpoint import Model, fingerprint
from ganpress.report.sliders import sha256
from ganpress.run.files import make_folder, replace_file, write_json
from ganpress.run.settings import Settings
from ganpress.types.pictures import as_rgb

FORMAT = 1
BLOCK = 8
"""Sides of frames are multiples of this, JPEG's block: no frame shows a border of the next."""
SMALLEST = 16
"""Pixels of a frame's side below which no limit shrinks it."""


class SliderSettings(Settings):
    """How many frames are made, how large, and how far they go."""

    strength: float = Field(
        default=3.0,
        gt=0,
        description="farthest move to each side, standard deviations of the codes",
    )
    steps: int = Field(
        default=4, ge=1, le=20, description="frames to each side, beside the one in the middle"
    )
    truncation: float = Field(
        default=1.0,
        description="psi of the codes that are drawn: 1 is none, 0 the mean (stylegan2)",
    )
    pixels: int = Field(
        default=128, ge=BLOCK, multiple_of=BLOCK, description="largest side of a frame"
    )
    quality: int = Field(default=85, ge=1, le=95, description="of the JPEG sheets")
    max_mb: float = Field(
        default=8.0, gt=0, description="largest size of all frames on a page, MB of 1e6 bytes"
    )

    @property
    def strengths(self) -> list[float]:
        """Of the frames, from the far left to the far right; 0 in the middle."""
        return [self.strength * k / self.steps for k in range(-self.steps, self.steps + 1)]


@dataclass(frozen=True)
class Shown:
    """One network of a page: its own form of the directions, and the codes that edits start at."""

    name: str
    model: Model
    directions: Directions
    codes: Sequence[Tensor]


def alone(
    model: Model, directions: Directions, subjects: Sequence[Subject], psi: float = 1.0
) -> list[Shown]:
    """A generator without a student. Raises ConfigError for directions of another network, and
    truncation (``psi``) of a network that has none."""
    check_network(directions, model)
    check_truncation(model, psi)
    space = latent_space(model)
    return [Shown("Generator", model, directions, [code_of(space, s, psi) for s in subjects])]


def side_by_side(
    teacher: Model, student: Model, moved: Transfer, subjects: Sequence[Subject], psi: float = 1.0
) -> list[Shown]:
    """A teacher and its student with the same directions, in each one's own form; a projected code
    of the teacher goes to the student by the same map. Raises as `alone`."""
    (first,) = alone(teacher, moved.teacher, subjects, psi)
    theirs = [s if s.code is None else replace(s, code=moved.map(s.code)) for s in subjects]
    (second,) = alone(student, moved.directions, theirs, psi)
    return [replace(first, name="Teacher"), replace(second, name="Student")]


def write_sliders(
    folder: Path,
    shown: Sequence[Shown],
    subjects: Sequence[Subject],
    settings: SliderSettings | None = None,
    *,
    moved: Transfer | None = None,
    files: Mapping[str, Path] | None = None,
) -> Path:
    """Make the frames of every subject along every direction, and write them into a folder, in
    place of earlier ones.

    Args:
        shown: what `alone` or `side_by_side` gives.
        moved: how the student got its directions, for the page.
        files: the networks' files by their name in the run, which the page checks for changes.
    Returns: the sliders.json.
    Raises: ConfigError where the frames are larger than ``max_mb`` even at the smallest size;
        DiskFull.
    """
    settings = settings or SliderSettings()
    strengths, directions = settings.strengths, shown[0].directions
    frames = [_frames(shown, subjects, k, settings) for k in range(len(directions))]
    side, sheets = _fitting(frames, settings)
    names = [f"direction-{k + 1:02d}.jpg" for k in range(len(sheets))]
    facts = {
        "format": FORMAT,
        "kind": directions.kind,
        "space": directions.space,
        "layers": [*directions.layers, directions.of_layers],
        "networks": [_network_facts(one) for one in shown],
        "subjects": [subject.name for subject in subjects],
        "strengths": strengths,
        "truncation": settings.truncation,
        "frame": list(side),
        "directions": [
            {"file": name, **_direction_facts(directions, moved, k)} for k, name in enumerate(names)
        ],
        "transfer": _transfer_facts(moved) if moved else None,
        "files": {name: sha256(path) for name, path in (files or {}).items()},
    }
    _write(folder, dict(zip(names, sheets, strict=True)), facts)
    return folder / "sliders.json"


def _frames(
    shown: Sequence[Shown], subjects: Sequence[Subject], which: int, settings: SliderSettings
) -> Tensor:
    """Of one direction: (subjects x networks, strengths, 3, h, w) RGB uint8."""
    steps, rows = torch.tensor(settings.strengths), []
    for index, subject in enumerate(subjects):
        for one in shown:
            codes = move(one.codes[index], one.directions, which, steps)
            made = as_rgb(latent_space(one.model).pictures(codes, subject.inputs))
            rows.append(_resized(made, _frame_size(made, settings.pixels)))
    return torch.stack(rows)


def _frame_size(pictures: Tensor, most: int) -> tuple[int, int]:
    """Height and width of frames with no side above ``most``, multiples of `BLOCK`."""
    height, width = pictures.shape[-2:]
    scale = min(1.0, most / max(height, width))
    return tuple(max(BLOCK, round(n * scale / BLOCK) * BLOCK) for n in (height, width))  # type: ignore[return-value]


def _resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """(n, 3, h, w) in [-1, 1], or uint8, -> uint8 of this size (antialiased)."""
    x = pictures.float() if pictures.dtype == torch.uint8 else (pictures + 1) * 127.5
    if x.shape[-2:] != size:
        x = F.interpolate(x, size, mode="bicubic", antialias=True)
    return x.nan_to_num(127.5).round().clamp(0, 255).to(torch.uint8)


def _fitting(
    frames: Sequence[Tensor], settings: SliderSettings
) -> tuple[tuple[int, int], list[bytes]]:
    """The sheets of all directions at the largest size that the limit leaves, and that size.

    Raises ConfigError where the smallest frames are still too large.
    """
    most = settings.pixels
    while True:
        size = _frame_size(frames[0], most)
        sheets = [
            _sheet(torch.stack([_resized(row, size) for row in one]), settings.quality)
            for one in frames
        ]
        megabytes = sum(map(in_page, sheets)) / 1e6
        if megabytes <= settings.max_mb:
            return size, sheets
        if most <= SMALLEST:
            raise ConfigError(
                f"The frames take {megabytes:.2f} MB at {max(size)} pixels, and max_mb is "
                f"{settings.max_mb:g}: show fewer pictures (--seeds), directions (--count) or "
                f"steps (--steps), or give --max-mb {math.ceil(megabytes * 10) / 10:g}."
            )
        most = max(SMALLEST, max(size) // 2 // BLOCK * BLOCK)


def _sheet(frames: Tensor, quality: int) -> bytes:
    """A JPEG file of frames (rows, columns, 3, h, w), without gaps."""
    rows, columns, _, h, w = frames.shape
    pixels = frames.permute(0, 3, 1, 4, 2).reshape(rows * h, columns * w, 3)
    file = io.BytesIO()
    picture = Image.fromarray(pixels.contiguous().numpy())
    picture.save(file, "JPEG", quality=quality, subsampling=0)  # chroma in blocks of 8, too
    return file.getvalue()


def in_page(data: bytes) -> int:
    """Bytes that a file takes in a page, as base64."""
    return 4 * -(-len(data) // 3)


def _write(folder: Path, sheets: Mapping[str, bytes], facts: Mapping[str, Any]) -> None:
    """The sheets, then sliders.json: while there is one, it is that of the sheets beside it."""
    make_folder(folder)
    (folder / "sliders.json").unlink(missing_ok=True)
    for old in folder.glob("direction-*.jpg"):
        old.unlink()
    for name, data in sheets.items():
        replace_file(folder / name, partial(_put, data))
    write_json(folder / "sliders.json", facts)


def _put(data: bytes, file: Any) -> None:
    file.write(data)


def _network_facts(one: Shown) -> dict[str, Any]:
    model = one.model
    return {
        "name": one.name,
        "family": model.family.name,
        "fingerprint": fingerprint(model.net),
        "macs": measure(model.net, model.size).macs,
    }


def _direction_facts(directions: Directions, moved: Transfer | None, which: int) -> dict[str, Any]:
    facts = {
        "ratio": float(directions.ratios[which]),
        "deviation": float(directions.deviations[which]),
    }
    if moved is not None:
        facts["pixels"] = float(moved.agreement.pixels[which])
        facts["features"] = float(moved.agreement.features[which])
    return facts


def _transfer_facts(moved: Transfer) -> dict[str, Any]:
    return {
        "inherited": moved.map.inherited,
        "residual": moved.map.residual,
        "features": moved.agreement.network,
        "pictures": moved.agreement.pictures,
        "strength": moved.agreement.strength,
    }
