"""Content-Aware GAN Compression of StyleGAN2 at the papers' sizes: what scores and a step of the
retraining cost, then pruning and retraining at 256 px in the time left.

The teacher's weights are random, as no published ones of 256 px are at hand (the zoo's StyleGAN2 is
of 64): time and memory do not depend on them, and what the student reaches means nothing. Its
discriminator is a fresh one of StyleGAN2's kind, the mask a box, the perceptual distance of steps
that of a VGG-16 of random weights.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.command import Budget, Device, Output, say
from benchmarks.gpu.hayao import facts_of, pressed, strip
from benchmarks.gpu.made import pictures, random_vgg16
from benchmarks.gpu.steps import TimedRun, guarded, peak_mib, rows
from ganpress import Images, Model, full_model, read_config
from ganpress.measures.interest.interest import interest_for
from ganpress.measures.interest.settings import MaskSettings
from ganpress.methods import METHODS
from ganpress.methods.base import Given
from ganpress.methods.content_aware import ContentAwareConfig
from ganpress.methods.content_aware.score_settings import ScoreSettings
from ganpress.methods.content_aware.scores.drawn import drawn_from
from ganpress.methods.content_aware.scores.table import score_channels
from ganpress.models.source import Source
from ganpress.run.files import make_folder, replace_file
from ganpress.run.recipes import recipes

FINISH_S = 150.0
"""Seconds for what comes after training, mostly on the CPU: evaluation, latency, ONNX, report."""
CASES = [
    ("score", "256", "float32"), ("step", "256", "bfloat16"), ("step", "1024", "bfloat16"),
    ("step", "256", "float32"), ("score", "1024", "float32"),
]  # fmt: skip
"""What is measured before the retraining, at which size and precision, the first ones first."""
CASES_SHARE = 0.5
"""Of the piece's time; cases that do not fit are not run."""
PENALTIES = 16
"""Timed steps: one of them has R1, four the path length penalty."""
TINY = [
    "min_channels=1", "data.batch=2", "score.batch=2", "score.samples=4",
    'distance.features="tiny"', "cut.ratio=0.5", "finetune.steps=4",
]  # fmt: skip


def content_aware_faces(output: Output, device: Device, budget: Budget) -> Mapping[str, Any]:
    """Measure the cases, then compress, and show teacher and student. Raises: RuntimeError at the
    end where a case failed."""
    cases = measured(output, device, Budget(budget.end_s - budget.left_s * (1 - CASES_SHARE)))
    plan, run = pressed(
        output, device, budget, "content-aware", partial(settings, output.work),
        finish_s=FINISH_S, stages=1, given_for=given,
    )  # fmt: skip
    found = {"plan": plan, "teacher": "random", "cases": cases, **facts_of(run)}
    found["table"] = [*rows(cases), *([name, "", *rest] for name, *rest in found["table"])]
    found["picture"] = output.picture(strip(run / "samples"))
    errors = {name: str(case["error"]) for name, case in cases.items() if "error" in case}
    if failed := [name for name, error in errors.items() if error.startswith("failed")]:
        output.save(found)
        raise RuntimeError(f"{len(failed)} cases failed: {', '.join(failed)}")
    return {**found, "unfinished": any(error.startswith("not run") for error in errors.values())}


def measured(output: Output, device: Device, budget: Budget) -> dict[str, Any]:
    """Each of `CASES` that fits into the time, by its name, with those of an earlier call."""
    cases = dict(output.known.get("cases", {}))
    for kind, size, precision in CASES:
        name, longest = f"{kind} {size} {precision}", max([15.0, *_took(cases)])
        before = cases.get(name, {"error": "new"})
        if "error" not in before or before.get("final"):
            continue
        if budget.left_s < longest * (0.1 if device.tiny else 1):
            cases[name] = {"error": "not run: no time was left"}
            continue
        began = time.monotonic()
        found = guarded(MEASURED[kind], size, precision, device, output.work)
        cases[name] = {**found, "seconds": round(time.monotonic() - began, 1)}
        output.save({"cases": cases, "table": rows(cases)})
        say(f"  {name}: {found.get('error') or 'measured'}")
    return cases


def _took(cases: Mapping[str, Any]) -> list[float]:
    return [case["seconds"] for case in cases.values() if "seconds" in case]


# --- the cases ----------------------------------------------------------------------------------


