"""The form of an exported file: its shapes, the numbers in it, and what it reads and makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ganpress.types.sizes import Size

Precision: TypeAlias = Literal["fp32", "fp16", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8")


@dataclass(frozen=True)
class Form:
    """What is asked of an exported file.

    Attributes:
        size: of the pictures, pixels. A static file takes no other; a dynamic one is made and
            verified with it.
        batch: pictures at a time; a static file takes no other number.
        dynamic: batch, height and width are free where the network allows. Static files are
            simpler: no arithmetic on shapes is left in them, and more runtimes take them.
        opset: the ONNX operator set; None for the lowest that the graph can have.
        precision: of the numbers in the file; None for the model's own: fp32, or int8 where it was
            trained so.
        bytes_io: pictures go in and out as uint8, (n, h, w, c) in 0 to 255.
    """

    size: Size
    batch: int = 1
    dynamic: bool = False
    opset: int | None = None
    precision: Precision | None = None
    bytes_io: bool = False
