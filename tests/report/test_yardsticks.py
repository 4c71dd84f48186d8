"""A metric's standard error, and the yardsticks it is read beside, in reports and comparisons."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from test_report import Page, bare_run
from test_report_pages import EVIL, an_ablation

from ganpress.cli.ablate import print_ablation
from ganpress.errors import ConfigError
from ganpress.report import write_report
from ganpress.report.ablation import notes, protocol, write_ablation
from ganpress.report.statements import row as row_of
from ganpress.report.yardsticks import sorted_by_metric, standard_errors

PPL = "ppl-w-eps0.0001-trim1-99-200-tiny"
FID = "fid-pytorch-uint8-500-vs-500-9f86d081"


def an_evaluation(**more: Any) -> dict[str, Any]:
    """As `results.json` holds one: of pictures, of paths and of sets."""
    return {
        "metrics": {"tiny-unit-distance": 0.44374, "l1": 0.02367, PPL: 104.31, FID: 61.734},
        "spread": {"l1": 0.00108, "tiny-unit-distance": 0.02833, PPL: 3.3},
        "count": 197,
        "yardsticks": {
            f"{PPL}, the teacher": 98.25,
            "l1, the mean picture": 0.1879,
            "fid-pytorch-uint8, real against real, 250 each": -8.1662,
        },
        "protocol": {"held out": "yes"},
        **more,
    }


def table_of(html: str) -> list[tuple[str, ...]]:
    """The table of metrics: (class of the row, its heading, its value)."""
    table = html[html.index('id="evaluation"') :].partition("</table>")[0]
    found = re.findall(r'<tr( class="under")?><th scope="row">(.*?)</th><td>(.*?)</td>', table)
    return [tuple(re.sub('<[^>]*>| class=|"', "", part).strip() for part in row) for row in found]


def page_of(folder: Path, evaluation: dict[str, Any]) -> str:
    root = bare_run(folder / "run", results={"evaluation": evaluation})
    return write_report(root).read_text(encoding="utf-8")


# --- the report of a run ------------------------------------------------------------------------


def test_each_metric_has_its_own_standard_error_and_its_yardsticks_stand_under_it(
    tmp_path: Path,
) -> None:
    assert table_of(page_of(tmp_path, an_evaluation())) == [
        ("", "tiny-unit-distance", "0.4437 ± 0.028"),
        ("", "l1", "0.02367 ± 0.0011"),
        ("under", "the mean picture", "0.1879"),
        ("", PPL, "104.3 ± 3.3"),
        ("under", "the teacher&#39;s own", "98.25"),
        ("", FID, "61.73"),
        ("under", "real pictures against real pictures, 250 each", "-8.166"),
    ]


def test_the_report_says_once_what_the_error_and_the_lines_under_a_metric_are(
    tmp_path: Path,
) -> None:
    text = Page(page_of(tmp_path, an_evaluation())).text
    assert text.count("standard error of the mean over the pictures") == 1
    assert "of a path length, standard error over its pairs of latent codes" in text
    assert text.count("Under a metric: ") == 1 and "splits" not in text
    score = {"metrics": {"is-resnet56": 5.7}, "spread": {"is-resnet56": 0.16}, "count": 500}
    text = Page(page_of(tmp_path, score)).text
    assert "±: of a score, standard deviation over its splits." in text
    assert "standard error" not in text and "Under a metric: " not in text


def test_the_headline_metric_has_its_standard_error(tmp_path: Path) -> None:
    text = Page(page_of(tmp_path, an_evaluation())).text
    assert "± 0.028, standard error over 197 pictures; smaller is better" in text
    assert "0.0011, standard error" not in text


def test_results_of_before_without_spread_and_yardsticks_make_a_report(tmp_path: Path) -> None:
    old = an_evaluation()
    del old["spread"], old["yardsticks"]
    html = page_of(tmp_path, old)
    assert [(kind, shown) for kind, _, shown in table_of(html)] == [
        ("", "0.4437"), ("", "0.02367"), ("", "104.3"), ("", "61.73"),
    ]  # fmt: skip
    text = Page(html).text
    assert "±" not in text and "Under a metric" not in text
    assert "over 197 pictures; smaller is better" in text


@pytest.mark.parametrize("part", ["spread", "yardsticks"])
def test_spread_or_yardsticks_of_the_wrong_kind_are_named(tmp_path: Path, part: str) -> None:
    with pytest.raises(ConfigError, match=f"results.json.*'{part}'"):
        page_of(tmp_path, an_evaluation(**{part: [1]}))


def test_of_a_single_picture_no_standard_error_is_known() -> None:
    one = an_evaluation(count=1, spread={"l1": 0.0, PPL: 3.3})
    assert standard_errors(one) == {PPL: 3.3}
    assert standard_errors({**one, "count": 2}) == {"l1": 0.0, PPL: 3.3}


def test_what_is_no_number_is_no_standard_error_and_a_yardstick_says_what_it_is(
    tmp_path: Path,
) -> None:
    odd = {"spread": {"l1": float("nan"), PPL: "3"}, "yardsticks": {"l1, the mean picture": None}}
    found = table_of(page_of(tmp_path, an_evaluation(**odd)))
    assert ("", "l1", "0.02367") in found and ("", PPL, "104.3") in found
    assert found[2] == ("under", "the mean picture", "null")


def test_names_of_yardsticks_are_escaped(tmp_path: Path) -> None:
    beside = {f"l1, {EVIL}": 0.5, f"{EVIL}, {EVIL}": EVIL, EVIL: 1.0}
    spread = {"l1": 0.1, EVIL: EVIL}
    html = page_of(tmp_path, an_evaluation(spread=spread, yardsticks=beside))
    page = Page(html)
    assert "<script>alert" not in html and len(page.all("script")) == 1
    assert EVIL in page.text and f"{EVIL}, {EVIL}" in page.text


def test_the_exact_number_stands_beside_the_one_with_its_error(tmp_path: Path) -> None:
    html = page_of(tmp_path, an_evaluation())
    assert '<data value="0.44374" title="0.44374">0.4437 ± 0.028</data>' in html


# --- which metric a yardstick belongs to --------------------------------------------------------


@pytest.mark.parametrize(
    ("metrics", "name", "metric", "words"),
    [
        (["l1", "masked-l1"], "l1, the mean picture", "l1", "the mean picture"),
        (["l1", "l1, b"], "l1, b, real", "l1, b", "real pictures"),
        (["miou-x, y@ab"], "miou-x, y@ab, the real pictures", "miou-x, y@ab", "the real pictures"),
        (["kid-pytorch-uint8-9-vs-9-ab", FID], "fid-pytorch-uint8, what", FID, "what"),
        (["is-tiny-9x2"], "is-tiny-9x2, real", "is-tiny-9x2", "real pictures"),
    ],
)
def test_a_yardstick_belongs_to_the_metric_that_its_name_begins_with(
    metrics: list[str], name: str, metric: str, words: str
) -> None:
    assert sorted_by_metric(metrics, {name: 1.0}) == ({metric: {words: 1.0}}, {})


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("is-inception-pytorch-uint8-500x10", "is-inception-pytorch-uint8-300x10, real"),
        ("l1-of-edges", "l1, the mean picture"),
        ("l1", "masked-l1, the mean picture"),
        ("l1", "l1"),
        (FID, "fid-clean-uint8, real against real, 250 each"),
    ],
)
def test_a_yardstick_of_no_metric_that_was_measured_keeps_its_whole_name(
    tmp_path: Path, metric: str, name: str
) -> None:
    assert sorted_by_metric([metric], {name: 2.0}) == ({}, {name: 2.0})
    html = page_of(tmp_path, {"metrics": {metric: 1.0}, "yardsticks": {name: 2.0}})
    assert table_of(html) == [("", metric, "1"), ("", name, "2")]


# --- the comparison of several runs -------------------------------------------------------------


def compared(root: Path, **more: Any) -> dict[str, Any]:
    """An ablation's file: a single seed each, measured against real pictures too."""
    found: dict[str, Any] = json.loads((an_ablation(root, **more) / "ablation.json").read_text())
    for one in found["variants"]:
        one["numbers"] |= {
            "real/frechet-tiny": {"mean": 61.5, "spread": None},
            "real/l1": {"mean": 0.25, "spread": None},
        }
        one["numbers"]["far"]["spread"] = None
        one["over_images"] = {"far": 0.15, "real/l1": 0.03125}
    found["yardsticks"] = {
        "frechet-tiny, real against real, 98 each": 12.5,
        "l1, the mean picture": 0.1875,
        "is-tiny, real": 9.5,
        "kid-tiny, real": None,
    }
    (root / "ablation.json").write_text(json.dumps(found))
    return found


