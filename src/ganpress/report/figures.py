"""Figures by Matplotlib, as SVG whose colours are the page's own: they follow light and dark."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CSS = (Path(__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
COLOURS: dict[str, str] = dict(
    re.findall(r"--(c\d|ink|soft|line|grid): (#[0-9a-f]{6});", _CSS.partition("@media")[0])
)
"""Name -> light colour of the style sheet. All differ: on the page each is put back by name."""
LINES = sorted(name for name in COLOURS if name[0] == "c")
_FONT = "font-family: 'DejaVu Sans', sans-serif"  # comes with Matplotlib, so it is always there
_SETTINGS = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "ganpress",  # the same figure gives the same bytes
    "path.simplify": False,
    "text.parse_math": False,  # a name may hold dollar signs
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 12.0,
    "figure.dpi": 72.0,  # a point is a pixel
    "xtick.major.pad": 7.0,
    "ytick.major.pad": 6.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": COLOURS["line"],
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 1.0,
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["soft"],
    "xtick.labelcolor": COLOURS["soft"],
    "ytick.labelcolor": COLOURS["soft"],
    **{f"{axis}tick.{which}.size": 0 for axis in "xy" for which in ("major", "minor")},
}


@contextmanager
def drawing() -> Iterator[None]:
    """Matplotlib by its own defaults, whatever the user has set, and without its log messages."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.CRITICAL)  # it reports its font cache
    try:
        import matplotlib.style

        with matplotlib.style.context(["default", _SETTINGS]):
            yield
    finally:
        log.setLevel(level)


def new_axes(size: tuple[int, int], box: tuple[float, float, float, float]) -> tuple[Figure, Axes]:
    """An empty figure of ``size`` pixels, its axes at ``box``: left, top, right, bottom margins."""
    from matplotlib.figure import Figure

    (width, height), (left, top, right, bottom) = size, box
    figure = Figure(figsize=(width / 72, height / 72), facecolor="none", edgecolor="none")
    inside = (width - left - right) / width, (height - top - bottom) / height
    return figure, figure.add_axes((left / width, bottom / height, *inside))


def whole_svg(figure: Figure) -> str:
    """The figure as an SVG file of its own, the same bytes each time, in the light colours."""
    out = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(out, format="svg", metadata=nothing, facecolor=figure.get_facecolor())
    return out.getvalue().replace(_FONT, "font-family: system-ui, Helvetica, Arial, sans-serif")


def svg_body(figure: Figure) -> str:
    """What stands inside the figure's svg element, to be put into a page.

    Colours become the page's variables, numbered ids become classes (several figures share a
    page), text takes the page's font, and coordinates have two decimals.
    """
    whole = whole_svg(figure)
    body = whole[whole.index('<g id="figure_1"') : whole.rindex("</svg>")]
    body = re.sub(r"font-size: [^;]*; font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r'id="([a-z0-9.]+)_\d+"', r'class="\1"', body)
    body = re.sub(r' transform="rotate\(-0[^"]*"', "", body)
    body = re.sub(r' (?:d|x|y|transform)="[^"]*"', _rounded, body)
    for name, colour in COLOURS.items():
        body = body.replace(f": {colour}", f": var(--{name})")
    return re.sub(r"\s*\n\s*", "\n", body)


def _rounded(attribute: re.Match[str]) -> str:
    return re.sub(r"(\.\d\d)\d+", r"\1", attribute[0])
