"""Open folders, pairs and packs of images once, checking every file."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ganpress.data.checking import MAPS, Kept, checked, usable
from ganpress.data.colours import warn_of_lost_colours
from ganpress.data.decode import Ids
from ganpress.data.listing import report_passed
from ganpress.data.pairing import joined, matched
from ganpress.data.sources import (
    Facts,
    Found,
    Frame,
    Source,
    classes_at,
    ids_of,
    pixels_of,
    sources_at,
    stamp_in,
)
from ganpress.errors import ConfigError, ImagesError

Pixels: TypeAlias = NDArray[np.uint8]
"""(h, w, channels) 0..255."""
Mask: TypeAlias = Callable[[int, int], Pixels]
"""(height, width) of a photo -> its mask of interest, (h, w, 1) 0..255; can be pickled."""


class Images:
    """A checked, ordered set of images, with what belongs to each: a target, maps, a class.

    Made by `open_images`. Holds where the pixels lie, not the pixels; can be pickled.

    names: of the images. channels: of their pixels, and of their targets'. classes: (n,) int64
    class of each image, or None. class_names: the classes' names, () if they have none.
    """

    def __init__(
        self,
        names: Sequence[str],
        columns: Mapping[str, Sequence[Kept]],
        side_by_side: str | None = None,
        classes: NDArray[np.int64] | None = None,
        class_names: Sequence[str] = (),
        channels: tuple[int, int] = (3, 3),
    ) -> None:
        self.names = tuple(names)
        self.classes = classes
        self.class_names = tuple(class_names)
        self._columns = {name: tuple(column) for name, column in columns.items()}
        self._side_by_side = side_by_side
        self._masks: tuple[Mask, ...] | None = None
        self.channels = channels

    def __len__(self) -> int:
        return len(self.names)

    def some(self, indices: Sequence[int]) -> Images:
        """Only these of the images, in this order."""
        columns = {name: [column[i] for i in indices] for name, column in self._columns.items()}
        names = [self.names[i] for i in indices]
        classes = None if self.classes is None else self.classes[list(indices)]
        side_by_side, channels = self._side_by_side, self.channels
        some = Images(names, columns, side_by_side, classes, self.class_names, channels)
        return some if self._masks is None else some.with_masks([self._masks[i] for i in indices])

    def with_masks(self, masks: Sequence[Mask]) -> Images:
        """The same images, each with a mask that follows its crop and flip; the `digest` stays."""
        if len(masks) != len(self):
            raise ConfigError(f"{len(masks)} masks do not belong to {len(self)} images.")
        masked = copy.copy(self)
        masked._masks = tuple(masks)
        return masked

    def with_channels(self, x: int, y: int = 3) -> Images:
        """The same images, decoded to ``x`` channels and their targets to ``y``, as `decode` does:
        1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha. Warns once of colours that are lost."""
        if (x, y) == self.channels:
            return self
        coloured, made = copy.copy(self), copy.copy(self)
        coloured.channels, made.channels = (3, 3), (x, y)
        warn_of_lost_colours(coloured, made)
        return made

    def where(self, kind: str) -> str:
        """Where the first picture ("x") or target ("y") lies, for messages."""
        return self._columns.get(kind, self._columns["x"])[0][0].where

    @property
    def columns(self) -> tuple[str, ...]:
        """What `read` gives, as `Batch` names it: x, then those given of y, labels, instances,
        masks."""
        maps = [name for name in MAPS if name in self._columns]
        masks = [] if self._masks is None else ["masks"]
        return ("x", *(["y"] if self.paired else []), *maps, *masks)

    @property
    def paired(self) -> bool:
        """True if every image has a target."""
        return "y" in self._columns or self._side_by_side is not None

    @property
    def has_labels(self) -> bool:
        """True if every image has a label map."""
        return "labels" in self._columns

    @property
    def has_instances(self) -> bool:
        """True if every image has an instance map."""
        return "instances" in self._columns

    @property
    def class_count(self) -> int:
        """How many classes the images are of; 0 if their classes are not known."""
        if self.classes is None:
            return 0
        return len(self.class_names) or int(self.classes.max()) + 1

    @property
    def label_ids(self) -> tuple[int, ...]:
        """Every id that occurs in the label maps, rising; () without label maps."""
        found = {facts.ids for _, facts in self._columns.get("labels", ())}
        return tuple(sorted(set().union(*found)))

    def label_range(self) -> tuple[int, int]:
        """The smallest and the largest id in the label maps. ConfigError: there are none."""
        ids = self.label_ids
        if not ids:
            raise ConfigError("The images have no label maps. Give their folder (--labels).")
        return ids[0], ids[-1]

    def maps_with(self, label: int) -> str:
        """The first label map that holds an id, and how many more do, for a message."""
        found = [s.where for s, facts in self._columns.get("labels", ()) if label in facts.ids]
        more = f" (and {len(found) - 1} more)" if found[1:] else ""
        return f"{found[0]}{more}" if found else "none"

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of each input image, in pixels, upright."""
        halves = 2 if self._side_by_side else 1
        return tuple((f.height, f.width // halves) for _, f in self._columns["x"])

    def read(self, index: int) -> tuple[Pixels | Ids, ...]:
        """What `columns` names, at full size: each (h, w, channels) uint8 0..255, maps (h, w) ids.

        Raises ImagesError: the file has gone or changed since it was opened.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's; the file was checked when it was opened
            found = {
                name: _read(name, *column[index], channels=self.channels[name == "y"])
                for name, column in self._columns.items()
            }
            if self._side_by_side is not None:
                x = found["x"]
                y = x
                if len(set(self.channels)) > 1:
                    y = _read("y", *self._columns["x"][index], channels=self.channels[1])
                middle = x.shape[1] // 2
                left, right = np.s_[:, :middle], np.s_[:, middle:]
                of_x, of_y = (left, right) if self._side_by_side == "AB" else (right, left)
                found["x"], found["y"] = x[of_x], y[of_y]
            if self._masks is not None:
                found["masks"] = self._masks[index](*found["x"].shape[:2])
        return tuple(found[name] for name in self.columns)

    def digest(self) -> str:
        """sha256 in hex over names, sizes in pixels and stored bytes: the data hash of a card.

        Over the number of bytes of each file, that is, and over the classes themselves.
        """
        seen = hashlib.sha256(f"{len(self)} {self._side_by_side}\n".encode())
        for kind, column in self._columns.items():
            if kind in MAPS:
                seen.update(f"{kind}\n".encode())
            for name, (_, f) in zip(self.names, column, strict=True):
                seen.update(_bytes(f"{name}\t{f.height}x{f.width}\t{f.stored_bytes}\n"))
        if self.classes is not None:
            seen.update(self.classes.tobytes())
        return seen.hexdigest()

    def frames_digest(self) -> str:
        """sha256 in hex of the pixels that are held decoded, in packs of ``images``: two packs of
        one shape have one `digest`. "" where there are none."""
        held = [s for column in self._columns.values() for s, _ in column if isinstance(s, Frame)]
        seen = hashlib.sha256()
        for source in held:
            seen.update(source.pixels.tobytes())
        return seen.hexdigest() if held else ""

    def identity(self) -> str:
        """sha256 in hex of what `read` gives but for the masks, by which this process tells images
        from any others: unlike the `digest` also over which files they are, when those were
        written, the channels that are read, and the pixels of packs."""
        seen = hashlib.sha256(f"{self.digest()} {self.channels} {self.frames_digest()}\n".encode())
        for column in self._columns.values():
            for source, _ in column:
                seen.update(_bytes(f"{source.where}\t{stamp_in(source)}\n"))
        return seen.hexdigest()


def _bytes(line: str) -> bytes:
    """In UTF-8; a file's name need not be text."""
    return line.encode("utf-8", "surrogatepass")


def _read(kind: str, source: Source, facts: Facts, *, channels: int) -> Pixels | Ids:
    pixels = ids_of(source) if kind in MAPS else pixels_of(source, channels)
    if pixels.shape[:2] != (facts.height, facts.width):
        raise ImagesError(
            f"{source.where} has changed its size since it was opened. "
            "Start again with a folder that does not change."
        )
    return pixels


def open_images(
    paths: Path | Sequence[Path],
    *,
    pairs: Path | None = None,
    side_by_side: str | None = None,
    labels: Path | None = None,
    instances: Path | None = None,
    strict: bool = False,
    single: bool = False,
) -> Images:
    """Open images and decode each once, so that training never meets a bad file.

    Args:
        paths: each a folder (searched to the bottom; endings in `EXTENSIONS`), a .zip or .tar
            of one, or an .npz pack (`jpeg` + `offsets`, or `images` NHWC or NHW uint8; `labels`
            (n,) are the classes, with their names in `classes`). Several are joined in order, with
            classes if all have the same ones.
        pairs: a folder, archive or pack of targets, paired with the images by name without its
            ending; a pair must agree in size.
        side_by_side: "AB" if each file holds the input on the left and the target on the
            right, "BA" for the other way round.
        labels, instances: folders or archives of maps, paired like `pairs`: PNGs of ids (a
            palette's indices, or grey of up to 16 bits), never of colours.
        strict: refuse a file that cannot be decoded or is not read at all, instead of leaving it
            (and its pair) out with one `ImagesWarning` that names it.
        single: a path can be one picture, too.
    Raises ImagesError: nothing there, no images, none that decodes, maps of colours, or pairs
        that do not match in number, name or size. ConfigError: settings that contradict
        each other.
    """
    _check_halves(side_by_side, pairs)
    roots = [Path(paths)] if isinstance(paths, (str, Path)) else [Path(p) for p in paths]
    found = {"x": _found(roots, single)}
    inputs = joined(found["x"])
    sources = {"x": list(inputs.values())}
    for kind, folder in {"y": pairs, "labels": labels, "instances": instances}.items():
        if folder is not None:
            found[kind] = [sources_at(Path(folder))]
            sources[kind] = matched(inputs, roots, found[kind][0])
    report_passed([(f.root, f.passed) for some in found.values() for f in some], strict=strict)
    facts = {
        kind: {where: fact for f in some for where, fact in checked(kind, f).items()}
        for kind, some in found.items()
    }
    columns, good = usable(sources, facts, strict)
    _check_sizes(columns, side_by_side)
    classes, class_names = _classes(roots, [len(f.sources) for f in found["x"]])
    names = list(inputs)
    return Images(
        [names[i] for i in good],
        columns,
        side_by_side,
        None if classes is None else classes[good],
        class_names,
    )


def _classes(
    roots: Sequence[Path], counts: Sequence[int]
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Classes of all images and their names; none where a path lacks them or names others."""
    found = [classes_at(root, count) for root, count in zip(roots, counts, strict=True)]
    whole = [one for one in found if one is not None]
    if len(whole) < len(found) or len({names for _, names in whole}) > 1:
        return None, ()
    return np.concatenate([numbers for numbers, _ in whole]), whole[0][1]


def _check_halves(side_by_side: str | None, pairs: Path | None) -> None:
    if side_by_side not in (None, "AB", "BA"):
        raise ConfigError(
            f"side_by_side is '{side_by_side}'; use 'AB' (input left, target right) or 'BA'."
        )
    if side_by_side is not None and pairs is not None:
        raise ConfigError("Targets come from `pairs` or from `side_by_side`: give only one.")


def _found(roots: Sequence[Path], single: bool) -> list[Found]:
    if not roots:
        raise ImagesError("No folder or pack of images was given. Give at least one path.")
    return [sources_at(root, single=single) for root in roots]


def _check_sizes(columns: Mapping[str, Sequence[Kept]], side_by_side: str | None) -> None:
    halves = 2 if side_by_side else 1
    for source, a in columns["x"]:
        if a.width % halves:
            raise ImagesError(
                f"{source.where} is {a.width} pixels wide, so it has no two equal halves. "
                "Side-by-side images need an even width."
            )
    for kind in list(columns)[1:]:
        for (source, a), (other, b) in zip(columns["x"], columns[kind], strict=True):
            if (a.height, a.width // halves) != (b.height, b.width):
                raise ImagesError(
                    f"The pair {source.where} ({a.width // halves}x{a.height}) and {other.where} "
                    f"({b.width}x{b.height}) differ in size. Resize one to the other."
                )
