"""The score of Salimans et al. (NeurIPS 2016) of a classifier's logits, in float64."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class Score(NamedTuple):
    """Mean and standard deviation (divided by the number of splits) over the splits."""

    mean: float
    std: float
    splits: tuple[float, ...]


def inception_score(logits: Tensor, *, splits: int = 10) -> Score:
    """exp of the mean KL divergence of each picture's classes from all pictures' classes.

    Computed for each of ``splits`` contiguous runs of pictures, as the authors do: 1 (all pictures
    alike, or none recognised) to the number of classes; larger is better. Pictures must come in
    random order. IS is its name on Inception's logits alone: on another classifier's the name is
    that classifier's, such as ``is-resnet56``.

    Args: logits: (n, classes), n at least ``splits``.
    Raises: ValueError for another shape, too few pictures, or values that are not finite.
    """
    x = logits.detach().to("cpu", torch.float64)
    if x.ndim != 2 or splits < 1 or len(x) < splits:
        raise ValueError(
            f"Logits are (n, classes), n at least the number of splits ({splits}, at least 1), "
            f"not {tuple(x.shape)}."
        )
    if not x.isfinite().all():
        raise ValueError("There are logits that are not finite.")
    ends = [i * len(x) // splits for i in range(splits + 1)]
    found = torch.stack([_split(x[a:b]) for a, b in pairwise(ends)])
    values = tuple(float(v) for v in found)
    return Score(float(found.mean()), float(found.std(correction=0)), values)


def _split(logits: Tensor) -> Tensor:
    log_p = logits.log_softmax(1)
    log_marginal = log_p.logsumexp(0) - torch.tensor(len(log_p), dtype=torch.float64).log()
    return (log_p.exp() * (log_p - log_marginal)).sum(1).mean().exp()
