"""The part of a report that shows a search: quality over cost, the front, and the command."""

from __future__ import annotations

import json
import re
import shlex
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from test_report import Page, at, bare_run, tick_places

from ganpress.cli.app import app
from ganpress.errors import ConfigError
from ganpress.methods.once_for_all.settings import OnceForAllConfig
from ganpress.report import write_report
from ganpress.report.searches import again
from ganpress.report.statements import numbers_of
from ganpress.run.settings import read_config

COMMAND = (
    "ganpress compress once-for-all -t 'my teacher.safetensors' --images photos --run runs/a "
    "--set target.macs=0.25 --set reuse=runs/first --set search.choose=1_2 --extend"
)


def row(name: str, macs: float, quality: float | None, **more: Any) -> dict[str, Any]:
    """A row of trials.json."""
    figures = {} if quality is None else {"l1": quality, "distance": 10 * quality}
    cost = {"macs": macs, "params": macs / 10, "bytes": macs / 2.5}
    return {
        "name": name, "widths": {}, "cost": cost, "quality": quality, "figures": figures,
        "within": macs <= 200, "front": False, "error": None, **more,
    }  # fmt: skip


ROWS = [
    row("8_8", 50, 0.4, front=True),
    row("16_8", 100, 0.3, front=True),
    row("8_16", 120, 0.35),
    row("16_16", 200, 0.2, front=True),
    row("32_16", 250, 0.25),
    row("24_8", 160, None, error="RuntimeError: out of memory"),
    row("24_16", 180, None, error="RuntimeError: out of memory"),
    row("8_24", 140, None, error="l1 is nan"),
]


def searched(root: Path, *, rows: list[dict[str, Any]] = ROWS, **more: Any) -> str:
    """The page of a run with a search of these rows."""
    card = {"command": more.pop("command", COMMAND)}
    config = more.pop("config", {"target": {"macs": 0.25}, "data": {"size": 64}})
    bare_run(root, card=card, config=config, results=more.pop("results", {}))
    (root / "search").mkdir(exist_ok=True)
    trials = {
        "best": "16_16", "quality": "l1", "maximise": False, "budget": {"macs": 200.0},
        "settings": {"objective": "quality", "images": 256}, "trials": rows, **more,
    }  # fmt: skip
    (root / "search" / "trials.json").write_text(json.dumps(trials))
    (root / "search" / "done.json").write_text('{"stage": "search", "steps": null}')
    return write_report(root).read_text(encoding="utf-8")


def figure_of(html: str) -> str:
    return html[html.index("<h4>Quality over cost</h4>") :].partition("</figure>")[0]


def marks(html: str, kind: str) -> list[tuple[float, float]]:
    """(cost, quality) of each mark of a kind, from its pixels and the ticks."""
    chart = figure_of(html)
    group = re.search(rf'<g class="{kind}">\n<defs>.*?</defs>(.*?</g>)', chart, re.DOTALL)
    assert group
    places = re.findall(r'<use [^>]*x="([^"]+)" y="([^"]+)"', group[1])
    ticks = [tick_places(chart, axis) for axis in "xy"]
    return [
        (at(float(x), ticks[0], log=False), at(float(y), ticks[1], log=False)) for x, y in places
    ]


def front_rows(html: str) -> list[list[str]]:
    table = html[html.index("The Pareto front") :].partition("</table>")[0]
    return [
        [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line)]
        for line in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    ]


def test_every_width_set_the_front_and_the_chosen_one_are_drawn_where_they_are(
    tmp_path: Path,
) -> None:
    html = searched(tmp_path / "run")
    Page(html)
    scored = [(r["cost"]["macs"], r["quality"]) for r in ROWS if r["quality"] is not None]
    front = [(r["cost"]["macs"], r["quality"]) for r in ROWS if r["front"]]
    for kind, wanted in (("trials", scored), ("front", front), ("chosen", [(200, 0.2)])):
        found = marks(html, kind)
        assert len(found) == len(wanted)
        for place in wanted:
            assert any(
                x == pytest.approx(place[0], abs=1.6) and y == pytest.approx(place[1], abs=0.004)
                for x, y in found
            ), (kind, place)
    budget = re.search(r'<g class="budget">\n<path d="M (\S+)', figure_of(html))
    assert budget
    ticks = tick_places(figure_of(html), "x")
    assert at(float(budget[1]), ticks, log=False) == pytest.approx(200, abs=1.6)


def test_the_front_is_a_table_with_costs_as_fractions_of_the_teachers(tmp_path: Path) -> None:
    head, *rows = front_rows(searched(tmp_path / "run"))
    assert head == ["Width set", "MACs", "Of the teacher&#39;s", "l1", "distance"]
    assert rows == [
        ["8_8", "50", "6.25\u00a0%", "0.4", "4"],
        ["16_8", "100", "12.5\u00a0%", "0.3", "3"],
        ["16_16 (chosen)", "200", "25\u00a0%", "0.2", "2"],
    ]


