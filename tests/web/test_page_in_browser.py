"""The whole page in a browser: models run by onnxruntime-web, compared with what Python makes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chromium import FAKE_CAMERA, Browser, browser
from nets import Wiring
from numpy.typing import NDArray
from page_files import saved
from page_harness import served
from PIL import Image
from thin import thinned

from ganpress.data import evaluation, open_images
from ganpress.models.checkpoint import Model, load
from ganpress.models.families.base import draw_inputs
from ganpress.web import server, site

pytestmark = [pytest.mark.chromium, pytest.mark.onnxruntime_web]

SIDE = 32
QUERIES = ("left=teacher&right=student&input=draw", "left=labels", "left=codes")
PICTURES = Wiring("pix2pix", {"downs": 3})
LABELS = Wiring("gaugan", {"labels": 4, "edges": False})
CODES = Wiring("stylegan2", {"size": SIDE})  # one size for all of the page
WARNINGS = "document.getElementById('warnings').textContent"
DATA = "document.documentElement.dataset"
Pixels = NDArray[np.int64]


@dataclass(frozen=True)
class Shown:
    """The page of some tiny models, open in a browser."""

    browser: Browser
    url: str
    root: Path

    def open(self, query: str, *, made: bool = True, **how: Any) -> Browser:
        """The page with this query, once it is ready, and has made pictures where it should."""
        self.browser.open(f"{self.url}?{query}", **how)
        done = f"{DATA}.state === 'ready' && Number({DATA}.made) >= {int(made)}"
        self.browser.wait_for(f"{DATA}.state === 'failed' || ({done})")
        said = self.browser.run(WARNINGS)
        assert self.browser.run(f"{DATA}.state") == "ready", said
        return self.browser

    def model(self, name: str) -> Model:
        return load(self.root / f"{name}.safetensors")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """Seconds: it exports the models and starts a browser, once for all of these."""
    root = tmp_path_factory.mktemp("page")
    names = {"teacher": (PICTURES, 0), "student": (PICTURES, 1), "labels": (LABELS, 0)}
    for name, (wiring, seed) in {**names, "codes": (CODES, 0)}.items():
        saved(root / f"{name}.safetensors", wiring, seed)
    photos = root / "photos"
    photos.mkdir()
    noise = np.random.default_rng(3).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    big = Image.fromarray(noise).resize((140, 180), Image.Resampling.BICUBIC)
    big.save(photos / "big.png")
    folder = root / "site"
    files = [root / f"{name}.safetensors" for name in (*names, "codes")]
    archive = Path(os.environ["GANPRESS_ONNXRUNTIME_WEB"])
    site(files, folder, images=[photos], size=SIDE, webgpu=False, runtime=archive)
    listed = json.loads((folder / "models.json").read_text())
    for name, data in (("broken", b"no model at all"), ("gone", None)):
        file = f"models/{name}.onnx"
        listed["models"].append({**listed["models"][0], "id": name, "title": name, "file": file})
        if data is not None:
            (folder / file).write_bytes(data)
    (folder / "models.json").write_text(json.dumps(listed))
    with browser(*FAKE_CAMERA) as opened, served(folder) as url:
        yield Shown(opened, url, root)


def picture(page: Browser, side: str) -> Pixels:
    """What a model's canvas shows: (h, w, 3)."""
    script = f"""(() => {{ const c = document.getElementById("{side}");
        return [c.height, c.width,
                ...c.getContext("2d").getImageData(0, 0, c.width, c.height).data]; }})()"""
    height, width, *rgba = page.run(script)
    return np.array(rgba).reshape(height, width, 4)[..., :3]


def made_of(model: Model, *inputs: torch.Tensor) -> Pixels:
    """Python's picture, 0 to 255: (h, w, 3)."""
    made = model(*inputs)[0].permute(1, 2, 0).numpy()
    return np.clip(np.rint((made + 1) * 127.5), 0, 255).astype(np.int64)


def wait_for_more(page: Browser, act: Any) -> None:
    """Do something, and wait until the page has shown what comes of it."""
    before = int(page.run(f"{DATA}.made"))
    act()
    page.wait_for(f"Number({DATA}.made) > {before} && {DATA}.state === 'ready'")


def same(one: Pixels, other: Pixels) -> None:
    """Within one grey level, and a picture of something."""
    assert one.shape == other.shape and np.abs(one - other).max() <= 1
    assert one.std() > 5


