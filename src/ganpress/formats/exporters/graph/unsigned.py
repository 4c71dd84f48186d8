"""Signed activation levels as unsigned ones."""

from __future__ import annotations

import numpy as np

from ganpress.formats.exporters.graph.editor import Editor


def unsigned_levels(editor: Editor) -> None:
    """Move each quantiser from int8 to uint8, and its zero point by 128: the same values.

    onnxruntime convolves integers only where levels are of one type before and after, which they
    are not where a signed sum of branches is read beside the output of a ReLU.
    """
    for quantise in [n for n in editor.nodes if n.op_type == "QuantizeLinear"]:
        zero = editor.array(quantise.input[2]) if len(quantise.input) > 2 else None
        readers = editor.readers(quantise.output[0])
        plain = all(
            n.op_type == "DequantizeLinear" and list(n.input)[1:] == list(quantise.input)[1:]
            for n in readers
        )
        if zero is None or zero.dtype != np.int8 or not plain or not readers:
            continue
        moved = editor.constant((zero.astype(np.int16) + 128).astype(np.uint8), quantise.input[2])
        for node in (quantise, *readers):
            node.input[2] = moved
