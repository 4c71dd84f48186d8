"""The formulas of directions in latent spaces: principal components and weight factorisation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Components:
    """Directions of a space, the most important first.

    Attributes:
        vectors: (k, dim), of unit length; the entry of largest magnitude is positive.
        ratios: (k,), what each explains of the whole: of the variance, or of the weights' power.
    """

    vectors: Tensor
    ratios: Tensor


def principal_components(codes: Tensor, count: int) -> Components:
    """The first ``count`` principal components of codes, (n, dim): eigenvectors of their covariance
    (GANSpace, Härkönen et al., NeurIPS 2020, section 2.1). Float64.

    >>> codes = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, -1.0], [0.0, 1.0]])
    >>> found = principal_components(codes, 2)
    >>> found.vectors.tolist(), found.ratios.tolist()
    ([[1.0, 0.0], [0.0, 1.0]], [0.9, 0.1])
    """
    x = codes.double()
    x = x - x.mean(0)
    return _eigenvectors(x.T @ x, count)


def input_components(z: Tensor, weight: Tensor, count: int) -> Components:
    """Directions of the input z that best make the principal components of a first layer's outputs.

    GANSpace's way for networks without a mapping network (section 2.1, for BigGAN): with the
    outputs y = weight z and their components V, x = V (y - mean y), the directions are the U that
    minimise the sum of |U x - (z - mean z)|^2, here scaled to unit length. The ratios are of the
    variance of y. Float64.

    Args:
        z: (n, dim).
        weight: (out, dim).
    """
    z = z.double() - z.double().mean(0)
    y = z @ torch.linalg.qr(weight.double()).R.T  # the outputs in coordinates of their own span
    found = principal_components(y, count)
    x = y @ found.vectors.T
    u = x.T @ z  # times 1 / |column of x|^2: the columns of x are orthogonal
    return Components(oriented(F.normalize(u, dim=1)), found.ratios)


def weight_components(weight: Tensor, count: int) -> Components:
    """Directions that a layer's weight (out, dim) stretches most: eigenvectors of weight^T weight
    (SeFa, Shen and Zhou, CVPR 2021, eq. 6). Float64.

    >>> weight_components(torch.tensor([[0.0, -2.0], [1.0, 0.0]]), 1).vectors.tolist()
    [[0.0, 1.0]]
    """
    weight = weight.double()
    return _eigenvectors(weight.T @ weight, count)


def oriented(vectors: Tensor) -> Tensor:
    """Vectors (k, dim) with their signs chosen so that the entry of largest magnitude is positive:
    eigenvectors have no sign of their own."""
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return vectors * torch.where(largest < 0, -1.0, 1.0)


def _eigenvectors(matrix: Tensor, count: int) -> Components:
    values, vectors = torch.linalg.eigh(matrix)  # ascending
    values = values.clamp_min(0).flip(0)
    total = values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return Components(oriented(vectors.T.flip(0)[:count]), values[:count] / total)
