"""The form of an exported file: its shapes, the numbers in it, and what it reads and makes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ganpress.errors import ConfigError, did_you_mean
from ganpress.models.checkpoint import Model
from ganpress.types import Inputs
from ganpress.types.sizes import Size

Precision: TypeAlias = Literal["fp32", "fp16", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8")
OUTPUT = "image_out"
"""The name of the picture that a file makes."""


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

    def __post_init__(self) -> None:
        """Raises `ConfigError` for values that no file can have."""
        if self.batch < 1:
            raise ConfigError(f"The batch is {self.batch}: a file takes at least one picture.")
        if self.dynamic and self.batch != 1:
            raise ConfigError("A dynamic file takes any number of pictures: leave the batch out.")
        if self.precision is not None:
            as_precision(self.precision)


def as_precision(name: str) -> Precision:
    """One of `PRECISIONS`, by its name. Raises `ConfigError` for another."""
    if name not in PRECISIONS:
        raise ConfigError(
            f"There is no precision '{name}'{did_you_mean(name, PRECISIONS)}. "
            f"Precisions: {', '.join(PRECISIONS)}."
        )
    return name


@dataclass(frozen=True)
class Job:
    """What an exporter is given.

    Attributes:
        calibration: what a float network reads, batches of any size, for ``precision="int8"``.
        seen: what the network reads of real pictures, to check the file on (`parity`).
    """

    model: Model
    path: Path
    form: Form
    calibration: tuple[Inputs, ...] = ()
    seen: tuple[Seen, ...] = ()


@dataclass(frozen=True)
class Seen:
    """One picture, or one draw, that a file is checked on.

    Attributes:
        name: of the picture's file, or of the draw.
        digest: sha256 of the decoded pixels as the network reads them; of the drawn numbers.
    """

    name: str
    digest: str
    inputs: Inputs
