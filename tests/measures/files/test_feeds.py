"""Inputs for files of other people: which dims can be filled in, and which have to be asked for."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ganpress.errors import ConfigError
from ganpress.formats.runtimes import Port
from ganpress.measures.files.feeds import (
    assumed,
    batch_of,
    check_made,
    dims_of,
    draw_feeds,
    read_dims,
)

N = None


def port(*dims: int | None, dtype: str = "float32", names: str = "") -> Port:
    return Port(dims, dtype, tuple(names.split(",")) if names else ("",) * len(dims))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (port(N, 3, N, N), (2, 3, 64, 96)),
        (port(N, N, N, 3), (2, 64, 96, 3)),
        (port(N, 35, N, N), (2, 35, 64, 96)),
        (port(N, 64, 96, 3), (2, 64, 96, 3)),
        (port(N, 128), (2, 128)),
        (port(128), (128,)),
        (port(N, N, 3, N, names="w,h,,batch"), (96, 64, 3, 2)),
        (port(N, 10, 3, 64, 96, names="batch,,,,"), (2, 10, 3, 64, 96)),
    ],
)
def test_free_dims_become_batch_and_size_where_their_place_or_name_says_it(
    given: Port, wanted: tuple[int, ...]
) -> None:
    assert dims_of({"x": given}, size=(64, 96), batch=2) == {"x": wanted}


@pytest.mark.parametrize(
    ("inputs", "batch"),
    [
        ({"x": port(4, 3, 8, 8)}, 4),
        ({"z": port(512)}, 1),  # one code, and no 512 pictures
        ({"truncation": port(1), "z": port(6, 512)}, 6),
        ({"scale": port(), "x": port(64, 96, 3, 2, names="w,h,,batch")}, 2),
    ],
)
def test_the_batch_is_that_of_the_first_input_that_has_one(
    inputs: dict[str, Port], batch: int
) -> None:
    assert batch_of(inputs, dims_of(inputs, size=None, batch=None)) == batch


def test_without_a_size_pictures_have_256_pixels_and_come_alone() -> None:
    assert dims_of({"x": port(N, 3, N, N)}, size=None, batch=None) == {"x": (1, 3, 256, 256)}


@pytest.mark.parametrize(
    ("given", "asked", "message"),
    [
        (port(1, 3, 256, 256), {"size": 128}, r"takes pictures of 256x256 .*give --size 256"),
        (port(1, 3, 256, N), {"size": 128}, "one side of its pictures fixed"),
        (port(1, 3, N, N), {"batch": 4}, r"takes 1 picture\(s\) at a time.*leave --batch out"),
        (port(N, N), {}, r"leaves dim 1 of its input 'x' free \(\?x\?\).*--input x=16x16"),
        (port(N, 7, N, names="batch,,seq"), {}, r"dim 2 \('seq'\)"),
    ],
)
def test_what_does_not_fit_or_cannot_be_known_is_asked_for(
    given: Port, asked: dict[str, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        dims_of({"x": given}, size=asked.get("size"), batch=asked.get("batch"))


def test_the_flag_that_the_message_names_is_accepted() -> None:
    with pytest.raises(ConfigError) as raised:
        dims_of({"x": port(N, 7, N)}, size=None, batch=None)
    flag = str(raised.value).split("--input ")[1].rstrip(".")
    given = dict([read_dims(flag)])
    assert dims_of({"x": port(N, 7, N)}, size=None, batch=None, given=given) == {"x": (16, 7, 16)}


def test_dims_that_are_given_have_to_fit_the_file() -> None:
    ports = {"image": port(1, 3, N, N)}
    with pytest.raises(ConfigError, match=r"image=1x4x8x8 does not fit .* 1x3x\?x\?"):
        dims_of(ports, size=None, batch=None, given={"image": (1, 4, 8, 8)})
    with pytest.raises(ConfigError, match="did you mean 'image'"):
        dims_of(ports, size=None, batch=None, given={"imag": (1, 3, 8, 8)})


@pytest.mark.parametrize("text", ["image", "image=", "=1x3", "image=1xa", "image=0x3"])
def test_a_flag_that_is_no_dims_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="give a name and its dims"):
        read_dims(text)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("float32", -1, 1), ("float16", -1, 1), ("float64", -1, 1), ("uint8", 0, 255),
        ("int64", 0, 1), ("int32", 0, 1), ("bool", 0, 1),
    ],
)  # fmt: skip
def test_inputs_have_the_files_type_and_its_usual_range(dtype: str, low: int, high: int) -> None:
    made: Any = draw_feeds({"x": port(N, dtype=dtype)}, {"x": (4000,)}, 0)["x"]
    assert made.dtype == np.dtype(dtype) and made.shape == (4000,)
    assert low <= made.min() < made.max() <= high
    assert made.max() > 0.9 * high


def test_a_type_that_no_input_can_be_made_of_is_named() -> None:
    with pytest.raises(ConfigError, match="as string, of which no input can be made up"):
        draw_feeds({"x": port(N, dtype="string")}, {"x": (1,)}, 0)


STYLEGAN2 = {"z": port(N, 512), "noise_4": port(1, 1, 4, 4), "noise_8": port(1, 1, 8, 8)}
UNNAMED = {"a": port(N, 512), "b": port(1, 1, 4, 4), "c": port(1, 1, 8, 8), "d": port(1, 1, 8, 8)}


@pytest.mark.parametrize("inputs", [STYLEGAN2, UNNAMED], ids=["named", "by their shapes"])
def test_noise_maps_of_other_peoples_files_are_no_pictures(inputs: dict[str, Port]) -> None:
    """Neither their sides nor their batch of one is what a user asks pictures to be."""
    found = dims_of(inputs, size=1024, batch=4)
    own = {name: p.dims for name, p in inputs.items()}
    assert found == {**own, next(iter(inputs)): (4, 512)}
    said = assumed(inputs, {}, size=1024)
    names = [*inputs][1:]
    assert said == f"its inputs {', '.join(names)} are taken for noise, not for pictures"
    assert assumed(inputs, {}, size=1024, given={n: own[n] for n in names}) == ""


def test_noise_maps_of_free_sides_are_asked_for_and_never_256_pixels() -> None:
    with pytest.raises(ConfigError, match=r"leaves dim 2 of its input 'noise' free"):
        dims_of({"z": port(N, 8), "noise": port(N, 1, N, N)}, size=64, batch=1)


def test_a_code_of_one_pixel_is_no_picture_beside_the_one_that_is() -> None:
    inputs = {"image": port(N, 3, N, N), "style": port(N, 8, 1, 1)}
    assert dims_of(inputs, size=64, batch=2) == {"image": (2, 3, 64, 64), "style": (2, 8, 1, 1)}


def test_two_grey_pictures_of_one_size_are_pictures() -> None:
    inputs = {"a": port(1, 1, 64, 64), "b": port(1, 1, 64, 64)}
    with pytest.raises(ConfigError, match="takes pictures of 64x64 pixels and no others"):
        dims_of(inputs, size=128, batch=1)
    assert assumed(inputs, {}, size=64) == ""


def test_ganpress_files_say_what_their_inputs_are_whatever_their_shapes() -> None:
    """A label map, a code that looks like a picture, and what looks like noise maps."""
    inputs = {"semantics": port(1, 1, N, N), "code": port(1, 3, 32, 32), "a": port(1, 1, 8, 8)}
    kinds = {"semantics": "label map", "code": "numbers", "a": "noise map"}
    told = {"producer": "ganpress", "preprocessing": json.dumps(
        {"inputs": {name: {"is": kind} for name, kind in kinds.items()}})}  # fmt: skip
    found = dims_of(inputs, size=64, batch=1, described=told)
    assert found == {"semantics": (1, 1, 64, 64), "code": (1, 3, 32, 32), "a": (1, 1, 8, 8)}
    assert assumed(inputs, told, size=None) == ""
    old = {"producer": "ganpress", "family": "stylegan2"}  # from before it said so
    assert dims_of(STYLEGAN2, size=1024, batch=2, described=old)["noise_4"] == (1, 1, 4, 4)


def test_pictures_whose_size_nobody_gave_are_said_to_be_assumed() -> None:
    inputs = {"x": port(N, 3, N, N)}
    assert assumed(inputs, {}, size=None) == (
        "its input x is taken for pictures of 256 pixels (--size, --input)"
    )
    assert assumed(inputs, {}, size=64) == assumed({"x": port(1, 3, 64, 64)}, {}, size=None) == ""


def test_of_noise_alone_the_size_is_that_of_what_is_made() -> None:
    made = {"image": port(N, 3, 64, 64)}
    check_made(64, STYLEGAN2, made, {}, "a.xml")
    check_made(None, STYLEGAN2, made, {}, "a.xml")
    check_made(32, STYLEGAN2, {"image": port(N, 3, N, N)}, {}, "a.xml")  # nobody knows
    with pytest.raises(ConfigError, match=r"a\.xml reads no pictures, and makes those of 64x64"):
        check_made(256, STYLEGAN2, made, {}, "a.xml")
