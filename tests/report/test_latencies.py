"""The latency of what is shipped: in results.json, the report and the command's last lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ganpress.cli.compression import latency_lines
from ganpress.measures.both_costs import with_shipped
from ganpress.measures.timing.latency_rows import headline
from ganpress.report import write_report
from ganpress.report.latencies import advice, conditions, latency_table


def row(model: str, runtime: str, precision: str, ms: float, **more: Any) -> dict[str, Any]:
    return {
        **{"model": model, "runtime": runtime, "precision": precision, "median_ms": ms},
        **{"p95_ms": 1.1 * ms, "passes": 20, "file_bytes": 1_000_000, "ratio": None, **more},
    }


def timed() -> dict[str, Any]:
    """Of an 8-bit student that is slower than float in one runtime and faster in the other."""
    return {
        "device": {"processor": "A Processor", "instructions": ["AVX2"], "load": 0.5},
        "versions": {"onnxruntime": "1.2", "openvino": "2030.1"},
        **{"threads": 1, "batch": 1, "size": 256},
        "rows": [
            row("teacher", "onnxruntime", "fp32", 500.0),
            row("teacher", "openvino", "fp32", 400.0),
            row("student", "onnxruntime", "int8", 80.0, ratio=[6.25, 6.0, 6.5]),
            row("student", "openvino", "int8", 10.0, ratio=[40.0, 39.0, 41.0]),
            row("student, float", "onnxruntime", "fp32", 55.0),
            row("student, float", "openvino", "fp32", 40.0),
        ],
        "left": [],
    }


def costs(torch_ms: float) -> dict[str, Any]:
    on = {"device": "cpu", "threads": 1, "batch": 1, "size": 256, "repeats": 5}
    time = {"median": torch_ms, "p95": torch_ms, **on, "runtime": "torch", "precision": "fp32"}
    return {"params": 4, "macs": 4, "macs_outres": 4, "bytes": 4, "latency_ms": time, "widths": {}}


def model() -> dict[str, Any]:
    return {
        "family": "cyclegan",
        "teacher": costs(600.0),
        "student": costs(300.0),
        "ratios": {"macs": 15.0, "latency_ms": 2.0},
    }


def test_the_latency_of_a_network_is_that_of_its_file_and_torchs_has_its_name() -> None:
    found = with_shipped(model(), timed())
    assert found["teacher"]["latency_ms"]["median"] == 500.0
    assert found["student"]["latency_ms"]["median"] == 80.0
    assert found["student"]["latency_torch_ms"]["median"] == 300.0
    for name, precision in (("teacher", "fp32"), ("student", "int8")):
        time = found[name]["latency_ms"]
        assert (time["runtime"], time["precision"]) == ("onnxruntime", precision)
        assert (time["threads"], time["batch"], time["size"]) == (1, 1, 256)
    assert found["ratios"] == {"macs": 15.0, "latency_ms": 6.25, "latency_torch_ms": 2.0}
    assert with_shipped(model(), None) == model()


def test_both_networks_latencies_are_of_one_runtime() -> None:
    only = timed()
    only["rows"] = [r for r in only["rows"] if r["runtime"] == "openvino"]
    found = with_shipped(model(), only)
    assert found["teacher"]["latency_ms"]["runtime"] == "openvino"
    assert found["ratios"]["latency_ms"] == 40.0
    beside = [
        r for r in timed()["rows"] if (r["model"], r["runtime"]) != ("teacher", "onnxruntime")
    ]
    found = with_shipped(model(), {**timed(), "rows": beside})
    assert [found[name]["latency_ms"]["median"] for name in ("teacher", "student")] == [400.0, 10.0]
    student_alone = {**timed(), "rows": [r for r in timed()["rows"] if r["model"] == "student"]}
    assert headline(student_alone, "teacher") is None
    assert with_shipped(model(), student_alone) == model()


def test_where_8_bits_are_slower_the_advice_names_what_is_fastest() -> None:
    [sentence] = advice(timed()["rows"])
    assert sentence.startswith("In onnxruntime the 8-bit file is slower on this device than float")
    assert "80\u00a0ms against 55\u00a0ms" in sentence
    assert sentence.endswith("Fastest: int8 in openvino (10\u00a0ms).")
    without = [r for r in timed()["rows"] if r["runtime"] == "onnxruntime"]
    assert advice(without)[0].endswith("Fastest: fp32 in onnxruntime (55\u00a0ms).")
    faster = [r for r in timed()["rows"] if r["runtime"] == "openvino"]
    assert advice(faster) == []


@pytest.mark.parametrize(
    ("ours", "other", "said"),
    [
        ([2.0, 1.9, 2.1], [1.8, 1.7, 1.89], None),
        ([2.0, 1.8, 2.2], [1.9, 1.7, 2.1], "not measurably faster"),
        ([1.9, 1.8, 2.1], [2.0, 1.9, 2.2], "not measurably faster"),
        ([1.5, 1.4, 1.6], [2.0, 1.9, 2.2], "slower"),
        (None, [2.0, 1.9, 2.2], "slower"),
        ([2.0, None, None], [1.9, None, None], None),
    ],
)
def test_noise_does_not_decide_whether_8_bits_are_faster(
    ours: Any, other: Any, said: str | None
) -> None:
    """Intervals, where the measurement gave them; its medians where it had one round."""
    ms = [100.0 / ours[0] if ours else 60.0, 100.0 / other[0]]
    sentences = advice([
        row("student", "onnxruntime", "int8", ms[0], ratio=ours),
        row("student, float", "onnxruntime", "fp32", ms[1], ratio=other),
    ])  # fmt: skip
    assert len(sentences) == (said is not None)
    assert all(f"the 8-bit file is {said} on this device than" in one for one in sentences)
    assert all((" or " in one) == (said != "slower") for one in sentences)


def test_runtimes_are_compared_by_speed_as_each_has_a_teacher_of_its_own() -> None:
    """Both students are ten times as fast as their teachers, of 400 and of 500 ms."""
    rows = [
        row("student", "onnxruntime", "int8", 60.0, ratio=[8.3, 8.1, 8.5]),
        row("student, float", "onnxruntime", "fp32", 50.0, ratio=[10.0, 9.9, 10.1]),
        row("student, float", "openvino", "fp32", 40.0, ratio=[10.0, 9.9, 10.1]),
    ]
    assert advice(rows)[0].endswith("Fastest: fp32 in openvino (40\u00a0ms).")
    rows[2] |= {"median_ms": 50.5, "ratio": [7.9, 7.8, 8.0]}
    assert advice(rows)[0].endswith(
        "Fastest: fp32 in onnxruntime (50\u00a0ms) or fp32 in openvino (50.5\u00a0ms)."
    )


def test_the_teachers_own_8_bits_are_no_students() -> None:
    rows = [row("teacher", "onnxruntime", "int8", 9.0), row("teacher", "onnxruntime", "fp32", 1.0)]
    assert advice(rows) == []


def test_the_report_shows_files_in_each_runtime_and_says_what_is_faster(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    results = {"model": with_shipped(model(), timed()), "latency": timed()}
    (tmp_path / "results.json").write_text(json.dumps(results))
    html = write_report(tmp_path).read_text()
    for part in (
        "Latency of the exported files", "student, float", "40× (39×–41×)", "A Processor, AVX2",
        "onnxruntime 1.2, openvino 2030.1", "the 8-bit file is slower on this device",
        "onnxruntime, fp32 → int8", "Latency in torch",
    ):  # fmt: skip
        assert part in html


def test_a_run_from_before_there_were_such_latencies_still_has_a_report(tmp_path: Path) -> None:
    old = model()
    for name in ("teacher", "student"):
        del old[name]["latency_ms"]["runtime"], old[name]["latency_ms"]["precision"]
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "results.json").write_text(json.dumps({"model": old}))
    html = write_report(tmp_path).read_text()
    assert "Latency of the exported files" not in html and "600\u00a0ms → 300\u00a0ms" in html
    assert latency_lines({"model": old}) == [
        "latency: 1/2.00, 300.00 ms against the teacher's 600.00 (cpu, 1 thread, batch 1, size 256)"
    ]


def test_a_compression_ends_with_the_latency_of_what_is_shipped() -> None:
    results = {"model": with_shipped(model(), timed()), "latency": timed()}
    first, second = latency_lines(results)
    assert first == (
        "latency: 1/6.25, 80.00 ms against the teacher's 500.00 "
        "(cpu, 1 thread, batch 1, size 256, onnxruntime, int8 against fp32)"
    )
    assert second == advice(timed()["rows"])[0]


@pytest.mark.parametrize("broken", [{"rows": None}, {"rows": [3]}, {"rows": [{}]}, {}])
def test_broken_latencies_break_no_report(broken: dict[str, Any]) -> None:
    table, _, sentences = latency_table({"latency": broken})
    assert sentences == []
    assert (table is None) == (broken.get("rows") != [{}])


def test_the_conditions_are_one_line() -> None:
    assert conditions({**timed(), "size": [256, 512]}) == (
        "A Processor, AVX2; 1 thread; batch 1; size 256x512; load 0.5 at the start; "
        "onnxruntime 1.2, openvino 2030.1"
    )
