"""torch.export programs (.pt2): a file that torch alone loads and runs, without ganpress.

    program = torch.export.load("student.pt2").module()
    picture = program(x)

What the file reads and makes is in `described_in(path)`, the JSON `ganpress.json` of its
`extra_files`. A fake-quantised network keeps its int8 levels and makes torch's picture of them; its
arithmetic is float32, so it is for torch's own compilers and for servers, not for speed in 8 bits.
With "fp16" and "bf16" weights are stored in half the bytes and computed with in float32; where a
device computes faster in those types, torch.autocast does so.
"""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganpress.errors import ExportError
from ganpress.formats.exporters.byte_door import PICTURES, as_bytes, from_bytes
from ganpress.formats.exporters.described import describe, described_inputs
from ganpress.formats.exporters.form import OUTPUT, Form, Job
from ganpress.formats.exporters.parity import check_seen, write_parity
from ganpress.formats.exporters.quantiser import TorchQuantiser, use_export_quantisers
from ganpress.formats.exporters.trace import arguments, in_form
from ganpress.formats.exporters.verify import FLOAT_MAX, ExportFacts, compare_program
from ganpress.formats.runtimes import Opened
from ganpress.formats.runtimes.base import Arrays, Port
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import reads
from ganpress.run.files import make_folder, write_file

SUFFIX = ".pt2"
DESCRIBED = "ganpress.json"
"""The name of the metadata among a program's extra files."""
STORED = {"fp16": torch.float16, "bf16": torch.bfloat16}


class Door(nn.Module):
    """A network between its doors: weights as they are stored, pictures as they are given.

    Args:
        names: of what the network reads, in order.
        bytes_io: pictures are (n, h, w, c) uint8 outside.
        stored: the type of the weights; None: float32.
    """

    def __init__(
        self, net: nn.Module, names: tuple[str, ...], *, bytes_io: bool, stored: torch.dtype | None
    ) -> None:
        super().__init__()
        self.net, self.names, self.bytes_io = net, names, bytes_io
        self.floats = () if stored is None else _narrowed(net, stored)

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the network reads -> its picture, (n, c, h, w) in [-1, 1], or bytes."""
        if self.bytes_io:
            inputs = tuple(
                from_bytes(x) if name in PICTURES else x
                for name, x in zip(self.names, inputs, strict=True)
            )
        wide = {name: self.net.get_parameter(name).to(torch.float32) for name in self.floats}
        made: Tensor = torch.func.functional_call(self.net, wide, inputs)
        return as_bytes(made) if self.bytes_io else made


def _narrowed(net: nn.Module, stored: torch.dtype) -> tuple[str, ...]:
    """Store weights of two or more dims in this type, in place; their names."""
    names = tuple(n for n, p in net.named_parameters() if p.ndim > 1 and p.is_floating_point())
    for name in names:
        parameter = net.get_parameter(name)
        parameter.data = parameter.data.to(stored)
    return names


def export_program(job: Job) -> ExportFacts:
    """Write a .pt2; errors as in `ganpress.export`."""
    model, form, path = job.model, job.form, job.path
    plain = in_form(model, form)
    data = program_bytes(model, form)
    opened = open_program_bytes(data, plain, form)

    def run(*inputs: Tensor) -> Tensor:
        named = dict(zip(reads(plain), inputs, strict=True))
        if form.bytes_io:
            named = {n: as_bytes(x) if n in PICTURES else x for n, x in named.items()}
        made = torch.from_numpy(opened.run({n: x.numpy() for n, x in named.items()})[OUTPUT])
        return from_bytes(made) if form.bytes_io else made

    found = compare_program(plain, run, form)
    parity = check_seen(job, plain, lambda: opened, FLOAT_MAX, FLOAT_MAX)
    make_folder(path.parent)
    write_file(path, data)
    return ExportFacts(
        path, len(data), found.most, found.mean, found.sizes, None, found.near,
        parity=write_parity(job, parity, data),
    )  # fmt: skip


def program_bytes(model: Model, form: Form) -> bytes:
    """The .pt2 file of a model in this form, metadata included. Raises: ExportError where torch
    cannot export the network."""
    plain = in_form(model, form)
    net = use_export_quantisers(plain.net, TorchQuantiser)
    example, shapes = arguments(net, plain, form)
    if form.bytes_io:
        named = zip(reads(plain), example, strict=True)
        example = tuple(as_bytes(x) if n in PICTURES else x for n, x in named)
        shapes = None if shapes is None else _as_nhwc(shapes, plain)
    door = Door(
        net, reads(plain), bytes_io=form.bytes_io, stored=STORED.get(form.precision or "fp32")
    )
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            free = None if shapes is None else (tuple(_flat(shapes)),)
            program = torch.export.export(door, example, dynamic_shapes=free, strict=False)
            for node in program.graph.nodes:
                node.meta.pop("stack_trace", None)  # it has paths of this machine
            stored = io.BytesIO()
            described = {DESCRIBED: json.dumps(describe(in_form(model, form), form))}
            torch.export.save(program, stored, extra_files=described)
    except Exception as error:  # torch.export has no error type of its own for all its floors
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ExportError(
            f"torch.export cannot take this '{model.family.name}' network ({lines[0]}). Nothing "
            "was written; please report this with the version of torch."
        ) from error
    return stored.getvalue()


def _flat(shapes: tuple[Any, ...]) -> list[Any]:
    """The free dims of each input, those of ``*inputs`` among the others."""
    return [one for given in shapes for one in (given if isinstance(given, tuple) else (given,))]


def _as_nhwc(shapes: tuple[Any, ...], model: Model) -> tuple[Any, ...]:
    """The free dims of inputs whose pictures have their channels last."""
    place = {0: 0, 2: 1, 3: 2}
    return tuple(
        {place[d]: free for d, free in given.items()} if name in PICTURES else given
        for name, given in zip(reads(model), _flat(shapes), strict=True)
    )


def open_program_bytes(data: bytes, model: Model, form: Form) -> Opened:
    """A .pt2 as the runtimes open their files. Raises: ExportError where torch cannot load it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            extra = {DESCRIBED: ""}
            program = torch.export.load(io.BytesIO(data), extra_files=extra).module()
    except Exception as error:  # torch.export's errors share no public base
        raise ExportError(
            f"torch cannot load the exported program ({error}). Nothing was written."
        ) from error
    given = described_inputs(model, form)

    def run(inputs: Arrays) -> dict[str, Any]:
        with torch.no_grad():
            made = program(*(torch.from_numpy(inputs[name]) for name in given))
        return {OUTPUT: made.numpy()}

    return Opened(
        runtime="torch",
        version=torch.__version__,
        threads=torch.get_num_threads(),
        precision="f32",
        inputs={n: Port(tuple(i["dims"]), str(i["dtype"])) for n, i in given.items()},
        outputs={OUTPUT: Port((None,) * 4, "uint8" if form.bytes_io else "float32")},
        described=json.loads(extra[DESCRIBED]),
        run=run,
    )


def described_in(path: Path | str) -> dict[str, str]:
    """The metadata of a .pt2 file, text by key."""
    extra = {DESCRIBED: ""}
    torch.export.load(path, extra_files=extra)
    found: dict[str, str] = json.loads(extra[DESCRIBED])
    return found
