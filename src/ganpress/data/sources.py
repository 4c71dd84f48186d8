"""Where encoded images lie: the files of a folder or of an archive, or an .npz pack."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganpress.data.archives import Packed, is_archive, leads_out, members
from ganpress.data.decode import Ids, NotIds, converted, decode, decode_ids, encoded, probe
from ganpress.data.endings import ENDINGS, is_picture
from ganpress.data.frames import frames
from ganpress.data.listing import Passed, Stamp, described, stamp_of, walk
from ganpress.errors import ImagesError, did_you_mean
from ganpress.sniff import misplaced, not_there
from ganpress.types.pictures import CHANNELS

_PACK = (
    "'jpeg' (uint8, files end to end) with 'offsets' (int, n + 1), or "
    "'images' (n, h, w[, 1 to 4]) uint8"
)


@dataclass(frozen=True)
class Facts:
    """What is known of an image once it was opened.

    height, width: of the upright image, pixels. stored_bytes: size of its encoded file.
    ids: of a label map, the ids that occur in it, rising; else (). frames: of an animation or a
    file of several pages, of which the first is used.
    """

    height: int
    width: int
    stored_bytes: int
    ids: tuple[int, ...] = ()
    frames: int = 1


@dataclass(frozen=True, slots=True)
class File:
    """An image file in a folder; ``where`` is its path."""

    where: str
    stamp: Stamp = field(default=(), compare=False)

    def encoded(self) -> bytes:
        return encoded(Path(self.where), self.where)


@dataclass(frozen=True, slots=True)
class Member:
    """An encoded image inside a pack: bytes [start, stop) of `jpeg`."""

    where: str
    jpeg: NDArray[np.generic]
    start: int
    stop: int
    stamp: Stamp = field(default=(), compare=False)

    def encoded(self) -> bytes:
        return self.jpeg[self.start : self.stop].tobytes()


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded image inside a pack: (h, w, 1 to 4) uint8: grey, with alpha, RGB, RGB and alpha."""

    where: str
    pixels: NDArray[np.uint8]


Source: TypeAlias = File | Packed | Member | Frame


def stamp_in(source: Source) -> Stamp:
    """The stamp of the file that a source lies in; () where it is not known."""
    return () if isinstance(source, Frame) else source.stamp


@dataclass(frozen=True)
class Found:
    """What lies at one path: its images by name, and the files there that are not read."""

    root: Path
    sources: dict[str, Source]
    passed: Passed


def pixels_of(source: Source, channels: int = 3) -> NDArray[np.uint8]:
    """(h, w, channels) uint8 of a source, as `decode`; ImagesError where it cannot be decoded."""
    if not isinstance(source, Frame):
        return decode(source.encoded(), source.where, channels)
    pixels = source.pixels
    if pixels.shape[2] == channels:
        return pixels
    grey = pixels.shape[2] == 1
    return converted(Image.fromarray(pixels[:, :, 0] if grey else pixels), channels)


def ids_of(source: Source) -> Ids:
    """(h, w) ids of a label or instance map; ImagesError where there are none."""
    try:
        return decode_ids(_stored(source), source.where)
    except NotIds as error:
        raise ImagesError(str(error)) from error


def check_ids(source: Source, *, listed: bool) -> Facts | ImagesError:
    """`check` of a label or instance map; the facts name the ids that occur if `listed`.

    Raises ImagesError: colours, not ids. That is a mistake in the whole folder, not in one file.
    """
    try:
        stored = _stored(source)
        ids = decode_ids(stored, source.where)
    except NotIds as error:
        raise ImagesError(str(error)) from error
    except ImagesError as error:
        return error
    height, width = ids.shape
    found = _occurring(ids) if listed else ()
    return Facts(height, width, len(stored), found, frames(stored, source.where))


def _occurring(ids: Ids) -> tuple[int, ...]:
    short = ids.dtype == np.uint8  # then counting is quicker than sorting
    return tuple((np.flatnonzero(np.bincount(ids.ravel())) if short else np.unique(ids)).tolist())


def _stored(source: Source) -> bytes:
    if isinstance(source, Frame):
        raise NotIds(f"{source.where} holds colours, not ids. Give a folder of PNGs of ids.")
    return source.encoded()


