"""What a file of a segmentation network reads and gives, as a few lines of TOML say it.

Beside ``net.onnx`` or ``net.pt`` (TorchScript) lies ``net.toml``; the networks that
recipes/train_segmenter.py trains have the same inside their own file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from ganpress.errors import ConfigError, did_you_mean
from ganpress.losses.preprocessing import Preprocessing
from ganpress.measures.labels import Labelling
from ganpress.measures.metrics.segmentation import IGNORED, Over
from ganpress.run.files import text_of
from ganpress.run.settings import PixelSize, Settings
from ganpress.sniff import no_toml

Channel = Annotated[int, Field(ge=0, le=255)]
Id = Annotated[int, Field(ge=0, le=65535)]
RGB = tuple[Channel, Channel, Channel]
Three = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0)]
S = TypeVar("S", bound=Settings)

EXAMPLE = 'classes = ["road", "sky"], size = "256x512", mean = [0.5, 0.5, 0.5], ignored = [255]'


class UNetSettings(Settings):
    """A network of `losses.unet`, in a .safetensors file."""

    kind: Literal["unet"]
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=2)


class NetworkInput(Settings):
    """What a network reads of pictures."""

    resize: Literal["bilinear", "bicubic"] = Field(
        default="bilinear", description="how pictures are resized, antialiased"
    )
    white: Positive = Field(default=1.0, description="what white is, before mean and std: 1 or 255")
    mean: Three = Field(default=(0.0, 0.0, 0.0), description="subtracted from each channel")
    std: tuple[Positive, Positive, Positive] = Field(
        default=(1.0, 1.0, 1.0), description="by which each channel is then divided"
    )
    channels: Literal["RGB", "BGR"] = Field(
        default="RGB", description="order of the channels, also of mean and std"
    )

    @property
    def preprocessing(self) -> Preprocessing:
        """Of pictures in [-1, 1]."""
        half = self.white / 2
        return Preprocessing(
            tuple(half / std for std in self.std),
            tuple((half - mean) / std for mean, std in zip(self.mean, self.std, strict=True)),
            (0, 1, 2) if self.channels == "RGB" else (2, 1, 0),
        )


class SegmenterSettings(NetworkInput):
    """What a segmentation network reads and gives."""

    classes: tuple[str, ...] | Annotated[int, Field(ge=2)] = Field(
        description="names of the classes in the order of the logits, or how many there are"
    )
    size: PixelSize | Literal["own", "labels"] = Field(
        default="own",
        description="pixels that pictures are resized to; own: as they are; labels: as the maps",
    )
    ids: dict[str, Id | tuple[Id, ...]] = Field(
        default={}, description="ids of a class in label maps, by its name; default: its number"
    )
    ignored: tuple[Id, ...] = Field(default=(), description="ids whose pixels are not counted")
    colours: dict[str, RGB] = Field(
        default={}, description="colour of a class in label pictures, red, green, blue"
    )
    ignored_colours: tuple[RGB, ...] = Field(
        default=(), description="colours whose pixels are not counted"
    )
    mean_over: Over = Field(
        default="union", description="classes of the mean: found or true (union), or truth alone"
    )
    net: UNetSettings | None = Field(default=None, description="of a .safetensors file alone")

    @property
    def names(self) -> tuple[str, ...]:
        """The classes' names; their numbers where only a count is given."""
        if isinstance(self.classes, int):
            return tuple(str(i) for i in range(self.classes))
        return self.classes

    @property
    def labelling(self) -> Labelling:
        """The classes in maps and label pictures."""
        ids: dict[int, int] = {}
        colours: dict[tuple[int, int, int], int] = dict.fromkeys(self.ignored_colours, IGNORED)
        for index, name in enumerate(self.names):
            given = self.ids.get(name, index if not self.ids else ())
            ids |= dict.fromkeys((given,) if isinstance(given, int) else given, index)
            if name in self.colours:
                colours[self.colours[name]] = index
        ids |= dict.fromkeys(self.ignored, IGNORED)
        return Labelling(self.names, {"ids": ids}, colours if self.colours else {}, self.mean_over)


