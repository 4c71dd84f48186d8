"""How long a run will take on this machine, from a few timed steps before its first one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


def timed_stages(work: Callable[[Run], object], seed: int) -> dict[str, Timed | None]:
    """Run a shortened training in a folder that is then removed: what its stages took; None of
    those without steps.

    The first step of a stage, in which memory and kernels are prepared, is left out where there are
    others. Empty where the training ends in an error, which the real run will report.
    """
    with TemporaryDirectory(prefix="ganpress-forecast-") as folder:
        root = Path(folder)
        with suppress(GanpressError):
            work(Run(root, seed=seed, quiet=True, log_every=1, save_every_s=3600.0))
        stages = [path.parent for path in root.glob("*/done.json")]
        return {stage.name: _timed(stage) for stage in stages}


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
    timed: Mapping[str, Timed | None],
    *,
    minutes: Mapping[str, float | None],
    made_shorter: Mapping[str, Sequence[str]],
) -> None:
    """Print how long the stages will take, such as 'about 26 min on this machine: ...'.

    Args:
        steps: number of steps of each stage. timed: of `timed_stages`; a stage without steps, of
            which the time is not known, comes besides.
        minutes: wall-clock limit of each stage; None: no limit.
        made_shorter: of a stage, the sections of the settings of which ``steps`` and ``minutes``
            are its own; "": the settings themselves.
    """
    known = {name: n * each.seconds for name, n in steps.items() if (each := timed.get(name))}
    if not known:
        return
    limits = {name: 60 * m for name, m in minutes.items() if m is not None}
    by_clock = {name for name, s in known.items() if name in limits and s > limits[name]}
    took = {name: limits[name] if name in by_clock else s for name, s in known.items()}
    parts = [
        f"{name} {duration(s)} ({'at most ' if name in by_clock else ''}{steps[name]:,} steps)"
        for name, s in took.items()
    ]
    fewer = {
        f"{section}.{unit}" if section else unit: None
        for name, sections in made_shorter.items()
        for section in sections
        for unit in ["minutes" if name in by_clock else "steps"]
    }
    besides = [name for name, each in timed.items() if each is None]
    more = f", and {' and '.join(besides)} besides" if besides else ""
    say(
        f"about {duration(sum(took.values()))} on this machine: {', '.join(parts)}{more}. "
        f"For less, lower {' and '.join(fewer)}.",
        quiet=False,
    )