def check(source: Source) -> Facts | ImagesError:
    """Decode a source once: its facts, or the error that says why it cannot be used."""
    if isinstance(source, Frame):
        height, width, _ = source.pixels.shape
        return Facts(height, width, source.pixels.nbytes)
    try:
        stored = source.encoded()
        height, width = probe(stored, source.where)
    except ImagesError as error:
        return error
    return Facts(height, width, len(stored), frames=frames(stored, source.where))


def sources_at(path: Path, *, single: bool = False) -> Found:
    """Every image at a folder, archive or .npz pack, in name order (a pack: in its own order).

    With ``single`` the path can be one picture, too.

    A file's name is its path below the folder, or in the archive, with '/' between parts. A pack's
    names come from its key `names` where that is whole and without repeats, else they are
    five-digit numbers.
    Raises ImagesError: nothing there, no images there, an archive that cannot be read, not a pack.
    """
    if not path.exists():
        raise ImagesError(_missing(path))
    passed = Passed()
    if path.is_dir():
        return Found(path, _named(path, _folder(path, passed), passed), passed)
    if path.suffix.lower() == ".npz":
        return Found(path, _pack(path), passed)
    if is_archive(path):
        return Found(path, _named(path, _archive(path, passed), passed), passed)
    if is_picture(path.name):
        if single:
            return Found(path, {path.name: File(str(path), stamp_of(path.stat()))}, passed)
        raise ImagesError(f"{path} is one image. Give the folder: {path.absolute().parent}")
    other = misplaced(path, "pack") or (
        "is neither a folder of images, nor a .zip or .tar of them, nor an .npz pack. If it is an "
        "archive of another kind, unpack it and give the folder"
    )
    raise ImagesError(f"{path} {other}.")


def _missing(path: Path) -> str:
    """Say which part of a path is not there, and the nearest name that is."""
    if known := not_there(path):
        return f"{path} {known}."
    absent = path
    while not absent.parent.exists() and absent.parent != absent:
        absent = absent.parent
    beside = [p.name for p in absent.parent.iterdir()] if absent.parent.is_dir() else []
    offer = did_you_mean(absent.name, beside)
    return f"No folder or pack of images at {path}: {absent.parent} has no '{absent.name}'{offer}."


def _folder(root: Path, passed: Passed) -> dict[str, Source]:
    below = len(os.path.join(root, ""))
    found = walk(root, passed)
    return {path[below:].replace(os.sep, "/"): File(path, stamp) for path, stamp in found}


def _archive(path: Path, passed: Passed) -> dict[str, Source]:
    """By the name below the folder in the archive that holds all the images, so that they pair."""
    found: dict[str, Source] = {}
    for name, packed in members(path, passed).items():
        if is_picture(name):
            found[name] = packed
        else:
            passed.add_file(name, packed.where)
    above = os.path.commonpath([os.path.dirname(name) for name in found]) if found else ""
    below = len(above) + 1 if above else 0
    return {name[below:]: source for name, source in found.items()}


def _named(root: Path, found: dict[str, Source], passed: Passed) -> dict[str, Source]:
    """The images in name order. Raises ImagesError: there are none."""
    if found:
        return {name: found[name] for name in sorted(found)}
    rest = f", only {described(passed)}" if passed.found else ""
    raise ImagesError(
        f"No images in {root} or the folders below it{rest}: looked for {ENDINGS}. Check the path, "
        "or convert the images to one of these."
    )


def _pack(path: Path) -> dict[str, Source]:
    arrays = _arrays(path)
    sources: list[Source]
    if "images" in arrays:
        pixels = arrays["images"]
        pixels = pixels[..., None] if pixels.ndim == 3 else pixels
        if pixels.ndim != 4 or pixels.shape[3] not in CHANNELS or pixels.dtype != np.uint8:
            raise ImagesError(
                f"'images' in {path} is {pixels.dtype} {pixels.shape}; a pack needs {_PACK}."
            )
        sources = [Frame(f"{path}[{i}]", frame) for i, frame in enumerate(pixels)]
    else:
        jpeg, offsets = arrays["jpeg"], arrays["offsets"]
        _check_offsets(path, jpeg, offsets)
        ends, stamp = offsets.tolist(), stamp_of(path.stat())
        sources = [
            Member(f"{path}[{i}]", jpeg, start, stop, stamp)
            for i, (start, stop) in enumerate(pairwise(ends))
        ]
    if not sources:
        raise ImagesError(f"The pack {path} holds no images.")
    return dict(zip(_names(path, arrays.get("names"), len(sources)), sources, strict=True))


