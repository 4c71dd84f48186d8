"""Pictures inside the page: photo, teacher, student and their difference, and stage images."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image, ImageChops, ImageStat

from ganpress.errors import ImagesError
from ganpress.report.amounts import significant
from ganpress.report.reading import StageFiles
from ganpress.sniff import misplaced

_T = TypeVar("_T")

AMPLIFIED = 4
_MOST_ROWS = 12
_LONGEST_SIDE = 1024
_LOSSLESS_PIXELS = 1_500_000
"""Sample pictures stay PNG while all that are shown hold no more pixels than this."""
_MOST_SNAPSHOTS = 4

_KINDS = {"photo": "Photo", "teacher": "Teacher", "student": "Student"}


@dataclass(frozen=True)
class Picture:
    """One picture of a page."""

    kind: str
    alt: str
    label: str
    width: int
    height: int
    src: str
    """A data URI; '' for a picture that is missing, of which the label says so."""


@dataclass(frozen=True)
class SampleRows:
    """Rows photo | teacher | student | difference, one a sample."""

    rows: Mapping[str, Sequence[Picture]]
    count: int
    """Of all samples, of which some are shown."""
    lossless: bool
    slider: int | None
    """The first row with teacher and student, to lay them over each other; None without one."""


def sample_rows(samples: Mapping[str, Mapping[str, Path]]) -> SampleRows:
    """At most twelve rows, spread over the samples.

    A kind that no sample has (photos of a noise-driven generator) gets no column.
    Raises ImagesError naming a picture that cannot be read or does not fit its row.
    """
    stems = _spread(sorted(samples), _MOST_ROWS)
    kinds = [kind for kind in _KINDS if any(kind in samples[stem] for stem in stems)]
    rows = {stem: _open_row(samples[stem]) for stem in stems}
    lossless = sum(i.width * i.height for r in rows.values() for i in r.values()) <= (
        _LOSSLESS_PIXELS
    )
    return SampleRows(
        rows={stem: _row(stem, row, kinds, lossless) for stem, row in rows.items()},
        count=len(samples),
        lossless=lossless,
        slider=next((n for n, s in enumerate(stems) if _is_pair(rows[s])), None),
    )


def stage_snapshots(stage: StageFiles) -> dict[str, list[Picture]]:
    """A stage's own pictures by name: up to four moments each, first and last among them."""
    return {
        name: [
            whole_picture(path, f"{name} at step {step:,} of stage {stage.name}", f"step {step:,}")
            for step, path in _spread(found, _MOST_SNAPSHOTS)
        ]
        for name, found in stage.images.items()
    }


def whole_picture(path: Path, alt: str, label: str) -> Picture:
    """One picture file, as large as it is stored in the page. Raises ImagesError."""
    return _picture(open_picture(path), "snapshot", alt, label, lossless=False)


def difference(teacher: Image.Image, student: Image.Image) -> tuple[Image.Image, float]:
    """|teacher - student| times four (clipped at 255), and its mean before that, in 0..255.

    Where they have alpha, the larger of the colour's difference and the alpha's, opaque.
    """
    raw = ImageChops.difference(teacher, student)
    means = ImageStat.Stat(raw).mean
    if _has_alpha(raw):
        *colours, alpha = raw.split()
        lighter = [ImageChops.lighter(band, alpha) for band in colours]
        raw = lighter[0] if len(lighter) == 1 else Image.merge("RGB", lighter)
    return raw.point(lambda level: min(255, level * AMPLIFIED)), sum(means) / len(means)


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("LA", "RGBA")


def open_picture(path: Path) -> Image.Image:
    """The file as grey or RGB, with its alpha if it has one. Raises ImagesError."""
    try:
        with Image.open(path) as image:
            if image.mode in ("L", "LA", "RGB", "RGBA"):
                return image.copy()
            return image.convert("RGBA" if "transparency" in image.info else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImagesError(
            f"'{path}' {misplaced(path, 'picture') or f'cannot be read as a picture: {error}'}. "
            "Delete it, or let the run write it again."
        ) from error


def _is_pair(row: Mapping[str, object]) -> bool:
    return {"teacher", "student"} <= row.keys()


def _open_row(files: Mapping[str, Path]) -> dict[str, Image.Image]:
    """The pictures of one sample, by column; teacher and student must be of one size and mode."""
    row = {kind: open_picture(files[kind]) for kind in _KINDS if kind in files}
    if not _is_pair(row):
        return row
    teacher, student = row["teacher"], row["student"]
    sizes, modes = (teacher.size, student.size), (teacher.mode, student.mode)
    odd = ""
    if sizes[0] != sizes[1]:
        odd = "size ({}x{} and {}x{})".format(*sizes[0], *sizes[1])
    elif modes[0] != modes[1]:
        odd = "channels ({} and {})".format(*modes)
    if odd:
        raise ImagesError(
            f"The pictures '{files['teacher']}' and '{files['student']}' differ in {odd}. "
            "They must show the same input; write the samples again."
        )
    return row


def _row(
    stem: str, row: Mapping[str, Image.Image], kinds: Sequence[str], lossless: bool
) -> list[Picture]:
    cells = []
    for kind in kinds:
        label = _KINDS[kind]
        if kind in row:
            alt = f"{label}, sample {stem}"
            cells.append(_picture(row[kind], kind, alt, label, lossless))
        else:
            cells.append(Picture(kind, "", f"No {label.lower()} picture.", 0, 0, ""))
    if _is_pair(row):
        picture, mean = difference(row["teacher"], row["student"])
        alt = f"Difference of teacher and student, {AMPLIFIED} times amplified, sample {stem}"
        label = f"Difference ×{AMPLIFIED}, mean {significant(mean, 2)} of 255"
        return [*cells, _picture(picture, "difference", alt, label, lossless)]
    return [*cells, Picture("difference", "", "No difference without both.", 0, 0, "")]


def _picture(image: Image.Image, kind: str, alt: str, label: str, lossless: bool) -> Picture:
    if max(image.size) > _LONGEST_SIDE:
        image = image.copy()
        image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if lossless or max(image.size) < 160 or _has_alpha(image):
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=88, subsampling=0)  # optimize breaks on noise
    return Picture(kind, alt, label, *image.size, data_uri(buffer.getvalue()))


def data_uri(data: bytes) -> str:
    """The address of a PNG or JPEG file that holds the file itself."""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _spread(items: Sequence[_T], most: int) -> list[_T]:
    """At most `most` items, evenly spread, first and last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
