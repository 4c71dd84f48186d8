"""The report of a run: what it shows, what it says is missing, and that it is one safe file."""

from __future__ import annotations

import base64
import errno
import io
import json
import math
import os
import random
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_S
from PIL import Image, ImageColor, ImageDraw

from ganpress.errors import ConfigError, DiskFull, ImagesError
from ganpress.report import figures, write_report
from ganpress.report.ablation import _shared
from ganpress.report.ablation_figures import figure_size, picture_grid
from ganpress.report.amounts import duration, moment, si, significant
from ganpress.report.curves import exponential_mean
from ganpress.report.pictures import difference, whole_picture
from ganpress.report.table import QUANTITIES, ratio
from ganpress.report.toml import to_toml

GROUPS = ["stem", "down1", "down2", "trunk", *(f"block{n}" for n in range(9)), "up1", "up2"]
VOID = {"meta", "img", "input", "br", "link", "hr"}
DRAWN = {"path", "g", "use", "rect"}


def latency(median: float) -> dict[str, Any]:
    return {
        "median": median,
        "p95": 1.1 * median,
        "device": "cpu",
        "threads": 2,
        "batch": 1,
        "size": 256,
    }


def results() -> dict[str, Any]:
    """A complete results.json."""
    random.seed(3)
    full = {group: 256 if "block" in group or group == "trunk" else 64 for group in GROUPS}
    kept = {group: max(4, int(width * random.uniform(0.1, 0.6))) for group, width in full.items()}
    return {
        "model": {
            "family": "cyclegan",
            "teacher": {
                "params": 11378179,
                "macs": 56800000000,
                "macs_outres": 94200000000,
                "bytes": 45530112,
                "latency_ms": latency(605.0),
                "widths": full,
            },
            "student": {
                "params": 719875,
                "macs": 3690000000,
                "macs_outres": 6010000000,
                "bytes": 2901432,
                "latency_ms": latency(57.6),
                "widths": kept,
            },
            "ratios": {"macs": 15.39},
        },
        "evaluation": {
            "protocol": {"photos": "horse2zebra test A", "features": "vgg16, relu3_3"},
            "metrics": {"distance": 0.08213, "fid_vgg16": 61.734},
            "count": 120,
        },
        "export": {"onnx": {"file": "student.onnx", "bytes": 2910000, "max_abs_diff": 2.4e-6}},
        "stages": [
            {"name": "sparsify", "steps": 2000, "seconds": 4800.0},
            {"name": "finetune", "steps": 1000, "seconds": 1500.0},
        ],
    }


