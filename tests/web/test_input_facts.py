"""What the page is told about a model's input: drawings by their examples, labels by their set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from nets import FIRST, WIRINGS, Wiring, every_wiring
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ganpress.errors import CheckpointError, ConfigError
from ganpress.measures.label_sets import CITYSCAPES, COCO_STUFF, COCO_STUFF_NAMES, FACADES
from ganpress.measures.labels import Labelling
from ganpress.measures.metrics.segmentation import IGNORED
from ganpress.web.inputs import NEAR, drawing_of, input_facts, kinds_of, stroke_width
from ganpress.web.label_names import LABEL_SETS, named_labels, names_of, unnamed

Picture = NDArray[np.uint8]


def outline(width: float, *, side: int = 128, paper: int = 255, ink: int = 0) -> Picture:
    """Circles and a box of lines, smoothed: drawn 8 times as large, then shrunk."""
    big = Image.new("L", (8 * side, 8 * side), paper)
    pen, at, line = ImageDraw.Draw(big), 8 * side, round(8 * width)
    pen.ellipse((at * 0.1, at * 0.1, at * 0.7, at * 0.6), outline=ink, width=line)
    pen.ellipse((at * 0.3, at * 0.2, at * 0.45, at * 0.4), outline=ink, width=line)
    pen.rectangle((at * 0.2, at * 0.7, at * 0.9, at * 0.9), outline=ink, width=line)
    return np.asarray(big.resize((side, side), Image.Resampling.BOX).convert("RGB"), np.uint8)


def areas(colours: list[tuple[int, int, int]], side: int = 64) -> Picture:
    """Rows of one colour each, the first the tallest, the last the lowest."""
    picture = np.empty((side, side, 3), np.uint8)
    picture[:] = colours[0]
    top = side
    for k, colour in enumerate(colours[1:], 1):
        height = 4 * (len(colours) - k)
        picture[top - height : top] = colour
        top -= height
    return picture


def noise(side: int = 64) -> Picture:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


# --- drawings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1.5, 3.5, 8.0])
def test_lines_on_paper_are_an_outline_and_their_width_is_measured(width: float) -> None:
    found = drawing_of([outline(width), outline(width)])
    assert found is not None and found.stroke is not None
    assert [c.colour for c in found.palette] == [(255, 255, 255), (0, 0, 0)]
    assert found.stroke * 128 == pytest.approx(width, rel=0.08)


def test_light_lines_on_a_dark_ground_are_an_outline_too() -> None:
    found = drawing_of([outline(4, paper=20, ink=240)])
    assert found is not None and found.stroke is not None
    assert [c.colour for c in found.palette] == [(20, 20, 20), (240, 240, 240)]
    assert found.stroke * 128 == pytest.approx(4, rel=0.08)


def test_grey_and_transparent_examples_are_read_as_colours() -> None:
    grey = outline(4)[..., :1]
    assert drawing_of([grey]) == drawing_of([np.concatenate([outline(4), grey], 2)])
    assert drawing_of([grey]) is not None


def test_a_width_is_a_part_of_the_shorter_side() -> None:
    picture = np.concatenate([outline(4), outline(4)], 1)
    assert stroke_width(picture) == pytest.approx(4 / 128, rel=0.08)
    assert stroke_width(np.full((8, 8, 3), 255, np.uint8)) is None


def test_label_pictures_have_the_colours_that_lie_between_others_too() -> None:
    blues = [(0, 0, 255), (0, 170, 255), (0, 85, 255)]
    found = drawing_of([areas(blues)])
    assert found is not None and found.stroke is None
    assert [c.colour for c in found.palette] == blues  # the commonest first


def test_colours_of_a_known_data_set_have_its_names() -> None:
    colours = [colour for colour, index in FACADES.colours.items() if index in (1, 2, 3)]
    found = drawing_of([areas(colours)])
    assert found is not None
    assert {c.name for c in found.palette} == {"facade", "window", "door"}
    others = drawing_of([areas([(1, 200, 3), colours[0]])])
    assert others is not None
    assert [c.name for c in others.palette] == ["colour 1", "colour 2"]


@pytest.mark.parametrize("known", [CITYSCAPES, FACADES])
def test_each_colour_of_a_data_set_has_the_name_of_its_own_class(known: Labelling) -> None:
    """Cityscapes' bus and train are nearer to each other than two colours that are told apart, and
    so are a truck and a caravan, which is of no class."""
    classes = {colour: index for colour, index in known.colours.items() if index != IGNORED}
    shifted = [tuple(min(255, part + 3) for part in colour) for colour in classes]
    for colours in (list(classes), shifted):
        assert names_of(colours, NEAR) == tuple(known.classes[k] for k in classes.values())


def test_photos_and_pictures_of_one_colour_are_no_drawings() -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    smooth = np.broadcast_to(ramp[:, None, None], (64, 64, 3)).copy()
    smooth[..., 1] = ramp
    bright = noise()  # with a white sky, and a black border: two colours, that cover two thirds
    bright[:40], bright[60:] = 255, 0
    for pictures in ([noise()], [smooth], [bright], [np.full((16, 16, 3), 9, np.uint8)], []):
        assert drawing_of(pictures) is None


@pytest.mark.shared_data
def test_the_pictures_of_the_shared_sets_are_told_apart(request: pytest.FixtureRequest) -> None:
    import os

    folder = Path(os.environ["GANPRESS_DATA"])

    def some(pattern: str, left: int, right: int) -> list[Picture]:
        files = sorted(folder.glob(pattern))
        opened = [Image.open(f).convert("RGB") for f in files[:: max(1, len(files) // 3)]]
        return [np.asarray(o)[:, left:right] for o in opened]

    icons = drawing_of(some("openmoji/val/*.png", 0, 128))
    assert icons is not None and [c.name for c in icons.palette] == ["paper", "line"]
    assert icons.stroke == pytest.approx(2 / 72, rel=0.1)  # of 72 units, lines are 2 wide
    facades = drawing_of(some("facades/label/*.png", 0, 256))
    assert facades is not None and "window" in [c.name for c in facades.palette]
    for photos in ("facades/photo/*.jpg", "monet2photo/testB/*.jpg"):
        assert drawing_of(some(photos, 0, 256)) is None


# --- labels ---------------------------------------------------------------------------------------


def test_label_sets_name_the_ids_of_maps() -> None:
    named = {name: LABEL_SETS[name](35) for name in ("cityscapes", "cityscapes-train")}
    assert named["cityscapes"][7].name == "road" == named["cityscapes-train"][0].name
    assert named["cityscapes"][26].colour == (0, 0, 142)
    assert named["cityscapes"][4].name == "not counted (4)"
    assert [label.name for label in LABEL_SETS["facades"](13)][2:4] == ["facade", "window"]
    stuff = [label.name for label in LABEL_SETS["coco-stuff"](182)]
    # ids that GauGAN's users know by heart
    known = [stuff[k] for k in (0, 123, 147, 156, 168)]
    assert known == ["person", "grass", "river", "sky (other)", "tree"]
    assert len(set(COCO_STUFF_NAMES)) == 182 == len(COCO_STUFF.classes)


def test_labels_that_nothing_is_known_of_have_numbers_and_colours_apart() -> None:
    found = unnamed(40)
    assert found[7].name == "label 7" and len({label.colour for label in found}) == 40


def test_a_file_names_labels(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps([{"name": "sea", "colour": [1, 2, 3]}, {"name": "land"}]))
    sea, land = named_labels(str(file), 2)
    assert (sea.name, sea.colour) == ("sea", (1, 2, 3))
    assert (land.name, land.colour) == ("land", unnamed(2)[1].colour)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "does not list labels"),
        ('{"name": "sea"}', "does not list labels"),
        ('[{"name": "sea", "colour": [1, 2, 300]}, {"name": "land"}]', "not within 0 to 255"),
        ('[{"name": "sea", "colour": [1, 2, 1e999]}, {"name": "land"}]', "does not list labels"),
        ('[{"name": "sea"}]', "names 1 labels, and the network reads 2: .* 0 to 1"),
    ],
)
def test_a_file_that_names_no_labels_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        named_labels(str(file), 2)


def test_unknown_label_sets_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no label set 'citiscapes'.*'cityscapes'"):
        named_labels("citiscapes", 2)
    with pytest.raises(CheckpointError, match=r"none\.json"):
        named_labels(str(tmp_path / "none.json"), 2)


# --- of models ------------------------------------------------------------------------------------


@every_wiring
def test_every_generator_has_an_input_that_feeds_it(wiring: Wiring) -> None:
    model = wiring.model()
    wanted = {
        "cyclegan": ("photo", "draw"),
        "cartoongan": ("photo", "draw"),
        "pix2pix": ("photo", "draw"),
        "gaugan": ("labels",),
        "munit": ("photo", "draw"),
        "sngan": ("latent",),
        "stylegan2": ("latent",),
    }
    assert kinds_of(model) == wanted[wiring.name]
    facts = input_facts(model)
    assert facts["input"] == wanted[wiring.name][0]
    if wiring.name == "gaugan":
        labels = facts["labels"]
        assert labels["count"] == 4 and len(labels["classes"]) == 4 + labels["dontcare"]
        assert labels["edges"] == wiring.settled["edges"]


def test_examples_and_a_card_say_that_a_model_reads_drawings() -> None:
    model = FIRST["pix2pix"].model()
    assert input_facts(model, examples=[noise()]) == {"input": "photo"}
    drawn = input_facts(model, examples=[outline(4)])
    assert drawn["input"] == "draw" and drawn["stroke"] == pytest.approx(4 / 128, rel=0.08)
    assert drawn["palette"][1] == {"name": "line", "colour": [0, 0, 0]}
    card = {"input": {"palette": drawn["palette"], "stroke": 0.02}}
    assert input_facts(model, card=card)["stroke"] == 0.02
    assert input_facts(model, card=card, examples=[outline(4)])["stroke"] == drawn["stroke"]
    assert input_facts(model, examples=[outline(4)], kind="photo")["input"] == "photo"
    assert input_facts(model, kind="draw")["stroke"] == pytest.approx(2 / 72)


def test_labels_are_named_by_what_is_asked_for_the_card_or_their_number() -> None:
    model = FIRST["gaugan"].model()
    name = input_facts(model, label_set="facades", card={"labels": "coco-stuff"})
    assert name["labels"]["classes"][2]["name"] == "facade" and name["labels"]["set"] == "facades"
    card = input_facts(model, card={"labels": "coco-stuff"})["labels"]["classes"]
    assert card[0]["name"] == "person"
    assert input_facts(model)["labels"]["classes"][0]["name"] == "label 0"
    many = Wiring("gaugan", {"labels": 182, "dontcare": True}).model()
    classes = input_facts(many)["labels"]["classes"]
    assert classes[156]["name"] == "sky (other)" and classes[182]["name"] == "don't care"
    assert input_facts(many, label_set="cityscapes")["labels"]["classes"][7]["name"] == "road"


def test_an_input_that_a_model_does_not_read_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"reads z: it cannot be given 'photo'. Choose latent"):
        input_facts(WIRINGS["sngan"].model(), kind="photo")
    with pytest.raises(ConfigError, match=r"'foto' .did you mean 'photo'.{3} Choose photo or draw"):
        input_facts(WIRINGS["pix2pix"].model(), kind="foto")
