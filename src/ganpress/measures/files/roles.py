"""What the inputs of an exported file are: pictures, whose sides are a size, or anything else.

A file of ganpress's says it in its metadata. Of others' it is known by shape and name, and said as
what was assumed: of StyleGAN2's noise maps, one for each resolution, none is a picture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from ganpress.formats.runtimes import Port

PICTURES = ("picture", "label map")
"""What metadata call inputs that are made of pictures of the size that is asked for."""
_OURS = ("image", "semantics")
"""Their names, in files from before the metadata said what each input is."""
_SIDES = {"height": 0, "h": 0, "width": 1, "w": 1}
_CHANNELS = (1, 2, 3, 4)
"""Of a picture whose channels stand last: no net has so few rows."""


@dataclass(frozen=True)
class Roles:
    """What the inputs are.

    Attributes:
        pictures: names of those whose sides are the size of pictures.
        noise: of those that are noise maps, which one row serves for every picture of a batch.
        known: whether the file itself says so.
    """

    pictures: tuple[str, ...]
    noise: tuple[str, ...] = field(default=())
    known: bool = False


def roles_of(inputs: Mapping[str, Port], described: Mapping[str, str]) -> Roles:
    """What each input is.

    Args: described: the file's metadata, {} where it has none.
    """
    if (said := _said(inputs, described)) is not None:
        return said
    noise = _noise_maps(inputs)
    pictures = tuple(n for n, p in inputs.items() if n not in noise and _may_be_picture(p))
    return Roles(pictures, noise)


def sides_of(port: Port) -> dict[int, int]:
    """Place of a dim -> 0 for the height, 1 for the width, in what has the shape of a picture."""
    named = {i: _SIDES[n.lower()] for i, n in enumerate(port.names) if n.lower() in _SIDES}
    if named or len(port.dims) != 4:
        return named
    last, second = port.dims[3], port.dims[1]
    if last in _CHANNELS and second not in _CHANNELS:
        return {1: 0, 2: 1}
    return {2: 0, 3: 1}


def _said(inputs: Mapping[str, Port], described: Mapping[str, str]) -> Roles | None:
    """What a file of ganpress's says of itself; None of others."""
    if described.get("producer") != "ganpress":
        return None
    try:
        given = json.loads(described["preprocessing"])["inputs"]
        kinds = {name: str(given[name]["is"]) for name in inputs}
    except (KeyError, TypeError, ValueError):
        kinds = {name: "picture" if name in _OURS else "" for name in inputs}
        kinds |= {name: "noise map" for name in inputs if name.startswith("noise")}
    return Roles(
        tuple(name for name, kind in kinds.items() if kind in PICTURES),
        tuple(name for name, kind in kinds.items() if kind == "noise map"),
        known=True,
    )


def _may_be_picture(port: Port) -> bool:
    """Whether it has sides, of more than a pixel: (n, c, 1, 1) is a code, as is (n, 1, 1, c)."""
    return bool(sides_of(port)) and port.dims[1:].count(1) < 2


def _noise_maps(inputs: Mapping[str, Port]) -> tuple[str, ...]:
    """Those called noise, and maps of one channel that come in several sizes."""
    shaped = {name: port for name, port in inputs.items() if sides_of(port)}
    grey = {
        name: tuple(port.dims[place] for place in sides_of(port))
        for name, port in shaped.items()
        if len(port.dims) == 4 and port.dims[1] == 1
    }
    several = len({sides for sides in grey.values() if None not in sides}) > 1
    return tuple(name for name in shaped if "noise" in name.lower() or (several and name in grey))
