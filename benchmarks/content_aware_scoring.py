"""What the content-aware score costs beside forward and backward passes, and its memory.

Command:  OMP_NUM_THREADS=1 taskset -c 1 python -m benchmarks.content_aware_scoring
Time:     at 256 pixels about 25 minutes on one core for 40 samples, in proportion for more.
Result:   benchmarks/results/content-aware-scoring.json and .md: seconds a sample, ratios, MiB.

One side is the method's own `content_aware` with its noise and its seeded samples; the other is
what it cannot do without, a forward and a backward pass of the same batches (`image.sum()`, the
gradient of every parameter). They take turns, batch by batch, on the full StyleGAN2; times are the
process's own, so that other work on the machine disturbs them less. Peak memory is measured in a
process of its own for each number of samples.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ganpress import full_model
from ganpress.measures.timing.device import processor
from ganpress.methods.content_aware.score_settings import ScoreSettings
from ganpress.methods.content_aware.scores.drawn import Drawn, drawn_from
from ganpress.methods.content_aware.scores.table import SCORES, score_channels
from ganpress.models.checkpoint import Model
from ganpress.models.source import Source
from ganpress.types import Inputs

RESULTS = Path(__file__).parent / "results"
LIMIT = 1.3
"""The aimed-at ratio."""


def teacher(size: int, most: int, seed: int) -> Model:
    """The full StyleGAN2 of this size, with at most ``most`` channels a layer."""
    torch.manual_seed(seed)
    model = full_model("stylegan2", size=size, most=most)
    model.net.eval()
    return model


def plain_pass(model: Model, inputs: Inputs) -> None:
    """A forward and a backward pass of a batch."""
    model.net(*inputs).sum().backward()
    model.net.zero_grad(set_to_none=True)


def timed(what: Callable[[], object]) -> float:
    """Seconds of a call, the process's own."""
    began = time.process_time()
    what()
    return time.process_time() - began


def scoring_cost(model: Model, samples: int, batch: int, seed: int) -> dict[str, Any]:
    """Seconds a sample of both sides, batch by batch in turns, and their ratio."""
    settings = ScoreSettings(batch=batch)
    drawn = drawn_from(Source(model, None), samples=samples, batch=batch, seed=seed)
    score: list[float] = []
    plain: list[float] = []
    for k, sample in enumerate(drawn.batches()):
        inputs = sample.inputs
        one = Drawn(lambda sample=sample: iter([sample]), seed=seed)  # type: ignore[misc]
        a = timed(lambda one=one: score_channels(model, one, settings))  # type: ignore[misc]
        b = timed(lambda inputs=inputs: plain_pass(model, inputs))  # type: ignore[misc]
        if k:  # the first one allocates
            score.append(a / len(inputs[0]))
            plain.append(b / len(inputs[0]))
    drawing = timed(lambda: list(drawn.batches())) / samples
    return {
        "samples": samples,
        "batch": batch,
        "score_s_a_sample": round(statistics.median(score), 4),
        "drawing_s_a_sample": round(drawing, 5),
        "forward_and_backward_s_a_sample": round(statistics.median(plain), 4),
        "ratio": round((statistics.median(score) + drawing) / statistics.median(plain), 3),
    }


def others(model: Model, batch: int, seed: int) -> dict[str, float]:
    """Seconds a sample of every other score, over one batch."""
    drawn = drawn_from(Source(model, None), samples=batch, batch=batch, seed=seed)
    settings = {name: ScoreSettings(name=name, batch=batch) for name in SCORES}
    return {
        name: round(timed(lambda c=c: score_channels(model, drawn, c)) / batch, 4)  # type: ignore[misc]
        for name, c in settings.items()
    }


