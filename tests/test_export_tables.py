"""The tables of exports' parity, of calibrated files and of browsers, from rows as measured."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("onnx", reason="needs ganpress[onnx]")

from benchmarks import calibrated, export_parity

ROW: dict[str, Any] = {"size": 64, "largest": 9e-5, "mean_grey_levels": 1.9}
VERSIONS = {"processor": "A", "torch": "2", "onnxruntime": "1", "openvino": "3", "nncf": None}


@pytest.mark.parametrize(
    ("precision", "changed", "shown"),
    [
        ("fp32", {}, "9.0e-05"),
        ("fp32", {"largest": 1.1e-4}, "**1.1e-04**"),
        ("bf16", {}, "1.9"),
        ("fp16", {"mean_grey_levels": 2.1}, "**2.1**"),
        ("int8", {"mean_grey_levels": 9.0}, "9"),
        ("int8", {"ratio": 0.991, "fake_distance": 2.0}, "-0.90% (2.000)"),
        ("int8", {"ratio": 1.011, "fake_distance": 2.0}, "**+1.10% (2.000)**"),
        ("fp32", {"refused": "it differs"}, "**refused**"),
    ],
)
def test_what_is_beyond_a_limit_stands_out(
    precision: str, changed: dict[str, Any], shown: str
) -> None:
    assert export_parity.cell(precision, {**ROW, **changed}) == shown


def test_the_parity_of_a_network_is_one_line_and_a_student_stands_below_its_teacher() -> None:
    keys = ("a/student/openvino/fp32", "a/teacher/openvino/fp32", "a/teacher/onnxruntime/bf16")
    page = export_parity.page({**VERSIONS, "rows": dict.fromkeys(keys, ROW)})
    lines = page.splitlines()
    assert lines[2] == "| a, 64 px, teacher |  | 9.0e-05 |  |  | 1.9 |  |  |  |"
    assert lines[3].startswith("| a, 64 px, student |  | 9.0e-05 |  |")


def test_a_calibrated_file_has_its_difference_and_its_gain_over_floats() -> None:
    ratio = {"value": 2.1, "low": 2.05, "high": 2.15}
    rows = {
        "ours, OpenVINO": {"mean_grey_levels": 1.052, "times_as_fast": ratio},
        "NNCF, OpenVINO": {"none": "not installed"},
    }
    page = calibrated.page({**VERSIONS, "networks": {"a": {"size": 64, "rows": rows}}})
    assert "| a, 64 px | 1.05; 2.10 (2.05–2.15) | not installed |  |" in page
