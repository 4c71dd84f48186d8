"""Inputs for a file that says no more of itself than names, dims and types.

Free dims are filled in where their place or name says what they are: the first is the batch, the
two sides of a picture are its size (`roles` tells pictures from noise maps and codes). What cannot
be known is asked for, never guessed; what was taken for known is said (`assumed`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ganpress.errors import ConfigError, did_you_mean
from ganpress.formats.runtimes import Port
from ganpress.measures.files.roles import Roles, roles_of, sides_of
from ganpress.types.sizes import Size, height_width, spelled, words

Dims = tuple[int, ...]
FLAG = "--input"
_BATCH = ("batch", "batch_size", "n", "b")
USUAL = 256
"""Pixels of free sides, where no size is asked for."""


def dims_of(
    inputs: Mapping[str, Port],
    *,
    size: Size | None,
    batch: int | None,
    given: Mapping[str, Dims] | None = None,
    where: str = "The file",
    described: Mapping[str, str] | None = None,
) -> dict[str, Dims]:
    """The dims of each input of a file, every one a number.

    Args:
        size: of the pictures, pixels, and of how many at a time; None: what the file fixes, or
            256 and 1.
        given: dims of inputs by name, which go before everything else.
        where: the file's name, for messages.
        described: its metadata.

    Raises: ConfigError for a name in ``given`` that the file does not read, for a size, batch or
        dims that differ from what the file fixes, and for a free dim of unknown meaning.
    """
    said = given or {}
    for name in said:
        if name not in inputs:
            raise ConfigError(
                f"{where} reads no '{name}'{did_you_mean(name, inputs)}: {FLAG} is for "
                f"{', '.join(inputs)}."
            )
    roles = roles_of(inputs, described or {})
    return {
        name: _checked(name, port, said[name], where)
        if name in said
        else _filled(name, port, size if name in roles.pictures else None, batch, where, roles)
        for name, port in inputs.items()
    }


def batch_of(
    inputs: Mapping[str, Port],
    dims: Mapping[str, Dims],
    described: Mapping[str, str] | None = None,
) -> int:
    """Pictures at a time: the batch of the first input that has one, noise maps aside, of which a
    row serves a whole batch; 1 where none has (a single code, a number)."""
    noise = roles_of(inputs, described or {}).noise
    read = {name: port for name, port in inputs.items() if name not in noise}
    found = (d for n, port in read.items() for i, d in enumerate(dims[n]) if _is_batch(port, i))
    return next(found, 1)


def check_made(
    size: Size | None, inputs: Mapping[str, Port], outputs: Mapping[str, Port],
    described: Mapping[str, str], where: str,
) -> None:  # fmt: skip
    """Refuse a size of a file that reads no pictures and makes those of another: ConfigError."""
    if size is None or roles_of(inputs, described).pictures:
        return
    made = [tuple(port.dims[k] for k in sides_of(port)) for port in outputs.values()]
    fixed = [sides for sides in made if len(sides) == 2 and None not in sides]
    if fixed and height_width(size) not in fixed:
        there = (fixed[-1][0] or 0, fixed[-1][1] or 0)
        raise ConfigError(
            f"{where} reads no pictures, and makes those of {spelled(there)} pixels and no others: "
            f"leave --size out, or give --size {words(there)}."
        )


def assumed(
    inputs: Mapping[str, Port],
    described: Mapping[str, str],
    *,
    size: Size | None,
    given: Mapping[str, Dims] | None = None,
) -> str:
    """What was taken for known of a file that does not say what it reads; "" where nothing was."""
    roles, said = roles_of(inputs, described), given or {}
    if roles.known:
        return ""
    open_ = [
        name for name in roles.pictures
        if size is None and name not in said
        and any(inputs[name].dims[place] is None for place in sides_of(inputs[name]))
    ]  # fmt: skip
    noise = [name for name in roles.noise if name not in said]
    parts = [
        f"{_listed(noise)} taken for noise, not for pictures" if noise else "",
        f"{_listed(open_)} taken for pictures of {USUAL} pixels (--size, {FLAG})" if open_ else "",
    ]
    return "; ".join(part for part in parts if part)


def _listed(names: Sequence[str]) -> str:
    """'its inputs a, b, c are'; of many the first and the last."""
    shown = ", ".join(names) if len(names) < 4 else f"{names[0]} to {names[-1]} ({len(names)})"
    return f"its input {shown} is" if len(names) == 1 else f"its inputs {shown} are"


def _checked(name: str, port: Port, dims: Dims, where: str) -> Dims:
    fits = len(dims) == len(port.dims) and all(
        fixed in (None, asked) for fixed, asked in zip(port.dims, dims, strict=True)
    )
    if not fits:
        raise ConfigError(
            f"{FLAG} {name}={spelled_dims(dims)} does not fit {where}, whose '{name}' is "
            f"{_shown(port)} (? is free)."
        )
    return dims


def _filled(
    name: str, port: Port, size: Size | None, batch: int | None, where: str, roles: Roles
) -> Dims:
    sides = sides_of(port) if name in roles.pictures else {}
    found = []
    for place, fixed in enumerate(port.dims):
        if place in sides:
            asked = None if size is None else height_width(size)[sides[place]]
        else:
            asked = batch if _is_batch(port, place) else None
        if fixed is not None:
            serves_all = fixed == 1 and name in roles.noise
            if asked not in (None, fixed) and not serves_all:
                raise ConfigError(_fixed(name, port, place in sides, where))
            found.append(fixed)
        elif place in sides:
            found.append(asked or USUAL)
        elif _is_batch(port, place):
            found.append(asked or 1)
        else:
            raise ConfigError(_unknown(name, port, place, where))
    return tuple(found)


def _is_batch(port: Port, place: int) -> bool:
    named = [i for i, name in enumerate(port.names) if name.lower() in _BATCH]
    return place in named if named else place == 0 and len(port.dims) > 1


def _fixed(name: str, port: Port, is_side: bool, where: str) -> str:
    if is_side:
        sides = {side: port.dims[place] for place, side in sides_of(port).items()}
        there = (sides.get(0) or 0, sides.get(1) or 0)
        free = 0 in there
        what = "one side of its pictures fixed" if free else f"pictures of {spelled(there)} pixels"
        return (
            f"{where} takes {what} and no others: leave --size out"
            + ("" if free else f", or give --size {words(there)}")
            + "."
        )
    count = next(d for i, d in enumerate(port.dims) if _is_batch(port, i))
    return f"{where} takes {count} picture(s) at a time and no others: leave --batch out."


def _unknown(name: str, port: Port, place: int, where: str) -> str:
    said = port.names[place] if place < len(port.names) and port.names[place] else None
    dim = f"dim {place} ('{said}')" if said else f"dim {place}"
    example = "x".join("16" if d is None else str(d) for d in port.dims)
    return (
        f"{where} leaves {dim} of its input '{name}' free ({_shown(port)}), and it cannot be known "
        f"what that is: say all dims of it, such as {FLAG} {name}={example}."
    )


def _shown(port: Port) -> str:
    return "x".join("?" if d is None else str(d) for d in port.dims) or "a scalar"


def spelled_dims(dims: Dims) -> str:
    """(1, 3, 256, 256) -> '1x3x256x256'."""
    return "x".join(map(str, dims))


def read_dims(text: str) -> tuple[str, Dims]:
    """'image=1x3x256x256' -> its name and dims. Raises: ConfigError."""
    name, _, dims = text.partition("=")
    try:
        found = tuple(int(part) for part in dims.lower().split("x"))
    except ValueError:
        found = ()
    if not name or not found or min(found) < 1:
        raise ConfigError(f"{FLAG} {text}: give a name and its dims, such as image=1x3x256x256.")
    return name, found


def draw_feeds(
    inputs: Mapping[str, Port], dims: Mapping[str, Dims], seed: int, *, where: str = "The file"
) -> dict[str, Any]:
    """Random arrays that the file can read: floats in [-1, 1], bytes in 0 to 255, of other whole
    numbers 0 and 1 (they can be indices), and of booleans both.

    Raises: ConfigError for a type that is none of these.
    """
    draw = np.random.default_rng(seed)
    return {
        name: _drawn(draw, port.dtype, dims[name], name, where) for name, port in inputs.items()
    }


def _drawn(draw: Any, dtype: str, dims: Dims, name: str, where: str) -> Any:
    if dtype == "bool":
        return draw.random(dims) < 0.5
    try:
        kind = np.dtype(_dtype(dtype))
    except TypeError as error:
        raise ConfigError(
            f"{where} reads '{name}' as {dtype}, of which no input can be made up."
        ) from error
    if kind.kind in "iu":
        most = 256 if dtype == "uint8" else 2
        return draw.integers(0, most, dims).astype(kind)
    return draw.uniform(-1, 1, dims).astype(kind)


def _dtype(name: str) -> Any:
    if name == "bfloat16":
        import ml_dtypes  # a dependency of onnx

        return ml_dtypes.bfloat16
    if name not in ("float16", "float32", "float64") and not name.lstrip("u").startswith("int"):
        raise TypeError(name)
    return name
