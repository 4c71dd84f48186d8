"""Channels that an InstanceNorm reads, brought to one range before their sums are rounded.

onnxruntime convolves integers only where a quantiser follows, and an InstanceNorm wants floats: a
quantiser stands between. The norm gives the same for a channel times any number plus any other. So
each channel's weights are scaled, and its bias chosen, so that all channels fill the same range:
then one step for the whole tensor serves every channel as a step of its own would.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ganpress.errors import ExportError
from ganpress.formats.exporters.graph.editor import Array, Editor, attributes
from ganpress.formats.exporters.graph.quantised import Weight, weight_of
from ganpress.formats.runtimes import open_file

RANGE = 16.0
"""Half the range to which channels are scaled: so wide that the norm's epsilon is nothing."""
SILENT = 1e-6
"""A channel whose values span less than this is a constant, and is not scaled."""

Ranges = dict[str, tuple[Array, Array]]


def normed_convolutions(editor: Editor) -> list[Any]:
    """The convolutions that nothing but an InstanceNorm reads, perhaps after DepthToSpace."""
    return [n for n in editor.nodes if n.op_type == "Conv" and _norm_behind(editor, n) is not None]


def _norm_behind(editor: Editor, layer: Any) -> Any | None:
    node = editor.only_reader(layer.output[0])
    if node is not None and node.op_type == "DepthToSpace":
        node = editor.only_reader(node.output[0])
    return node if node is not None and node.op_type == "InstanceNormalization" else None


def channel_ranges(data: bytes, names: list[str], feeds: Iterable[Mapping[str, Array]]) -> Ranges:
    """The least and largest value of each channel of some values of a file, each (channels,).

    Raises: ExportError where a value is not finite.
    """
    import onnx

    model = onnx.load_from_string(data)
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    found: Ranges = {}
    with open_file(model.SerializeToString()) as opened:
        for made in map(opened.run, feeds):
            for name in names:
                found[name] = _wider(found.get(name), name, made[name])
    return found


def _wider(range_: tuple[Array, Array] | None, name: str, made: Array) -> tuple[Array, Array]:
    """A range by channel, and that of one more value. Raises: ExportError."""
    if not np.isfinite(made).all():
        raise ExportError(
            f"Calibration: the values of '{name}' are not finite. Is the float network sound on "
            "these pictures? Nothing was written."
        )
    others = tuple(k for k in range(made.ndim) if k != 1)
    low, high = made.min(others), made.max(others)
    if range_ is None:
        return low, high
    return np.minimum(low, range_[0]), np.maximum(high, range_[1])


def even_sums(editor: Editor, ranges: Ranges) -> None:
    """Scale and shift each channel of the named convolutions to the range [-RANGE, RANGE].

    The picture stays the same but for the epsilon of the norm behind, which then counts less.
    """
    for layer in normed_convolutions(editor):
        if layer.output[0] in ranges:
            _even(editor, layer, *_per_channel(editor, layer, ranges[layer.output[0]]))


def _per_channel(editor: Editor, layer: Any, range_: tuple[Array, Array]) -> tuple[Array, Array]:
    """Factor and middle of each output; the four places of a channel have the same ones, since the
    norm reads them together."""
    low, high = range_
    node = editor.only_reader(layer.output[0])
    if node is not None and node.op_type == "DepthToSpace":
        low = np.repeat(low.reshape(-1, 4).min(1), 4)
        high = np.repeat(high.reshape(-1, 4).max(1), 4)
    span = np.where(high - low < SILENT, 2 * RANGE, high - low)
    return 2 * RANGE / span, (low + high) / 2


def _even(editor: Editor, layer: Any, factor: Array, middle: Array) -> None:
    whole, plain = weight_of(editor, layer), editor.array(layer.input[1])
    bias = editor.array(layer.input[2]) if len(layer.input) > 2 else np.zeros(1, np.float32)
    if bias is None or (whole is None and plain is None):
        return
    name, nodes = layer.output[0], []
    if whole is not None:
        scaled = Weight(whole.levels, whole.step * factor, 0)
        nodes.append(scaled.dequantise(editor, f"{name}/even"))
        weight = nodes[0].output[0]
    else:
        assert plain is not None
        scaled_plain = (plain * factor.reshape(-1, 1, 1, 1)).astype(np.float32)
        weight = editor.constant(scaled_plain, f"{name}/even")
    shift = editor.constant(((bias - middle) * factor).astype(np.float32), f"{name}/even/bias")
    conv = editor.node("Conv", [layer.input[0], weight, shift], name, **attributes(layer))
    editor.replace([layer], [*nodes, conv])