def test_both_models_make_of_a_photo_what_python_makes_of_it(shown: Shown, tmp_path: Path) -> None:
    page = shown.open("left=teacher&right=student&input=photo")
    teacher, student = shown.model("teacher"), shown.model("student")
    (batch,) = evaluation(open_images([shown.root / "photos"]), batch=1, size=SIDE)
    same(picture(page, "left"), made_of(teacher, batch.x))
    same(picture(page, "right"), made_of(student, batch.x))
    assert (picture(page, "left") != picture(page, "right")).any()
    mine = tmp_path / "mine.jpg"
    noise = np.random.default_rng(5).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((150, 100), Image.Resampling.BICUBIC).save(mine, quality=95)
    wait_for_more(page, lambda: page.choose_file("input[type=file]", mine))
    (batch,) = evaluation(open_images([mine], single=True), batch=1, size=SIDE)
    got, want = picture(page, "left"), made_of(teacher, batch.x)
    assert np.abs(got - want).mean() < 2  # two JPEG decoders differ by a level here and there
    for side in ("left", "right"):
        assert float(page.run(f"document.querySelectorAll('.card')[{side != 'left':d}].dataset.ms"))


def test_nothing_is_asked_of_another_host_and_no_policy_is_broken(shown: Shown) -> None:
    page = shown.open("left=teacher&right=student&input=draw")
    paths = [url.removeprefix(shown.url) for url in page.requests if not url.startswith("blob:")]
    assert not [path for path in paths if "://" in path]
    assert any(path.endswith(".wasm") for path in paths)  # the worker's requests are among them
    assert page.complaints == []


def test_drawing_a_line_changes_what_both_models_show(shown: Shown) -> None:
    page = shown.open("left=teacher&right=student&input=draw")
    wait_for_more(page, lambda: page.click("[aria-keyshortcuts=Delete]"))
    paper = torch.ones(1, 3, SIDE, SIDE)
    same(picture(page, "left"), made_of(shown.model("teacher"), paper))
    before = [picture(page, side) for side in ("left", "right")]
    places = [page.place(".draw-canvas", 0.2 + 0.1 * k, 0.5) for k in range(7)]
    wait_for_more(page, lambda: page.drag(places))
    for side, old in zip(("left", "right"), before, strict=True):
        assert np.abs(picture(page, side) - old).max() > 20


def test_a_painted_label_map_is_what_python_makes_of_it(shown: Shown) -> None:
    page = shown.open("left=labels")
    wait_for_more(page, lambda: page.click("[aria-keyshortcuts=Delete]"))
    chosen = int(page.run("document.querySelector('.draw-label input:checked').value"))
    model = shown.model("labels")
    net: Any = model.net
    whole = net.encode(torch.full((1, SIDE, SIDE), chosen))
    got, want = picture(page, "left"), made_of(model, whole)
    assert np.abs(got - want).max() <= 1


def test_sliders_move_the_code_as_python_moves_it(shown: Shown) -> None:
    import onnxruntime

    page = shown.open("left=codes")
    model = shown.model("codes")
    drawn = draw_inputs(model.net, 1, 16, torch.Generator().manual_seed(0))
    untouched = picture(page, "left")
    same(untouched, made_of(model, *drawn))
    page.run("document.querySelector('#latent-direction-0').focus()")
    wait_for_more(page, lambda: page.press("End"))  # 3 standard deviations
    (entry,) = [m for m in json.loads((shown.root / "site" / "models.json").read_text())["models"]
                if m["id"] == "codes"]  # fmt: skip
    session = onnxruntime.InferenceSession(shown.root / "site" / entry["file"])
    names = list(entry["inputs"])
    feeds = {n: t.numpy() for n, t in zip(names, drawn, strict=False)}
    feeds |= {n: np.zeros(entry["inputs"][n]["dims"], np.float32) for n in names[len(drawn) :]}
    feeds["psi"][:], feeds["amounts"][0] = 1, 3
    (made,) = session.run([entry["output"]], feeds)
    want = np.clip(np.rint((made[0].transpose(1, 2, 0) + 1) * 127.5), 0, 255).astype(np.int64)
    same(picture(page, "left"), want)
    assert np.abs(untouched - want).max() > 3