def read_description(path: Path) -> SegmenterSettings:
    """The description in a TOML file. Raises: ConfigError, which names the file and the line."""
    needs = f"write what the network reads and gives, such as {EXAMPLE}, a line each"
    values, text = read_toml(path, needs)
    if "net" in values:
        raise ConfigError(
            f"{path}{line_of(text, 'net')}: 'net' is for .safetensors files: leave it out."
        )
    return checked(values, str(path), text)


def read_toml(path: Path, needs: str) -> tuple[dict[str, Any], str]:
    """The values in a TOML file, and its text.

    Args: needs: what to do where there is no such file. Raises: ConfigError.
    """
    try:
        text = text_of(path)
        return tomllib.loads(text), text
    except FileNotFoundError as error:
        raise ConfigError(f"There is no {path}: {needs}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} {no_toml(path, error)}.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error


def checked(values: Mapping[str, Any], where: str, text: str = "") -> SegmenterSettings:
    """A description of plain data. Raises: ConfigError naming where, and the line of ``text``."""
    found = settings_from(SegmenterSettings, values, where, text)
    _check_names(found, where, text)
    return found


def settings_from(kind: type[S], values: Mapping[str, Any], where: str, text: str) -> S:
    """Settings of plain data. Raises: ConfigError naming where, and the line of ``text``."""
    known = kind.model_fields
    for name in values:
        if name not in known:
            raise ConfigError(
                f"{where}{line_of(text, name)}: there is no setting '{name}'"
                f"{did_you_mean(name, known)}. Settings: {', '.join(known)}."
            )
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        if name not in values:
            raise ConfigError(
                f"{where}: '{name}' is missing: {known[name].description}."
            ) from error
        raise ConfigError(
            f"{where}{line_of(text, name)}: {name} is {values[name]!r}: {problem['msg']}. It is: "
            f"{known[name].description}."
        ) from error


def _check_names(found: SegmenterSettings, where: str, text: str) -> None:
    """Refuse classes that are named twice, ids or colours of no class, and those of two."""
    twice = next((n for n in found.names if found.names.count(n) > 1), None)
    if twice is not None or len(found.names) < 2:
        said = f"'{twice}' is named twice" if twice is not None else "there are fewer than two"
        raise ConfigError(f"{where}{line_of(text, 'classes')}: of the classes, {said}.")
    for what, table in (("ids", found.ids), ("colours", found.colours)):
        for name in table:
            if name not in found.names:
                raise ConfigError(
                    f"{where}{line_of(text, name, what)}: {what} has '{name}', which is no class"
                    f"{did_you_mean(name, found.names)}. Classes: {', '.join(found.names)}."
                )
    ids: list[object] = list(found.ignored)
    for given in found.ids.values():
        ids += [given] if isinstance(given, int) else given
    colours: list[object] = [*found.colours.values(), *found.ignored_colours]
    for what, used in (("ids", ids), ("colours", colours)):
        if double := [one for one in used if used.count(one) > 1]:
            raise ConfigError(
                f"{where}{line_of(text, what)}: {double[0]} is given twice among the {what} and "
                "those that are ignored: each is of one class."
            )


def line_of(text: str, name: str, table: str = "") -> str:
    """', line 3': where a key stands in TOML, below its table's head; '' where it is not seen."""
    key = re.compile(rf"""^\s*\[?\s*["']?{re.escape(name)}["']?\s*[\].=]""")
    lines = text.splitlines()
    head = re.compile(rf"^\s*\[?\s*{re.escape(table)}\s*[\].=]")
    first = next((i for i, line in enumerate(lines) if table and head.match(line)), 0)
    for number, line in enumerate(lines[first:], first + 1):
        if key.match(line) or (table and number == first + 1 and re.search(rf"\b{name}\b", line)):
            return f", line {number}"
    return ""
