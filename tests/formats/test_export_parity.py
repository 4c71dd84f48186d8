"""Exported files against torch on real pictures, in every precision, and what is kept of that."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import run_cli
from exports import LEAST, SHALLOW, static, tracing_once
from nets import FIRST, Wiring, every_family, photos
from PIL import Image
from thin import thinned

from ganpress.data import Images, open_images
from ganpress.errors import ExportError
from ganpress.formats.exporters import Form, export
from ganpress.formats.exporters.form import PRECISIONS
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.formats.exporters.verify import GREY, HALF_MEAN, own_noise
from ganpress.models.checkpoint import save
from ganpress.models.inputs import from_noise, reads
from ganpress.quantisation.quantise import FakeQuantiser, calibrate, quantise

onnx = pytest.importorskip("onnx", reason="needs ganpress[onnx]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs ganpress[onnx]")

pytestmark = pytest.mark.usefixtures("tracing_once")
__all__ = ["tracing_once"]


def folder_of(wiring: Wiring, folder: Path, count: int = 3) -> Images | int:
    """Pictures as the network reads them, or a number of draws."""
    model = wiring.model()
    if from_noise(model):
        return count
    maps = "semantics" in reads(model)
    draw = np.random.default_rng(3)
    folder.mkdir(exist_ok=True)
    side = wiring.pixels + 8
    for n in range(count):
        coarse = draw.integers(0, 4 if maps else 256, (5, 5) if maps else (5, 5, 3), np.uint8)
        picture = Image.fromarray(coarse)
        how = Image.Resampling.NEAREST if maps else Image.Resampling.BICUBIC
        picture.resize((side, side), how).save(folder / f"{n}.png")
    return open_images(folder, **({"labels": folder, "instances": folder} if maps else {}))


def parity_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_name(f"{path.name}.parity.json").read_text())
    return found


@every_family
def test_each_familys_file_is_torchs_network_on_pictures(wiring: Wiring, tmp_path: Path) -> None:
    model, images = wiring.model(), folder_of(wiring, tmp_path / "in")
    facts = export(model, tmp_path / "net.onnx", form=static(wiring), images=images)
    found = parity_of(facts.file)
    assert facts.parity == tmp_path / "net.onnx.parity.json"
    assert found["sha256"] == hashlib.sha256(facts.file.read_bytes()).hexdigest()
    assert (found["runtime"], found["version"]) == ("onnxruntime", onnxruntime.__version__)
    assert (found["precision"], found["allowed"]) == ("fp32", {"largest": 1e-4})
    assert len({p["sha256"] for p in found["pictures"]}) == 3
    assert 0 < found["mean"] < found["largest"] < 1e-4
    assert found["largest_grey_levels"] == pytest.approx(found["largest"] * 127.5)
    rows = found["pictures"]
    assert found["largest"] == max(p["largest"] for p in rows)
    assert found["mean"] == pytest.approx(sum(p["mean"] for p in rows) / 3)
    assert all(p["largest"] > 2 * p["mean"] for p in rows)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("wiring", thinned(FIRST.values(), 2), ids=FIRST)
def test_half_precision_is_within_two_grey_levels_and_half_the_bytes(
    wiring: Wiring, precision: Any, tmp_path: Path
) -> None:
    model, images = wiring.model(), folder_of(wiring, tmp_path / "in")
    form = static(wiring, precision=precision)
    facts = export(model, tmp_path / "net.onnx", form=form, images=images)
    found = parity_of(facts.file)
    assert (found["precision"], found["allowed"]) == (precision, {"mean": HALF_MEAN})
    assert 1e-5 < found["mean"] <= 2 * GREY
    of = {t.data_type for t in onnx.load(facts.file).graph.initializer if len(t.dims) == 4}
    assert of == {{"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}[precision]}


def test_a_network_is_calibrated_on_its_own_pictures(tmp_path: Path) -> None:
    """8 bits after training, between bytes as well; on another brightness the ranges are wrong."""
    model, images = SHALLOW.model(), folder_of(SHALLOW, tmp_path / "in")
    form = Form(32, precision="int8")
    facts = export(
        model, tmp_path / "net.onnx", form=form, images=images,
        calibrate=images,  # type: ignore[arg-type]
    )  # fmt: skip
    found = parity_of(facts.file)
    assert found["precision"] == "int8" and "fake" not in found["against"]
    assert 0.1 * GREY < found["mean"] < 4 * GREY
    kinds = {node.op_type for node in onnx.load(facts.file).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    dark = (torch.full((1, 3, 32, 32), -0.999) + 1e-4 * photos(1),)
    data = to_bytes(model, form, [dark])
    from ganpress.formats.exporters.onnx import session

    x = photos(1)
    off = (session(data)({"image": x})["image_out"] - model(x)).abs().mean()
    assert off > 2 * found["mean"]


def test_a_trained_8_bit_file_is_held_against_the_fake_quantised_network(tmp_path: Path) -> None:
    model = LEAST["pix2pix"].model()
    wiring = LEAST["pix2pix"]
    calibrate(quantise(model.net, FakeQuantiser(per_channel=True)), wiring.net(), *wiring.inputs())
    images = folder_of(wiring, tmp_path / "in")
    facts = export(model, tmp_path / "net.onnx", form=static(wiring), images=images)
    found = parity_of(facts.file)
    assert (found["precision"], found["against"].split(", ")[-1]) == ("int8", "fake-quantised")
    noise = own_noise(model, [wiring.inputs(1)])
    assert found["mean"] <= max(0.5 * GREY, 4 * noise)


def test_a_file_that_differs_on_a_picture_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen by the pictures alone: the noise of the first check is let through."""
    images, form = folder_of(SHALLOW, tmp_path / "in"), Form(32)
    other = to_bytes(SHALLOW.model(seed=1), form)
    found = export(SHALLOW.model(), tmp_path / "net.onnx", form=form, images=images)
    before = found.file.read_bytes()
    monkeypatch.setattr(
        "ganpress.formats.exporters.onnx.with_layers", lambda *a, **k: (other, None)
    )
    monkeypatch.setattr("ganpress.formats.exporters.verify.FLOAT_MAX", 10.0)
    monkeypatch.setattr("ganpress.formats.exporters.verify._check_float", lambda *a: None)
    with pytest.raises(ExportError, match=r"On 0\.png the exported .*Nothing was written"):
        export(SHALLOW.model(), tmp_path / "net.onnx", form=form, images=images)
    assert found.file.read_bytes() == before
    monkeypatch.undo()
    monkeypatch.setattr(
        "ganpress.formats.exporters.onnx.with_layers", lambda *a, **k: (before, None)
    )
    export(SHALLOW.model(), tmp_path / "net.onnx", form=form)
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["net.onnx"]  # no old parity


