"""Which pictures are to be made: of the files of a folder or pack, or of noise by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from PIL import Image

from ganpress.data.endings import is_picture
from ganpress.data.listing import Passed, report_passed
from ganpress.data.pairing import stem_of
from ganpress.data.sources import File, Found, Source, sources_at
from ganpress.errors import ConfigError, ImagesError, did_you_mean
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import channels_of, from_noise, reads

KEPT = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000")
"""Formats in which a picture is written as it was read; of all others it is a PNG: Pillow cannot
write them, or only with 256 colours."""
TRANSPARENT = ("PNG", "WEBP", "TIFF")
"""Those of them that keep alpha."""
LOSSY = ("JPEG", "WEBP", "AVIF")
"""Formats that have a quality."""


@dataclass(frozen=True)
class Job:
    """One picture to make.

    Attributes:
        number: from 0, in the order of the names.
        out: its file below the folder of the pictures, '/' between parts.
        sources: what it is made of, by name: image, or labels and perhaps instances; none: noise.
    """

    number: int
    out: str
    sources: Mapping[str, Source] = field(default_factory=dict)


def jobs_of(
    model: Model,
    images: Sequence[Path],
    labels: Path | None,
    instances: Path | None,
    count: int | None,
) -> list[Job]:
    """What is to be made, after the kind of inputs that the generator reads.

    Raises: ConfigError for inputs that it does not read, or that are missing; ImagesError.
    """
    name, maps = model.family.name, "semantics" in reads(model)
    if from_noise(model):
        if images or labels or instances:
            raise ConfigError(f"A '{name}' generator reads noise: give --count N alone.")
        if count is None:
            raise ConfigError(f"A '{name}' generator reads noise: say how many (--count 16).")
        if count < 1:
            raise ConfigError(f"count is {count}; it must be at least 1.")
        return [Job(i, f"{i:05d}.png") for i in range(count)]
    if count is not None:
        raise ConfigError(f"A '{name}' generator reads pictures, one for each: leave --count out.")
    if maps:
        return _of_maps(model, images, labels, instances)
    if labels or instances:
        raise ConfigError(f"A '{name}' generator reads photos: give --images alone.")
    if not images:
        raise ConfigError(f"A '{name}' generator reads photos: give them (--images DIR).")
    found = _found(images)
    outs = out_names(list(found), channels_of(model)[1])
    return [Job(i, outs[name], {"image": source}) for i, (name, source) in enumerate(found.items())]


def _of_maps(
    model: Model, images: Sequence[Path], labels: Path | None, instances: Path | None
) -> list[Job]:
    name, edges = model.family.name, bool(getattr(model.net, "edges", False))
    if images or labels is None:
        raise ConfigError(f"A '{name}' generator reads label maps: give --labels DIR alone.")
    if edges and instances is None:
        raise ConfigError(
            f"This '{name}' generator reads the edges of instances: give their maps, too "
            "(--instances DIR)."
        )
    if instances is not None and not edges:
        raise ConfigError(f"This '{name}' generator reads no instances: leave --instances out.")
    found = _found([labels])
    outs = out_names(list(found), channels_of(model)[1])
    others = _by_stem(_found([instances])) if instances else {}
    jobs = []
    for i, (file, source) in enumerate(found.items()):
        sources = {"labels": source}
        if instances is not None:
            if (stem := stem_of(file)) not in others:
                raise ImagesError(
                    f"{instances} has no instance map for '{file}'{did_you_mean(stem, others)}."
                )
            sources["instances"] = others[stem]
        jobs.append(Job(i, outs[file], sources))
    return jobs


def _found(paths: Sequence[Path]) -> dict[str, Source]:
    """The files by name; with several paths each name starts with its path's own."""
    found: dict[str, Source] = {}
    passed: list[tuple[Path, Passed]] = []
    for path in paths:
        is_one = path.is_file() and is_picture(path.name)
        at = Found(path, {path.name: File(str(path))}, Passed()) if is_one else sources_at(path)
        passed.append((path, at.passed))
        for name, source in at.sources.items():
            full = name if len(paths) == 1 or is_one else f"{path.stem}/{name}"
            if full in found:
                raise ImagesError(
                    f"Two of the given paths have a picture '{full}': run them one after the "
                    "other, into two folders."
                )
            found[full] = source
    report_passed(passed, strict=False)
    return found


def _by_stem(sources: Mapping[str, Source]) -> dict[str, Source]:
    return {stem_of(name): source for name, source in sources.items()}


def format_of(name: str, channels: int = 3) -> str | None:
    """The format of `KEPT` that a name's ending says, if Pillow can write it here and it keeps so
    many channels (2 and 4: with alpha); else None."""
    Image.init()
    kind = Image.registered_extensions().get(PurePosixPath(name).suffix.lower())
    able = TRANSPARENT if channels in (2, 4) else KEPT
    return kind if kind in able and kind in Image.SAVE else None


def out_names(names: Sequence[str], channels: int = 3) -> dict[str, str]:
    """The file that each picture is written to: its own name where its format is kept, else with
    the ending .png; the whole name and .png where that is another one's."""
    out = {name: name for name in names if format_of(name, channels)}
    taken = set(out.values())
    for name in names:
        if name in out:
            continue
        made = f"{stem_of(name)}.png"
        while made in taken:
            made = f"{name}.png" if made != f"{name}.png" else f"{made}.png"
        out[name] = made
        taken.add(made)
    return out