def peak_memory(counts: Sequence[int], a: argparse.Namespace) -> dict[str, float]:
    """Peak of the resident memory in MiB after so many samples, each in a process of its own."""
    found = {}
    for count in counts:
        line = [sys.executable, "-m", "benchmarks.content_aware_scoring", "--memory", str(count)]
        line += ["--size", str(a.size), "--most", str(a.most), "--batch", str(a.memory_batch)]
        done = subprocess.run(line, check=True, capture_output=True, text=True)
        found[str(count)] = float(done.stdout.split()[-1])
    return found


def peak_after(model: Model, samples: int, batch: int) -> float:
    """Score so many samples; the peak resident memory, MiB."""
    drawn = drawn_from(Source(model, None), samples=samples, batch=batch)
    score_channels(model, drawn, ScoreSettings(batch=batch))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure, write, tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=256, help="pixels")
    parser.add_argument("--most", type=int, default=512, help="channels of the coarse layers")
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--memory-batch", type=int, default=2, help="where memory is measured")
    parser.add_argument("--counts", default="4,16", help="samples where memory is measured")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scores", action="store_true", help="time every other score, too")
    parser.add_argument("--memory", type=int, help="print the peak memory after so many samples")
    parser.add_argument("--out", type=Path, default=RESULTS)
    a = parser.parse_args()
    torch.set_num_threads(1)
    model = teacher(a.size, a.most, a.seed)
    if a.memory:
        print(peak_after(model, a.memory, a.batch))
        return
    out: dict[str, Any] = {
        "cpu": processor(), "threads": 1, "seed": a.seed, "torch": torch.__version__,
        "python": platform.python_version(), "size": a.size, "most": a.most, "limit": LIMIT,
        "given": "".join(f" {word}" for word in sys.argv[1:]), "load_before": os.getloadavg()[0],
        "scoring": scoring_cost(model, a.samples, a.batch, a.seed),
    }  # fmt: skip
    out["seconds_a_sample"] = others(model, a.batch, a.seed) if a.scores else {}
    out["memory_batch"] = a.memory_batch
    out["peak_mib_after_samples"] = peak_memory([int(n) for n in a.counts.split(",")], a)
    out["load_after"] = os.getloadavg()[0]
    a.out.mkdir(parents=True, exist_ok=True)
    (a.out / "content-aware-scoring.json").write_text(json.dumps(out, indent=1) + "\n")
    (a.out / "content-aware-scoring.md").write_text(page(out))
    print(page(out))


def page(out: dict[str, Any]) -> str:
    """The results as Markdown."""
    s = out["scoring"]
    peaks = ", ".join(f"{n}: {v:.0f} MiB" for n, v in out["peak_mib_after_samples"].items())
    lines = [
        "# The content-aware score beside forward and backward passes", "",
        "| network | score, s a sample | forward and backward, s a sample | ratio (at most "
        f"{out['limit']}) |", "|---|---:|---:|---:|",
        f"| StyleGAN2, {out['size']} px, at most {out['most']} channels | "
        f"{s['score_s_a_sample'] + s['drawing_s_a_sample']:.3f} | "
        f"{s['forward_and_backward_s_a_sample']:.3f} | {s['ratio']:.3f} |", "",
        f"Peak resident memory after so many samples in batches of {out['memory_batch']}: {peaks}.",
        "",
    ]  # fmt: skip
    if out["seconds_a_sample"]:
        lines += ["| score | s a sample |", "|---|---:|"]
        lines += [
            f"| {name} | {seconds:.3f} |" for name, seconds in out["seconds_a_sample"].items()
        ]
        lines += [""]
    lines.append(
        f"{s['samples']} samples in batches of {s['batch']}, medians over batches of the process's "
        f"own time, both sides in one run, turn by turn; one thread of {out['cpu']}, seed "
        f"{out['seed']}, torch {out['torch']}, Python {out['python']}, load "
        f"{out['load_before']:.1f} before and {out['load_after']:.1f} after. "
        f"`OMP_NUM_THREADS=1 taskset -c 1 python -m benchmarks.content_aware_scoring{out['given']}`"
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
