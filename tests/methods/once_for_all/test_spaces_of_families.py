"""The paper's spaces and chosen width sets, counted; and a space for every family and teacher."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from nets import WIRINGS, Wiring

from ganpress.errors import ConfigError
from ganpress.measures.cost import CostTable
from ganpress.methods.once_for_all.search.spaces import (
    PUBLISHED,
    default_space,
    published_space,
    space_for,
)
from ganpress.models.families import FAMILIES
from ganpress.models.families.munit import ByReference
from ganpress.types.sizes import Size

MORE = {"upsampling": "more"}
COCO = {"labels": 182, "dontcare": True}
WIDE: Size = (256, 512)

SIZES = [
    ("cyclegan", "channels-32", 6561),
    ("cyclegan", "channels-48", 5184),
    ("cyclegan", "channels-64-cyclegan", 5**8),
    ("cyclegan", "channels-64-pix2pix", 7**8),
    ("gaugan", "channels-48", 3**5 * 4**3),
    ("gaugan", "channels-64", 4**5 * 5**3),
    ("gaugan", "channels-64-coco", 5**8),
    ("munit", "channels-64", 7**10),
]
# The authors' published student: parameters in millions, MACs in G by their tool, which counts
# transposed convolutions at the output's resolution, and norms. Two rows do not follow from the
# published width sets (methods.md 1.2): what they do give was recomputed there from the classes.
CHOSEN: list[tuple[str, str, dict[str, Any], Size, str, float, float]] = [
    ("cyclegan", "channels-32", {}, 256, "16_16_32_16_32_32_16_16", 0.357, 2.55),
    ("cyclegan", "channels-64-cyclegan", {}, 256, "16_16_24_16_32_64_16_24", 0.355, 2.64),
    ("cyclegan", "channels-48", {}, 256, "32_32_48_32_48_48_16_16", 0.822, 4.99),
    ("cyclegan", "channels-64-pix2pix", {}, 256, "24_24_40_56_24_56_16_40", 0.703, 4.83),
    ("cyclegan", "channels-48", {}, 256, "32_32_48_32_32_48_24_24", 0.781, 5.59),
    ("cyclegan", "channels-64-pix2pix", {}, 256, "16_24_48_56_40_48_24_16", 0.886, 5.42),
    ("cyclegan", "channels-48", {}, 256, "32_32_48_32_48_32_16_16", 0.746, 4.68),
    ("cyclegan", "channels-64-pix2pix", {}, 256, "16_16_40_40_40_64_24_16", 0.720, 4.54),
    ("gaugan", "channels-48", MORE, WIDE, "32_40_40_32_40_24_32_24", 21.0, 31.2),
    ("gaugan", "channels-64", MORE, WIDE, "32_32_32_48_32_24_24_32", 20.2, 31.3),
    ("gaugan", "channels-64-coco", COCO, 256, "40_32_32_40_32_40_24_24", 26.0, 35.5),
    ("munit", "channels-64", {}, 256, "16_16_16_24_56_16_40_40_32_24", 1.10, 2.63),
]


@pytest.mark.parametrize(("family", "name", "size"), SIZES)
def test_a_published_space_has_as_many_sets_as_the_paper_says(
    family: str, name: str, size: int
) -> None:
    options = FAMILIES[family].resolve({"separable": True})
    space = space_for(name, family, options, FAMILIES[family].full(options))
    assert space.size == size


def test_every_published_space_is_counted() -> None:
    counted = {(family, name) for family, name, _ in SIZES}
    assert counted == {(family, name) for family in PUBLISHED for name in PUBLISHED[family]}


@pytest.mark.parametrize(
    ("family", "space", "options", "size", "chosen", "params", "macs"),
    CHOSEN,
    ids=[f"{row[0]}-{row[4]}" for row in CHOSEN],
)
def test_a_chosen_set_has_the_published_parameters_and_macs(
    family: str,
    space: str,
    options: dict[str, Any],
    size: Size,
    chosen: str,
    params: float,
    macs: float,
) -> None:
    known = FAMILIES[family].resolve({**options, "separable": True})
    found = published_space(space, family, known)
    with torch.device("meta"):
        net = FAMILIES[family].build(found.widths(found.parse(chosen)), **known)
    own = CostTable(net, size)()
    counted = CostTable(ByReference(net), size)() if family == "munit" else own
    digits = 1 if params > 10 else 3 if params < 1 else 2
    assert round(own.params / 1e6, digits) == pytest.approx(params, abs=1e-9)
    norms = macs - counted.macs_outres / 1e9  # what their tool counts besides
    assert -0.005 < norms < 0.013 * macs  # they are rounded to 10 M


def test_munits_and_the_table_of_methods_agree_to_the_digit() -> None:
    options = FAMILIES["munit"].resolve({"separable": True})
    space = published_space("channels-64", "munit", options)
    widths = space.widths(space.parse("16_16_16_24_56_16_40_40_32_24"))
    with torch.device("meta"):
        net = FAMILIES["munit"].build(widths, **options)
    assert round(CostTable(net, 256)().macs / 1e9, 3) == 2.096
    assert round(CostTable(ByReference(net), 256)().macs / 1e9, 3) == 2.602  # methods.md: 2.603


def test_a_spade_block_sets_its_norms_hidden_channels_at_twice_its_number() -> None:
    space = published_space("channels-64", "gaugan", FAMILIES["gaugan"].resolve({}))
    widths = space.widths((64, 48, 40, 32, 64, 24, 32, 40))
    assert widths["trunk"] == 64 * 16
    assert widths["head_0_mid"] == 48 * 16 and widths["head_0_hidden_1"] == 96
    assert widths["up_0"] == widths["up_0_mid"] == 64 * 8
    assert widths["up_1"] == 24 * 4 and widths["up_1_hidden_s"] == 48
    assert widths["up_3"] == 40 and widths["up_3_hidden_0"] == 80


@pytest.mark.parametrize(
    ("blocks", "thirds"), [(9, (3, 3, 3)), (8, (2, 2, 4)), (6, (2, 2, 2)), (3, (1, 1, 1))]
)
def test_residual_blocks_are_in_equal_thirds_the_last_with_what_is_left(
    blocks: int, thirds: tuple[int, ...]
) -> None:
    options = FAMILIES["cyclegan"].resolve({"blocks": blocks})
    space = published_space("channels-32", "cyclegan", options)
    assert tuple(len(slot.groups) for slot in space.slots[3:6]) == thirds
    assert [group for slot in space.slots[3:6] for group in slot.groups] == [
        f"block{i}" for i in range(blocks)
    ]


@pytest.mark.parametrize(
    ("family", "name", "options", "said"),
    [
        ("cyclegan", "channels-46", {}, r"did you mean 'channels-48'"),
        ("pix2pix", "channels-48", {}, "a space of cyclegan and gaugan"),
        ("cyclegan", "channels-32", {"blocks": 2}, "has a slot 'blocks, first third'"),
        ("munit", "channels-64", {"style_encoder": False}, "has a slot 'style', which is no part"),
        ("cyclegan", "channels-32", {"downsamplings": 3}, "No slot of the search space sets down2"),
        ("gaugan", "channels-64", {"upsampling": "most"}, "No slot of .* sets up_4"),
    ],
)
def test_a_published_space_that_does_not_fit_is_refused(
    family: str, name: str, options: dict[str, Any], said: str
) -> None:
    known = FAMILIES[family].resolve(options)
    with pytest.raises(ConfigError, match=said):
        space_for(name, family, known, FAMILIES[family].full(known))
    assert space_for("default", family, known, FAMILIES[family].full(known)).size > 1


def test_a_published_space_wider_than_the_network_is_refused() -> None:
    options = FAMILIES["cyclegan"].resolve({})
    narrow = {group: width // 2 for group, width in FAMILIES["cyclegan"].full(options).items()}
    with pytest.raises(ConfigError, match=r"up to 48 channels of group 'stem', .* has 32"):
        space_for("channels-48", "cyclegan", options, narrow)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_space_that_starts_at_the_network_itself(family: str) -> None:
    options = FAMILIES[family].resolve({})
    full = FAMILIES[family].full(options)
    space = default_space(family, options, full)
    searched = {g: w for g, w in full.items() if g in space.groups}
    assert space.widths(space.largest) == searched
    assert all(g.startswith("mlp") for g in full if g not in searched)
    smallest = space.widths(space.smallest)
    assert all(smallest[g] == pytest.approx(w / 4, abs=8) for g, w in searched.items())
    assert all(n % 8 == 0 for slot in space.slots for n in slot.numbers)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_foreign_teacher_of_any_widths_has_a_space(family: str) -> None:
    options = FAMILIES[family].resolve({})
    rng = random.Random(family)
    odd = {group: rng.randint(1, 97) for group in FAMILIES[family].full(options)}
    space = default_space(family, options, odd, multiple=4, min_channels=12)
    for choice in (space.largest, space.smallest, space.sample(rng)):
        widths = space.widths(choice)
        assert all(min(12, odd[g]) <= n <= odd[g] for g, n in widths.items())
        assert all(n == odd[g] or n % 4 == 0 for g, n in widths.items())
    assert space.widths(space.largest) == {g: odd[g] for g in space.groups}


def test_groups_whose_widths_are_no_multiples_have_slots_of_their_own() -> None:
    options = FAMILIES["cyclegan"].resolve({"blocks": 9})
    widths = {**FAMILIES["cyclegan"].full(options), "block1": 100, "block2": 200}
    slots = {s.name: dict(s.groups) for s in default_space("cyclegan", options, widths).slots}
    assert slots["block1, block2"] == {"block1": 1, "block2": 2}
    assert slots["block0"] == {"block0": 1}


@pytest.mark.parametrize("ratio", [0.0, 1.5, -0.5])
def test_a_ratio_out_of_range_is_refused(ratio: float) -> None:
    options = FAMILIES["sngan"].resolve({})
    with pytest.raises(ConfigError, match=f"up to 1; got {ratio:g}"):
        default_space("sngan", options, FAMILIES["sngan"].full(options), [1.0, ratio])


@pytest.mark.parametrize("wiring", WIRINGS.values(), ids=list(WIRINGS))
def test_every_wirings_smallest_set_can_be_built(wiring: Wiring) -> None:
    space = default_space(wiring.name, wiring.settled, wiring.widths, multiple=1, min_channels=1)
    with torch.device("meta"):
        small = wiring.build({**wiring.widths, **space.widths(space.smallest)})
    params = CostTable(small, wiring.pixels)().params
    assert params < CostTable(wiring.ghost, wiring.pixels)().params
