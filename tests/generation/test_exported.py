"""`ganpress run` with an exported file: torch's pictures, and the sizes that a file is bound to."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import run_cli
from exports import FREE, LEAST
from nets import WIRINGS
from PIL import Image

import ganpress
from ganpress.errors import CheckpointError, ConfigError, MissingExtra
from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.generation.program import open_program

onnx = pytest.importorskip("onnx")
ENDINGS = {"onnx": ".onnx", "openvino": ".xml"}


def needs(target: str) -> None:
    if target == "openvino":
        pytest.importorskip("openvino")


def photo(folder: Path, height: int, width: int, name: str = "a.png") -> Path:
    folder.mkdir(exist_ok=True)
    array = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(array).save(folder / name)
    return folder


def pixels(path: Path) -> Any:
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


def bound(path: Path, **dims: int) -> Path:
    """The same ONNX file, these dims of its first input fixed: batch, height or width."""
    file = onnx.load(path)
    for i, name in enumerate(("batch", "channels", "height", "width")):
        if name in dims:
            file.graph.input[0].type.tensor_type.shape.dim[i].dim_value = dims[name]
    onnx.save(file, out := path.with_name("bound.onnx"))
    return out


@functools.cache
def in_onnx(wiring: str) -> bytes:
    """The ONNX file of a tiny model, made once for all tests and both targets."""
    return to_bytes(WIRINGS[wiring].model(), FREE)


@contextmanager
def file_of(wiring: str) -> Iterator[None]:
    """Where this model is exported, its ONNX file is there already; it is checked anew."""
    data = in_onnx(wiring)
    with pytest.MonkeyPatch.context() as patch:
        for target in ENDINGS:
            made = f"ganpress.formats.exporters.{target}.with_layers"
            patch.setattr(made, lambda *a, **k: (data, None))
        yield


@pytest.mark.parametrize("target", ENDINGS)
@pytest.mark.parametrize(
    "wiring",
    [
        *("cyclegan instance", "sngan conditional"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("gaugan", "munit")),
    ],
)
def test_an_exported_file_makes_torchs_pictures(
    wiring: str, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs(target)
    model, file = WIRINGS[wiring].model(), tmp_path / f"net{ENDINGS[target]}"
    with file_of(wiring):
        form = None if model.is_fixed else Form((64, 64), dynamic=True)
        ganpress.export(model, file, to=target, form=form)
    given: dict[str, Any] = {"images": photo(tmp_path / "in", 70, 61)}
    if wiring == "gaugan":
        (tmp_path / "l").mkdir()
        Image.fromarray(np.eye(64, 40, dtype=np.uint8)).save(tmp_path / "l" / "a.png")
        given = {"labels": tmp_path / "l", "instances": tmp_path / "l"}
    elif wiring == "sngan conditional":
        given = {"count": 2, "label": 3, "seed": 1}
    elif wiring == "munit":
        given["seed"] = 4
    outs = [tmp_path / "torch", tmp_path / "exported"]
    for what, out in zip((model, file), outs, strict=True):
        found = ganpress.generate(what, out, **given, quiet=True)
        assert found.made >= 1
    for path in outs[0].rglob("*.png"):
        difference = np.abs(pixels(path) - pixels(outs[1] / path.relative_to(outs[0])))
        assert difference.max() <= 1 and difference.mean() < 0.01
    told = run_cli(capsys, "run", file, "-o", tmp_path / "out", "--device", "cuda")
    assert (told.code == 2 and "CUDA" in told.err) or "runs on the CPU" in told.err


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    with file_of("cyclegan instance"):
        ganpress.export(WIRINGS["cyclegan instance"].model(), folder / "net.onnx", form=FREE)
    return folder / "net.onnx"


def test_a_size_that_is_fixed_in_the_file_is_obeyed_and_said(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, source = bound(exported, height=32, width=48, batch=2), photo(tmp_path / "in", 64, 128)
    photo(tmp_path / "in", 30, 20, "b.png")
    photo(tmp_path / "in", 32, 48, "c.png")
    told = run_cli(capsys, "run", file, "--images", source, "-o", tmp_path / "out")
    assert told.code == 0, told.err
    assert "takes pictures of 32x48 pixels only" in told.err
    small = Image.open(source / "a.png").resize((64, 32), Image.Resampling.BICUBIC)
    x = np.asarray(small)[:, 8:56].copy()
    tensor = torch.from_numpy(x).permute(2, 0, 1)[None].float() / 127.5 - 1
    want = ((WIRINGS["cyclegan instance"].model()(tensor)[0] + 1) * 127.5).round()
    assert np.abs(pixels(tmp_path / "out/a.png") - want.permute(1, 2, 0).numpy()).max() <= 1
    for name in ("b.png", "c.png"):  # the third is alone in its batch of two
        assert pixels(tmp_path / "out" / name).shape == (32, 48, 3)
    same = ("run", file, "--images", source, "-o", tmp_path / "x", "--size")
    assert run_cli(capsys, *same, "32x48").code == 0
    told = run_cli(capsys, *same, "64")
    assert told.code == 2 and "exported for pictures of 32x48: leave the size out" in told.err


def test_openvinos_fixed_size_is_obeyed(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    model = WIRINGS["cyclegan instance"].model()
    with file_of("cyclegan instance"):
        ganpress.export(model, tmp_path / "net.xml", to="openvino", form=FREE)
    read = openvino.Core().read_model(tmp_path / "net.xml")
    read.reshape({"image": [1, 3, 32, 48]})
    openvino.save_model(read, tmp_path / "bound.xml", compress_to_fp16=False)
    program = open_program(tmp_path / "bound.xml")
    assert (program.size, program.batch) == ((32, 48), 1)
    source = photo(tmp_path / "in", 40, 50)
    ganpress.generate(tmp_path / "bound.xml", tmp_path / "out", images=source, quiet=True)
    assert pixels(tmp_path / "out/a.png").shape == (32, 48, 3)
    (tmp_path / "bound.bin").unlink()
    with pytest.raises(CheckpointError, match=r"weights in bound\.bin, which is not beside it"):
        open_program(tmp_path / "bound.xml")


def test_a_rectangle_with_one_free_side_is_refused(exported: Path) -> None:
    with pytest.raises(CheckpointError, match="one side of its pictures fixed and one free"):
        open_program(bound(exported, height=32))


def test_a_file_of_another_program_is_refused(exported: Path, tmp_path: Path) -> None:
    file = onnx.load(exported)
    del file.metadata_props[:]
    onnx.save(file, tmp_path / "foreign.onnx")
    with pytest.raises(CheckpointError, match="was not exported by ganpress"):
        open_program(tmp_path / "foreign.onnx")
    (tmp_path / "torn.onnx").write_bytes(exported.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"cannot load .*torn\.onnx"):
        open_program(tmp_path / "torn.onnx")
    with pytest.raises(CheckpointError, match=r"did you mean 'torn\.onnx'"):
        open_program(tmp_path / "tron.onnx")


def test_a_missing_package_is_named_with_its_extra(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.xml").write_text("<net/>")
    for package, extra, file in (
        ("onnxruntime", "onnx", exported),
        ("openvino", "openvino", tmp_path / "net.xml"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtra, match=rf"'{package}': pip install 'ganpress\[{extra}\]'"):
            open_program(file)


def test_what_is_inside_of_a_file_cannot_be_changed(tmp_path: Path) -> None:
    munit = LEAST["munit"].model()
    ganpress.export(munit, tmp_path / "munit.onnx", size=32)
    source = photo(tmp_path / "in", 32, 32)
    with pytest.raises(ConfigError, match=r"has no style encoder: --style works with the ganpress"):
        ganpress.generate(
            tmp_path / "munit.onnx", tmp_path / "out", images=source, style=source / "a.png"
        )
    style = LEAST["stylegan2"].model()
    ganpress.export(style, tmp_path / "style.onnx")
    with pytest.raises(ConfigError, match="makes its styles inside"):
        ganpress.generate(tmp_path / "style.onnx", tmp_path / "out", count=1, truncation=0.5)
    found = ganpress.generate(tmp_path / "style.onnx", tmp_path / "out", count=2, quiet=True)
    assert found.made == 2
