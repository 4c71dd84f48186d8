"""OpenVINO's files: what torch computes, integers inside, and both files or neither."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from exports import FREE, SHALLOW
from nets import photos
from onnx_graphs import Drawing
from onnx_graphs import run as onnx_run
from torch import Tensor

from ganpress.errors import ConfigError, DiskFull, ExportError, MissingExtra
from ganpress.formats.exporters import export
from ganpress.formats.exporters import openvino as exporter
from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.onnx import to_bytes, with_layers
from ganpress.formats.exporters.trace import in_form
from ganpress.formats.runtimes import open_file
from ganpress.models.checkpoint import Model
from ganpress.nn.layers import convolutions
from ganpress.quantisation.quantise import FakeQuantiser, calibrate, quantise
from ganpress.run.files import replace_pair

openvino = pytest.importorskip("openvino", reason="needs ganpress[openvino]")


def quantised(**how: object) -> Model:
    """A tiny network on 8 bits, with calibrated ranges."""
    model = SHALLOW.model()
    calibrate(quantise(model.net, FakeQuantiser(**how)), SHALLOW.net(), photos())
    return model


def run(path: Path, x: Tensor) -> Tensor:
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    return torch.from_numpy(compiled([x.numpy()])[0])


def test_the_last_convolution_of_an_8_bit_file_has_its_bias_inside() -> None:
    graph = onnx.load_from_string(to_bytes(quantised(), Form(32), runtime="openvino")).graph
    assert [node.op_type for node in graph.node][-3:] == ["Conv", "DepthToSpace", "Tanh"]
    assert len(graph.node[-3].input) == 3


def test_a_float_network_computes_in_openvino_what_torch_computes(tmp_path: Path) -> None:
    model = SHALLOW.model()
    facts = export(model, tmp_path / "deep" / "net.xml", to="openvino", form=FREE)
    assert sorted(p.name for p in facts.file.parent.iterdir()) == ["net.bin", "net.xml"]
    assert facts.bytes == sum(p.stat().st_size for p in facts.file.parent.iterdir())
    assert facts.max_abs_diff < 1e-4
    for shape in ((1, 3, 32, 32), (3, 3, 20, 48)):
        x = torch.rand(shape) * 2 - 1
        assert (run(facts.file, x) - model(x)).abs().max() < 1e-4


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_quantised_network_is_within_a_grey_level_and_on_integers(
    tmp_path: Path, per_channel: bool
) -> None:
    model = quantised(per_channel=per_channel)
    facts = export(model, tmp_path / "net.xml", to="openvino", size=32)
    assert facts.mean_abs_diff < 1 / 127.5
    x = photos(1, seed=5)
    assert (run(tmp_path / "net.xml", x) - model(x)).abs().mean() < 1 / 127.5
    graph = openvino.Core().read_model(tmp_path / "net.xml")
    kinds = [
        op.get_element_type().get_type_name()
        for op in graph.get_ops()
        if op.get_type_name() == "Constant" and len(op.get_output_shape(0)) == 4
    ]
    assert kinds.count("i8") == len(convolutions(model.net))


@pytest.mark.parametrize(("precision", "hint"), [("fp16", "f32"), ("bf16", "bf16")])
def test_halves_take_half_the_bytes_and_name_the_hint(
    tmp_path: Path, precision: Any, hint: str
) -> None:
    model, sizes = SHALLOW.model(), {}
    for what in (None, precision):
        facts = export(
            model, tmp_path / f"{what}.xml", to="openvino", form=Form(32, precision=what)
        )
        sizes[what] = facts.file.with_suffix(".bin").stat().st_size
    assert sizes[precision] < 0.6 * sizes[None]
    assert facts.mean_abs_diff < 2 / 127.5
    told = open_file(facts.file).described
    assert open_file(facts.file).precision == hint
    assert (told["precision"], told["inference_precision_hint"]) == (precision, hint)
    assert open_file(tmp_path / "None.xml").described["inference_precision_hint"] == "f32"


def test_a_file_between_bytes_and_one_calibrated_are_openvinos_too(tmp_path: Path) -> None:
    from PIL import Image

    from ganpress.data import open_images

    model = SHALLOW.model()
    draw = np.random.default_rng(0)
    for n in range(3):
        Image.fromarray(draw.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / f"{n}.png")
    images = open_images(tmp_path)
    facts = export(
        model, tmp_path / "net.xml", to="openvino", form=Form(32, bytes_io=True), images=images
    )
    assert facts.max_abs_diff <= 1.001 / 127.5
    with open_file(facts.file) as opened:
        assert {p.dtype for p in (*opened.inputs.values(), *opened.outputs.values())} == {"uint8"}
        assert opened.inputs["image"].dims == (1, 32, 32, 3)
    form = Form(32, precision="int8")
    facts = export(model, tmp_path / "int8.xml", to="openvino", form=form, calibrate=images)
    kinds = {
        op.get_element_type().get_type_name()
        for op in openvino.Core().read_model(facts.file).get_ops()
        if op.get_type_name() == "Constant" and len(op.get_output_shape(0)) == 4
    }
    assert kinds == {"i8"}
    assert 1e-4 < facts.mean_abs_diff < 4 / 127.5


def test_a_file_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, coarser = quantised(), to_bytes(quantised(bits=5), Form(32), passes=False)
    monkeypatch.setattr(exporter, "with_layers", lambda *a, **k: (coarser, coarser))
    with pytest.raises(ExportError, match=r"in what layer '[\w.]+' reads: .*Nothing was written"):
        export(model, tmp_path / "net.xml", to="openvino", size=32)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def converted() -> dict[str, tuple[bytes, bytes | None]]:
    """What a float and a quantised network's .xml are made of, made once."""
    form = Form(32)
    made = {"float": SHALLOW.model(), "quantised": quantised()}
    return {kind: with_layers(in_form(model, form), form) for kind, model in made.items()}


