"""The ablation's two figures: quality over size (SVG), and pictures of every variant (PNG)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFont

from ganpress.report.amounts import larger_is_better, significant, size_bytes
from ganpress.report.figures import COLOURS, new_axes
from ganpress.report.pictures import open_picture
from ganpress.run.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (720, 420)
_MARGINS = (74, 20, 190, 56)
_APART = 17.0  # pixels between two names at the right
_MOST_PICTURES = 6
_NAMES = 132  # pixels for the names beside the pictures
_GAP = 4


def figure_size(
    variants: Sequence[Mapping[str, Any]], metric: str, baseline: float | None
) -> Figure:
    """Quality over model size, one point a variant (the paper's Fig. 3).

    Round points are float variants, square ones 8-bit ones; a bar is one spread over seeds to both
    sides. ``baseline`` is a dashed line, such as the teacher's own number. Each variant's point is
    the group "variant NAME" of the SVG. To be called, and saved, inside `figures.drawing`.
    """
    figure, axes = new_axes(SIZE, _MARGINS)
    _axes_of(axes, [a["numbers"]["bytes"]["mean"] for a in variants], metric)
    if baseline is not None:
        axes.axhline(baseline, color=COLOURS["soft"], linewidth=1, dashes=(5, 4))
        axes.annotate(
            "teacher", (0, baseline), (4, 4), xycoords=("axes fraction", "data"),
            textcoords="offset points", color=COLOURS["soft"],
        )  # fmt: skip
    for variant in variants:
        number = variant["numbers"][metric]
        whole = variant["bits"] >= 32
        drawn = axes.errorbar(
            [variant["numbers"]["bytes"]["mean"]],
            [number["mean"]],
            yerr=[number["spread"]] if number["spread"] else None,
            fmt="o" if whole else "s",
            markersize=10,
            color=COLOURS["c0" if whole else "c1"],
            ecolor=COLOURS["soft"],
            clip_on=False,
        )
        drawn.lines[0].set_gid(f"variant {variant['variant']}")
    axes.margins(y=0.08)
    axes.autoscale_view()  # else it waits for the drawing, and the points' places are not known
    _name_points(axes, variants, metric)
    return figure


def spoken(variants: Sequence[Mapping[str, Any]], metric: str) -> str:
    """The figure in words: 'm over model size: gd 1.2 MB, 0.3; gs-32 ...'."""
    points = [
        f"{a['variant']} {size_bytes(a['numbers']['bytes']['mean'])}, "
        f"{significant(a['numbers'][metric]['mean'])}"
        for a in variants
    ]
    return f"{metric} over model size: {'; '.join(points)}."


def _axes_of(axes: Axes, sizes: Sequence[float], metric: str) -> None:
    """Bytes, logarithmic where the largest is more than three times the smallest, and a metric."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    log = max(sizes) > 3 * min(sizes)
    if log:
        axes.set_xscale("log")
        axes.set_xlim(min(sizes) / 1.25, max(sizes) * 1.25)
    axes.xaxis.set_major_locator(
        LogLocator(subs=(1, 2, 5)) if log else MaxNLocator(5, steps=[1, 2, 5, 10])
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: size_bytes(value))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: significant(value))
    axes.yaxis.grid(True, clip_on=False)
    axes.set_xlabel(f"model size: weights at stored bits{', logarithmic' if log else ''}")
    axes.set_ylabel(f"{metric} ({'larger' if larger_is_better(metric) else 'smaller'} is better)")


def _name_points(axes: Axes, variants: Sequence[Mapping[str, Any]], metric: str) -> None:
    """Each point's name and number at the right, with a line that leads to it."""
    numbers = [variant["numbers"] for variant in variants]
    points = [(n["bytes"]["mean"], n[metric]["mean"]) for n in numbers]
    heights = [float(axes.transData.transform(point)[1]) for point in points]
    for index, height in spread_out(heights, axes.bbox.y0, axes.bbox.y1).items():
        at = (axes.bbox.x1, height)
        axes.annotate(
            "", points[index], at, textcoords="figure pixels",
            arrowprops={"arrowstyle": "-", "color": COLOURS["line"], "shrinkA": 0, "shrinkB": 6},
        )  # fmt: skip
        name = axes.annotate(
            f"{variants[index]['variant']}  {significant(points[index][1])}",
            at, (6, 0), xycoords="figure pixels", textcoords="offset points", va="center",
        )  # fmt: skip
        name.set_gid(f"name {variants[index]['variant']}")


def spread_out(wanted: Sequence[float], low: float, high: float) -> dict[int, float]:
    """Heights near the wanted ones, by index: apart from each other, and inside where all fit."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed: dict[int, float] = {}
    floor = low
    for index in order:
        placed[index] = max(wanted[index], floor)
        floor = placed[index] + _APART
    ceiling = high if order and placed[order[-1]] > high else math.inf
    for index in reversed(order):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - _APART
    return placed


def picture_grid(run: Path, variants: Sequence[Mapping[str, Any]], out: Path) -> bool:
    """Photo, teacher, each variant's student, a row each; one column a photo (the paper's Fig. 4).

    Made from the ``samples/`` of each variant's first seed. Returns whether there were any.
    Raises ImagesError for a picture that cannot be read.
    """
    folders = {a["variant"]: run / a["runs"][0] / "samples" for a in variants}
    folders = {variant: f for variant, f in folders.items() if any(f.glob("*_student.png"))}
    if not folders:
        return False
    first = next(iter(folders.values()))
    stems = sorted(p.name.removesuffix("_student.png") for p in first.glob("*_student.png"))
    count = min(len(stems), _MOST_PICTURES)
    stems = [stems[i * len(stems) // count] for i in range(count)]
    rows = [("photo", first, "photo"), ("teacher", first, "teacher")]
    rows += [(variant, folder, "student") for variant, folder in folders.items()]
    rows = [row for row in rows if (row[1] / f"{stems[0]}_{row[2]}.png").exists()]
    width, height = open_picture(first / f"{stems[0]}_student.png").size
    tall = max(96, height)
    wide = round(tall * width / height)
    whole = (_NAMES + len(stems) * (wide + _GAP), len(rows) * (tall + _GAP))
    canvas = Image.new("RGB", whole, "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    for line, (name, folder, kind) in enumerate(rows):
        top = line * (tall + _GAP)
        draw.text((8, top + tall // 2), name, fill="black", font=font, anchor="lm")
        for column, stem in enumerate(stems):
            path = folder / f"{stem}_{kind}.png"
            if path.exists():
                picture = open_picture(path).resize((wide, tall), Image.Resampling.LANCZOS)
                shown = picture.convert("RGBA")
                canvas.paste(shown, (_NAMES + column * (wide + _GAP), top), shown)
    replace_file(out, partial(canvas.save, format="PNG"))
    return True
