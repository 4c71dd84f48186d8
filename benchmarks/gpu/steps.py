"""One training step of every recipe and every method at the papers' sizes: time, memory, waiting.

The loops are the package's own, stopped after a few steps: what is timed is a step as a user has
it, with its batches, optimisers and log. Settings are those of the recipes for GPUs.
"""

from __future__ import annotations

import shutil
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.command import Budget, Device, Output, say
from benchmarks.gpu.made import pictures, random_vgg16
from ganpress.errors import Interrupted
from ganpress.methods import METHODS
from ganpress.methods.base import Given
from ganpress.models.checkpoint import Model, full_model
from ganpress.models.families import family as family_of
from ganpress.run.recipes import recipes
from ganpress.run.run import Run, Stage
from ganpress.run.settings import read_config
from ganpress.training.train import TRAINERS

WARM_UP, MOST, SECONDS = 3, 12, 6.0
"""Steps before the timed ones; timed steps, or as many as fit into these seconds (3 at least)."""
HEADS = [
    "case",
    "precision",
    "stage",
    "batch",
    "size",
    "median ms",
    "mean ms",
    "steps",
    "peak MiB",
    "syncs",
]
TINY_SETS: dict[str, list[str]] = {
    "cyclegan": ["options.blocks=1", "discriminator.width=4", "discriminator.layers=2"],
    "pix2pix": ["options.downs=4", "discriminator.width=4", "discriminator.layers=2"],
    "cartoongan": ["options.blocks=1", "discriminator_width=4", "discriminator_layers=2"],
    "munit": ["options.res=1", "discriminator_width=4", "discriminator_layers=2",
              "discriminator_scales=2"],
    "gaugan": ["accumulate=1", "options.labels=4", 'options.upsampling="normal"',
               "discriminator.width=4", "discriminator.layers=2"],
    "sngan": ["options.bottom_width=4", "discriminator.width=4", "g_batch=4", "d_steps=1"],
    "stylegan2": ["options.size=32", "options.n_mlp=2", "options.most=8", "options.base=128",
                  "discriminator.base=128", "discriminator.most=8", "width=1.0"],
}  # fmt: skip
METHOD_SETS = {
    "slim": ["sparsify.rounds=1"],
    "once-for-all": ["target.macs=0.25", "channel_multiple=1", "search.kind=random",
                     "search.evaluations=1", "search.images=1"],
    "content-aware": ["target.macs=0.25", "score.samples=10"],
}  # fmt: skip
"""So that a method's stages are few; their steps are what they are."""
TINY_TRAIN = ["batch=2", "width=0.05", "data.size=32", "data.load_size=", "data.workers=0"]
TINY_METHOD = ["min_channels=1", "data.size=32", "data.load_size=", "data.batch=2",
               "data.workers=0", "discriminator.width=4", "discriminator.layers=2"]  # fmt: skip


class TimedStage(Stage):
    """A stage whose loop ends after a few steps, each of which is timed to the device's end."""

    def steps(self, total: int, **how: Any) -> Iterator[int]:
        """As `Stage.steps`, but for the number of steps."""
        run = self.run
        assert isinstance(run, TimedRun)
        return run.timed(self.name, super().steps(total, **how))


class TimedRun(Run):
    """A run of which `found` has the numbers of each stage; no state is saved."""

    def __init__(
        self, root: Path, device: Device, seed: int, *, most: int = MOST, seconds: float = SECONDS
    ) -> None:
        """Args: most, seconds: of timed steps; see `MOST`."""
        super().__init__(root, seed=seed, quiet=True, save_every_s=1e9)
        self.device, self.found = device, dict[str, dict[str, Any]]()
        self.most, self.seconds = most, seconds

    def stage(self, name: str) -> Stage:
        """A stage of this run, timed."""
        return TimedStage(self, name)

    def timed(self, name: str, steps: Iterator[int]) -> Iterator[int]:
        """The first steps of a loop: warm-up, timed ones, and one in which waits are counted."""
        wait, ms, syncs, ends = self.device.wait, list[float](), list[int](), 0.0
        warm_up, most = (1, 2) if self.device.tiny else (WARM_UP, self.most)
        if self.device.kind == "cuda":
            torch.cuda.reset_peak_memory_stats()
        for count, step in enumerate(steps):
            wait()
            began = time.perf_counter()
            ends = began + self.seconds if count == warm_up else ends
            is_last = len(ms) >= most or (len(ms) >= 3 and began > ends)
            if is_last:
                with counted_waits(self.device, syncs):
                    yield step
                break
            yield step
            wait()
            if count >= warm_up:
                ms.append(1e3 * (time.perf_counter() - began))
        self.found[name] = {
            "median_ms": round(statistics.median(ms), 3) if ms else None,
            "mean_ms": round(statistics.fmean(ms), 3) if ms else None,
            "steps": len(ms),
            "peak_mib": peak_mib(self.device),
            "syncs": syncs[0] if syncs else None,
        }


@contextmanager
def counted_waits(device: Device, found: list[int]) -> Iterator[None]:
    """Within, each time that the host waits for the device is counted; torch sees most of them."""
    if device.kind != "cuda":
        yield
        return
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found.append(sum("synchroniz" in str(warning.message) for warning in heard))


def peak_mib(device: Device) -> float | None:
    """The most memory that tensors had since the stage began, MiB."""
    return round(torch.cuda.max_memory_allocated() / 2**20, 1) if device.kind == "cuda" else None


# --- the cases ----------------------------------------------------------------------------------


