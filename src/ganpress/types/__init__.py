"""Names for the data that flows between the floors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # sizes, and so the command line, need no torch
    from torch import Tensor

State: TypeAlias = dict[str, "Tensor"]
"""Tensors by their full name in a module."""

Widths: TypeAlias = Mapping[str, int]
"""Channels of each group."""

Keep: TypeAlias = Mapping[str, "Tensor | int"]
"""Channels kept in each group: their indices, or a count (the first n; stays a view)."""

Scores: TypeAlias = Mapping[str, "Tensor"]
"""Importance of each channel of each group, (width,), larger is more important."""

Options: TypeAlias = Mapping[str, Any]
"""What a family's wiring can vary besides widths: blocks, norm, separable."""

Inputs: TypeAlias = tuple["Tensor", ...]
"""What a generator's forward takes, in order: (photo,), (z, noise_0, ...), (photo, style)."""
