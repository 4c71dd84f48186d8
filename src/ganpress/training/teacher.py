"""The teacher at work: no gradients, once per batch, and never twice for the same view."""

from __future__ import annotations

import hashlib
import json
import os
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganpress.data import Images
from ganpress.models.checkpoint import Model, fingerprint
from ganpress.models.inputs import is_drawn
from ganpress.run.files import make_folder, raise_if_full
from ganpress.run.slim import SlimConfig
from ganpress.types import Inputs


class Teacher:
    """A frozen generator that remembers what it made of each view of the training images.

    Where the data stream draws from a fixed number of views (``data.views``) and nothing else is
    drawn (noise, a style), outputs are kept on disk in half precision, (views, 3, s, s), and read
    back when a view comes round again: at 1/20 of its MACs a student's whole step costs less than
    the teacher's forward pass. Outputs are rounded to half precision also at first sight, and
    computed image by image, so that a run resumed with or without the cache is bit-equal.
    """

    def __init__(
        self, net: nn.Module, *, cache: Path | None = None, views: int = 0, size: int = 0
    ) -> None:
        """Args: cache: folder of the cache; views: distinct ids in it (0: none); size: pixels."""
        self.net = net.eval().requires_grad_(False)
        self.computed = self.recalled = 0
        self._known: Any = None
        if cache is not None and views > 0:
            make_folder(cache)
            stem = cache / f"{size}px"
            self._known, self._kept = _open(stem, views, size)

    @torch.no_grad()
    def __call__(self, inputs: Inputs, numbers: Tensor) -> Tensor:
        """The teacher's pictures of what student and teacher read: (n, 3, s, s) in [-1, 1].

        Args: numbers: (n,) int64, of the views; -1 where they are not limited.
        """
        if self._known is None or bool((numbers < 0).any()):
            self.computed += len(numbers)
            out: Tensor = self.net(*inputs)
            return out
        ids = numbers.cpu().numpy()
        for position, view in enumerate(ids):
            if not self._known[view]:
                made = self.net(*(t[position : position + 1] for t in inputs))
                self._kept[view] = made[0].cpu().half().numpy()
                self._known[view] = True
                self.computed += 1
        self.recalled += len(ids)
        return torch.from_numpy(self._kept[ids]).float().to(inputs[0].device)


def teacher_at_work(
    teacher: Model, images: Images | None, config: SlimConfig, root: Path, size: int
) -> Teacher:
    """The teacher, with its cache where views are fixed: in ``data.cache``, which runs of the same
    teacher, images and geometry share, whatever their seed, or else in the run's own, ``root``.

    Args: size: pixels of the crops.
    """
    d = config.data
    if images is None or is_drawn(teacher):
        return Teacher(teacher.net)
    what = [
        fingerprint(teacher.net),
        images.digest(),
        0,  # the seed of a limited view
        size,
        d.load_size,
        d.size,
        d.flip,
    ]
    key = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
    folder = Path(d.cache) if d.cache else root / "teacher-cache"
    return Teacher(teacher.net, cache=folder / key, views=d.views * len(images), size=size)


def _open(stem: Path, views: int, size: int) -> tuple[Any, Any]:
    """Which views are known, (views,), and their pictures, both backed by files.

    Where either file is missing or torn, both are started anew: one says what the other holds.
    """
    known, kept = stem.with_suffix(".known"), stem.with_suffix(".f16")
    pixels = (views, 3, size, size)
    whole = {known: views, kept: 2 * prod(pixels)}
    is_whole = all(p.exists() and p.stat().st_size == n for p, n in whole.items())
    for path in () if is_whole else whole:
        _reserve(path, whole[path])
    return np.memmap(known, np.bool_, "r+", shape=(views,)), np.memmap(
        kept, np.float16, "r+", shape=pixels
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
