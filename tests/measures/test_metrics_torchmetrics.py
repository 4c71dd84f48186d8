"""Our three formulas against torchmetrics', given the same features, and scipy's matrix root.

torchmetrics' own networks need torch-fidelity, and with it torchvision (ADR 0008): a network that
returns what it is given stands in their place.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from ganpress.measures.metrics import (
    Moments,
    frechet_distance,
    inception_score,
    kernel_distance,
    moments_distance,
)

# torchmetrics says of KID and IS that they keep all features in memory.
pytestmark = pytest.mark.filterwarnings("ignore:Metric `.*` will save all extracted features")


class Given(nn.Module):
    """A feature network whose features are its input."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.num_features = d

    def forward(self, x: Tensor) -> Tensor:
        return x


def features(n: int, d: int, seed: int) -> Tensor:
    """(n, d) float64 with correlated dimensions of unlike scale, and a mean that is not 0."""
    random = torch.Generator().manual_seed(seed)
    mix, shift = (torch.randn(s, generator=random, dtype=torch.float64) for s in ((d, d), (d,)))
    x = torch.randn(n, d, generator=random, dtype=torch.float64)
    return (x @ mix) * torch.linspace(0.2, 2, d, dtype=torch.float64) + shift


@pytest.mark.parametrize(("n", "m", "d"), [(60, 45, 8), (300, 300, 32)])
def test_the_frechet_distance_is_torchmetrics(n: int, m: int, d: int) -> None:
    real, fake = features(n, d, 0), features(m, d, 1)
    theirs = FrechetInceptionDistance(feature=Given(d)).set_dtype(torch.float64)
    for part in real.split(17):
        theirs.update(part, real=True)
    theirs.update(fake, real=False)
    assert frechet_distance(real, fake) == pytest.approx(float(theirs.compute()), rel=1e-8)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_frechet_distance_is_that_of_scipys_matrix_root(seed: int) -> None:
    real, fake = features(50, 6, 2 * seed), features(40, 6, 2 * seed + 1)
    a, b = (np.cov(x.numpy(), rowvar=False) for x in (real, fake))
    means = real.mean(0) - fake.mean(0)
    root = linalg.sqrtm(a @ b)
    wanted = float(means @ means) + np.trace(a + b - 2 * root.real)
    assert frechet_distance(real, fake) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(9, 12), (12, 2), (30, 31), (40, 9)])
def test_the_frechet_distance_of_few_pictures_is_that_of_scipys_matrix_root(n: int, m: int) -> None:
    """Of fewer than the 32 dimensions; an offset of 1e-9 makes the covariances regular."""
    real, fake = features(n, 32, 5), features(m, 32, 6)
    a, b = (np.cov(x.numpy(), rowvar=False) + 1e-9 * np.eye(32) for x in (real, fake))
    means = real.mean(0) - fake.mean(0)
    wanted = float(means @ means) + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real)
    assert frechet_distance(real, fake) == pytest.approx(wanted, rel=1e-4)
    whole = moments_distance(Moments().update(real), Moments().update(fake))
    assert frechet_distance(real, fake) == pytest.approx(whole, rel=1e-6)


def test_moments_are_numpys() -> None:
    x = features(50, 6, 0)
    found = Moments().update(x[:20]).update(x[20:])
    assert np.allclose(found.covariance.numpy(), np.cov(x.numpy(), rowvar=False), rtol=1e-12)


@pytest.mark.parametrize(("n", "d"), [(40, 8), (90, 24)])
def test_the_kernel_distance_is_torchmetrics_over_one_subset_of_all(n: int, d: int) -> None:
    real, fake = features(n, d, 0), features(n, d, 1)
    theirs = KernelInceptionDistance(feature=Given(d), subsets=1, subset_size=n)
    theirs.set_dtype(torch.float64)
    theirs.update(real, real=True)
    theirs.update(fake, real=False)
    wanted, _ = theirs.compute()
    assert kernel_distance(real, fake) == pytest.approx(float(wanted), rel=1e-8)


@pytest.mark.parametrize("splits", [2, 5])
def test_the_inception_score_is_torchmetrics_where_that_does_not_shuffle(
    splits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = features(60, 10, 0)
    theirs = InceptionScore(feature=Given(10), splits=splits).set_dtype(torch.float64)
    theirs.update(logits)
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n))
    mean, deviation = theirs.compute()
    ours = inception_score(logits, splits=splits)
    assert ours.mean == pytest.approx(float(mean), rel=1e-10)
    narrower = ((splits - 1) / splits) ** 0.5  # theirs is divided by the splits less one
    assert ours.std == pytest.approx(float(deviation) * narrower, rel=1e-8)
