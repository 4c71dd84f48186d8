"""Where pictures matter, from settings: one function for every source of masks.

Liu et al., "Content-Aware GAN Compression", CVPR 2021, section 3: the mask of the teacher's
picture, by which scores and distances of student and teacher are restricted.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ganpress.data.images import Images
from ganpress.data.masks import with_mask_files
from ganpress.errors import ConfigError, did_you_mean
from ganpress.measures.interest import boxes
from ganpress.measures.interest.card import read_card
from ganpress.measures.interest.network import NETWORKS, open_network_mask
from ganpress.measures.interest.settings import MaskSettings
from ganpress.types import Inputs

EMPTY = 1 / 255
"""A mask of which no pixel reaches this is empty."""


class Interest(Protocol):
    """What a generator reads, and the teacher's pictures -> where they matter."""

    def __call__(self, inputs: Inputs, pictures: Tensor, given: Tensor | None = None) -> Tensor:
        """(n, c, h, w) in [-1, 1] -> (n, 1, h, w) in [0, 1], no gradient.

        Args: given: masks that came with the batch (`Batch.masks`), (n, 1, h, w) in [0, 1].
        """
        ...


class Counted:
    """An `Interest`: masks as they are found, but of a picture whose mask is empty ones.

    Attributes: seen: pictures so far. source: what gives the masks, for the warning.
    """

    def __init__(
        self, source: str, find: Callable[[Tensor], Tensor] | None, min_area: float = 0.0
    ) -> None:
        """Args:
        find: pictures -> masks; None: they come with the batches.
        min_area: fraction of the picture below which a mask is empty.
        """
        self.source, self.find, self.min_area = source, find, min_area
        self.seen = 0
        self._empty: Tensor | int = 0

    @torch.no_grad()
    def __call__(self, inputs: Inputs, pictures: Tensor, given: Tensor | None = None) -> Tensor:
        """See `Interest`. Raises: ConfigError where masks should have come with the batch."""
        if self.find is not None:
            mask = self.find(pictures)
        elif given is not None:
            mask = _resized(given.to(pictures.device), (pictures.shape[-2], pictures.shape[-1]))
        else:
            raise ConfigError(f"The masks of {self.source} belong to photos, and there are none.")
        empty = (mask.amax((1, 2, 3)) < EMPTY) | (mask.mean((1, 2, 3)) < self.min_area)
        self.seen += len(mask)
        self._empty = self._empty + empty.sum()
        return torch.where(empty.view(-1, 1, 1, 1), torch.ones_like(mask), mask)

    @property
    def empty(self) -> int:
        """Pictures so far whose mask was empty."""
        return int(self._empty)

    def warn(self) -> None:
        """Say, where masks were empty, of how many pictures."""
        if self.empty:
            warnings.warn(
                f"The mask of {self.empty} of {self.seen} pictures was empty ({self.source} finds "
                "nothing in them): they were compared whole.",
                stacklevel=2,
            )


def interest_for(mask: MaskSettings, *, device: str = "cpu") -> Counted | None:
    """Where pictures matter; None where that is everywhere.

    Args: device: where the network runs; one in an ONNX file runs on the CPU.
    Raises: ConfigError for a source that is none, a card that does not fit the network;
        WeightsError for a file that cannot be read; MissingExtra.
    """
    if mask.source is None or mask.is_ones:
        return None
    path = source_of(mask)
    find: Callable[[Tensor], Tensor] | None = None
    if path.suffix in NETWORKS:
        card, where = read_card(path, mask.card)
        find = open_network_mask(path, card, where).to(device)
    elif path.suffix in boxes.ENDINGS and (given := boxes.read_boxes(path)).boxes is not None:
        find = boxes.BoxMask(given)
    return Counted(str(path), find, mask.min_area)


def is_by_photo(mask: MaskSettings) -> bool:
    """Whether masks belong to photos by their names: files, or boxes by file name."""
    if mask.is_ones or (path := source_of(mask)).suffix in NETWORKS:
        return False
    return path.suffix not in boxes.ENDINGS or boxes.read_boxes(path).photos is not None


def masked_images(images: Images, mask: MaskSettings) -> Images:
    """The images with their masks, where those belong to photos by name; else the images.

    Raises: ConfigError where a photo has none; ImagesError for a mask that cannot be used.
    """
    if not is_by_photo(mask):
        return images
    path = source_of(mask)
    if path.suffix in boxes.ENDINGS:
        return boxes.with_boxes(images, boxes.read_boxes(path), path)
    return with_mask_files(images, path)


def source_of(mask: MaskSettings) -> Path:
    """The path of the masks' source, which is there. Raises: ConfigError."""
    path = Path(mask.source or "")
    known = (*NETWORKS, *boxes.ENDINGS)
    if not path.exists():
        beside = [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
        raise ConfigError(f"There is no mask {path}{did_you_mean(path.name, beside)}.")
    if path.is_file() and path.suffix not in known and path.suffix not in _PACKS:
        raise ConfigError(
            f"mask.source={path} is no source of masks: give a network ({', '.join(NETWORKS)}), "
            f"boxes ({', '.join(boxes.ENDINGS)}), or a folder of mask files."
        )
    if mask.card and path.suffix not in NETWORKS:
        raise ConfigError(f"mask.card is of a network, and {path} is none: leave it out.")
    return path


_PACKS = (".zip", ".tar", ".npz")


def resolved_mask(mask: MaskSettings) -> MaskSettings:
    """The settings with the digest of their files, by which a run knows its mask again.

    Raises: ConfigError where there is no such file, or it has another digest than is given.
    """
    if mask.source is None or mask.is_ones:
        if mask.card or mask.digest or mask.min_area:
            raise ConfigError(
                "mask.card, mask.min_area and mask.digest are of a mask: give its mask.source, too."
            )
        return MaskSettings()
    digest = _digest(mask)
    if mask.digest not in (None, digest):
        raise ConfigError(
            f"mask.digest is {str(mask.digest)[:12]}, and {mask.source} has {digest[:12]}: give "
            "the same mask, or leave mask.digest out."
        )
    return mask.model_copy(update={"digest": digest})


def _digest(mask: MaskSettings) -> str:
    """SHA-256 of the source and of the card, whatever they are called."""
    path, seen = source_of(mask), hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        seen.update(f"{file.relative_to(path).as_posix()}\n".encode())
        seen.update(hashlib.sha256(file.read_bytes()).digest())
    if path.suffix in NETWORKS:
        card, _ = read_card(path, mask.card)
        seen.update(card.model_dump_json().encode())
    return seen.hexdigest()


def _resized(masks: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(masks.shape[-2:]) == size:
        return masks
    resized = F.interpolate(masks, size, mode="bilinear", align_corners=False, antialias=True)
    return resized.clamp(0, 1)  # the weights of a place sum to 1 but for rounding
