"""Data sets that the user brings, laid out for `ganpress train`: Cityscapes, COCO-Stuff, faces."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias, TypeVar

import numpy as np
from PIL import Image, ImageDraw

from ganpress.data.archives import is_named_archive, members
from ganpress.data.decode import decode, decode_ids
from ganpress.data.endings import is_hidden, is_picture
from ganpress.data.listing import Passed, described, report_passed
from ganpress.data.public import PUBLIC, public_set
from ganpress.data.unpack import new_folder
from ganpress.errors import ConfigError, ImagesError

Members: TypeAlias = dict[str, Callable[[], bytes]]
"""Path below the folder or inside a zip of it -> how to read it."""

T = TypeVar("T")

THINGS = 256
"""The first id of a thing in an instance map of COCO: stuff keeps its label, 0..255, beside it."""

_CITYSCAPES = {
    "photo": r"leftImg8bit/(train|val)/[^/]+/([^/]+)_leftImg8bit\.png$",
    "label": r"gtFine/(train|val)/[^/]+/([^/]+)_gtFine_labelIds\.png$",
    "instance": r"gtFine/(train|val)/[^/]+/([^/]+)_gtFine_instanceIds\.png$",
}
_COCO = {
    "photo": r"(?:^|/)(train|val)2017/(\d+)\.jpg$",
    "label": r"(?:^|/)(train|val)2017/(\d+)\.png$",
}
_COCO_THINGS = r"(?:^|/)instances_(train|val)2017\.json$"


def prepare(
    name: str, source: Path, to: Path = Path("data"), *, side: int = 64, pack: bool = False
) -> Path:
    """Lay out the set `name`, whose files (zips, or what they hold) lie in `source`.

    Cityscapes and COCO-Stuff become `to`/`name`/{train,val}/{photo,label,instance}; faces become
    `to`/`name``side`/*.png, or faces.npz, cropped about the centre and resized.

    Args:
        side: of a face picture, pixels. pack: faces in one .npz.
    Raises: ConfigError, ImagesError, DiskFull; nothing half is left.
    """
    public_set(name)
    made = {"cityscapes": _cityscapes, "coco_stuff": _coco_stuff}
    if name not in made and PUBLIC[name].url is not None:
        raise ConfigError(f"{name} needs no preparation. Run: ganpress data get {name}")
    if not source.is_dir():
        raise ConfigError(f"There is no folder {source}. It should hold {PUBLIC[name].files}.")
    if side < 1:
        raise ConfigError(f"side is {side}; it must be at least 1.")
    folder = to / name if name in made else to / f"{name}{side}"
    files = _members(source)
    with new_folder(folder) as part:
        if name in made:
            made[name](files, part)
        else:
            _faces(files, source, part, side, pack)
    return folder


def _cityscapes(members: Members, to: Path) -> None:
    """Photos, labelIds (0..34) and instanceIds as they are."""
    columns = {kind: _matching(members, pattern) for kind, pattern in _CITYSCAPES.items()}
    _check_columns("cityscapes", columns)
    for (split, stem), _ in _shown(sorted(columns["photo"].items())):
        for kind, found in columns.items():
            _put(to / split / kind / f"{stem}.png", found[split, stem]())


def _coco_stuff(members: Members, to: Path) -> None:
    """Photos, label maps (0..181, 255 unknown), and instance maps drawn from the annotations.

    An instance map is the label map with each thing's polygons over it, in the order of the
    annotations, as SPADE has it; crowds, which have no polygons, keep their label.
    """
    columns = {kind: _matching(members, pattern) for kind, pattern in _COCO.items()}
    _check_columns("coco_stuff", columns)
    things = {
        split[0]: _polygons(read()) for split, read in _matching(members, _COCO_THINGS).items()
    }
    for (split, stem), photo in _shown(sorted(columns["photo"].items())):
        if split not in things:
            raise ImagesError(
                f"There is no instances_{split}2017.json. Bring {PUBLIC['coco_stuff'].files}."
            )
        label = columns["label"][split, stem]()
        instances = instance_map(decode_ids(label, stem), things[split].get(int(stem), []))
        drawn = io.BytesIO()
        Image.fromarray(instances).save(drawn, "PNG")
        _put(to / split / "photo" / f"{stem}.jpg", photo())
        _put(to / split / "label" / f"{stem}.png", label)
        _put(to / split / "instance" / f"{stem}.png", drawn.getvalue())


def instance_map(labels: np.ndarray[Any, Any], things: Iterable[list[list[float]]]) -> Any:
    """(h, w) uint16: ``labels``, with thing number k's polygons drawn over them as 256 + k."""
    image = Image.fromarray(labels.astype(np.int32))
    draw = ImageDraw.Draw(image)
    for number, polygons in enumerate(things):
        for flat in polygons:
            # SPADE takes 1 from each coordinate; its networks have seen their edges there.
            corners = [(x - 1, y - 1) for x, y in zip(flat[::2], flat[1::2], strict=False)]
            if len(corners) > 2:
                draw.polygon(corners, fill=THINGS + number)
    return np.asarray(image).astype(np.uint16)


def _polygons(stored: bytes) -> dict[int, list[list[list[float]]]]:
    """Image number -> the polygons of each of its things."""
    found: dict[int, list[list[list[float]]]] = {}
    try:
        for one in json.loads(stored)["annotations"]:
            if isinstance(one["segmentation"], list):
                found.setdefault(int(one["image_id"]), []).append(one["segmentation"])
    except (ValueError, KeyError, TypeError) as error:
        raise ImagesError(
            f"The instances json is not COCO's ({error!r}). Fetch it again."
        ) from error
    return found


def _faces(members: Members, source: Path, to: Path, side: int, pack: bool) -> None:
    pictures = {name: read for name, read in sorted(members.items()) if is_picture(name)}
    passed = Passed()
    for name in members.keys() - pictures.keys():
        passed.add_file(name, name)
    if not pictures:
        rest = f", only {described(passed)}" if passed.found else ""
        raise ImagesError(f"There are no pictures in {source}, nor in an archive in it{rest}.")
    report_passed([(source, passed)], strict=False)
    stored: list[bytes] = []
    stems = [PurePosixPath(name).stem for name in pictures]
    if len(set(stems)) < len(stems):
        raise ImagesError("Two pictures have the same name. Give the folder of one size only.")
    for stem, (name, read) in zip(stems, _shown(list(pictures.items())), strict=True):
        face = _centre(Image.fromarray(decode(read(), name)), side)
        encoded = io.BytesIO()
        face.save(encoded, "PNG")
        if pack:
            stored.append(encoded.getvalue())
        else:
            _put(to / f"{stem}.png", encoded.getvalue())
    if pack:
        ends = np.cumsum([0, *map(len, stored)])
        data = np.frombuffer(b"".join(stored), np.uint8)
        np.savez(to / "faces.npz", jpeg=data, offsets=ends, names=np.array(stems))


def _centre(image: Image.Image, side: int) -> Image.Image:
    """The largest square about the centre, resized (bicubic, antialiased)."""
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    box = (left, top, left + short, top + short)
    return image.crop(box).resize((side, side), Image.Resampling.BICUBIC)


def _members(root: Path) -> Members:
    """Every file below `root` but hidden ones, and inside the archives that lie in it."""
    found: Members = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = path.relative_to(root).as_posix()
        if any(map(is_hidden, name.split("/"))):
            continue
        if not is_named_archive(path.name):
            found[name] = path.read_bytes
        else:
            for inside, packed in members(path, Passed()).items():
                found.setdefault(inside, packed.encoded)
    return found


def _matching(members: Members, pattern: str) -> dict[tuple[str, ...], Callable[[], bytes]]:
    hits = ((re.search(pattern, name), read) for name, read in members.items())
    return {hit.groups(): read for hit, read in hits if hit}


def _check_columns(name: str, columns: Mapping[str, Mapping[tuple[str, ...], object]]) -> None:
    """Refuse a set of which a part is missing."""
    photos = columns["photo"]
    lacking = {kind: photos.keys() - found.keys() for kind, found in columns.items()}
    for kind, rows in lacking.items():
        if rows or not photos:
            first = f", '{min(rows)[1]}' for one" if rows else ""
            raise ImagesError(
                f"{len(rows) if rows else 'All'} photos have no {kind}{first}. Bring "
                f"{PUBLIC[name].files}."
            )


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _shown(rows: list[T]) -> Iterator[T]:
    """The rows, with a progress bar on standard error (a terminal only)."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(
        rows, "preparing", console=console, transient=True, disable=not console.is_terminal
    )
