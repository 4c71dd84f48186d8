"""What an exported file says of itself: text by key, in ONNX's metadata and in OpenVINO's rt_info.

`preprocessing` is JSON for programs: of each input and of the picture that is made, what it is, its
type, the order of its dims and the dims themselves (null where they are free), and for pictures
what their channels are and how a byte becomes a value: value = (byte - mean) / scale, for each
channel; back, byte = round(value * scale + mean), clamped to 0 to 255. `docs/formats.md` has it.
"""

from __future__ import annotations

import json
from typing import Any

import torch

from ganpress.formats.exporters.byte_door import HALF
from ganpress.formats.exporters.form import OUTPUT, Form
from ganpress.models.checkpoint import Model
from ganpress.models.families.base import draw_inputs
from ganpress.models.inputs import reads
from ganpress.quantisation.quantise import quantiser_of
from ganpress.types.pictures import CHANNELS
from ganpress.types.sizes import height_width


def describe(model: Model, form: Form) -> dict[str, str]:
    """The metadata of a model's file in this form."""
    card = model.card()
    given = described_inputs(model, form)
    return {
        "producer": "ganpress",
        "family": model.family.name,
        "widths": json.dumps(model.widths),
        "options": json.dumps(card["options"]),
        "quantiser": json.dumps(card["quantiser"]),
        "provenance": json.dumps(card["provenance"], default=str),
        "precision": precision_of(model, form),
        "layout": layout_of(form),
        **_colours(model),
        "range": "[0, 255]" if form.bytes_io else "[-1, 1]",
        "multiple": str(model.multiple),
        "preprocessing": json.dumps(
            {
                "inputs": given,
                "outputs": {OUTPUT: _picture(model.net, "out_channels", _made(model, form), form)},
                "size": None if form.dynamic else list(height_width(form.size)),
                "multiple": model.multiple,
                "min_size": model.min_size,
            }
        ),
    }


def precision_of(model: Model, form: Form) -> str:
    """Of the numbers in the file: what is asked for, or the model's own."""
    own = "fp32" if quantiser_of(model.net) is None else "int8"
    return form.precision or own


def layout_of(form: Form) -> str:
    """The order of a picture's dims: bytes lie as image files and cameras give them."""
    return "NHWC" if form.bytes_io else "NCHW"


def described_inputs(model: Model, form: Form) -> dict[str, dict[str, Any]]:
    """Of each input by name: what it is, and how it is given."""
    return {
        name: _described(model.net, name, shape, form)
        for name, shape in _given(model, form).items()
    }


def _described(net: Any, name: str, dims: list[int | None], form: Form) -> dict[str, Any]:
    if name == "image":
        return _picture(net, "in_channels", dims, form)
    plain = {"dtype": "float32", "dims": dims}
    if name == "semantics":
        edges, dontcare = bool(net.edges), bool(net.dontcare)
        return {
            "is": "label map", **plain, "layout": "NCHW",
            "encoding": "one-hot", "labels": net.labels,
            "dontcare_channel": net.labels if dontcare else None,
            "edges_channel": net.labels + dontcare if edges else None,
        }  # fmt: skip
    if name == "y":
        return {"is": "class", **plain, "encoding": "one-hot", "classes": net.classes}
    kind = {"z": "latent code", "style": "style code"}.get(name, "noise map")
    return {"is": kind, **plain, "distribution": "standard normal"}


def _picture(net: Any, channels: str, dims: list[int | None], form: Form) -> dict[str, Any]:
    """What a program has to know of a picture, (n, c, h, w), that is read or made."""
    count = int(getattr(net, channels))
    if form.bytes_io:
        dims = [dims[0], *dims[2:], dims[1]]
    mean, scale, low, high = (0.0, 1.0, 0, 255) if form.bytes_io else (HALF, HALF, -1, 1)
    return {
        "is": "picture",
        "dtype": "uint8" if form.bytes_io else "float32",
        "layout": layout_of(form),
        "dims": dims,
        "colour": CHANNELS[count],
        "range": [low, high],
        "mean": [mean] * count,
        "scale": [scale] * count,
    }


def _given(model: Model, form: Form) -> dict[str, list[int | None]]:
    """The dims of each input by name; None where they are free."""
    shapes = []
    for n, sides in ((form.batch, (1, 1)), (form.batch + 1, (2, 3))):
        size = tuple(model.min_size * k for k in sides)
        size = (size[0], size[1]) if form.dynamic else height_width(form.size)
        drawn = draw_inputs(model.net, n if form.dynamic else form.batch, size, _draw())
        shapes.append([list(t.shape) for t in drawn])
    return {
        name: [a if a == b else None for a, b in zip(one, other, strict=True)]
        for name, one, other in zip(reads(model), *shapes, strict=True)
    }


def _made(model: Model, form: Form) -> list[int | None]:
    """The dims of the picture that is made."""
    height, width = height_width(model.size if model.is_fixed else form.size)
    sides: list[int | None] = [height, width]
    if form.dynamic and not model.is_fixed:
        sides = [None, None]
    batch = None if form.dynamic else form.batch
    return [batch, int(model.net.out_channels), *sides]  # type: ignore[arg-type]


def _draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _colours(model: Model) -> dict[str, str]:
    """What the channels of the picture that is made are, and of the one that is read, if any."""
    net = model.net
    seen, made = (CHANNELS[int(getattr(net, n))] for n in ("in_channels", "out_channels"))
    return {"colour": made, **({"colour_in": seen} if "image" in reads(model) else {})}
