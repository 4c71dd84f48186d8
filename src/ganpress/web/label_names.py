"""Names and colours of the labels that a generator of label maps knows, by id."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError, did_you_mean, no_file
from ganpress.measures.label_sets import CITYSCAPES, COCO_STUFF_NAMES, FACADES
from ganpress.measures.labels import Colour, Labelling

GOLDEN = 0.618034
"""Of a turn: hues this far apart stay far apart, however many there are."""
EXAMPLE = '[{"name": "sky", "colour": [70, 130, 180]}, {"name": "road"}]'


@dataclass(frozen=True)
class Label:
    """A label's name and colour, RGB 0 to 255."""

    name: str
    colour: Colour

    def facts(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"name": self.name, "colour": list(self.colour)}


def _from_labelling(labelling: Labelling, encoding: str) -> Callable[[int], list[Label]]:
    """By the ids of a map in that encoding; ids that are ignored are "not counted"."""

    def named(count: int) -> list[Label]:
        colours = {index: colour for colour, index in labelling.colours.items()}
        known = labelling.encodings[encoding]
        labels = unnamed(count)
        for label, index in known.items():
            if label < count:
                is_class = index in range(len(labelling.classes))
                name = labelling.classes[index] if is_class else f"not counted ({label})"
                labels[label] = Label(name, colours.get(index, labels[label].colour))
        return labels

    return named


def _numbered(names: Sequence[str]) -> Callable[[int], list[Label]]:
    def named(count: int) -> list[Label]:
        labels = unnamed(count)
        for k, name in enumerate(names[:count]):
            labels[k] = Label(name, labels[k].colour)
        return labels

    return named


LABEL_SETS: Mapping[str, Callable[[int], list[Label]]] = {
    "cityscapes": _from_labelling(CITYSCAPES, "labelIds"),
    "cityscapes-train": _from_labelling(CITYSCAPES, "trainIds"),
    "coco-stuff": _numbered(COCO_STUFF_NAMES),
    "facades": _from_labelling(FACADES, "ids 1 to 12"),
}
"""By name: number of labels -> these, in the order of their ids."""
BY_COUNT = {35: "cityscapes", 182: "coco-stuff"}
"""Label sets that a number of labels belongs to alone."""


def labels_of(net: Any, label_set: str | None, card: Mapping[str, Any] | None) -> dict[str, Any]:
    """The `labels` of ``models.json`` of a generator that reads label maps.

    Args: net: with `labels`, `dontcare` and `edges`. label_set, card: see `inputs.input_facts`.
    Raises: ConfigError for an unknown set, or a file that does not name labels.
    """
    count = int(net.labels)
    chosen = label_set or (card or {}).get("labels") or BY_COUNT.get(count)
    labels = unnamed(count) if chosen is None else named_labels(str(chosen), count)
    if net.dontcare:
        labels = [*labels, Label("don't care", (0, 0, 0))]
    return {
        "count": count,
        "dontcare": bool(net.dontcare),
        "edges": bool(net.edges),
        **({"set": str(chosen)} if chosen in LABEL_SETS else {}),
        "classes": [label.facts() for label in labels],
    }


def named_labels(label_set: str, count: int) -> list[Label]:
    """The first ``count`` labels of a set by name, or of a .json file that lists them by id.

    Raises: ConfigError.
    """
    if label_set in LABEL_SETS:
        return LABEL_SETS[label_set](count)
    path = Path(label_set)
    if path.suffix.lower() != ".json":
        raise ConfigError(
            f"There is no label set '{label_set}'{did_you_mean(label_set, LABEL_SETS)}. Choose "
            f"{', '.join(LABEL_SETS)}, or a .json file: {EXAMPLE}"
        )
    if not path.is_file():
        raise no_file(path, "label", ("*.json",))
    try:
        listed = json.loads(path.read_bytes())
        free = unnamed(max(count, len(listed)))
        given = [
            Label(str(one["name"]), _colour(one.get("colour", free[k].colour)))
            for k, one in enumerate(listed)
        ]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ConfigError(
            f"'{path}' does not list labels ({type(error).__name__}: {error}). Write them by id: "
            f"{EXAMPLE}"
        ) from error
    if len(given) != count:
        raise ConfigError(
            f"'{path}' names {len(given)} labels, and the network reads {count}: list one for each "
            f"id, 0 to {count - 1}."
        )
    return given


def names_of(colours: Sequence[Colour], near: int) -> tuple[str, ...]:
    """What the colours of a label picture stand for, where one data set has them all.

    Args: near: by how much of 255 a channel may differ from the data set's colour.
    """
    for labelling in (FACADES, CITYSCAPES):
        named = [_nearest(labelling, colour, near) for colour in colours]
        if all(named):
            return tuple(named)
    return tuple(f"colour {k + 1}" for k in range(len(colours)))


def _nearest(labelling: Labelling, colour: Colour, near: int) -> str:
    """The class whose colour is nearest to this one, "none" where it is that of no class; '' where
    none is near."""

    def away(known: Colour) -> int:
        return max(abs(a - b) for a, b in zip(known, colour, strict=True))

    found = min(labelling.colours, key=away)  # some are nearer to each other than ``near``
    if away(found) > near:
        return ""
    index = labelling.colours[found]
    return labelling.classes[index] if index in range(len(labelling.classes)) else "none"


def unnamed(count: int) -> list[Label]:
    """Labels that nothing is known of: numbers, and colours that are far apart."""
    found = []
    for k in range(count):
        parts = colorsys.hls_to_rgb(k * GOLDEN % 1, (0.5, 0.7, 0.35)[k % 3], 0.7)
        r, g, b = (round(255 * part) for part in parts)
        found.append(Label(f"label {k}", (r, g, b)))
    return found


def _colour(value: Any) -> Colour:
    r, g, b = (int(part) for part in value)
    if not all(0 <= part <= 255 for part in (r, g, b)):
        raise ValueError(f"the colour {value} is not within 0 to 255")
    return r, g, b
