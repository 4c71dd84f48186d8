"""Candidates in turn, each in its process: what is measured, and what happens when one fails."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import convolving, written
from patience import PATIENCE_S

import ganpress
from ganpress.errors import ConfigError, MissingExtra
from ganpress.measures.timing import exports, worker
from ganpress.measures.timing.device import MATTERS, describe, words
from ganpress.measures.timing.layers import by_kind, by_node
from ganpress.measures.timing.precisions import hint_of, stored_in
from ganpress.measures.timing.process import Failed, Worker
from ganpress.measures.timing.rounds import Plan, in_order, run_in_turn
from ganpress.measures.timing.statistics import median, p95, times_as_fast
from ganpress.measures.timing.task import Task
from ganpress.models.checkpoint import Model, full_model, save
from ganpress.quantisation.quantise import FakeQuantiser, quantise

BRIEF = Plan(seconds=0.02, rounds=3)


def tiny(width: int = 2) -> Model:
    model = full_model("cyclegan", blocks=0, downsamplings=1)
    net = model.build(dict.fromkeys(model.widths, width))
    return Model(net, model.family, model.options)


def task(path: Path, *, runtime: str = "onnxruntime", precision: str = "fp32") -> Task:
    feeds = path.parent / "feeds.npz"
    np.savez(feeds, np.zeros((1, 3, 16, 16), np.float32))
    return Task(runtime, str(path), precision, 1, str(feeds), ("image",))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "a.onnx", convolving())


# --- statistics -----------------------------------------------------------------------------------


def test_medians_and_percentiles_are_those_of_the_standard_library() -> None:
    draw = random.Random(0)
    ms = [draw.expovariate(1.0) for _ in range(101)]
    assert median(ms) == pytest.approx(statistics.median(ms))
    hundredths = statistics.quantiles(ms, n=100, method="inclusive")
    assert p95(ms) == pytest.approx(hundredths[94])


def test_a_ratio_is_of_rounds_so_that_a_slow_hour_is_not_a_slow_candidate() -> None:
    speed = [1.0, 3.0, 9.0, 27.0]  # of the machine, which gets slower and slower
    fast = [[2.0 * s, 2.0 * s] for s in speed]
    slow = [[8.0 * s] for s in speed]
    found = times_as_fast(fast, slow, seed=0)
    assert found is not None
    assert (found.value, found.low, found.high) == (4.0, 4.0, 4.0)


def test_a_ratios_interval_holds_the_truth_as_often_as_it_says() -> None:
    draw, inside, trials = np.random.default_rng(1), 0, 200
    for trial in range(trials):
        ours = np.exp(draw.normal(0, 0.1, (15, 3)))
        theirs = 2.0 * np.exp(draw.normal(0, 0.1, (15, 3)))
        found = times_as_fast(ours.tolist(), theirs.tolist(), seed=trial)
        assert found is not None and found.low is not None and found.high is not None
        assert found.low <= found.value <= found.high
        inside += found.low <= 2.0 <= found.high
    assert 0.85 * trials <= inside < trials


def test_rounds_that_only_one_has_are_left_out() -> None:
    found = times_as_fast([[1.0], [], [1.0]], [[2.0], [50.0]], seed=0)
    assert found is not None and (found.value, found.low) == (2.0, None)
    assert times_as_fast([], [[1.0]], seed=0) is None


# --- turns ----------------------------------------------------------------------------------------


def test_each_round_has_every_candidate_once_in_an_order_of_its_own() -> None:
    names = [f"{i}" for i in range(6)]
    orders = [in_order(names, 0, number) for number in range(20)]
    assert all(sorted(order) == names for order in orders)
    assert len({tuple(order) for order in orders}) > 10
    assert orders == [in_order(names, 0, number) for number in range(20)]
    assert orders != [in_order(names, 1, number) for number in range(20)]


class Clock:
    """A clock that a run moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *passes_s: float) -> None:
        self.now, self.passes = 0.0, iter(passes_s)
        monkeypatch.setattr(worker.time, "perf_counter", lambda: self.now)

    def run(self) -> None:
        self.now += next(self.passes)


