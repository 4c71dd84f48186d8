"""How a run ended: the steps and seconds of its stages, or why it was refused or failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ganpress.errors import Diverged, GanpressError
from ganpress.report import write_report
from ganpress.run import distributed
from ganpress.run.card import now_utc
from ganpress.run.files import read_json, write_json
from ganpress.run.run import Run


@contextmanager
def forgotten_if_refused(run: Path) -> Iterator[None]:
    """Where a new run is refused before its first step, leave no settings behind that would make
    the next try, with other settings, look like another run. Of one that diverged for good, the
    reason is kept: in failed.json, until the run goes on, and in the report."""
    new = not (run / "config.json").exists()
    try:
        yield
    except Diverged as error:
        if distributed.rank() == 0:
            with suppress(GanpressError, OSError):  # the reason matters more
                write_json(run / "failed.json", {"error": str(error), "at": now_utc()})
                write_report(run)
            if new and not [*run.glob("*/state.pt"), *run.glob("*/done.json")]:
                _forget(run)  # nothing is there to go on from: other settings may try again
        raise
    except GanpressError:
        if new and not [*run.glob("*/state.pt"), *run.glob("*/log.jsonl")]:
            _forget(run)
        raise


def _forget(run: Path) -> None:
    """Delete the settings of a run from its folder, and its counts of restarts."""
    for path in (*(run / n for n in ("config.json", "card.json", "run.lock")),
                 *run.glob("*-restarts.json")):  # fmt: skip
        path.unlink(missing_ok=True)


def stage_facts(run: Run) -> list[dict[str, Any]]:
    """Steps and seconds of every finished stage, in the order they finished."""
    files = sorted(run.root.glob("*/done.json"), key=lambda path: path.stat().st_mtime_ns)
    return [
        {"name": d["stage"], "steps": d["steps"], "seconds": d["elapsed_s"]}
        for d in map(read_json, files)
    ]
