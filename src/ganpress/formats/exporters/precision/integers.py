"""8 bits after training: ranges read off pictures, and a quantiser at each convolution.

onnxruntime's own quantiser does the work. What is quantised differs by the program that is to run
the file, as `benchmarks/export_forms.py` found (ADR 32):

- OpenVINO convolves integers and hands on floats: the input and the weight of each convolution,
  transposed ones too, are quantised, and nothing else.
- onnxruntime convolves integers only where a quantiser follows, and transposes only floats: there
  the sums are quantised, too, and transposed convolutions become plain ones first.

Weights have a step for each output channel and are symmetric; norms, sums of branches and
activations that are no ReLU stay float32.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError, ExportError
from ganpress.formats.exporters.graph import Runtime, optimised
from ganpress.formats.exporters.graph.editor import Editor, attributes
from ganpress.formats.exporters.graph.fold import fold_batch_norms
from ganpress.formats.exporters.graph.quantised import CONVOLUTIONS, weight_of
from ganpress.formats.exporters.graph.subpixel import as_one
from ganpress.formats.exporters.precision.feeds import Feeds, Reader
from ganpress.formats.exporters.precision.half import on_its_path, refuse_quantised
from ganpress.formats.exporters.precision.sums import (
    channel_ranges,
    even_sums,
    normed_convolutions,
)
from ganpress.types.pictures import CHANNELS

MOVES = ("Pad", "Resize", "DepthToSpace")
QUANTISES: dict[Runtime, tuple[str, ...]] = {
    "onnxruntime": ("Conv", "Concat", *MOVES),
    "openvino": ("Conv", "ConvTranspose"),
}
"""Operators that onnxruntime's quantiser puts between quantisers."""
AHEAD = 8
"""Feeds by which channels are brought to one range."""


def calibrated(
    data: bytes,
    feeds: Feeds,
    *,
    runtime: Runtime = "onnxruntime",
    progress: Callable[[int], None] | None = None,
) -> bytes:
    """A float32 ONNX file with 8-bit convolutions, whose ranges are those of some pictures.

    Args:
        feeds: each one's values by the names of the file's inputs; read once, one at a time.
        runtime: the program that the file is for; the other runs it as well, but slower.
        progress: is told how many feeds have been read.

    Raises:
        ConfigError: no feeds, one with other inputs than the file's, or a file that is quantised.
        ExportError: an activation that is not a number, or a network that cannot be quantised.
    """
    import onnx

    refuse_quantised(onnx.load_from_string(data).graph, "other 8-bit")
    editor = Editor(data)
    fold_batch_norms(editor)
    if runtime == "onnxruntime":
        for layer in [n for n in editor.nodes if n.op_type == "ConvTranspose"]:
            if not writes_picture(editor, layer):
                as_one(editor, layer)
    reader = Reader(feeds, [i.name for i in editor.graph.input], progress)
    _check_finite(editor, reader)
    if runtime == "onnxruntime":
        _even(editor, reader)
    model = _named(onnx.load_from_string(editor.to_bytes()))
    layers = [n for n in model.graph.node if n.op_type in CONVOLUTIONS]
    pictures = [n.name for n in layers if writes_picture(editor, n)]
    made = _quantised(model, reader, runtime, pictures if runtime == "onnxruntime" else [])
    return optimised(made, runtime)


def _even(editor: Editor, reader: Reader) -> None:
    """Scale the channels that norms read to one range, as on the first feeds (`sums`)."""
    names = [layer.output[0] for layer in normed_convolutions(editor)]
    if names:
        even_sums(editor, channel_ranges(editor.to_bytes(), names, reader.ahead(AHEAD)))


def _check_finite(editor: Editor, reader: Reader) -> None:
    """Refuse a network whose convolutions read, on the first feeds, what is no finite number: the
    quantiser would fail, and not say where."""
    layers = [n.input[0] for n in editor.nodes if n.op_type in CONVOLUTIONS]
    names = [name for name in dict.fromkeys(layers) if editor.maker(name) is not None]
    if names:
        channel_ranges(editor.to_bytes(), names, reader.ahead(AHEAD))


def writes_picture(editor: Editor, layer: Any) -> bool:
    """Whether a convolution writes a picture, of at most four channels: an 8-bit sum would be seen
    in it, and so few channels are no faster in integers."""
    whole = weight_of(editor, layer)
    weight = editor.array(layer.input[1]) if whole is None else whole.levels
    if weight is None:
        return False
    out = weight.shape[0] if layer.op_type == "Conv" else weight.shape[1]
    return bool(out <= max(CHANNELS) and attributes(layer).get("group", 1) == 1)


def _quantised(model: Any, reader: Reader, runtime: Runtime, excluded: list[str]) -> bytes:
    with on_its_path():
        from onnxruntime.quantization import (
            CalibrationMethod,
            QuantFormat,
            QuantType,
            quantize_static,
        )
        from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    add_pre_process_metadata(model)  # else it asks for what `optimised` has done
    only_inputs = list(QUANTISES["openvino"]) if runtime == "openvino" else []
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "quantised.onnx"
        try:
            quantize_static(
                model,
                path,
                reader,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISES[runtime]),
                nodes_to_exclude=excluded,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={
                    "OpTypesToExcludeOutputQuantization": only_inputs,
                    "QDQOpTypePerChannelSupportToAxis": {"ConvTranspose": 1},
                },
            )
        except (ConfigError, MemoryError):
            raise
        except Exception as error:  # the quantiser has no error type of its own
            raise ExportError(
                f"onnxruntime's quantiser cannot take this network ({error}). Nothing was written."
            ) from error
        return path.read_bytes()


def _named(model: Any) -> Any:
    """The model with a name for each node, by which the quantiser knows them."""
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the remarks that the quantiser makes through the root logger and as warnings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