def training_steps(output: Output, device: Device, budget: Budget) -> Mapping[str, Any]:
    """Measure every case that fits; a case that runs out of memory, or fails, is written down."""
    cases: dict[str, Any] = dict(output.known.get("cases", {}))
    kinds: list[tuple[str, Callable[..., dict[str, Any]], str]] = [
        *(("method", method_case, name) for name in METHODS),
        *(("recipe", recipe_case, name) for name in TRAINERS),
    ]
    wanted = [(k, m, n, p) for p in ("bfloat16", "float32") for k, m, n in kinds]
    longest = 0.0
    for kind, measure, name, precision in wanted:
        case = f"{kind} {name} {precision}"
        before = cases.get(case, {"error": "new"})
        if "error" not in before or before.get("final"):
            continue
        if budget.left_s < max(longest, 1.0):
            cases[case] = {"error": "not run: no time was left"}
            continue
        began = time.monotonic()
        cases[case] = guarded(measure, name, precision, device, output.work)
        longest = max(longest, time.monotonic() - began)
        output.save({"cases": cases, "table": rows(cases)})
        say(f"  {case}: {cases[case].get('error') or 'measured'}, {time.monotonic() - began:.0f} s")
    failed = [n for n, c in cases.items() if str(c.get("error", "")).startswith("failed")]
    found = {"cases": cases, "table": rows(cases)}
    if failed:
        output.save(found)
        raise RuntimeError(f"{len(failed)} cases failed: {', '.join(failed)}")
    unfinished = any(str(c.get("error", "")).startswith("not run") for c in cases.values())
    return {**found, "unfinished": unfinished}


def guarded(
    measure: Callable[..., dict[str, Any]], name: str, precision: str, device: Device, work: Path
) -> dict[str, Any]:
    """What a case found, or why it found nothing."""
    folder = work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        return measure(name, precision, device, work, folder)
    except torch.OutOfMemoryError as error:
        return {"error": f"out of memory: {str(error).splitlines()[0][:200]}", "final": True}
    except Interrupted:
        raise
    except Exception as error:
        return {"error": f"failed: {type(error).__name__}: {str(error)[:400]}"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if device.kind == "cuda":
            torch.cuda.empty_cache()


def recipe_case(
    name: str, precision: str, device: Device, work: Path, folder: Path
) -> dict[str, Any]:
    """The first steps of a family's recipe; CartoonGAN's behind its warm-up."""
    how = TRAINERS[name]
    known = recipes(["train"])
    [file, *_] = [f for n, f in sorted(known.items()) if n.startswith(f"{name}-") and "gpu" in n]
    sets = [f'device="{device.kind}"', f'precision="{precision}"', "data.workers=4"]
    sets += ["warm_up=0"] if name == "cartoongan" else []
    if device.tiny:
        sets += [*TINY_TRAIN, *TINY_SETS[name]]
        sets += {"gaugan": ['features="tiny"', "width=0.01"],
                 "cartoongan": ['content.features="tiny"']}.get(name, [])  # fmt: skip
    config = read_config(how.config, file, sets)
    options = family_of(getattr(config, "family", name)).resolve(config.options)
    images, other = pictures(
        work / "pictures", how.needs, size=config.data.load_size or config.data.size,
        labels=int(options.get("labels", 4)), edges=bool(options.get("edges")),
    )  # fmt: skip
    weights = None if device.tiny else random_vgg16(work)
    run = TimedRun(folder, device, config.seed)
    how.stage(run, images, other, config, weights=weights)
    return {
        "config": file.name,
        "batch": config.batch,
        "size": config.data.size,
        "stages": run.found,
    }


def method_case(
    name: str, precision: str, device: Device, work: Path, folder: Path
) -> dict[str, Any]:
    """The first steps of each of a method's stages, on its teacher of `teacher_for`."""
    method, (teacher, file) = METHODS[name], teacher_for(name, device)
    sets = [f'device="{device.kind}"', f'precision="{precision}"', "data.workers=4"]
    sets += METHOD_SETS.get(name, [])
    if device.tiny:
        sets += [*TINY_METHOD, 'distance.features="tiny"', "target.macs=0.5"]
    config = read_config(method.settings, file, sets)
    images, _ = pictures(work / "pictures", "other", size=config.data.load_size or config.data.size)
    weights = None if device.tiny else random_vgg16(work)
    given = Given(teacher, images, None, weights)
    resolved = method.resolve(given, config)
    method.check(given, resolved)
    run = TimedRun(folder, device, config.seed)
    method.compress(given, resolved, run)
    return {
        "config": file.name if file else None, "batch": config.data.batch,
        "size": config.data.size, "stages": run.found,
    }  # fmt: skip


def teacher_for(method: str, device: Device) -> tuple[Model, Path | None]:
    """An untrained CartoonGAN of the papers' size, and the method's file of settings for it, where
    there is one; the class's defaults are the paper's."""
    file = recipes([method]).get("cartoongan-hayao-gpu")
    torch.manual_seed(0)
    teacher = full_model("cartoongan", **({"blocks": 1} if device.tiny else {}))
    if device.tiny:
        small = dict.fromkeys(teacher.widths, 8)
        teacher = Model(teacher.build(small), teacher.family, teacher.options)
    return teacher, file


def rows(cases: Mapping[str, Any]) -> list[list[object]]:
    """The table of all cases."""
    out: list[list[object]] = [list(HEADS)]
    for name, case in cases.items():
        kind, which, precision = name.split(" ")
        start = [f"{kind} {which}", precision]
        if "error" in case:
            out.append([*start, case["error"], *[None] * (len(HEADS) - 3)])
        for stage, n in case.get("stages", {}).items():
            numbers = [n[k] for k in ("median_ms", "mean_ms", "steps", "peak_mib", "syncs")]
            out.append([*start, stage, case["batch"], case["size"], *numbers])
    return out
