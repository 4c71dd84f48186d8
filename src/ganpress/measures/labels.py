"""What classes the pixels of a label map are, however the map has them: as ids, or as colours.

A segmentation network tells classes 0, 1, 2 ...; maps of the same classes have ids of their own
(Cityscapes' road is 0 in its trainIds and 7 in its labelIds), and a generator of pairs reads them
as a coloured picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganpress.data import Images
from ganpress.errors import ConfigError, ImagesError
from ganpress.measures.metrics.segmentation import IGNORED, Over
from ganpress.types.sizes import Size, height_width

Colour = tuple[int, int, int]

FAR = 48
"""Of 255, in any channel: how far a pixel of a label picture may be from its class's colour; a
JPEG's are nearer but at the edges."""
MOST_FAR = 0.2
"""Share of pixels farther than that which a label picture may have."""


@dataclass(frozen=True)
class Labelling:
    """The classes of a segmentation network, and what they are in label maps and pictures.

    classes: names. encodings: by name, id in a map -> class, or `IGNORED`; the first that knows
    all ids of the maps is theirs. colours: colour of a label picture -> class, or `IGNORED`; empty
    where there are no such pictures. mean_over: see `mean_iou`.
    """

    classes: tuple[str, ...]
    encodings: Mapping[str, Mapping[int, int]]
    colours: Mapping[Colour, int] = field(default_factory=dict)
    mean_over: Over = "union"

    def encoding_of(self, ids: Sequence[int], images: Images | None = None) -> str:
        """Which encoding maps are in that have these ids.

        Args: images: those with the maps, for the message. Raises: ImagesError naming a map.
        """
        for name, known in self.encodings.items():
            if set(ids) <= known.keys():
                return name
        rest = {name: set(ids) - known.keys() for name, known in self.encodings.items()}
        name, least = min(rest.items(), key=lambda item: len(item[1]))
        odd = min(least)
        ids_known = ", ".join(map(str, sorted(self.encodings[name])))
        which = "A label map" if images is None else f"The label map {images.maps_with(odd)}"
        raise ImagesError(
            f"{which} has the id {odd}, which is none of the "
            f"segmenter's: {ids_known}. Give maps of its classes, or leave its metrics out."
        )

    def by_ids(self, ids: NDArray[np.generic], encoding: str) -> Tensor:
        """(h, w) ids -> (h, w) int64 classes, or `IGNORED`."""
        known = self.encodings[encoding]
        table = np.full(max(known) + 1, IGNORED, np.int64)
        table[list(known)] = list(known.values())
        return torch.from_numpy(table[ids])

    def by_colours(self, picture: NDArray[np.uint8], name: str = "The label picture") -> Tensor:
        """(h, w, 3) colours -> (h, w) int64 classes, or `IGNORED`: those of the nearest colours.

        Raises: ImagesError where the picture is not of these colours.
        """
        colours = np.array(list(self.colours), np.int64)
        packed = picture.astype(np.int64) @ (1 << 16, 1 << 8, 1)
        seen, where, counts = np.unique(packed, return_inverse=True, return_counts=True)
        rgb = np.stack([seen >> 16, seen >> 8 & 255, seen & 255], 1)
        away = np.abs(rgb[:, None] - colours).sum(2)
        nearest = away.argmin(1)
        far = np.abs(rgb - colours[nearest]).max(1) > FAR
        if counts[far].sum() > MOST_FAR * packed.size:
            worst = rgb[far][counts[far].argmax()]
            raise ImagesError(
                f"{name} is no label picture of the segmenter's classes: the colour "
                f"{tuple(worst.tolist())} is none of theirs. Give the label maps (--labels), or "
                "leave its metrics out."
            )
        classes = np.array(list(self.colours.values()), np.int64)[nearest]
        return torch.from_numpy(classes[where.reshape(packed.shape)])


def has_truth(images: Images, labelling: Labelling) -> bool:
    """Whether the images say what their pixels' classes are: by maps, or as label pictures."""
    return images.has_labels or (images.paired and bool(labelling.colours))


def truth_of(images: Images, size: Size, labelling: Labelling) -> tuple[str, Iterator[Tensor]]:
    """How the truth is known, and the classes of each image in order, as (h, w) int64.

    They keep the maps' own resolution, which is finer than the pictures': of each, the part is
    given that a picture of ``size`` shows, which is all of it where the proportions are the same.

    Raises: at once: ImagesError for ids that are none of the classes, or where the first label
        picture has other colours; ConfigError where there is neither.
    """
    if images.has_labels:
        encoding = labelling.encoding_of(images.label_ids, images)
        column = images.columns.index("labels")
        maps = (labelling.by_ids(images.read(i)[column], encoding) for i in range(len(images)))
        return f"label maps ({encoding})", (shown_part(each, size) for each in maps)
    if not has_truth(images, labelling):
        raise ConfigError(
            "There are no label maps to compare with: give them (--labels), or leave the metrics "
            "of segmentation out."
        )
    rgb = images.with_channels(3, images.channels[1])

    def classes_of(index: int) -> Tensor:
        return labelling.by_colours(np.asarray(rgb.read(index)[0], np.uint8), rgb.names[index])

    classes_of(0)  # other pictures are refused before any work
    pictures = (classes_of(index) for index in range(len(rgb)))
    return "label pictures, by the nearest colour", (shown_part(p, size) for p in pictures)


def shown_part(labels: Tensor, size: Size) -> Tensor:
    """The centre of an (h, w) map that is left when it is cropped to the proportions of a size."""
    height, width = labels.shape
    tall, wide = height_width(size)
    scale = min(height / tall, width / wide)
    h, w = min(height, round(tall * scale)), min(width, round(wide * scale))
    top, left = (height - h) // 2, (width - w) // 2
    return labels[top : top + h, left : left + w]
