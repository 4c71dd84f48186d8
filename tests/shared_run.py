"""What the tests share: the folder of a finished compression, small enough to write by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import teacher_file
from PIL import Image

import ganpress
from ganpress.sharing.push import Pushed

TERMS = {"terms": "drawn for this test, CC BY 4.0"}


def a_run(folder: Path) -> Path:
    """What the tests share: the folder of a finished compression, small enough to write by hand."""
    (folder / "samples").mkdir(parents=True)
    teacher_file(folder / "student.safetensors")
    nets = {"params": 400, "macs": 4e9, "macs_outres": 5e9, "bytes": 1600, "size": 64}
    model = {"teacher": nets, "student": {**nets, "params": 100, "macs": 1e9}, "ratios": {}}
    metrics = {"metrics": {"unit-distance": 1.25}, "count": 7, "protocol": {"photos": "7"}}
    results = {"model": model, "evaluation": metrics, "stages": []}
    for name, value in {
        "results.json": results,
        "config.json": {"method": "slim"},
        "card.json": {"seed": 4, "data_hash": "ab" * 32, "paper": "a paper"},
    }.items():
        (folder / name).write_text(json.dumps(value))
    for stem in (0, 1):
        for level, kind in enumerate(("photo", "teacher", "student"), start=1):
            picture = Image.new("RGB", (8, 8), (10 * level, stem, 0))
            picture.save(folder / "samples" / f"{stem:05d}_{kind}.png")
    return folder


def push(path: Path, repo: str = "alice/toon", **how: object) -> Pushed:
    """Pushed without an ONNX file, which takes seconds, and with terms."""
    return ganpress.push(path, repo, onnx=False, quiet=True, **{**TERMS, **how})


def same_picture(dims: list[int | str]) -> bytes:
    """An ONNX file that makes its input's picture."""
    onnx = pytest.importorskip("onnx")
    kind = onnx.TensorProto.FLOAT
    ports = [onnx.helper.make_tensor_value_info(name, kind, dims) for name in ("image", "out")]
    node = onnx.helper.make_node("Identity", ["image"], ["out"])
    graph = onnx.helper.make_graph([node], "g", ports[:1], ports[1:])
    opsets = [onnx.helper.make_opsetid("", 13)]
    made: bytes = onnx.helper.make_model(
        graph, opset_imports=opsets, ir_version=8
    ).SerializeToString()
    return made
