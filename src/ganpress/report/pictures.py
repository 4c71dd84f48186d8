"""Pictures inside the page: photo, teacher, student and their difference, and stage images."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TypeVar

from PIL import Image, ImageChops, ImageStat

from ganpress.errors import ImagesError
from ganpress.report.amounts import significant
from ganpress.report.reading import StageFiles

_T = TypeVar("_T")

AMPLIFIED = 4
_MOST_ROWS = 12
_LONGEST_SIDE = 1024
_LOSSLESS_PIXELS = 1_500_000
"""Sample pictures stay PNG while all that are shown hold no more pixels than this."""
_MOST_SNAPSHOTS = 4

_KINDS = {"photo": "Photo", "teacher": "Teacher", "student": "Student"}


def sample_rows(samples: Mapping[str, Mapping[str, Path]]) -> str:
    """HTML rows photo | teacher | student | difference, at most twelve, spread over the set.

    A kind that no sample has (photos of a noise-driven generator) gets no column.
    Raises ImagesError naming a picture that cannot be read or does not fit its row.
    """
    stems = _spread(sorted(samples), _MOST_ROWS)
    kinds = [kind for kind in _KINDS if any(kind in samples[stem] for stem in stems)]
    rows = {stem: _open_row(samples[stem]) for stem in stems}
    pixels = sum(i.width * i.height for row in rows.values() for i in row.values())
    lossless = pixels <= _LOSSLESS_PIXELS
    body = "".join(_row(stem, rows[stem], kinds, lossless) for stem in stems)
    first = next((s for s in stems if {"teacher", "student"} <= rows[s].keys()), None)
    slider = _slider(stems.index(first), rows[first]["teacher"]) if first is not None else ""
    return slider + f'<div class="rows">{body}</div>' + _sample_note(stems, samples, lossless)


def stage_snapshots(stage: StageFiles) -> str:
    """HTML strips of a stage's own pictures: up to four moments each, first and last among them."""
    strips = []
    for name, found in stage.images.items():
        cells = []
        for step, path in _spread(found, _MOST_SNAPSHOTS):
            picture = _open(path)
            alt = f"{name} at step {step:,} of stage {stage.name}"
            cells.append(_figure(picture, alt, f"step {step:,}", lossless=False))
        strips.append(f'<h4>{escape(name)}</h4><div class="strip">{"".join(cells)}</div>')
    return "".join(strips)


def whole_picture(path: Path, alt: str, label: str) -> str:
    """HTML of one picture file, as large as it is stored here. Raises ImagesError."""
    return _figure(_open(path), alt, label, lossless=False)


def difference(teacher: Image.Image, student: Image.Image) -> tuple[Image.Image, float]:
    """|teacher - student| times four (clipped at 255), and its mean before that, in 0..255."""
    raw = ImageChops.difference(teacher, student)
    mean = sum(ImageStat.Stat(raw).mean) / 3
    return raw.point(lambda level: min(255, level * AMPLIFIED)), mean


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImagesError(
            f"The picture '{path}' cannot be read: {error}. "
            "Delete it, or let the run write it again."
        ) from error


def _open_row(files: Mapping[str, Path]) -> dict[str, Image.Image]:
    """The pictures of one sample, by column; teacher and student must be of one size."""
    row = {kind: _open(files[kind]) for kind in _KINDS if kind in files}
    if {"teacher", "student"} <= row.keys() and row["teacher"].size != row["student"].size:
        sizes = " and ".join("x".join(map(str, row[k].size)) for k in ("teacher", "student"))
        raise ImagesError(
            f"The pictures '{files['teacher']}' and '{files['student']}' differ in size ({sizes}). "
            "They must show the same input; write the samples again."
        )
    return row


def _row(stem: str, row: Mapping[str, Image.Image], kinds: Sequence[str], lossless: bool) -> str:
    cells = []
    for kind in kinds:
        label = _KINDS[kind]
        if kind in row:
            cells.append(_figure(row[kind], f"{label}, sample {stem}", label, lossless, kind))
        else:
            cells.append(f'<p class="missing">No {label.lower()} picture.</p>')
    if {"teacher", "student"} <= row.keys():
        picture, mean = difference(row["teacher"], row["student"])
        alt = f"Difference of teacher and student, {AMPLIFIED} times amplified, sample {stem}"
        label = f"Difference ×{AMPLIFIED}, mean {significant(mean, 2)} of 255"
        cells.append(_figure(picture, alt, label, lossless, "difference"))
    else:
        cells.append('<p class="missing">No difference without both.</p>')
    columns = f'style="--columns:{len(cells)}"'
    return f'<div class="row" {columns}><h4>{escape(stem)}</h4>{"".join(cells)}</div>'


def _figure(
    image: Image.Image, alt: str, label: str, lossless: bool, kind: str = "snapshot"
) -> str:
    """A picture with a caption, inside a button that enlarges it."""
    classes = "pixels" if max(image.size) < 160 else "photo"
    return (
        f'<figure class="{kind}"><button type="button" class="zoom" aria-label='
        f'"Enlarge: {escape(alt)}"><img class="{classes}" width="{image.width}" '
        f'height="{image.height}" alt="{escape(alt)}" src="{_data_uri(image, lossless)}">'
        f"</button><figcaption>{escape(label)}</figcaption></figure>"
    )


def _data_uri(image: Image.Image, lossless: bool) -> str:
    if max(image.size) > _LONGEST_SIDE:
        image = image.copy()
        image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if lossless or max(image.size) < 160:
        image.save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        image.save(buffer, "JPEG", quality=88, subsampling=0)  # optimize breaks on noise
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _slider(row: int, teacher: Image.Image) -> str:
    """A teacher/student overlay that the page's script fills from the pictures of one row."""
    shape = f"aspect-ratio:{teacher.width}/{teacher.height}"
    return (
        f'<div class="compare" data-row="{row}" hidden><div class="stage" style="{shape}"></div>'
        '<label><span>Teacher</span><input type="range" min="0" max="100" value="50" '
        'aria-label="Share of the picture that shows the teacher"><span>Student</span></label>'
        "</div>"
    )


def _sample_note(stems: Sequence[str], samples: Mapping[str, object], lossless: bool) -> str:
    parts = [f"{len(stems)} of {len(samples)} samples."] if len(stems) < len(samples) else []
    parts.append(
        f"The difference is |teacher − student| of the original pictures, amplified {AMPLIFIED} "
        "times and clipped; black means equal."
    )
    if not lossless:
        parts.append("Larger pictures are stored here as JPEG; the originals are in samples/.")
    return f'<p class="note">{" ".join(parts)}</p>'


def _spread(items: Sequence[_T], most: int) -> list[_T]:
    """At most `most` items, evenly spread, first and last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
