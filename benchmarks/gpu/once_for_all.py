"""GAN Compression of the CartoonGAN Hayao generator at 256 px in the time left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.gpu.command import Budget, Device, Output
from benchmarks.gpu.hayao import facts_of, pressed, strip
from ganpress import read_config
from ganpress.methods.once_for_all import OnceForAllConfig
from ganpress.run.files import read_json

FINISH_S = 100.0
"""Seconds for what comes after training: the search, evaluation, latency, ONNX, report."""
SETS = [
    "target.macs=0.05", "data.size=256", "data.load_size=286", "data.batch=8", "data.workers=8",
    'distance.features="squeezenet"', "distance.unit=0.2", "distance.pixel=1.0",
    "supernet.steps=100000", "search.images=32", "search.population=16", "search.generations=10",
]  # fmt: skip
"""VGG-16 is not there without a network; the search is as long as the rest of the time."""
TINY = [
    'distance.features="tiny"', "target.macs=0.5", "min_channels=1", "channel_multiple=1",
    "data.size=32", "data.load_size=40", "data.batch=2", "data.workers=0",
    "discriminator.width=4", "discriminator.layers=2", "supernet.steps=6", "search.images=4",
    "search.population=4", "search.generations=2",
]  # fmt: skip


def once_for_all_hayao(output: Output, device: Device, budget: Budget) -> Mapping[str, Any]:
    """Train, search, evaluate against the teacher, and show the first photos."""
    plan, run = pressed(
        output, device, budget, "once-for-all", settings, finish_s=FINISH_S, stages=1
    )
    found = facts_of(run)
    trials = read_json(run / "search" / "trials.json")
    front = [row for row in trials["trials"] if row["front"]]
    front.sort(key=lambda row: row["cost"]["macs"])
    table = [*found["table"], *([f"front: {row['name']}", row["cost"]["macs"], row["quality"], None]
                                for row in front)]  # fmt: skip
    searched = {"best": trials["best"], "front": front, "width_sets": len(trials["trials"])}
    picture = output.picture(strip(run / "samples"))
    return {"plan": plan, **found, "search": searched, "table": table, "picture": picture}


def settings(device: Device, minutes: float) -> OnceForAllConfig:
    """The defaults, which are the paper's fast pipeline, with `SETS`."""
    sets = [f'device="{device.kind}"', *SETS, f"supernet.minutes={minutes}"]
    sets += ['precision="bfloat16"', "channels_last=true"] if device.kind == "cuda" else []
    return read_config(OnceForAllConfig, None, [*sets, *(TINY if device.tiny else [])])