def _names(path: Path, given: NDArray[np.generic] | None, count: int) -> list[str]:
    """The names of a pack's images: those given where they are whole and without repeats, else
    five-digit numbers. Raises ImagesError: one that is no name of a file below a folder."""
    names = [] if given is None else _texts(given)
    if len(names) != count or len(set(names)) != count:
        return [f"{i:05d}" for i in range(count)]
    for name in names:
        if leads_out(name) or not PurePosixPath(name).name:
            raise ImagesError(
                f"The pack {path} calls a picture '{name}', which is no path below a folder that "
                "pictures could be written to. Give it other 'names', or none."
            )
    return names


def _texts(given: NDArray[np.generic]) -> list[str]:
    """The elements of an array as texts; bytes are UTF-8."""
    said: list[object] = given.ravel().tolist()
    return [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in said]


def classes_at(path: Path, count: int) -> tuple[NDArray[np.int64], tuple[str, ...]] | None:
    """(count,) classes of a pack's images, and their names or (); None if the pack has none.

    From the keys `labels`, (n,) integers from 0, and `classes`, their names.
    """
    if path.suffix.lower() != ".npz" or path.is_dir():
        return None
    arrays = _arrays(path, ("labels", "classes"))
    if "labels" not in arrays:
        return None
    labels = arrays["labels"]
    names = tuple(_texts(arrays["classes"])) if "classes" in arrays else ()
    whole = np.issubdtype(labels.dtype, np.integer) and labels.shape == (count,)
    numbers = labels.astype(np.int64) if whole else np.full(1, -1)
    if numbers.min() < 0 or (names and numbers.max() >= len(names)):
        raise ImagesError(
            f"'labels' in {path} is {labels.dtype} {labels.shape}; it must be {count} integers "
            f"from 0{f' to {len(names) - 1}, one for each name in classes' if names else ''}."
        )
    return numbers, names


def _arrays(
    path: Path, wanted: Sequence[str] = ("images", "jpeg", "offsets", "names")
) -> dict[str, NDArray[np.generic]]:
    """The arrays of a pack that matter; never unpickles. ImagesError where they are not there."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as pack:
            keys = list(pack.files)
            if "images" in keys or {"jpeg", "offsets"} <= set(keys):
                return {key: pack[key] for key in wanted if key in keys}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ImagesError(f"{path} {_no_pack(path, error)}.") from error
    if keys and (other := misplaced(path, "pack")):
        raise ImagesError(f"{path} {other}.")
    found = ", ".join(f"'{key}'" for key in keys) or "nothing"
    raise ImagesError(f"{path} is not a pack of images: it holds {found}; a pack needs {_PACK}.")


def _no_pack(path: Path, error: Exception) -> str:
    if other := misplaced(path, "pack"):
        return other
    reason = "it holds Python objects" if "allow_pickle" in str(error) else error
    return f"cannot be read as an .npz pack ({reason}); a pack needs {_PACK}"


def _check_offsets(path: Path, jpeg: NDArray[np.generic], offsets: NDArray[np.generic]) -> None:
    whole = jpeg.dtype == np.uint8 and jpeg.ndim == 1
    ints = np.issubdtype(offsets.dtype, np.integer) and offsets.ndim == 1 and len(offsets) > 0
    if not whole or not ints:
        raise ImagesError(
            f"In {path} 'jpeg' is {jpeg.dtype} {jpeg.shape} and 'offsets' {offsets.dtype} "
            f"{offsets.shape}; a pack needs {_PACK}."
        )
    ends = offsets.astype(np.int64)
    if ends[0] < 0 or ends[-1] > len(jpeg) or bool((np.diff(ends) < 0).any()):
        raise ImagesError(
            f"'offsets' in {path} do not rise from 0 to at most {len(jpeg)}, the length of "
            "'jpeg': the pack is damaged; make or fetch it again."
        )
