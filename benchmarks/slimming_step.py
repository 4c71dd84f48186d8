"""What one slimming step costs beside the sum of its parts, in one run.

Command:  make bench   (or .venv/bin/python -m benchmarks.slimming_step [--threads 2])
Time:     about 4 minutes on 2 cores.
Result:   benchmarks/results/slimming-step.json; the last lines name the ratio and the widest part.

The full ResNet-9 at 128 px, batch 4, VGG-16 as the perceptual network (random weights: time does
not depend on them), the paper's discriminator. The step is GAN Slimming's `joint` itself, with
its optimisers, proximal step and log; parts and steps take turns, so that noise hits both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from ganpress import Run, SlimConfig, full_model
from ganpress.data import Batch
from ganpress.losses.distance import Distance
from ganpress.losses.features import Features
from ganpress.losses.networks import vgg16_layers
from ganpress.methods.gan_slimming.extract import scaled_copy
from ganpress.methods.gan_slimming.joint import Pruning, joint
from ganpress.run.settings import checked
from ganpress.training.discriminator import DiscriminatorWithLoss
from ganpress.training.distil import Budget, Distillation, Networks
from ganpress.training.teacher import CachedTeacher

BATCH, SIZE = 4, 128
TAPS = {"relu1_2": 3, "relu2_2": 8, "relu3_3": 15, "relu4_3": 22}


def main() -> None:
    """Measure, write, tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=8)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    config = checked(SlimConfig, {"distance": {"kind": "mse"}})
    model = full_model("cyclegan")
    student = scaled_copy(model).net.train()
    teacher, distance = CachedTeacher(model.net), random_vgg()
    networks = Networks(student, teacher, DiscriminatorWithLoss())
    x = torch.rand(BATCH, 3, SIZE, SIZE) * 2 - 1
    target = teacher((x,), torch.full((BATCH,), -1)).pictures
    parts = the_parts(x, target, networks, distance)
    times: dict[str, list[float]] = {name: [] for name in ["step", *parts]}

    def batches(_: int) -> Iterator[Batch]:
        for turn in range(a.repeats + 2):
            for name, part in parts.items():
                began = time.perf_counter()
                part()
                if turn > 0:
                    times[name].append(time.perf_counter() - began)
            began = time.perf_counter()
            yield Batch(x, torch.full((BATCH,), -1), None)
            if turn > 0:
                times["step"].append(time.perf_counter() - began)

    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), quiet=True, save_every_s=1e9, log_every=1000)
        pruning = Pruning(dict.fromkeys(model.widths, config.min_channels))
        joint(
            run.stage("step"), networks, batches, Distillation(distance, config.beta), config,
            pruning, budget=Budget(a.repeats + 1),
        )  # fmt: skip
    report(times, a.threads)


def random_vgg() -> Distance:
    """The authors' distance on VGG-16 with random weights."""
    distance = Distance(checked(SlimConfig, {"distance": {"kind": "mse"}}).distance)
    distance.settings = SlimConfig().distance

    class Preprocessing:
        order, scale, shift = (0, 1, 2), (0.5,) * 3, (0.5,) * 3

    distance.features = Features(vgg16_layers(), "vgg16-random", TAPS, Preprocessing(), "")  # type: ignore[arg-type]
    return distance


def the_parts(
    x: Tensor,
    target: Tensor,
    networks: Networks,
    distance: Distance,
) -> dict[str, Callable[[], None]]:
    """Each thing a step cannot do without, alone."""
    batch = Batch(x, torch.full((BATCH,), -1), None)
    student, discriminator = networks.student, networks.discriminator

    def student_pass() -> None:
        student(x).sum().backward()
        student.zero_grad(set_to_none=True)

    def perceptual() -> None:
        distance(target.clone().requires_grad_(True), target).backward()

    def both_losses() -> None:
        discriminator.requires_grad_(False)
        discriminator.g_loss(target.clone().requires_grad_(True)).backward()
        discriminator.requires_grad_(True)
        discriminator.d_loss(target, target).backward()
        discriminator.zero_grad(set_to_none=True)

    return {
        "teacher forward": lambda: (networks.teacher((x,), batch.ids), None)[1],
        "student forward and backward": student_pass,
        "perceptual network": perceptual,
        "discriminator": both_losses,
    }


def report(times: dict[str, list[float]], threads: int) -> None:
    """Print and keep medians; the step over the sum of its parts."""
    median = {name: statistics.median(values) for name, values in times.items()}
    total = sum(v for name, v in median.items() if name != "step")
    widest = max((n for n in median if n != "step"), key=lambda n: median[n])
    out = {
        "milliseconds": {n: round(1e3 * v, 1) for n, v in median.items()},
        "sum_of_parts_ms": round(1e3 * total, 1),
        "ratio": round(median["step"] / total, 3),
        "widest_part": widest,
        "share_of_widest": round(median[widest] / median["step"], 3),
        "network": "cyclegan ResNet-9 ngf 64", "size": SIZE, "batch": BATCH, "threads": threads,
        "device": "cpu", "torch": torch.__version__, "repeats": len(times["step"]),
    }  # fmt: skip
    path = Path(__file__).parent / "results" / "slimming-step.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(out, indent=1) + "\n")
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
