"""The things in the drawn landscapes: each function paints one onto the canvas.

All take (canvas, pen, rng, foot, tall, light, lit_left): the canvas and its pen (edited in place),
where the thing stands and how tall it is, both in canvas pixels, the colour of the light (3,) in
[0, 1], and whether the sun is on its left.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageDraw import ImageDraw

Rng = np.random.Generator
Colour = tuple[int, int, int]
Point = tuple[float, float]
Light = NDArray[np.floating[Any]]

_WALLS = ((232, 222, 200), (214, 150, 120), (180, 92, 74), (150, 178, 196), (240, 240, 236))
_ROOFS = ((150, 60, 48), (96, 72, 64), (84, 96, 112), (176, 98, 60))
_LEAVES = ((58, 118, 52), (92, 140, 50), (36, 92, 66), (198, 132, 44), (188, 82, 50))
_BRIGHT = (
    (222, 60, 56),
    (244, 186, 50),
    (48, 122, 206),
    (52, 160, 96),
    (244, 240, 230),
    (142, 74, 168),
    (240, 128, 48),
)


def _lit(colour: Any, light: Light, factor: float = 1.0) -> Colour:
    """`colour` under `light`, brighter or darker by `factor`, as Pillow wants it."""
    red, green, blue = np.clip(np.asarray(colour) * light * factor, 0, 255).astype(int).tolist()
    return red, green, blue


def _pick(rng: Rng, colours: tuple[Colour, ...]) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def house(
    canvas: Image.Image,
    pen: ImageDraw,
    rng: Rng,
    foot: Point,
    tall: float,
    light: Light,
    lit_left: bool,
) -> None:
    """Two walls in planks or bricks, a tiled roof, a door, windows, a chimney."""
    x, y = foot
    wall, roof = _pick(rng, _WALLS), _pick(rng, _ROOFS)
    half, up = tall * float(rng.uniform(0.45, 0.62)), tall * 0.55
    turn = float(rng.uniform(0.15, 0.45)) * half  # where the corner is: the side wall's width
    faces = (1.0, 0.74) if lit_left else (0.8, 0.98)
    corner = x + half - turn
    front = (x - half, y - up, corner, y)
    pen.rectangle(front, fill=_lit(wall, light, faces[0]))
    side = [(corner, y - up), (x + half, y - up * 1.04), (x + half, y - 0.05 * tall), (corner, y)]
    pen.polygon(side, fill=_lit(wall, light, faces[1]))
    _wall_pattern(pen, rng, front, _lit(wall, light, faces[0] * 0.8))
    if rng.random() < 0.6:
        stack = (x - half * 0.1, y - tall * 1.02, x + half * 0.12, y - tall * 0.7)
        pen.rectangle(stack, fill=_lit((150, 84, 70), light, faces[1]))
    ridge = (x - half * 0.72, x + half * 0.55)
    eaves = (x - half * 1.12, corner + half * 0.06)
    slope = [(eaves[0], y - up), (ridge[0], y - tall), (ridge[1], y - tall), (eaves[1], y - up)]
    pen.polygon(slope, fill=_lit(roof, light, faces[0]))
    gable = [(eaves[1], y - up), (ridge[1], y - tall), (x + half * 1.08, y - up * 1.04)]
    pen.polygon(gable, fill=_lit(roof, light, faces[1] * 0.9))
    for row in (0.25, 0.5, 0.75):
        ends = [
            (eaves[k] + (ridge[k] - eaves[k]) * row, y - up - (tall - up) * row) for k in (0, 1)
        ]
        pen.line(ends, fill=_lit(roof, light, faces[0] * 0.8), width=1)
    _openings(pen, rng, front, light)


def _wall_pattern(
    pen: ImageDraw, rng: Rng, box: tuple[float, float, float, float], colour: Colour
) -> None:
    """Planks, bricks or plain plaster."""
    left, top, right, low = box
    kind = int(rng.integers(3))
    rows = 7
    for row in range(1, rows) if kind else ():
        y = top + (low - top) * row / rows
        pen.line([(left, y), (right, y)], fill=colour, width=1)
        for joint in range(6) if kind == 2 else ():
            x = left + (right - left) * (joint + 0.5 * (row % 2)) / 6
            pen.line([(x, y), (x, y + (low - top) / rows)], fill=colour, width=1)


def _openings(
    pen: ImageDraw, rng: Rng, front: tuple[float, float, float, float], light: Light
) -> None:
    """A door and windows; lamps are on when it is dark."""
    left, top, right, low = front
    wide, up = right - left, low - top
    dark = float(light.mean()) < 0.7
    glass: Colour = (255, 214, 110) if dark else _lit((92, 120, 150), light)
    frame = _lit((246, 244, 238), light)
    door = left + wide * float(rng.choice((0.12, 0.42, 0.7)))
    shade = _lit(_pick(rng, _BRIGHT), light, 0.7)
    pen.rectangle((door, low - up * 0.62, door + wide * 0.2, low), fill=shade)
    for place in (0.1, 0.4, 0.7):
        x = left + wide * place
        if abs(x - door) > wide * 0.2:
            box = (x, top + up * 0.25, x + wide * 0.2, top + up * 0.6)
            pen.rectangle(box, fill=glass, outline=frame)
            middle = (box[0] + box[2]) / 2
            pen.line([(middle, box[1]), (middle, box[3])], fill=frame, width=1)


def tree(
    canvas: Image.Image,
    pen: ImageDraw,
    rng: Rng,
    foot: Point,
    tall: float,
    light: Light,
    lit_left: bool,
) -> None:
    """A round tree, a fir or a poplar, lighter on the sun's side."""
    x, y = foot
    leaf = np.array(_pick(rng, _LEAVES)) * rng.uniform(0.85, 1.15)
    kind = int(rng.integers(3))
    trunk = tall * 0.05
    pen.rectangle((x - trunk, y - tall * 0.4, x + trunk, y), fill=_lit((104, 76, 56), light))
    aside = -1 if lit_left else 1
    if kind == 0:
        for tier in range(4):
            low = y - tall * (0.14 + 0.2 * tier)
            half = tall * (0.3 - 0.055 * tier)
            tip = (x, low - tall * 0.34)
            pen.polygon([(x - half, low), tip, (x + half, low)], fill=_lit(leaf, light, 0.72))
            pen.polygon([(x + aside * half, low), tip, (x, low)], fill=_lit(leaf, light, 0.95))
        return
    blobs = 9 if kind == 1 else 7
    for blob in range(blobs):
        rise = blob / (blobs - 1)
        wide = tall * (0.26 if kind == 1 else 0.12)
        dx = (
            float(rng.uniform(-1, 1)) * wide * (0.75 if kind == 1 else 0.2)
            + aside * wide * 0.3 * rise
        )
        dy = tall * (0.42 + 0.42 * (float(rng.random()) if kind == 1 else rise))
        radius = wide * float(rng.uniform(0.55, 0.8)) * (1 if kind == 1 else 1.3 - 0.5 * rise)
        box = (x + dx - radius, y - dy - radius, x + dx + radius, y - dy + radius)
        pen.ellipse(box, fill=_lit(leaf, light, 0.68 + 0.5 * rise))