def test_the_first_pass_of_a_turn_is_not_counted_where_passes_are_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch, 0.030, 0.010, 0.010, 0.010, 0.010)
    assert worker.turn(clock.run, 0.035) == pytest.approx([10.0, 10.0, 10.0])


def test_a_slow_candidate_takes_one_pass_in_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.600, 0.600)
    assert worker.turn(clock.run, 0.3) == pytest.approx([600.0])


def test_warm_up_ends_after_some_passes_and_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, *[0.2, 0.1, 0.05, 0.05, 0.05, 0.05])
    assert worker.warm_up(clock.run) == pytest.approx(50.0)
    assert clock.now == pytest.approx(0.5)
    slow = Clock(monkeypatch, 2.0, 1.0, 1.0)
    worker.warm_up(slow.run)
    assert slow.now == 4.0


def test_candidates_run_in_processes_of_their_own_and_give_their_peak_memory(file: Path) -> None:
    held = np.ones(300_000_000, np.uint8)  # what this process holds is not the other's
    found, interrupted = run_in_turn({"a": task(file), "b": task(file)}, BRIEF)
    assert not interrupted and held.size
    for timed in found.values():
        assert timed.error == "" and len(timed.rounds) == 3
        assert all(ms > 0 for ms in timed.passes)
        assert 10e6 < timed.base <= timed.peak < 250e6


def test_a_candidate_that_fails_says_why_and_the_others_go_on(file: Path, tmp_path: Path) -> None:
    torn = written(tmp_path / "torn.onnx", convolving()[:50])
    found, _ = run_in_turn({"torn": task(torn), "whole": task(file)}, BRIEF)
    assert "cannot load" in found["torn"].error and found["torn"].rounds == []
    assert len(found["whole"].rounds) == 3


