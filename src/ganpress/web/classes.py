"""What can be painted on the page's canvas: the classes of label maps, the colours of drawings."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from ganpress.errors import ConfigError, did_you_mean
from ganpress.losses.weights import zoo_path
from ganpress.measures.label_sets import CITYSCAPES
from ganpress.measures.segmenter import FACADES
from ganpress.run.files import read_json

Class = dict[str, Any]
"""{"name", "colour": [r, g, b]}: what a brush is called and paints; colours 0..255."""


def _facades() -> dict[int, Class]:
    """CMP facades' classes by id, as the zoo's segmenter has them."""
    with safe_open(zoo_path(FACADES), framework="np") as opened:  # type: ignore[no-untyped-call]
        card = json.loads(opened.metadata()["segmenter"])
    colours = card["colours"]
    return {
        number: {"name": name, "colour": list(colours[name])}
        for name, number in card["ids"].items()
    } | {0: {"name": "nothing", "colour": [0, 0, 0]}}


def _cityscapes() -> dict[int, Class]:
    """Cityscapes' classes by labelId."""
    colour_of = {index: colour for colour, index in CITYSCAPES.colours.items()}
    ids = CITYSCAPES.encodings["labelIds"]
    return {
        number: {"name": CITYSCAPES.classes[index], "colour": list(colour_of[index])}
        for number, index in ids.items()
        if 0 <= index < len(CITYSCAPES.classes)
    }


SETS = {"facades": _facades, "cityscapes": _cityscapes}
"""Classes that are known by name, each by its id in label maps."""


def named_classes(name: str | Path) -> dict[int, Class]:
    """The classes of a set, or of a JSON file, by id.

    Args:
        name: one of `SETS`; or a file of ``{"wall": [r, g, b], ...}`` in the order of ids.
    Raises: ConfigError.
    """
    if str(name) in SETS:
        return SETS[str(name)]()
    path = Path(name)
    if not path.is_file():
        raise ConfigError(
            f"There are no classes '{name}'{did_you_mean(str(name), SETS)}: give "
            f'{", ".join(SETS)}, or a JSON file such as {{"wall": [0, 0, 255]}} in the order of '
            "the ids."
        )
    content = read_json(path)
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(map(_is_colour, content.values()))
    ):
        raise ConfigError(
            f"{path} does not hold classes: it should be one object of names and colours, such as "
            '{"wall": [0, 0, 255], "door": [0, 170, 255]}, in the order of the ids.'
        )
    return {k: {"name": n, "colour": list(c)} for k, (n, c) in enumerate(content.items())}


def _is_colour(value: object) -> bool:
    return (
        isinstance(value, Sequence)
        and len(value) == 3
        and all(isinstance(v, int) and 0 <= v <= 255 for v in value)
    )


def label_classes(count: int, known: Mapping[int, Class]) -> list[Class]:
    """One entry for each of ``count`` ids; those that are not known have a number and a colour of
    their own."""
    return [known.get(k, {"name": f"label {k}", "colour": list(_hue(k))}) for k in range(count)]


def as_palette(colours: Sequence[Sequence[int]] | Mapping[str, Sequence[int]]) -> list[Class]:
    """Colours of a card as a palette, the ground first; names are the card's, or the colours'."""
    from ganpress.web.palette import named_colours

    if isinstance(colours, Mapping):
        return [{"name": name, "colour": list(colour)} for name, colour in colours.items()]
    return named_colours([(int(r), int(g), int(b)) for r, g, b in colours])


def _hue(k: int) -> tuple[int, int, int]:
    """The k-th of colours that differ: steps of the golden angle around the circle."""
    r, g, b = colorsys.hsv_to_rgb(k * 0.618034 % 1, 0.55 + 0.15 * (k % 3), 0.95 - 0.15 * (k % 2))
    return round(255 * r), round(255 * g), round(255 * b)
