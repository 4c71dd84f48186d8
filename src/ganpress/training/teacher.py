"""The teacher during training: without gradients, once per batch, with a cache of its pictures."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ganpress.models.checkpoint import digest
from ganpress.models.inputs import channels_of, is_drawn
from ganpress.models.source import Source
from ganpress.nn.taps import tapped
from ganpress.run.files import make_folder, raise_if_full
from ganpress.run.locks import alone
from ganpress.training.shared_settings import DataSettings
from ganpress.types import Inputs
from ganpress.types.sizes import Size, height_width, words


class Observed(NamedTuple):
    """The teacher's outputs for a batch: pictures (n, c, h, w) in [-1, 1], and feature maps."""

    pictures: Tensor
    maps: dict[str, Tensor]


class CachedTeacher:
    """A frozen generator with a cache of its pictures of each crop of the training images.

    Where the data stream draws from a fixed number of crops (``data.cached_crops``) and nothing
    else is random (noise, a style), pictures are kept on disk in half precision, (crops, c, h, w),
    and read back when a crop comes round again: at 1/20 of its MACs a student's whole step costs
    less than the teacher's forward pass. Pictures are rounded to half precision also at first
    sight, and computed image by image, so that a run resumed with or without the cache is
    bit-equal.

    `computed` and `recalled` count the pictures that were made and those that were read back.
    """

    def __init__(
        self, net: nn.Module, *, cache: Path | None = None, crops: int = 0, size: Size = 0
    ) -> None:
        """Args: cache: folder of the cache; crops: distinct ids in it (0: none); size: pixels."""
        self.net = net.eval().requires_grad_(False)
        self.computed = self.recalled = 0
        self._known: Any = None
        if cache is not None and crops > 0:
            make_folder(cache)
            pixels = (crops, channels_of(net)[1], *height_width(size))
            self._known, self._kept = _open(cache / f"{words(size)}px", pixels)

    @torch.no_grad()
    def __call__(self, inputs: Inputs, ids: Tensor, taps: Collection[str] = ()) -> Observed:
        """The teacher's pictures of what student and teacher read.

        Args:
            ids: (n,) int64, of the crops; -1 where they are not limited.
            taps: modules of the teacher whose feature maps are wanted, too; maps are not kept, so
                that every picture is then made anew.
        """
        if taps or self._known is None or bool((ids < 0).any()):
            self.computed += len(ids)
            with tapped(self.net, taps) as maps:
                out: Tensor = self.net(*inputs)
            return Observed(out, maps)
        return Observed(self._recall(inputs, ids.cpu().numpy()), {})

    def _recall(self, inputs: Inputs, ids: Any) -> Tensor:
        """The pictures of these crops; those not seen before are made first."""
        made_before = self.computed
        for position, crop in enumerate(ids):
            if not self._known[crop]:
                made = self.net(*(t[position : position + 1] for t in inputs))
                self._kept[crop] = made[0].cpu().half().numpy()
                self._known[crop] = True
                self.computed += 1
        self.recalled += len(ids) - (self.computed - made_before)
        return torch.from_numpy(self._kept[ids]).float().to(inputs[0].device)


def cached_teacher(source: Source, data: DataSettings, root: Path, size: Size) -> CachedTeacher:
    """The teacher, with its cache where crops are fixed: in ``data.teacher_cache``, which runs of
    the same teacher, images and geometry share, whatever their seed, or else in the run's own.

    Args: root: the run's folder. size: pixels of the crops.
    """
    teacher, images = source.model, source.images
    if images is None or is_drawn(teacher):
        return CachedTeacher(teacher.net)
    what = [
        digest(teacher),
        images.digest(),
        0,  # the seed of the cached crops
        size,
        data.load_size,
        data.size,
        data.flip,
    ]
    what += [frames] if (frames := images.frames_digest()) else []
    key = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
    folder = Path(data.teacher_cache) if data.teacher_cache else root / "teacher-cache"
    crops = data.cached_crops * len(images)
    return CachedTeacher(teacher.net, cache=folder / key, crops=crops, size=size)


def _open(stem: Path, pixels: tuple[int, int, int, int]) -> tuple[Any, Any]:
    """Which crops are known, (crops,), and their pictures, (crops, c, h, w), both backed by files.

    Where either file is missing or torn, both are started anew: one says what the other holds.
    Processes that open them at once do so one after the other.
    """
    known, kept = stem.with_suffix(".known"), stem.with_suffix(".f16")
    crops = pixels[0]
    whole = {known: crops, kept: 2 * prod(pixels)}
    with alone(stem.with_suffix(".lock")):
        is_whole = all(p.exists() and p.stat().st_size == n for p, n in whole.items())
        for path in () if is_whole else whole:
            _reserve(path, whole[path])
    return np.memmap(known, np.bool_, "r+", shape=(crops,)), np.memmap(
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