def drawing(seed: int, size: int = 96, shift: int = 0) -> Image.Image:
    """A cheerful landscape; `shift` changes its colours a little."""
    rng = random.Random(seed)
    image = Image.new("RGB", (size, size), (150 + shift, 190, 220 - shift))
    draw = ImageDraw.Draw(image)
    for _ in range(9):
        x, y, r = rng.randrange(size), rng.randrange(size), rng.randrange(size // 12, size // 4)
        colour = tuple(rng.randrange(40, 220) + shift for _ in range(3))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    draw.rectangle((0, size * 3 // 4, size, size), fill=(80, 140 - shift, 70))
    return image


def write_log(folder: Path, steps: int, every: int, slope: float) -> None:
    """A log of losses, widths, scales, cost and settings, as a stage writes it."""
    rng = random.Random(steps)
    folder.mkdir(parents=True)
    with (folder / "log.jsonl").open("w") as file:
        for step in range(0, steps, every):
            t = step / steps
            line = {
                "step": step,
                "elapsed_s": 2.4 * (step + 1),
                "loss/total": 3.5 * math.exp(-3 * t) + 0.4 + 0.2 * rng.random(),
                "loss/distance": 2.5 * math.exp(-slope * t) * (0.8 + 0.4 * rng.random()),
                "loss/gan": 0.7 + 0.2 * rng.random(),
                "loss/d": 0.5 + 0.2 * rng.random(),
                "cost/macs": 1 - 0.9 * t,
                "rho": 0.01,
                "lr": 1e-3 * (1 - t),
            }
            for n, group in enumerate(GROUPS):
                line[f"width/{group}"] = int(256 * (1 - t * (0.3 + 0.04 * n)))
                line[f"scale/{group}"] = 0.4 * math.exp(-t * (1 + 0.3 * n))
            file.write(json.dumps(line) + "\n")


def build_run(root: Path, *, size: int = 96, rows: int = 3) -> Path:
    """A complete run directory."""
    write_log(root / "sparsify", 2000, 2, 6.0)
    write_log(root / "finetune", 1000, 10, 2.0)
    (root / "sparsify" / "done.json").write_text('{"steps": 2000, "channels_left": 812}')
    pictures = root / "sparsify" / "images"
    pictures.mkdir()
    for step in range(0, 2000, 250):
        drawing(step % 3, 2 * size, step // 100).save(pictures / f"grid-{step:07d}.png")
    samples = root / "samples"
    samples.mkdir()
    for n in range(rows):
        for kind, shift in (("photo", 0), ("teacher", 10), ("student", 14)):
            drawing(n, size, shift).save(samples / f"n{n:05d}_{kind}.png")
    config = {
        "method": "gan_slimming",
        "family": "cyclegan",
        "seed": 0,
        "sparsify": {"steps": 2000, "lr": 1e-3, "rho": 0.01, "betas": [0.5, 0.999]},
        "data": {"photos": "/data/horse2zebra/trainA", "pairs": None},
    }
    card = {
        "ganpress": "0.1.0",
        "torch": "2.13.0",
        "python": "3.11.2",
        "device": "cpu",
        "threads": 2,
        "command": "ganpress compress zoo/horse2zebra --method slimming --out runs/horse",
        "data": "9f86d081884c7d65",
        "seed": 0,
        "started": "2025-11-21T02:47:00+00:00",
        "resumed": [{"stage": "sparsify", "step": 700, "at": "2025-11-21T03:00:00+00:00"}],
    }
    (root / "config.json").write_text(json.dumps(config))
    card["charts"] = CHARTS
    (root / "card.json").write_text(json.dumps(card))
    (root / "results.json").write_text(json.dumps(results()))
    return root


CHARTS = {
    "width": "Widths, channels",
    "scale": "Scales, mean size",
    "cost": "Cost, share of the teacher",
}
"""Titles of what a method logs, as a run's card has them."""


def bare_run(root: Path, **files: object) -> Path:
    """A run directory with a config and the given JSON files."""
    root.mkdir(exist_ok=True)
    for name, content in {"config": {"family": "cyclegan"}, **files}.items():
        (root / f"{name}.json").write_text(json.dumps(content))
    return root


class Page(HTMLParser):
    """Elements, their attributes, and the text of a page; checks that tags close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in DRAWN
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def chart_of(html: str, title: str) -> str:
    """The first chart of this title."""
    return html[html.index(f"<h4>{title}</h4>") :].partition("</figure>")[0]


def tick_places(chart: str, axis: str) -> dict[float, float]:
    """Number at each tick of an axis -> its pixel."""
    places = {}
    for tick in chart.split(f'<g class="{axis}tick">')[1:]:
        label = re.search(r">([-\d.,e]+)([kMG]?)</text>", tick)
        pixel = re.search(r'd="M \S+ (\S+)' if axis == "y" else r' x="([^"]+)"', tick)
        assert label and pixel
        factor = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[label[2]]
        places[float(label[1].replace(",", "")) * factor] = float(pixel[1])
    return places


def drawn(html: str, title: str, line: str, kind: str) -> tuple[list[float], list[float]]:
    """Steps and values of a drawn line, from its pixels and the ticks of its chart's axes."""
    chart = chart_of(html, title)
    colour = re.findall(r"</i>(.*?) <b>", chart).index(line)
    path = re.search(
        rf'<g class="{kind}">\n<path d="([^"]+)" style="[^"]*stroke: var\(--c{colour}\)', chart
    )
    assert path
    log = "Logarithmic axis" in chart
    pixels = [tuple(map(float, pair.split())) for pair in re.split("[ML]", path[1])[1:]]
    x_ticks, y_ticks = (tick_places(chart, axis) for axis in "xy")
    return [at(x, x_ticks, log=False) for x, _ in pixels], [at(y, y_ticks, log) for _, y in pixels]


def at(pixel: float, ticks: dict[float, float], log: bool) -> float:
    """The number at a pixel, by the outermost ticks; the inner ones must agree with them."""
    numbers = [math.log(v) if log else v for v in ticks]
    places = list(ticks.values())
    slope = (numbers[-1] - numbers[0]) / (places[-1] - places[0])
    for number, place in zip(numbers, places, strict=True):
        assert numbers[0] + slope * (place - places[0]) == pytest.approx(
            number, abs=abs(0.03 * slope)
        )
    found = numbers[0] + slope * (pixel - places[0])
    return math.exp(found) if log else found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_run(tmp_path_factory.mktemp("runs") / "horse")


@pytest.fixture(scope="module")
def html(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


def test_the_report_is_one_file_in_the_run_directory(run: Path, html: str) -> None:
    assert write_report(run) == run / "report.html"
    assert html.startswith("<!doctype html>")
    assert not list(run.glob(".report-*"))
    assert (run / "report.html").stat().st_size < 3_000_000


def test_the_page_loads_nothing_from_outside(html: str) -> None:
    page = Page(html)
    for tag, attrs in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            value = attrs.get(name)
            assert value is None or value.startswith(("data:image/", "#")), (tag, name, value)
    assert not page.all("link") and not page.all("iframe")
    assert "@import" not in html and "url(" not in html and "http:" not in html
    policy = page.all("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert "default-src 'none'" in str(policy["content"])


def test_the_page_is_readable_by_a_screen_reader(html: str) -> None:
    page = Page(html)
    assert all(attrs.get("alt") for attrs in page.all("img"))
    charts = [svg for svg in page.all("svg") if svg.get("aria-hidden") != "true"]
    assert charts and all(svg["role"] == "img" and svg["aria-label"] for svg in charts)
    assert len(page.all("table")) >= 6
    assert html.count("<thead>") == html.count("<table")
    assert page.all("html")[0]["lang"] == "en-GB"
    assert all(len({a["id"] for a in page.all(t) if "id" in a}) for t in ("section",))


def test_the_numbers_of_the_results_are_on_the_page(html: str) -> None:
    text = Page(html).text.replace("\u00a0", " ")
    for shown in (
        *("56.8 G", "3.69 G", "15.4×", "11.4 M", "720 k", "15.8×", "45.5 MB", "2.9 MB"),
        *("605 ms", "57.6 ms", "10.5×", "0.08213", "61.73", "120", "2.4e-6", "student.onnx"),
        *("horse2zebra test A", "cpu, 2 threads, batch 1, size 256", "2,000 steps, 1 h 20 min"),
        "sparsify at step 700, 2025-11-21 03:00 UTC",
        *("2.13.0", "9f86d081884c7d65", "--method slimming", "lr = 0.001"),
    ):
        assert shown in text, shown
    assert '<data value="56800000000"' in html


def test_every_group_shows_its_widths_and_bars_in_proportion(html: str) -> None:
    model = results()["model"]
    for group, before in model["teacher"]["widths"].items():
        after = model["student"]["widths"][group]
        row = re.search(rf'<th scope="row">{group}</th><td>(\d+)</td><td>(\d+)</td>.*?</tr>', html)
        assert row and (int(row[1]), int(row[2])) == (before, after)
        bars = [float(b) for b in re.findall(r"width:([\d.]+)%", row[0])]
        assert bars == pytest.approx([100 * before / 256, 100 * after / 256], abs=0.01)


def test_what_is_kept_of_a_group_is_a_fraction_of_that_group(html: str) -> None:
    model = results()["model"]
    for group, before in model["teacher"]["widths"].items():
        after = model["student"]["widths"][group]
        row = html.partition(f'<th scope="row">{group}</th>')[2].partition("</tr>")[0]
        assert f"<td>{100 * after / before:.0f}\u00a0%</td>" in row


def test_a_latency_measured_differently_gives_no_ratio(tmp_path: Path) -> None:
    content = results()
    content["model"]["student"]["latency_ms"]["threads"] = 8
    html = write_report(bare_run(tmp_path / "run", results=content)).read_text()
    assert "Measured differently, so no ratio" in html
    assert "10.5×" not in html
    assert "Not measured: latency." in html


def test_times_in_torch_are_compared_under_their_own_conditions() -> None:
    shipped, in_torch = (q for q in QUANTITIES if q.key.startswith("latency") and q.nested != "p95")
    model = results()["model"]
    for who, ms in (("teacher", 600.0), ("student", 150.0)):
        model[who]["latency_torch_ms"] = latency(ms)
    model["student"]["latency_ms"]["threads"] = 8
    assert (ratio(model, shipped), ratio(model, in_torch)) == (None, 4.0)
    model = results()["model"] | {"ratios": {}}
    for who, threads in (("teacher", 1), ("student", 2)):
        model[who]["latency_torch_ms"] = latency(600.0) | {"threads": threads}
    assert ratio(model, in_torch) is None and ratio(model, shipped) is not None


def test_a_student_that_is_slower_is_called_slower(tmp_path: Path) -> None:
    content = results()
    content["model"]["student"]["latency_ms"] = latency(1210.0)
    html = write_report(bare_run(tmp_path / "run", results=content)).read_text()
    assert re.search(r"2×</data></strong><span>slower<", html)


def test_a_chart_keeps_the_extremes_of_a_noisy_loss(run: Path, html: str) -> None:
    rows = (run / "sparsify" / "log.jsonl").read_text().splitlines()
    lines = [json.loads(row) for row in rows]
    for name in ("total", "distance", "gan", "d"):
        logged = [line[f"loss/{name}"] for line in lines]
        steps, values = drawn(html, "Losses", name, "raw")
        assert len(values) < len(logged)
        assert max(values) == pytest.approx(max(logged), rel=2e-3)
        assert min(values) == pytest.approx(min(logged), rel=2e-3)
        assert (steps[0], steps[-1]) == pytest.approx((0, 1998), abs=0.1)


def test_the_thick_line_lies_inside_the_raw_one(html: str) -> None:
    _, raw = drawn(html, "Losses", "distance", "raw")
    _, mean = drawn(html, "Losses", "distance", "line")
    assert min(raw) < min(mean) and max(mean) <= max(raw) * 1.002


def test_the_mean_of_a_straight_line_is_the_line_and_does_not_lag() -> None:
    line = [2.0 * n for n in range(1000)]
    mean = exponential_mean(line)
    assert mean[400:600] == pytest.approx(line[400:600], rel=1e-6)
    assert exponential_mean([3.0] * 100) == pytest.approx([3.0] * 100)


def test_the_mean_is_that_of_its_weights_written_out() -> None:
    draw = random.Random(0)
    values = [draw.random() for _ in range(100)]  # a fiftieth are two: weights halve with each step
    wanted = []
    for i in range(100):
        weights = [0.5 ** abs(i - j) for j in range(100)]
        total = sum(w * v for w, v in zip(weights, values, strict=True))
        wanted.append(total / sum(weights))
    assert exponential_mean(values) == pytest.approx(wanted)


def test_losses_over_a_wide_range_get_a_logarithmic_axis_and_others_do_not(html: str) -> None:
    sparsify, finetune = html[html.index("<h4>Losses</h4>") :].split("<h4>Losses</h4>")[1:]
    assert "Logarithmic axis" in sparsify and "Logarithmic axis" not in finetune
    charts = [part.partition("</figure>")[0] for part in (sparsify, finetune)]
    ticks = [sorted(tick_places(chart, "y")) for chart in charts]
    factors = [b / a for a, b in zip(ticks[0], ticks[0][1:], strict=False)]
    steps = [b - a for a, b in zip(ticks[1], ticks[1][1:], strict=False)]
    assert factors == pytest.approx([factors[0]] * len(factors))
    assert steps == pytest.approx([steps[0]] * len(steps))


def test_a_negative_loss_does_not_take_the_logarithmic_axis_from_the_others(tmp_path: Path) -> None:
    root = bare_run(tmp_path / "run")
    stage = root / "distil"
    stage.mkdir()
    rows = [
        {"step": n, "loss/distance": 10.0 ** (-n / 10), "loss/gan": math.cos(n)} for n in range(40)
    ]
    (stage / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    html = write_report(root).read_text()
    _, distance = drawn(html, "Losses", "distance", "raw")
    _, gan = drawn(html, "Losses that reach zero or below", "gan", "raw")
    assert (max(distance), min(distance)) == pytest.approx((1, 10**-3.9), rel=1e-2)
    assert min(gan) == pytest.approx(min(row["loss/gan"] for row in rows), abs=0.01)


@pytest.mark.parametrize("values", [[0.0], [5.0], [2.0, 2.0], [-1.0], [1e-30, 1e30], [1e300, 1.0]])
def test_a_chart_survives_odd_series(tmp_path: Path, values: list[float]) -> None:
    root = bare_run(tmp_path / "run")
    stage = root / "s"
    stage.mkdir()
    rows = [
        json.dumps({"step": n, "loss/a": v, "lr": v, "width/x": v}) for n, v in enumerate(values)
    ]
    (stage / "log.jsonl").write_text("\n".join(rows) + "\n")
    html = write_report(root).read_text()
    Page(html)
    lines = re.findall(r'<g class="line">\n<path d="([^"]+)"', html)
    numbers = [float(n) for line in lines for n in re.findall(r"-?[\d.]+", line)]
    assert len(lines) == 3 and all(0 <= n <= 480 for n in numbers)


def test_many_groups_become_small_panels_with_first_and_last_width(html: str) -> None:
    widths = html[html.index("<h4>Widths, channels</h4>") :].split("</ul>")[0]
    assert re.findall(r'title="(\w+)"', widths) == GROUPS
    assert '<span class="num">256 → ' in widths
    settings = chart_of(html, "Settings over time")  # of the clock there is no curve
    assert re.findall(r'title="(\w+)"', settings) == ["rho", "lr"]


def test_pictures_stand_in_rows_with_their_difference_amplified(run: Path, html: str) -> None:
    assert html.count('<div class="row"') == 3
    images = Page(html).all("img")
    alts = [str(img["alt"]) for img in images]
    assert alts[:3] == [f"{k}, sample n00000" for k in ("Photo", "Teacher", "Student")]
    assert alts[3].startswith("Difference") and "4 times amplified" in alts[3]
    data = base64.b64decode(str(images[3]["src"]).partition(",")[2])
    shown = Image.open(io.BytesIO(data)).convert("RGB")
    pair = [Image.open(run / f"samples/n00000_{k}.png") for k in ("teacher", "student")]
    for spot in ((0, 0), (40, 50), (95, 95)):
        a, b = (image.getpixel(spot) for image in pair)
        assert isinstance(a, tuple) and isinstance(b, tuple)
        expected = tuple(min(255, 4 * abs(p - q)) for p, q in zip(a, b, strict=True))
        assert shown.getpixel(spot) == expected


def test_a_large_set_is_shown_in_part_and_says_so(tmp_path: Path) -> None:
    root = build_run(tmp_path / "run", size=256, rows=30)
    html = write_report(root).read_text()
    assert html.count('<div class="row"') == 12
    assert "12 of 30 samples." in html and "originals are in samples/" in html
    assert "sample n00000" in html and "sample n00029" in html


def test_a_generator_without_photos_gets_no_photo_column(tmp_path: Path) -> None:
    root = bare_run(tmp_path / "run")
    (root / "samples").mkdir()
    for kind in ("teacher", "student"):
        drawing(1).save(root / "samples" / f"z0_{kind}.png")
    html = write_report(root).read_text()
    assert "Photo" not in html and "Teacher, sample z0" in html


def test_text_from_files_is_escaped(tmp_path: Path) -> None:
    evil = "</code><script>alert(1)</script>\"'"
    content = results()
    content["model"]["family"] = evil
    content["evaluation"]["metrics"][evil] = evil
    content["evaluation"]["protocol"][evil] = evil
    content["model"]["teacher"]["widths"][evil] = 8
    content["model"]["student"]["widths"][evil] = 4
    content["export"] = {evil: {"file": evil, evil: evil}}
    content["model"]["student"]["latency_ms"]["device"] = evil
    root = bare_run(
        tmp_path / "run",
        config={"a": evil, evil: {evil: [evil]}},
        results=content,
        card={evil: evil},
    )
    (root / "<b>&stage").mkdir()
    (root / "<b>&stage" / "done.json").write_text(json.dumps({evil: evil}))
    row = {"step": 1, "seconds": 1, f"loss/{evil}": 1.0, evil: 1.0, f"{evil}/x": 2.0}
    (root / "<b>&stage" / "log.jsonl").write_text(json.dumps(row) + "\n")
    html = write_report(root).read_text()
    assert "<script>alert" not in html and "<b>&stage" not in html
    assert len(Page(html).all("script")) == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_missing_parts_are_said(tmp_path: Path) -> None:
    text = Page(write_report(bare_run(tmp_path / "run")).read_text()).text
    for said in (
        "This run has no card.json and no results.json yet.",
        "Not measured: MACs, parameters, weights, latency, distance.",
        "No sample pictures",
        "No sizes: results.json has no 'model' part.",
        "Not evaluated",
        "Not exported",
        "No stage folder",
        "The command is not known",
    ):
        assert said in text, said


@pytest.mark.parametrize("part", ["model", "evaluation", "export", "stages"])
def test_a_report_is_written_without_any_one_part_of_the_results(tmp_path: Path, part: str) -> None:
    content = results()
    del content[part]
    text = write_report(bare_run(tmp_path / "run", results=content)).read_text()
    Page(text)  # raises where the page is not whole
    assert "ganpress report" in text


def test_an_unfinished_stage_is_marked_and_a_torn_last_line_left_out(tmp_path: Path) -> None:
    root = bare_run(tmp_path / "run")
    stage = root / "distil"
    stage.mkdir()
    (stage / "log.jsonl").write_text('{"step": 70, "seconds": 9, "loss/a": 1.5}\n{"step": 80, "l')
    text = Page(write_report(root).read_text()).text
    assert "unfinished" in text and "last logged step 70, 9" in text


@pytest.mark.parametrize("name", ["config.json", "card.json", "results.json"])
@pytest.mark.parametrize("content", ['{"model": ', "[1, 2]", "\xff\x00", '"text"', "[" * 100_000])
def test_a_broken_file_is_an_error_that_names_it(tmp_path: Path, name: str, content: str) -> None:
    root = bare_run(tmp_path / "run")
    (root / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=re.escape(str(root / name))):
        write_report(root)
    assert not (root / "report.html").exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"model": [1]}, "'model'"),
        ({"model": {"teacher": 3}}, "'teacher'"),
        ({"model": {"teacher": {"latency_ms": 3}}}, "'latency_ms'"),
        ({"evaluation": {"metrics": [1]}}, "'metrics'"),
        ({"export": {"onnx": "x"}}, "'onnx'"),
    ],
)
def test_a_part_of_the_wrong_kind_is_named(
    tmp_path: Path, content: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=f"results.json.*{named}"):
        write_report(bare_run(tmp_path / "run", results=content))


def test_unreadable_log_lines_are_left_out_and_counted(tmp_path: Path) -> None:
    root = bare_run(tmp_path / "run")
    (root / "s").mkdir()
    rows = ['{"step": 1, "loss/a": 3}', "nonsense", "[]", '{"step": 4, "loss/a": 2}', ""]
    (root / "s" / "log.jsonl").write_text("\n".join(rows))
    html = write_report(root).read_text()
    assert "2 lines of log.jsonl are unreadable and left out." in html
    assert drawn(html, "Losses", "a", "line") == (pytest.approx([1, 4]), pytest.approx([3, 2]))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"neither config\.json nor card\.json"):
        write_report(tmp_path)
    bare_run(tmp_path / "horses")
    with pytest.raises(ConfigError, match="did you mean 'horses'"):
        write_report(tmp_path / "horse")


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_a_difference_in_alpha_alone_is_seen_and_alpha_is_kept(tmp_path: Path, mode: str) -> None:
    teacher = Image.new(mode, (200, 200), (90,) * (len(mode) - 1) + (255,))
    student = teacher.copy()
    student.putalpha(235)
    picture, mean = difference(teacher, student)
    assert picture.getextrema() in ((80, 80), ((80, 80),) * 3)  # 4 times 20, opaque
    assert mean == pytest.approx(20 / len(mode))
    student.save(tmp_path / "a.png")
    shown = whole_picture(tmp_path / "a.png", "alt", "label").src
    with Image.open(io.BytesIO(base64.b64decode(shown.split(",")[1]))) as kept:
        assert kept.mode == mode and kept.tobytes() == student.tobytes()


def test_a_broken_or_misfitting_picture_is_named(tmp_path: Path) -> None:
    root = bare_run(tmp_path / "run")
    (root / "samples").mkdir()
    drawing(1).save(root / "samples" / "a_teacher.png")
    drawing(1, 64).save(root / "samples" / "a_student.png")
    with pytest.raises(ImagesError, match=r"a_student\.png' differ in size \(96x96 and 64x64\)"):
        write_report(root)
    (root / "samples" / "a_student.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(ImagesError, match=r"a_student\.png' cannot be read"):
        write_report(root)


def test_a_student_of_other_channels_than_its_teacher_is_named(tmp_path: Path) -> None:
    root = bare_run(tmp_path / "run")
    (root / "samples").mkdir()
    drawing(1).save(root / "samples" / "a_teacher.png")
    drawing(1).convert("L").save(root / "samples" / "a_student.png")
    with pytest.raises(ImagesError, match=r"a_student\.png' differ in channels \(RGB and L\)"):
        write_report(root)


def test_a_point_of_several_seeds_has_a_bar_of_one_spread_to_both_sides() -> None:
    several, one = (
        {
            "variant": name,
            "bits": 32,
            "numbers": {"m": {"mean": mean, "spread": spread}, "bytes": {"mean": 1e6}},
        }
        for name, mean, spread in (("several", 2.0, 0.5), ("one", 4.0, None))
    )
    with figures.drawing():
        axes = figure_size([several, one], "m", None).axes[0]
        bars = [bar[:, 1].tolist() for c in axes.collections for bar in c.get_segments()]
    assert bars == [[1.5, 2.5]]


@pytest.mark.parametrize(("shape", "side"), [((40, 20), (192, 96)), ((120, 240), (120, 240))])
def test_the_grid_of_an_ablation_keeps_the_proportions_of_its_pictures(
    shape: tuple[int, int], side: tuple[int, int], tmp_path: Path
) -> None:
    samples = tmp_path / "gd-0" / "samples"
    samples.mkdir(parents=True)
    colours = {"photo": "red", "teacher": "lime", "student": "blue"}
    for kind, colour in colours.items():
        Image.new("RGB", shape, colour).save(samples / f"a_{kind}.png")
    assert picture_grid(tmp_path, [{"variant": "gd", "runs": ["gd-0"]}], tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as grid:
        for row, colour in enumerate(colours.values()):
            top = row * (side[1] + 4)
            shown = grid.crop((132, top, 132 + side[0], top + side[1]))
            assert shown.getcolors() == [(side[0] * side[1], ImageColor.getrgb(colour))]
        assert grid.size == (132 + side[0] + 4, 3 * (side[1] + 4))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"macs": 0.05, "latency_ms": None}, "at most 0.05 of the teacher's macs, 5"),
        ({"macs": None, "latency_ms": 12.5, "runtime": "openvino"}, "at most 12.5\u00a0ms, 5"),
        ({"macs": None, "layout": "pth-junyanz", "threads": 2}, "no target, 5"),
    ],
)
def test_an_ablation_says_the_cost_that_all_variants_keep_to(
    target: dict[str, object], words: str
) -> None:
    found = {"settings": {"target": target}, "minutes": 5}
    assert _shared(found).startswith(f"Every variant: {words}\u00a0min of training each, ")


