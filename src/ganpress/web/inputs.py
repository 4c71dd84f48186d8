"""What the page asks people for: a photo, a drawing, a label map, or moves of a latent code.

What a network reads says most of it. Whether its pictures are drawn ones (outlines, label maps as
colours) is read off examples of them: a drawing has few colours, and they cover it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ganpress.errors import ConfigError, did_you_mean
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import reads
from ganpress.web.label_names import Label, labels_of, names_of

Kind = Literal["photo", "draw", "labels", "latent"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The page's input modules."""

Picture = NDArray[np.uint8]

MOST_COLOURS = 24
"""Of a drawing: a picture with more is a photo."""
COVERED = 0.85
"""Share of a drawing's pixels that have one of its colours; the rest are the edges between them."""
SMALLEST = 0.002
"""Share of the pixels from which on a colour counts as one of the drawing's."""
FLAT = 0.2
"""Part of a colour's pixels that lie in areas of it, below which it is one of edges."""
NEAR = 24
"""Of 255, in each channel: colours nearer than this are one colour."""
GREY_SPREAD = 12
"""Of 255: a colour whose channels differ by no more is grey; pixels that do are one area."""


@dataclass(frozen=True)
class Drawing:
    """What the pictures that a network reads are drawn with.

    Attributes:
        palette: names and colours, RGB 0 to 255; the first is the ground.
        stroke: width of its lines, as a part of the pictures' shorter side; None where areas are
            filled.
    """

    palette: tuple[Label, ...]
    stroke: float | None

    def facts(self) -> dict[str, Any]:
        """As ``models.json`` and a model's card hold it."""
        palette = [colour.facts() for colour in self.palette]
        return {"palette": palette, **({"stroke": self.stroke} if self.stroke else {})}


def kinds_of(model: Model) -> tuple[Kind, ...]:
    """The input modules that can feed a network, the usual one first; the page adds that of codes
    where one is read beside a picture."""
    names = reads(model)
    if "image" in names:
        return ("photo", "draw")
    return ("labels",) if "semantics" in names else ("latent",)


def input_facts(
    model: Model,
    *,
    kind: str | None = None,
    examples: Sequence[Picture] = (),
    card: Mapping[str, Any] | None = None,
    label_set: str | None = None,
) -> dict[str, Any]:
    """What ``models.json`` says of how a network is fed: `input`, and `palette` or `labels`.

    Args:
        kind: which module opens first; None: what the network reads, and the examples, say.
        examples: pictures that the network was made to read, (h, w, 1 to 4).
        card: of a network of the zoo: its ``input`` says what the examples would.
        label_set: names and colours of label maps (`label_names.LABEL_SETS`, or a file); None:
            known where the number of labels is that of one data set alone.
    Raises: ConfigError for a kind that cannot feed this network, or unknown label sets.
    """
    able = kinds_of(model)
    if kind is not None and kind not in able:
        raise ConfigError(
            f"A '{model.family.name}' generator reads {' and '.join(reads(model))}: it cannot be "
            f"given '{kind}'{did_you_mean(kind, able)}. Choose {' or '.join(able)}."
        )
    if "semantics" in reads(model):
        net: Any = model.net
        return {"input": "labels", "labels": labels_of(net, label_set, card)}
    if "draw" not in able:
        return {"input": kind or able[0]}
    known = (card or {}).get("input")
    drawing = drawing_of(examples)
    if drawing is not None:
        known = drawing.facts()
    if kind == "draw" and known is None:
        known = OUTLINE.facts()
    if known is None:
        return {"input": "photo"}
    return {"input": kind or "draw", **known}


def drawing_of(pictures: Sequence[Picture]) -> Drawing | None:
    """What pictures are drawn with; None where they are photos, or there are none.

    Args: pictures: (h, w, 1 to 4) each; alpha is left out.
    """
    if not pictures:
        return None
    pictures = [_as_rgb(picture) for picture in pictures]
    colours = _few_colours(pictures)
    if colours is None or len(colours) < 2:
        return None
    is_outline = len(colours) == 2 and all(np.ptp(c) <= GREY_SPREAD for c in colours)
    names: tuple[str, ...] = ("paper", "line")
    if is_outline:
        widths = [width for p in pictures if (width := stroke_width(p)) is not None]
        stroke = round(float(np.median(widths)), 4) if widths else None
    else:
        names, stroke = names_of([_rgb(c) for c in colours], NEAR), None
    named = [Label(n, _rgb(c)) for n, c in zip(names, colours, strict=True)]
    return Drawing(tuple(named), stroke)


