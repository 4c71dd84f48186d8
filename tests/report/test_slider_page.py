"""Sliders of edit directions: the page, the part of a report, and both in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Browser, browser
from PIL import Image
from test_report import Page, bare_run, drawing, results

from ganpress.errors import ConfigError, ImagesError
from ganpress.report import write_report
from ganpress.report.page import write_slider_page
from ganpress.report.sliders import read_sliders, sha256

SUBJECTS, STRENGTHS = ["seed 0", "seed 1", "photo 2"], [-2.0, -1.0, 0.0, 1.0, 2.0]
EVIL = '<script>alert(1)</script>"'


def colour(direction: int, row: int, column: int) -> tuple[int, int, int]:
    """Of the frame in this place of a sheet; all differ by more than JPEG does."""
    return 40 + 90 * direction, 30 * row + 20, 45 * column + 20


def facts(networks: int = 2, **changed: Any) -> dict[str, Any]:
    named = ["Teacher", "Student"] if networks == 2 else ["Generator"]
    known = {"family": "stylegan2", "fingerprint": "a" * 64, "macs": 57e6}
    moved = {"features": 0.912, "pixels": 0.834} if networks == 2 else {}
    return {
        "format": 1,
        "kind": "pca",
        "space": "w",
        "layers": [0, 9, 10],
        "networks": [{"name": name, **known} for name in named],
        "subjects": SUBJECTS,
        "strengths": STRENGTHS,
        "truncation": 1.0,
        "frame": [16, 24],
        "directions": [
            {"file": f"direction-0{k + 1}.jpg", "ratio": 0.25 / (k + 1), "deviation": 1.0, **moved}
            for k in range(2)
        ],
        "transfer": {
            "inherited": True,
            "residual": 0.0,
            "features": "tiny",
            "pictures": 16,
            "strength": 2.0,
        }
        if networks == 2
        else None,
        "files": {},
        **changed,
    }


def sliders_in(folder: Path, networks: int = 2, **changed: Any) -> Path:
    """A folder of frames, each of one colour."""
    folder.mkdir(exist_ok=True)
    (folder / "sliders.json").write_text(json.dumps(facts(networks, **changed)))
    for k in range(2):
        sheet = Image.new("RGB", (24 * 5, 16 * 3 * networks))
        for row in range(3 * networks):
            for column in range(5):
                sheet.paste(
                    colour(k, row, column), (24 * column, 16 * row, 24 * column + 24, 16 * row + 16)
                )
        sheet.save(folder / f"direction-0{k + 1}.jpg", quality=95, subsampling=0)
    return folder


# --- the page -------------------------------------------------------------------------------------


def test_the_page_has_a_canvas_a_frame_and_a_labelled_slider_a_direction(tmp_path: Path) -> None:
    html = write_slider_page(sliders_in(tmp_path / "f"), tmp_path / "faces.html").read_text()
    page = Page(html)
    assert [c["aria-label"] for c in page.all("canvas")] == [
        f"{network}, {subject}" for subject in SUBJECTS for network in ("Teacher", "Student")
    ]
    assert [c["data-row"] for c in page.all("canvas")] == list("012345")
    dials = [i for i in page.all("input") if i.get("type") == "range"]
    assert {label["for"] for label in page.all("label")} == {dial["id"] for dial in dials}
    assert [(d["min"], d["max"], d["value"]) for d in dials] == [("0", "4", "2")] * 2
    sheets = [image for image in page.all("img") if image.get("class") == "sheet"]
    assert [(s["width"], s["height"]) for s in sheets] == [("120", "96")] * 2
    assert all(s["src"].startswith("data:image/jpeg;base64,") for s in sheets)


def test_the_page_says_what_is_shown_and_how_large_it_is(tmp_path: Path) -> None:
    folder = sliders_in(tmp_path / "f", layers=[2, 4, 10], truncation=0.7)
    page = write_slider_page(folder, tmp_path / "faces.html")
    text = Page(page.read_text()).text
    for words in (
        "faces",
        "Principal components (GANSpace)",
        "Directions in w, applied to layers 2 to 4 of 10. Truncation 0.7.",
        "Teacher: 57\u00a0M MACs. Student: 57\u00a0M MACs.",
        "Teacher and student make the same codes",
        "25.0\u00a0% of the variance; cosine of the changes 0.91 in features, 0.83 in pixels",
        "by 2 standard deviations, mean of 16 pictures; features: tiny",
        "60 frames of 16 x 24 pixels, 0.0",
        "-2 σ, -1 σ, 0 σ, +1 σ, +2 σ",
    ):
        assert words in text, words


def test_a_fitted_transfer_and_a_generator_alone_are_described_as_such(tmp_path: Path) -> None:
    moved = {**facts()["transfer"], "inherited": False, "residual": 0.125}
    fitted = write_slider_page(sliders_in(tmp_path / "f", transfer=moved), tmp_path / "f.html")
    assert "leaves 12.5\u00a0% of its codes' variance" in Page(fitted.read_text()).text
    alone = sliders_in(tmp_path / "g", 1, kind="sefa", space="z", layers=[0, 0, 1])
    text = Page(write_slider_page(alone, tmp_path / "g.html").read_text()).text
    assert "Weight factorisation (SeFa)" in text and "of the weights' power" in text
    assert "Directions in z, applied to all layers." in text
    assert "cosine" not in text and "Student" not in text


def test_names_of_pictures_are_escaped(tmp_path: Path) -> None:
    folder = sliders_in(tmp_path / "f", subjects=[EVIL, "b", "c"])
    html = write_slider_page(folder, tmp_path / "faces.html").read_text()
    assert "<script>alert" not in html and EVIL in Page(html).text


def test_the_same_frames_make_the_same_page(tmp_path: Path) -> None:
    folder = sliders_in(tmp_path / "f")
    one = write_slider_page(folder, tmp_path / "faces.html").read_bytes()
    assert write_slider_page(folder, tmp_path / "faces.html").read_bytes() == one


def test_a_folder_without_sliders_has_none(tmp_path: Path) -> None:
    assert read_sliders(tmp_path) is None
    with pytest.raises(ConfigError, match=r"has no sliders\.json: make it"):
        write_slider_page(tmp_path, tmp_path / "p.html")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": 2}, "has format 2, this version reads 1"),
        ({"frame": [16, 16]}, "120 x 96 pixels, where sliders.json says 80 x 96"),
        ({"subjects": ["a"]}, "120 x 96 pixels, where sliders.json says 120 x 32"),
        ({"directions": [{}]}, "is not whole .*'file'"),
        ({"strengths": None}, "is not whole"),
    ],
)
def test_sliders_that_do_not_fit_their_frames_are_refused(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"{message}.*ake the sliders again"):
        read_sliders(sliders_in(tmp_path / "f", **changed))


def test_broken_files_of_sliders_are_named(tmp_path: Path) -> None:
    folder = sliders_in(tmp_path / "f")
    (folder / "direction-02.jpg").write_bytes(b"\xff\xd8\xff no picture")
    with pytest.raises(ImagesError, match=r"direction-02\.jpg"):
        read_sliders(folder)
    (folder / "sliders.json").write_text("{")
    with pytest.raises(ConfigError, match=r"sliders\.json'.*again \(ganpress edit sliders\)"):
        read_sliders(folder)


# --- in a report ----------------------------------------------------------------------------------


def test_a_report_has_the_sliders_of_its_run_and_no_section_without(tmp_path: Path) -> None:
    root = bare_run(tmp_path / "run", results=results())
    without = write_report(root).read_text()
    assert "edit-directions" not in without and "<canvas" not in without
    sliders_in(root / "editing")
    page = Page(write_report(root).read_text())
    assert "Edit directions" in page.text and len(page.all("canvas")) == 6
    assert "#edit-directions" in [link.get("href") for link in page.all("a")]
    assert "make the sliders again" not in page.text


def test_a_report_warns_of_frames_of_another_student(tmp_path: Path) -> None:
    root = bare_run(tmp_path / "run", results=results())
    student = root / "student.safetensors"
    student.write_bytes(b"one")
    sliders_in(root / "editing", files={student.name: sha256(student)})
    words = "Made of another student.safetensors than the run has now: make the sliders again."
    assert words not in Page(write_report(root).read_text()).text
    student.write_bytes(b"two")
    assert words in Page(write_report(root).read_text()).text
    student.unlink()
    assert words in Page(write_report(root).read_text()).text


def test_the_report_of_a_teachers_training_has_them_too(tmp_path: Path) -> None:
    root = tmp_path / "run"
    root.mkdir()
    (root / "config.json").write_text('{"train": "stylegan2"}')
    sliders_in(root / "editing", 1)
    page = Page(write_report(root).read_text())
    assert len(page.all("canvas")) == 3 and "Edit directions" in page.text


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Over a second: it starts a browser, once for all of these."""
    with browser() as opened:
        yield opened


