"""From a job to what the network reads, and from what it makes to the bytes of a file."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ganpress.data.batches import centred, covering
from ganpress.data.frames import ANIMATED, frames
from ganpress.data.sources import Frame, ids_of, pixels_of
from ganpress.errors import CheckpointError, ImagesError
from ganpress.generation.jobs import LOSSY, Job, format_of
from ganpress.models.families.base import draw_inputs
from ganpress.types.sizes import Size, height_width


@dataclass(frozen=True)
class Ready:
    """What the network reads of one job.

    Attributes:
        inputs: by name of the network's `reads`, each (1, ...); those that all share are missing.
        size: (height, width) of the picture to make; () where it is of noise.
        corner: (top, left) of it within the inputs, which are padded.
        seconds: that reading it took.
        frames: of an animation, or a file of several pages, whose first one this is.
    """

    job: Job
    inputs: dict[str, Tensor]
    size: tuple[int, ...]
    corner: tuple[int, int]
    seconds: float
    frames: int = 1

    @property
    def padded(self) -> tuple[int, ...]:
        """(height, width) of the inputs; () where they are noise."""
        seen = [t for name, t in self.inputs.items() if name in ("image", "semantics")]
        return tuple(seen[0].shape[2:]) if seen else ()


def read_job(
    job: Job, net: Any, fit: Callable[[Size], Size], size: Size | None
) -> Ready | ImagesError:
    """Decode, resize and crop to ``size`` if it is given, pad by reflection to what ``fit`` says.

    A picture that cannot be read is an error that is returned.
    """
    began = time.perf_counter()
    try:
        planes = [
            pixels_of(source, net.in_channels) if name == "image" else ids_of(source)
            for name, source in job.sources.items()
        ]
        if len({p.shape[:2] for p in planes}) > 1:
            shapes = " and ".join("{}x{}".format(*p.shape[:2]) for p in planes)
            raise ImagesError(f"The maps of {job.out} differ in size ({shapes}).")
        given = size or (planes[0].shape[0], planes[0].shape[1])
        shown = [np.asarray(p) for p in centred(covering(planes, given), given)]
        padded, corner = _padded(shown, fit(given))
        inputs = _inputs(dict(zip(job.sources, padded, strict=True)), net)
    except ImagesError as error:
        where = next(iter(job.sources.values())).where
        text = str(error)
        return error if where in text else ImagesError(f"{where}: {text}")
    seconds = time.perf_counter() - began
    return Ready(job, inputs, height_width(given), corner, seconds, _frames(job))


def _frames(job: Job) -> int:
    """How many frames its picture has; files of formats that seldom have more are not opened."""
    first = next(iter(job.sources.values()))
    if isinstance(first, Frame) or not first.where.lower().endswith(ANIMATED):
        return 1
    return frames(first.encoded(), first.where)


def draw_job(job: Job, net: Any, seed: int, label: int | None) -> Ready:
    """Noise that depends on the seed and the job's number alone; ``label`` is the class."""
    began = time.perf_counter()
    draw = torch.Generator().manual_seed(seed_of(seed, job.number))
    inputs = dict(zip(net.reads, draw_inputs(net, 1, 16, draw), strict=True))
    if label is not None:
        inputs["y"] = torch.zeros_like(inputs["y"])
        inputs["y"][:, label] = 1
    return Ready(job, inputs, (), (0, 0), time.perf_counter() - began)


def seed_of(seed: int, number: int) -> int:
    """The seed of picture ``number``, below 2**63."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0] >> 1)


def _padded(planes: list[NDArray[Any]], to: Size) -> tuple[list[NDArray[Any]], tuple[int, int]]:
    """(c, h, w) or (h, w) arrays in the middle of larger ones, reflected at their borders."""
    tall, wide = height_width(to)
    height, width = planes[0].shape[-2:]
    top, left = (tall - height) // 2, (wide - width) // 2
    if (tall, wide) == (height, width):
        return planes, (0, 0)
    border = ((top, tall - height - top), (left, wide - width - left))
    wider = [np.pad(p, (*[(0, 0)] * (p.ndim - 2), *border), mode="reflect") for p in planes]
    return wider, (top, left)


def _inputs(planes: dict[str, NDArray[Any]], net: Any) -> dict[str, Tensor]:
    if "image" in planes:
        unit = planes["image"].astype(np.float32)[None]
        np.divide(unit, np.float32(127.5), out=unit)
        np.subtract(unit, np.float32(1), out=unit)
        return {"image": torch.from_numpy(unit)}
    maps = {n: torch.from_numpy(p.astype(np.int64)[None]) for n, p in planes.items()}
    return {"semantics": net.encode(maps["labels"], maps.get("instances"))}


def picture_bytes(made: Tensor, ready: Ready, quality: int) -> bytes:
    """The file of one picture, (c, h, w) about [-1, 1], without what was padded.

    Raises: CheckpointError for values that are not finite.
    """
    top, left = ready.corner
    height, width = ready.size or made.shape[-2:]
    values = made.numpy()[:, top : top + height, left : left + width]
    if not np.isfinite(values).all():
        raise CheckpointError(
            f"The generator makes values that are not finite (of {ready.job.out}): it is spoilt."
        )
    grey = np.rint((values + 1) * np.float32(127.5)).clip(0, 255).astype(np.uint8)
    pixels = np.ascontiguousarray(grey.transpose(1, 2, 0))
    kind = format_of(ready.job.out) or "PNG"
    how: dict[str, Any] = {"quality": quality} if kind in LOSSY else {}
    if kind == "JPEG":
        how["subsampling"] = 0
    stored = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(stored, kind, **how)
    return stored.getvalue()