def boat(
    canvas: Image.Image,
    pen: ImageDraw,
    rng: Rng,
    foot: Point,
    tall: float,
    light: Light,
    lit_left: bool,
) -> None:
    """A hull with a band, a mast and one or two sails with stripes, and its reflection."""
    x, y = foot
    half, deep = tall * 0.42, tall * 0.16
    hull, sail, band = (_pick(rng, _BRIGHT) for _ in range(3))
    for row in range(4):  # broken reflection
        low = y + tall * (0.03 + 0.05 * row)
        reach = half * float(rng.uniform(0.4, 0.9)) * (1 - 0.18 * row)
        pen.line([(x - reach, low), (x + reach, low)], fill=_lit(hull, light, 0.6), width=1)
    deck = y - deep
    body = [(x - half, deck), (x + half * 1.1, deck), (x + half * 0.7, y), (x - half * 0.75, y)]
    pen.polygon(body, fill=_lit(hull, light, 0.9))
    pen.line([(x - half, deck), (x + half * 1.1, deck)], fill=_lit(band, light), width=2)
    pen.line([(x, y - tall), (x, deck)], fill=_lit((88, 66, 50), light), width=2)
    for way, wide, shade in ((1, 0.85, 1.0 if not lit_left else 0.84), (-1, 0.6, 0.92)):
        low, top = deck - tall * 0.06, y - tall * (1.0 if way > 0 else 0.86)
        tip, out = (x + way * 1.5, top), (x + way * half * wide, low)
        pen.polygon([tip, out, (x + way * 1.5, low)], fill=_lit(sail, light, shade))
        for share in (0.35, 0.65):
            edge = (tip[0] + (out[0] - tip[0]) * share, tip[1] + (out[1] - tip[1]) * share)
            pen.line([edge, (x + way * 1.5, edge[1])], fill=_lit(band, light, shade), width=2)


