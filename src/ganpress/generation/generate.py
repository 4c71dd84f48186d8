"""The pictures of a generator as files, in one call."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganpress.data.endings import is_picture
from ganpress.data.sources import File, pixels_of
from ganpress.errors import ConfigError
from ganpress.generation.jobs import jobs_of
from ganpress.generation.pipeline import Generated, Plan, make
from ganpress.generation.prepare import seed_of
from ganpress.generation.program import Program, open_program
from ganpress.generation.record import open_record
from ganpress.models.checkpoint import Model
from ganpress.models.families.base import draw_inputs
from ganpress.models.inputs import channels_of, from_noise, reads
from ganpress.nn.modes import in_eval
from ganpress.types.sizes import Size, as_size, words


def generate(
    model: Model | Path | str,
    out: Path | str,
    *,
    images: Path | str | Sequence[Path | str] = (),
    labels: Path | str | None = None,
    instances: Path | str | None = None,
    count: int | None = None,
    seed: int | None = None,
    style: Path | str | None = None,
    truncation: float | None = None,
    label: int | None = None,
    size: Size | None = None,
    batch: int | None = None,
    threads: int | None = None,
    workers: int | None = None,
    device: str = "cpu",
    quality: int = 95,
    overwrite: bool = False,
    strict: bool = False,
    quiet: bool = False,
) -> Generated:
    """Write the pictures that a generator makes into a folder, under the names of what it reads.

    Pictures that this call made before are kept: stopped, it goes on where it was. Formats are
    kept, too, but PNG stands for those that Pillow cannot write and for GIF. Pictures of a size
    that the network does not take are padded by reflection, and the result is cropped back.

    Args:
        model: a model or its file, or an exported one (.onnx, .xml).
        out: the folder to write to.
        images: photos: a picture, a folder (searched to the bottom), an .npz pack, or several.
        labels, instances: folders of maps, for families that read those.
        count: how many pictures to make of noise.
        seed: of noise, and of the one style of all pictures (default 0).
        style: a picture whose style all take, for families with a style encoder.
        truncation: psi of StyleGAN2: 1 changes nothing, 0 is the mean picture.
        label: the class of all pictures, for networks with classes; default: random ones.
        size: resize (bicubic, antialiased) and crop what is read to this first, pixels.
        batch: pictures at a time, of equal size; default: 1 on a CPU.
        threads: of the network on a CPU. workers: threads that decode and encode.
        quality: of JPEG, WebP and AVIF, 1 to 100.
        overwrite: also over files of another origin.
        strict: end at the first picture that cannot be read, instead of leaving it out.

    Raises: ConfigError, ImagesError, CheckpointError, MissingExtra, DiskFull; Interrupted by SIGINT
        and SIGTERM, when what was begun is written.
    """
    whole = {
        "seed": (seed, 0),
        "batch": (batch, 1),
        "threads": (threads, 1),
        "workers": (workers, 1),
    }
    for name, (value, least) in whole.items():
        if value is not None and value < least:
            raise ConfigError(f"{name} is {value}; it must be at least {least}.")
    if not 1 <= quality <= 100:
        raise ConfigError(f"quality is {quality}; it must be from 1 to 100.")
    if threads is not None:
        torch.set_num_threads(threads)
    program = open_program(model, device)
    given = [Path(images)] if isinstance(images, (str, Path)) else [Path(p) for p in images]
    maps = [None if p is None else Path(p) for p in (labels, instances)]
    _check_folder(Path(out), [p for p in (*given, *maps) if p is not None])
    size = _size_of(program, size)
    shared = _shared(program, seed, style)
    _check_class(program.model, label)
    jobs = jobs_of(program.model, given, maps[0], maps[1], count)
    if truncation is not None:
        program = program.truncated(truncation)
    settings = {
        "model": program.digest,
        "sources": [str(p.resolve()) for p in (*given, *maps) if p is not None],
        "seed": seed or 0,
        "style": [round(float(v), 6) for t in shared.values() for v in t.flatten()],
        "truncation": truncation,
        "class": label,
        "size": size,
        "quality": quality,
    }
    record = open_record(Path(out), settings, [job.out for job in jobs], overwrite=overwrite)
    plan = Plan(
        program,
        size,
        seed or 0,
        label,
        shared,
        batch,
        workers or min(4, _cores()),
        quality,
        strict,
        quiet,
        device,
    )
    return make(plan, [job for job in jobs if job.out not in record.made], record)


def _cores() -> int:
    granted = getattr(os, "sched_getaffinity", None)
    return len(granted(0)) if granted else os.cpu_count() or 1


def _check_folder(out: Path, sources: Sequence[Path]) -> None:
    """Refuse a folder whose pictures would be read as photos by the next call."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file: give a folder for the pictures (-o DIR).")
    if not out.exists() and is_picture(out.name):
        raise ConfigError(
            f"{out} has the ending of a picture: -o is the folder for the pictures, which keep "
            f"their names. Give a folder, such as {out.with_suffix('')}."
        )
    here = out.resolve()
    for source in sources:
        if source.is_dir() and (here == source.resolve() or source.resolve() in here.parents):
            raise ConfigError(
                f"{out} is inside of {source}, so that the made pictures would be read as its "
                "pictures: choose a folder elsewhere (-o DIR)."
            )
        if source.is_file() and here == source.resolve().parent:
            raise ConfigError(
                f"{out} is the folder of {source.name} itself: choose another one (-o DIR)."
            )


