"""An exported file computes what torch computes, says what it is, or is not written at all."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from exports import FREE
from thin import thinned
from torch import Tensor

from ganpress.errors import ConfigError, DiskFull, ExportError, MissingExtra
from ganpress.formats.exporters import ExportFacts, export
from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.layerwise import Session
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.formats.exporters.trace import traced
from ganpress.models.checkpoint import Model
from ganpress.models.families import FAMILIES, family
from ganpress.models.families.base import draw_inputs
from ganpress.nn.layers import add_gates
from ganpress.quantisation.quantise import FakeQuantiser, quantise

onnx = pytest.importorskip("onnx", reason="needs ganpress[onnx]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs ganpress[onnx]")
pytest.importorskip("onnxscript", reason="needs ganpress[onnx]")


SMALLEST: dict[str, dict[str, Any]] = {
    "pix2pix": {"downs": 3},
    "gaugan": {"labels": 3},
    "munit": {"res": 1, "style_dim": 3},
    "sngan": {"latent_dim": 5},
    "stylegan2": {"size": 8, "style_dim": 6, "n_mlp": 1, "most": 8},
}


def tiny(name: str = "cyclegan", quantiser: FakeQuantiser | None = None, **options: Any) -> Model:
    """A network of one block and four channels, with weights that are no one's."""
    torch.manual_seed(0)
    which = family(name)
    settled = which.resolve({**SMALLEST.get(name, {"blocks": 1}), **options})
    net = which.build(dict.fromkeys(which.full(settled), 4), **settled).eval()
    for name_, parameter in net.named_parameters():
        if name_.endswith("bias"):
            torch.nn.init.uniform_(parameter, -0.5, 0.5)
    return Model(quantise(net, quantiser), which, settled, {"source": "a test"})


def run(path: Path, *inputs: Tensor, names: tuple[str, ...] = ("image",)) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    fed = {name: t.numpy() for name, t in zip(names, inputs, strict=True)}
    return torch.from_numpy(session.run(None, fed)[0])


def as_session(f: Callable[[Tensor], Tensor]) -> Session:
    """A function of the picture in the place of a file."""
    return lambda inputs: {"image_out": f(inputs["image"])}


def random_pictures(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3)) * 2 - 1


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, ExportFacts]:
    """One plain export that several tests look at."""
    model, path = tiny(affine=True), tmp_path_factory.mktemp("onnx") / "deep" / "net.onnx"
    return model, export(model, path, form=FREE)


def test_a_dynamic_file_serves_every_batch_and_size(
    exported: tuple[Model, ExportFacts],
) -> None:
    model, facts = exported
    assert [p.name for p in facts.file.parent.iterdir()] == ["net.onnx"]
    for shape in ((1, 3, 32, 32), (3, 3, 20, 48), (2, 3, 64, 16)):
        x = random_pictures(*shape)
        assert (run(facts.file, x) - model(x)).abs().max() < 1e-5
    kinds = [node.op_type for node in onnx.load(facts.file).graph.node]
    assert kinds[-2:] == ["DepthToSpace", "Tanh"]  # four pixels at a time, as in a static file


def test_the_facts_are_those_of_the_file(exported: tuple[Model, ExportFacts]) -> None:
    _, facts = exported
    assert facts.bytes == facts.file.stat().st_size
    assert 0 < facts.mean_abs_diff < facts.max_abs_diff < 1e-5
    assert facts.sizes_checked == ((1, 3, 32, 32), (2, 3, 16, 24))
    file = onnx.load(facts.file)
    assert (file.opset_import[0].version, file.ir_version) == (facts.opset, facts.ir)


def test_the_file_says_its_family_widths_and_range(exported: tuple[Model, ExportFacts]) -> None:
    graph = onnx.load(exported[1].file)
    onnx.checker.check_model(graph, full_check=True)
    told = {p.key: p.value for p in graph.metadata_props}
    assert told["family"] == "cyclegan"
    assert '"trunk": 4' in told["widths"]
    assert (told["layout"], told["colour"], told["range"]) == ("NCHW", "RGB", "[-1, 1]")
    assert "a test" in told["provenance"]
    assert [i.name for i in graph.graph.input] == ["image"]
    assert [o.name for o in graph.graph.output] == ["image_out"]


def test_exporting_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export(tiny(downsamplings=1), tmp_path / "net.onnx", size=32)
    assert capfd.readouterr() == ("", "")


def test_the_file_holds_no_paths_of_this_machine(exported: tuple[Model, ExportFacts]) -> None:
    assert str(Path(__file__).parents[2]).encode() not in exported[1].file.read_bytes()


