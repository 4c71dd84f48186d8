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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ganpress.errors import ConfigError, ExportError
from ganpress.formats.exporters.graph import Runtime
from ganpress.formats.exporters.graph.editor import Array, Editor
from ganpress.formats.exporters.graph.fold import fold_batch_norms
from ganpress.formats.exporters.graph.subpixel import as_one
from ganpress.formats.exporters.precision.half import on_its_path, refuse_quantised

Feeds: TypeAlias = Iterable[Mapping[str, Array]]
"""What a network is calibrated on: for each of its inputs, by name, a batch."""

MOVES = ("Pad", "Resize", "DepthToSpace")
QUANTISES: dict[Runtime, tuple[str, ...]] = {
    "onnxruntime": ("Conv", "Concat", *MOVES),
    "openvino": ("Conv", "ConvTranspose"),
}
"""Operators that onnxruntime's quantiser puts between quantisers."""


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
            as_one(editor, layer)
    model = _named(onnx.load_from_string(editor.to_bytes()))
    reader = Reader(feeds, [i.name for i in model.graph.input], progress)
    made = _quantised(model, reader, runtime)
    _check_steps(made)
    return made


class Reader:
    """Feeds as onnxruntime's quantiser reads them: one at a time, then None."""

    def __init__(
        self, feeds: Feeds, inputs: list[str], progress: Callable[[int], None] | None
    ) -> None:
        self.inputs, self.progress, self.count = inputs, progress, 0
        self.feeds: Iterator[Mapping[str, Array]] = iter(feeds)

    def get_next(self) -> dict[str, Array] | None:
        """The next feed, checked; ConfigError where it does not fit the file."""
        feed = next(self.feeds, None)
        if feed is None:
            if not self.count:
                raise ConfigError(
                    "There is nothing to calibrate on: 8 bits after training need at least one "
                    "picture, better 50 to 300 of the kind that the network will see."
                )
            return None
        self.count += 1
        if sorted(feed) != sorted(self.inputs):
            raise ConfigError(
                f"Calibration: feed {self.count} has {', '.join(sorted(feed)) or 'no inputs'}; the "
                f"network reads {', '.join(self.inputs)}."
            )
        for name, array in feed.items():
            if not np.isfinite(array).all():
                raise ConfigError(
                    f"Calibration: '{name}' of feed {self.count} has values that are no finite "
                    "numbers: leave that picture out."
                )
        if self.progress is not None:
            self.progress(self.count)
        return dict(feed)


def _quantised(model: Any, reader: Reader, runtime: Runtime) -> bytes:
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
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={
                    "OpTypesToExcludeOutputQuantization": only_inputs,
                    "CalibMaxIntermediateOutputs": 8,
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


def _check_steps(data: bytes) -> None:
    """Refuse steps that are no numbers: an activation was none."""
    editor = Editor(data)
    for node in editor.nodes:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        step = editor.array(node.input[1])
        if step is not None and not (np.isfinite(step).all() and (step > 0).all()):
            raise ExportError(
                f"Calibration: the values of '{node.input[0]}' are not finite. Is the float network "
                "sound on these pictures? Nothing was written."
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the remarks that the quantiser makes through the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


__all__ = ["Feeds", "calibrated"]
