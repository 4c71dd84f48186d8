"""Terms that compare whole batches: how their pictures lie to one another, how they are spread."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def similarity(maps: Tensor) -> Tensor:
    """Cosine similarities of plain pictures with shifted ones (StyleKD: Xu et al., ECCV 2022,
    section 3.3): (2 n, ...) -> (n, n), row i a plain one, column j a shifted one.

    Args: maps: of n plain pictures, then of the same n with their styles shifted.
    """
    plain, shifted = F.normalize(maps.flatten(1), dim=1).chunk(2)
    return plain @ shifted.T


def relation_kl(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Sum over layers of KL(T || S) between the rows of `similarity`, each turned into a
    distribution by a softmax; the mean over rows. The teacher's maps should have no gradient."""
    terms = []
    for s, t in zip(student, teacher, strict=True):
        of_s, of_t = (F.log_softmax(similarity(m), 1) for m in (s, t))
        terms.append(F.kl_div(of_s, of_t, reduction="batchmean", log_target=True))
    return torch.stack(terms).sum()


def relation_mse(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Sum over layers of the mean squared difference of `similarity` (StyleKD's other mode)."""
    each = [F.mse_loss(similarity(s), similarity(t)) for s, t in zip(student, teacher, strict=True)]
    return torch.stack(each).sum()


def mmd(a: Tensor, b: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of two sets of vectors, (n, d) and (m, d) -> a number in
    [0, 2], 0 for equal sets (Gretton et al., JMLR 2012, eq. 5, the biased estimate).

    The kernel is the mean of Gaussians exp(-|x - y|^2 / (h s)), where s is the mean squared
    distance of two vectors of both sets, without gradient, and h one of `BANDWIDTHS`.
    """
    both = torch.cat([a, b])
    squares = both.square().sum(1)
    apart = (squares[:, None] + squares - 2 * both @ both.T).clamp_min(0)
    count = len(both)
    mean = apart.detach().sum() / max(1, count * (count - 1))
    scale = mean.clamp_min(torch.finfo(apart.dtype).tiny)
    kernel = torch.stack([(-apart / (h * scale)).exp() for h in BANDWIDTHS]).mean(0)
    n = len(a)
    found: Tensor = kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()
    return found