def test_without_a_budget_the_teachers_cost_is_that_of_the_results(tmp_path: Path) -> None:
    results = {"model": {"teacher": {"macs": 800, "params": 80}}}
    how = {"settings": {"objective": "params"}, "budget": {}}
    head, *rows = front_rows(searched(tmp_path / "a", config={}, results=results, **how))
    assert head[1] == "parameters" and rows[0][1:3] == ["5", "6.25\u00a0%"]
    wide = {"data": {"size": [32, 64]}}  # the search counts MACs at the family's own size
    none = {"settings": {"objective": "macs"}, "budget": {}}
    html = searched(tmp_path / "b", config=wide, results=results, **none)
    assert "Of the teacher" not in html and '"budget"' not in figure_of(html)


def test_width_sets_that_failed_are_counted_with_their_reasons(tmp_path: Path) -> None:
    text = Page(searched(tmp_path / "run")).text
    assert "2 width sets could not be scored: RuntimeError: out of memory" in text
    assert "1 width set could not be scored: l1 is nan" in text
    assert "1 width set is beyond the budget" in text
    assert "No log.jsonl lines" not in text


def test_a_score_is_said_to_be_better_when_larger(tmp_path: Path) -> None:
    html = searched(tmp_path / "run", quality="miou", maximise=True)
    assert "miou (larger is better)" in figure_of(html)
    assert "smaller is better" not in figure_of(html)


def test_the_command_makes_another_student_from_this_run(tmp_path: Path) -> None:
    codes = re.findall("<code>(.*?)</code>", searched(tmp_path / "run"))
    [line] = [unescape(code) for code in codes if "runs/a-16_8" in code]
    words = shlex.split(line)
    assert words == shlex.split(
        "ganpress compress once-for-all -t 'my teacher.safetensors' --images photos "
        "--set target.macs=0.25 --run runs/a-16_8 --set reuse=runs/a --set search.choose=16_8"
    )
    sets = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    config = read_config(OnceForAllConfig, sets=sets)
    assert (config.reuse, config.search.choose) == ("runs/a", "16_8")
    from typer.main import get_command

    command = get_command(app).commands["compress"]  # type: ignore[attr-defined]
    given = command.make_context("compress", list(words[2:])).params
    assert (given["method"], given["run"]) == ("once-for-all", Path("runs/a-16_8"))


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("ganpress compress m --run=r --set=a=1", "--set a=1 --run r-2_4 --set reuse=r"),
        ("ganpress compress m --run r/ --set search.choose=9", "m --run r-2_4 --set reuse=r/"),
    ],
)
def test_options_are_read_in_both_forms(command: str, wanted: str) -> None:
    assert again(command, "2_4").endswith(f"{wanted} --set search.choose=2_4")


@pytest.mark.parametrize(
    "command", [None, "python train.py", "ganpress ablate m --run r", "ganpress compress 'm", 7]
)
def test_where_the_command_is_not_known_the_settings_are_said(
    tmp_path: Path, command: object
) -> None:
    text = Page(searched(tmp_path / "run", command=command)).text
    assert "start it with the same settings, in another folder, with reuse=" in text
    assert "search.choose=16_8" in text


@pytest.mark.parametrize("trials", [[], [row("8_8", 50, None, error="broken")]])
def test_a_search_that_scored_nothing_has_no_figure(
    tmp_path: Path, trials: list[dict[str, Any]]
) -> None:
    assert "Quality over cost" not in searched(tmp_path / "run", rows=trials)


def test_a_lone_width_set_is_drawn(tmp_path: Path) -> None:
    html = searched(tmp_path / "run", rows=[row("16_16", 200, 0.2, front=True)])
    assert len(re.findall("<use ", figure_of(html))) == 3  # as a set, of the front, chosen
    assert "student of 16_16 from" in html


def test_many_width_sets_on_one_place_are_drawn_as_few(tmp_path: Path) -> None:
    many = [row(f"8_{n}", 100 + n / 5000, 0.3) for n in range(2000)]
    html = searched(tmp_path / "run", rows=[*many, *ROWS])
    assert "2,005" in figure_of(html)
    assert len(marks(html, "trials")) < 20


@pytest.mark.parametrize("bad", [{"trials": {}}, {"trials": [1]}, {"budget": [1]}])
def test_a_file_of_another_form_is_named(tmp_path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"search/trials.json"):
        searched(tmp_path / "run", **({"rows": bad["trials"]} if "trials" in bad else bad))


def test_names_and_reasons_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>$x^2$"
    rows = [row(evil, 50, 0.4, front=True), row("b", 60, None, error=evil)]
    html = searched(tmp_path / "run", rows=rows, quality=evil)
    Page(html)
    assert "<script>alert" not in html


def test_a_search_is_no_training_in_an_ablations_numbers(tmp_path: Path) -> None:
    stages = [
        {"name": "supernet", "steps": 300, "seconds": 20.0},
        {"name": "search", "steps": None, "seconds": 7.0},
        {"name": "finetune", "steps": 50, "seconds": 5.0},
    ]
    costs = dict.fromkeys(("bytes", "macs", "macs_outres", "params", "file_bytes"), 1)
    model = {"student": {**costs, "latency_ms": {"median": 1.0}}, "ratios": {}}
    found = {"model": model, "evaluation": {"metrics": {}}, "stages": stages}
    numbers = numbers_of(bare_run(tmp_path / "run", results=found))
    assert (numbers["training_steps"], numbers["training_seconds"]) == (350, 25.0)
