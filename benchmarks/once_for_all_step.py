"""What a once-for-all step costs beside its parts, its memory, and how fast width sets are scored.

Command:  OMP_NUM_THREADS=1 taskset -c 1 python -m benchmarks.once_for_all_step [--turns 5]
Time:     about 15 minutes on one core.
Result:   benchmarks/results/once-for-all-step.json and .md: medians in milliseconds, ratios, MiB.

Both sides are the method's own loop, `distil_at_widths`, with the teacher's forward pass, the
discriminator, the taps and Adam. On one side it trains the once-for-all network at a width set, on
the other the plain network that is cut out of it at that set. They take turns, a few steps each;
the first step of a turn, which allocates Adam's state, is not counted. The ratio of the two is what
slicing, and the gradients and the optimiser of the full width, cost. Times are the process's own:
other work on the machine disturbs them less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from ganpress import full_model, load, save
from ganpress.data import Batch
from ganpress.losses.distance import Distance
from ganpress.measures.timing.device import processor
from ganpress.methods.base import Given
from ganpress.methods.once_for_all import OnceForAllConfig
from ganpress.methods.once_for_all.beginning import cut_to, first_student
from ganpress.methods.once_for_all.method import supernet_rates
from ganpress.methods.once_for_all.requests import resolve, space_of
from ganpress.methods.once_for_all.scoring import Held, Scorer
from ganpress.methods.once_for_all.search.space import Space
from ganpress.methods.once_for_all.supernet import Objective, distil_at_widths
from ganpress.methods.once_for_all.tap_base import tap_widths
from ganpress.methods.once_for_all.taps import tap_loss
from ganpress.methods.once_for_all.terms import picture_terms
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import channels_of, inputs_of, reads
from ganpress.run.run import Run
from ganpress.run.settings import checked
from ganpress.training.discriminator import starting_discriminator
from ganpress.training.distil import Budget, Networks
from ganpress.training.teacher import CachedTeacher
from ganpress.types import Keep, Widths

RESULTS = Path(__file__).parent / "results"
LIMIT, STEPS = 1.10, 4
"""The aimed-at ratio; steps of a turn, the first of which is not counted."""
QUARTER = 4  # the SPADE generator has a fourth of the paper's channels


@dataclass(frozen=True)
class Case:
    """A teacher, the size of its pictures, and words for both."""

    name: str
    family: str
    size: int
    options: dict[str, Any]
    narrow: int = 1


SPADE = {"labels": 8, "edges": False, "upsampling": "normal"}
CASES = (
    Case("ResNet-9, separable, 64 px", "cyclegan", 64, {}),
    Case("ResNet-9, separable, 128 px", "cyclegan", 128, {}),
    Case("SPADE, a fourth of the channels, 64 px", "gaugan", 64, SPADE, QUARTER),
    Case("SPADE, a fourth of the channels, 128 px", "gaugan", 128, SPADE, QUARTER),
)


class Bench:
    """A case's networks and settings; `steps` trains any of its students for a few steps."""

    def __init__(self, case: Case, seed: int) -> None:
        torch.manual_seed(seed)
        self.case, self.seed = case, seed
        full = full_model(case.family, **case.options)
        widths = {group: max(8, width // case.narrow) for group, width in full.widths.items()}
        self.teacher = Model(full.build(widths), full.family, full.options)
        self.teacher.net.eval()
        self.batch = batch_for(case, seed)
        given = Given(self.teacher, None, None, None)
        values = {
            "precision": "float32", "data": {"size": case.size, "batch": 1},
            "distil": {"perceptual": 0.0}, "distance": {"kind": "mse"}, "seed": seed,
        }  # fmt: skip
        self.config = resolve(given, checked(OnceForAllConfig, values))
        self.supernet = first_student(self.teacher, self.config)
        self.space: Space = space_of(self.teacher, self.config)
        self.discriminator = starting_discriminator(
            self.config.discriminator, None, reads(self.teacher), channels_of(self.teacher)
        )

    def steps(
        self,
        student: Model,
        sets: Callable[[float], Sequence[Keep]],
        count: int,
        folder: Path,
        teacher: CachedTeacher | None = None,
    ) -> list[float]:
        """Seconds of each step but the first and the last.

        Args: teacher: with a cache of its own; None: without one.
        """
        c, d = self.config, self.config.distil
        names = d.taps or ()
        taps = tap_loss(
            d.tap_loss or "mse", names, tap_widths(student.net, names, c.data.size),
            tap_widths(self.teacher.net, names, c.data.size), self.discriminator,
        )  # fmt: skip
        objective = Objective(picture_terms(c, self.discriminator, None), taps, is_paired=False)
        seen = teacher or CachedTeacher(self.teacher.net)
        networks = Networks(student.net, seen, self.discriminator)
        began: list[float] = []

        def batches(first: int) -> Iterator[Batch]:
            for _ in range(count):
                began.append(time.process_time())
                yield self.batch

        run = Run(folder, seed=self.seed, quiet=True, save_every_s=1e9, log_every=1000)
        distil_at_widths(
            run.stage("step"), networks, batches, objective, c, sets,
            rates=supernet_rates(c), budget=Budget(count),
        )  # fmt: skip
        return [after - before for before, after in pairwise(began[1:])]


def batch_for(case: Case, seed: int) -> Batch:
    """One drawn picture, with a label map for a generator that reads one."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(1, 3, case.size, case.size, generator=draw) * 2 - 1
    blocks = torch.randint(0, 8, (1, 1, 8, 8), generator=draw).float()
    maps = torch.nn.functional.interpolate(blocks, size=(case.size, case.size))[:, 0].long()
    labels = maps if case.family == "gaugan" else None
    return Batch(x, torch.full((1,), -1), None, labels=labels)


# --- a step ---------------------------------------------------------------------------------------


def step_cost(case: Case, seed: int, turns: int, sets: int) -> dict[str, Any]:
    """Medians of a step of both sides at the same sampled width sets, and their ratio."""
    bench = Bench(case, seed)
    rng = random.Random(seed)
    chosen = [bench.space.sample(rng) for _ in range(sets)]
    names = ("once-for-all", "small net")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    ratios = []
    for choice in chosen:
        widths = bench.space.widths(choice)
        own = {name: list[float]() for name in names}
        small = cut_to(bench.supernet, widths)
        for _ in range(turns):
            for name, student, keep in zip(
                names, (bench.supernet, small), (widths, {}), strict=True
            ):
                with tempfile.TemporaryDirectory() as folder:
                    own[name] += bench.steps(student, always(keep), STEPS, Path(folder))
        ratios.append(statistics.median(own[names[0]]) / statistics.median(own[names[1]]))
        for name in names:
            seconds[name] += own[name]
    forward = [timed(lambda: bench.teacher.net(*inputs_of(bench.teacher, bench.batch)))
               for _ in range(8)]  # fmt: skip
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "widths": dict(bench.supernet.widths),
        "width_sets": [bench.space.name(choice) for choice in chosen],
        "steps_of_each": len(seconds[names[0]]),
        "once_for_all_ms": round(1e3 * median[names[0]], 1),
        "small_net_and_teacher_ms": round(1e3 * median[names[1]], 1),
        "load": os.getloadavg()[0],
        "teacher_forward_ms": round(1e3 * statistics.median(forward), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_of_each_set": [round(r, 3) for r in ratios],
    }


def always(keep: Keep) -> Callable[[float], Sequence[Keep]]:
    """Every step trains this width set."""
    return lambda _: [keep]


@torch.no_grad()
def timed(what: Callable[[], object]) -> float:
    """Seconds of a call, without gradients."""
    began = time.process_time()
    what()
    return time.process_time() - began


# --- memory ---------------------------------------------------------------------------------------


def peak_memory(seed: int, counts: Sequence[int]) -> dict[str, float]:
    """Peak of the resident memory in MiB after so many width sets, each in a process of its own."""
    found = {}
    for count in counts:
        line = [sys.executable, "-m", "benchmarks.once_for_all_step", "--memory", str(count)]
        done = subprocess.run(
            [*line, "--seed", str(seed)], check=True, capture_output=True, text=True
        )
        found[str(count)] = float(done.stdout.split()[-1])
    return found


def train_at(count: int, seed: int) -> float:
    """Train at ``count`` sampled width sets; the peak resident memory, MiB."""
    bench, rng = Bench(CASES[0], seed), random.Random(seed)

    def sets(_: float) -> list[Keep]:
        return [bench.space.widths(bench.space.sample(rng))]

    with tempfile.TemporaryDirectory() as folder:
        bench.steps(bench.supernet, sets, count, Path(folder))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# --- the search -----------------------------------------------------------------------------------


def evaluations(case: Case, seed: int, count: int, images: int) -> dict[str, Any]:
    """Width sets scored in an hour in place, and by building, saving and loading each one."""
    bench, rng = Bench(case, seed), random.Random(seed)
    inputs = inputs_of(bench.teacher, bench.batch)
    with torch.no_grad():
        held = [Held(inputs, bench.teacher.net(*inputs), None) for _ in range(images)]
    distance = Distance(bench.config.distance)
    scorer = Scorer(bench.supernet.net, held, distance)
    seconds: dict[str, list[float]] = {"in place": [], "built": [], "building alone": []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(count + 1):
            widths = bench.space.widths(bench.space.sample(rng))
            path = Path(folder) / "sub.safetensors"

            def build(widths: Widths = widths, path: Path = path) -> Model:
                return load(save(cut_to(bench.supernet, widths), path))

            def in_place(widths: Widths = widths) -> object:
                return scorer(widths)

            def built(build: Callable[[], Model] = build) -> object:
                return Scorer(build().net, held, distance)({})

            took = {
                "in place": timed(in_place),
                "built": timed(built),
                "building alone": timed(build),
            }
            for name in took if turn else ():
                seconds[name].append(took[name])
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "case": case.name, "images": images, "width_sets": count,
        "in_place_per_hour": round(3600 / median["in place"]),
        "built_per_hour": round(3600 / median["built"]),
        "building_ms": round(1e3 * median["building alone"], 1),
        "gain": round(median["built"] / median["in place"], 3),
    }  # fmt: skip


# --- together -------------------------------------------------------------------------------------


def main() -> None:
    """Measure, write, tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--sets", type=int, default=4, help="width sets of each case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", type=int, help="print the peak memory after so many width sets")
    parser.add_argument("--only", nargs="*", help="steps of cases with these words; the rest stays")
    a = parser.parse_args()
    torch.set_num_threads(1)
    if a.memory:
        print(train_at(a.memory, a.seed))
        return
    out: dict[str, Any] = {
        "cpu": processor(), "threads": 1,
        "seed": a.seed, "torch": torch.__version__, "python": platform.python_version(),
        "batch": 1, "limit": LIMIT, "load_before": os.getloadavg()[0], "steps": {},
    }  # fmt: skip
    if a.only:
        out = json.loads((RESULTS / "once-for-all-step.json").read_text())
    for case in CASES:
        if all(word in case.name for word in a.only or ()):
            out["steps"][case.name] = step_cost(case, a.seed, a.turns, a.sets)
            print(case.name, json.dumps(out["steps"][case.name]), flush=True)
    if a.only:
        write(out)
        return
    out["peak_mib_after_width_sets"] = peak_memory(a.seed, (10, 100))
    print(out["peak_mib_after_width_sets"], flush=True)
    out["evaluations"] = [evaluations(case, a.seed, 12, 4) for case in (CASES[0], CASES[2])]
    out["load_after"] = os.getloadavg()[0]
    write(out)


def write(out: dict[str, Any]) -> None:
    """The results, and their page; say it."""
    (RESULTS / "once-for-all-step.json").write_text(json.dumps(out, indent=1) + "\n")
    (RESULTS / "once-for-all-step.md").write_text(page(out))
    print(page(out))


def page(out: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["# A once-for-all step, its memory, and the search", ""]
    lines += ["| case | once-for-all, ms | small net and teacher, ms | ratio | of each width set |",
              "|---|---:|---:|---:|---|"]  # fmt: skip
    for name, found in out["steps"].items():
        each = ", ".join(f"{r:.2f}" for r in found["ratio_of_each_set"])
        lines.append(
            f"| {name} | {found['once_for_all_ms']} | {found['small_net_and_teacher_ms']} "
            f"| {found['ratio']:.3f} | {each} |"
        )
    peak = ", ".join(f"{n}: {v:.0f} MiB" for n, v in out["peak_mib_after_width_sets"].items())
    lines += ["", f"Peak resident memory after so many width sets ({CASES[0].name}): {peak}.", ""]
    lines += ["| scored | width sets an hour, in place | built, saved, loaded | gain |",
              "|---|---:|---:|---:|"]  # fmt: skip
    lines += [
        f"| {e['case']}, {e['images']} pictures | {e['in_place_per_hour']:,} "
        f"| {e['built_per_hour']:,} | {e['gain']:.2f} |"
        for e in out["evaluations"]
    ]
    lines += [
        "",
        "Medians of the process's own time; both sides in one run, turn by turn; batch 1, one "
        f"thread of {out['cpu']}, seed {out['seed']}, torch {out['torch']}, "
        f"Python {out['python']}, "
        "load "
        f"{out['load_before']:.1f} before and {out['load_after']:.1f} after. "
        "`OMP_NUM_THREADS=1 taskset -c 1 python -m benchmarks.once_for_all_step`",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
