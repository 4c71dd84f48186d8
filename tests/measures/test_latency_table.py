"""The table of times in the user's cache: measured once, whole, one process at a time."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ganpress.errors import ConfigError, ExportError, MissingExtra
from ganpress.measures.timing import layer_table, timer
from ganpress.measures.timing.layer_table import (
    Job,
    LayerTable,
    kept_conditions,
    table_of,
)
from ganpress.measures.timing.timer import (
    Conditions,
    conditions_here,
    installed,
    time_of,
    usual_runtime,
)

HERE = Conditions("A CPU", "openvino", "1.0", "fp32", 1)


class Clock:
    """Measures the length of what it is given, and counts how often."""

    def __init__(self, *, stops_at: int | None = None) -> None:
        self.count, self.stops_at = 0, stops_at

    def __call__(self, data: bytes) -> float:
        if self.count == self.stops_at:
            raise KeyboardInterrupt
        self.count += 1
        return float(len(data))


def jobs(count: int, key: str = "part") -> list[Job]:
    return [Job(key, "a part", (n, 2 * n), lambda n=n: b"x" * n) for n in range(1, count + 1)]  # type: ignore[misc]


def table(
    path: Path | None, clock: Callable[[bytes], float] | None, **changed: object
) -> LayerTable:
    return LayerTable(replace(HERE, **changed), path, clock, quiet=True)  # type: ignore[arg-type]


def test_what_is_known_is_not_measured_again(tmp_path: Path) -> None:
    path, first, second = tmp_path / "t.json", Clock(), Clock()
    one = table(path, first)
    one.fill([*jobs(3), *jobs(3)], "it")
    assert first.count == 3 and one.ms("part", (3, 6)) == 3.0
    other = table(path, second)
    other.fill(jobs(4), "it")
    assert second.count == 1 and [other.ms("part", (n, 2 * n)) for n in range(1, 5)] == [1, 2, 3, 4]
    content = json.loads(path.read_text())
    assert content["parts"]["part"] == {
        "label": "a part", "ms": {"1x2": 1.0, "2x4": 2.0, "3x6": 3.0, "4x8": 4.0},
    }  # fmt: skip
    assert content["conditions"] == {
        "processor": "A CPU", "runtime": "openvino", "version": "1.0", "precision": "fp32",
        "threads": 1,
    }  # fmt: skip


def test_what_was_measured_before_a_stop_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    with pytest.raises(KeyboardInterrupt):
        table(path, Clock(stops_at=2)).fill(jobs(5), "it")
    rest = Clock()
    table(path, rest).fill(jobs(5), "it")
    assert rest.count == 3


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"format": 1}',
        b'{"format": 0, "conditions": {}, "facts": {}, "parts": {}}',
        b'{"format": 1, "conditions": {}, "facts": {}, "parts": {}}',
        b'{"format": 1, "conditions": {}, "facts": {}, "parts": {"part": 3}}',
    ],
)
def test_a_broken_file_is_measured_anew(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, clock = tmp_path / "t.json", Clock()
    path.write_bytes(content)
    own = table(path, clock)
    own.quiet = False
    own.fill(jobs(2), "it")
    said = capsys.readouterr().err
    assert str(path) in said and "measured anew" in said and "openvino 1.0, fp32, 1 thread" in said
    assert clock.count == 2 and json.loads(path.read_text())["parts"]["part"]["ms"]["1x2"] == 1.0
    assert path.with_name("t.json.broken").read_bytes() == content
    table(path, again := Clock()).fill(jobs(2), "it")
    assert again.count == 0


def test_two_that_measure_wait_for_one_another(tmp_path: Path) -> None:
    path, began, goes_on = tmp_path / "t.json", threading.Event(), threading.Event()
    counts = {"first": 0, "second": 0}

    def slow(data: bytes) -> float:
        counts["first"] += 1
        began.set()
        assert goes_on.wait(60)
        return float(len(data))

    def quick(data: bytes) -> float:
        counts["second"] += 1
        return float(len(data))

    first = threading.Thread(target=lambda: table(path, slow).fill(jobs(2), "it"))
    first.start()
    assert began.wait(60)
    second = threading.Thread(target=lambda: table(path, quick).fill(jobs(3), "it"))
    second.start()
    second.join(0.2)
    assert second.is_alive() and counts["second"] == 0
    goes_on.set()
    first.join(60)
    second.join(60)
    assert counts == {"first": 2, "second": 1}  # it reads what the other has measured


def test_facts_are_worked_out_once_and_may_measure(tmp_path: Path) -> None:
    path, clock = tmp_path / "t.json", Clock()
    own = table(path, clock)

    def work_out(time: Callable[[bytes], float]) -> list[float]:
        own.fill(jobs(1), "it")  # within: the lock is held already
        return [time(b"123")]

    assert own.fact("whole", work_out) == own.fact("whole", work_out) == [3.0]
    assert clock.count == 2
    later = table(path, never := Clock())
    later.fill(jobs(1), "it")  # reads the file
    later.fact("new", lambda time: 1)
    assert later.fact("whole", work_out) == [3.0] and never.count == 0


def test_a_runs_own_copy_holds_what_was_asked_for_and_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(timer, "processor", lambda: "A CPU")
    monkeypatch.setattr(timer, "installed", lambda _: "1.0")
    monkeypatch.setattr(layer_table, "_open", {})
    monkeypatch.setattr(timer, "time_of", lambda data, _: float(len(data)))
    own = table_of(HERE, quiet=True)
    own.fill([*jobs(2), *jobs(2, "other")], "it")
    own.ms("part", (1, 2))
    own.fact("teacher", lambda _: 7.0)
    copy = tmp_path / "run.json"
    own.keep(copy)
    content = json.loads(copy.read_text())
    assert set(content["parts"]) == {"part"} and content["facts"] == {"teacher": 7.0}
    content["parts"]["part"]["ms"]["1x2"] = 99.0  # the cache was measured again meanwhile
    copy.write_text(json.dumps(content))
    monkeypatch.setattr(layer_table, "_open", {})
    later = table_of(HERE, copy, quiet=True)
    assert later.ms("part", (1, 2)) == 99.0 and later.ms("part", (2, 4)) == 2.0
    assert later.fact("teacher", lambda _: 8.0) == 7.0
    later.keep(copy)
    assert json.loads(copy.read_text())["parts"]["part"]["ms"] == {"1x2": 99.0, "2x4": 2.0}
    later.fill(jobs(3), "it")  # what it lacks is measured and kept for all; its own stays its own
    assert later.path is not None
    assert json.loads(later.path.read_text())["parts"]["part"]["ms"]["1x2"] == 1.0
    other = table_of(HERE, quiet=True)  # another run of this process
    assert other.ms("part", (1, 2)) == 1.0 and other.ms("part", (3, 6)) == 3.0
    assert kept_conditions(copy) == HERE and kept_conditions(tmp_path / "none.json") is None
    copy.write_text("{}")
    with pytest.raises(ConfigError, match=r"is no latency table\. Restore it"):
        kept_conditions(copy)


@pytest.mark.parametrize(
    ("processor", "version", "words"),
    [
        ("Another CPU", "1.0", "this is Another CPU"),
        ("A CPU", "1.1", "openvino is 1.1 here"),
        ("A CPU", None, "openvino is not installed here"),
    ],
)
def test_another_machine_or_version_reads_a_runs_copy_and_measures_nothing(
    processor: str, version: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timer, "processor", lambda: processor)
    monkeypatch.setattr(timer, "installed", lambda _: version)
    monkeypatch.setattr(layer_table, "_open", {})
    one = table(None, Clock())
    one.fill(jobs(2), "it")
    one.ms("part", (1, 2))
    one.keep(copy := tmp_path / "run.json")
    there = table_of(HERE, copy, quiet=True)
    there.fill(jobs(2), "it")
    assert there.ms("part", (2, 4)) == 2.0 and there.path is None
    with pytest.raises(ConfigError, match=rf"openvino 1\.0, .*A CPU, and lacks .*; {words}: go on"):
        there.fill(jobs(3), "it")


def test_a_runtime_that_is_not_installed_is_refused_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there: dict[str, str | None] = {"onnxruntime": "1.0"}
    monkeypatch.setattr(timer, "installed", there.get)
    assert usual_runtime() == "onnxruntime"
    assert conditions_here("onnxruntime", "fp32", 2).version == "1.0"
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"package 'openvino': pip install 'ganpress\[openvino"):
        conditions_here("openvino", "fp32", 1)
    with pytest.raises(ConfigError, match=r"no fast bf16 .* target\.runtime=openvino"):
        conditions_here("onnxruntime", "bf16", 1)
    there.clear()
    with pytest.raises(MissingExtra, match=r"none is installed: pip install"):
        usual_runtime()


def test_a_runtime_is_found_that_is_installed_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some_runtime").mkdir()
    (tmp_path / "some_runtime" / "__init__.py").write_bytes(b"")
    about = tmp_path / "some_runtime_gpu-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: some-runtime-gpu\nVersion: 1.2\n")
    (about / "top_level.txt").write_text("some_runtime\n")
    assert installed("some_runtime") is None
    monkeypatch.syspath_prepend(tmp_path)
    assert installed("some_runtime") == "1.2"


def a_relu(op: str = "Relu") -> bytes:
    """A file of one node."""
    from onnx import TensorProto, helper

    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", ports[:1], ports[1:])
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    made: bytes = file.SerializeToString()
    return made


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_file_is_run_on_numbers_of_its_own_shapes(runtime: str, tmp_path: Path) -> None:
    pytest.importorskip(runtime)
    (tmp_path / "a.onnx").write_bytes(a_relu())
    found = timer.median_ms(tmp_path / "a.onnx", conditions_here(runtime, "fp32", 1))
    assert 0 < found < 60_000


@pytest.mark.parametrize("slow", [range(2), range(2, 4), range(5, 6), range(0)])
def test_a_machine_that_is_slow_for_a_while_is_not_taken_for_a_slow_file(slow: range) -> None:
    measured: list[bytes] = []

    def time(data: bytes) -> float:
        measured.append(data)
        return len(data) * (3.0 if len(measured) - 1 in slow else 1.0)

    assert timer.in_turns(time, [b"ab", b"abcd"]) == [2.0, 4.0]
    assert measured == [b"ab", b"abcd"] * timer.TURNS
    assert timer.in_turns(time, []) == []


def test_files_are_timed_in_one_process_that_ends_with_the_measuring() -> None:
    """Also after a file that the runtime refuses, which is told in its words, and Ctrl-C."""
    pytest.importorskip("onnxruntime")
    here, processes = conditions_here("onnxruntime", "fp32", 1), []
    with timer.measuring():
        for _ in range(2):
            assert 0 < time_of(a_relu(), here) < 60_000
            assert timer._worker is not None
            processes.append(timer._worker._process)
        assert processes[0] is processes[1] and processes[0].pid != os.getpid()
        with pytest.raises(ExportError, match=r"onnxruntime cannot run this network: .*NoSuchOp"):
            time_of(a_relu("NoSuchOp"), here)
        assert 0 < time_of(a_relu(), here) < 60_000
        processes.append(timer._worker._process)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(timer._worker, "ask", interrupted)
            time_of(a_relu(), here)
        assert timer._worker is None and processes[-1].poll() is not None
        time_of(a_relu(), here)
        assert timer._worker is not None
        processes.append(timer._worker._process)
    assert all(process.poll() is not None for process in processes)


def interrupted(*_: object, **__: object) -> None:
    """Ctrl-C."""
    raise KeyboardInterrupt