def test_a_full_disk_leaves_the_previous_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = bare_run(tmp_path / "run")
    write_report(root)
    before = (root / "report.html").read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match=r"report\.html"):
        write_report(root)
    assert (root / "report.html").read_bytes() == before
    assert sorted(path.name for path in root.iterdir()) == ["config.json", "report.html"]


def test_the_same_run_gives_the_same_bytes(run: Path, html: str) -> None:
    assert write_report(run).read_text(encoding="utf-8") == html


def test_the_shown_config_can_be_loaded_again() -> None:
    config = {
        "name": 'quote " back \\ line\n\x7f é',
        "steps": 3,
        "on": True,
        "odd key": {"deep": {"deeper": {"x": 1e-5, "list": [1, 2.5, "a"]}}},
        "points": [{"a": 1, "b": [True]}],
        "empty": {},
    }
    assert tomllib.loads(to_toml(config)) == config
    assert to_toml({"pairs": None}) == "# pairs is not set"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (si(56_800_000_000), "56.8\u00a0G"),
        (si(999_960), "1\u00a0M"),
        (si(12), "12"),
        (significant(0.00012345), "0.000123"),
        (significant(2.4e-6), "2.4e-6"),
        (significant(-12345.6), "-12,346"),
        (significant(100.0), "100"),
        (significant(float("nan")), "nan"),
        (significant(float("-inf")), "-inf"),
        (significant(0.99999), "1"),
        (duration(4800), "1\u00a0h 20\u00a0min"),
        (duration(45.2), "45.2\u00a0s"),
        (moment("2025-11-21T02:47:31Z"), "2025-11-21 02:47 UTC"),
        (moment(0), "1970-01-01 00:00 UTC"),
        (moment("yesterday"), "yesterday"),
    ],
)
def test_amounts_are_written_for_people(shown: str, expected: str) -> None:
    assert shown == expected


