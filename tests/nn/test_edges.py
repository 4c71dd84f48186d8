"""Canny's edges and the Gaussian, written out pixel by pixel."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ganpress.nn.edges import TRACED, canny, gaussian

Grid = list[list[float]]


def gradients(grey: Grid) -> tuple[Grid, Grid]:
    """Sobel's derivatives across and down, the border repeated."""
    h, w = len(grey), len(grey[0])

    def at(y: int, x: int) -> float:
        return grey[min(max(y, 0), h - 1)][min(max(x, 0), w - 1)]

    across, down = ([[0.0] * w for _ in range(h)] for _ in range(2))
    for y in range(h):
        for x in range(w):
            for k, weight in ((-1, 1), (0, 2), (1, 1)):
                across[y][x] += weight * (at(y + k, x + 1) - at(y + k, x - 1))
                down[y][x] += weight * (at(y + 1, x + k) - at(y - 1, x + k))
    return across, down


def by_hand(grey: Grid, low: float, high: float) -> list[list[int]]:
    """OpenCV's Canny of the L1 gradient: sectors of 45 degrees, then weak pixels within reach."""
    h, w = len(grey), len(grey[0])
    across, down = gradients(grey)
    size = [[abs(across[y][x]) + abs(down[y][x]) for x in range(w)] for y in range(h)]

    def there(y: int, x: int) -> float:
        return size[y][x] if 0 <= y < h and 0 <= x < w else 0.0

    def is_ridge(y: int, x: int) -> bool:
        angle = math.degrees(math.atan2(down[y][x], across[y][x])) % 180
        sector = int((angle + 22.5) // 45) % 4
        step_y, step_x = ((0, 1), (1, 1), (1, 0), (1, -1))[sector]
        before, after = there(y - step_y, x - step_x), there(y + step_y, x + step_x)
        return size[y][x] > before and size[y][x] >= after

    thin = [[size[y][x] if is_ridge(y, x) else 0.0 for x in range(w)] for y in range(h)]
    found = [[int(v > high) for v in row] for row in thin]
    for _ in range(TRACED):
        near = [
            [any(found[j][i] for j in range(max(0, y - 1), min(h, y + 2))
                 for i in range(max(0, x - 1), min(w, x + 2))) for x in range(w)]
            for y in range(h)
        ]  # fmt: skip
        found = [[int(near[y][x] and thin[y][x] > low) for x in range(w)] for y in range(h)]
    return found


def smooth_noise(height: int, width: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(1, 1, height, width, generator=draw, dtype=torch.float64) * 2 - 1
    return torch.nn.functional.avg_pool2d(x, 3, 1, 1)


@pytest.mark.parametrize(("height", "width", "seed"), [(13, 10, 0), (9, 17, 1)])
def test_edges_are_opencvs(height: int, width: int, seed: int) -> None:
    x = smooth_noise(height, width, seed).float()
    wanted = torch.tensor(by_hand((x[0, 0].double() * 127.5).tolist(), 100.0, 200.0))
    found = canny(x)[0, 0]
    assert torch.equal(found.long(), wanted)
    assert 0.1 < float(found.mean()) < 0.6


def test_the_gaussian_is_its_formula_with_reflected_borders() -> None:
    x = smooth_noise(6, 9, 2)
    taps = [math.exp(-(k**2) / (2 * 1.1**2)) for k in range(-2, 3)]
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="reflect")[0, 0]
    wanted = torch.zeros(6, 9, dtype=torch.float64)
    for j, down in enumerate(taps):
        for i, across in enumerate(taps):
            wanted += down * across / sum(taps) ** 2 * padded[j : j + 6, i : i + 9]
    torch.testing.assert_close(gaussian(x, 5)[0, 0], wanted)
