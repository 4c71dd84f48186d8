"""How long a run will take on this machine, from a few timed steps before its first one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from ganpress.errors import GanpressError
from ganpress.report.amounts import duration
from ganpress.run.files import read_json
from ganpress.run.logs import read_log
from ganpress.run.progress import say
from ganpress.run.run import Run

STEPS, MINUTES = 4, 0.2
"""Limits of each stage of a timed run: steps, and minutes of wall-clock time."""
MIN_STEPS = 200
"""Runs of fewer steps get no forecast."""


class Timed(NamedTuple):
    """A stage of a shortened run: its number of steps, and seconds per step."""

    steps: int
    seconds: float


def timed_stages(work: Callable[[Run], object], seed: int) -> dict[str, Timed]:
    """Run a shortened training in a folder that is then removed: what its stages took.

    The first step of a stage, in which memory and kernels are prepared, is left out where there are
    others. Empty where the training ends in an error, which the real run will report.
    """
    with TemporaryDirectory(prefix="ganpress-forecast-") as folder:
        root = Path(folder)
        with suppress(GanpressError):
            work(Run(root, seed=seed, quiet=True, log_every=1, save_every_s=3600.0))
        stages = [path.parent for path in root.glob("*/done.json")]
        found = {stage.name: _timed(stage) for stage in stages}
        return {name: timed for name, timed in found.items() if timed is not None}


def _timed(stage: Path) -> Timed | None:
    """What a finished stage took; None of one without steps."""
    facts = read_json(stage / "done.json")
    if facts["steps"] is None:
        return None
    steps = int(facts["steps"])
    log = stage / "log.jsonl"
    times = [float(line["elapsed_s"]) for line in read_log(log)] if log.exists() else []
    if len(times) > 1:
        return Timed(steps, (times[-1] - times[0]) / (len(times) - 1))
    return Timed(steps, float(facts["elapsed_s"]) / max(1, steps))


def announce(
    steps: Mapping[str, int],
    timed: Mapping[str, Timed],
    *,
    minutes: Mapping[str, float | None],
    fewer: str,
) -> None:
    """Print how long the stages will take, such as 'about 26 min on this machine: ...'.

    Args:
        steps: number of steps of each stage. timed: measured seconds per step of each stage.
        minutes: wall-clock limit of each stage; None: no limit.
        fewer: names of the settings that make the run shorter, for the message.
    """
    known = {name: n * timed[name].seconds for name, n in steps.items() if name in timed}
    for name, limit in minutes.items():
        if limit is not None and name in known:
            known[name] = min(known[name], 60 * limit)
    if not known:
        return
    parts = ", ".join(f"{name} {duration(s)} ({steps[name]:,} steps)" for name, s in known.items())
    say(
        f"about {duration(sum(known.values()))} on this machine: {parts}. For less, lower {fewer}.",
        quiet=False,
    )
