"""ONNX graphs as the runtimes like them: passes over a file that leave its outputs as they are.

What is a pass and what is not was decided by `benchmarks/export_forms.py` (ADR 32).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from ganpress.formats.exporters.graph.biases import biases_inside
from ganpress.formats.exporters.graph.early import quantise_early
from ganpress.formats.exporters.graph.editor import Editor, Pass
from ganpress.formats.exporters.graph.fold import fold_batch_norms
from ganpress.formats.exporters.graph.subpixel import integer_transposed, split_transposed

Runtime: TypeAlias = Literal["onnxruntime", "openvino"]

PASSES: dict[Runtime, tuple[Pass, ...]] = {
    "onnxruntime": (
        fold_batch_norms,
        integer_transposed,
        quantise_early,
        biases_inside,
        split_transposed,
    ),
    "openvino": (fold_batch_norms, quantise_early),
}
"""What is done to a file for each program that runs it, in this order."""


def optimised(data: bytes, runtime: Runtime = "onnxruntime") -> bytes:
    """The ONNX file in the form that a runtime is fast at.

    Its outputs are the same but for roundings: those of sums in another order, and in a quantised
    file those of biases, which come to lie on the grid of their convolution's sums.

    Args: data: an ONNX file of float32 values, perhaps with 8-bit layers.
    """
    editor = Editor(data)
    for change in PASSES[runtime]:
        change(editor)
    return editor.to_bytes()


__all__ = ["PASSES", "Runtime", "optimised"]