def rows_of(root: Path) -> dict[str, dict[str, str]]:
    """The variants' table in ablation.md: first cell -> head -> cell."""
    lines = [x for x in (root / "ablation.md").read_text().splitlines() if x.startswith("|")]
    heads, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(heads, row, strict=True)) for row in body}


def test_yardsticks_of_a_comparison_stand_in_the_columns_of_their_metrics(tmp_path: Path) -> None:
    found = compared(tmp_path)
    page = Page(write_ablation(tmp_path).read_text())
    rows = rows_of(tmp_path)
    halves = rows["real pictures against real pictures, 98 each"]
    assert {k: v for k, v in halves.items() if v != "–"} == {
        "variant": "real pictures against real pictures, 98 each", "real/frechet-tiny": "12.5",
    }  # fmt: skip
    mean = rows["the mean picture"]
    assert (mean["real/l1"], mean["real/frechet-tiny"], mean["far"]) == ("0.1875", "–", "–")
    assert "the mean picture" in page.text
    named = [name for name in protocol(found) if name.startswith("yardstick")]
    assert named == ["yardstick real/is-tiny, real", "yardstick real/kid-tiny, real"]


def test_a_variant_of_one_seed_has_the_standard_error_over_the_test_pictures(
    tmp_path: Path,
) -> None:
    found = compared(tmp_path)
    write_ablation(tmp_path)
    row = rows_of(tmp_path)["gs-8"]
    assert (row["far"], row["real/l1"]) == ("3 ± 0.15", "0.25 ± 0.031")
    assert row["real/frechet-tiny"] == "61.5"
    assert "of a single seed, standard error over the test pictures" in notes(found)[0]


