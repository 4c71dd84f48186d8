"""Losses against their formulas written out, and against numbers of the authors' code."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from nets import photos
from torch import Tensor

from ganpress.losses.terms import (
    content,
    gram,
    group_soft_threshold,
    lsgan_d,
    lsgan_g,
    style,
    unit_distance,
)
from ganpress.training.discriminator import DiscriminatorWithLoss
from ganpress.training.pool import Pool


def maps(seed: int, n: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = {"first": (5, 6, 8), "second": (7, 3, 4)}
    return {
        tap: torch.randn(n, *size, generator=generator, dtype=torch.float64)
        for tap, size in sizes.items()
    }


# --- adversarial ---------------------------------------------------------------------------------


def test_the_least_squares_losses_equal_their_formulas() -> None:
    real, fake = torch.tensor([1.0, 0.5, -2.0]), torch.tensor([0.0, 3.0])
    assert float(lsgan_d(real, fake)) == pytest.approx(0.5 * ((0 + 0.25 + 9) / 3 + 9 / 2))
    assert float(lsgan_g(fake)) == pytest.approx((1 + 4) / 2)
    assert float(lsgan_d(torch.ones(3), torch.zeros(3))) == 0
    assert float(lsgan_g(torch.ones(3))) == 0


@pytest.mark.shared_interop
def test_the_least_squares_losses_equal_gan_compressions() -> None:
    oracle = json.loads((Path(os.environ["GANPRESS_INTEROP"]) / "losses.json").read_text())
    wanted = oracle["losses"]["lsgan"]
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        real = torch.tensor(oracle["real_logits"], dtype=dtype)
        fake = torch.tensor(oracle["fake_logits"], dtype=dtype)
        assert float(lsgan_d(real, fake)) == pytest.approx(wanted["d_half_sum"], rel=tolerance)
        assert float(lsgan_g(fake)) == pytest.approx(wanted["g"], rel=tolerance)


@pytest.mark.parametrize("pooled", [True, False])
def test_a_discriminator_judges_both_halves_as_if_alone(pooled: bool) -> None:
    discriminator = DiscriminatorWithLoss(width=4, layers=2, pooled=pooled)
    real, fake = photos(3), photos(3, seed=2).requires_grad_()
    apart = lsgan_d(discriminator(real), discriminator(fake))
    together = discriminator.d_loss(real, fake).detach()
    assert float(together) == pytest.approx(float(apart.detach()), rel=1e-5)
    assert discriminator(real).shape == ((3,) if pooled else (3, 1, 6, 6))
    discriminator.d_loss(real, fake).backward()
    assert fake.grad is None
    discriminator.g_loss(fake).backward()
    assert fake.grad is not None
    assert float(fake.grad.abs().max()) > 0


def test_a_pool_returns_the_newest_until_it_is_full_then_mixes_in_older_ones() -> None:
    torch.manual_seed(0)
    pool = Pool(size=4)
    first = torch.arange(4.0).view(4, 1, 1, 1)
    assert torch.equal(pool(first), first)
    seen = torch.cat([pool(torch.full((1, 1, 1, 1), 10.0 + i)) for i in range(40)]).flatten()
    newest = torch.arange(10.0, 50.0)
    older = seen != newest
    assert 8 <= int(older.sum()) <= 32
    assert (seen[older] < newest[older]).all()
    assert len(pool.images) == 4


def test_a_pool_of_no_size_returns_what_it_gets() -> None:
    fake = photos(5).requires_grad_()
    out = Pool(size=0)(fake)
    assert torch.equal(out, fake)
    assert not out.requires_grad


def test_a_pool_is_saved_and_taken_up_again() -> None:
    pool, other = Pool(3), Pool(3)
    pool(photos(3))
    other.load_state_dict(pool.state_dict())
    torch.manual_seed(4)
    a = pool(photos(2, seed=7))
    torch.manual_seed(4)
    assert torch.equal(other(photos(2, seed=7)), a)


# --- distances -----------------------------------------------------------------------------------


def test_a_gram_matrix_is_the_mean_product_of_channels() -> None:
    x = maps(0)["first"]
    n, c, h, w = x.shape
    slow = torch.zeros(n, c, c, dtype=x.dtype)
    for i in range(c):
        for j in range(c):
            slow[:, i, j] = (x[:, i] * x[:, j]).sum((1, 2)) / (c * h * w)
    assert torch.allclose(gram(x), slow, atol=1e-12)


def test_the_gradient_of_a_gram_matrix_is_that_of_the_definition() -> None:
    """Also where what comes back is not symmetric."""
    x = maps(0)["first"].requires_grad_()
    upstream = torch.randn(2, 5, 5, dtype=torch.float64)
    slow = torch.einsum("ncij,ndij->ncd", x, x) / x[0].numel()
    (found,), (wanted,) = (torch.autograd.grad(g, x, upstream) for g in (gram(x), slow))
    assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_content_is_the_mean_absolute_difference() -> None:
    a, b = maps(0)["first"], maps(1)["first"]
    assert float(content(a, b)) == pytest.approx(float((a - b).abs().mean()))


def test_style_sums_over_layers_the_mean_squared_difference_of_gram_matrices() -> None:
    a, b = maps(0), maps(1)
    wanted = sum(float((gram(a[t]) - gram(b[t])).square().mean()) for t in a)
    assert float(style(a, b)) == pytest.approx(wanted)


@pytest.mark.parametrize("side", [2, 3, 7])
def test_style_is_the_same_by_channels_and_by_places(side: int) -> None:
    """Few places to many channels go through p x p matrices; the definition does not."""
    draw = torch.Generator().manual_seed(side)
    a, b = (torch.rand(2, 40, side, side, generator=draw, dtype=torch.float64) for _ in range(2))
    own = a.clone().requires_grad_()
    asked = style({"": own}, {"": b})
    x, y = (m.flatten(2) / (40 * side**2) ** 0.5 for m in (a.requires_grad_(), b))
    wanted = (x @ x.transpose(1, 2) - y @ y.transpose(1, 2)).square().mean()
    assert torch.allclose(asked, wanted, rtol=1e-9)
    (got,), (grad,) = torch.autograd.grad(asked, own), torch.autograd.grad(wanted, a)
    assert torch.allclose(got, grad, rtol=1e-7, atol=1e-14)


def test_the_gradient_of_the_unit_distance_is_that_of_the_definition() -> None:
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.rand(2, 5, 3, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    a[0, :, 0, 0] = 0
    a.requires_grad_()
    b.requires_grad_()
    u, v = (torch.nn.functional.normalize(m, dim=1) for m in (a, b))
    wanted = torch.autograd.grad((u - v).square().sum(1).mean((1, 2)).sum(), (a, b))
    got = torch.autograd.grad(unit_distance({"": a}, {"": b}).sum(), (a, b))
    lives = a.detach().norm(dim=1, keepdim=True) > 0
    for mine, theirs in zip(got, wanted, strict=True):
        assert torch.allclose(mine * lives, theirs * lives, atol=1e-12)
    assert torch.count_nonzero(got[0][0, :, 0, 0]) == 0  # no direction to turn


def test_the_unit_distance_compares_directions_of_features() -> None:
    a, b = maps(0), maps(1)
    cosines = {t: torch.nn.functional.cosine_similarity(a[t], b[t], dim=1) for t in a}
    wanted = torch.stack([(2 - 2 * c).mean((1, 2)) for c in cosines.values()]).sum(0)
    assert torch.allclose(unit_distance(a, b), wanted, atol=1e-9)
    louder = {t: 3 * m for t, m in b.items()}
    assert torch.allclose(unit_distance(a, louder), wanted, atol=1e-9)
    opposite = {t: -m for t, m in a.items()}
    assert torch.allclose(unit_distance(a, opposite), torch.full((2,), 8.0, dtype=torch.float64))


def test_every_distance_is_zero_for_equal_maps_and_symmetric() -> None:
    a, b = maps(0), maps(1)
    assert float(content(a["first"], a["first"])) == 0
    assert float(style(a, a)) == 0
    assert float(unit_distance(a, a).max()) == 0
    assert torch.allclose(unit_distance(a, b), unit_distance(b, a))
    assert torch.allclose(style(a, b), style(b, a))


def test_distances_read_only_the_layers_of_the_second_picture() -> None:
    a, b = maps(0), maps(1)
    first = {"first": b["first"]}
    assert torch.equal(style(a, first), style({"first": a["first"]}, first))
    assert torch.equal(unit_distance(a, first), unit_distance({"first": a["first"]}, first))


# --- the proximal step ---------------------------------------------------------------------------


def test_one_producer_is_soft_thresholded() -> None:
    scales = torch.tensor([1.0, -1.0, 0.0005, -0.001, 0.0, 2.0])
    (out,) = group_soft_threshold([scales], 0.001)
    assert torch.allclose(out, torch.tensor([0.999, -0.999, 0, 0, 0, 1.999]))
    assert out[2:5].count_nonzero() == 0


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("amount", [0.0, 0.2, 0.9, 3.0])
def test_the_threshold_of_a_group_minimises_the_proximal_objective(k: int, amount: float) -> None:
    """1/2 |s - g|^2 + amount sqrt(k) |s|, minimised by subgradient-free search over the ray."""
    torch.manual_seed(k)
    given = torch.randn(k, 7, dtype=torch.float64)
    found = torch.stack(group_soft_threshold(list(given), amount))

    def objective(s: Tensor) -> Tensor:
        return 0.5 * (s - given).square().sum(0) + amount * k**0.5 * s.norm(dim=0)

    best = objective(found)
    for scale in (1.0, 0.1, 0.01, 1e-3):
        for _ in range(200):
            assert (objective(found + scale * torch.randn_like(given)) >= best - 1e-9).all()
    assert (objective(torch.zeros_like(given)) >= best - 1e-9).all()
    numerical = minimise(given, amount * k**0.5)
    assert torch.allclose(numerical, found, atol=1e-3)


def minimise(given: Tensor, weight: float) -> Tensor:
    """The proximal point by bisection on its dual: project g / weight onto the unit ball."""
    if weight == 0:
        return given.clone()
    dual = torch.zeros_like(given)
    for _ in range(4000):  # projected gradient on min |g - weight u|^2, |u| <= 1
        dual = dual + 0.5 / weight * (given - weight * dual)
        dual = dual / dual.norm(dim=0).clamp_min(1)
    return given - weight * dual


def test_producers_of_a_channel_reach_zero_together_or_not_at_all() -> None:
    loud, quiet = torch.tensor([1.0, 0.1]), torch.tensor([0.0, 0.1])
    a, b = group_soft_threshold([loud, quiet], 0.2)
    assert a[0] > 0
    assert b[0] == 0
    assert (a[1], b[1]) == (0, 0)


def test_equal_producers_shrink_as_one_would_alone() -> None:
    one = torch.tensor([1.0, -0.7, 0.1])
    alone = group_soft_threshold([one], 0.25)[0]
    for together in group_soft_threshold([one, one, one], 0.25):
        assert torch.allclose(together, alone, atol=1e-6)


def test_the_scales_given_are_not_changed() -> None:
    given = [torch.randn(5), torch.randn(5)]
    before = [s.clone() for s in given]
    group_soft_threshold(given, 0.3)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))


def test_scales_of_zero_stay_zero_without_a_division_by_zero() -> None:
    for amount in (0.0, 0.1):
        out = group_soft_threshold([torch.zeros(3), torch.zeros(3)], amount)
        assert all(torch.equal(s, torch.zeros(3)) for s in out)
