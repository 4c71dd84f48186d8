"""Adversarial losses and regularisers against formulas written out and the authors' numbers."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganpress.losses.terms import (
    feature_matching,
    hinge_d,
    hinge_g,
    logistic_d,
    logistic_g,
    lsgan_d,
    lsgan_g,
    path_lengths,
    r1,
)

REAL, FAKE = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.25])
precisions = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)]
)
interop = pytest.mark.shared_interop


def oracle() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (Path(os.environ["GANPRESS_INTEROP"]) / "losses.json").read_text()
    )
    return found


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_hinge_losses_equal_their_formulas() -> None:
    assert float(hinge_d(REAL, FAKE)) == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1.25) / 2)
    assert float(hinge_g(FAKE)) == pytest.approx((3 - 0.25) / 2)


def test_a_discriminator_that_is_sure_enough_gets_no_gradient_from_the_hinge() -> None:
    real, fake = torch.tensor([1.5], requires_grad=True), torch.tensor([-1.5], requires_grad=True)
    hinge_d(real, fake).backward()
    assert (float(real.grad), float(fake.grad)) == (0, 0)


def test_the_logistic_losses_equal_their_formulas() -> None:
    real = sum(math.log1p(math.exp(-float(v))) for v in REAL) / 3
    fake = sum(math.log1p(math.exp(float(v))) for v in FAKE) / 2
    assert float(logistic_d(REAL, FAKE)) == pytest.approx(real + fake)
    made = sum(math.log1p(math.exp(-float(v))) for v in FAKE) / 2
    assert float(logistic_g(FAKE)) == pytest.approx(made)


def test_the_logistic_losses_stay_finite_for_huge_logits() -> None:
    huge = torch.tensor([1e4])
    assert float(logistic_d(-huge, huge)) == pytest.approx(2e4)
    assert float(logistic_g(-huge)) == pytest.approx(1e4)


@interop
@precisions
def test_every_loss_equals_the_authors_number(dtype: torch.dtype, tolerance: float) -> None:
    said = oracle()
    real = torch.tensor(said["real_logits"], dtype=dtype)
    fake = torch.tensor(said["fake_logits"], dtype=dtype)
    wanted = said["losses"]
    found = {
        "lsgan": (lsgan_d(real, fake), wanted["lsgan"]["d_half_sum"], lsgan_g(fake)),
        "hinge": (hinge_d(real, fake), wanted["hinge"]["d_sum"], hinge_g(fake)),
        "softplus": (logistic_d(real, fake), wanted["softplus"]["d_sum"], logistic_g(fake)),
        "vanilla": (logistic_d(real, fake) / 2, wanted["vanilla"]["d_half_sum"], logistic_g(fake)),
    }
    for name, (d, d_wanted, g) in found.items():
        assert float(d) == pytest.approx(d_wanted, abs=tolerance), name
        assert float(g) == pytest.approx(wanted[name]["g"], abs=tolerance), name


@interop
@precisions
def test_losses_of_several_scales_equal_the_authors(dtype: torch.dtype, tolerance: float) -> None:
    said = oracle()["multiscale"]
    real, fake = ([torch.tensor(m, dtype=dtype) for m in said[k]] for k in ("real", "fake"))
    hinge, lsgan = said["losses"].values()

    def over_scales(loss: Any, *maps: list[Tensor]) -> Tensor:
        return torch.stack([loss(*scale) for scale in zip(*maps, strict=True)])

    d, g = over_scales(hinge_d, real, fake).mean(), over_scales(hinge_g, fake).mean()
    assert float(d) == pytest.approx(hinge["d_real"] + hinge["d_fake"], abs=tolerance)
    assert float(g) == pytest.approx(hinge["g"], abs=tolerance)
    d, g = 2 * over_scales(lsgan_d, real, fake).sum(), over_scales(lsgan_g, fake).sum()
    assert float(d) == pytest.approx(lsgan["d_real"] + lsgan["d_fake"], abs=4 * tolerance)
    assert float(g) == pytest.approx(lsgan["g"], abs=4 * tolerance)


def test_feature_matching_sums_over_layers_and_averages_over_scales() -> None:
    real = [[torch.zeros(1, 2, 4, 4), torch.ones(1, 3, 2, 2)], [torch.full((1, 1, 2, 2), 5.0)]]
    fake = [
        [torch.full((1, 2, 4, 4), 0.5), torch.full((1, 3, 2, 2), 3.0)],
        [torch.ones(1, 1, 2, 2)],
    ]
    assert float(feature_matching(real, fake)) == pytest.approx((0.5 + 2 + 4) / 2)


def test_feature_matching_moves_the_made_picture_only() -> None:
    real, fake = (torch.full((2,), v, requires_grad=True) for v in (0.0, 1.0))
    feature_matching([[real]], [[fake]]).backward()
    assert real.grad is None
    assert fake.grad.tolist() == [0.5, 0.5]


def test_r1_of_a_linear_discriminator_is_its_weights_squared_length() -> None:
    images = noise(4, 3, 5, 6).requires_grad_()
    weight = noise(3, 5, 6, seed=1).requires_grad_()
    penalty = r1((images * weight).sum((1, 2, 3)), images)
    assert float(penalty.detach()) == pytest.approx(float(weight.detach().square().sum()))
    penalty.backward()
    assert torch.allclose(weight.grad, 2 * weight.detach())


def test_r1_averages_over_the_batch() -> None:
    images = noise(4, 1, 2, 3).requires_grad_()
    penalty = r1(images.square().sum((1, 2, 3)), images).detach()
    assert float(penalty) == pytest.approx(float(4 * images.detach().square().sum() / 4))


def test_r1_of_a_small_network_equals_finite_differences() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    images, step = noise(2, 3, 2, 2), 1e-5
    penalty = r1(net(images.requires_grad_()), images)
    with torch.no_grad():
        total = 0.0
        for i in range(12):
            shift = torch.zeros(12, dtype=torch.float64)
            shift[i] = step
            shift = shift.view(3, 2, 2)
            slope = (net(images + shift) - net(images - shift)) / (2 * step)
            total += float(slope.square().sum())
    assert float(penalty.detach()) == pytest.approx(total / 2, rel=1e-6)


def test_path_lengths_of_a_linear_generator_are_its_transpose_on_the_noise() -> None:
    n, layers, dim, pixels = 3, 4, 5, (2, 6, 7)
    matrix = noise(layers, dim, *pixels, seed=1)
    w = noise(n, layers, dim).requires_grad_()
    images = torch.einsum("nld,ldchw->nchw", w, matrix)
    y = noise(n, *pixels, seed=2)
    found = path_lengths(images, w, y).detach()
    back = torch.einsum("ldchw,nchw->nld", matrix, y / math.sqrt(6 * 7))
    assert torch.allclose(found, back.square().sum(2).mean(1).sqrt())


def test_path_lengths_can_be_trained_on() -> None:
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    w = noise(2, 1, 4).requires_grad_()
    images = (scale * w).view(2, 1, 2, 2)
    y = noise(2, 1, 2, 2, seed=1)
    lengths = path_lengths(images, w, y)
    lengths.sum().backward()
    assert float(scale.grad) == pytest.approx(float(lengths.detach().sum()) / 3)