@pytest.mark.parametrize(
    ("name", "options"),
    thinned(
        [
            ("cyclegan", {"norm": "batch", "separable": True, "clamp": True}),
            ("cyclegan", {"downsamplings": 4, "antialias": 4, "up": "nearest", "padding": "zero"}),
            ("cartoongan", {}),
            ("pix2pix", {"norm": "instance", "affine": True}),
            ("pix2pix", {"norm": "instance", "leaky_skips": True, "upsampling": "resize-last"}),
            ("gaugan", {}),
            ("munit", {"separable": True}),
            ("sngan", {"classes": 3}),
            ("stylegan2", {}),
        ],
        2,
    ),
)
def test_every_family_exports_with_its_options_for_any_size(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    model = tiny(name, **options)
    add_gates(model.net)
    before = {k: v.clone() for k, v in model.net.state_dict().items()}
    size = model.size if model.is_fixed else 64
    facts = export(model, tmp_path / "net.onnx", form=Form(size, dynamic=True))
    assert facts.max_abs_diff < 1e-4
    names = model.net.reads
    graph = onnx.load(facts.file).graph
    assert tuple(i.name for i in graph.input) == names
    assert [o.name for o in graph.output] == ["image_out"]
    for n, h, w in ((1, 64, 128), (5, 128, 64)):  # those of a fixed size take no notice
        inputs = draw_inputs(model.net, n, (h, w), torch.Generator().manual_seed(n))
        assert (run(facts.file, *inputs, names=names) - model(*inputs)).abs().max() < 1e-4
    assert before.keys() == model.net.state_dict().keys()
    assert all(torch.equal(v, before[k]) for k, v in model.net.state_dict().items())


@pytest.mark.parametrize(
    "quantiser",
    [
        FakeQuantiser(),
        FakeQuantiser(bits=4, p=2.0, per_channel=True),
        FakeQuantiser(levels="gs2020"),
    ],
    ids=["8 bits", "4 bits per channel", "gs2020"],
)
def test_a_quantised_network_exports_with_int8_weights(
    tmp_path: Path, quantiser: FakeQuantiser
) -> None:
    model = tiny(quantiser=quantiser, affine=True, downsamplings=1)
    export(model, tmp_path / "net.onnx", size=32)
    x = random_pictures(1, 3, 32, 32)
    assert (run(tmp_path / "net.onnx", x) - model(x)).abs().mean() < 1e-4
    float_twin = tiny(affine=True, downsamplings=1)
    assert (float_twin(x) - model(x)).abs().mean() > 1e-3  # so the grid does matter here
    graph = onnx.load_from_string(to_bytes(model, Form(32), passes=False)).graph
    kinds = {i.data_type for i in graph.initializer if len(i.dims) == 4}
    assert kinds == {onnx.TensorProto.INT8}  # a runtime's passes make floats of small ones
    operators = {node.op_type for node in graph.node}
    assert "DequantizeLinear" in operators
    assert ("QuantizeLinear" in operators) == (quantiser.levels == "int")


def test_a_quantised_network_is_traced_once_for_its_file_and_for_its_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []

    def noted(*given: Any) -> Any:
        found.append(traced(*given))
        return found[-1]

    monkeypatch.setattr("ganpress.formats.exporters.onnx.traced", noted)
    export(tiny(quantiser=FakeQuantiser(), downsamplings=1), tmp_path / "net.onnx", size=32)
    assert len(found) == 1


@pytest.fixture
def stored(exported: tuple[Model, ExportFacts], monkeypatch: pytest.MonkeyPatch) -> Model:
    """The model of `exported`, whose next export takes no time."""
    data = exported[1].file.read_bytes()
    monkeypatch.setattr("ganpress.formats.exporters.onnx.with_layers", lambda *a, **k: (data, None))
    return exported[0]


@pytest.mark.parametrize("wrong", [2e-4, float("nan")])
def test_a_file_that_differs_from_torch_is_not_written(
    tmp_path: Path, stored: Model, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    def off(x: Tensor) -> Tensor:
        y = stored(x)
        y[0, 0, 5, 5] += wrong
        return y

    monkeypatch.setattr("ganpress.formats.exporters.onnx.session", lambda data: as_session(off))
    (tmp_path / "net.onnx").write_bytes(b"the previous one")
    with pytest.raises(ExportError, match="differs from torch by up to"):
        export(stored, tmp_path / "net.onnx", size=32)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"the previous one"]


def test_a_quantised_file_on_another_grid_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, coarser = (
        tiny(quantiser=FakeQuantiser(bits=b), affine=True, downsamplings=1) for b in (8, 6)
    )
    data = to_bytes(coarser, Form(32), passes=False)
    monkeypatch.setattr("ganpress.formats.exporters.onnx.with_layers", lambda *a, **k: (data, None))
    with pytest.raises(ExportError, match="differs from torch in what layer"):
        export(model, tmp_path / "net.onnx", size=32)
    assert not list(tmp_path.iterdir())


def test_a_file_of_other_shapes_is_not_written(
    tmp_path: Path, stored: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ganpress.formats.exporters.onnx.session", lambda data: as_session(lambda x: x[:, :1])
    )
    with pytest.raises(ExportError, match="makes"):
        export(stored, tmp_path / "net.onnx", size=32)


def test_a_full_disk_leaves_the_previous_file(
    tmp_path: Path, stored: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    (tmp_path / "net.onnx").write_bytes(b"the previous one")
    with pytest.raises(DiskFull, match=r"net\.onnx"):
        export(stored, tmp_path / "net.onnx", size=32)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"the previous one"]


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"'{package}'.*pip install 'ganpress\[onnx\]'"):
        export(tiny(), tmp_path / "net.onnx", size=32)


def test_a_network_the_exporter_cannot_take_is_an_export_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise RuntimeError("no translation for aten.strange\nand a long story")

    monkeypatch.setattr("torch.onnx.export", refuse)
    with pytest.raises(ExportError, match=r"cannot take.*\(no translation for aten\.strange\)"):
        export(tiny(), tmp_path / "net.onnx", size=32)
    assert not list(tmp_path.iterdir())


def test_every_family_has_a_smallest_network_here() -> None:
    assert {*SMALLEST, "cyclegan", "cartoongan"} == set(FAMILIES)


def test_unknown_targets_and_unsuitable_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'onnx'"):
        export(tiny(), tmp_path / "net.onnx", to="onx")
    with pytest.raises(ConfigError, match="at least 1 pixel"):
        export(tiny(), tmp_path / "net.onnx", size=0)
    for size in (30, 4, (16, 30)):
        with pytest.raises(ConfigError, match="at least 8 pixels, divisible by 4"):
            export(tiny(), tmp_path / "net.onnx", size=size)
    with pytest.raises(ConfigError, match="at least 32 pixels, divisible by 32"):
        export(tiny("pix2pix", downs=5), tmp_path / "net.onnx", size=48)
