"""The Frechet distance of two sets of features (Heusel et al., NeurIPS 2017), in float64.

The trace of the covariance product's root is worked out from eigenvalues of symmetric matrices:
exact for singular covariances too (fewer pictures than dimensions), where the usual root of the
unsymmetric product needs an offset or returns complex numbers. Of such few pictures it is worked
out without any d x d matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Moments:
    """Mean and covariance of features that come in batches; memory d x d whatever their number.

    Attributes: count: features seen so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean = torch.zeros(0, dtype=torch.float64)
        self._scatter = torch.zeros(0, 0, dtype=torch.float64)

    def update(self, features: Tensor) -> Moments:
        """Add a batch, (n, d) of any float type on any device; returns itself.

        Raises: ValueError for another shape, another d than before, or values that are not finite.
        """
        x = features.detach().to("cpu", torch.float64)
        _check(x, len(self._mean) if self.count else "d")
        if len(x) == 0:
            return self
        mean = x.mean(0)
        centred = x - mean
        scatter = centred.T @ centred
        if self.count:  # Chan et al. 1979: exact to rounding, no sums of squares that cancel
            shift = mean - self._mean
            scatter += self._scatter
            scatter += torch.outer(shift, shift) * (self.count * len(x) / (self.count + len(x)))
            mean = self._mean + shift * (len(x) / (self.count + len(x)))
        self._mean, self._scatter, self.count = mean, scatter, self.count + len(x)
        return self

    @property
    def mean(self) -> Tensor:
        """(d,) float64. Raises: ValueError before the first feature."""
        _check_count(self.count, 1)
        return self._mean

    @property
    def covariance(self) -> Tensor:
        """(d, d) float64, divided by count - 1. Raises: ValueError for fewer than two features."""
        _check_count(self.count, 2)
        return self._scatter / (self.count - 1)


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Frechet distance of the normal distributions fitted to two sets of features.

    |mu - mu'|^2 + tr(C + C' - 2 (C C')^(1/2)), covariances divided by n - 1; >= 0, 0 for equal
    sets, of the scale of squared features. It is biased upwards for small sets: compare sets of
    the same size only. FID is its name on Inception's pool3 features alone.

    Args: real, fake: (n, d) and (m, d), at least two each.
    Raises: ValueError for other shapes, too few features, or values that are not finite.
    """
    if max(len(real), len(fake)) >= real.shape[-1]:
        return moments_distance(Moments().update(real), Moments().update(fake))
    a, b = (_rows(x) for x in (real, fake))
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"Features of {a.shape[1]} and {b.shape[1]} dimensions cannot be compared."
        )
    means = (a.mean(0) - b.mean(0)).square().sum()
    a, b = ((x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b))
    root = torch.linalg.svdvals(a @ b.T).sum()  # the eigenvalues of A^T A B^T B are its squares
    return max(0.0, float(means + a.square().sum() + b.square().sum() - 2 * root))


def _rows(features: Tensor) -> Tensor:
    """Features as float64 on the CPU, once they are checked as `Moments` checks them."""
    x = features.detach().to("cpu", torch.float64)
    _check(x, "d")
    _check_count(len(x), 2)
    return x


def _check(x: Tensor, d: int | str) -> None:
    """ValueError unless these are (n, d) finite values."""
    if x.ndim != 2 or (isinstance(d, int) and x.shape[1] != d):
        raise ValueError(f"Features are (n, {d}), not {tuple(x.shape)}.")
    if not x.isfinite().all():
        raise ValueError("There are features that are not finite.")


def _check_count(count: int, smallest: int) -> None:
    if count < smallest:
        raise ValueError(f"There are {count} features; it takes at least {smallest}.")


def moments_distance(real: Moments, fake: Moments) -> float:
    """`frechet_distance` of sets whose moments are known. Raises: ValueError."""
    if real.mean.shape != fake.mean.shape:
        raise ValueError(
            f"Features of {len(real.mean)} and {len(fake.mean)} dimensions cannot be compared."
        )
    means = (real.mean - fake.mean).square().sum()
    a, b = real.covariance, fake.covariance
    distance = means + a.trace() + b.trace() - 2 * _trace_of_root(a, b)
    return max(0.0, float(distance))


def _trace_of_root(a: Tensor, b: Tensor) -> Tensor:
    """tr (A B)^(1/2) of two covariances: the roots of the eigenvalues of A^(1/2) B A^(1/2)."""
    values, vectors = torch.linalg.eigh(a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    product = root @ b @ root
    squares: Tensor = torch.linalg.eigvalsh((product + product.T) / 2)
    return squares.clamp_min(0).sqrt().sum()
