"""The demo: the whole line with nothing from outside, here with fewer steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ganpress import load, measure
from ganpress.cli import demo as line
from ganpress.losses.weights import zoo_path

ZOO = zoo_path("demo_teacher.safetensors").parent


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line, "TRAIN", 12)
        patch.setattr(line, "TEST", 3)
        patch.setitem(line.SETTINGS, "sparsify", {**line.SETTINGS["sparsify"], "steps": 6})
        patch.setitem(line.SETTINGS, "finetune", {**line.SETTINGS["finetune"], "steps": 3})
        torch.set_num_threads(2)  # as where nothing is said, on two cores
        try:
            line.run_demo(folder)
        finally:
            torch.set_num_threads(1)
    return folder


def test_the_demo_leaves_a_student_of_at_most_an_eighth_of_the_macs(run: Path) -> None:
    student, teacher = load(run / "student.safetensors"), load(ZOO / "demo_teacher.safetensors")
    assert measure(student.net).macs <= measure(teacher.net).macs / 8
    results = json.loads((run / "results.json").read_text())
    assert results["model"]["ratios"]["macs"] >= 8


def test_the_demo_takes_one_core_however_many_there_are(run: Path) -> None:
    assert json.loads((run / "card.json").read_text())["threads"] == 1


def test_the_demo_exports_a_checked_onnx_file_and_writes_a_report(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    assert results["export"]["onnx"]["max_abs_diff"] < 1e-4
    assert (run / "student.onnx").stat().st_size == results["export"]["onnx"]["bytes"]
    assert (run / "report.html").read_text().startswith("<!doctype html>")


def test_the_demo_evaluates_on_pictures_it_never_trained_on(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    assert results["evaluation"]["protocol"]["held out"] == "yes"
    assert results["evaluation"]["count"] == 3
    train = {p.read_bytes() for p in (run / "pictures" / "train").iterdir()}
    assert not train & {p.read_bytes() for p in (run / "pictures" / "test").iterdir()}
