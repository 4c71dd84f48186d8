"""The page as a folder: its scripts, the models as ONNX files, onnxruntime-web, sample pictures."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganpress import __version__
from ganpress.data import Images, open_images
from ganpress.data.batches import centred, covering
from ganpress.data.decode import decode
from ganpress.editing.direction_file import load_directions
from ganpress.editing.directions import Directions
from ganpress.errors import ConfigError, did_you_mean
from ganpress.models.inputs import channels_of, reads
from ganpress.run.files import copy_file, make_folder, read_object, write_file, write_json
from ganpress.types.sizes import Size
from ganpress.web.editable import directions_of, is_latent
from ganpress.web.entries import Wanted, entry, onnx_bytes, size_for
from ganpress.web.given import Given, open_given, unique_ids
from ganpress.web.inputs import KINDS
from ganpress.web.runtime import PACKAGE, WASM, WEBGPU, runtime_files

STATIC = Path(__file__).with_name("static")
SAMPLES = 8
"""Sample pictures of a page, at most."""
_NOT_SERVED = {"README.md"}
PARTS = ("models", "samples", "onnxruntime")
"""Folders of a page."""
_HEADERS = """/*
  Cross-Origin-Opener-Policy: same-origin
  Cross-Origin-Embedder-Policy: require-corp
  X-Content-Type-Options: nosniff
"""
"""For hosts that read a _headers file: what threads in WebAssembly need."""

Sample = tuple[str, NDArray[np.uint8]]
"""A picture's name, and its pixels, (h, w, channels)."""


@dataclass(frozen=True)
class Site:
    """What was written.

    Attributes:
        models: entries of models.json.
        bytes: of the folder; of these ``runtime_bytes`` are onnxruntime-web's.
        notes: what the user should know: a teacher that was not found.
    """

    folder: Path
    models: Sequence[Mapping[str, Any]]
    bytes: int
    runtime_bytes: int
    notes: Sequence[str] = ()


def site(
    models: Sequence[Path | str] | Path | str,
    out: Path | str,
    *,
    images: Sequence[Path] = (),
    side_by_side: str | None = None,
    size: Size | None = None,
    dynamic: bool = False,
    kind: str | None = None,
    classes: str | None = None,
    directions: Path | None = None,
    webgpu: bool = True,
    runtime: Path | None = None,
    overwrite: bool = False,
) -> Site:
    """Write a page that runs generators in the browser, as a folder that any static host serves.

    Args:
        models: ganpress models, folders of runs (teacher and student side by side), .onnx files of
            ganpress. The first two are shown first.
        out: the folder; a page that is there is replaced.
        images: pictures to choose from on the page; none: those of the runs.
        side_by_side: "AB" where the left half of each is the input, "BA" where the right one is.
        size: of the pictures, pixels; None: what each model was trained with.
        dynamic: leave height and width free, so that the page takes pictures of other sizes.
        kind: what opens first: "photo", "draw", "labels" or "latent"; None: found out from the
            model's card, or from the pictures.
        classes: names of the labels that are painted: "facades", "cityscapes", "coco-stuff", or a
            .json file of them.
        directions: edit directions of the first model; None: its principal components.
        webgpu: with the files for GPUs (27 MB more).
        runtime: the archive of onnxruntime-web's npm package; None: npm fetches it once.
        overwrite: also over a folder that holds other things.

    Raises: ConfigError, CheckpointError, ImagesError, ExportError, MissingExtra, DiskFull.
    """
    folder = Path(out)
    check_folder(folder, overwrite=overwrite)
    if kind is not None and kind not in KINDS:
        raise ConfigError(
            f"There is no input '{kind}'{did_you_mean(kind, KINDS)}: {', '.join(KINDS)}."
        )
    wanted = Wanted(size, dynamic, kind, classes)
    paths = [models] if isinstance(models, str | Path) else models
    given = open_given([Path(path) for path in paths])
    for one in given:
        size_for(one, size)  # refuses a size before any work
    files = runtime_files(runtime, webgpu=webgpu)
    chosen = open_images(list(images), side_by_side=side_by_side, single=True) if images else None
    pictures = _samples(given, chosen, wanted)
    edits = _directions(given, directions)
    before = _listed(make_folder(folder))
    entries = _write_models(folder, given, wanted, [p for _, p in pictures], edits)
    _copy(files, folder / "onnxruntime")
    _write_page(folder, entries, _write_samples(folder, pictures), webgpu=webgpu)
    _clear(folder, before)
    whole = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    of_runtime = sum(p.stat().st_size for p in files.values())
    return Site(folder, entries, whole, of_runtime, _notes(given))


def check_folder(folder: Path, *, overwrite: bool = False) -> None:
    """Refuse a folder that holds something else than a page. Raises: ConfigError."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file, where a folder is needed. Choose another path.")
    if overwrite or not folder.is_dir() or not any(folder.iterdir()):
        return
    if not is_page(folder):
        raise ConfigError(
            f"{folder} holds other files, and no page: choose a new folder, such as "
            f"{folder / 'site'}, or write into this one (--overwrite)."
        )


def is_page(folder: Path) -> bool:
    """Whether a folder holds a page that `site` wrote."""
    return (folder / "index.html").is_file() and bool(_listed(folder))


def _listed(folder: Path) -> Mapping[str, Any]:
    """The models.json of a page, {} where there is none, or another program's."""
    try:
        found = read_object(folder / "models.json")
    except ConfigError:
        return {}
    ours = {"ganpress", "models", "samples"} <= found.keys()
    return found if ours else {}


def _files(page: Mapping[str, Any]) -> set[str]:
    """The models, samples and runtime that a page's models.json names."""
    listed = (*page.get("models", ()), *page.get("samples", ()))
    names = {str(one.get("file")) for one in listed if isinstance(one, Mapping)}
    runtime = page.get("onnxruntime")
    has_webgpu = not isinstance(runtime, Mapping) or runtime.get("webgpu")
    return names | {f"onnxruntime/{name}" for name in (*WASM, *(WEBGPU if has_webgpu else ()))}


def _clear(folder: Path, before: Mapping[str, Any]) -> None:
    """Take away the files of the page of before that the one there does not have; no others."""
    for name in (_files(before) if before else set()) - _files(_listed(folder)):
        path = folder / name
        if path.parent.parent == folder and path.parent.name in PARTS:
            path.unlink(missing_ok=True)
    for part in PARTS:
        with suppress(OSError):  # there are other files in it, or it is not there
            (folder / part).rmdir()


def _directions(given: Sequence[Given], file: Path | None) -> dict[int, Directions]:
    """By number of the model: the directions of those that can be edited."""
    latent = [k for k, one in enumerate(given) if one.data is None and is_latent(one.model)]
    if not latent:
        if file is not None:
            raise ConfigError(
                "None of the models has a latent code to edit: leave --directions out."
            )
        return {}
    nets = [given[k].model for k in latent]
    loaded = load_directions(file, nets[0]) if file is not None else None
    return dict(zip(latent, directions_of(nets, loaded), strict=True))


def _write_models(
    folder: Path,
    given: Sequence[Given],
    wanted: Wanted,
    samples: Sequence[NDArray[np.uint8]],
    edits: Mapping[int, Directions],
) -> list[dict[str, Any]]:
    entries = []
    make_folder(folder / "models")
    for k, (one, name) in enumerate(zip(given, unique_ids([g.title for g in given]), strict=True)):
        data = onnx_bytes(one, wanted, edits.get(k))
        file = f"models/{name}-{hashlib.sha256(data).hexdigest()[:8]}.onnx"
        write_file(folder / file, data)
        facts = entry(one, data, wanted, samples, edits.get(k))
        entries.append({"id": name, "file": file, **facts})
    return entries


def _samples(given: Sequence[Given], images: Images | None, wanted: Wanted) -> list[Sample]:
    """Pictures of just the size that the first model that reads pictures takes."""
    first = next((one for one in given if "image" in reads(one.model)), None)
    if first is None:
        if images is not None:
            raise ConfigError("None of the models reads pictures: leave --images out.")
        return []
    channels = channels_of(first.model)[0]
    if images is None:
        found = next((one.samples for one in given if one.samples), ())
        stored = [(p.stem.removesuffix("_photo"), p.read_bytes(), p.name) for p in found[:SAMPLES]]
        return [(name, decode(data, file, channels)) for name, data, file in stored]
    chosen = images.with_channels(channels, channels)
    step = max(1, len(chosen) // SAMPLES)
    size = size_for(first, wanted.size)
    made = []
    for index in range(0, len(chosen), step)[:SAMPLES]:
        pixels: NDArray[np.uint8] = np.asarray(chosen.read(index)[0], np.uint8)
        (planes,) = centred(covering([pixels], size), size)
        made.append(
            (chosen.names[index], np.ascontiguousarray(planes.transpose(1, 2, 0), np.uint8))
        )
    return made


def _write_samples(folder: Path, pictures: Sequence[Sample]) -> list[dict[str, str]]:
    """PNG files, without loss, so that what the page reads is what Python reads."""
    if pictures:
        make_folder(folder / "samples")
    shown = []
    for k, (name, pixels) in enumerate(pictures):
        file = f"samples/{k}.png"
        data = io.BytesIO()
        Image.fromarray(pixels if pixels.shape[2] > 1 else pixels[:, :, 0]).save(data, "PNG")
        write_file(folder / file, data.getvalue())
        shown.append({"file": file, "name": Path(name).stem})
    return shown


def _write_page(
    folder: Path, entries: Sequence[Mapping[str, Any]], samples: object, *, webgpu: bool
) -> None:
    """The page's own files, and last what says that it is whole."""
    for path in sorted(STATIC.iterdir()):
        if path.name not in _NOT_SERVED and path.is_file():
            copy_file(path, folder / path.name)
    write_file(folder / "_headers", _HEADERS.encode())
    listed = {
        "format": 1,
        "ganpress": __version__,
        "onnxruntime": {"version": PACKAGE.version, "webgpu": webgpu},
        "models": entries,
        "samples": samples,
    }
    write_json(folder / "models.json", listed)


def _copy(files: Mapping[str, Path], folder: Path) -> None:
    make_folder(folder)
    for name, path in files.items():
        copy_file(path, folder / name)


def _notes(given: Sequence[Given]) -> list[str]:
    roles = [one.role for one in given]
    if "student" in roles and "teacher" not in roles:
        return [
            "The student's teacher is not where its run says: give the teacher's file as well to "
            "see both side by side."
        ]
    return []
