"""Search spaces: what a choice stands for, and what is refused."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from ganpress.errors import ConfigError
from ganpress.methods.once_for_all.search.space import Slot, Space, check_fits
from ganpress.methods.once_for_all.search.spaces import read_space, space_for
from ganpress.models.families import FAMILIES

SPACE = Space(
    (Slot("stem", {"stem": 1}, (32, 24, 16)), Slot("deep", {"trunk": 4, "down2": 2}, (8, 4)))
)


def test_a_choice_sets_the_channels_of_every_group_of_its_slots() -> None:
    assert SPACE.widths((24, 8)) == {"stem": 24, "trunk": 32, "down2": 16}
    assert (SPACE.largest, SPACE.smallest, SPACE.size) == ((32, 8), (16, 4), 6)
    assert list(SPACE.enumerate()) == [(a, b) for a in (32, 24, 16) for b in (8, 4)]


def test_a_name_is_its_numbers_and_leads_back() -> None:
    assert SPACE.name((24, 8)) == "24_8"
    assert all(SPACE.parse(SPACE.name(choice)) == choice for choice in SPACE.enumerate())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("24", "has 1 numbers; this space has 2 slots: stem, deep"),
        ("24_5", "has 5 in slot 'deep', which can be 8, 4"),
        ("wide", "write one number for each slot, such as 16_4"),
    ],
)
def test_a_name_of_another_space_is_refused(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SPACE.parse(name)


def test_draws_are_alike_unless_they_are_biased_to_small_widths() -> None:
    def counts(bias: float) -> list[int]:
        rng = Random(0)
        drawn = [SPACE.sample(rng, bias)[0] for _ in range(3000)]
        return [drawn.count(n) for n in (32, 24, 16)]

    assert all(abs(count - 1000) < 120 for count in counts(1.0))
    wide, middle, narrow = counts(2.0)  # weights 1, 2, 4 of 7
    assert abs(wide - 429) < 100 and abs(middle - 857) < 120 and abs(narrow - 1714) < 120


@pytest.mark.parametrize(
    ("slots", "said"),
    [
        ([], "at least one slot"),
        ([("a", {}, (4,))], "at least one of each"),
        ([("a", {"g": 1}, (4, 8))], r"from the largest down: \[8, 4\]"),
        ([("a", {"g": 1}, (8, 8))], r"\[8\]"),
        ([("a", {"g": 0}, (8,))], "whole, from 1 on"),
        ([("a", {"g": 1}, (8.0,))], "whole, from 1 on"),
        ([("a", {"g": 1}, (8,)), ("b", {"g": 1}, (8,))], "'a' and 'b' both set the group 'g'"),
    ],
)
def test_a_space_that_contradicts_itself_is_refused(slots: list[tuple], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Space(tuple(Slot(*slot) for slot in slots))


def test_a_space_of_another_network_is_refused() -> None:
    network = {"stem": 32, "trunk": 32, "down2": 16}
    check_fits(SPACE, network)
    with pytest.raises(ConfigError, match=r"'trunk', which this .* \(did you mean 'trunks'\?\)"):
        check_fits(SPACE, {"stem": 32, "trunks": 32, "down2": 16})
    with pytest.raises(ConfigError, match=r"up to 32 channels of group 'stem', .* has 31"):
        check_fits(SPACE, {**network, "stem": 31})
    with pytest.raises(ConfigError, match="No slot of the search space sets up1"):
        check_fits(SPACE, {**network, "up1": 8})
    check_fits(SPACE, {**network, "up1": 8}, free=("up1",))


def test_a_space_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(
        '[[slot]]\nname = "stem"\ngroups = {stem = 1}\nnumbers = [32, 24, 16]\n'
        '[[slot]]\nname = "deep"\ngroups = {trunk = 4, down2 = 2}\nnumbers = [8, 4]\n'
    )
    assert read_space(file) == SPACE
    options = FAMILIES["cyclegan"].resolve({})
    with pytest.raises(ConfigError, match=r"sets the group 'down2'.*did you mean 'down1'"):
        space_for(str(file), "cyclegan", options, FAMILIES["cyclegan"].full(options))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"has no \[\[slot\]\]"),
        ("slot = 3", r"has no \[\[slot\]\]"),
        ("[[slot]]\nname = 'a'\ngroup = {a = 1}\n", r"has 'group' \(did you mean 'groups'\?\)"),
        ("[[slot]]\nname = 'a'\ngroups = {a = 1}\n", "no usable 'numbers'"),
        ("[[slot", "is not valid TOML"),
    ],
)
def test_a_file_that_holds_no_space_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_space(file)
    with pytest.raises(ConfigError, match=r"no search space .*owm.toml \(did you mean 'own.toml'"):
        read_space(tmp_path / "owm.toml")