def _size_of(program: Program, size: Size | None) -> Size | None:
    """The size to bring everything to first; None: each picture has its own."""
    model = program.model
    if model.is_fixed:
        model.resolve_size(size)
        return None
    asked = None if size is None else as_size(size)
    if program.size is None:
        return asked
    if asked not in (None, program.size):
        raise ConfigError(
            f"The size is {words(as_size(asked))}, but {program.name} was exported for pictures of "
            f"{words(program.size)}: leave the size out."
        )
    return program.size


def _shared(program: Program, seed: int | None, style: Path | str | None) -> dict[str, Tensor]:
    """The inputs beside pictures, the same for all, by name; (1, ...) each."""
    model = program.model
    names = (
        [] if from_noise(model) else [n for n in reads(model) if n not in ("image", "semantics")]
    )
    if style is not None and "style" not in names:
        raise ConfigError(f"A '{model.family.name}' generator reads no style: leave --style out.")
    if seed is not None and not names and not from_noise(model):
        raise ConfigError(f"A '{model.family.name}' generator draws nothing: leave --seed out.")
    if seed is not None and style is not None:
        raise ConfigError("The style comes from --style or is drawn by --seed: give only one.")
    if style is None:
        draw = torch.Generator().manual_seed(seed_of(seed or 0, 0))
        drawn = zip(reads(model), draw_inputs(model.net, 1, model.min_size, draw), strict=True)
        return {name: value for name, value in drawn if name in names}
    return {"style": _style_of(program, Path(style))}


def _style_of(program: Program, path: Path) -> Tensor:
    """The style of a picture, (1, style_dim). Raises: ConfigError (no encoder), ImagesError."""
    net: Any = program.model.net
    if not program.is_torch:
        raise ConfigError(
            f"{program.name} has no style encoder: --style works with the ganpress model "
            "(.safetensors) that it was exported from; --seed draws a style."
        )
    if getattr(net, "style", None) is None:
        raise ConfigError("This generator has no style encoder: draw a style (--seed 0).")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's
        pixels = torch.from_numpy(pixels_of(File(str(path)), channels_of(net)[1]))
    picture = pixels.permute(2, 0, 1)[None].float() / 127.5 - 1
    low = [max(0, 16 - side) for side in picture.shape[2:]]
    picture = torch.nn.functional.pad(picture, (0, low[1], 0, low[0]), mode="replicate")
    with torch.no_grad(), in_eval(net):
        code: Tensor = net.encode_style(picture.to(next(net.parameters()).device))
    return code.flatten(1).cpu()


def _check_class(model: Model, label: int | None) -> None:
    if label is None:
        return
    count = int(getattr(model.net, "classes", 0)) if "y" in reads(model) else 0
    if not count:
        raise ConfigError(
            f"This '{model.family.name}' generator has no classes: leave --class out."
        )
    if not 0 <= label < count:
        raise ConfigError(f"The class is {label}: this generator has {count}, 0 to {count - 1}.")