PIXELS = """[...document.querySelectorAll("canvas")].map((c) =>
    [...c.getContext("2d").getImageData(c.width / 2, c.height / 2, 1, 1).data].slice(0, 3))"""
OUTPUTS = "[...document.querySelectorAll('.dial output')].map((o) => o.textContent)"
DRAWN = """new Promise((done) => { const look = () => {
    const c = document.querySelector("canvas");
    const there = c.getContext("2d").getImageData(1, 1, 1, 1).data[3];
    there ? done() : setTimeout(look, 10); }; look(); })"""


def shows(page: Browser, direction: int, column: int, rows: int = 6) -> None:
    """All canvases have their frames of this direction and strength."""
    for row, seen in enumerate(page.run(PIXELS)):
        for ours, theirs in zip(colour(direction, row, column), seen, strict=True):
            assert abs(ours - theirs) < 8, (row, seen)
    assert len(page.run(PIXELS)) == rows


def opened(page: Browser, path: Path, **how: Any) -> Browser:
    page.open(path, **how)
    page.run(DRAWN)
    return page


def focus(page: Browser, dial: int) -> None:
    page.run(f"document.querySelectorAll('.dial input')[{dial}].focus()")


@pytest.mark.chromium
def test_moving_a_slider_by_the_keyboard_moves_every_picture(
    tmp_path: Path, chromium: Browser
) -> None:
    path = write_slider_page(sliders_in(tmp_path / "f"), tmp_path / "faces.html")
    page = opened(chromium, path)
    shows(page, 0, 2)
    focus(page, 1)
    page.press("ArrowRight")
    shows(page, 1, 3)
    assert page.run(OUTPUTS) == ["0 σ", "+1 σ"]
    page.press("End")
    shows(page, 1, 4)
    page.press("Home")
    shows(page, 1, 0)
    assert page.run(OUTPUTS) == ["0 σ", "\u22122 σ"]
    said = "document.querySelectorAll('.dial input')[1].getAttribute('aria-valuetext')"
    assert page.run(said) == "-2 standard deviations"
    focus(page, 0)  # one direction at a time: the other goes back
    page.press("ArrowLeft")
    shows(page, 0, 1)
    assert page.run(OUTPUTS) == ["\u22121 σ", "0 σ"]
    page.run("document.querySelector('.dials button').focus()")
    page.press("Enter")
    shows(page, 0, 2)
    assert page.run(OUTPUTS) == ["0 σ", "0 σ"]


