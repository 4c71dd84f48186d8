"""What a training step gains where the teacher's pictures and feature maps are kept.

Command:  OMP_NUM_THREADS=1 taskset -c 1 python -m benchmarks.kept_maps
Time:     about 3 minutes on one core.
Result:   benchmarks/results/kept-maps.json and .md: medians in milliseconds, their ratio, the room.

A student of the narrowest widths of the default space takes steps of the method's own loop
(`distil_at_widths`, one thread, one picture, float32, the paper's taps), with a teacher that makes
its picture and maps in each step and with one that reads them back, turn by turn. Times are the
process's own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.once_for_all_step import SPADE, STEPS, Bench, Case, always
from ganpress.measures.cost import measure
from ganpress.measures.timing.device import processor
from ganpress.methods.once_for_all.beginning import cut_to
from ganpress.models.inputs import inputs_of
from ganpress.training.teacher import CachedTeacher

RESULTS = Path(__file__).parent / "results"
CASES = (
    Case("CartoonGAN, separable, 96 px", "cartoongan", 96, {}),
    Case("ResNet-9, separable, 128 px", "cyclegan", 128, {}),
    Case("SPADE, a fourth of the channels, 128 px", "gaugan", 128, SPADE, 4),
)


def main() -> None:
    """Measure, write, tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    a = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measured(case, a.turns) for case in CASES]
    facts = {"cpu": processor(), "torch": torch.__version__, "load": os.getloadavg()[0]}
    (RESULTS / "kept-maps.json").write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")
    (RESULTS / "kept-maps.md").write_text(page(facts, rows))
    print(page(facts, rows))


def measured(case: Case, turns: int) -> dict[str, Any]:
    """Medians of a step of both kinds, and what the maps of a thousand crops take."""
    bench = Bench(case, 0)
    bench.batch = replace(bench.batch, ids=torch.zeros(1, dtype=torch.long))
    student = cut_to(bench.supernet, bench.space.widths(bench.space.smallest))
    seconds: dict[str, list[float]] = {"anew": [], "kept": []}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        kept = CachedTeacher(bench.teacher.net, cache=root / "cache", crops=1, size=case.size)
        room = kept.room(inputs_of(bench.teacher, bench.batch), bench.config.distil.taps or ())
        teachers = {"anew": CachedTeacher(bench.teacher.net), "kept": kept}
        for turn in range(turns + 1):
            for name, teacher in teachers.items():
                at = root / f"{turn}-{name}"
                took = bench.steps(student, always({}), STEPS, at, teacher)
                seconds[name] += took if turn else []
    costs = [measure(m.net, case.size).macs for m in (bench.teacher, student)]
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "case": case.name,
        "macs": round(costs[0] / costs[1], 1),
        "anew_ms": round(1e3 * median["anew"], 1),
        "kept_ms": round(1e3 * median["kept"], 1),
        "gain": round(median["anew"] / median["kept"], 2),
        "gb_of_1000": round(room / 1e6, 2),
    }


def page(facts: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    heads = ["network", "student", "made anew, ms", "kept, ms", "gain", "GB for 1,000 crops"]
    lines = ["# A step where the teacher's pictures and feature maps are kept", ""]
    lines += ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * 4]
    for row in rows:
        cells = [row["case"], f"1/{row['macs']}", row["anew_ms"], row["kept_ms"]]
        cells += [f"{row['gain']:.2f}", row["gb_of_1000"]]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    said = (
        f"Medians of the process's own time, turn by turn in one run; one thread of {facts['cpu']}"
        f", torch {facts['torch']}, load {facts['load']:.1f}. By `python -m benchmarks.kept_maps`."
    )
    return "\n".join([*lines, "", said]) + "\n"


if __name__ == "__main__":
    main()
