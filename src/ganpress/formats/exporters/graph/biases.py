"""Biases as integers inside a quantised convolution."""

from __future__ import annotations

import numpy as np

from ganpress.formats.exporters.graph.editor import Editor, attributes
from ganpress.formats.exporters.graph.quantised import bias_of, input_step, is_quantised, weight_of

LARGEST = 2**30


def biases_inside(editor: Editor) -> None:
    """Put the bias of each quantised convolution inside it, as int32 on the grid of its sums,
    where a quantiser follows.

    onnxruntime has an integer convolution (QLinearConv) for just this form: DequantizeLinear, Conv
    with such a bias, a ReLU or none, QuantizeLinear. A bias moves by at most half a step of the
    sums' grid, which is that of the input times that of the weight.
    """
    for layer in [n for n in editor.nodes if n.op_type == "Conv"]:
        weight, step = weight_of(editor, layer), input_step(editor, layer)
        if weight is None or step is None:
            continue
        found = bias_of(editor, layer)
        if found is None:
            continue
        bias, last = found
        if not is_quantised(editor, last.output[0]):
            continue
        grid = weight.step.astype(np.float64) * step
        whole = np.round(np.broadcast_to(bias, grid.shape) / grid)
        if np.abs(whole).max(initial=0) > LARGEST:
            continue
        name = last.output[0]
        parts = [
            editor.constant(whole.astype(np.int32), f"{name}/bias/levels"),
            editor.constant(grid.astype(np.float32), f"{name}/bias/step"),
        ]
        inside = editor.node("DequantizeLinear", parts, editor.value(f"{name}/bias/value"), axis=0)
        inputs = [*layer.input[:2], inside.output[0]]
        conv = editor.node("Conv", inputs, name, **attributes(layer))
        editor.replace([layer, last], [inside, conv])
