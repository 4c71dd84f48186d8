"""A generator that is ready to run: in torch, or its exported file by onnxruntime or OpenVINO.

An exported file says in its metadata what network it is; that network, without weights, then says
what the file reads and what sizes it takes.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganpress.errors import CheckpointError, ConfigError, GanpressError
from ganpress.formats.exporters.byte_door import as_bytes, from_bytes
from ganpress.formats.runtimes import Opened, is_exported, open_file
from ganpress.models.checkpoint import Model, digest, load
from ganpress.models.device import check_device
from ganpress.models.families import FAMILIES
from ganpress.models.inputs import GIVEN
from ganpress.run.hub.fetch import local_file
from ganpress.types import Inputs
from ganpress.types.sizes import Size, as_size


@dataclass(frozen=True)
class Program:
    """What makes pictures of the inputs that ``model`` reads.

    Attributes:
        name: of its file, for messages.
        model: what it reads and what sizes it takes; of an exported file without weights.
        run: inputs on the CPU -> (n, c, h, w) float32 on the CPU, about [-1, 1].
        digest: a hash of its weights, or of its file.
        is_torch: whether `model` has its weights.
        size: the only size that an exported file takes, None where it takes others.
        batch: the only number of pictures that it takes at a time, None where it takes any.
    """

    name: str
    model: Model
    run: Callable[[Inputs], Tensor]
    digest: str
    is_torch: bool = True
    size: Size | None = None
    batch: int | None = None

    def __call__(self, inputs: Inputs) -> Tensor:
        """The pictures; a file of one batch size is given repeated rows, whose pictures go."""
        n = len(inputs[0])
        if self.batch is None or n == self.batch:
            return self.run(inputs)
        rows = torch.arange(self.batch).clamp_max(n - 1)
        return self.run(tuple(t[rows] for t in inputs))[:n]

    def truncated(self, psi: float) -> Program:
        """The same with the styles moved towards their mean: psi 1 changes nothing.

        Raises: ConfigError where the family has no truncation, or the styles are inside a file.
        """
        net: Any = self.model.net
        if not hasattr(net, "truncate"):
            raise ConfigError(
                f"A '{self.model.family.name}' generator has no truncation: leave --truncation out."
            )
        if not self.is_torch:
            raise ConfigError(
                f"{self.name} makes its styles inside: --truncation works with the ganpress model "
                "(.safetensors) that it was exported from."
            )
        mean = net.mean_w(generator=torch.Generator().manual_seed(0))

        def run(inputs: Inputs) -> Tensor:
            z, *noise = (t.to(mean.device) for t in inputs)
            with torch.no_grad():
                made: Tensor = net.synthesis(net.truncate(net.mapping(z), mean, psi), *noise)
            return made.float().cpu()

        return replace(self, run=run)


def open_program(model: Model | Path | str, device: str = "cpu") -> Program:
    """A model, its file (.safetensors), or an exported one (.onnx, .xml), ready to run; a file on
    disk or on the hub (hub:owner/name/model.onnx).

    Raises: ConfigError, CheckpointError, MissingExtra, HubError.
    """
    check_device(device)
    if isinstance(model, Model):
        return _of_model(model, device, "the model", digest(model))
    path = local_file(model)
    if path.suffix.lower() == ".bin" and path.with_suffix(".xml").is_file():
        raise CheckpointError(f"{path} holds weights alone: give {path.with_suffix('.xml')}.")
    if not is_exported(path) or not path.is_file():
        given = load(path)
        return _of_model(given, device, path.name, _hash(path))
    if device != "cpu":
        raise ConfigError(f"{path} runs on the CPU here: leave --device out.")
    return _exported(path, open_file(path))


def _hash(*paths: Path) -> str:
    found = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    return found.hexdigest()


def _of_model(model: Model, device: str, name: str, digest: str) -> Program:
    if next(model.net.parameters()).device.type != torch.device(device).type:
        model = replace(model, net=copy.deepcopy(model.net).to(device))  # the caller's stays

    def run(inputs: Inputs) -> Tensor:
        return model(*(t.to(device) for t in inputs)).float().cpu()

    return Program(name, model, run, digest)


def _exported(path: Path, opened: Opened) -> Program:
    """An exported file as a program, with the network that its metadata describe."""
    model = _skeleton(path, opened.described)
    names: tuple[str, ...] = getattr(model.net, "reads", ("image",))
    shapes = {name: port.dims for name, port in opened.inputs.items()}
    if set(names) != set(shapes):
        raise CheckpointError(
            f"{path} reads {', '.join(shapes)}, but a '{model.family.name}' generator reads "
            f"{', '.join(names)}. Export it again with 'ganpress export'."
        )
    first = shapes[names[0]]
    by_bytes = {n for n, port in opened.inputs.items() if port.dtype == "uint8"}
    seen = [shapes[n][1:3] if n in by_bytes else shapes[n][2:] for n in GIVEN if n in names]
    fixed = None
    for height, width in seen:
        if (height is None) != (width is None):
            raise CheckpointError(
                f"{path} has one side of its pictures fixed and one free: export it again."
            )
        if height is not None and width is not None:
            fixed = as_size((height, width))

    def call(inputs: Inputs) -> Tensor:
        arrays = (
            (as_bytes(t) if name in by_bytes else t.contiguous()).numpy()
            for name, t in zip(names, inputs, strict=True)
        )
        made = torch.from_numpy(
            next(iter(opened.run(dict(zip(names, arrays, strict=True))).values()))
        )
        return from_bytes(made) if made.dtype == torch.uint8 else made

    files = [path, path.with_suffix(".bin")] if opened.runtime == "openvino" else [path]
    return Program(path.name, model, call, _hash(*files), False, fixed, first[0])


def _skeleton(path: Path, described: Mapping[str, str]) -> Model:
    """The network that a file's metadata describe, on the meta device. Raises: CheckpointError."""
    if described.get("producer") != "ganpress" or "family" not in described:
        raise CheckpointError(
            f"{path} was not exported by ganpress: it does not say what it reads and in what "
            "range. Import the generator's checkpoint ('ganpress import') and run that."
        )
    name = described["family"]
    try:
        family = FAMILIES[name]
        options = family.resolve(json.loads(described["options"]))
        with torch.device("meta"):
            net = family.build(json.loads(described["widths"]), **options).eval()
    except (KeyError, ValueError, TypeError, GanpressError) as error:
        raise CheckpointError(
            f"{path} describes a '{name}' generator that this version does not know ({error}). "
            "Export it again with 'ganpress export'."
        ) from error
    return Model(net, family, options)
