"""Little landscapes drawn from (seed, index), and a cartoon poster of each; numpy and Pillow only.

`draw` gives a picture, `stylise` the poster a demo teacher learns to paint, `plan` what is in it.
All geometry is in fractions of the side, so one (seed, index) is the same scene at any size.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from ganpress.data.drawn.poster import stylise
from ganpress.data.drawn.things import ball, balloon, boat, house, tree
from ganpress.errors import ConfigError, DiskFull

Picture = NDArray[np.uint8]
Field = NDArray[np.floating[Any]]

TIMES = ("day", "dawn", "dusk", "overcast", "night")
GROUNDS = ("meadow", "field", "sea", "sand", "snow")
SMALLEST = 16

# Sky at the top, sky at the horizon, colour of the light; all 0..255.
_SKIES = {
    "day": ((66, 136, 214), (206, 231, 245), (255, 255, 250)),
    "dawn": ((112, 128, 196), (255, 208, 178), (255, 226, 206)),
    "dusk": ((70, 62, 128), (252, 150, 92), (255, 206, 172)),
    "overcast": ((146, 158, 172), (216, 220, 224), (226, 230, 234)),
    "night": ((16, 24, 58), (70, 84, 138), (120, 132, 186)),
}
_GROUND_COLOURS = {
    "meadow": ((112, 164, 70), (74, 130, 58)),
    "field": ((206, 178, 92), (150, 156, 70)),
    "sea": ((52, 126, 168), (28, 88, 138)),
    "sand": ((228, 198, 142), (206, 168, 108)),
    "snow": ((240, 244, 250), (206, 216, 232)),
}


@dataclass(frozen=True)
class Scene:
    """What is in a picture: the time of day, the ground, and how many of each thing."""

    time: str
    ground: str
    mountains: int
    houses: int
    trees: int
    boats: int
    balls: int
    balloons: int
    sun: bool


def plan(seed: int, index: int) -> Scene:
    """What picture `index` of `seed` shows; the same for every size."""
    rng = np.random.default_rng([seed, index])
    ground = str(rng.choice(GROUNDS, p=(0.3, 0.2, 0.24, 0.13, 0.13)))
    time = str(rng.choice(TIMES, p=(0.46, 0.17, 0.17, 0.12, 0.08)))
    sea = ground == "sea"
    return Scene(
        time=time,
        ground=ground,
        mountains=int(rng.integers(0, 3)),
        houses=0 if sea else int(rng.choice((0, 1, 1, 2))),
        trees=0 if sea else int(rng.integers(0, 5)),
        boats=int(rng.integers(1, 4)) if sea else 0,
        balls=int(rng.choice((0, 1, 1, 2))),
        balloons=int(rng.choice((0, 0, 1, 2))),
        sun=time != "overcast" and bool(rng.random() < 0.75),
    )


def draw(seed: int, index: int, size: int = 96) -> Picture:
    """Picture `index` of the endless set `seed`.

    Args:
        seed, index: >= 0; the same two give the same picture, bit for bit.
        size: side in pixels, at least 16.
    Returns: (size, size, 3) uint8 RGB.
    Raises: ConfigError for a smaller size or a negative seed or index.
    """
    _check(seed, index, size)
    scene = plan(seed, index)
    rng = np.random.default_rng([seed, index, 1])
    horizon = float(rng.uniform(0.42, 0.6))
    sun_at = (float(rng.uniform(0.12, 0.88)), float(rng.uniform(0.1, horizon - 0.12)))
    light = np.array(_SKIES[scene.time][2], np.float32) / 255
    land = _sky(scene, rng, size, horizon, sun_at)
    land = _mountains(land, scene, rng, horizon, light)
    land = _ground(land, scene, rng, horizon, light)
    things = _placed(scene, rng, horizon)
    side = 2 * size  # things are drawn twice as large and averaged: smooth edges
    ground = Image.fromarray(_shadowed(land, things, sun_at[0]).astype(np.uint8))
    canvas = ground.resize((side, side), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(canvas)
    for kind, x, y, tall in things:
        _KINDS[kind](canvas, pen, rng, (x * side, y * side), tall * side, light, sun_at[0] < x)
    return _finished(canvas, rng, size)


def write_folder(
    folder: Path, n: int, seed: int = 0, size: int = 96, *, stylised: bool = False
) -> Path:
    """Write pictures 0..n-1 of `seed` as `000000.png`, ... and return the folder.

    With `stylised` the posters are written, under the same names: two such folders are pairs.
    Raises: DiskFull when there is no space left; ConfigError as `draw` does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(n):
        picture = draw(seed, index, size)
        path = folder / f"{index:06d}.png"
        half = folder / f".{index:06d}.tmp"
        try:
            Image.fromarray(stylise(picture) if stylised else picture).save(half, "PNG")
            os.replace(half, path)
        except OSError as error:
            half.unlink(missing_ok=True)
            if error.errno != errno.ENOSPC:
                raise
            raise DiskFull(
                f"No space left for {path} ({index} of {n} pictures written). "
                "Free some space or choose another folder, and start again."
            ) from error
    return folder


