"""The latency of a student's exported file beside its teacher's, as results.json holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from exports import SHALLOW

import ganpress
from ganpress.measures.timing import rows, shipped
from ganpress.measures.timing.rounds import Plan, Timed, Watch
from ganpress.measures.timing.shipped import time_file, time_files, time_model
from ganpress.measures.timing.task import Task
from ganpress.models.checkpoint import Model
from ganpress.quantisation.quantise import FakeQuantiser, quantise


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Task]:
    """Nothing runs: a pass of each file takes as many milliseconds as its place in the list."""
    found: dict[str, Task] = {}

    def pretend(tasks: dict[str, Task], plan: Plan, watch: Watch) -> tuple[dict[str, Timed], bool]:
        found.update(tasks)
        return {
            name: Timed(rounds=[[ms], [ms]], version="1.0", peak=2, base=1)
            for ms, name in enumerate(tasks, 1)
        }, False

    monkeypatch.setattr(rows, "run_in_turn", pretend)
    monkeypatch.setattr(shipped, "installed", lambda: ["onnxruntime"])
    return found


def eight_bit() -> Model:
    model = SHALLOW.model()
    quantise(model.net, FakeQuantiser(per_channel=True))
    return model


def test_an_8_bit_students_file_stands_beside_its_teachers_and_the_same_widths_in_float(
    tmp_path: Path, asked: dict[str, Task]
) -> None:
    student, teacher = eight_bit(), SHALLOW.model()
    file = tmp_path / "student.onnx"
    ganpress.export(student, file, size=SHALLOW.pixels)
    found = time_files(teacher, student, file, size=SHALLOW.pixels)
    assert found is not None
    timed = [(row["model"], row["runtime"], row["precision"]) for row in found["rows"]]
    assert timed == [
        ("teacher", "onnxruntime", "fp32"),
        ("student", "onnxruntime", "int8"),
        ("student, float", "onnxruntime", "fp32"),
    ]
    tasks = list(asked.values())
    assert Path(tasks[1].path) == file  # the very file that is shipped
    assert len({task.path for task in tasks}) == 3
    assert [row["ratio"][0] for row in found["rows"]] == pytest.approx([1, 1 / 2, 1 / 3], abs=1e-3)
    assert found["size"] == SHALLOW.pixels and found["left"] == []


def test_without_the_file_or_the_packages_nothing_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = SHALLOW.model()
    assert time_files(model, model, tmp_path / "student.onnx", size=32) is None
    monkeypatch.setattr(shipped, "find_spec", lambda name: None)
    (tmp_path / "student.onnx").write_bytes(b"onnx")
    assert time_files(model, model, tmp_path / "student.onnx", size=32) is None
    assert time_model(model, 32) == []


def test_ctrl_c_while_files_are_timed_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Task]
) -> None:
    def stopped(*_: Any, **__: Any) -> tuple[dict[str, Timed], bool]:
        return {}, True

    monkeypatch.setattr(shipped, "_candidates", lambda *_: ([], []))
    monkeypatch.setattr(rows, "run_in_turn", stopped)
    (tmp_path / "student.onnx").write_bytes(b"onnx")
    with pytest.raises(KeyboardInterrupt):
        time_files(SHALLOW.model(), SHALLOW.model(), tmp_path / "student.onnx", size=32)


def test_a_models_and_a_files_latency_name_runtime_precision_threads_and_dims(
    tmp_path: Path, asked: dict[str, Task]
) -> None:
    model = SHALLOW.model()
    [row] = time_model(model, SHALLOW.pixels)
    file = Path(next(iter(asked.values())).path)
    assert (row["runtime"], row["precision"], row["threads"], row["batch"]) == (
        "onnxruntime", "fp32", 1, 1,
    )  # fmt: skip
    assert row["dims"] == {"image": (1, 3, SHALLOW.pixels, SHALLOW.pixels)}
    timed = time_file(file, None)
    assert {one["runtime"] for one in timed} <= {"onnxruntime", "openvino"}
    assert all(one["dims"] == row["dims"] for one in timed)