def test_a_variant_of_several_seeds_has_their_deviation_whatever_the_pictures_say(
    tmp_path: Path,
) -> None:
    found = compared(tmp_path)
    found["variants"][1]["numbers"]["far"]["spread"] = 0.5
    found["variants"][0]["over_images"] = {"far": 0.0}
    (tmp_path / "ablation.json").write_text(json.dumps(found))
    write_ablation(tmp_path)
    rows = rows_of(tmp_path)
    assert (rows["gs-8"]["far"], rows["gs-32"]["far"]) == ("3 ± 0.5", "1")


def test_the_terminal_says_of_a_yardstick_what_was_measured_and_no_dashes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_ablation(compared(tmp_path))
    lines = capsys.readouterr().out.splitlines()
    assert "the mean picture: real/l1 0.1875" in lines


def test_an_ablation_of_before_without_errors_and_yardsticks_has_a_page(tmp_path: Path) -> None:
    root = an_ablation(tmp_path)
    assert "±: standard deviation over seeds" in Page(write_ablation(root).read_text()).text
    assert list(rows_of(root)) == ["gs-32", "gs-8"]


def test_errors_over_pictures_of_real_ones_are_kept_but_no_deviation_of_a_score(
    tmp_path: Path,
) -> None:
    costs = dict.fromkeys(("bytes", "macs", "macs_outres", "params", "file_bytes"), 1)
    model = {"student": {**costs, "latency_ms": {"median": 1.0}}, "ratios": {}}
    evaluation = {"metrics": {"l1": 1.0}, "spread": {"l1": 0.5}}
    content = {"model": model, "stages": [], "evaluation": evaluation}
    run = bare_run(tmp_path / "gs-32-0", results=content)
    (run / "config.json").write_text('{"quantise": {"bits": 32}}')
    judged = {"metrics": {"l1": 2.0, "is-tiny": 3.0}, "spread": {"l1": 0.25, "is-tiny": 0.1}}
    (run / "judged-student.json").write_text(json.dumps(judged))
    assert row_of("gs-32", {0: run})["over_images"] == {"l1": 0.5, "real/l1": 0.25}


