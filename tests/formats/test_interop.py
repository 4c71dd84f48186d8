"""Real and reference weights of other code bases give the pictures their own code gave.

Needs the folders GANPRESS_INTEROP, GANPRESS_WEIGHTS and GANPRESS_DATA; skipped without them. The
tolerances are those of the reference files' own table.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from interop_files import largest, reference
from PIL import Image

from ganpress.channels.silence import extract, survivors
from ganpress.channels.take import Elastic
from ganpress.formats.exporters import export
from ganpress.formats.importers import from_state, import_model
from ganpress.formats.importers.cyclegan import tensor_names
from ganpress.formats.importers.gan_compression import widths_of
from ganpress.formats.importers.resnet_layout import layout_of
from ganpress.losses.terms import group_soft_threshold
from ganpress.measures.cost import measure
from ganpress.models.checkpoint import Model
from ganpress.models.families import FAMILIES
from ganpress.quantisation.quantise import FakeQuantiser, quantise

HORSE2ZEBRA = "latest_net_G_16_16_32_16_32_32_16_16.pth"
interop, weights = pytest.mark.shared_interop, pytest.mark.shared_weights


def real(kind: str, file: str, **options: str) -> Model:
    return import_model(kind, Path(os.environ["GANPRESS_WEIGHTS"]) / file, **options)


@interop
@pytest.mark.parametrize(
    ("name", "kind", "config"),
    [
        ("resnet_generator_cyclegan", "cyclegan", None),
        ("resnet_generator_cyclegan", "auto", None),
        ("resnet_generator_cyclegan_legacy", "cyclegan", None),
        ("gancompression_resnet", "gan-compression", None),
        ("gancompression_mobile_resnet", "gan-compression", None),
        ("gancompression_mobile_resnet", "auto", None),
        ("gancompression_sub_mobile_resnet", "gan-compression", "8_6_10_4_12_7_9_5"),
        ("gancompression_sub_mobile_resnet", "auto", None),
    ],
)
def test_an_imported_generator_makes_upstreams_picture(
    name: str, kind: str, config: str | None
) -> None:
    file = reference(name)
    model = from_state(kind, file.weights, config=config)
    assert largest(model(file.input["x"]), file.output["y"]) < 2e-5


@interop
@weights
def test_the_hayao_cartoons_are_reproduced_in_rgb() -> None:
    file, model = (
        reference("cartoongan_hayao"),
        real("cartoongan", "cartoongan_hayao/hayao_fp16.pth"),
    )
    assert largest(model(file.input["x"].flip(1)), file.output["y"].flip(1)) < 2e-5
    assert {p.dtype for p in model.net.parameters()} == {torch.float32}
    assert measure(model.net).params == 11_129_667
    assert model.widths == dict(FAMILIES["cartoongan"].full(model.options))
    assert "Apache-2.0" in model.provenance["licence"]


@interop
@weights
@pytest.mark.parametrize("config", ["16_16_32_16_32_32_16_16", None])
def test_the_published_horse2zebra_student_is_reproduced(config: str | None) -> None:
    file = reference("gancompression_horse2zebra_real")
    path = Path(os.environ["GANPRESS_WEIGHTS"]) / "gancompression_horse2zebra" / HORSE2ZEBRA
    model = import_model("auto", path, config=config)
    assert largest(model(file.input["x"]), file.output["y"]) < 2e-5
    assert measure(model.net).params == 356_867


@weights
@pytest.mark.shared_data
def test_twenty_horses_become_the_stored_zebras_to_one_grey_level() -> None:
    model = real("auto", f"gancompression_horse2zebra/{HORSE2ZEBRA}")
    folder = Path(os.environ["GANPRESS_DATA"]) / "horse2zebra_part"
    zebras = sorted((folder / "fakeB_from_gancompression").glob("*.png"))
    assert len(zebras) == 20
    for zebra in zebras:
        horse = np.array(Image.open(folder / "trainA" / f"{zebra.stem}.jpg").convert("RGB"))
        y = model(torch.from_numpy(horse).permute(2, 0, 1)[None].float() / 127.5 - 1)[0]
        grey = ((y + 1) * 127.5).clamp(0, 255).round()
        want = torch.from_numpy(np.array(Image.open(zebra).convert("RGB"))).permute(2, 0, 1)
        apart = (grey - want.float()).abs()
        assert apart.max() <= 1, zebra.name
        assert (apart > 0).float().mean() < 1e-3, zebra.name


@interop
@pytest.mark.parametrize(
    "config", ["8_8_8_8_8_8_8_8", "4_6_8_2_4_6_8_4", "8_4_6_8_6_2_4_6", "2_2_2_2_2_2_2_2"]
)
def test_elastic_widths_equal_the_authors_super_net_in_picture_and_gradient(config: str) -> None:
    file = reference("gancompression_supernet")
    assert config in json.loads(file.said["configs"])
    model = from_state("gan-compression", file.weights, clamp=True)
    y = Elastic(model.net)(widths_of(config), file.input["x"])
    (y * file.input["cotangent"]).sum().backward()
    assert largest(y, file.output[f"y/{config}"]) < 2e-5
    ours = {theirs: name for name, theirs in tensor_names(layout_of(file.weights, "x")).items()}
    for key in json.loads(file.said["grad_parameters"]):
        found = model.net.get_parameter(ours[key]).grad
        assert found is not None
        assert largest(found, file.output[f"grad/{config}/{key}"]) < 2e-5, key


@interop
def test_extraction_gives_the_authors_small_network() -> None:
    file = reference("gs_extract_subnet")
    model = from_state("cyclegan", file.weights)
    assert largest(model(file.input["x"]), file.output["y_before"]) < 2e-5
    small = extract(model.build, model.net, survivors(model.net), file.input["x"])
    theirs = from_state(
        "cyclegan",
        {k.partition("/")[2]: v for k, v in file.other.items() if k.startswith("sub_weights/")},
    )
    found = Model(small, model.family, model.options)
    assert found.widths == theirs.widths
    cut = [width for group, width in found.widths.items() if group != "trunk"]
    assert cut == file.input["dim_lst"].tolist() == json.loads(file.said["extracted_dim_lst"])
    for name, tensor in theirs.net.state_dict().items():
        assert torch.equal(tensor, small.state_dict()[name]), name
    assert largest(found(file.input["x"]), file.output["y_after"]) < 2e-5


@interop
@pytest.mark.parametrize("name", ["gs_quantised_resnet", "gs_quantised_resnet_shallow"])
def test_the_authors_quantised_forward_pass_is_reproduced(name: str) -> None:
    file = reference(name)
    model = from_state("cyclegan", file.weights)
    assert largest(model(file.input["x"]), file.output["y_float"]) < 2e-5
    quantiser = FakeQuantiser(levels="gs2020", trunk="clamped")
    quantise(model.net, quantiser)
    difference = (model(file.input["x"]) - file.output["y"]).abs()
    if name == "gs_quantised_resnet_shallow":
        assert difference.max() < 1e-5
    assert difference.mean() < 0.01
    assert difference.max() < 0.1
    activations = quantiser.input(file.input["act"], signed=True)
    assert largest(activations, file.output["act_fakequant"]) < 1e-6
    weight = quantiser.weight(file.weights["model.4.weight"], out_dim=0)
    assert largest(weight, file.output["weight_fakequant"]) < 1e-6
    [thresholded] = group_soft_threshold([file.input["gamma"]], float(file.said["soft_threshold"]))
    assert largest(thresholded, file.output["soft_threshold"]) < 1e-6


@weights
@pytest.mark.slow
def test_the_published_student_exports_as_int8(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs ganpress[onnx]")
    pytest.importorskip("onnxscript", reason="needs ganpress[onnx]")
    model = real("auto", f"gancompression_horse2zebra/{HORSE2ZEBRA}")
    quantise(model.net, FakeQuantiser(per_channel=True))
    facts = export(model, tmp_path / "net.onnx", size=64)
    assert facts.bytes < measure(model.net).params + 150_000
