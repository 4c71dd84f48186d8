"""What is timed: each model in each runtime and precision, as a file and the inputs for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganpress.errors import ConfigError, ExportError, MissingExtra, require
from ganpress.formats.runtimes import ENDINGS, is_exported
from ganpress.measures.files import cost
from ganpress.measures.files.feeds import FLAG, Dims, draw_feeds
from ganpress.measures.timing.device import has_bfloat
from ganpress.measures.timing.exports import exported_file
from ganpress.measures.timing.precisions import ABLE, PACKAGES, RUNTIMES
from ganpress.measures.timing.task import Task
from ganpress.models.checkpoint import Model, load, save
from ganpress.models.families.base import draw_inputs
from ganpress.quantisation.quantise import quantiser_of
from ganpress.types.sizes import Size

USUAL = tuple(name for name in RUNTIMES if name != "compile")
"""Runtimes that are timed where none is named, those of them that are installed."""
FP32 = "fp32"


@dataclass(frozen=True)
class Candidate:
    """One thing that is timed.

    Attributes:
        model: as it was named. precision: see `precisions`.
        path: what the process runs. bytes: of it on disk.
        feeds: an .npz of the inputs, in the order of ``dims``.
        batch: pictures in a pass.
        note: what has to be known beside the numbers, or "".
    """

    model: str
    runtime: str
    precision: str
    path: Path
    bytes: int
    feeds: Path
    dims: Mapping[str, Dims]
    batch: int
    note: str = ""

    def task(self, threads: int) -> Task:
        """What its process is given."""
        return Task(
            runtime=self.runtime,
            path=str(self.path),
            precision=self.precision,
            threads=threads,
            feeds=str(self.feeds),
            names=tuple(self.dims),
        )


@dataclass(frozen=True)
class Left:
    """A candidate that was asked for and cannot be timed, and why."""

    model: str
    runtime: str
    precision: str
    reason: str


@dataclass(frozen=True)
class Asked:
    """What a user asked to be timed.

    Attributes:
        runtimes, precisions: None: those that are here; fp32, a student's own 8 bits, and bfloat16
            in OpenVINO where the processor has it.
        size, batch: of the pictures; None: each model's own, and 1.
        dims: of a foreign file's inputs, by name.
        folder: for what is only of this run.
        floats: of the usual precisions only those without integers.
    """

    runtimes: Sequence[str] | None
    precisions: Sequence[str] | None
    size: Size | None
    batch: int | None
    dims: Mapping[str, Dims]
    folder: Path
    seed: int = 0
    floats: bool = False


def candidates_of(
    models: Mapping[str, Model | Path], asked: Asked
) -> tuple[list[Candidate], list[Left]]:
    """All that can be timed, in the order of models, runtimes and precisions, and what cannot.

    Raises: ConfigError, CheckpointError, MissingExtra for what holds for a whole model, or for a
        runtime that was named.
    """
    check_inputs(models, asked)
    for runtime in asked.runtimes or ():
        require(f"The runtime '{runtime}'", PACKAGES[runtime])
    found: list[Candidate] = []
    left: list[Left] = []
    for number, (name, given) in enumerate(models.items()):
        at = asked.folder / f"{number}"
        at.mkdir(parents=True, exist_ok=True)
        if isinstance(given, Path) and is_exported(given):
            some = of_file(name, given, asked, at)
        else:
            some = of_model(name, given if isinstance(given, Model) else load(given), asked, at)
        found += [one for one in some if isinstance(one, Candidate)]
        left += [one for one in some if isinstance(one, Left)]
    return found, left


def check_inputs(models: Mapping[str, Model | Path], asked: Asked) -> None:
    """Refuse dims that are given for inputs where no exported file is: ConfigError."""
    if asked.dims and not any(isinstance(m, Path) and is_exported(m) for m in models.values()):
        raise ConfigError(
            f"{FLAG} is for .onnx and .xml files: of a ganpress model say --size and --batch."
        )


def _runtimes(asked: Asked) -> list[str]:
    if asked.runtimes:
        return list(asked.runtimes)
    return [name for name in USUAL if find_spec(PACKAGES[name]) is not None]


def of_model(name: str, model: Model, asked: Asked, at: Path) -> list[Candidate | Left]:
    """A ganpress model in each runtime and precision. Args: at: a folder of its own."""
    size, batch = model.resolve_size(asked.size), asked.batch or 1
    names = getattr(model.net, "reads", ("image",))
    inputs = draw_inputs(model.net, batch, size, torch.Generator().manual_seed(asked.seed))
    feeds = _write_feeds(at, [t.numpy() for t in inputs])
    dims = {n: tuple(t.shape) for n, t in zip(names, inputs, strict=True)}
    own = None
    out: list[Candidate | Left] = []
    for runtime in _runtimes(asked):
        for precision in _precisions(model, runtime, asked):
            try:
                if runtime in ("torch", "compile"):
                    own = own or save(model, at / "model.safetensors")
                    path, note = own, ""
                else:
                    path, note = exported_file(model, runtime, precision, size, batch)
            except (ExportError, ConfigError, MissingExtra) as error:
                out.append(Left(name, runtime, precision, str(error)))
                continue
            out.append(
                Candidate(
                    name, runtime, precision, path, cost.file_bytes(path), feeds, dims, batch, note
                )
            )
    return out


def _precisions(model: Model, runtime: str, asked: Asked) -> list[str]:
    if asked.precisions:
        return [p for p in asked.precisions if p in ABLE[runtime]]
    is_8_bit = quantiser_of(model.net) is not None and not asked.floats
    usual = [FP32]
    if runtime == "openvino" and has_bfloat():
        usual.append("bf16")
    if is_8_bit and "int8" in ABLE[runtime]:
        usual.append("int8")
    return usual


def of_file(name: str, path: Path, asked: Asked, at: Path) -> list[Candidate | Left]:
    """An exported file in the runtimes that take it: as it is, and in what else these can do.

    Args: at: a folder of its own.
    """
    read = cost.read_file(path, size=asked.size, batch=asked.batch, given=_own(asked, path))
    own = cost.precision_of(path)
    arrays = draw_feeds(read.inputs, read.dims, asked.seed, where=str(path))
    feeds = _write_feeds(at, list(arrays.values()))
    out: list[Candidate | Left] = []
    for runtime in _runtimes(asked):
        if runtime not in ENDINGS[path.suffix.lower()]:
            if asked.runtimes:
                reason = f"{path.name} is a file for {' or '.join(ENDINGS[path.suffix.lower()])}."
                out.append(Left(name, runtime, own, reason))
            continue
        can = _of_precision(runtime, own)
        wanted = asked.precisions or [own]
        for precision in wanted:
            if precision not in can:
                reason = (
                    f"{path.name} is {own}, which {runtime} runs as {' or '.join(can)}: give the "
                    "model it was exported from, or that file."
                )
                out.append(Left(name, runtime, precision, reason))
                continue
            out.append(
                Candidate(
                    name, runtime, precision, path, cost.file_bytes(path), feeds, read.dims,
                    read.batch, read.assumed,
                )
            )  # fmt: skip
    return out


def _of_precision(runtime: str, own: str) -> tuple[str, ...]:
    """What a runtime can compute in, given a file of this precision."""
    if runtime != "openvino":
        return (own,)
    return ("int8", "int8+bf16") if own == "int8" else ("fp32", "bf16", "fp16")


def _own(asked: Asked, path: Path) -> Mapping[str, Dims]:
    """The dims given that are for this file's inputs; all, where none of them fits any."""
    from ganpress.formats.runtimes import open_file

    if not asked.dims:
        return {}
    with open_file(path, threads=1) as opened:
        fitting = {name: dims for name, dims in asked.dims.items() if name in opened.inputs}
    return fitting or asked.dims


def _write_feeds(at: Path, arrays: list[Any]) -> Path:
    file = at / "feeds.npz"
    np.savez(file, *arrays)
    return file
