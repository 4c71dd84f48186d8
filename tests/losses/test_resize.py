"""The three ways in which pictures are resized for metrics of sets, each by another program."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ganpress.losses.resize import Resize, Way, tf1_bilinear


def noise(h: int, w: int) -> Tensor:
    return torch.rand(2, 3, h, w, generator=torch.Generator().manual_seed(h * w)) * 2 - 1


def bilinear_at(x: Tensor, row: float, column: float) -> Tensor:
    """The four pixels around a point, weighted; at the edge the last pixel repeats."""
    h, w = x.shape[2:]
    top, left = int(row), int(column)
    down, right = min(top + 1, h - 1), min(left + 1, w - 1)
    a, b = row - top, column - left
    upper = x[:, :, top, left] * (1 - b) + x[:, :, top, right] * b
    lower = x[:, :, down, left] * (1 - b) + x[:, :, down, right] * b
    return upper * (1 - a) + lower * a


@pytest.mark.parametrize("shape", [(5, 9), (32, 32), (13, 7)])
def test_tensorflows_first_bilinear_reads_pixel_i_at_i_in_over_out(shape: tuple[int, int]) -> None:
    x = noise(*shape)
    found = tf1_bilinear(x, 11)
    for i in range(11):
        for j in range(11):
            want = bilinear_at(x, i * shape[0] / 11, j * shape[1] / 11)
            torch.testing.assert_close(found[:, :, i, j], want)


def test_a_line_of_two_pixels_becomes_what_tensorflow_1_makes_of_it() -> None:
    line = torch.tensor([0.0, 1.0]).expand(1, 1, 2, 2)
    assert tf1_bilinear(line, 4)[0, 0, 0].tolist() == [0.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("shape", [(40, 64), (9, 9)])
def test_the_bilinear_of_pytorch_fid_has_half_pixel_centres_and_no_filter(
    shape: tuple[int, int],
) -> None:
    x = noise(*shape)
    found = Resize(17, "pytorch")(x)
    for i in range(17):
        for j in range(17):
            row, column = (
                min(max((k + 0.5) * n / 17 - 0.5, 0), n - 1)
                for k, n in zip((i, j), shape, strict=True)
            )
            torch.testing.assert_close(found[:, :, i, j], bilinear_at(x, row, column))


@pytest.mark.parametrize("shape", [(40, 64), (9, 9)])
def test_the_clean_resize_is_pillows_bicubic_of_float_pictures(shape: tuple[int, int]) -> None:
    x = noise(*shape)
    found = Resize(17, "clean")(x)
    for plane, want in zip(x.flatten(0, 1), found.flatten(0, 1), strict=True):
        image = Image.fromarray(plane.numpy(), mode=None)
        made = np.asarray(image.resize((17, 17), Image.Resampling.BICUBIC))
        np.testing.assert_allclose(want.numpy(), made, atol=2e-5)


@pytest.mark.parametrize("way", ["tf1", "pytorch", "clean"])
def test_a_picture_of_the_size_stays_as_it_is_and_the_ways_differ_elsewhere(way: Way) -> None:
    x = noise(17, 17)
    torch.testing.assert_close(Resize(17, way)(x), x)
    others = [Resize(23, other)(x) for other in ("tf1", "pytorch", "clean") if other != way]
    for other in others:
        assert (Resize(23, way)(x) - other).abs().max() > 0.01
    assert "23 x 23 px" in Resize(23, way).words
