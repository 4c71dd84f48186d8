"""SSIM, the difference of Gram matrices and total variation, against their formulas in loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ganpress.losses.structure import gram_l1, ssim, total_variation


def pictures(seed: int, channels: int = 3, size: tuple[int, int] = (7, 14)) -> Tensor:
    """(2, channels, h, w) in [-1, 1], float64; lower than the window is wide."""
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(2, channels, *size, generator=draw, dtype=torch.float64) * 2 - 1


def gaussian() -> list[list[float]]:
    rows = [
        [math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * 1.5**2)) for j in range(11)]
        for i in range(11)
    ]
    whole = sum(map(sum, rows))
    return [[value / whole for value in row] for row in rows]


def ssim_in_loops(x: Tensor, y: Tensor) -> float:
    """Pixel by pixel; what lies outside is 0, with its weight."""
    window, found = gaussian(), []
    h, w = x.shape[2:]
    for a, b in zip(x.flatten(0, 1).tolist(), y.flatten(0, 1).tolist(), strict=True):
        for i in range(h):
            for j in range(w):
                m = [0.0] * 5  # E[a], E[b], E[a a], E[b b], E[a b]
                for di in range(-5, 6):
                    for dj in range(-5, 6):
                        if 0 <= i + di < h and 0 <= j + dj < w:
                            p, q = a[i + di][j + dj], b[i + di][j + dj]
                            weight = window[di + 5][dj + 5]
                            for k, value in enumerate((p, q, p * p, q * q, p * q)):
                                m[k] += weight * value
                of_a, of_b, both = m[2] - m[0] ** 2, m[3] - m[1] ** 2, m[4] - m[0] * m[1]
                top = (2 * m[0] * m[1] + 0.0001) * (2 * both + 0.0009)
                bottom = (m[0] ** 2 + m[1] ** 2 + 0.0001) * (of_a + of_b + 0.0009)
                found.append(top / bottom)
    return sum(found) / len(found)


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_equals_its_formula_pixel_by_pixel(channels: int) -> None:
    x = pictures(0, channels, (6, 9))
    y = 0.7 * x + 0.3 * pictures(1, channels, (6, 9))
    assert float(ssim(x, y)) == pytest.approx(ssim_in_loops(x, y), rel=1e-10)
    assert float(ssim(x.float(), y.float())) == pytest.approx(ssim_in_loops(x, y), rel=1e-5)


def test_ssim_of_equal_pictures_is_one_and_it_knows_no_order() -> None:
    x, y = pictures(0), pictures(1)
    assert float(ssim(x, x)) == pytest.approx(1)
    assert float(ssim(x, y)) == pytest.approx(float(ssim(y, x)))
    assert float(ssim(x, y)) < 0.5


def test_ssims_gradient_is_the_slope_of_its_formula() -> None:
    x, y = pictures(2, 1, (4, 6)), pictures(3, 1, (4, 6))
    leaf = x.clone().requires_grad_()
    ssim(leaf, y).backward()
    for place in ((0, 0, 0, 0), (1, 0, 2, 5)):
        up, down = x.clone(), x.clone()
        up[place] += 1e-5
        down[place] -= 1e-5
        slope = (ssim_in_loops(up, y) - ssim_in_loops(down, y)) / 2e-5
        assert float(leaf.grad[place]) == pytest.approx(slope, rel=1e-5)


def test_the_terms_of_half_precision_maps_are_computed_in_float32() -> None:
    x, y = (pictures(seed).to(torch.bfloat16) for seed in (0, 1))
    for term in (ssim(x, y), total_variation(x), gram_l1({"tap": x}, {"tap": y})):
        assert term.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        under = ssim(x.float(), y.float())
    assert float(under) == float(ssim(x, y))


def test_total_variation_sums_the_differences_of_neighbours() -> None:
    x = pictures(4, 2, (3, 4))
    wanted = 0.0
    for n in range(2):
        for c in range(2):
            for i in range(3):
                for j in range(4):
                    if j + 1 < 4:
                        wanted += abs(float(x[n, c, i, j + 1] - x[n, c, i, j]))
                    if i + 1 < 3:
                        wanted += abs(float(x[n, c, i + 1, j] - x[n, c, i, j]))
    assert float(total_variation(x)) == pytest.approx(wanted)
    assert float(total_variation(torch.cat([x, x]))) == pytest.approx(2 * wanted)
    assert float(total_variation(torch.full((1, 3, 4, 4), 0.3))) == 0
    assert torch.autograd.gradcheck(total_variation, (x.requires_grad_(),))


def test_gram_matrices_are_compared_by_their_mean_absolute_difference() -> None:
    sizes = {"first": (2, 5, 3, 4), "second": (2, 3, 2, 2)}
    draw = torch.Generator().manual_seed(5)
    a, b = (
        {tap: torch.randn(*s, generator=draw, dtype=torch.float64) for tap, s in sizes.items()}
        for _ in range(2)
    )
    wanted = 0.0
    for tap, (n, c, h, w) in sizes.items():
        x, y = a[tap].flatten(2), b[tap].flatten(2)
        for k in range(n):
            for i in range(c):
                for j in range(c):
                    of_x, of_y = (float((m[k, i] * m[k, j]).sum()) / (c * h * w) for m in (x, y))
                    wanted += abs(of_x - of_y) / (n * c * c)
    assert float(gram_l1(a, b)) == pytest.approx(wanted)
    assert float(gram_l1(a, a)) == 0
    leaves = [a[tap].requires_grad_() for tap in sizes]
    assert torch.autograd.gradcheck(
        lambda *maps: gram_l1(dict(zip(sizes, maps, strict=True)), b), leaves
    )