def _check(seed: int, index: int, size: int) -> None:
    if size < SMALLEST:
        raise ConfigError(f"Pictures are drawn at {SMALLEST} pixels or more, not {size}.")
    if seed < 0 or index < 0:
        raise ConfigError(f"seed and index must be 0 or more, not {seed} and {index}.")


def _noise(rng: np.random.Generator, cells: tuple[int, int], side: int) -> Field:
    """Smooth noise, (side, side) in about [0, 1], from a grid of (rows, columns) random numbers."""
    grid = Image.fromarray(rng.random(cells, dtype=np.float32))
    return np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC), np.float32)


def _axes(side: int) -> tuple[Field, Field]:
    """Column of y and row of x, pixel centres, as fractions of the side."""
    line = (np.arange(side, dtype=np.float32) + 0.5) / side
    return line[:, None], line[None, :]


def _unit(field: Field) -> Field:
    clipped: Field = np.clip(field, 0, 1)
    return clipped


def _sky(
    scene: Scene, rng: np.random.Generator, side: int, horizon: float, sun: tuple[float, float]
) -> Field:
    """Gradient, clouds, sun or moon with its glow, stars: (side, side, 3) in 0..255."""
    top, low, _ = (np.array(colour, np.float32) for colour in _SKIES[scene.time])
    y, x = _axes(side)
    fall = np.clip(y / horizon, 0, 1)[..., None] ** 0.9
    sky = np.broadcast_to(top + (low - top) * fall, (side, side, 3)).copy()
    cover = _noise(rng, (9, 4), side) * 0.65 + _noise(rng, (18, 9), side) * 0.35
    cloud = np.clip((cover - rng.uniform(0.45, 0.75)) * 4, 0, 0.85)[..., None]
    white = low * 0.35 + 165 if scene.time != "night" else low
    sky += cloud * (white - sky)
    if scene.time == "night":
        star = max(1, side // 96)
        for _ in range(int(rng.integers(15, 40))):
            row, column = (rng.random(2) * side * (horizon, 1)).astype(int)
            sky[row : row + star, column : column + star] = 220
    if scene.sun:
        away = np.hypot(x - sun[0], y - sun[1])
        radius = float(rng.uniform(0.045, 0.085))
        disc = np.array((238, 240, 248) if scene.time == "night" else (255, 238, 170), np.float32)
        glow = np.exp(-np.clip(away - radius, 0, 1) * 9)[..., None] * 0.55
        sky += glow * (disc - sky)
        sky += np.clip((radius - away) * side, 0, 1)[..., None] * (disc - sky)
    return sky


def _ridge(rng: np.random.Generator, side: int, rough: int) -> Field:
    """A skyline, (1, side), about [-1, 1]: random waves, each half as tall as the last."""
    x = np.linspace(0, 1, side, dtype=np.float32)
    line = np.zeros(side, np.float32)
    for octave in range(rough):
        turns = rng.uniform(0.6, 1.4) * 2**octave
        line += np.sin(2 * np.pi * (turns * x + rng.random())).astype(np.float32) / 2**octave
    return line[None, :] * 0.6


def _over(land: Field, colour: Field, edge: Field) -> Field:
    """Paint `colour` below the skyline `edge` (1, side), with a smooth edge."""
    side = land.shape[0]
    y, _ = _axes(side)
    mask = np.clip((y - edge) * side + 0.5, 0, 1)[..., None]
    painted: Field = land + mask * (colour - land)
    return painted


def _mountains(
    land: Field, scene: Scene, rng: np.random.Generator, horizon: float, light: Field
) -> Field:
    """Hazy ranges behind the ground, snow on the tallest."""
    side = land.shape[0]
    haze = np.array(_SKIES[scene.time][1], np.float32)
    y, _ = _axes(side)
    for near in range(scene.mountains):
        height = rng.uniform(0.08, 0.2) / (1 + near)
        edge = horizon - height + _ridge(rng, side, 6) * height * 0.55
        rock = np.array(rng.uniform((70, 84, 96), (122, 116, 140)), np.float32) * light
        rock = rock + (0.55 - 0.3 * near) * (haze - rock)
        shade = 0.84 + 0.32 * _noise(rng, (14, 14), side)[..., None]
        colour = rock * shade
        if height > 0.14:
            cap = np.clip((edge + 0.035 - y) * side * 0.25, 0, 1)[..., None]
            colour = colour + cap * (245 * light - colour)
        land = _over(land, colour, edge)
    return land


def _ground(
    land: Field, scene: Scene, rng: np.random.Generator, horizon: float, light: Field
) -> Field:
    """Two rolling layers of textured ground, or a level sea with waves."""
    side = land.shape[0]
    level = scene.ground == "sea"
    base = [np.array(colour, np.float32) for colour in _GROUND_COLOURS[scene.ground]]
    tint = rng.uniform(0.88, 1.12, 3).astype(np.float32)
    for near in range(1 if level else 2):
        top = horizon + (0.0 if near == 0 else rng.uniform(0.12, 0.24))
        edge = np.full((1, side), top, np.float32)
        if not level:
            edge = edge + _ridge(rng, side, 2) * rng.uniform(0.015, 0.05)
        texture = _texture(scene.ground, rng, side, horizon)
        shade = 0.86 + 0.28 * _noise(rng, (5, 5), side)
        mixed = base[near] + texture[..., None] * (base[1] * 0.92 - base[near] + 12 * near)
        if level:  # the sky shows in the water, most near the horizon
            y, _ = _axes(side)
            sheen = np.clip(1 - (y - top) / 0.3, 0, 1)[..., None] * 0.55
            mixed = mixed + sheen * (np.array(_SKIES[scene.time][1], np.float32) - mixed)
        land = _over(land, mixed * tint * light * shade[..., None], edge)
    return np.clip(land, 0, 255)


def _texture(ground: str, rng: np.random.Generator, side: int, horizon: float) -> Field:
    """(side, side) in [0, 1]: furrows, waves, ripples, tufts or drifts, smaller far away."""
    y, x = _axes(side)
    depth = np.clip(y - horizon + 0.05, 0.02, 1)
    wobble = _noise(rng, (7, 7), side)
    if ground == "field":
        vanish = rng.uniform(0.0, 1.0)
        wave = np.sin(rng.uniform(9, 16) * (x - vanish) / depth * 0.5 + wobble * 2)
        return _unit(wave * np.clip(depth * 6, 0, 1) * 0.5 + 0.5)
    if ground == "sea":
        rows = np.sin(rng.uniform(2.2, 3.4) / depth * 4 + 9 * wobble + 5 * x)
        return _unit(rows - 0.1)
    if ground == "sand":
        rows = np.sin(60 * np.sqrt(depth) + 8 * wobble + 4 * x)
        return _unit(0.35 + 0.35 * rows)
    if ground == "snow":
        return wobble * 0.8
    tufts = _noise(rng, (40, 64), side) * np.clip(depth * 3, 0.2, 1)
    return _unit(tufts * 1.3 + wobble * 0.3 - 0.2)


def _placed(
    scene: Scene, rng: np.random.Generator, horizon: float
) -> list[tuple[str, float, float, float]]:
    """(kind, x, foot y, height) of every thing, the farthest first."""
    counts = {
        "house": scene.houses,
        "tree": scene.trees,
        "boat": scene.boats,
        "ball": scene.balls,
        "balloon": scene.balloons,
    }
    placed = []
    for kind, count in counts.items():
        for x in rng.permutation(5)[:count] / 5 + 0.1 if count else ():
            near = float(rng.uniform(0.1, 0.8) if kind != "ball" else rng.uniform(0.55, 0.95))
            foot = horizon + 0.03 + near * (0.92 - horizon)
            tall = {"house": 0.3, "tree": 0.34, "boat": 0.26, "ball": 0.17, "balloon": 0.2}[kind]
            tall *= (0.45 + 0.75 * near) * float(rng.uniform(0.85, 1.15))
            if kind == "balloon":
                foot, near = float(rng.uniform(0.2, horizon - 0.04)), -1.0
            shifted = float(x + rng.uniform(-0.07, 0.07))
            placed.append((kind, shifted, foot, tall, near))
    return [thing[:4] for thing in sorted(placed, key=lambda thing: thing[4])]


def _shadowed(land: Field, things: list[tuple[str, float, float, float]], sun_x: float) -> Field:
    """Darken the ground beside each thing, away from the sun."""
    side = land.shape[0]
    mask = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(mask)
    for kind, x, y, tall in things:
        if kind != "balloon":
            reach = tall * 0.42
            slide = np.clip(x - sun_x, -0.5, 0.5) * tall * 0.9
            box = (x + slide - reach, y - tall * 0.06, x + slide + reach, y + tall * 0.09)
            pen.ellipse([value * side for value in box], fill=100)
    soft = np.asarray(mask.filter(ImageFilter.BoxBlur(side / 96)), np.float32) / 255
    return land * (1 - soft[..., None])


def _finished(canvas: Image.Image, rng: np.random.Generator, size: int) -> Picture:
    """Halve the canvas, then a slow drift of light and a fine grain."""
    small = canvas.resize((size, size), Image.Resampling.BOX)
    picture = np.asarray(small, np.float32)
    drift = 0.95 + 0.1 * _noise(rng, (3, 3), size)
    grain = rng.standard_normal((size, size, 1), dtype=np.float32) * rng.uniform(0.5, 3.0)
    lit: Field = np.clip(picture * drift[..., None] + grain + 0.5, 0, 255)
    return lit.astype(np.uint8)


_KINDS = {"house": house, "tree": tree, "boat": boat, "ball": ball, "balloon": balloon}
