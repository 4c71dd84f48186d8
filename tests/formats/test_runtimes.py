"""The one place that opens exported files, with graphs that are written by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from ganpress.errors import CheckpointError, ConfigError, MissingExtra
from ganpress.formats.runtimes import RUNTIMES, is_exported, open_file

FEED = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2) / 3
BOTH = pytest.mark.parametrize("runtime", RUNTIMES)


def graph(*, free: bool = True, weight: float = 2.0) -> bytes:
    """Two outputs: twice the input, and that with one channel for three."""
    height, width = ("height", "width") if free else (2, 2)
    dims = ["batch" if free else 1, 3, height, width]
    kernel = np.full((1, 3, 1, 1), 1.0, np.float32)
    nodes = [
        helper.make_node("Mul", ["image", "factor"], ["twice"], name="scaled"),
        helper.make_node("Conv", ["twice", "kernel"], ["grey"], name="summed"),
    ]
    made = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, dims)],
        [
            helper.make_tensor_value_info("grey", TensorProto.FLOAT, [dims[0], 1, *dims[2:]]),
            helper.make_tensor_value_info("twice", TensorProto.FLOAT, dims),
        ],
        [
            numpy_helper.from_array(np.array([weight], np.float32), "factor"),
            numpy_helper.from_array(kernel, "kernel"),
        ],
    )
    file = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(file, {"producer": "a hand", "range": "[-1, 1]"})
    data: bytes = file.SerializeToString()
    return data


@BOTH
def test_a_file_says_what_it_reads_makes_and_is(runtime: str) -> None:
    pytest.importorskip(runtime)
    with open_file(graph(), runtime=runtime, threads=1) as opened:
        assert list(opened.inputs) == ["image"]
        assert list(opened.outputs) == ["grey", "twice"]
        port = opened.inputs["image"]
        assert (port.dims, port.dtype) == ((None, 3, None, None), "float32")
        assert opened.described == {"producer": "a hand", "range": "[-1, 1]"}
        assert (opened.runtime, opened.threads, opened.precision) == (runtime, 1, "f32")
        assert opened.version in sys.modules[runtime].__version__
    with open_file(graph(free=False), runtime=runtime, threads=1) as opened:
        assert opened.inputs["image"].dims == (1, 3, 2, 2)


def test_onnxruntime_gives_the_names_of_free_dims() -> None:
    with open_file(graph(), threads=1) as opened:
        assert opened.inputs["image"].names == ("batch", "", "height", "width")


@BOTH
def test_outputs_come_by_name_and_stay_when_the_file_runs_again(runtime: str) -> None:
    pytest.importorskip(runtime)
    with open_file(graph(), runtime=runtime, threads=1) as opened:
        first = opened.run({"image": FEED})
        opened.run({"image": FEED + 1})
    assert np.allclose(first["twice"], 2 * FEED)
    assert np.allclose(first["grey"], 2 * FEED.sum(1, keepdims=True))
    assert next(iter(first)) == "grey"


@BOTH
def test_a_profile_names_the_nodes_with_their_operators_and_times(runtime: str) -> None:
    pytest.importorskip(runtime)
    feed = np.ones((1, 3, 256, 256), np.float32)
    with open_file(graph(), runtime=runtime, threads=1, profile=True) as opened:
        for _ in range(4):
            opened.run({"image": feed})
        found = opened.profile()
        assert all(node.ms > 0 and node.kind for node in found)
        assert any("Conv" in node.kind for node in found)
    with open_file(graph(), runtime=runtime, threads=1) as opened:
        opened.run({"image": feed})
        assert opened.profile() == ()


def test_a_profile_is_of_one_run_without_the_first() -> None:
    from ganpress.formats.runtimes.onnxruntime import _node_times

    def event(name: str, kind: str, us: float) -> dict[str, object]:
        return {
            "cat": "Node",
            "name": f"{name}_kernel_time",
            "dur": us,
            "args": {"op_name": kind},
        }

    runs = [9000, 100, 300, 200], [50, 50], [5, 5]
    conv = [event("a", "Conv", us) for us in runs[0]]
    twice = [event("loop", "Add", us) for us in (7000, 7000, 10, 20, 10, 20, 10, 20)]
    other = {"cat": "Session", "name": "model_run", "dur": 10**6}
    found = {node.name: node.ms for node in _node_times([*conv, *twice, other], 4)}
    assert found == {"a": pytest.approx(0.2), "loop": pytest.approx(0.03)}


def test_openvino_computes_in_the_precision_that_it_is_asked_for() -> None:
    pytest.importorskip("openvino")

    def made(precision: str | None) -> str:
        with open_file(graph(), runtime="openvino", threads=1, precision=precision) as opened:
            opened.run({"image": FEED})
            return opened.precision

    assert [made(p) for p in (None, "fp32", "bf16", "int8")] == ["f32", "f32", "bf16", "f32"]
    with pytest.raises(ConfigError, match="computes in the precision that the file has"):
        open_file(graph(), runtime="onnxruntime", precision="bf16", threads=1)


def test_an_openvino_network_is_read_from_its_two_files_and_from_their_bytes(
    tmp_path: Path,
) -> None:
    openvino = pytest.importorskip("openvino")
    at = tmp_path / "net.xml"
    openvino.save_model(openvino.Core().read_model(graph()), at, compress_to_fp16=False)
    weights = at.with_suffix(".bin")
    for source, given in ((at, None), (at.read_bytes(), weights.read_bytes())):
        with open_file(source, weights=given, threads=1) as opened:
            assert opened.runtime == "openvino"
            assert np.allclose(opened.run({"image": FEED})["twice"], 2 * FEED)
    with pytest.raises(ConfigError, match="is run by openvino, not by onnxruntime"):
        open_file(at, runtime="onnxruntime", threads=1)
    with pytest.raises(CheckpointError, match=r"holds weights alone: give .*net\.xml"):
        open_file(weights, threads=1)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"weights in net\.bin, which is not beside it"):
        open_file(at, threads=1)


@BOTH
def test_a_broken_file_says_so_with_the_runtimes_reason(runtime: str, tmp_path: Path) -> None:
    pytest.importorskip(runtime)
    torn, page = tmp_path / "torn.onnx", tmp_path / "page.onnx"
    torn.write_bytes(graph()[:60])
    page.write_text("<!doctype html><title>Sign in</title>")
    with pytest.raises(CheckpointError, match=r"cannot load .*torn\.onnx \(.+\)") as raised:
        open_file(torn, runtime=runtime, threads=1)
    assert raised.value.__cause__ is not None
    with pytest.raises(CheckpointError, match=r"page\.onnx .* It is an HTML page \('Sign in'\)"):
        open_file(page, runtime=runtime, threads=1)
    with pytest.raises(CheckpointError, match=r"did you mean 'torn\.onnx'"):
        open_file(tmp_path / "tron.onnx", runtime=runtime, threads=1)


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'openvino'"):
        open_file(graph(), runtime="openvion")
    with pytest.raises(ConfigError, match="did you mean 'bf16'"):
        open_file(graph(), runtime="openvino", precision="bf17")


@BOTH
def test_a_missing_runtime_is_named_with_its_extra(
    runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, runtime, None)
    extra = {"onnxruntime": "onnx", "openvino": "openvino"}[runtime]
    with pytest.raises(MissingExtra, match=rf"'{runtime}': pip install 'ganpress\[{extra}\]'"):
        open_file(graph(), runtime=runtime, threads=1)


def test_running_a_file_does_not_load_torch(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(graph())
    code = f"""
import sys
import numpy as np
from ganpress.formats.runtimes import open_file
with open_file({str(tmp_path / "net.onnx")!r}, threads=1) as opened:
    made = opened.run({{"image": np.ones((1, 3, 2, 2), np.float32)}})
print(made["grey"].ravel().tolist(), "torch" in sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout == f"{[6.0] * 4} False\n", ended.stderr


def test_the_ending_says_whether_a_file_is_an_exported_one() -> None:
    assert is_exported(Path("a/net.ONNX")) and is_exported(Path("net.xml"))
    assert not is_exported(Path("net.safetensors"))
