"""How much faster two worker processes finish a search than one, on one shared study.

Command:  .venv/bin/python -m benchmarks.search_workers [--evaluations 40] [--seconds 1]
Time:     about 2 minutes: an evaluation sleeps, so that cores do not matter.
Result:   benchmarks/results/search-workers.json; the last line is the ratio.

The clock runs from the first evaluation to the last worker's end: what a process needs to import
torch is not the study's. Each worker is a process that calls `search` with the same arguments.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from ganpress.methods.once_for_all.search.settings import SearchSettings
from ganpress.methods.once_for_all.search.space import Slot, Space
from ganpress.methods.once_for_all.search.study import search

SPACE = Space(tuple(Slot(f"slot{i}", {f"group{i}": 1}, (64, 48, 32, 24, 16)) for i in range(8)))


def main() -> None:
    """Measure, write, tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--evaluations", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--worker", nargs=1, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.worker:
        work(Path(a.worker[0]), a.evaluations, a.seconds)
        return
    took = {workers: timed(workers, a.evaluations, a.seconds) for workers in (1, 2)}
    result = {
        "evaluations": a.evaluations,
        "seconds_each": a.seconds,
        "seconds": took,
        "ratio": round(took[2] / took[1], 3),
    }
    path = Path(__file__).parent / "results" / "search-workers.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))
    print(f"two workers take {result['ratio']} of the time of one")


def timed(workers: int, evaluations: int, seconds: float) -> float:
    """Seconds from the moment at which every worker is ready to the end of the last."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.search_workers", "--worker", folder]
        command += ["--evaluations", str(evaluations), "--seconds", str(seconds)]
        processes = [subprocess.Popen(command) for _ in range(workers)]
        while len(list(Path(folder).glob("ready-*"))) < workers:
            time.sleep(0.05)
        began = time.monotonic()
        (Path(folder) / "go").touch()
        if any(process.wait() for process in processes):
            raise SystemExit("a worker failed")
        return round(time.monotonic() - began, 2)


def work(folder: Path, evaluations: int, seconds: float) -> None:
    """A worker: the same search as every other's."""
    import os

    import optuna  # noqa: F401  before the clock runs

    (folder / f"ready-{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)

    def evaluate(widths: Mapping[str, int]) -> dict[str, float]:
        time.sleep(seconds)
        return {"fid": float(sum((width - 30) ** 2 for width in widths.values()))}

    search(
        SPACE,
        evaluate,
        lambda widths: {"macs": float(sum(w * w for w in widths.values()))},
        budget={"macs": 15000.0},
        settings=SearchSettings(population=10, evaluations=evaluations),
        folder=folder,
        identity={"model": "none"},
        quality="fid",
        quiet=True,
    )


if __name__ == "__main__":
    main()
