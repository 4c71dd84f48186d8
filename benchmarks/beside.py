"""Parts of a benchmark beside each other, a process and a log each."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def run_beside(
    module: str, runs: Path, parts: Sequence[str], jobs: int, options: Sequence[str] = ()
) -> None:
    """Run ``python -m MODULE --runs RUNS --only PART OPTIONS`` for each part, ``jobs`` at a time.

    Args:
        module: a benchmark that knows `--only`.
        runs: a folder that is there; PART.log goes there.
        jobs: as many as there are quiet cores; each part runs on one thread.

    Raises:
        SystemExit: once all have ended, where a part failed: which, and where its log is.
    """

    def run(part: str) -> str | None:
        log, begun = runs / f"{part}.log", time.monotonic()
        print(f"{part}: begun, see {log}", flush=True)
        with log.open("a") as out:
            line = [sys.executable, "-m", module, "--runs", str(runs), "--only", part, *options]
            failed = subprocess.run(line, stdout=out, stderr=subprocess.STDOUT).returncode
        took = (time.monotonic() - begun) / 60
        print(f"{part}: {'failed' if failed else 'ended'} after {took:.0f} min", flush=True)
        return f"{part} failed: {log} says why" if failed else None

    with ThreadPoolExecutor(jobs) as pool:
        failures = [said for said in pool.map(run, parts) if said]
    if failures:
        sys.exit("\n".join(failures))
