"""Model cards: each number is one of the files', and the terms are what the files say."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from cli_runs import teacher_file
from shared_run import a_run

import ganpress
from ganpress.errors import ConfigError
from ganpress.losses.weights import zoo_path
from ganpress.sharing.model_card import model_card
from ganpress.sharing.source import open_source
from ganpress.sharing.terms import Given, licence_in, terms_of

KNOWN = {"data_hash": "527fed69cdf5c8d7b35bd4fd5307ff7b05b0731f6449566429e0431d39f82045"}


def head_and_body(text: str) -> tuple[dict[str, object], str]:
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_the_head_is_yaml_with_what_the_hub_reads(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    given = Given("cc-by-4.0", 'drawn by "A: B", #1', ("sketches",))
    card = model_card(open_source(run), given=given, files={"model.onnx": 5})
    head, body = head_and_body(card.text)
    assert head == {
        "library_name": "ganpress",
        "pipeline_tag": "image-to-image",
        "tags": ["ganpress", "gan", "cartoongan", "onnx"],
        "license": "cc-by-4.0",
        "datasets": ["sketches"],
    }
    assert '- drawn by "A: B", #1' in body


def test_a_runs_card_has_the_numbers_of_its_results_and_no_others(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    student = {"median": 12.5, "p95": 13.5, "device": "cpu", "threads": 2, "batch": 1, "size": 64}
    results = json.loads((run / "results.json").read_text())
    results["model"]["student"]["latency_ms"] = student
    results["export"] = {"onnx": {"file": "student.onnx", "bytes": 777, "max_abs_diff": 2e-6}}
    row = {"model": "student", "runtime": "openvino", "precision": "int8", "median_ms": 7.25}
    device = {"processor": "a processor"}
    results["latency"] = {"rows": [row], "threads": 2, "size": 64, "device": device}
    (run / "results.json").write_text(json.dumps(results))
    _, body = head_and_body(model_card(open_source(run)).text)
    assert "| student | openvino | int8 | 7.25 ms |" in body
    assert "a processor; 2 threads; size 64. All in turn" in body
    assert "4× fewer MACs than its teacher" in body  # 4e9 against 1e9
    assert "| MACs | 4\u00a0G | 1\u00a0G | 4× |".replace("\u00a0", " ") in body
    assert "| Latency, median | – | 12.5 ms | – |" in body
    assert "student: cpu, 2 threads, batch 1, size 64, in torch" in body
    assert "| unit-distance | 1.25 |" in body and "| photos | 7 |" in body
    assert "| onnx | student.onnx | 777 B |" in body
    assert "- Paper: a paper" in body


def test_a_files_card_has_the_cost_that_is_measured_of_it(tmp_path: Path) -> None:
    file = teacher_file(tmp_path / "toon.safetensors")
    _, body = head_and_body(model_card(open_source(file)).text)
    model = ganpress.load(file)
    cost = asdict(ganpress.measure(model.net, model.size))
    units = {"k": 1e3, "M": 1e6, "G": 1e9}
    for label, key in {"MACs": "macs", "Parameters": "params"}.items():
        ((shown, unit),) = re.findall(rf"^\| {label} \| ([\d.]+) ([kMG]) \|$", body, re.MULTILINE)
        assert float(shown) * units[unit] == pytest.approx(cost[key], rel=0.01)
    assert f"| `model.safetensors` | {file.stat().st_size:,} |" in body
    assert "Not evaluated" in body and "Not stated" in body


def test_the_zoos_card_has_the_metrics_and_terms_of_the_json_beside_it() -> None:
    path = zoo_path("pix2pix-openmoji.safetensors")
    beside = json.loads(path.with_suffix(".json").read_text())
    card = model_card(open_source(path))
    head, body = head_and_body(card.text)
    assert head["license"] == "cc-by-sa-4.0" and head["datasets"] == ["openmoji"]
    assert beside["data"]["terms"] in body
    for name, value in beside["evaluation"]["metrics"].items():
        pattern = rf"^\| {re.escape(name)} \| ([\d.,]+)(?: ± ([\d.]+))? \|$"
        ((shown, error),) = re.findall(pattern, body, re.MULTILINE)
        assert float(shown.replace(",", "")) == pytest.approx(value, rel=1e-3)
        known = beside["evaluation"]["spread"].get(name)
        assert (float(error) if error else None) == (known and pytest.approx(known, rel=0.05))
    assert re.search(r"\| l1 \| .*\n\| \*the mean picture\* \| 0\.188 \|\n", body)
    assert "\n\n±: standard error of the mean over the pictures. Under a metric: " in body
    assert beside["evaluation"]["protocol"]["geometry"] in body


@pytest.mark.parametrize("content", ['{"input": ', "[1, 2]", '{"data": 3, "evaluation": []}'])
def test_another_programs_json_beside_a_model_says_nothing_on_its_card(
    tmp_path: Path, content: str
) -> None:
    file = teacher_file(tmp_path / "toon.safetensors")
    alone = model_card(open_source(file)).text
    file.with_suffix(".json").write_text(content)
    assert model_card(open_source(file)).text == alone


def test_a_card_is_written_where_it_is_asked_for_and_cells_cannot_break_its_tables(
    tmp_path: Path,
) -> None:
    run = a_run(tmp_path / "run")
    results = json.loads((run / "results.json").read_text())
    results["evaluation"]["protocol"] = {"photos": "a | b\nc"}
    (run / "results.json").write_text(json.dumps(results))
    stated = ganpress.write_card(run, tmp_path / "CARD.md", repo="alice/toon", terms="mine")
    text = (tmp_path / "CARD.md").read_text()
    assert "| photos | a \\| b c |" in text
    assert 'ganpress.load("hub:alice/toon")' in text and stated.lines == ("mine",)
    ganpress.write_card(run, tmp_path / "new" / "folder" / "CARD.md")
    assert (tmp_path / "new" / "folder" / "CARD.md").read_text().startswith("---\n")


def test_a_card_has_the_whole_name_of_a_runs_folder_and_a_files_without_its_ending(
    tmp_path: Path,
) -> None:
    run = a_run(tmp_path / "slim-0.25")
    titles = {run: "slim-0.25", run / "student.safetensors": "student"}
    for path, title in titles.items():
        assert f"\n# {title}\n" in model_card(open_source(path)).text


def test_a_folder_that_is_no_finished_run_has_no_card(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="no folder of a finished run"):
        ganpress.write_card(tmp_path, tmp_path / "CARD.md")
    assert not (tmp_path / "CARD.md").exists()


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("OpenMoji: CC BY-SA 4.0, as are this model and its pictures", "cc-by-sa-4.0"),
        ("drawn by ganpress, Apache-2.0", "apache-2.0"),
        ("CC0", "cc0-1.0"),
        ("CC BY-NC-SA 4.0 (NVIDIA)", "cc-by-nc-sa-4.0"),
        ("MIT", "mit"),
        ("annotations CC BY 4.0; photos by Flickr's terms", "other"),
        ("Apache-2.0 (Hayao); trained on film frames: research use", "other"),
        ("code MIT, weights CC BY 4.0", "other"),
        ("no licence given; cite Krizhevsky 2009", "other"),
        ("summit photos, all permitted", "other"),
    ],
)
def test_a_licence_is_named_only_where_the_terms_state_one_without_restriction(
    text: str, identifier: str
) -> None:
    assert licence_in(text) == identifier


def test_terms_are_found_by_the_hash_of_the_data_and_where_weights_came_from() -> None:
    by_hash = terms_of(KNOWN)
    assert by_hash.datasets == ("openmoji",) and by_hash.licence == "cc-by-sa-4.0"
    assert not by_hash.unknown and not by_hash.advice
    imported = terms_of({"licence": "MIT"})
    assert imported.lines == ("MIT",) and imported.licence == "mit" and not imported.unknown
    started = terms_of({"start": {"provenance": {"licence": "CC BY 4.0"}}, **KNOWN})
    assert started.licence == "other" and len(started.lines) == 2


def test_pictures_that_a_student_was_compressed_on_have_terms_of_their_own() -> None:
    mine = terms_of(KNOWN, run_card={"data_hash": "ab" * 32})
    assert mine.unknown == ("the pictures that it was compressed on (data hash abababababab)",)
    assert "--terms" in mine.advice
    same = terms_of(KNOWN, run_card=KNOWN)
    assert not same.unknown and len(same.lines) == 1
    noise = terms_of(KNOWN, run_card={"data_hash": "none"})
    assert not noise.unknown
    said = terms_of(KNOWN, run_card={"data_hash": "ab" * 32}, given=Given(terms="mine, CC BY 4.0"))
    assert said.lines[0] == "mine, CC BY 4.0" and not said.advice


def test_the_teachers_terms_stay_on_the_card_whatever_is_said_of_the_rest() -> None:
    (known,) = terms_of(KNOWN).lines
    given = Given("cc-by-4.0", "my own photos, CC BY 4.0", ("horses",))
    card = terms_of(KNOWN, run_card={"data_hash": "ab" * 32}, given=given)
    assert card.lines == ("my own photos, CC BY 4.0", known)
    assert card.datasets == ("horses", "openmoji") and card.licence == "cc-by-4.0"
    assert terms_of(KNOWN, given=Given(terms="my own photos, CC BY 4.0")).licence == "other"
    assert terms_of({}, given=Given(terms="my own photos, CC BY 4.0")).licence == "cc-by-4.0"


def test_a_model_that_was_trained_on_has_the_terms_of_the_data_of_the_first() -> None:
    from_zoo = terms_of({"data_hash": "ab" * 32, "start": {"provenance": KNOWN}})
    assert from_zoo.datasets == ("openmoji",) and len(from_zoo.lines) == 1
    assert from_zoo.unknown == ("the pictures that it was trained on (data hash abababababab)",)
    twice = {"start": {"provenance": {"start": {"provenance": {"data_hash": "cd" * 32}}}}}
    (unknown,) = terms_of({**KNOWN, **twice}).unknown
    assert "from which it began (data hash cdcdcdcdcdcd)" in unknown


def test_the_licence_of_the_first_weights_does_not_speak_for_the_pictures_of_the_next() -> None:
    imported = {"data_hash": "ab" * 32, "start": {"provenance": {"licence": "MIT"}}}
    assert len(terms_of(imported).unknown) == 1
    assert not terms_of({"data_hash": "ab" * 32, "licence": "MIT"}).unknown


def test_pictures_of_the_other_domain_and_real_ones_have_terms_too() -> None:
    monet = json.loads(zoo_path("cyclegan-monet.json").read_text())["data"]
    assert terms_of({"data_hash": monet["other_hash"]}).datasets == ("monet2photo",)
    both = terms_of({**KNOWN, "other_hash": "cd" * 32}, run_card={"reals_hash": "ef" * 32})
    assert [line[-13:-1] for line in both.unknown] == ["efefefefefef", "cdcdcdcdcdcd"]
    assert "real pictures" in both.unknown[0]


def test_nothing_known_is_said_as_that() -> None:
    found = terms_of({})
    assert found.licence == "unknown" and not found.lines
    assert found.advice.startswith("The terms of the pictures that it was trained on are not known")
