"""The ablation's two figures: quality over model size (SVG), and pictures of every arm (PNG)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ganpress.errors import ImagesError
from ganpress.report.amounts import significant, size_bytes
from ganpress.report.curves import Scale
from ganpress.run.files import replace_file

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 74, 190, 20, 56
_APART = 17  # pixels between two names at the right
_MOST_PICTURES = 6
_NAMES = 132  # pixels for the names beside the pictures
_GAP = 4
_STYLE = (
    "text{font:13px system-ui,'Segoe UI',Helvetica,Arial,sans-serif;fill:#333}"
    ".soft{fill:#777;font-size:12px}.line{stroke:#ddd}.axis{stroke:#888}.lead{stroke:#bbb}"
    ".bar{stroke:#555;stroke-width:1.5}.float{fill:#2a78d6}.int{fill:#eb6834}"
)


def figure_size(arms: Sequence[Mapping[str, Any]], metric: str, baseline: float | None) -> str:
    """Quality over model size, one point an arm, as a whole SVG file (the paper's Fig. 3).

    Round points are float arms, square ones 8-bit arms; a bar is one spread over seeds to both
    sides. ``baseline`` is a dashed line, such as the teacher's own number.
    """
    points = [(a, a["numbers"]["bytes"]["mean"], a["numbers"][metric]) for a in arms]
    spreads = [number["spread"] or 0.0 for *_, number in points]
    lows = [n["mean"] - s for (*_, n), s in zip(points, spreads, strict=True)]
    highs = [n["mean"] + s for (*_, n), s in zip(points, spreads, strict=True)]
    if baseline is not None:
        lows.append(baseline)
    x, x_ticks = _size_axis([size for _, size, _ in points])
    y, y_ticks = _value_axis(min(lows), max([*highs, *([] if baseline is None else [baseline])]))
    parts = [*_frame(x, x_ticks, y, y_ticks, metric)]
    if baseline is not None:
        level = f"{y.at(baseline):.1f}"
        parts.append(
            f'<line class="axis" stroke-dasharray="5 4" x1="{LEFT}" x2="{WIDTH - RIGHT}" '
            f'y1="{level}" y2="{level}"/>'
            f'<text class="soft" x="{LEFT + 4}" y="{level}" dy="-4">teacher</text>'
        )
    order = sorted(range(len(points)), key=lambda i: y.at(points[i][2]["mean"]))
    names = _spread_out([y.at(points[i][2]["mean"]) for i in order])
    for at, index in zip(names, order, strict=True):
        arm, size, number = points[index]
        parts.append(_point(arm, x.at(size), y, number, at))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(_spoken(points, metric))}"><style>{_STYLE}</style>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _frame(
    x: Scale, x_ticks: Sequence[float], y: Scale, y_ticks: Sequence[float], metric: str
) -> list[str]:
    base, end = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<line class="axis" x1="{LEFT}" x2="{end}" y1="{base}" y2="{base}"/>']
    for tick in y_ticks:
        at = f"{y.at(tick):.1f}"
        parts.append(
            f'<line class="line" x1="{LEFT}" x2="{end}" y1="{at}" y2="{at}"/>'
            f'<text class="soft" x="{LEFT - 8}" y="{at}" dy=".33em" text-anchor="end">'
            f"{significant(tick)}</text>"
        )
    for tick in x_ticks:
        at = f"{x.at(tick):.1f}"
        parts.append(
            f'<line class="axis" x1="{at}" x2="{at}" y1="{base}" y2="{base + 5}"/>'
            f'<text class="soft" x="{at}" y="{base + 20}" text-anchor="middle">'
            f"{size_bytes(tick)}</text>"
        )
    scale = ", logarithmic" if x.log else ""
    better = "larger" if larger_is_better(metric) else "smaller"
    parts.append(
        f'<text x="{(LEFT + end) / 2:g}" y="{HEIGHT - 12}" text-anchor="middle">model size: '
        f"weights at stored bits{scale}</text>"
        f'<text transform="translate(16 {(TOP + base) / 2:g}) rotate(-90)" text-anchor="middle">'
        f"{escape(metric)} ({better} is better)</text>"
    )
    return parts


def _point(
    arm: Mapping[str, Any], left: float, y: Scale, number: Mapping[str, Any], label: float
) -> str:
    """The point, its bar, and its name at the right with a line that leads to it."""
    mean, spread, end = number["mean"], number["spread"], WIDTH - RIGHT
    top = y.at(mean)
    bar = (
        f'<line class="bar" x1="{left:.1f}" x2="{left:.1f}" y1="{y.at(mean - spread):.1f}" '
        f'y2="{y.at(mean + spread):.1f}"/>'
        if spread
        else ""
    )
    kind = "int" if arm["bits"] < 32 else "float"
    shape = (
        f'<rect class="{kind}" x="{left - 5:.1f}" y="{top - 5:.1f}" width="10" height="10"/>'
        if kind == "int"
        else f'<circle class="{kind}" cx="{left:.1f}" cy="{top:.1f}" r="5.5"/>'
    )
    return (
        f'<g data-arm="{escape(arm["arm"])}" data-x="{arm["numbers"]["bytes"]["mean"]!r}" '
        f'data-y="{mean!r}">'
        f'<polyline class="lead" fill="none" points="{left:.1f},{top:.1f} {end},{label:.1f} '
        f'{end + 8},{label:.1f}"/>{bar}{shape}'
        f'<text x="{end + 12}" y="{label:.1f}" dy=".33em">{escape(arm["arm"])} '
        f'<tspan class="soft">{significant(mean)}</tspan></text></g>'
    )


def _spread_out(wanted: Sequence[float]) -> list[float]:
    """Heights (ascending) near the wanted ones, at least `_APART` from each other, inside."""
    placed: list[float] = []
    for height in wanted:
        placed.append(max(height, placed[-1] + _APART) if placed else height)
    over = max(0.0, placed[-1] - (HEIGHT - BOTTOM)) if placed else 0.0
    low = HEIGHT - BOTTOM if over else math.inf
    for index in range(len(placed) - 1, -1, -1):
        placed[index] = min(placed[index], low)
        low = placed[index] - _APART
    return placed


def _size_axis(sizes: Sequence[float]) -> tuple[Scale, list[float]]:
    """Bytes, logarithmic where the largest is more than three times the smallest."""
    low, high = min(sizes), max(sizes)
    if high <= 3 * low:
        return _axis(low, high, LEFT + 12, WIDTH - RIGHT - 12)
    low, high = low / 1.25, high * 1.25
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]
    return Scale(low, high, LEFT, WIDTH - RIGHT, log=True), ticks


def _value_axis(low: float, high: float) -> tuple[Scale, list[float]]:
    return _axis(low, high, HEIGHT - BOTTOM - 10, TOP + 6)


def _axis(low: float, high: float, start: float, end: float) -> tuple[Scale, list[float]]:
    """A linear axis with a margin, and its ticks at round numbers."""
    reach = (high - low) or abs(high) or 1.0
    low, high = low - 0.08 * reach, high + 0.08 * reach
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    ticks = [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return Scale(low, high, start, end), ticks


def _spoken(points: Sequence[tuple[Mapping[str, Any], float, Any]], metric: str) -> str:
    told = [
        f"{arm['arm']} {size_bytes(size)}, {significant(number['mean'])}"
        for arm, size, number in points
    ]
    return f"{metric} over model size: {'; '.join(told)}."


def larger_is_better(metric: str) -> bool:
    """Whether a metric is a score, not a distance."""
    return metric.removeprefix("real/").startswith("is-")


def picture_grid(run: Path, arms: Sequence[Mapping[str, Any]], out: Path) -> bool:
    """Photo, teacher and each arm's student, a row each, one column a photo (the paper's Fig. 4).

    Made from the ``samples/`` of each arm's first seed. Returns whether there were any.
    Raises ImagesError for a picture that cannot be read.
    """
    folders = {a["arm"]: run / a["runs"][0] / "samples" for a in arms}
    folders = {arm: f for arm, f in folders.items() if any(f.glob("*_student.png"))}
    if not folders:
        return False
    first = next(iter(folders.values()))
    stems = sorted(p.name.removesuffix("_student.png") for p in first.glob("*_student.png"))
    count = min(len(stems), _MOST_PICTURES)
    stems = [stems[i * len(stems) // count] for i in range(count)]
    rows = [("photo", first, "photo"), ("teacher", first, "teacher")]
    rows += [(arm, folder, "student") for arm, folder in folders.items()]
    rows = [row for row in rows if (row[1] / f"{stems[0]}_{row[2]}.png").exists()]
    side = max(96, _open(first / f"{stems[0]}_student.png").height)
    whole = (_NAMES + len(stems) * (side + _GAP), len(rows) * (side + _GAP))
    canvas = Image.new("RGB", whole, "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    for line, (name, folder, kind) in enumerate(rows):
        top = line * (side + _GAP)
        draw.text((8, top + side // 2), name, fill="black", font=font, anchor="lm")
        for column, stem in enumerate(stems):
            path = folder / f"{stem}_{kind}.png"
            if path.exists():
                picture = _open(path).resize((side, side), Image.Resampling.LANCZOS)
                canvas.paste(picture, (_NAMES + column * (side + _GAP), top))
    replace_file(out, partial(canvas.save, format="PNG"))
    return True


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise ImagesError(f"The picture '{path}' cannot be read: {error}. Delete it.") from error