def test_a_process_imports_nothing_from_the_folder_that_a_user_is_in(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "statistics", "onnxruntime"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user')")
    monkeypatch.chdir(tmp_path)
    found, _ = run_in_turn({"a": task(file)}, BRIEF)
    assert found["a"].error == "" and len(found["a"].rounds) == BRIEF.rounds


def test_a_process_that_dies_is_told_of() -> None:
    running = Worker()
    os.kill(running._process.pid, 9)
    with pytest.raises(Exception, match="its process ended with code -9"):
        running.ask("memory")
    running.close()


def test_a_process_that_dies_in_the_middle_of_an_answer_is_told_of() -> None:
    running = Worker()
    os.kill(running._process.pid, 9)
    running._process.wait()
    for stream in (running._process.stdin, running._process.stdout):
        assert stream is not None
        stream.close()
    running._process.stdin, running._process.stdout = io.StringIO(), io.StringIO('{"median_ms": 1')
    with pytest.raises(Failed, match="its process ended with code -9"):
        running.ask("memory")
    running.close()


def test_a_process_ends_when_the_one_that_started_it_is_killed() -> None:
    code = (
        "import os, sys; from ganpress.measures.timing.process import Worker; "
        "worker = Worker(); "
        "print(worker._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    pid = int(done.stdout)
    waited = time.monotonic() + PATIENCE_S
    while is_running(pid) and time.monotonic() < waited:
        time.sleep(0.1)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_ctrl_c_ends_the_measurement_with_what_there_is(file: Path) -> None:
    seen: list[str] = []

    def watch(what: str, done: float, left_s: float | None) -> None:
        seen.append(what)
        if done >= 0.5:
            raise KeyboardInterrupt

    found, interrupted = run_in_turn({"a": task(file), "b": task(file)}, BRIEF, watch)
    assert interrupted
    assert sum(len(timed.rounds) for timed in found.values()) == 3
    assert seen[0] == "loading a"


def test_the_time_left_is_told_from_the_second_turn_on(file: Path) -> None:
    told: list[tuple[float, float | None]] = []
    run_in_turn({"a": task(file)}, BRIEF, lambda _, done, left: told.append((done, left)))
    turns = told[1:]
    assert [done for done, _ in turns] == [0, 1 / 3, 2 / 3]
    assert turns[0][1] is None
    assert turns[1][1] is not None and turns[2][1] is not None and turns[2][1] < 60


def test_layers_are_summed_by_operator_and_listed_by_node(file: Path) -> None:
    plan = dataclasses.replace(BRIEF, layers=True)
    found, _ = run_in_turn({"a": task(file)}, plan)
    kinds = {share.name: share for share in by_kind(found["a"].layers)}
    assert kinds["Conv"].count >= 2 and kinds["ConvTranspose"].count == 1
    nodes = by_node(found["a"].layers)
    assert sum(share.share for share in nodes) == pytest.approx(1)
    assert sum(share.ms for share in nodes) == pytest.approx(sum(k.ms for k in kinds.values()))
    assert [share.ms for share in nodes] == sorted((s.ms for s in nodes), reverse=True)


# --- what is timed --------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache"


def shifted(model: Model) -> Model:
    import torch

    with torch.no_grad():
        next(model.net.parameters()).add_(1)
    return model


def test_a_file_is_exported_once_for_each_network_form_and_precision(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    def write(model: Model, *form: Any) -> bytes:
        made.append(form)
        return b"file"

    monkeypatch.setattr(exports, "onnx_bytes", write)
    first = exports.exported_file(tiny(), "onnxruntime", "fp32", 16)
    model = tiny()
    path, note = exports.exported_file(model, "onnxruntime", "fp32", 16)
    again, _ = exports.exported_file(model, "onnxruntime", "fp32", 16)
    assert path == again and path != first[0] and note == ""
    assert path.parent == exports.folder() and cache in path.parents
    assert len(made) == 2
    for other in (
        (model, "onnxruntime", "fp32", 32),
        (model, "onnxruntime", "fp32", 16, 2),
        (model, "onnxruntime", "fp16", 16),
        (shifted(model), "onnxruntime", "fp32", 16),
    ):
        assert exports.exported_file(*other)[0] != path
    assert len(made) == 6
    monkeypatch.setattr(exports, "source_digest", lambda rooms: f"another version of {rooms}")
    assert exports.exported_file(model, "onnxruntime", "fp32", 16)[0] != path


def test_what_a_network_computes_decides_which_file_it_is_exported_to() -> None:
    import ganpress.nn.blocks

    at = Path(ganpress.__file__).parent
    rooms = [at / room for room in exports.TRACED]
    for module in sys.modules[ganpress.nn.blocks.__name__], sys.modules[tiny().net.__module__]:
        assert any(room in Path(str(module.__file__)).parents for room in rooms)
    assert exports.source_digest(exports.TRACED) != exports.source_digest()


def test_a_cache_that_may_not_be_written_is_said_with_how_to_name_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"cannot be made: .* XDG_CACHE_HOME=FOLDER names"):
        exports.exported_file(tiny(), "onnxruntime", "fp32", 16)


def test_the_float_file_of_an_8_bit_student_has_no_quantisers() -> None:
    import onnx

    model = tiny()
    quantise(model.net, FakeQuantiser(per_channel=True))

    def kinds(stored: str) -> set[str]:
        file = onnx.load_from_string(exports.onnx_bytes(model, stored, 16))
        return {node.op_type for node in file.graph.node}

    assert "QuantizeLinear" not in kinds("fp32")
    assert "QuantizeLinear" in kinds("int8")  # the model itself still has them


@pytest.mark.parametrize(
    ("runtime", "precision", "hint", "stored"),
    [
        ("onnxruntime", "fp32", None, "fp32"),
        ("onnxruntime", "fp16", None, "fp16"),
        ("onnxruntime", "int8", None, "int8"),
        ("openvino", "fp32", "fp32", "fp32"),
        ("openvino", "bf16", "bf16", "bf16"),
        ("openvino", "int8", "fp32", "int8"),
        ("openvino", "int8+bf16", "bf16", "int8"),
    ],
)
def test_a_precision_is_numbers_in_the_file_and_arithmetic_of_the_runtime(
    runtime: str, precision: str, hint: str | None, stored: str
) -> None:
    assert hint_of(runtime, precision) == hint
    assert stored_in(precision) == stored


def test_models_and_files_are_timed_side_by_side_against_the_first(
    file: Path, tmp_path: Path, cache: Path
) -> None:
    teacher = save(tiny(4), tmp_path / "teacher.safetensors")
    found = ganpress.bench(
        [teacher, file], runtimes=["torch", "onnxruntime", "torch"], size=16, threads=1,
        seconds=0.03, rounds=3,
    )  # fmt: skip
    timed = [(row.model, row.runtime, row.precision) for row in found.rows]
    assert timed == [
        ("teacher.safetensors", "torch", "fp32"),
        ("teacher.safetensors", "onnxruntime", "fp32"),
        ("a.onnx", "onnxruntime", "fp32"),
    ]
    assert [(e.model, e.runtime) for e in found.left] == [("a.onnx", "torch")]
    assert "is a file for onnxruntime or openvino" in found.left[0].reason
    first, second, third = found.rows
    assert first.ratio is not None and first.ratio.value == 1
    assert second.ratio_runtime is not None and second.ratio_runtime.value == 1
    assert third.ratio_runtime is not None and third.ratio_runtime.value > 0
    assert third.dims == {"image": (1, 3, 16, 16)} and third.file_bytes == file.stat().st_size
    assert first.images_per_s == pytest.approx(1e3 / first.median_ms)
    assert found.versions["torch"] in sys.modules["torch"].__version__
    assert json.loads(json.dumps(found.as_dict()))["rows"][0]["model"] == "teacher.safetensors"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"runtimes": ["onnxruntme"]}, "did you mean 'onnxruntime'"),
        ({"precisions": ["fp23"]}, "did you mean 'fp32'"),
        ({"runtimes": ["torch"], "precisions": ["int8"]}, "torch computes in fp32 or bf16"),
        ({"threads": 0}, "--threads is 0"),
        ({"seed": 10**30}, "The seed is 1000"),
        ({"seconds": float("nan")}, "--seconds is nan"),
        ({"dims": {"image": (1, 3, 8, 8)}}, r"--input is for \.onnx and \.xml files"),
    ],
)
def test_what_cannot_be_timed_is_refused_before_anything_runs(
    asked: dict[str, Any], message: str, tmp_path: Path
) -> None:
    model = save(tiny(), tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match=message):
        ganpress.bench([model], **asked)
    with pytest.raises(ConfigError, match="is named twice"):
        ganpress.bench([model, model])


def test_a_runtime_that_is_named_and_missing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"'openvino': pip install 'ganpress\[openvino\]'"):
        ganpress.bench([tmp_path / "a.safetensors"], runtimes=["openvino"])


def test_a_process_that_runs_a_file_does_not_load_torch() -> None:
    code = "import sys, ganpress.measures.timing.worker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_device_is_named_with_what_decides_its_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    info = "model name\t: A Processor\nflags\t\t: fpu avx512_vnni amx_bf16\n\nmodel name\t: B"
    monkeypatch.setattr("ganpress.measures.timing.device._CPUINFO", FakeFile(info))
    found = describe()
    assert found["processor"] == "A Processor"
    assert found["instructions"] == [MATTERS["avx512_vnni"], MATTERS["amx_bf16"]]
    assert found["cores"] >= found["usable_cores"] >= 1
    assert "A Processor" in words(found) and "load" in words(found)


class FakeFile:
    def __init__(self, text: str) -> None:
        self.text = text

    def is_file(self) -> bool:
        return True

    def read_text(self) -> str:
        return self.text