Pair = tuple[bytes, bytes]


def damaged(xml: bytes, weights: bytes) -> Pair:
    """Some of the weights are other numbers."""
    return xml, b"".join((weights[:400], b"\0\0\x80\x40" * 25, weights[500:]))


def cut_short(xml: bytes, weights: bytes) -> Pair:
    """What a full temporary folder can leave."""
    return xml, weights[: len(weights) // 2]


@pytest.mark.parametrize(
    ("kind", "damage", "told"),
    [
        ("float", damaged, "differs from torch"),
        ("quantised", damaged, "differs from torch"),
        ("float", cut_short, "OpenVINO cannot load"),
    ],
)
def test_the_very_bytes_that_are_written_are_checked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    converted: dict[str, tuple[bytes, bytes | None]],
    kind: str,
    damage: Callable[..., Pair],
    told: str,
) -> None:
    whole, model = exporter.files, SHALLOW.model() if kind == "float" else quantised()
    monkeypatch.setattr(exporter, "with_layers", lambda *a, **k: converted[kind])
    monkeypatch.setattr(exporter, "files", lambda data, precision: damage(*whole(data, precision)))
    with pytest.raises(ExportError, match=rf"(?s){told}.*Nothing was written"):
        export(model, tmp_path / "net.xml", to="openvino", size=32)
    assert not list(tmp_path.iterdir())


def test_a_graph_that_openvino_cannot_convert_is_an_export_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "with_layers", lambda *a, **k: (b"no graph", None))
    with pytest.raises(ExportError, match=r"(?s)cannot convert .*Nothing was written"):
        export(SHALLOW.model(), tmp_path / "net.xml", to="openvino", size=32)
    assert not list(tmp_path.iterdir())


OLD = {"net.xml": b"old network", "net.bin": b"old weights"}
NEW = {"net.xml": b"new network", "net.bin": b"new weights"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One with a previous pair."""
    for name, data in OLD.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def replace(folder: Path) -> None:
    xml, weights = NEW.values()
    replace_pair(folder / "net.xml", xml, folder / "net.bin", weights)


@pytest.mark.parametrize("whole", [0, 1])
def test_a_full_disk_leaves_the_previous_pair(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    converted: dict[str, tuple[bytes, bytes | None]],
    whole: int,
) -> None:
    synced: list[int] = []

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) > 2 * whole:  # each file, and then its folder
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(exporter, "with_layers", lambda *a, **k: converted["float"])
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFull, match=r"net\.(bin|xml)"):
        export(SHALLOW.model(), folder / "net.xml", to="openvino", size=32)
    assert held(folder) == OLD


@pytest.mark.parametrize("renames", range(5))
def test_a_rename_that_fails_leaves_the_previous_pair_or_a_network_that_cannot_be_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    rename, done = os.replace, []

    def refused(source: Path, target: Path) -> None:
        done.append(target)
        if len(done) == renames + 1:
            raise PermissionError("in use")
        rename(source, target)

    monkeypatch.setattr("os.replace", refused)
    with pytest.raises(PermissionError):
        replace(folder)
    assert held(folder) == OLD if renames < 4 else "net.xml" not in held(folder)
    replace(folder)
    assert held(folder) == NEW


@pytest.mark.parametrize("renames", range(6))
def test_a_kill_never_leaves_an_old_network_with_new_weights(folder: Path, renames: int) -> None:
    code = f"""
import os
from pathlib import Path
from typing import Any
from ganpress.run.files import replace_pair
rename, done = os.replace, []
def killed(source, target):
    done.append(target)
    if len(done) > {renames}:
        os._exit(9)
    rename(source, target)
os.replace = killed
folder = Path({str(folder)!r})
replace_pair(folder / "net.xml", b"new network", folder / "net.bin", b"new weights")
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == (9 if renames < 5 else 0)
    left = {name: data for name, data in held(folder).items() if name in OLD}
    assert left in (OLD, NEW) or "net.xml" not in left
    replace(folder)
    assert held(folder) == NEW


def test_another_name_than_xml_and_a_missing_package_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = r"Target 'openvino' writes a \.xml file: name it .*net\.xml"
    with pytest.raises(ConfigError, match=named):
        export(SHALLOW.model(), tmp_path / "net.onnx", to="openvino", size=32)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"'openvino'.*pip install 'ganpress\[openvino\]'"):
        export(SHALLOW.model(), tmp_path / "net.xml", to="openvino", size=32)


def test_a_dense_layer_of_8_bit_weights_reads_floats_as_floats() -> None:
    """OpenVINO would round them to 8 bits in groups; the file says not to, whoever opens it."""
    d = Drawing(1, 128)
    weight = d.weight(512, 128)
    data = d.file(d.node("Gemm", "x", weight, transB=1))
    x = np.random.default_rng(3).standard_normal((1, 128)).astype(np.float32)
    [want] = onnx_run(data, x)
    with open_file(data, runtime="openvino", threads=1) as opened:
        assert np.abs(next(iter(opened.run({"x": x}).values())) - want).max() < 1e-4
    xml, weights = exporter.files(data)
    compiled = openvino.Core().compile_model(
        openvino.Core().read_model(xml, weights), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    assert np.abs(compiled([x])[0] - want).max() < 1e-4
