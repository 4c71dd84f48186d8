"""The canvases of the page, in a browser: what each stroke gives the models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chromium import Browser, browser
from nets import Wiring
from numpy.typing import NDArray
from page_harness import given, harness_in, served, start
from thin import thinned

from ganpress.web.inputs import drawing_of, input_facts
from ganpress.web.label_names import unnamed

pytestmark = pytest.mark.chromium

SIDE = 64
STROKE = 3 / SIDE
PAPER, LINE = {"name": "paper", "colour": [255, 255, 255]}, {"name": "line", "colour": [0, 0, 0]}
CANVAS = ".draw-canvas"
BOTH = ((False, True), (True, False))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, str]]:
    """Over a second: it starts a browser, once for all of these."""
    with browser() as opened, served(harness_in(tmp_path_factory.mktemp("harness"))) as url:
        yield opened, url


@pytest.fixture
def page(shared: tuple[Browser, str]) -> Browser:
    return fresh(shared)


def fresh(shared: tuple[Browser, str], **how: Any) -> Browser:
    opened, url = shared
    opened.open(url, **how)
    opened.wait_for("globalThis.start !== undefined")
    return opened


def outlines(**changed: Any) -> dict[str, Any]:
    """The entry of a model that reads outlines."""
    return {
        "size": [SIDE, SIDE],
        "inputs": {"image": {"dims": [1, 3, SIDE, SIDE]}},
        "range": [-1, 1],
        "palette": [PAPER, LINE],
        "stroke": STROKE,
        **changed,
    }


def maps(labels: int = 4, *, edges: bool = False, dontcare: bool = False) -> dict[str, Any]:
    """The entry of a model that reads label maps, as Python writes it."""
    wiring = Wiring("gaugan", {"labels": labels, "edges": edges, "dontcare": dontcare})
    dims = [1, labels + dontcare + edges, SIDE, SIDE]
    facts = input_facts(wiring.model())
    return {"size": [SIDE, SIDE], "inputs": {"semantics": {"dims": dims}}, **facts}


def ink(page: Browser) -> NDArray[np.float32]:
    """How black each pixel of the newest outline is, 0 to 1: (h, w)."""
    return (1 - given(page, "image")[0, 0]) / 2


def ids(page: Browser, name: str = "semantics") -> NDArray[np.int64]:
    """The classes of the newest label map; each pixel has one."""
    semantics = given(page, name)[0]
    assert (semantics[:4].sum(0) == 1).all() and set(np.unique(semantics)) <= {0.0, 1.0}
    return np.asarray(semantics[:4].argmax(0))


def empty(page: Browser, model: dict[str, Any] | None = None) -> None:
    """An empty canvas for outlines."""
    start(page, "draw", model or outlines())
    page.click("[aria-keyshortcuts=Delete]")
    assert ink(page).max() == 0


def line(page: Browser, first: tuple[float, float], last: tuple[float, float]) -> None:
    """From one place of the canvas to another, in steps."""
    ways = [tuple(a + (b - a) * k / 8 for a, b in zip(first, last, strict=True)) for k in range(9)]
    page.drag([page.place(CANVAS, *way) for way in ways])


def choose(page: Browser, label: int) -> None:
    page.run(f"document.querySelector('.draw-label input[value=\"{label}\"]').click()")


# --- outlines -------------------------------------------------------------------------------------


def test_a_stroke_is_as_wide_and_as_smooth_as_the_lines_the_model_was_trained_on(
    page: Browser,
) -> None:
    empty(page)
    line(page, (0.2, 0.5), (0.8, 0.5))
    black = ink(page)
    across = black.sum(0)  # of a line, its width
    assert across[16:48] == pytest.approx(np.full(32, STROKE * SIDE), abs=0.1)
    assert across[:10].max() == 0 == across[54:].max()
    assert black.max() == 1 and ((black > 0.05) & (black < 0.95)).any()  # smoothed borders
    line(page, (0.25, 0.1), (0.25, 0.4))
    assert ink(page)[10:22].sum(1) == pytest.approx(np.full(12, STROKE * SIDE), abs=0.1)


def test_the_models_see_a_stroke_while_it_is_drawn(page: Browser) -> None:
    empty(page)
    x, y = page.place(CANVAS, 0.3, 0.3)
    u, v = page.place(CANVAS, 0.7, 0.7)
    held = {"button": "left", "buttons": 1, "clickCount": 1}
    page.ask("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **held)
    dot = ink(page).sum()
    page.ask("Input.dispatchMouseEvent", type="mouseMoved", x=u, y=v, **held)
    assert ink(page).sum() > 5 * dot > 0
    page.ask("Input.dispatchMouseEvent", type="mouseReleased", x=u, y=v, **held)


def test_a_slow_model_is_given_the_newest_drawing_and_no_queue_of_old_ones(page: Browser) -> None:
    empty(page)
    page.run("delay = 150; given.length = 0")
    for k in range(6):
        line(page, (0.1, 0.1 + 0.15 * k), (0.9, 0.1 + 0.15 * k))
    whole = ink(page)
    drawn, given_to_it = 6 * 10, page.run("given.length")
    assert given_to_it < drawn / 2
    assert whole[:, SIDE // 2].sum() == pytest.approx(6 * STROKE * SIDE, rel=0.05)


def test_a_quick_hand_of_which_few_points_are_seen_keeps_its_corners(page: Browser) -> None:
    empty(page)
    page.drag([page.place(CANVAS, *at) for at in ((0.2, 0.8), (0.5, 0.2), (0.8, 0.8))])
    drawn = ink(page)
    assert drawn[int(0.24 * SIDE), SIDE // 2] > 0.5 and drawn[: int(0.15 * SIDE)].max() == 0
    assert drawn[SIDE // 2].sum() > 2 * STROKE * SIDE  # both legs, which are slanted


def test_a_tap_is_a_dot(page: Browser) -> None:
    empty(page)
    page.click(CANVAS, 0.5, 0.5)
    area = np.pi * (STROKE * SIDE / 2) ** 2
    assert ink(page).sum() == pytest.approx(area, rel=0.1)


def test_the_eraser_takes_lines_away_and_undo_brings_them_back(page: Browser) -> None:
    empty(page)
    line(page, (0.2, 0.5), (0.8, 0.5))
    drawn = ink(page)
    page.click("[aria-keyshortcuts=E]")
    assert page.run("document.querySelector('[aria-pressed=true]').textContent") == "Eraser"
    line(page, (0.5, 0.3), (0.5, 0.7))
    gap = ink(page)
    assert gap[:, 30:34].max() == 0 and (gap[:, :24] == drawn[:, :24]).all()
    page.click("[aria-keyshortcuts='Control+Z']")
    assert (ink(page) == drawn).all()
    page.press("z", "Control", "Shift")
    assert (ink(page) == gap).all()
    page.press("Delete")
    assert ink(page).max() == 0
    page.press("z", "Control")
    assert (ink(page) == gap).all()
    line(page, (0.1, 0.1), (0.3, 0.1))  # what was undone cannot come back now
    assert page.run("document.querySelector('[aria-keyshortcuts^=\"Control+Y\"]').disabled")


def test_a_finger_and_a_stylus_draw_too(page: Browser) -> None:
    empty(page)
    page.swipe([page.place(CANVAS, x, 0.3) for x in (0.2, 0.4, 0.6, 0.8)])
    finger = ink(page)
    assert finger[:, 32].sum() == pytest.approx(STROKE * SIDE, abs=0.1)
    page.drag([page.place(CANVAS, x, 0.7) for x in (0.2, 0.4, 0.6, 0.8)], pointer="pen")
    stylus = ink(page)
    assert stylus[:, 32].sum() == pytest.approx(2 * STROKE * SIDE, abs=0.2)
    page.swipe([page.place(CANVAS, 0.5, y) for y in (0.1, 0.9)])  # a palm beside the stylus
    assert (ink(page) == stylus).all()


def test_by_keyboard_alone_a_shape_is_drawn(page: Browser) -> None:
    empty(page)
    page.run(f"document.querySelector('{CANVAS}').focus()")
    for key in (" ", *["ArrowRight"] * 3, *["ArrowDown"] * 3, " "):
        page.press(key, *(["Shift"] if key.startswith("Arrow") else []))
    drawn = ink(page)
    step = SIDE / 72  # a step is a unit, with Shift it is 8
    middle, far = 36.5 * step, (36.5 + 24) * step
    assert drawn[int(middle), int(middle + 4) : int(far - 4)].min() > 0.5
    assert drawn[int(middle + 4) : int(far - 4), int(far)].min() > 0.5
    assert page.run("said") == ["The canvas is empty.", "Pen down.", "Pen up."]
    page.press("ArrowLeft")
    assert (ink(page) == drawn).all()  # the pen is up
    page.press("e")
    page.press(" ")
    page.press("Escape")
    assert page.run("said.at(-1)") == "Eraser down." and ink(page).sum() < drawn.sum()


def test_keys_change_the_width(page: Browser) -> None:
    empty(page)
    for _ in range(4):
        page.press("]")
    line(page, (0.2, 0.5), (0.8, 0.5))
    assert ink(page)[:, 32].sum() == pytest.approx(2 * STROKE * SIDE, abs=0.1)
    assert page.run("document.querySelector('output').textContent") == "2.00 × as trained"


def test_the_module_opens_with_an_example_and_every_example_is_an_outline(page: Browser) -> None:
    start(page, "draw", outlines(size=[128, 128], inputs={"image": {"dims": [1, 3, 128, 128]}}))
    seen = []
    for k in range(page.run("document.querySelectorAll('.draw-example').length")):
        page.click(f".draw-example:nth-child({k + 1})")
        pixels = np.rint((given(page, "image")[0].transpose(1, 2, 0) + 1) * 127.5)
        found = drawing_of([pixels.astype(np.uint8)])
        assert found is not None and [c.name for c in found.palette] == ["paper", "line"]
        assert found.stroke == pytest.approx(2 / 72, rel=0.35)  # filled eyes count as wide lines
        border = np.concatenate([pixels[:4].ravel(), pixels[-4:].ravel(), pixels[:, :4].ravel()])
        assert (border == 255).all()  # nothing is cut off
        seen.append(pixels)
    assert len(seen) >= 8 and len({p.tobytes() for p in seen}) == len(seen)


@pytest.mark.parametrize("channels", thinned([1, 4], (1).__eq__))
def test_pictures_of_other_channels_sizes_and_colours_are_drawn(
    page: Browser, channels: int
) -> None:
    dark = [{"name": "ground", "colour": [0, 0, 0]}, {"name": "chalk", "colour": [255, 255, 255]}]
    free = {"image": {"dims": [None, channels, None, None]}}
    model = outlines(inputs=free, size=[32, 96], palette=dark)
    start(page, "draw", model)
    page.click("[aria-keyshortcuts=Delete]")
    line(page, (0.1, 0.5), (0.9, 0.5))
    seen = given(page, "image")
    assert seen.shape == (1, channels, 32, 96)
    assert seen[0, 0, 0, 0] == -1 and seen[0, 0, 16, 48] > 0
    wide = ((seen[0, 0] + 1) / 2).sum(0)[20:70]
    assert wide == pytest.approx(np.full(50, STROKE * 32), abs=0.1)


def test_a_drawing_is_still_there_when_the_module_comes_back(page: Browser) -> None:
    empty(page)
    line(page, (0.2, 0.2), (0.8, 0.8))
    drawn = ink(page)
    start(page, "draw", maps())
    start(page, "draw", outlines())
    assert (ink(page) == drawn).all()


# --- label maps -----------------------------------------------------------------------------------


def cleared(page: Browser, model: dict[str, Any], label: int = 0) -> None:
    """A map of one label alone."""
    start(page, "draw", model)
    choose(page, label)
    page.click("[aria-keyshortcuts=Delete]")
    assert (ids(page) == label).all()


def test_a_rectangle_paints_its_pixels_with_the_chosen_label(page: Browser) -> None:
    cleared(page, maps())
    choose(page, 2)
    page.press("r")
    line(page, (8.5 / SIDE, 16.5 / SIDE), (31.5 / SIDE, 23.5 / SIDE))
    want = np.zeros((SIDE, SIDE), int)
    want[16:24, 8:32] = 2
    assert (ids(page) == want).all()
    choose(page, 3)
    page.press("f")  # fills what hangs together, and no more
    page.click(CANVAS, 0.9, 0.9)
    assert (ids(page) == np.where(want == 2, 2, 3)).all()
    page.press("z", "Control")
    assert (ids(page) == want).all()
    page.press("y", "Control")
    assert (ids(page) == np.where(want == 2, 2, 3)).all()


def test_filling_stays_within_its_borders(page: Browser) -> None:
    cleared(page, maps())
    choose(page, 1)
    page.press("r")
    line(page, (0.5 / SIDE, 32.5 / SIDE), (63.5 / SIDE, 32.5 / SIDE))  # a wall of one pixel
    choose(page, 2)
    page.press("f")
    page.click(CANVAS, 0.5, 0.1)
    found = ids(page)
    assert (found[:32] == 2).all() and (found[32] == 1).all() and (found[33:] == 0).all()


def test_a_brush_paints_a_line_of_its_width(page: Browser) -> None:
    cleared(page, maps())
    choose(page, 1)
    width = int(page.run("document.querySelector('.draw-width input').value"))
    line(page, (0.2, 0.5), (0.8, 0.5))
    painted = ids(page) == 1
    rows = (np.arange(SIDE) - SIDE // 2 >= -(width // 2)) & (
        np.arange(SIDE) - SIDE // 2 <= width // 2
    )
    assert width % 2 == 1 and (painted[:, 20:44] == rows[:, None]).all()
    page.press("[")
    choose(page, 3)
    line(page, (0.2, 0.8), (0.8, 0.8))
    assert ((ids(page) == 3)[:, 20:44].sum(0) == width - 1).all()


def test_label_maps_are_painted_by_keyboard(page: Browser) -> None:
    cleared(page, maps())
    page.run("document.querySelector('.draw-label input:checked').focus()")
    page.press("ArrowRight")  # the radio buttons of the palette
    assert page.run("document.activeElement.value") == "1"
    page.run(f"document.querySelector('{CANVAS}').focus()")
    for key in ("r", " ", "ArrowRight", "ArrowDown", "ArrowDown", " "):
        page.press(key)
    want = np.zeros((SIDE, SIDE), int)
    want[32:35, 32:34] = 1
    assert (ids(page) == want).all()
    assert page.run("said.at(-1)") == "label 1 painted."


@pytest.mark.parametrize(
    ("edges", "dontcare"), [(True, True), *(pytest.param(*b, marks=pytest.mark.slow) for b in BOTH)]
)
def test_the_map_is_encoded_as_the_network_encodes_it(
    page: Browser, edges: bool, dontcare: bool
) -> None:
    model = maps(edges=edges, dontcare=dontcare)
    start(page, "draw", model)
    choose(page, 0)
    page.click("[aria-keyshortcuts=Delete]")
    choose(page, model["labels"]["count"] - 1 + dontcare)
    line(page, (0.1, 0.2), (0.7, 0.9))
    line(page, (0.8, 0.1), (0.3, 0.9))  # of the same class, another thing
    semantics = given(page, "semantics")
    classes = semantics[0, : 4 + dontcare].argmax(0)
    net: Any = Wiring("gaugan", {"labels": 4, "edges": edges, "dontcare": dontcare}).net()
    labels = torch.from_numpy(classes)[None]
    want = net.encode(labels, labels)[0].numpy()  # whole classes as things
    assert (semantics[0, : 4 + dontcare] == want[: 4 + dontcare]).all()
    if edges:
        seen, least = semantics[0, -1], want[-1]
        assert (seen >= least).all() and (seen > least).any()  # and borders within a class
        page.run("document.querySelector('#draw-apart').click()")
        page.click("[aria-keyshortcuts=Delete]")
        line(page, (0.1, 0.2), (0.7, 0.9))
        line(page, (0.8, 0.1), (0.3, 0.9))
        assert given(page, "semantics")[0, -1].max() == 0  # one class, one thing


def test_borders_of_things_are_those_of_python(page: Browser) -> None:
    drawn = np.random.default_rng(1).integers(0, 3, (8, 8))
    script = f"""(() => {{ const out = new Float32Array(64);
        draw.markEdges({drawn.ravel().tolist()}, [8, 8], out); return [...out]; }})()"""
    from ganpress.models.families.gaugan import instance_edges

    want = instance_edges(torch.from_numpy(drawn)[None])[0]
    assert page.run(script) == want.flatten().tolist()


def test_label_pictures_are_painted_in_their_colours(page: Browser) -> None:
    two, palette = ([label.facts() for label in unnamed(count)] for count in (2, 3))
    start(page, "draw", outlines(palette=two, stroke=None))
    assert page.run("document.querySelectorAll('.draw-palette label').length") == 2
    start(page, "draw", outlines(palette=palette, stroke=None))
    choose(page, 1)
    page.click("[aria-keyshortcuts=Delete]")
    choose(page, 2)
    page.press("r")
    line(page, (0.5 / SIDE, 0.5 / SIDE), (9.5 / SIDE, 9.5 / SIDE))
    seen = np.rint((given(page, "image")[0] + 1) * 127.5)
    assert (seen[:, 20, 20] == palette[1]["colour"]).all()
    assert (seen[:, 9, 9] == palette[2]["colour"]).all()
    assert (seen[:, 10, 10] == palette[1]["colour"]).all()


def test_many_labels_can_be_searched(page: Browser) -> None:
    model = maps(182)
    start(page, "draw", model)
    page.run("document.querySelector('.draw-palette input[type=search]').focus()")
    for letter in "tree":
        page.press(letter)
    shown = "[...document.querySelectorAll('.draw-label')].filter((l) => l.checkVisibility())"
    assert page.run(f"{shown}.map((l) => l.textContent)") == ["street sign", "tree"]


# --- both -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [outlines(), maps(edges=True), maps(182)])
def test_a_phone_has_room_for_everything_and_screen_readers_have_its_names(
    shared: tuple[Browser, str], model: dict[str, Any]
) -> None:
    page = fresh(shared, width=360, height=740)
    start(page, "draw", model)
    assert page.run("document.documentElement.scrollWidth") <= 360
    low = "[...document.querySelectorAll('.draw-tool')].filter((b) => b.clientHeight < 38).length"
    assert page.run(low) == 0
    tree = page.ask("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "slider", "radio", "checkbox", "searchbox", "application", "group"}
    named = [
        (node["role"]["value"], node.get("name", {}).get("value"))
        for node in tree
        if not node.get("ignored") and node["role"]["value"] in roles
    ]
    assert {"button", "slider", "application"} <= {role for role, _ in named}
    assert [role for role, name in named if not name] == []


def test_the_module_breaks_no_policy_and_is_gone_when_it_is_taken_away(page: Browser) -> None:
    for model in (outlines(), maps()):
        start(page, "draw", model)
        page.run("stop()")
        count = page.run("given.length")
        page.run("document.querySelector('[aria-keyshortcuts=Delete]').click()")
        page.run("new Promise((go) => setTimeout(go, 100))")
        assert page.run("given.length") == count
    assert page.complaints == []


def test_nothing_but_the_page_itself_is_asked_for(page: Browser, tmp_path: Path) -> None:
    start(page, "draw", outlines())
    home = page.run("location.origin")
    assert page.requests and all(url.startswith(home) for url in page.requests)
