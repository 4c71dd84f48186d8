"""One model as the page needs it: the bytes of its ONNX file, and its entry of models.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganpress.editing.directions import Directions
from ganpress.errors import ConfigError, ExportError, require
from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.onnx import runner, to_bytes
from ganpress.formats.exporters.verify import (
    FLOAT_MAX,
    NOISE_FACTOR,
    Tolerance,
    agreement,
    own_noise,
)
from ganpress.measures.cost import measure
from ganpress.measures.quality import trained_size
from ganpress.models.checkpoint import Model
from ganpress.models.families.base import draw_inputs
from ganpress.models.inputs import channels_of, reads
from ganpress.quantisation.quantise import quantiser_of
from ganpress.types.pictures import CHANNELS
from ganpress.types.sizes import Size, as_size, height_width
from ganpress.web.editable import editable, is_latent, latent_facts
from ganpress.web.given import Given
from ganpress.web.inputs import input_facts


@dataclass(frozen=True)
class Wanted:
    """What is asked of every model of a page.

    Attributes:
        size: of the pictures, pixels; None: what each was trained with.
        dynamic: height and width free where the network allows.
        kind: the input that opens first; None: found out.
        classes: names of the labels: a set of `label_names.LABEL_SETS`, or a .json file; None: as
            the model's card says.
    """

    size: Size | None = None
    dynamic: bool = False
    kind: str | None = None
    classes: str | None = None


def size_for(given: Given, size: Size | None) -> Size:
    """The size of a model's pictures: what is asked for, or that of its run, or of its training.

    Raises: ConfigError for a size that it cannot make.
    """
    model = given.model
    if size is None and not model.is_fixed:
        size = as_size(given.size) if given.size is not None else trained_size(model)
        size = model.fit(size)
    return model.resolve_size(size)


def onnx_bytes(given: Given, wanted: Wanted, directions: Directions | None) -> bytes:
    """The model's ONNX file: the given one, or a new one.

    Raises: ConfigError, ExportError, MissingExtra.
    """
    if given.data is not None:
        return given.data
    require("Exporting models for a page", "onnx", "onnxscript", "onnxruntime")
    model = given.model if directions is None else editable(given.model, directions)
    size = size_for(given, wanted.size)
    data = to_bytes(model, Form(size, dynamic=wanted.dynamic))
    _check_agrees(given.title, model, data, size)
    return data


def _check_agrees(title: str, model: Model, data: bytes, size: Size) -> None:
    """Compare the file with torch on random inputs. Raises: ExportError where they differ."""
    inputs = draw_inputs(model.net, 1, size, torch.Generator().manual_seed(0))
    found = agreement(model, runner(data, reads(model)), [inputs])
    exact = quantiser_of(model.net) is None
    noise = 0.0 if exact else NOISE_FACTOR * own_noise(model, [inputs])
    limit = FLOAT_MAX if exact else max(Tolerance().mean, noise)
    if not (found.most if exact else found.mean) <= limit:
        raise ExportError(
            f"{title}: the exported network differs from torch by up to {found.most:.2e} (mean "
            f"{found.mean:.2e}); allowed is {limit:.1e}. Please report this with the model."
        )


def ports(data: bytes, where: str) -> tuple[dict[str, Any], str, dict[str, str]]:
    """What an ONNX file reads, by name; the name of what it makes; its metadata.

    The dims of a picture are given as n, c, h, w; "layout" says where the file has another order.

    Raises: ConfigError for a file whose weights are elsewhere, MissingExtra.
    """
    require("A page", "onnx")
    import onnx

    file = onnx.load_model_from_string(data)
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in file.graph.initializer):
        raise ConfigError(
            f"{where} has its weights in another file, which a page cannot read: export it again "
            "with 'ganpress export'."
        )
    found = {}
    for port in file.graph.input:
        tensor = port.type.tensor_type
        kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
        dims = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
        found[port.name] = {"dims": dims, "dtype": kind}
    metadata = {prop.key: prop.value for prop in file.metadata_props}
    if metadata.get("layout") == "NHWC" and "image" in found:
        n, height, width, channels = found["image"]["dims"]
        found["image"] |= {"dims": [n, channels, height, width], "layout": "NHWC"}
    return found, file.graph.output[0].name, metadata


def entry(
    given: Given,
    data: bytes,
    wanted: Wanted,
    samples: Sequence[NDArray[np.uint8]],
    directions: Directions | None,
) -> dict[str, Any]:
    """The model's entry of models.json, without its id and file name."""
    model, size = given.model, size_for(given, wanted.size)
    inputs, output, metadata = ports(data, given.title)
    seen, made = channels_of(model)
    cost = measure(model.net, size)
    pictures = [dims["dims"] for name, dims in inputs.items() if name in ("image", "semantics")]
    return {
        "title": given.title,
        "role": given.role,
        "family": model.family.name,
        "bytes": len(data),
        "macs": cost.macs,
        "params": cost.params,
        "size": list(height_width(size)),
        "multiple": model.multiple,
        "min_size": model.min_size,
        "fixed": None not in [side for dims in pictures for side in dims[2:]],
        "inputs": inputs,
        "output": output,
        "range": [-1, 1],
        "colours": {
            "in": CHANNELS[seen] if "image" in inputs else None,
            "out": CHANNELS[made],
        },
        **_fed(given, wanted, samples, directions),
        "metadata": metadata,
    }


def _fed(
    given: Given,
    wanted: Wanted,
    samples: Sequence[NDArray[np.uint8]],
    directions: Directions | None,
) -> dict[str, Any]:
    """How its inputs are made: `input`, `palette`, `labels`, `latent`. Raises: ConfigError."""
    model = given.model
    found = input_facts(
        model,
        kind=wanted.kind,
        examples=samples,
        card=given.card,
        label_set=wanted.classes,
    )
    return found | ({"latent": latent_facts(model, directions)} if is_latent(model) else {})
