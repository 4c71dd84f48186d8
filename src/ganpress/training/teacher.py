"""The teacher during training: without gradients, once per batch, with a cache of its outputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ganpress.models.checkpoint import digest
from ganpress.models.inputs import channels_of, is_drawn
from ganpress.models.source import Source
from ganpress.nn.taps import tapped
from ganpress.run.files import make_folder
from ganpress.training.kept_outputs import KeptOutputs, bytes_of, is_there
from ganpress.training.shared_settings import DataSettings
from ganpress.types import Inputs
from ganpress.types.sizes import Size, height_width, words

OWN_CACHE = "teacher-cache"
"""The cache in a run's folder, where none is shared."""
PICTURES = ""
"""Among the outputs by tap, the picture."""
OF_MAP = "-"
"""In a file's name, before the tap whose maps it holds."""


class Observed(NamedTuple):
    """The teacher's outputs for a batch: pictures (n, c, h, w) in [-1, 1], and feature maps."""

    pictures: Tensor
    maps: dict[str, Tensor]


def remove_own_maps(root: Path) -> None:
    """Remove the feature maps of a run's own cache: they take gigabytes, and can be made again."""
    for file in (root / OWN_CACHE).glob(f"*/*px{OF_MAP}*"):
        with suppress(OSError):  # Windows keeps a file that is open
            file.unlink()


class CachedTeacher:
    """A frozen generator with a cache of what it makes of each crop of the training images.

    Where the data stream draws from a fixed number of crops (``data.cached_crops``) and nothing
    else is random (noise, a style), pictures are kept on disk in half precision, (crops, c, h, w),
    and read back when a crop comes round again: at 1/20 of its MACs a student's whole step costs
    less than the teacher's forward pass. So are the feature maps that are distilled
    (``data.cached_maps``). All are rounded to half precision also at first sight, and computed
    image by image, so that a run resumed with or without the cache is bit-equal.

    `computed` and `recalled` count the pictures that were made and those that were read back.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        cache: Path | None = None,
        crops: int = 0,
        size: Size = 0,
        maps: bool = True,
    ) -> None:
        """Args: cache: folder of the cache; crops: distinct ids in it (0: none); size: pixels;
        maps: feature maps are kept, too."""
        self.net = net.eval().requires_grad_(False)
        self.computed = self.recalled = 0
        self._folder, self._crops, self._size, self._maps = cache, crops, size, maps
        self._kept: dict[str, KeptOutputs] = {}
        if cache is not None and crops > 0:
            make_folder(cache)
            self._keep(PICTURES, (channels_of(net)[1], *height_width(size)))

    @torch.no_grad()
    def __call__(self, inputs: Inputs, ids: Tensor, taps: Collection[str] = ()) -> Observed:
        """The teacher's pictures of what student and teacher read.

        Args:
            ids: (n,) int64, of the crops; -1 where they are not limited.
            taps: modules of the teacher whose feature maps are wanted, too.
        """
        if not self._kept or bool((ids < 0).any()) or (taps and not self._maps):
            self.computed += len(ids)
            return Observed(*self._made(inputs, taps))
        names = (PICTURES, *dict.fromkeys(taps))
        for name, shape in self._unseen(inputs, names).items():
            self._keep(name, shape)
        return self._recall(inputs, ids.cpu().numpy(), names)

    def room(self, inputs: Inputs, taps: Collection[str]) -> int:
        """Bytes that the maps of all crops are going to take on disk; 0 where they are not kept, or
        are there."""
        if not self._kept or not self._maps:
            return 0
        new = [tap for tap in taps if not is_there(self._stem(tap))]
        shapes = self._unseen(inputs, new)
        return sum(bytes_of((self._crops, *shape)) for shape in shapes.values())

    def _made(self, inputs: Inputs, taps: Collection[str]) -> tuple[Tensor, dict[str, Tensor]]:
        with tapped(self.net, taps) as maps:
            out: Tensor = self.net(*inputs)
        return out, dict(maps)

    @torch.no_grad()
    def _unseen(self, inputs: Inputs, names: Collection[str]) -> dict[str, tuple[int, ...]]:
        """The shapes, (c, h, w), of those outputs of which no file is open yet."""
        new = [name for name in names if name not in self._kept]
        maps = self._made(tuple(t[:1] for t in inputs), new)[1] if new else {}
        return {name: tuple(maps[name].shape[1:]) for name in new}

    def _stem(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{words(self._size)}px{OF_MAP + name if name else ''}"

    def _keep(self, name: str, shape: tuple[int, ...]) -> None:
        what = f"The teacher's feature map '{name}'" if name else "The teacher's picture"
        self._kept[name] = KeptOutputs(self._stem(name), (self._crops, *shape), what)

    def _recall(self, inputs: Inputs, ids: Any, names: tuple[str, ...]) -> Observed:
        """What is wanted of these crops; those not seen before are made first."""
        made_before, kept = self.computed, {name: self._kept[name] for name in names}
        for position, crop in enumerate(ids):
            if not all(outputs.has(crop) for outputs in kept.values()):
                one = tuple(t[position : position + 1] for t in inputs)
                picture, maps = self._made(one, names[1:])
                for name, outputs in kept.items():
                    if not outputs.has(crop):
                        outputs.put(crop, (maps[name] if name else picture)[0])
                self.computed += 1
        self.recalled += len(ids) - (self.computed - made_before)
        device = inputs[0].device
        found = {name: outputs.read(ids).to(device) for name, outputs in kept.items()}
        return Observed(found.pop(PICTURES), found)


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
        data.cached_crops,
    ]
    what += [frames] if (frames := images.frames_digest()) else []
    key = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
    folder = Path(data.teacher_cache) if data.teacher_cache else root / OWN_CACHE
    crops = data.cached_crops * len(images)
    return CachedTeacher(
        teacher.net, cache=folder / key, crops=crops, size=size, maps=data.cached_maps
    )
