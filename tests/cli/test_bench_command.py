"""`ganpress bench`, and `ganpress measure` of exported files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_runs import run_cli
from graphs import convolving, costs, onnx_file, weight, written
from onnx import helper

from ganpress.cli import bench as command
from ganpress.measures.timing import process
from ganpress.measures.timing.candidates import Left
from ganpress.measures.timing.rows import Bench, Row
from ganpress.measures.timing.statistics import Ratio


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "a.onnx", convolving())


def a_row(**more: Any) -> Row:
    given: dict[str, Any] = {
        **{"model": "teacher.safetensors", "runtime": "onnxruntime", "precision": "fp32"},
        **{"threads": 2, "batch": 1, "dims": {"image": (1, 3, 64, 64)}, "version": "1.31"},
        **{"median_ms": 12.344, "p95_ms": 20.0, "passes": 30, "rounds": 10, "images_per_s": 81.0},
        **{"peak_bytes": 80_000_000, "base_bytes": 1, "file": "x", "file_bytes": 4_560_000},
        **{"note": "", "ratio": Ratio(1.0, 1.0, 1.0), "ratio_runtime": None},
    }
    return Row(**{**given, **more})


def a_bench(*rows: Row, **more: Any) -> Bench:
    device = {
        **{"processor": "A Processor", "cores": 2, "usable_cores": 2, "instructions": ["AVX2"]},
        **{"governor": "unknown", "load": 0.5},
    }
    given: dict[str, Any] = {
        **{"device": device, "versions": {"onnxruntime": "1.31"}, "threads": 2, "seconds": 3.0},
        **{"seed": 0, "rows": rows, "left": (), "interrupted": False, "exports": "/kept"},
    }
    return Bench(**{**given, **more})


def test_bench_times_a_file_of_another_program(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run_cli(
        capsys, "bench", file, "--runtime", "onnxruntime", "--size", "16x24", "--threads", 1,
        "--seconds", "0.03", "--layers",
    )  # fmt: skip
    assert told.code == 0, told.err
    for part in (
        "a.onnx: image 1x3x16x24",
        "threads: 1",
        "onnxruntime",
        "load",
        "operator",
        "Conv",
    ):
        assert part in told.out
    assert "exported files" not in told.out


def test_the_table_cuts_no_name_and_no_number(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    monkeypatch.setattr("ganpress.cli.lines.console", Console(width=60))
    name = "runs/a rather long name/of 32 bits/student[8].safetensors"
    student = a_row(model=name, ratio=Ratio(3.25, 3.1, 3.4), ratio_runtime=Ratio(2.0, None, None))
    command.print_bench(a_bench(a_row(), student))
    out = capsys.readouterr().out
    for part in (name, "12.34", "20.00", "81.0", "80", "4.56", "3.25 (3.10–3.40)", "2.00", "–",
                 "A Processor", "exported files are kept in /kept"):  # fmt: skip
        assert part in out


def test_what_is_slower_in_8_bits_is_said_of_each_model() -> None:
    slow = [
        a_row(model="s", ratio=Ratio(1.0, 1.0, 1.0)),
        a_row(
            model="s", precision="int8", median_ms=15.0, note="calibrated",
            ratio=Ratio(0.8, 0.7, 0.9),
        ),
    ]  # fmt: skip
    lines = command.remarks(a_bench(*slow))
    assert lines[0].startswith("s: In onnxruntime the 8-bit file is slower on this device")
    assert "s, onnxruntime int8: calibrated." in lines
    near = replace(slow[1], ratio=Ratio(0.8, 0.7, 1.1))
    assert "not measurably faster" in command.remarks(a_bench(slow[0], near))[0]
    left = command.remarks(a_bench(a_row(), left=(Left("a", "torch", "fp32", "because"),)))
    assert "not timed: a, torch fp32: because" in left


def test_more_threads_than_cores_are_said_to_wait_for_one_another() -> None:
    lines = command.remarks(a_bench(a_row(), threads=3))
    assert lines[0].startswith("3 threads on 2 usable cores wait") and "--threads 2" in lines[0]
    assert not any("threads on" in line for line in command.remarks(a_bench(a_row())))


def test_what_was_assumed_of_a_file_is_said_once() -> None:
    alike = [a_row(model="a.xml", precision=p, note="its input x is noise") for p in ("fp32", "b")]
    lines = command.remarks(a_bench(*alike, a_row(model="b.onnx", note="so")))
    assert lines[:2] == ["a.xml: its input x is noise.", "b.onnx, onnxruntime fp32: so."]
    assert len(lines) == 3


def test_json_has_every_row_and_the_device(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = run_cli(
        capsys, "bench", file, "--runtime", "onnxruntime", "--size", 16, "--threads", 1,
        "--seconds", "0.03", "--json",
    )  # fmt: skip
    found = json.loads(told.out)
    [row] = found["rows"]
    assert row["passes"] > 3 and row["dims"] == {"image": [1, 3, 16, 16]}
    assert found["device"]["processor"] and found["seed"] == 0


def test_ctrl_c_prints_what_there_is(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Impatient(command.Watcher):
        def __call__(self, what: str, done: float, left_s: float | None) -> None:
            if done >= 0.2:
                raise KeyboardInterrupt

    monkeypatch.setattr(command, "Watcher", Impatient)
    told = run_cli(
        capsys, "bench", file, "--runtime", "onnxruntime", "--size", 16, "--threads", 1,
        "--seconds", "0.1",
    )  # fmt: skip
    assert told.code == 130
    assert "Stopped early" in told.out and "a.onnx: image 1x3x16x16" in told.out


def test_progress_is_a_line_now_and_then_where_nobody_looks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([100.0, 100.0, 105.0, 120.0, 120.0])
    monkeypatch.setattr(command.time, "monotonic", lambda: next(now))
    watcher = command.Watcher()
    watcher.is_terminal = False
    for done in (0.0, 0.5, 0.9):
        watcher("teacher, torch fp32", done, 10 * (1 - done))
    said = capsys.readouterr().err.splitlines()
    assert said == ["0 %, 10 s left: teacher, torch fp32", "90 %, 1 s left: teacher, torch fp32"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--runtime", "onnx"), "did you mean 'onnxruntime'"),
        (("--precision", "int4"), "did you mean 'int8'"),
        (("--size", 16, "--batch", 2, "--input", "pic=1x3x8x8"), "reads no 'pic'"),
        (("--input", "image"), "give a name and its dims"),
        (("--threads", 0), "--threads is 0"),
    ],
)
def test_a_bad_flag_is_answered_with_what_is_right(
    flags: tuple[Any, ...], message: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run_cli(capsys, "bench", file, *flags)
    assert told.code == 2 and message in told.err


def test_a_bench_in_which_nothing_could_be_timed_says_so_and_fails(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, what: str, **_: Any) -> Any:
        raise process.Failed("it will not")

    monkeypatch.setattr(process.Worker, "ask", refuse)
    told = run_cli(capsys, "bench", file, "--runtime", "onnxruntime", "--size", 16, "--threads", 1)
    assert told.code == 2
    assert "not timed: a.onnx, onnxruntime fp32: it will not" in told.out


# --- measure --------------------------------------------------------------------------------------


def test_measure_counts_an_exported_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = run_cli(capsys, "measure", file, "--size", "12x20", "--json")
    found = json.loads(told.out)
    wanted = costs(12, 20)
    assert {name: found[name] for name in wanted} == wanted
    assert found["bytes"] == file.stat().st_size and found["precision"] == "fp32"
    table = run_cli(capsys, "measure", file, "cyclegan", "--size", 64)
    assert "a.onnx" in table.out and f"{wanted['params']:,}" in table.out


def test_measure_times_an_exported_file_in_the_runtimes_that_take_it(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ganpress.measures.timing import shipped

    on = {"device": "cpu", "threads": 1, "batch": 1, "dims": {}, "repeats": 5}
    rows = [
        {"runtime": "onnxruntime", "precision": "fp32", "median_ms": 3.25, "p95_ms": 4.5, **on},
        {"runtime": "openvino", "precision": "bf16", "median_ms": 1.75, "p95_ms": 2.5, **on},
        {"runtime": "openvino", "precision": "int8", "error": "it will not"},
    ]
    monkeypatch.setattr(shipped, "time_file", lambda *_, **__: rows)
    told = run_cli(capsys, "measure", file, "--size", 16, "--latency")
    for part in ("onnxruntime", "3.25", "4.50", "openvino", "bf16", "1.75", "threads: 1"):
        assert part in told.out
    assert f"not timed: {file}, openvino int8: it will not" in told.out


def test_measure_refuses_flags_that_say_nothing_of_what_is_measured(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run_cli(capsys, "measure", "sngan", "--input", "z=1x128")
    assert told.code == 2 and "--input is for .onnx and .xml files" in told.err
    for name in (file, "a.safetensors"):
        told = run_cli(capsys, "measure", "sngan", name, "--option", "classes=4")
        assert told.code == 2 and f"{name} has its options inside" in told.err
    told = run_cli(capsys, "measure", "sngann", "--option", "classes=4")
    assert told.code == 2 and "did you mean 'sngan'" in told.err


def test_measure_asks_for_dims_that_it_cannot_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["made"])
    data = onnx_file([node], {"x": ("n", "seq", 5)}, ["made"], {"w": weight(5, 2)})
    file = written(tmp_path / "a.onnx", data)
    told = run_cli(capsys, "measure", file)
    assert told.code == 2 and "--input x=16x16x5" in told.err
    found = run_cli(capsys, "measure", file, "--input", "x=1x3x5", "--json")
    assert json.loads(found.out)["macs_linear"] == 30
