"""What a GS-8 training step costs beside a GS-32 one: same network, same run, turn by turn.

Command:  .venv/bin/python -m benchmarks.quantised_step [--threads 1] [--repeats 12]
Time:     about 3 minutes on 1 core.
Result:   benchmarks/results/quantised-step.json: median and best of the milliseconds of a step, and
          the ratio to the float step, for each network and kind of quantiser.

A step is forward, backward and Adam on the student alone: the discriminator, the perceptual network
and the teacher, which cost the same in both variants and would only dilute the ratio, are left out.
"naive" is the quantiser as first written: a mask by comparison, and six passes over a weight.
The load of the machine (1-minute average) is written beside the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganpress import full_model, load
from ganpress.models.families import family
from ganpress.quantisation.quantise import FakeQuantiser, learn_ranges, quantise, weight_scale

ROOT = Path(__file__).parents[1]
BATCH = 4
LIMIT = 1.25


def main() -> None:
    """Measure, write, tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=12)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    out: dict[str, Any] = {
        "threads": a.threads, "repeats": a.repeats, "batch": BATCH, "device": "cpu",
        "torch": torch.__version__, "limit": LIMIT, "load_before": os.getloadavg()[0],
    }  # fmt: skip
    networks = {
        "ResNet-9, the demo's widths, 64 px": (demo, 64),
        "ResNet-9, the demo's widths, 96 px": (demo, 96),
        "CartoonGAN, the full network, 64 px": (cartoongan, 64),
    }
    for name, (build, size) in networks.items():
        out[name] = measured(build, size, a.repeats)
        print(name, json.dumps(out[name], indent=1), flush=True)
    out["load_after"] = os.getloadavg()[0]
    path = ROOT / "benchmarks" / "results" / "quantised-step.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(out, indent=1) + "\n")


def demo() -> nn.Module:
    """Nine residual blocks at the widths of the demo's teacher."""
    widths = load(ROOT / "zoo" / "demo_teacher.safetensors").widths
    blocks = {f"block{i}": widths["block0"] for i in range(9)}
    return family("cyclegan").build({**widths, **blocks}, blocks=9, affine=True)


def cartoongan() -> nn.Module:
    """The full CartoonGAN generator."""
    return full_model("cartoongan").net


class Naive(FakeQuantiser):
    """The fake quantiser before it was fused."""

    def input(self, x: Tensor, *, signed: bool, learned: Tensor | None = None) -> Tensor:
        """q_a, by a comparison for the mask."""
        low, step = (-self.p, self.p / 127) if signed else (0.0, self.p / 255)
        out: Tensor = NaiveRound.apply(x, low, self.p, step)  # type: ignore[no-untyped-call]
        return out

    def weight(self, w: Tensor, *, out_dim: int) -> Tensor:
        """q_w, as the weight plus its rounding error."""
        with torch.no_grad():
            scale = weight_scale(w, bits=self.bits)
            error = torch.round(w / scale).mul_(scale).sub_(w)
        return w + error


class NaiveRound(torch.autograd.Function):
    """Clamp, compare, divide, round, multiply; backward by a product with the mask."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float, step: float) -> Tensor:
        """Keeps the mask."""
        clamped = x.clamp(low, high)
        ctx.save_for_backward(clamped == x)
        return clamped.div_(step).round_().mul_(step)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient where the mask is."""
        return grads[0] * ctx.saved_tensors[0], None, None, None


@dataclass
class Variant:
    """A network with its optimiser; `step` trains it once on the same photo and target."""

    net: nn.Module

    def __post_init__(self) -> None:
        self.net.train()
        self.optimiser = torch.optim.Adam(self.net.parameters(), 1e-5, betas=(0.5, 0.999))

    def step(self, x: Tensor, target: Tensor) -> float:
        """Seconds of forward, backward and Adam."""
        began = time.perf_counter()
        loss = (self.net(x) - target).abs().mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return time.perf_counter() - began


def measured(build: Any, size: int, repeats: int) -> dict[str, Any]:
    """Milliseconds and ratios of each kind of student, measured turn by turn."""
    nets = {
        "GS-32": build(),
        "GS-8": quantise(build(), FakeQuantiser()),
        "GS-8 per channel": quantise(build(), FakeQuantiser(per_channel=True)),
        "GS-8 learned ranges": learn_ranges(quantise(build(), FakeQuantiser())),
        "GS-8 naive": quantise(build(), Naive()),
    }
    variants = {name: Variant(net) for name, net in nets.items()}
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(BATCH, 3, size, size, generator=draw) * 2 - 1
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(repeats + 1):
        for name, variant in variants.items():
            took = variant.step(x, x)
            if turn > 0:
                seconds[name].append(took)
    return {
        name: {
            "median_ms": round(1e3 * statistics.median(took), 1),
            "best_ms": round(1e3 * min(took), 1),
            "ratio_of_medians": round(
                statistics.median(took) / statistics.median(seconds["GS-32"]), 3
            ),
            "ratio_of_bests": round(min(took) / min(seconds["GS-32"]), 3),
        }
        for name, took in seconds.items()
    }


if __name__ == "__main__":
    main()