def test_the_command_line_names_what_was_written_and_refuses_what_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_of(SHALLOW, tmp_path / "in")
    photo_model = save(SHALLOW.model(), tmp_path / "net.safetensors")
    noise_model = save(FIRST["sngan"].model(), tmp_path / "noise.safetensors")
    out, said = tmp_path / "net.onnx", "checked on pictures: "
    shaped = ("--size", "32", "--images", tmp_path / "in", "--bytes", "--opset", "13")
    told = run_cli(capsys, "export", photo_model, *shaped, "-o", out)
    assert told.code == 0, told.err
    assert "opset 13, IR 7" in told.out and f"{said}{out}.parity.json" in told.out
    assert parity_of(out)["bytes"] is True
    for model, options, why in (
        (photo_model, ["--count", "3"], "reads pictures: give them (--images DIR)"),
        (noise_model, ["--images", tmp_path / "in"], "reads noise: check it on draws (--count"),
        (photo_model, ["--precision", "int4"], "There is no precision 'int4'"),
        (photo_model, ["--precision", "int8"], "--calibrate DIR"),
        (photo_model, ["--calibrate", tmp_path / "in"], "--calibrate is for --precision int8"),
        (photo_model, ["--dynamic", "--batch", "2"], "leave the batch out"),
        (photo_model, ["--size", "32", "--opset", "6"], "It can have 11 to"),
    ):
        told = run_cli(capsys, "export", model, *options, "-o", tmp_path / "no.onnx")
        assert told.code == 2 and why in " ".join(told.err.split()), options
    assert not (tmp_path / "no.onnx").exists()


@pytest.mark.shared_data
@pytest.mark.parametrize("precision", thinned(PRECISIONS, 1))
def test_twenty_real_photos_are_torchs_within_the_tolerance(precision: Any, tmp_path: Path) -> None:
    wiring = FIRST["cyclegan"]
    images = open_images(Path(os.environ["GANPRESS_DATA"]) / "monet2photo" / "testB")
    form = Form(64, precision=precision)
    facts = export(
        wiring.model(), tmp_path / "net.onnx", form=form, images=images,
        calibrate=images if precision == "int8" else None,
    )  # fmt: skip
    found = parity_of(facts.file)
    assert len(found["pictures"]) == 20
    limit = {"fp32": ("largest", 1e-4), "int8": ("mean", 16 * GREY)}
    what, most = limit.get(precision, ("mean", 2 * GREY))
    assert found[what] <= most