def test_the_camera_is_shown_frame_after_frame(shown: Shown) -> None:
    page = shown.open("left=teacher&right=student&input=camera", made=False)
    page.run("document.querySelector('.camera button').click()")
    page.wait_for(f"Number({DATA}.made) > 0")
    first = picture(page, "left")
    for _ in range(200):  # the fake camera's clock moves
        if (picture(page, "left") != first).any():
            break
    assert (picture(page, "left") != first).any()
    page.run("document.querySelector('.camera button').click()")
    page.wait_for(f"{DATA}.state === 'ready'")
    assert page.run(WARNINGS) == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [("broken", "broken: its file is damaged"), ("gone", "its file is not there")],
)
def test_a_model_that_cannot_be_loaded_is_named_and_the_other_is_shown(
    shown: Shown, name: str, words: str
) -> None:
    page = shown.open(f"left=teacher&right={name}&input=draw")
    assert words in page.run(WARNINGS)
    assert picture(page, "left").shape == (SIDE, SIDE, 3)
    page.run(
        """(() => { const pick = document.getElementById("pick-right");
        pick.value = "student"; pick.dispatchEvent(new Event("change")); })()"""
    )
    page.wait_for("document.getElementById('right').width > 1")
    assert page.run(WARNINGS) == ""


def test_an_isolated_page_has_the_threads_that_are_asked_for(shown: Shown) -> None:
    page = shown.open("left=student&right=none&input=draw&backend=wasm&threads=3")
    assert page.run("globalThis.crossOriginIsolated") is True
    started = [e for e in page.events if e.get("method") == "Target.attachedToTarget"]
    assert len(started) == 3  # the page's worker, which computes, and two more
    assert "3 threads" in page.run("document.getElementById('ways').textContent")


def test_a_host_without_the_headers_gives_one_thread_whatever_is_asked_for(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {k: v for k, v in server.HEADERS.items() if not k.startswith("Cross-Origin-")}
    monkeypatch.setattr(server, "HEADERS", kept)
    with served(shown.root / "site") as url:  # a host of its own: nothing of it is in a cache
        host = Shown(shown.browser, url, shown.root)
        page = host.open("left=student&right=none&input=draw&backend=wasm&threads=3")
        assert page.run(f"{DATA}.threads") == "1"
        assert "1 thread" in page.run("document.getElementById('ways').textContent")
        assert "One thread only" in page.run("document.getElementById('say').textContent")
    shown.browser.open("about:blank")


def test_a_page_whose_runtime_is_missing_says_so(shown: Shown, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(shown.root / "site", folder, ignore=shutil.ignore_patterns("*.wasm"))
    with served(folder) as url:
        shown.browser.open(f"{url}?left=teacher&right=student&input=draw")
        shown.browser.wait_for(f"{DATA}.state === 'failed'")
        said = shown.browser.run(WARNINGS)
    assert said.strip()
    shown.browser.open("about:blank")


@pytest.mark.parametrize("query", thinned(QUERIES, QUERIES[0].__eq__))
def test_a_phone_has_room_for_everything(shown: Shown, query: str) -> None:
    page = shown.open(query, width=360, height=740)
    assert page.run("document.documentElement.scrollWidth") <= 360
    script = """[...document.querySelectorAll("button, input, select, canvas, a")]
        .filter((e) => e.checkVisibility({ visibilityProperty: true }))
        .map((e) => [e.id || e.className || e.textContent, e.getBoundingClientRect()])
        .filter(([, b]) => b.width && (b.left < -1 || b.right > 361)).map(([n]) => n)"""
    assert page.run(script) == []


def test_the_keyboard_reaches_every_control(shown: Shown) -> None:
    page = shown.open("left=teacher&right=student&input=photo")
    page.run("document.getElementById('tab-photo').focus()")
    page.press("ArrowRight")
    page.press("ArrowRight")
    page.wait_for("document.querySelector('.draw-canvas') !== null")
    assert page.run("document.activeElement.id") == "tab-draw"
    assert page.run("document.getElementById('panel').children.length") == 1  # not the camera, too
    here = """(() => { const e = document.activeElement;
        return e.id || e.className || e.getAttribute("aria-label") || e.tagName; })()"""
    seen = set()
    for _ in range(70):  # once round
        page.press("Tab")
        seen.add(page.run(here))
    assert {"draw-tool", "draw-width", "draw-canvas", "draw-example", "divider"} <= seen
    assert {"pick-left", "pick-right", "measure", "tab-draw"} <= seen
    page.run("document.querySelector('.draw-canvas').focus()")
    before = picture(page, "left")
    for key in (" ", "ArrowRight", "ArrowRight"):
        page.press(key, *(["Shift"] if key != " " else []))
    wait_for_more(page, lambda: page.press(" "))
    assert (picture(page, "left") != before).any()
    page.run("document.getElementById('divider').focus()")
    page.press("ArrowLeft")
    assert page.run("document.getElementById('divider').ariaValueNow") == "49"
