"""What the page does around the models, in the browser: stand-ins take the models' places."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import FAKE_CAMERA, Browser, browser
from page_harness import HARNESS, served
from PIL import Image

from ganpress.web.building import STATIC

pytestmark = pytest.mark.chromium

DATA = "document.documentElement.dataset"
READY = f"{DATA}.state === 'ready' && Number({DATA}.made) > 0"
WARNINGS = "document.getElementById('warnings').textContent"


def entry(name: str, **other: Any) -> dict[str, Any]:
    """A model that reads RGB pictures of 4 x 4 pixels."""
    facts = {"id": name, "title": name, "role": None, "file": f"models/{name}.onnx", "bytes": 1000}
    facts |= {"macs": 1000, "size": [4, 4], "multiple": 1, "min_size": 1, "fixed": True}
    facts |= {"inputs": {"image": {"dims": [1, 3, 4, 4], "dtype": "float32"}}, "input": "draw"}
    return {**facts, "output": "image_out", "range": [-1, 1], **other}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with samples, and models that are there by name only."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(STATIC, folder, dirs_exist_ok=True)
    for part in ("samples", "models", "onnxruntime"):
        (folder / part).mkdir()
    for name, colour in {"red": (255, 0, 0), "blue": (0, 0, 255)}.items():
        Image.new("RGB", (4, 4), colour).save(folder / "samples" / f"{name}.png")
    for name in "abc":
        (folder / "models" / f"{name}.onnx").write_text(name)
    samples = [{"file": f"samples/{name}.png", "name": name} for name in ("red", "blue")]
    listed = {"ganpress": "0", "onnxruntime": {"version": "0", "webgpu": True}, "samples": samples}
    listed["models"] = [entry(name) for name in "abc"]
    (folder / "models.json").write_text(json.dumps(listed))
    shutil.copy(HARNESS / "stand-ins" / "ort.wasm.min.mjs", folder / "onnxruntime")
    return folder


@pytest.fixture(scope="module")
def opened(folder: Path) -> Iterator[tuple[Browser, str]]:
    """Over a second: it starts a browser, once for all of these."""
    shutil.copy(folder / "engine.js", folder / "real-engine.js")
    shutil.copy(HARNESS / "stand-ins" / "engine.js", folder / "engine.js")
    with browser(*FAKE_CAMERA) as page, served(folder) as url:
        yield page, url


@pytest.fixture
def page(opened: tuple[Browser, str]) -> Browser:
    page, url = opened
    page.open(f"{url}?input=draw&right=none")
    page.wait_for(READY)
    return page


def pick(page: Browser, side: str, name: str) -> None:
    page.run(
        f"""(() => {{ const pick = document.getElementById("pick-{side}"); pick.value = "{name}";
        pick.dispatchEvent(new Event("change")); }})()"""
    )


def draw(page: Browser) -> None:
    """Another drawing, and the picture of it."""
    made = int(page.run(f"{DATA}.made"))
    page.run("document.querySelectorAll('.draw-example')[1].click()")
    page.wait_for(f"Number({DATA}.made) > {made} && {DATA}.state === 'ready'")


def test_a_gpu_that_is_lost_while_the_page_is_open_gives_way_to_webassembly(page: Browser) -> None:
    assert page.run(f"{DATA}.backend") == "webgpu"
    page.run("(asked.lost = true, calls.length = 0)")
    draw(page)
    assert page.run("calls.slice(0, 3)") == ["run a by webgpu", "start wasm", "load a"]
    assert page.run("calls.at(-1)") == "run a by wasm"
    assert page.run(WARNINGS) == ""
    assert "the device is lost" in page.run("document.getElementById('say').textContent")
    assert page.run("document.getElementById('ways').value") == "wasm"


def test_no_model_is_run_that_is_being_put_away(page: Browser) -> None:
    slow = "() => new Promise((go) => setTimeout(go, {}))"
    page.run(f"(asked.running = {slow.format(40)}, asked.dropping = {slow.format(400)})")
    page.run("(calls.length = 0, document.querySelectorAll('.draw-example')[2].click())")
    page.wait_for("calls.some((call) => call.startsWith('run a'))")
    pick(page, "left", "b")
    page.run("document.querySelectorAll('.draw-example')[3].click()")
    page.wait_for(f"calls.some((c) => c.startsWith('run b')) && {DATA}.state === 'ready'")
    calls = page.run("calls")
    between = calls[calls.index("drop a") : calls.index("load b")]
    assert between == ["drop a"]
    assert page.run(WARNINGS) == ""


def test_a_warning_that_stays_is_put_there_once(page: Browser) -> None:
    page.run("document.querySelector('#tab-photo').click()")
    page.wait_for("document.querySelector('.photo-about')?.textContent.startsWith('red')")
    page.run(
        """(() => { const file = new File(["x"], "notes.txt", { type: "text/plain" });
        const given = new DataTransfer(); given.items.add(file);
        window.dispatchEvent(new DragEvent("drop", { dataTransfer: given, cancelable: true }));
        globalThis.changes = 0;
        new MutationObserver(() => changes++).observe(document.getElementById("warnings"),
            { childList: true, subtree: true }); })()"""
    )
    assert "notes.txt is no picture" in page.run(WARNINGS)
    made = int(page.run(f"{DATA}.made"))
    page.run("document.getElementById('measure').click()")
    page.wait_for(f"Number({DATA}.made) >= {made + 20}")
    assert page.run("changes") == 0


def test_the_speed_of_what_cannot_run_is_not_measured(page: Browser) -> None:
    assert page.run("document.getElementById('measure').disabled") is False
    page.run("document.getElementById('measure').click()")
    page.wait_for("document.getElementById('say').textContent.startsWith('Measured: a, medians')")
    page.run("(asked.lost = true, document.getElementById('ways').options[1].remove())")
    page.run("document.querySelectorAll('.draw-example')[4].click()")
    page.wait_for(f"{DATA}.state === 'failed'")
    assert page.run("document.getElementById('measure').disabled") is True


def test_the_panel_is_named_by_the_tab_that_opened_it(page: Browser) -> None:
    panel = "document.getElementById('panel')"
    assert page.run(f"{panel}.role") == "tabpanel"
    assert page.run(f"{panel}.getAttribute('aria-labelledby')") == "tab-draw"


def test_the_picture_that_was_chosen_last_is_shown_and_none_after_the_tab_was_left(
    page: Browser,
) -> None:
    script = """(async () => {
        const { mount } = await import("./photo.js"), waiting = [], given = [];
        const own = globalThis.fetch;
        globalThis.fetch = (url) => new Promise((go) => waiting.push(() => go(own(url))));
        const tools = { say() {}, warn() {}, url: (path) => path, samples: %s,
            fit: (picture) => picture, toTensor: (picture) => picture.data.slice(0, 3) };
        const root = document.createElement("div");
        const mounted = mount(root, %s, (feeds) => given.push([...feeds.image.data]), tools);
        const rest = () => new Promise((go) => setTimeout(go, 100));
        root.querySelectorAll(".photo-samples button")[1].click();
        waiting[1](); await rest();
        waiting[0](); await rest();
        root.querySelectorAll(".photo-samples button")[0].click();
        mounted.destroy();
        waiting[2](); await rest();
        globalThis.fetch = own;
        return given;
    })()"""
    samples = [{"file": f"samples/{name}.png", "name": name} for name in ("red", "blue")]
    given = page.run(script % (json.dumps(samples), json.dumps(entry("a"))))
    assert given == [[0, 0, 255]]


def test_a_file_can_be_chosen_twice(page: Browser, folder: Path) -> None:
    page.run("document.querySelector('#tab-photo').click()")
    page.wait_for("document.querySelector('.photo input') !== null")
    about = "document.querySelector('.photo-about').textContent"
    for name in ("blue", "red", "blue"):
        if name == "red":
            page.run("document.querySelector('.photo-samples button').click()")
            page.wait_for(f"{about}.startsWith('red:')")
        else:
            page.choose_file("input[type=file]", folder / "samples" / "blue.png")
            page.wait_for(f"{about}.startsWith('blue.png')")
    assert page.run("document.querySelector('.photo input').value") == ""


def test_the_sizes_to_choose_from_begin_with_the_models_own(page: Browser) -> None:
    script = """(async () => {
        const { mount } = await import("./photo.js"), root = document.createElement("div");
        mount(root, %s, () => {}, { samples: [] });
        const { options, selectedIndex } = root.querySelector("select");
        return [selectedIndex, ...[...options].map((o) => o.textContent)];
    })()"""
    free = {"fixed": False, "size": [256, 512], "multiple": 128, "min_size": 128}
    chosen, *sizes = page.run(script % json.dumps(entry("a", **free)))
    assert sizes[chosen] == "512 × 256" and sizes.count("512 × 256") == 1
    assert {"256 × 256", "128 × 128", "1024 × 1024"} < set(sizes)


@pytest.mark.parametrize(("channels", "wanted"), [(1, [76]), (3, [255, 0, 0])])
def test_the_camera_gives_a_grey_model_grey_pictures(
    page: Browser, channels: int, wanted: list[int]
) -> None:
    script = """(async () => {
        const { mount } = await import("./camera.js"), { fit } = await import("./pictures.js");
        const canvas = document.createElement("canvas"), root = document.createElement("div");
        [canvas.width, canvas.height] = [64, 48];
        const context = canvas.getContext("2d");
        context.fillStyle = "#f00";
        const paint = setInterval(() => context.fillRect(0, 0, 64, 48), 10);
        const stream = canvas.captureStream(30);
        navigator.mediaDevices.getUserMedia = async () => (asks++, stream);
        let asks = 0;
        const warned = [];
        const seen = await new Promise((go) => {
            const tools = { say() {}, warn: (text) => warned.push(text),
                fit: (source, size) => fit(source, size, %d), toTensor: (picture) => picture.data };
            mount(root, %s, async ({ image }) => go([...image.data.slice(0, %d)]), tools);
            const [start] = root.querySelectorAll("button");
            start.click();
            start.click();
        });
        const [start] = root.querySelectorAll("button");
        stream.getTracks()[0].onended();
        clearInterval(paint);
        return { seen, asks, warned: warned.at(-1), start: start.textContent };
    })()"""
    model = json.dumps(entry("a", inputs={"image": {"dims": [1, channels, 4, 4]}}))
    found = page.run(script % (channels, model, channels))
    assert all(abs(a - b) < 8 for a, b in zip(found["seen"], wanted, strict=True)), found
    assert found["asks"] == 1  # a second click, while the browser asks, opens no second camera
    assert "The camera has gone" in found["warned"] and found["start"] == "Start the camera"


def test_a_camera_that_starts_when_its_panel_has_gone_gives_no_pictures(page: Browser) -> None:
    script = """(async () => {
        const { mount } = await import("./camera.js");
        const canvas = document.createElement("canvas"), root = document.createElement("div");
        canvas.getContext("2d");
        navigator.mediaDevices.getUserMedia = async () => canvas.captureStream(30);
        const own = HTMLMediaElement.prototype.play;
        let started, given = 0;
        const asked = new Promise((go) => {
            HTMLMediaElement.prototype.play = () => new Promise((done) => (started = done, go()));
        });
        const tools = { say() {}, warn() {}, fit: (source) => source,
            toTensor: (picture) => picture.data };
        const module = mount(root, %s, async () => given++, tools);
        root.querySelector("button").click();
        await asked;
        module.destroy();
        started();
        HTMLMediaElement.prototype.play = own;
        await new Promise((go) => setTimeout(go, 100));
        return { given, button: root.querySelector("button").textContent };
    })()"""
    model = json.dumps(entry("a", inputs={"image": {"dims": [1, 3, 4, 4]}}))
    assert page.run(script % model) == {"given": 0, "button": "Start the camera"}


def test_a_model_that_is_loaded_again_takes_no_memory_twice(page: Browser) -> None:
    script = """(async () => {
        const { Engine } = await import("./real-engine.js");
        const engine = await Engine.start("wasm", 1), model = %s;
        const image = { data: new Float32Array(48), dims: [1, 3, 4, 4] };
        for (let k = 0; k < 3; k++) await engine.load(model);
        const { pixels } = await engine.run(model, { image });
        await engine.drop(model);
        const late = await engine.run(model, { image }).catch((error) => error.message);
        engine.stop();
        return [pixels[0], late];
    })()"""
    assert page.run(script % json.dumps(entry("a"))) == [1, "it is not loaded"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"bytes": 500, "macs": 500}, "b: 2.0× smaller on disk, 2.0× fewer MACs than a."),
        ({"bytes": 250, "macs": 1000}, "b: 4.0× smaller on disk than a."),
        ({"bytes": 500, "macs": 3000}, "b: 2.0× smaller on disk, 3.0× more MACs than a."),
        ({"bytes": 1000, "macs": None}, ""),
    ],
)
def test_what_a_model_gains_is_said_only_where_it_does(
    page: Browser, other: dict[str, Any], said: str
) -> None:
    script = """(async () => { const { gain } = await import("./cards.js");
        return gain({ model: %s, runs: [] }, { model: %s, runs: [] }); })()"""
    assert page.run(script % (json.dumps(entry("a")), json.dumps(entry("b", **other)))) == said


def test_a_clock_too_coarse_for_a_model_gives_no_speed(page: Browser) -> None:
    script = """(async () => { const { Card, gain } = await import("./cards.js");
        const [one, other] = [%s, %s].map((model) => new Card(model, null));
        for (let k = 0; k < 5; k++) (one.took(0, 0), other.took(8, 10));
        return [one.fps.textContent, other.fps.textContent, gain(one, other)]; })()"""
    cards = page.run(script % (json.dumps(entry("a")), json.dumps(entry("b"))))
    assert cards == ["–", "100 per s", ""]


def test_a_page_that_is_opened_from_disk_says_how_to_serve_it(page: Browser, folder: Path) -> None:
    seen = "document.getElementById('unserved')?.checkVisibility({ visibilityProperty: true })"
    assert page.run(seen) is None
    page.open((folder / "index.html").as_uri())
    page.wait_for(f"({seen}) === true")
    assert "ganpress serve" in page.run("document.getElementById('unserved').textContent")


def test_the_pressed_tool_can_be_read_in_the_dark() -> None:
    css = (STATIC / "page.css").read_text()
    dark = dict(part.split(": ", 1) for part in css.partition("dark)")[2].partition("}")[0]
                .partition("{ :root {")[2].split("; ") if ": " in part)  # fmt: skip
    pressed = (STATIC / "draw.css").read_text().partition('[aria-pressed="true"]')[2].split("}")[0]
    assert "var(--on-accent" in pressed and "#fff;" not in pressed

    def light(colour: str) -> float:
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    one, other = sorted(light(dark[f"--{name}"].strip()) for name in ("accent", "on-accent"))
    assert (other + 0.05) / (one + 0.05) >= 4.5  # WCAG 2.2, 1.4.3
