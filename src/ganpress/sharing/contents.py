"""The files of a push: model, card as JSON, ONNX file, README.md, results, a sample picture."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps

from ganpress.errors import CheckpointError, ExportError, ImagesError, MissingExtra
from ganpress.formats.exporters import export
from ganpress.formats.exporters.form import Form
from ganpress.formats.runtimes import open_file
from ganpress.models.checkpoint import Model
from ganpress.models.families.base import draw_inputs
from ganpress.models.inputs import GIVEN, from_noise, reads
from ganpress.report.pictures import open_picture
from ganpress.run.files import replace_file, write_file, write_json
from ganpress.run.grid import grid
from ganpress.run.progress import say
from ganpress.sharing.model_card import model_card
from ganpress.sharing.private import copy_without_paths
from ganpress.sharing.source import PICTURES, Source
from ganpress.sharing.terms import Given, Terms
from ganpress.types.sizes import as_size

NAMES = ("model", "model-A2B", "model-B2A")
OWN = (
    "README.md", "results.json", "samples.png", "samples.jpg",
    *(f"{name}{ending}" for name in NAMES for ending in (".safetensors", ".json", ".onnx")),
)  # fmt: skip
"""Names of the files that a push can have: those of an earlier one that this lacks are removed."""
_ROWS = 4
_GAP = 2
_SPACES = {"L": b"GRAY", "LA": b"GRAY", "RGB": b"RGB ", "RGBA": b"RGB "}
"""By Pillow's mode: what a fitting ICC profile says at its bytes 16 to 19."""
_KINDS = ("photo", "teacher", "student")


def write_contents(
    source: Source,
    folder: Path,
    *,
    repo: str,
    given: Given,
    picture: Path | None,
    onnx: bool,
    quiet: bool,
) -> Terms:
    """Put everything that is pushed into an empty folder; gives the terms that the card states.

    Nothing of it has a path of this machine, which the settings of a run can hold.

    Args: picture: to show; None: the run's samples, the picture beside the file, or made from
        noise. onnx: whether ONNX files are among them.
    """
    shown = _write_picture(source, folder, picture)
    for name, path in source.files.items():
        model = source.models[name]
        copy_without_paths(path, folder / f"{name}.safetensors")
        write_json(folder / f"{name}.json", model.card())
        if onnx:
            _write_onnx(source, model, folder / f"{name}.onnx", quiet=quiet)
    if source.run is not None and source.run.results:
        write_json(folder / "results.json", source.run.results)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    card = model_card(source, repo=repo, given=given, files=sizes, picture=shown)
    write_file(folder / "README.md", card.text.encode())
    return card.terms


def _write_onnx(source: Source, model: Model, target: Path, *, quiet: bool) -> None:
    """The network as ONNX, checked against torch; of a run in the form of the file that it left,
    whose latency its results have. Where there can be none, a warning says why."""
    say("exporting to ONNX and checking it", quiet=quiet)
    try:
        export(model, target, form=form_of(model, source.onnx) if source.onnx else None)
    except (MissingExtra, ExportError, CheckpointError) as error:
        warnings.warn(f"No ONNX file is shared: {error}", stacklevel=2)


def form_of(model: Model, file: Path) -> Form:
    """The shapes that an exported file of this model takes."""
    with open_file(file) as opened:
        dims = {name: port.dims for name, port in opened.inputs.items() if name in reads(model)}
    batches = {shape[0] for shape in dims.values()}
    if None in batches or any(None in shape for shape in dims.values()):
        return Form(model.size, dynamic=True)
    sides = [dims[name][2:] for name in GIVEN if name in dims]
    size = as_size(sides[0]) if sides else model.size
    return Form(size, batch=int(next(iter(batches), None) or 1))


def _write_picture(source: Source, folder: Path, given: Path | None) -> str | None:
    """The sample picture in the folder, and its name; None where there is nothing to show."""
    whole = given or source.picture
    if source.run is not None and whole is None:
        trained = sorted((source.run.root / "samples").glob("teacher*.png"))
        whole = trained[0] if trained and not source.is_compressed else None
    if whole is not None:
        if whole.suffix.lower() not in PICTURES:
            raise ImagesError(f"{whole} is neither a .png nor a .jpg file: give one of these.")
        name = "samples.png" if whole.suffix.lower() == ".png" else "samples.jpg"
        _copy_picture(whole, folder / name)
        return name
    made = _sample_rows(source) or _made_from_noise(source.first)
    if made is not None:
        replace_file(folder / "samples.png", partial(made.save, format="PNG"))
    return "samples.png" if made is not None else None


def _copy_picture(source: Path, target: Path) -> None:
    """The picture, upright, and nothing else that its file says: no place, no camera, no names."""
    picture = ImageOps.exif_transpose(open_picture(source))
    profile = picture.info.get("icc_profile")
    picture.info.clear()
    if target.suffix != ".png":
        picture = picture.convert("RGB")
    if profile is not None and profile[16:20] != _SPACES[picture.mode]:
        profile = None  # of CMYK or grey, which the picture no longer is
    if target.suffix == ".png":
        picture.save(target, "PNG", icc_profile=profile)
    else:
        picture.save(target, "JPEG", quality=95, subsampling=0, icc_profile=profile)


def _sample_rows(source: Source) -> Image.Image | None:
    """Photo, teacher and student of the first samples of a run, a row each."""
    samples = source.run.samples if source.run else {}
    rows = [
        [open_picture(row[kind]) for kind in _KINDS if kind in row]
        for row in list(samples.values())[:_ROWS]
    ]
    if not rows:
        return None
    width = max(sum(p.width + _GAP for p in row) for row in rows) - _GAP
    height = sum(max(p.height for p in row) + _GAP for row in rows) - _GAP
    canvas, top = Image.new("RGB", (width, height), "white"), 0
    for row in rows:
        left = 0
        for picture in row:
            shown = picture.convert("RGBA")  # what is transparent lets the white through
            canvas.paste(shown, (left, top), shown)
            left += picture.width + _GAP
        top += max(p.height for p in row) + _GAP
    return canvas


def _made_from_noise(model: Model) -> Image.Image | None:
    """Eight pictures of a generator that reads noise alone."""
    if not from_noise(model):
        return None
    inputs: Any = draw_inputs(model.net, 8, model.size, torch.Generator().manual_seed(0))
    return Image.fromarray(grid(model(*inputs), columns=4))
