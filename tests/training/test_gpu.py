"""On a GPU: what the CPU computes, in every recipe and in the stages that methods share.

With GANPRESS_GPU_TESTS_ON=cpu the same runs without a GPU, where "equal to the CPU" says little.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import golden
import pytest
import torch
from nets import Wiring, every_wiring

from ganpress.data import Images, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.losses.distance import Distance, DistanceSettings
from ganpress.measures.cost import CostTable, latency
from ganpress.methods.base import Given
from ganpress.methods.compress import compress
from ganpress.methods.gan_slimming import GAN_SLIMMING
from ganpress.methods.gan_slimming.settings import SlimConfig
from ganpress.models.checkpoint import Model, full_model, load
from ganpress.run.logs import read_log
from ganpress.run.run import Run, Stage
from ganpress.run.settings import checked
from ganpress.training.kit import place
from ganpress.training.train import TRAINERS, trainer

pytestmark = pytest.mark.gpu

DEVICE = os.environ.get("GANPRESS_GPU_TESTS_ON", "cuda")
CROPS = {"size": 32, "load_size": 36, "workers": 0}
SETTINGS: dict[str, Any] = {
    "min_channels": 1,
    "data": {"size": 32, "batch": 4, "workers": 0},
    "target": {"macs": 0.5},
    "distance": {"features": "tiny", "style": 10.0, "unit": 2.0, "pixel": 5.0},
    "discriminator": {"width": 4, "layers": 2, "weight": 0.1, "lr": 2e-4},
    "sparsify": {"steps": 12, "lr": 5e-4, "weight_decay": 0.0},
    "finetune": {"steps": 6, "lr": 1e-3, "weight_decay": 0.0, "ema": 0.9},
}


@pytest.fixture(autouse=True)
def full_float32() -> Iterator[None]:
    """Convolutions in float32, not in TF32, whose 10 bits are a thousandth off the CPU's."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return open_images(write_folder(tmp_path_factory.mktemp("photos"), 12, seed=3, size=40))


def teacher() -> Model:
    """A small CycleGAN generator with random weights."""
    torch.manual_seed(0)
    model = full_model("cyclegan", blocks=2, affine=True)
    return Model(model.build(dict.fromkeys(model.widths, 8)), model.family, model.options)


def log_of(run: Path, stage: str) -> list[dict[str, float]]:
    return read_log(run / stage / "log.jsonl")


def losses(line: dict[str, float]) -> dict[str, float]:
    """What a log's line says of losses."""
    return {name: value for name, value in line.items() if name.startswith("loss/")}


# --- networks ------------------------------------------------------------------------------------