def stroke_width(picture: Picture) -> float | None:
    """The usual width of the lines of an outline, as a part of the shorter side; None without any.

    Twice the area of the lines over the length of their edges, which is what the picture changes by
    in all: a line of width w and length l has the area w l and two edges of the length l.

    Args: picture: (h, w, 3), dark lines on a light ground, or light ones on a dark one.
    """
    grey = picture.astype(np.float64).mean(2) / 255
    ink = np.abs(grey - np.median(grey))
    ink /= max(float(ink.max()), 1e-9)
    across, down = np.diff(ink, axis=1)[:-1], np.diff(ink, axis=0)[:, :-1]
    edges = float(np.hypot(across, down).sum())
    return 2 * float(ink.sum()) / edges / min(grey.shape) if edges > 1 else None


def _as_rgb(picture: Picture) -> Picture:
    return picture[..., :3] if picture.shape[2] > 2 else np.repeat(picture[..., :1], 3, 2)


def _few_colours(pictures: Sequence[Picture]) -> list[NDArray[np.int64]] | None:
    """The colours that cover pictures, the commonest first; None where none do.

    What lies between two of them, and in no areas of its own, is an edge's.
    """
    pixels = np.concatenate([p.reshape(-1, 3) for p in pictures]).astype(np.int64)
    flat = np.concatenate([_is_flat(p).reshape(-1) for p in pictures])
    seen, where, counts = np.unique(
        pixels @ (1 << 16, 1 << 8, 1), return_inverse=True, return_counts=True
    )
    colours = np.stack([seen >> 16, seen >> 8 & 255, seen & 255], 1)
    found: list[NDArray[np.int64]] = []
    for k in np.argsort(-counts, kind="stable").tolist():
        if counts[k] < SMALLEST * len(pixels):
            break
        if all(np.abs(other - colours[k]).max() > NEAR for other in found):
            found.append(colours[k])
    if not found:
        return None
    away = np.stack([np.abs(colours - one).max(1) for one in found])
    nearest = np.where(away.min(0) <= NEAR, away.argmin(0), len(found))
    shares = np.bincount(nearest, counts, len(found) + 1)
    areas = np.bincount(nearest[where], flat, len(found) + 1)
    ranked = sorted(range(len(found)), key=lambda k: -shares[k])
    kept: list[int] = []
    for k in ranked:
        is_edge = areas[k] < FLAT * shares[k]
        if not (is_edge and _is_between(found[k], [found[i] for i in kept])):
            kept.append(k)
    covered = sum(shares[k] for k in kept)
    if len(kept) > MOST_COLOURS or covered < COVERED * len(pixels):
        return None
    return [found[k] for k in kept]


def _is_flat(picture: Picture) -> NDArray[np.bool_]:
    """Whether each pixel and the three to its right and below have one colour: (h, w)."""
    x = np.pad(picture.astype(np.int64), ((0, 1), (0, 1), (0, 0)), mode="edge")
    blocks = np.stack([x[:-1, :-1], x[1:, :-1], x[:-1, 1:], x[1:, 1:]])
    found: NDArray[np.bool_] = (np.ptp(blocks, axis=0) <= GREY_SPREAD).all(2)
    return found


def _is_between(colour: NDArray[np.int64], others: Sequence[NDArray[np.int64]]) -> bool:
    """Whether two of the others, mixed, make this colour."""
    for i, one in enumerate(others):
        for other in others[:i]:
            way = (other - one).astype(float)
            at = float(np.clip((colour - one) @ way / (way @ way), 0, 1))
            if np.abs(one + at * way - colour).max() <= NEAR:
                return True
    return False


def _rgb(colour: NDArray[np.int64]) -> tuple[int, int, int]:
    r, g, b = colour.tolist()
    return r, g, b


OUTLINE = Drawing((Label("paper", (255, 255, 255)), Label("line", (0, 0, 0))), 2 / 72)
"""Of icons: black lines of 2 units on a white square of 72, as OpenMoji's."""