def score_case(
    size: str, precision: str, device: Device, work: Path, folder: Path
) -> dict[str, Any]:
    """The content-aware score of a batch beside a forward and a backward pass of it, in turns; as
    "steps" has its stages, a batch a step."""
    torch.manual_seed(0)
    model = teacher_of(int(size), device)
    model.net.to(device.kind).eval()
    batch = 2 if device.tiny else 10
    how, source = ScoreSettings(batch=batch), Source(model, None, None, device.kind)
    mask = interest_for(MaskSettings(source=str(box(work))), device=device.kind)
    drawn = drawn_from(source, samples=batch, batch=batch, interest=mask)
    [sample] = drawn.batches()

    def plain() -> None:
        model.net(*sample.inputs).sum().backward()
        model.net.zero_grad(set_to_none=True)

    sides: dict[str, Callable[[], object]] = {
        "score": partial(score_channels, model, drawn, how),
        "forward+backward": plain,
    }
    ms: dict[str, list[float]] = {name: [] for name in sides}
    peaks: dict[str, float | None] = {}
    for turn in range(2 if device.tiny else 8):
        for name, side in sides.items():
            if device.kind == "cuda":
                torch.cuda.reset_peak_memory_stats()
            took = _milliseconds(side, device)
            peaks[name] = peak_mib(device)
            if turn:
                ms[name].append(took)
    medians = {name: statistics.median(values) for name, values in ms.items()}
    stages = {
        name: {"median_ms": medians[name], "mean_ms": statistics.fmean(values),
               "steps": len(values), "peak_mib": peaks[name], "syncs": None}
        for name, values in ms.items()
    }  # fmt: skip
    ratio = round(medians["score"] / medians["forward+backward"], 3)
    return {"batch": batch, "size": model.size, "stages": stages, "ratio": ratio}


def _milliseconds(what: Callable[[], object], device: Device) -> float:
    device.wait()
    began = time.perf_counter()
    what()
    device.wait()
    return 1e3 * (time.perf_counter() - began)


def step_case(
    size: str, precision: str, device: Device, work: Path, folder: Path
) -> dict[str, Any]:
    """Steps of the retraining at the paper's batch and ratio, after scores of a few samples."""
    teacher, images, _ = given(work, device, int(size))
    sets = [f'precision="{precision}"', "score.samples=10", "data.workers=4"]
    config = config_of(work, device, [*sets, *(TINY if device.tiny else [])], size)
    method = METHODS["content-aware"]
    asked = Given(teacher, images, None, None if device.tiny else random_vgg16(work))
    resolved = method.resolve(asked, config)
    method.check(asked, resolved)
    run = TimedRun(folder, device, config.seed, most=PENALTIES, seconds=60.0)
    method.compress(asked, resolved, run)
    return {"batch": config.data.batch, "size": teacher.size, "stages": run.found}


MEASURED = {"score": score_case, "step": step_case}


# --- teacher, pictures, settings ------------------------------------------------------------------


def teacher_of(size: int, device: Device) -> Model:
    """An untrained StyleGAN2 of this size; a narrow one of 32 px in the tiny form."""
    if device.tiny:
        return full_model("stylegan2", size=32, n_mlp=2, style_dim=16, most=8, base=128)
    return full_model("stylegan2", size=size)


def given(work: Path, device: Device, size: int = 256) -> tuple[Model, Images, Images]:
    """The teacher, drawn pictures for its discriminator, and others that it never sees."""
    torch.manual_seed(0)
    teacher = teacher_of(size, device)
    images, test = pictures(work / "pictures", "other", size=teacher.size)
    assert test is not None
    return teacher, images, test


def box(work: Path) -> Path:
    """A file of one box, as large as faces are in FFHQ."""
    path = make_folder(work) / "box.toml"
    replace_file(path, lambda file: file.write(b"boxes = [[0.2, 0.15, 0.8, 0.95]]\n"))
    return path


def config_of(work: Path, device: Device, sets: list[str], size: str = "256") -> ContentAwareConfig:
    """The paper's settings at this size, the box as mask, and ``sets``."""
    file = recipes(["content-aware"])[f"content-aware-ffhq-{size}"]
    ours = [f'device="{device.kind}"', f'mask.source="{box(work)}"']
    ours += ["data.size=32", "data.workers=0"] if device.tiny else []
    return read_config(ContentAwareConfig, file, [*ours, *sets])


def settings(work: Path, device: Device, minutes: float) -> ContentAwareConfig:
    """Of the retraining in the time left. VGG-16 is not there without a network."""
    sets = ['distance.features="squeezenet"', "score.samples=100", f"finetune.minutes={minutes}"]
    sets += ['precision="bfloat16"', "channels_last=true"] if device.kind == "cuda" else []
    return config_of(work, device, [*sets, *(TINY if device.tiny else [])])