def _sphere(rng: Rng, radius: float, light: Light, lit_left: bool, stretch: float) -> Image.Image:
    """A shaded, patterned ball as RGBA, 2 * radius wide; `stretch` times as tall."""
    wide, high = max(3, round(2 * radius)), max(3, round(2 * radius * stretch))
    u = ((np.arange(wide, dtype=np.float32) + 0.5) / wide * 2 - 1)[None, :]
    v = ((np.arange(high, dtype=np.float32) + 0.5) / high * 2 - 1)[:, None]
    flat = u * u + v * v
    near = np.sqrt(np.clip(1 - flat, 0, 1))
    tilt = float(rng.uniform(-0.9, 0.9)) if stretch == 1 else 0.0
    a, b = u * np.cos(tilt) - v * np.sin(tilt), u * np.sin(tilt) + v * np.cos(tilt)
    turn = np.arctan2(a, near + 1e-6) * int(rng.choice((3, 4, 5))) + rng.uniform(0, 6)
    kind = int(rng.integers(4))
    stripes, rings = np.sin(turn * 2), np.sin(b * rng.uniform(5, 9))
    pattern = (stripes, stripes * rings, rings, np.zeros_like(stripes) - 1)[kind]
    first, second = rng.permutation(len(_BRIGHT))[:2]
    mix = np.clip(pattern * 3 + 0.5, 0, 1)[..., None]
    paint = np.array(_BRIGHT[first]) * (1 - mix) + np.array(_BRIGHT[second]) * mix
    towards = -0.55 if lit_left else 0.55
    lambert = np.clip(u * towards - v * 0.6 + near * 0.58, 0, 1)
    shine = np.clip(lambert, 0, 1) ** 24 * 90
    colour = paint * light * (0.42 + 0.68 * lambert)[..., None] + shine[..., None]
    alpha = np.clip((1 - np.sqrt(flat)) * radius + 0.5, 0, 1) * 255
    return Image.fromarray(np.dstack([np.clip(colour, 0, 255), alpha]).astype(np.uint8))


def ball(
    canvas: Image.Image,
    pen: ImageDraw,
    rng: Rng,
    foot: Point,
    tall: float,
    light: Light,
    lit_left: bool,
) -> None:
    """A ball: plain, striped, ringed or checked."""
    patch = _sphere(rng, tall / 2, light, lit_left, 1)
    canvas.paste(patch, (round(foot[0] - patch.width / 2), round(foot[1] - patch.height)), patch)


def balloon(
    canvas: Image.Image,
    pen: ImageDraw,
    rng: Rng,
    foot: Point,
    tall: float,
    light: Light,
    lit_left: bool,
) -> None:
    """A hot-air balloon with its basket; `foot` is the basket's floor."""
    x, y = foot
    patch = _sphere(rng, tall * 0.32, light, lit_left, 1.2)
    low = y - tall * 0.22
    for way in (-1, 1):
        ends = [(x + way * tall * 0.22, low - tall * 0.12), (x + way * tall * 0.06, y - tall * 0.1)]
        pen.line(ends, fill=_lit((96, 78, 66), light), width=1)
    basket = (x - tall * 0.07, y - tall * 0.11, x + tall * 0.07, y)
    pen.rectangle(basket, fill=_lit((150, 104, 62), light))
    canvas.paste(patch, (round(x - patch.width / 2), round(low - patch.height)), patch)
