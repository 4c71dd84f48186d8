"""OpenVINO's files: what torch computes, integers inside, and both files or neither."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from nets import Wiring, photos
from torch import Tensor

from ganpress.checkpoint import Model
from ganpress.errors import ConfigError, ExportError, MissingExtra
from ganpress.exporters import export
from ganpress.exporters.onnx import to_bytes
from ganpress.nn.layers import convolutions
from ganpress.quantise import FakeQuantiser, calibrate, quantise

openvino = pytest.importorskip("openvino", reason="needs ganpress[openvino]")
pytest.importorskip("onnxscript", reason="needs ganpress[onnx]")

TINY = Wiring("cyclegan", {"affine": True})


def quantised(**how: object) -> Model:
    """A tiny network on 8 bits, with calibrated ranges."""
    model = TINY.model()
    calibrate(quantise(model.net, FakeQuantiser(**how)), TINY.net(), photos())
    return model


def run(path: Path, x: Tensor) -> Tensor:
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    return torch.from_numpy(compiled([x.numpy()])[0])


def test_a_float_network_computes_in_openvino_what_torch_computes(tmp_path: Path) -> None:
    model = TINY.model()
    facts = export(model, tmp_path / "deep" / "net.xml", to="openvino", size=32)
    assert sorted(p.name for p in facts.file.parent.iterdir()) == ["net.bin", "net.xml"]
    assert facts.bytes == sum(p.stat().st_size for p in facts.file.parent.iterdir())
    assert facts.max_abs_diff < 1e-3
    for shape in ((1, 3, 32, 32), (3, 3, 20, 48)):
        x = torch.rand(shape) * 2 - 1
        assert (run(facts.file, x) - model(x)).abs().max() < 1e-3


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_quantised_network_is_within_a_grey_level_and_on_integers(
    tmp_path: Path, per_channel: bool
) -> None:
    model = quantised(per_channel=per_channel)
    facts = export(model, tmp_path / "net.xml", to="openvino", size=32)
    assert facts.mean_abs_diff < 1 / 127.5
    x = photos(2, seed=5)
    assert (run(tmp_path / "net.xml", x) - model(x)).abs().mean() < 1 / 127.5
    graph = openvino.Core().read_model(tmp_path / "net.xml")
    kinds = [
        op.get_element_type().get_type_name()
        for op in graph.get_ops()
        if op.get_type_name() == "Constant" and len(op.get_output_shape(0)) == 4
    ]
    assert kinds.count("i8") == len(convolutions(model.net))


def test_a_file_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, coarser = quantised(), to_bytes(quantised(bits=5))
    monkeypatch.setattr("ganpress.exporters.openvino.to_bytes", lambda model: coarser)
    with pytest.raises(ExportError, match=r"in what layer '[\w.]+' reads: .*Nothing was written"):
        export(model, tmp_path / "net.xml", to="openvino", size=32)
    assert not list(tmp_path.iterdir())


def test_another_name_than_xml_and_a_missing_package_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"name the file \*\.xml, not 'net\.onnx'"):
        export(TINY.model(), tmp_path / "net.onnx", to="openvino", size=32)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"'openvino'.*pip install 'ganpress\[openvino\]'"):
        export(TINY.model(), tmp_path / "net.xml", to="openvino", size=32)
