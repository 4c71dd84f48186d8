"""GAN Slimming of the CartoonGAN Hayao generator at 256 px to 1/42 of the MACs in the time left."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.gpu.command import Budget, Device, Output
from benchmarks.gpu.made import pictures
from ganpress import Images, Model, SlimConfig, full_model, import_model, open_images, read_config
from ganpress.errors import ConfigError
from ganpress.methods.compress import compress
from ganpress.run.files import read_json
from ganpress.run.recipes import recipes
from ganpress.training.shared_settings import MethodSettings

CONFIG = recipes(["slim"])["cartoongan-hayao-gpu"]
FINISH_S = 100.0
"""Seconds for what comes after training, on the CPU: evaluation, latency, ONNX, report."""
TEST_PHOTOS = 60
MOST_BYTES = 1 << 20
SETS = [
    'distance.features="squeezenet"',  # VGG-16 is not there without a network
    "distance.unit=0.2",
    "distance.pixel=1.0",
    "discriminator.weight=0.1",
    "discriminator.lr=2e-4",
    'sparsify.schedule="constant"',  # the stage is short
    "sparsify.lr=5e-4",
    f"target.macs={1 / 42}",
]
"""What differs from `CONFIG`, as in the file for CPUs, which is for short runs, too."""
TINY = [
    'distance.features="tiny"', "target.macs=0.4", "min_channels=1", "data.size=32",
    "data.load_size=40", "data.batch=2", "data.workers=0", "discriminator.width=4",
    "discriminator.layers=2", "sparsify.steps=6", "sparsify.rounds=2", "finetune.steps=4",
]  # fmt: skip


def slim_hayao(output: Output, device: Device, budget: Budget) -> Mapping[str, Any]:
    """Compress, evaluate against the teacher, and show the first photos."""
    plan, run = pressed(output, device, budget, "slim", settings, finish_s=FINISH_S, stages=2)
    return {"plan": plan, **facts_of(run), "picture": output.picture(strip(run / "samples"))}


def pressed(
    output: Output,
    device: Device,
    budget: Budget,
    method: str,
    settings_for: Callable[[Device, float], MethodSettings],
    *,
    finish_s: float,
    stages: int,
    given_for: Callable[[Path, Device], tuple[Model, Images, Images]] | None = None,
) -> tuple[dict[str, Any], Path]:
    """Compress a generator by a method in the time left; the plan, and the run's folder.

    The minutes of training are chosen at the first try and kept, so that a run that was cut short
    goes on.

    Args:
        settings_for: (device, minutes of each stage) -> settings.
        finish_s: for what comes after training. stages: that share the time.
        given_for: (folder of the piece, device) -> as `given`, which it is by default.
    """
    finish_s *= 0.1 if device.tiny else 1
    known = dict(output.known.get("plan", {}))
    left_s = budget.left_s - finish_s
    if not known and left_s < 10:
        raise ConfigError(f"{budget.left_s:.0f} s are too few: {finish_s + 10:.0f} are needed.")
    minutes = round(left_s / 60 / stages, 2)
    plan = known or {"minutes": minutes, "run": f"run-{output.facts['source']}"}
    output.save({"plan": plan})
    teacher, photos, test = (given_for or given)(output.work, device)
    run = output.work / plan["run"]
    compress(
        teacher, photos, test=test, run=run, config=settings_for(device, plan["minutes"]),
        method=method, command=str(output.facts["command"]), quiet=False,
    )  # fmt: skip
    return plan, run


def given(work: Path, device: Device) -> tuple[Model, Images, Images]:
    """The teacher, the photos it is compressed on, and those that it is evaluated on."""
    if device.tiny:
        torch.manual_seed(0)
        model = full_model("cartoongan", blocks=1)
        small = model.build(dict.fromkeys(model.widths, 8))
        images, test = pictures(work / "pictures", "other", size=40)
        assert test is not None
        return Model(small, model.family, model.options), images, test.some(range(4))
    data, weights = Path(os.environ["GANPRESS_DATA"]), Path(os.environ["GANPRESS_WEIGHTS"])
    test = open_images(data / "test")
    some = range(0, len(test), max(1, len(test) // TEST_PHOTOS))
    teacher = import_model("cartoongan", weights / "cartoongan_hayao" / "hayao_fp16.pth")
    return teacher, open_images(data / "photos"), test.some(list(some))


def settings(device: Device, minutes: float) -> SlimConfig:
    """Those of `CONFIG` with `SETS`; each of the two stages has these minutes."""
    sets = [f'device="{device.kind}"', *SETS]
    sets += ['precision="bfloat16"', "channels_last=true"] if device.kind == "cuda" else []
    sets += [f"sparsify.minutes={minutes}", f"finetune.minutes={minutes}"]
    return read_config(SlimConfig, CONFIG, [*sets, *(TINY if device.tiny else [])])


def facts_of(run: Path) -> dict[str, Any]:
    """What a finished run's results.json says, and the table of it."""
    results = read_json(run / "results.json")
    model, evaluation = results["model"], results["evaluation"]
    stages = {
        s["name"]: {**s, "ms_per_step": round(1e3 * s["seconds"] / max(1, s["steps"]), 2)}
        for s in results["stages"]
        if s["steps"]  # a search takes none
    }
    lines: list[list[object]] = [["", "teacher", "student", "ratio"]]
    for name in ("macs", "params", "bytes"):
        values = [model[of][name] for of in ("teacher", "student")]
        lines.append([name, *values, model["ratios"][name]])
    for name, value in evaluation["metrics"].items():
        lines.append([f"{name}, {evaluation['count']} pictures", None, value, None])
    for name, stage in stages.items():
        lines.append([f"{name}: ms per step", None, stage["ms_per_step"], None])
        lines.append([f"{name}: steps", None, stage["steps"], None])
    kept = {key: results[key] for key in ("model", "evaluation", "export")}
    return {**kept, "stages": stages, "settings": read_json(run / "config.json"), "table": lines}


def strip(samples: Path) -> bytes:
    """A JPEG below 1 MiB: photos, the teacher's pictures and the student's, a row of each; no
    photos where the generator reads noise."""
    rows = [sorted(samples.glob(f"*_{kind}.png")) for kind in ("photo", "teacher", "student")]
    pictures_of = [[Image.open(path).convert("RGB") for path in row] for row in rows if row]
    width, height = pictures_of[0][0].size
    canvas = Image.new("RGB", (width * len(pictures_of[0]), height * len(pictures_of)))
    for y, row in enumerate(pictures_of):
        for x, picture in enumerate(row):
            canvas.paste(picture, (x * width, y * height))
    for quality in (90, 75, 60, 40, 20):
        file = io.BytesIO()
        canvas.save(file, "JPEG", quality=quality)
        if file.tell() < MOST_BYTES:
            break
    return file.getvalue()
