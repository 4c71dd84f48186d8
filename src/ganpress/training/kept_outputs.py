"""One output of the teacher for each cached crop, in files that runs share."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganpress.errors import ConfigError
from ganpress.run.files import raise_if_full
from ganpress.run.locks import alone

MOST = float(np.finfo(np.float16).max)


class KeptOutputs:
    """A picture or a feature map of each crop, (crops, c, h, w) in half precision, and which of
    them are known; both in files beside each other."""

    def __init__(self, stem: Path, shape: tuple[int, ...], what: str) -> None:
        """Open the files, or reserve them whole.

        Args: stem: their path without .known and .f16. shape: (crops, c, h, w). what: in errors.
        """
        self.what = what
        self._known, self._kept = _open(stem, shape)

    def has(self, crop: int) -> bool:
        """Whether the output of this crop is known."""
        return bool(self._known[crop])

    def put(self, crop: int, made: Tensor) -> None:
        """Keep the output of a crop, (c, h, w).

        Raises: ConfigError for numbers that half precision does not hold.
        """
        kept = made.cpu().half()
        if not kept.isfinite().all() and made.isfinite().all():
            raise ConfigError(
                f"{self.what} holds {float(made.abs().max()):.3g}, and half precision, in which "
                f"the teacher's outputs are kept, at most {MOST:.0f}: --set data.cached_maps=false "
                "makes its feature maps anew in each step."
            )
        self._kept[crop] = kept.numpy()
        self._known[crop] = True

    def read(self, crops: Any) -> Tensor:
        """The outputs of these crops, (n,) int: a copy, (n, c, h, w) float32."""
        return torch.from_numpy(self._kept[crops]).float()


def bytes_of(shape: tuple[int, ...]) -> int:
    """What the outputs of this shape take on disk."""
    return 2 * prod(shape)


def is_there(stem: Path) -> bool:
    """Whether outputs are kept by this name."""
    return stem.with_name(f"{stem.name}.f16").exists()


def _open(stem: Path, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Which crops are known, (crops,), and their outputs, ``shape``, both backed by files.

    Where either file is missing or torn, both are started anew: one says what the other holds.
    Processes that open them at once do so one after the other.
    """
    known, kept, lock = (stem.with_name(stem.name + end) for end in (".known", ".f16", ".lock"))
    whole = {known: shape[0], kept: bytes_of(shape)}
    with alone(lock):
        is_whole = all(p.exists() and p.stat().st_size == n for p, n in whole.items())
        for path in () if is_whole else whole:
            _reserve(path, whole[path])
    return (
        np.memmap(known, np.bool_, "r+", shape=shape[:1]),
        np.memmap(kept, np.float16, "r+", shape=shape),
    )


def _reserve(path: Path, size: int) -> None:
    """A file of ``size`` zero bytes that are really there: a full disk under a memory map would
    end the process with a signal, not with an error."""
    try:
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise_if_full(error, path)
        raise
