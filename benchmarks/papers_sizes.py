"""GauGAN and MUNIT at the papers' sizes: ten steps of once-for-all training on a CPU.

Command:  .venv/bin/python -m benchmarks.papers_sizes
Time:     about 4 minutes of one core; `--only munit` does one.
Result:   benchmarks/results/papers-sizes.json and .md: seconds a step and peak memory.

The networks have the papers' widths (93.0 M and 15.0 M parameters) and random weights, pictures are
drawn at the papers' sizes (256 x 512, 256 x 256), one in a batch; VGG-16 has random weights. The
settings are those of the recipes but for batch and steps.
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
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.made import pictures, random_vgg16
from ganpress import __version__
from ganpress.methods.base import Given
from ganpress.methods.once_for_all import ONCE_FOR_ALL
from ganpress.models.checkpoint import Model, full_model
from ganpress.models.discriminator import Discriminator
from ganpress.nn.discriminators import build_discriminator
from ganpress.run.logs import read_log
from ganpress.run.run import Run
from ganpress.run.settings import read_config
from ganpress.types.sizes import words

RESULTS = Path(__file__).parent / "results"
STEPS = 10
CASES: dict[str, dict[str, Any]] = {
    "gaugan": {
        "recipe": "gan-compression-fast-gaugan-cityscapes",
        "options": {"labels": 35, "edges": True, "upsampling": "more"},
        "discriminator": ("spade", {"inputs": 39, "width": 64, "layers": 4}),
        "needs": "labels",
        "side": 512,
    },
    "munit": {
        "recipe": "gan-compression-fast-munit-edges2shoes",
        "options": {},
        "discriminator": ("munit", {"width": 64, "layers": 4, "scales": 3}),
        "needs": "other",
        "side": 256,
    },
}


def main() -> None:
    """Each case in a process of its own, whose peak memory is its own."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=[*CASES])
    parser.add_argument("--here", choices=[*CASES], help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.here:
        print(json.dumps(measured(a.here)))
        return
    file = RESULTS / "papers-sizes.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    for name in [a.only] if a.only else CASES:
        line = [sys.executable, "-m", "benchmarks.papers_sizes", "--here", name]
        done = subprocess.run(line, check=True, capture_output=True, text=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
        file.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        (RESULTS / "papers-sizes.md").write_text(table(found))


def teacher_of(case: dict[str, Any], name: str) -> Model:
    """The papers' network with random weights, and its discriminator."""
    torch.manual_seed(0)
    model = full_model(name, **case["options"])
    kind, options = case["discriminator"]
    net = build_discriminator(kind, **options)
    objective = "hinge" if kind == "spade" else "least-squares"
    model.discriminator = Discriminator(net, kind, options, objective=objective)
    return model


def measured(name: str) -> dict[str, Any]:
    """Seconds a step and the process's peak memory."""
    case, threads = CASES[name], int(os.environ.get("OMP_NUM_THREADS", "1"))
    torch.set_num_threads(threads)
    sets = ["data.batch=1", "data.workers=0", f"supernet.steps={STEPS}", "search.images=2"]
    sets += ["search.kind=random", "search.evaluations=1", "search.calibrate=2", "device=cpu"]
    sets += ["precision=float32", "channels_last=false", "finetune.steps=0", "predistil.steps=0"]
    method = ONCE_FOR_ALL
    config = read_config(method.settings, case["recipe"], sets)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        edges = bool(case["options"].get("edges"))
        labels = int(case["options"].get("labels", 4))
        images, reals = pictures(root, case["needs"], size=case["side"], labels=labels, edges=edges)
        weights = random_vgg16(root)
        given = Given(teacher_of(case, name), images, reals, weights)
        resolved = method.resolve(given, config)
        method.check(given, resolved)
        run = Run(root / "run", seed=0, quiet=True, log_every=1, save_every_s=1e9)
        method.compress(given, resolved, run)
        log = [line["elapsed_s"] for line in read_log(root / "run" / "supernet" / "log.jsonl")]
    steps = [b - a for a, b in pairwise(log)]
    return {
        "recipe": case["recipe"],
        "size": words(resolved.data.size),
        "batch": 1,
        "steps": STEPS,
        "seconds a step, median": round(statistics.median(steps), 2),
        "peak MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "threads": threads,
        "torch": torch.__version__,
        "ganpress": __version__,
        "machine": platform.platform(),
        "load": round(os.getloadavg()[0], 1),
    }


def table(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "| network | size | batch | steps | s a step | peak MiB | load |",
        "|---|---|" + "---:|" * 5,
    ]
    for name, row in found.items():
        cells = [name, row["size"], row["batch"], row["steps"], row["seconds a step, median"]]
        cells += [row["peak MiB"], row["load"]]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    row = next(iter(found.values()))
    said = (
        f"torch {row['torch']}, {row['threads']} thread(s). By `python -m benchmarks.papers_sizes`."
    )
    return "\n".join([*lines, "", said]) + "\n"


if __name__ == "__main__":
    main()