@pytest.mark.chromium
def test_the_page_asks_nothing_of_anybody_and_breaks_no_policy_of_its_own(
    tmp_path: Path, chromium: Browser
) -> None:
    path = write_slider_page(sliders_in(tmp_path / "f"), tmp_path / "faces.html")
    page = opened(chromium, path)
    assert page.requests == [path.resolve().as_uri()]
    assert page.complaints == []


@pytest.mark.chromium
def test_the_page_fits_a_phone_and_follows_the_dark(tmp_path: Path, chromium: Browser) -> None:
    path = write_slider_page(sliders_in(tmp_path / "f"), tmp_path / "faces.html")
    look = "getComputedStyle(document.body).backgroundColor"
    page = opened(chromium, path, width=390, height=844)
    assert page.run("document.documentElement.scrollWidth") <= 390
    wide = "Math.min(...[...document.querySelectorAll('.dial input')].map((d) => d.clientWidth))"
    assert page.run(wide) > 300
    light = page.run(look)
    focus(page, 1)
    page.press("ArrowRight")
    shows(page, 1, 3)
    assert opened(chromium, path, dark=True).run(look) != light


@pytest.mark.chromium
def test_the_sliders_of_a_report_move_beside_its_other_slider(
    tmp_path: Path, chromium: Browser
) -> None:
    root = bare_run(tmp_path / "run", results=results())
    (root / "samples").mkdir()
    for kind in ("teacher", "student"):
        drawing(1).save(root / "samples" / f"a_{kind}.png")
    sliders_in(root / "editing")
    page = opened(chromium, write_report(root))
    shows(page, 0, 2)
    focus(page, 1)
    page.press("End")
    shows(page, 1, 4)
    assert page.complaints == []
    cut = "document.querySelector('.compare .stage').style.getPropertyValue('--cut')"
    page.run("document.querySelector('.compare input').focus()")
    page.press("Home")
    assert page.run(cut) == "0%"
    shows(page, 1, 4)
