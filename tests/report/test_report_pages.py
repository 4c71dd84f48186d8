"""The pages' templates and figures: text escaped, colours of the page, nothing left behind."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError
from test_report import CHARTS, Page, bare_run, build_run, chart_of, drawn, results, tick_places

from ganpress.report import write_report
from ganpress.report.ablation import write_ablation
from ganpress.report.ablation_figures import spread_out
from ganpress.report.curves import line_chart, panels
from ganpress.report.figures import COLOURS, drawing
from ganpress.report.page import fill
from ganpress.report.reading import Series
from ganpress.report.statements import row as row_of
from ganpress.report.statements import statements
from ganpress.report.table import Table

EVIL = "<script>alert(1)</script>\"'$x^2$"


def write_log(folder: Path, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def an_ablation(root: Path, **more: Any) -> Path:
    """A folder with ablation.json: two variants, of 8 and of 32 bits."""
    root.mkdir(exist_ok=True)

    def variant(name: str, bits: int, size: float, far: float) -> dict[str, Any]:
        names = ("bytes", "macs", "ratio/bytes", "ratio/macs", "training_seconds", "training_steps")
        numbers = {key: {"mean": size, "spread": None} for key in names}
        numbers["far"] = {"mean": far, "spread": 0.1}
        return {"variant": name, "bits": bits, "seeds": [0], "runs": [name], "numbers": numbers}

    found = {
        "family": "cyclegan",
        "metric": "far",
        "minutes": None,
        "settings": {"target": {"macs": 0.5}},
        "variants": [variant("gs-32", 32, 4e6, 1.0), variant("gs-8", 8, 1e6, 3.0)],
        "failed": [],
        "missing": [],
        **more,
    }
    (root / "ablation.json").write_text(json.dumps(found))
    return root


# --- text ---------------------------------------------------------------------------------------


def test_a_command_an_error_and_file_names_of_a_run_are_escaped(tmp_path: Path) -> None:
    root = build_run(tmp_path / "<i>run", rows=1)
    card = {"command": ["ganpress", EVIL], "device": EVIL}
    for name, content in {"card": card, "failed": {"error": EVIL, "at": EVIL}}.items():
        (root / f"{name}.json").write_text(json.dumps(content))
    restarts = {"why": [EVIL], "at": [EVIL]}
    (root / "sparsify-restarts.json").write_text(json.dumps(restarts))
    for old in ("photo", "teacher", "student"):
        (root / f"samples/n00000_{old}.png").rename(root / f"samples/<b>&'_{old}.png")
    (root / "sparsify/images/grid-0000000.png").rename(root / "sparsify/images/<u>&-0000000.png")
    write_log(root / "s", [{"step": 0, '"><script>alert(2)': 0.5, 'loss/"><script>alert(3)': 1.0}])
    html = write_report(root).read_text()
    page = Page(html)
    for tag in ("b>&", "<u>", "<i>run", "<script>alert"):
        assert tag not in html, tag
    assert len(page.all("script")) == 1
    for text in (f"This run gave up on {EVIL}. {EVIL}", f"Diverged on {EVIL}: {EVIL}", "<b>&'"):
        assert text in page.text, text
    assert {"Photo, sample <b>&'", "<u>& at step 0 of stage sparsify"} <= {
        image["alt"] for image in page.all("img")
    }


def test_names_and_errors_of_an_ablation_are_escaped_on_its_page_and_figure(tmp_path: Path) -> None:
    root = an_ablation(tmp_path / "<i>run", family=EVIL, protocol={EVIL: EVIL})
    found = json.loads((root / "ablation.json").read_text())
    found["variants"][0]["variant"] = found["variants"][0]["runs"][0] = "gs-32" + EVIL.replace(
        "/", ""
    )
    for one in found["variants"]:
        one["numbers"][EVIL] = one["numbers"].pop("far")
    found["metric"] = EVIL
    found["failed"] = [{"variant": EVIL, "seed": 0, "error": EVIL}]
    found["statements"] = [
        {"statement": EVIL, "metric": EVIL, "verdict": "not run", "better": EVIL, "worse": EVIL}
    ]
    (root / "ablation.json").write_text(json.dumps(found))
    html = write_ablation(root).read_text()
    page = Page(html)
    assert "<script>alert" not in html and "<i>" not in html and len(page.all("script")) == 1
    assert f"{EVIL}, seed 0, failed: {EVIL}" in page.text and f"{EVIL} (smaller" in page.text
    assert "<script>alert" not in (root / "fig3.svg").read_text()
    assert f"- {EVIL}: {EVIL}" in (root / "ablation.md").read_text()  # Markdown stays as it is


def test_a_run_that_gave_up_at_a_time_that_is_not_known_says_so(tmp_path: Path) -> None:
    root = bare_run(tmp_path / "run")  # as `ganpress ablate` leaves a variant
    (root / "failed.json").write_text(json.dumps({"error": "It diverged."}))
    assert "This run gave up. It diverged." in Page(write_report(root).read_text()).text


@pytest.mark.parametrize("gone", [[0], [1], [0, 1]])
def test_a_variant_without_the_metric_of_the_others_is_in_the_table(
    tmp_path: Path, gone: list[int]
) -> None:
    judged = {"judged_teacher": {"far": float("nan")}, "teacher_cost": {"bytes": 8e6, "macs": 8e6}}
    root = an_ablation(tmp_path, **judged)
    found = json.loads((root / "ablation.json").read_text())
    for k in gone:
        del found["variants"][k]["numbers"]["far"]
    for one in found["variants"]:
        one["numbers"]["real/far"] = {"mean": 2.5, "spread": None}
    (root / "ablation.json").write_text(json.dumps(found))
    page = Page(write_ablation(root).read_text())
    assert "gs-32" in page.text and "gs-8" in page.text and "2.5" in page.text
    assert (root / "fig3.svg").exists() == (len(gone) < 2)
    table = (root / "ablation.md").read_text()
    assert "nan" in table and ("| far |" in table) == (len(gone) < 2)


def test_an_ablation_of_which_nothing_has_finished_has_a_page(tmp_path: Path) -> None:
    root = an_ablation(tmp_path, variants=[], missing=["gs-32"])
    found = json.loads((root / "ablation.json").read_text())
    del found["metric"]
    (root / "ablation.json").write_text(json.dumps(found))
    assert "No variants have finished" in Page(write_ablation(root).read_text()).text


def test_seeds_have_the_numbers_in_common_that_are_numbers(tmp_path: Path) -> None:
    metrics = [{"far": 1.0, "fid": float("nan"), "kid": 2.0}, {"far": 3.0, "fid": 1.0}]
    costs = dict.fromkeys(("bytes", "macs", "macs_outres", "params", "file_bytes"), 1)
    model = {"student": {**costs, "latency_ms": {"median": 1.0}}, "ratios": {}}
    runs = {}
    for seed, one in enumerate(metrics):
        found = {"model": model, "stages": [], "evaluation": {"metrics": one, "spread": one}}
        runs[seed] = bare_run(tmp_path / f"gs-32-{seed}", results=found)
        (runs[seed] / "config.json").write_text('{"quantise": {"bits": 32}}')
    found = row_of("gs-32", runs)
    assert found["numbers"]["far"]["values"] == [1.0, 3.0]
    assert not {"fid", "kid"} & found["numbers"].keys()
    assert found["over_images"] == {"far": 2.0}


def test_a_name_that_a_template_is_not_given_is_an_error() -> None:
    nothing = Table((), ())
    given = {"method": "", "family": "x", "variants": nothing, "protocol": nothing, "shared": "y"}
    assert "# Ablation, x\n\ny\n" in fill("ablation.md.j2", **given, notes=[], sentences=[])
    with pytest.raises(UndefinedError, match="notes"):
        fill("ablation.md.j2", **given, sentences=[])


def test_a_table_keeps_the_exact_number_beside_the_readable_one(tmp_path: Path) -> None:
    html = write_report(bare_run(tmp_path / "run", results=results())).read_text()
    assert '<data value="719875" title="719875">720\u00a0k</data>' in html
    assert '<data value="0.08213" title="0.08213">0.08213</data>' in html


# --- words --------------------------------------------------------------------------------------


def test_titles_and_rates_are_those_of_the_runs_method(tmp_path: Path) -> None:
    root = bare_run(tmp_path / "run")
    (root / "card.json").write_text('{"charts": {"gate": "Gates, open"}}')
    write_log(root / "s", [{"step": 0, "loss/a": 1.0, "gate/x": 0.5, "scale/x": 0.5}])
    (root / "s-restarts.json").write_text('{"why": ["it is nan"], "rates": "lr and tau"}')
    html = write_report(root).read_text()
    assert re.findall("<h4>(.*?)</h4>", html) == ["Losses", "Gates, open", "Scale"]
    expected = "It went back to its last saved state and on with lr and tau halved, to 1/2"
    assert expected in Page(html).text


def test_a_methods_own_statements_are_compared() -> None:
    variants = [
        {"variant": name, "numbers": {"m": {"mean": far, "spread": 0.1}}, "seeds": [0, 1]}
        for name, far in (("a", 2.0), ("b", 1.0))
    ]
    (said,) = statements(variants, ["m"], [("B better than A", "b", "a")])
    assert (said["statement"], said["verdict"]) == ("B better than A", "holds")


def test_what_ablation_json_says_of_its_method_is_on_its_pages(tmp_path: Path) -> None:
    root = an_ablation(tmp_path, paper="Third", meanings={"gs-8": "in bytes"})
    page = write_ablation(root).read_text()
    assert "gs-8 (in bytes)" in page and "gs-32 ()" not in page
    assert (root / "ablation.md").read_text().startswith("# Ablation of Third, cyclegan\n")


# --- figures ------------------------------------------------------------------------------------


def test_every_colour_of_a_figure_is_the_pages_and_has_a_dark_one(tmp_path: Path) -> None:
    html = write_report(build_run(tmp_path / "run", rows=1)).read_text()
    html += write_ablation(an_ablation(tmp_path / "ablation")).read_text()
    drawings = "".join(re.findall("<svg.*?</svg>", html, re.DOTALL))
    assert len(drawings) > 10_000 and not re.search(r"#[0-9a-f]{6}", drawings)
    used = set(re.findall(r"var\(--(\w+)\)", drawings))
    assert {"c0", "c1", "c2", "c3", "soft", "grid", "line", "ink"} <= used
    light, dark = html.split("@media (prefers-color-scheme: dark)")[:2]
    for name in used:
        pattern = rf"--{name}: (#[0-9a-f]{{6}});"
        one, other = re.search(pattern, light), re.search(pattern, dark)
        assert one and other and one[1] != other[1], name
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_many_numbers_are_drawn_as_few_points_and_keep_their_extremes(tmp_path: Path) -> None:
    root = bare_run(tmp_path / "run", card={"charts": CHARTS})
    rows = [{"step": n, "loss/a": 1.0 + n % 97 / 97 + 3.0 * (n == 17_031)} for n in range(20_000)]
    write_log(root / "long", rows)
    wide = [
        {"step": n, **{f"width/g{k}": 64 - (k * n) % 60 for k in range(60)}} for n in range(900)
    ]
    write_log(root / "wide", wide)
    html = write_report(root).read_text()
    steps, values = drawn(html, "Losses", "a", "raw")
    assert max(values) == pytest.approx(max(r["loss/a"] for r in rows), abs=0.02)
    assert steps[values.index(max(values))] == pytest.approx(17_031, abs=50)
    assert 300 < len(values) <= 502
    assert chart_of(html, "Widths, channels").count("<svg") == 60
    assert len(html) < 1_500_000


def test_panels_show_each_line_from_zero_to_its_own_largest_value() -> None:
    lines = [Series("a", [0, 5, 10], [8.0, 4.0, 2.0]), Series("b", [0, 10], [1e6, 0.0])]
    with drawing():
        chart = panels("Widths", lines, from_zero=True)
    assert chart.shown == [("a", "8 → 2"), ("b", "1,000,000 → 0")]
    for row, (svg, line) in enumerate(zip(chart.svg, lines, strict=True)):
        path = re.findall(r"[ML] (\S+) (\S+)", svg)
        x, y = zip(*[(float(a), float(b) - 42 * row) for a, b in path], strict=True)
        assert list(x) == pytest.approx([2 + 13.6 * step for step in line.steps], abs=0.02)
        top, floor = 0.1 * 42, 0.9 * 42
        heights = [(floor - level) / (floor - top) for level in y]
        assert heights == pytest.approx([v / max(line.values) for v in line.values], abs=0.01)


def test_a_share_is_drawn_from_zero_to_one(tmp_path: Path) -> None:
    root = bare_run(tmp_path / "run", card={"charts": CHARTS})
    write_log(root / "s", [{"step": n, "cost/macs": 0.8 - 0.01 * n} for n in range(10)])
    ticks = tick_places(chart_of(write_report(root).read_text(), "Cost, share of the teacher"), "y")
    assert (min(ticks), max(ticks)) == (0, 1)
    assert (ticks[0], ticks[1]) == (180, 10)  # the whole height


def test_the_points_under_the_pointer_are_those_of_the_drawn_line() -> None:
    with drawing():
        chart = line_chart("Losses", [Series("a", [100, 150, 200], [1.0, 0.123456, 0.5])])
    told = json.loads(chart.hover)
    assert told["lines"] == [[[100, 1.0], [150, 0.1235], [200, 0.5]]]
    left, right = (480 * told[end] for end in ("from", "to"))
    (path,) = re.findall(r'<g class="line">\n<path d="([^"]+)"', chart.svg[0])
    at = [float(pair.split()[0]) for pair in re.split("[ML]", path)[1:]]
    assert at == pytest.approx([left, (left + right) / 2, right], abs=0.02)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([50.0, 90.0], [50.0, 90.0]),
        ([50.0, 50.0, 50.0], [50.0, 67.0, 84.0]),
        ([99.0, 100.0, 40.0], [83.0, 100.0, 40.0]),
        ([], []),
    ],
)
def test_names_beside_points_keep_their_order_and_stay_apart(
    wanted: list[float], expected: list[float]
) -> None:
    placed = spread_out(wanted, 0.0, 100.0)
    assert [placed[index] for index in range(len(wanted))] == expected


def test_drawing_leaves_matplotlib_as_it_was_and_the_user_unbothered(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    logging.getLogger("matplotlib").setLevel(logging.INFO)
    with pytest.raises(ZeroDivisionError), drawing():
        raise ZeroDivisionError
    assert dict(matplotlib.rcParams) == before
    assert logging.getLogger("matplotlib").level == logging.INFO
    logging.getLogger("matplotlib").setLevel(logging.NOTSET)


def test_the_first_report_on_a_machine_is_silent_and_by_no_ones_settings(tmp_path: Path) -> None:
    root = bare_run(tmp_path / "run")
    write_log(root / "s", [{"step": n, "loss/a": 1.0 / (n + 1)} for n in range(40)])
    expected = write_report(root).read_bytes()
    home = tmp_path / "home"
    home.mkdir()
    settings = "axes.linewidth: 9\naxes.labelsize: 30\nnonsense: 1\nsvg.fonttype: path\n"
    (home / "matplotlibrc").write_text(settings)
    code = "import sys; from pathlib import Path; from ganpress.report import write_report\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "write_report(Path(sys.argv[1]))", str(root)],
        env={"MPLCONFIGDIR": str(home), "HOME": str(home), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (root / "report.html").read_bytes() == expected


def test_the_figure_of_an_ablation_is_a_file_of_its_own_and_always_the_same(tmp_path: Path) -> None:
    root = an_ablation(tmp_path)
    write_ablation(root)
    first = (root / "fig3.svg").read_bytes()
    write_ablation(root)
    assert (root / "fig3.svg").read_bytes() == first
    assert first.startswith(b"<?xml") and b"var(" not in first and b"<dc:date" not in first