@every_wiring
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_generator_makes_the_picture_that_it_makes_on_the_cpu(
    wiring: Wiring, channels_last: bool
) -> None:
    net, x = wiring.net(), wiring.inputs()
    with torch.no_grad():
        wanted = net.eval()(*x)
        settings = checked(SlimConfig, {"channels_last": channels_last})
        made = place(net, settings, DEVICE)(*(t.to(DEVICE) for t in x))
    assert made.device.type == DEVICE
    assert torch.allclose(made.cpu(), wanted, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("half", [False, True])
def test_the_distance_is_that_of_the_cpu(half: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 48, 48, generator=draw) * 2 - 1
    y = (x + 0.005 * torch.randn(x.shape, generator=draw)).clamp(-1, 1)  # half a grey level off
    settings = DistanceSettings(features="tiny", style=10.0, unit=1.0, pixel=1.0)
    wanted = float(Distance(settings)(x, y))
    found = Distance(settings, half=half).to(DEVICE)(x.to(DEVICE), y.to(DEVICE))
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(wanted, rel=0.1 if half else 1e-3)


def test_latency_is_measured_on_the_device() -> None:
    model = teacher()
    place(model.net, checked(SlimConfig, {}), DEVICE)
    facts = latency(model, size=32, device=DEVICE, seconds=0.1)
    wanted = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
    assert facts.device == wanted
    assert 0 < facts.median_ms < 1000


# --- the recipes of teachers ---------------------------------------------------------------------


def trained(family: str, folder: Path, device: str, **more: Any) -> list[dict[str, float]]:
    """The log of three steps of a family's recipe."""
    how = trainer(family)
    tiny = {**golden._COMMON, "steps": 3, "data": CROPS, **golden.RECIPES[family]}
    config = checked(how.config, {**tiny, "device": device, **more})
    folder.mkdir()
    images, other = golden.data(how.needs, folder)
    run = Run(folder / "run", seed=config.seed, log_every=1, quiet=True)
    models = how.stage(run, images, other, config)
    for model in models.values():
        assert {p.device.type for p in model.net.parameters()} == {"cpu"}
        assert all(p.isfinite().all() for p in model.net.parameters())
    return log_of(folder / "run", "train")


@pytest.mark.parametrize("family", TRAINERS)
def test_a_recipe_s_first_step_is_that_of_the_cpu(family: str, tmp_path: Path) -> None:
    still = {"options": {**golden.RECIPES[family].get("options", {})}}
    if family == "pix2pix":
        still["options"]["dropout"] = False  # drawn on the device
    wanted, *_ = trained(family, tmp_path / "cpu", "cpu", **still)
    found, *rest = trained(family, tmp_path / "gpu", DEVICE, **still)
    assert losses(found) == pytest.approx(losses(wanted), rel=0.02, abs=1e-4)
    assert len(rest) == 2


@pytest.mark.parametrize("family", TRAINERS)
def test_a_recipe_trains_in_bfloat16_and_channels_last(family: str, tmp_path: Path) -> None:
    whole = trained(family, tmp_path / "float32", DEVICE)
    how = {"precision": "bfloat16", "channels_last": True}
    half = trained(family, tmp_path / "bfloat16", DEVICE, **how)
    assert losses(half[0]) == pytest.approx(losses(whole[0]), rel=0.15, abs=0.05)


# --- compression ---------------------------------------------------------------------------------


def settings(device: str, **changes: Any) -> SlimConfig:
    """The toy settings with some changed; a dict changes a part of a group."""
    values = {**SETTINGS, "device": device}
    for name, change in changes.items():
        values[name] = {**values.get(name, {}), **change} if isinstance(change, dict) else change
    return checked(SlimConfig, values)


def slimmed(run: Path, photos: Images, config: SlimConfig) -> Model:
    """The teacher's student by GAN Slimming's stages; every step is logged and saved."""
    given = Given(teacher(), photos)
    resolved = GAN_SLIMMING.resolve(given, config)
    folder = Run(run, seed=config.seed, save_every_s=0.0, log_every=1, quiet=True)
    return GAN_SLIMMING.compress(given, resolved, folder)


CASES: dict[str, tuple[dict[str, Any], float]] = {
    "float32": ({}, 0.01),
    "channels_last": ({"channels_last": True}, 0.01),
    "bfloat16": ({"precision": "bfloat16", "channels_last": True}, 0.1),
    "8 bits": ({"quantise": {"bits": 8}}, 0.05),
    "8 bits, learned": ({"quantise": {"bits": 8, "ranges": "learned"}}, 0.05),
}


@pytest.mark.parametrize("case", CASES)
def test_the_joint_loop_and_distillation_start_as_on_the_cpu_and_meet_the_target(
    case: str, photos: Images, tmp_path: Path
) -> None:
    changes, tolerance = CASES[case]
    slimmed(tmp_path / "cpu", photos, settings("cpu", **changes))
    student = slimmed(tmp_path / "gpu", photos, settings(DEVICE, **changes))
    first = [losses(log_of(tmp_path / where, "sparsify")[0]) for where in ("gpu", "cpu")]
    assert first[0] == pytest.approx(first[1], rel=tolerance, abs=1e-3)
    assert len(log_of(tmp_path / "gpu", "finetune")) == SETTINGS["finetune"]["steps"]
    assert all(p.device.type == DEVICE for p in student.net.parameters())
    cost = CostTable(teacher().net, 256)
    assert cost(student.widths).macs <= 0.5 * cost().macs


def test_a_student_trained_on_the_device_is_exported_and_loaded_on_the_cpu(
    photos: Images, tmp_path: Path
) -> None:
    config = settings(DEVICE, quantise={"bits": 8})
    student = compress(teacher(), photos, run=tmp_path, config=config, quiet=True)
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["device"] == (torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu")
    again = load(tmp_path / "student.safetensors")
    assert {p.device.type for p in again.net.parameters()} == {"cpu"}
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    assert torch.equal(student(x), again(x))
    pytest.importorskip("onnx", reason="needs ganpress[onnx]")
    pytest.importorskip("onnxscript", reason="needs ganpress[onnx]")
    pytest.importorskip("onnxruntime", reason="needs ganpress[onnx]")
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["export"]["onnx"]["file"] == "student.onnx"  # else it says what was wrong


class Enough(Exception):
    """Raised in the midst of a stage, as if the process had died."""


def test_a_run_that_broke_off_goes_on_where_it_was(
    photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, log, died = settings(DEVICE), Stage.log, []
    whole = slimmed(tmp_path / "whole", photos, config)

    def dies(stage: Stage, step: int, /, **values: Any) -> None:
        if not died and stage.name == "finetune" and step == 3:
            died.append(step)
            raise Enough
        log(stage, step, **values)

    monkeypatch.setattr(Stage, "log", dies)
    with pytest.raises(Enough):
        slimmed(tmp_path / "cut", photos, config)
    student = slimmed(tmp_path / "cut", photos, config)
    card = json.loads((tmp_path / "cut" / "card.json").read_text())
    assert [(r["stage"], r["step"]) for r in card["resumed"]] == [("finetune", 3)]
    assert student.widths == whole.widths
    for name, tensor in whole.net.state_dict().items():
        assert torch.allclose(student.net.state_dict()[name], tensor, atol=1e-4), name