def test_writing_a_report_imports_no_torch(run: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ganpress.report import write_report\n"
        "write_report(Path(sys.argv[1]))\n"
        "print([m for m in ('torch', 'torchvision', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run)], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_weights_are_not_called_a_file_and_the_file_stands_beside_them(tmp_path: Path) -> None:
    content = results()
    content["model"]["student"]["file_bytes"] = 2_950_000
    html = write_report(bare_run(tmp_path / "run", results=content)).read_text()
    text = Page(html).text.replace("\u00a0", " ")
    assert "smaller weights45.5 MB → 2.9 MB; the student's file: 2.95 MB" in text
    assert "smaller file" not in text
    rows = dict(re.findall(r'<tr><th scope="row">([^<]*)</th>(.*?)</tr>', html))
    shown = {name: re.sub("<[^>]+>", "|", row).replace("\u00a0", " ") for name, row in rows.items()}
    assert "45.5 MB" in shown["Weights, as stored"] and "2.9 MB" in shown["Weights, as stored"]
    assert "–" in shown["Model file"] and "2.95 MB" in shown["Model file"]


@pytest.mark.parametrize(
    ("metrics", "told"),
    [({"vgg16-unit-distance": 0.1}, True), ({"l1": 0.1}, True), ({"is-vgg16": 3.0}, False)],
)
def test_the_tile_of_a_distance_says_that_smaller_is_better(
    metrics: dict[str, float], told: bool, tmp_path: Path
) -> None:
    content = results()
    content["evaluation"]["metrics"] = metrics
    text = Page(write_report(bare_run(tmp_path / "run", results=content)).read_text()).text
    assert ("over 120 pictures; smaller is better" in text) == told


def test_a_stage_that_went_back_says_when_why_and_how_gently_it_went_on(tmp_path: Path) -> None:
    root = bare_run(tmp_path / "run")
    for stage, told in {
        "sparsify": {
            "why": ["'loss/gan' is <inf>", "no good"],
            "at": ["2025-11-21T02:47:00Z"] * 2,
            "rates": "rho and learning rates",
        },
        "finetune": {"why": ["Training diverged: old. The last good state is kept."]},
    }.items():
        (root / stage).mkdir()
        (root / stage / "log.jsonl").write_text('{"step": 1, "loss/a": 3}\n')
        (root / f"{stage}-restarts.json").write_text(json.dumps({"stage": stage, **told}))
    text = Page(write_report(root).read_text()).text
    assert text.count("Diverged on 2025-11-21 02:47 UTC: ") == 2
    assert "'loss/gan' is <inf>. It went back" in text
    assert "rho and learning rates halved, to 1/2 of" in text
    assert "02:47 UTC: no good." in text and "halved, to 1/4 of" in text
    assert "Diverged: old. It went back" in text and "on with learning rates halved" in text


def test_a_run_that_gave_up_says_so_with_the_advice(tmp_path: Path) -> None:
    root = bare_run(tmp_path / "run")
    error = "Training diverged: 'a' is inf. Lower the learning rate."
    failed = {"error": error, "at": "2025-11-21T02:47:00+00:00"}
    (root / "failed.json").write_text(json.dumps(failed))
    text = Page(write_report(root).read_text()).text
    assert f"This run gave up on 2025-11-21 02:47 UTC. {error}" in text
    (root / "failed.json").unlink()
    assert "gave up" not in write_report(root).read_text()