# --- a student against real pictures ------------------------------------------------------------


def a_quality(l1: float, **more: Any) -> dict[str, Any]:
    """As `ganpress evaluate --json` writes it."""
    return {
        "metrics": {"l1": l1},
        "spread": {"l1": 0.002},
        "count": 30,
        "yardsticks": {"l1, the mean picture": 0.75},
        "protocol": {"reference": "the true pictures"},
        **more,
    }


def judged_run(folder: Path, **judged: dict[str, Any]) -> Path:
    root = bare_run(folder, results={"evaluation": an_evaluation()})
    for who, content in judged.items():
        (root / f"judged-{who}.json").write_text(json.dumps(content))
    return root


def against_real(root: Path) -> list[tuple[str, ...]]:
    html = write_report(root).read_text()
    return table_of(f'id="evaluation"{html.partition("Against real pictures</h3>")[2]}')


def test_a_student_against_real_pictures_stands_beside_its_teacher(tmp_path: Path) -> None:
    root = judged_run(tmp_path / "run", student=a_quality(0.25), teacher=a_quality(0.125))
    assert against_real(root) == [
        ("", "l1", "0.25 ± 0.002"),
        ("under", "the teacher&#39;s own", "0.125"),
        ("under", "the mean picture", "0.75"),
    ]
    html = (root / "report.html").read_text()
    assert table_of(html)[1] == ("", "l1", "0.02367 ± 0.0011")
    assert html.index("Against the teacher's pictures</h3>") < html.index("Against real pictures")


@pytest.mark.parametrize("other", [{"count": 29}, {"protocol": {"reference": "others"}}])
def test_a_teacher_that_was_measured_otherwise_is_not_beside_its_student(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    teacher = a_quality(0.125, **other)
    root = judged_run(tmp_path / "run", student=a_quality(0.25), teacher=teacher)
    assert [row[1] for row in against_real(root)] == ["l1", "the mean picture"]


def test_the_teacher_of_an_ablations_variant_lies_in_the_ablations_folder(tmp_path: Path) -> None:
    root = judged_run(tmp_path / "gs-8-0", student=a_quality(0.25))
    (tmp_path / "judged-teacher.json").write_text(json.dumps(a_quality(0.125)))
    assert len(against_real(root)) == 2  # a folder of runs: somebody else's
    (tmp_path / "settings.json").write_text("{}")
    assert against_real(root)[1] == ("under", "the teacher&#39;s own", "0.125")


def test_a_run_that_was_not_measured_against_real_pictures_says_nothing_of_them(
    tmp_path: Path,
) -> None:
    html = write_report(judged_run(tmp_path / "run", teacher=a_quality(0.125))).read_text()
    assert "Against real pictures" not in html and "Against the teacher" not in html


@pytest.mark.parametrize("part", ["metrics", "spread", "yardsticks", "protocol"])
def test_a_part_of_the_wrong_kind_is_named_with_its_file(tmp_path: Path, part: str) -> None:
    root = judged_run(tmp_path / "run", student={**a_quality(0.25), part: [1]})
    with pytest.raises(ConfigError, match=f"judged-student.json: '{part}' should be an object"):
        write_report(root)
