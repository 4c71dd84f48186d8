"""Batches: for training, each a pure function of (seed, step); for evaluation, each image once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ganpress.data.decode import Ids
from ganpress.data.images import Images, Pixels
from ganpress.data.worker import prepare_worker
from ganpress.errors import ConfigError, ImagesError
from ganpress.types.sizes import Size, as_size, covers, height_width, words

Planes: TypeAlias = NDArray[Any]
"""(channels, h, w) uint8 0..255, or (h, w) ids."""

_Raw: TypeAlias = dict[str, NDArray[Any]]
"""The arrays of a batch by the names of its fields."""

CACHE_BYTES = 512 * 2**20
"""Decoded and resized images kept in memory by one stream, all its workers together."""

_BICUBIC = Image.Resampling.BICUBIC
_NEAREST = Image.Resampling.NEAREST
_CROPS = 1  # keeps the seeds of crops apart from those of permutations: numpy pads seeds with 0


@dataclass(frozen=True)
class Batch:
    """Images on their way to a network.

    x: (n, channels, h, w) float32 in [-1, 1]: RGB, or what `Images.with_channels` asked for.
    ids: (n,) int64, the crop's number, image * crops + crop; -1 where crops are not limited.
    y: the paired targets, as x and under the same crop and flip, or None.
    labels: (n, h, w) int64 label maps under the same crop and flip, or None.
    instances: (n, h, w) int64 instance maps under the same crop and flip, or None.
    classes: (n,) int64 class of each image, or None.
    masks: (n, 1, h, w) in [0, 1], where each image matters, under the same crop and flip, or None.
    """

    x: Tensor
    ids: Tensor
    y: Tensor | None
    labels: Tensor | None = None
    instances: Tensor | None = None
    classes: Tensor | None = None
    masks: Tensor | None = None

    def parts(self, count: int) -> Iterator[Batch]:
        """The batch in ``count`` equal runs of images, for gradient accumulation."""
        if len(self.x) % count:
            raise ConfigError(f"A batch of {len(self.x)} cannot be cut into {count} equal parts.")
        each = len(self.x) // count
        yield from (self.rows(i, i + each) for i in range(0, len(self.x), each))

    def rows(self, start: int, end: int) -> Batch:
        """The images ``start`` to ``end`` - 1."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        few: dict[str, Any] = {n: None if t is None else t[start:end] for n, t in tensors.items()}
        return Batch(**few)

    def to(self, device: str) -> Batch:
        """The batch on a device."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {n: None if t is None else t.to(device) for n, t in tensors.items()}
        return Batch(**moved)


def stream(
    images: Images,
    *,
    batch: int,
    size: Size,
    seed: int,
    first: int,
    total: int,
    crops: int = 0,
    flip: bool = True,
    load_size: Size | None = None,
    workers: int = 1,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """Training batches number `first` to `total` - 1, each a pure function of (seed, step).

    The images are shuffled anew each epoch; a batch may span two epochs. An image's shorter
    side is resized to `load_size` (bicubic, antialiased) unless it is that already, then a
    size x size crop is drawn, then a flip. No global random state is read or changed.

    Args:
        batch: images in a batch. size: side of a crop, or (height, width), pixels.
        crops: 0 draws a new crop and flip each epoch; n > 0 cycles through n fixed ones per image,
            which are the same for every seed. Their `ids` identify them, so that the teacher's
            output for a crop can be cached.
        load_size: shorter side before the crop, or the (height, width) that the image then just
            covers, pixels, at least `size` (the default).
        workers: processes that decode (at most one per core is started); 0 decodes in this
            one. The batches do not depend on it. They end when the iterator is closed.
        rank, world: give only part number `rank` of the `world` equal parts of each batch; the
            parts in order are the batch of one process.
    Raises ConfigError: a setting out of range. ImagesError: a file has gone, or a worker died.
    """
    size = as_size(size, "size")
    load = size if load_size is None else as_size(load_size, "load_size")
    _check(batch=batch, seed=(seed, 0), first=(first, 0), total=(total, 0))
    _check(crops=(crops, 0), workers=(workers, 0), rank=(rank, 0))
    if batch % world or rank >= world:
        raise ConfigError(f"A batch of {batch} has no part number {rank} of {world} equal ones.")
    if not covers(load, size):
        raise ConfigError(
            f"load_size is {words(load)}, smaller than the crop of {words(size)}. "
            f"Make it at least {words(size)}."
        )
    numbers = range(first, total)
    started = min(workers, _cores(), len(numbers))
    steps = _Steps(
        images, batch, size, load, seed, crops, flip, CACHE_BYTES // max(1, started), rank, world
    )
    return _batches(steps, numbers, started)


def evaluation(images: Images, *, batch: int, size: Size) -> Iterator[Batch]:
    """Every image once, in order: shorter side to `size` (bicubic, antialiased), centre crop.

    Of a (height, width) the image just covers both, and is cropped to them.
    No flip; the last batch may be smaller; `ids` are -1. Decodes in this process.
    Raises ConfigError: a setting out of range. ImagesError: a file has gone.
    """
    _check(batch=batch)
    return _once(images, batch, as_size(size, "size"))


def _once(images: Images, batch: int, size: Size) -> Iterator[Batch]:
    for start in range(0, len(images), batch):
        shown = []
        for index in range(start, min(start + batch, len(images))):
            pair = covering(images.read(index), size)
            shown.append(centred(pair, size))
        numbers = range(start, start + len(shown))
        yield _to_batch(_stacked(images, numbers, [-1] * len(shown), shown))


def _check(**bounds: int | tuple[int, int]) -> None:
    """Refuse a value below its lower bound: each is (value, bound), or a value with bound 1."""
    for name, given in bounds.items():
        value, minimum = given if isinstance(given, tuple) else (given, 1)
        if value < minimum:
            raise ConfigError(f"{name} is {value}; it must be at least {minimum}.")


def _cores() -> int:
    """Cores this process may use, which is what a container or taskset grants where known."""
    granted = getattr(os, "sched_getaffinity", None)
    return len(granted(0)) if granted else os.cpu_count() or 1


class _Steps(Dataset["_Raw | str"]):
    """step -> the uint8 arrays of its batch, or the message of an ImagesError."""

    def __init__(
        self,
        images: Images,
        batch: int,
        size: Size,
        load: Size,
        seed: int,
        crops: int,
        flip: bool,
        cache_bytes: int,
        rank: int,
        world: int,
    ) -> None:
        self.images, self.batch, self.size, self.load = images, batch, size, load
        self.seed, self.crops, self.flip = seed, crops, flip
        self.rank, self.each = rank, batch // world
        self._room = cache_bytes
        self._kept: dict[int, tuple[Planes, ...]] = {}

    def __getitem__(self, step: int) -> _Raw | str:
        shown, numbers, ids = [], [], []
        try:
            start = step * self.batch + self.rank * self.each
            for place in range(start, start + self.each):
                epoch, at = divmod(place, len(self.images))
                image = int(_order(self.seed, epoch, len(self.images))[at])
                crop = epoch % self.crops if self.crops else epoch
                shown.append(self._crop(image, crop))
                numbers.append(image)
                ids.append(image * self.crops + crop if self.crops else -1)
        except ImagesError as error:  # as text: torch would bury it in a worker's traceback
            return str(error)
        return _stacked(self.images, numbers, ids, shown)

    def _crop(self, image: int, crop: int) -> tuple[Planes, ...]:
        pair = self._ready(image)
        height, width = pair[0].shape[-2:]
        seed = 0 if self.crops else self.seed
        draw = np.random.default_rng((seed, image, crop, _CROPS))
        tall, wide = height_width(self.size)
        top = int(draw.integers(height - tall + 1))
        left = int(draw.integers(width - wide + 1))
        mirrored = bool(draw.integers(2)) and self.flip
        pair = _cropped(pair, top, left, self.size)
        return tuple(p[..., ::-1] for p in pair) if mirrored else pair

    def _ready(self, image: int) -> tuple[Planes, ...]:
        """Decoded and resized: from memory, or read, and then kept while there is room.

        Nothing is thrown out: each epoch is a fresh shuffle, so no image is a better one to drop.
        """
        kept = self._kept.get(image)
        if kept is not None:
            return kept
        pair = covering(self.images.read(image), self.load)
        weight = sum(p.nbytes for p in pair)
        if weight <= self._room:
            self._room -= weight
            self._kept[image] = pair
        return pair


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The shuffle of an epoch: a permutation of 0..count-1."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def covering(pair: Sequence[Pixels | Ids], size: Size) -> tuple[Planes, ...]:
    """Images of (h, w) resized in proportion so that they just cover `size`, unless they do: of a
    square that is the shorter side; channels first.

    Pictures bicubic, ids by the nearest pixel.
    """
    height, width = pair[0].shape[:2]
    tall, wide = height_width(size)
    by_height = tall * width >= wide * height
    is_there = height == tall if by_height else width == wide
    whole = (width * tall / height, tall) if by_height else (wide, height * wide / width)
    to = (max(wide, round(whole[0])), max(tall, round(whole[1])))
    return tuple(_planes(p if is_there else _scaled(p, to)) for p in pair)


def centred(pair: Sequence[Planes], size: Size) -> tuple[Planes, ...]:
    """The centre of each, channels first, of `size`, which they cover."""
    height, width = pair[0].shape[-2:]
    tall, wide = height_width(size)
    return _cropped(pair, (height - tall) // 2, (width - wide) // 2, size)


def _scaled(pixels: Planes, to: tuple[int, int]) -> Planes:
    if pixels.ndim == 2:
        return np.asarray(Image.fromarray(pixels).resize(to, _NEAREST))
    if pixels.shape[2] == 1:
        return np.asarray(Image.fromarray(pixels[:, :, 0]).resize(to, _BICUBIC))[:, :, None]
    return np.asarray(Image.fromarray(pixels).resize(to, _BICUBIC))  # colours weighted by alpha


def _planes(pixels: Planes) -> Planes:
    # Channels first from here on: a flip then runs along memory, six times as fast.
    return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _cropped(pair: Sequence[Planes], top: int, left: int, size: Size) -> tuple[Planes, ...]:
    tall, wide = height_width(size)
    return tuple(p[..., top : top + tall, left : left + wide] for p in pair)


def _stacked(
    images: Images, numbers: Sequence[int], ids: Sequence[int], shown: Sequence[tuple[Planes, ...]]
) -> _Raw:
    columns = zip(images.columns, zip(*shown, strict=True), strict=True)
    raw: _Raw = {name: np.stack(column) for name, column in columns}
    if images.classes is not None:
        raw["classes"] = images.classes[list(numbers)]
    return raw | {"ids": np.array(ids, np.int64)}


def _to_batch(raw: _Raw) -> Batch:
    photos: dict[str, Any] = {n: _to_unit(raw[n]) for n in ("x", "y") if n in raw}
    if "masks" in raw:
        photos["masks"] = torch.from_numpy(raw["masks"]).to(torch.float32).div_(255)
    others = {n: torch.from_numpy(a.astype(np.int64)) for n, a in raw.items() if n not in photos}
    return Batch(**({"y": None} | photos | others))


def _to_unit(planes: NDArray[np.uint8]) -> Tensor:
    """(n, c, h, w) uint8 0..255 to float32 [-1, 1]: the door's range conversion."""
    return torch.from_numpy(planes).to(torch.float32).div_(127.5).sub_(1.0)


def _batches(steps: _Steps, numbers: range, workers: int) -> Iterator[Batch]:
    try:
        for raw in _raws(steps, numbers, workers):
            if isinstance(raw, str):
                raise ImagesError(raw)
            yield _to_batch(raw)
    except RuntimeError as error:  # from torch's queue: what the consumer raises never comes here
        if "DataLoader worker" not in str(error):
            raise
        raise ImagesError(
            "A process that decodes images died, most likely for lack of memory. Use fewer "
            "workers (0 decodes in the main process) or smaller images."
        ) from error


def _raws(steps: _Steps, numbers: range, workers: int) -> Iterable[_Raw | str]:
    if not workers:
        return map(steps.__getitem__, numbers)
    return DataLoader(
        steps,
        batch_size=None,  # an item is a batch already
        sampler=numbers,
        num_workers=workers,
        prefetch_factor=4,
        collate_fn=_as_is,  # numpy goes through a pipe: no shared memory to run out of in Docker
        worker_init_fn=prepare_worker,
        generator=torch.Generator(),  # else torch draws a seed from the global state
    )


def _as_is(raw: Any) -> Any:
    return raw
