"""CIFAR-10 in its binary version, which is read without unpickling, to .npz packs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganpress.errors import ImagesError

_ROW = 1 + 3 * 32 * 32  # a label, then the red, the green and the blue plane
_PARTS = {
    "train": [f"data_batch_{i}.bin" for i in range(1, 6)],
    "test": ["test_batch.bin"],
}


def pack_cifar10(source: Path, to: Path) -> None:
    """Write `to`/train.npz and test.npz: `images` (n, 32, 32, 3) uint8, `labels`, `classes`.

    Raises ImagesError: a file is missing or not of CIFAR-10.
    """
    names = _read(source / "batches.meta.txt").decode("ascii", "replace").split()
    for part, files in _PARTS.items():
        images, labels = _rows(source, files)
        if labels.max() >= len(names):
            raise ImagesError(f"{source} names {len(names)} classes but has {labels.max() + 1}.")
        np.savez(to / f"{part}.npz", images=images, labels=labels, classes=np.array(names))


def _rows(source: Path, files: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    data = b"".join(_whole(source / name) for name in files)
    rows = np.frombuffer(data, np.uint8).reshape(-1, _ROW)
    pixels = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), rows[:, 0].copy()


def _whole(path: Path) -> bytes:
    data = _read(path)
    if not data or len(data) % _ROW:
        raise ImagesError(f"{path.name} has {len(data)} bytes, no whole number of {_ROW}.")
    return data


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise ImagesError(f"There is no {path.name}, which CIFAR-10's binary version holds.")
    return path.read_bytes()
