"""One type of sizes: written 256 or 256x512, height first, an int where it is square."""

from __future__ import annotations

import pytest

from ganpress.errors import ConfigError
from ganpress.types.sizes import as_size, covers, height_width, is_multiple, scaled, shorter, words


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ("256", 256),
        ("256x512", (256, 512)),
        ("256X512", (256, 512)),
        ("256×512", (256, 512)),
        (" 256 x 512 ", (256, 512)),
        ("256,512", (256, 512)),
        ("64x64", 64),
        (64, 64),
        ((64, 64), 64),
        ([256, 512], (256, 512)),
        ((256, 512), (256, 512)),
    ],
)
def test_a_size_is_read_from_what_people_write(given: object, want: object) -> None:
    assert as_size(given) == want


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x",
        "256x",
        "x512",
        "256x512x3",
        "4 4",
        "1.5",
        2.0,
        None,
        True,
        (1,),
        (1, 2, 3),
        (1, "2"),
    ],
)
def test_what_is_no_size_is_refused_with_an_example(given: object) -> None:
    with pytest.raises(ConfigError, match=r"--size is .*256x512"):
        as_size(given, "--size")


@pytest.mark.parametrize("given", ["0", "-5", "0x64", (64, 0), -4, (64, -64)])
def test_a_size_without_pixels_is_refused(given: object) -> None:
    with pytest.raises(ConfigError, match="at least 1 pixel"):
        as_size(given)


def test_height_comes_first() -> None:
    assert height_width(as_size("256x512")) == (256, 512)
    assert words((256, 512)) == "256x512" and words(64) == "64"
    assert as_size(words((256, 512))) == (256, 512)


def test_a_crop_must_be_covered_in_both_directions() -> None:
    assert covers((286, 572), (256, 512)) and covers(256, 256)
    assert not covers(286, (256, 512)) and not covers((200, 999), 256)


def test_both_sides_count() -> None:
    assert is_multiple((32, 64), 32) and not is_multiple((32, 48), 32)
    assert not is_multiple((48, 32), 32)
    assert shorter((512, 256)) == 256


def test_a_size_is_scaled_in_each_direction_by_its_own_ratio() -> None:
    assert scaled(286, 256, 128) == 143
    assert scaled((300, 400), (100, 200), (50, 50)) == (150, 100)
    assert scaled(257, 256, 128) == 128  # 128.5, to even; never less than what is covered
