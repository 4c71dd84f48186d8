"""A process that runs one candidate when it is asked to, and says how long each pass took.

``python -m ganpress.measures.timing.worker``: one JSON line in, one JSON line out. The first is the
candidate (`task.Task`); then ``{"do": "turn", "seconds": 0.3}``, ``{"do": "memory"}`` or
``{"do": "layers", "passes": 10}``, until its input ends. Or, with no candidate,
``{"do": "time", ...}`` for each of many files (`timer.time_of`).

A process of its own, so that its peak memory is the candidate's alone, and so that no runtime finds
another's threads. torch is imported for torch's candidates only.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ganpress.measures.timing.task import Loaded, Task
from ganpress.measures.timing.timer import Conditions, median_ms

WARM_UP_PASSES, WARM_UP_S = 3, 0.5
SHORT_MS = 50.0
"""The first pass of a turn is not counted where passes are shorter: others had the caches."""
PARENT_EVERY_S = 1.0
_STATUS = Path("/proc/self/status")


def main() -> None:
    """Answer the lines of stdin on what was stdout; whatever else is printed goes to stderr."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(found: Mapping[str, Any]) -> None:
        answers.write(json.dumps(found) + "\n")
        answers.flush()

    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer(_answer(asked))
        except Exception as error:  # whatever a runtime raises goes to the other process
            text = (str(error).strip().splitlines() or [type(error).__name__])[0]
            answer({"error": text, "kind": type(error).__name__})


def _end_with(parent: int) -> None:
    """End this process, whatever it does, once its parent is gone (killed, say)."""
    while os.getppid() == parent:
        time.sleep(PARENT_EVERY_S)
    os._exit(1)


_state: dict[str, Any] = {}


def _answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    if asked["do"] == "load":
        task = Task(**{**asked["task"], "names": tuple(asked["task"]["names"])})
        _state["task"], _state["base"] = task, _base_memory(task)
        _state["loaded"] = loaded = load(task)
        return {"warm_up_ms": warm_up(loaded.run), "version": loaded.version,
                "precision": loaded.precision}  # fmt: skip
    if asked["do"] == "time":
        return {"ms": median_ms(Path(asked["path"]), Conditions(**asked["conditions"]))}
    if asked["do"] == "turn":
        return {"ms": turn(_state["loaded"].run, asked["seconds"])}
    if asked["do"] == "memory":
        return {"peak": peak_memory(), "base": _state["base"]}
    return {"layers": [asdict(node) for node in layers(_state["task"], asked["passes"])]}


def load(task: Task) -> Loaded:
    """Load a candidate with its inputs."""
    with np.load(task.feeds) as kept:
        arrays = [kept[name] for name in kept.files]
    if task.runtime in ("torch", "compile"):
        from ganpress.measures.timing.torch_candidates import load_torch

        return load_torch(task, arrays)
    opened = _open(task)
    feeds = dict(zip(task.names, arrays, strict=True))
    return Loaded(lambda: opened.run(feeds), opened.version, opened.precision)


def _open(task: Task, *, profile: bool = False) -> Any:
    from ganpress.formats.runtimes import open_file
    from ganpress.measures.timing.precisions import hint_of

    return open_file(
        Path(task.path),
        runtime=task.runtime,
        threads=task.threads,
        precision=hint_of(task.runtime, task.precision),
        profile=profile,
    )


def warm_up(run: Callable[[], Any]) -> float:
    """Run until the times settle; milliseconds of the last pass."""
    began, passes, took = time.perf_counter(), 0, 0.0
    while passes < WARM_UP_PASSES or time.perf_counter() - began < WARM_UP_S:
        took = _pass(run)
        passes += 1
    return took


def turn(run: Callable[[], Any], seconds: float) -> list[float]:
    """Milliseconds of each pass that fits into a turn, at least one."""
    took = [_pass(run)]
    if took[0] < SHORT_MS:
        took = []
    began = time.perf_counter()
    while not took or time.perf_counter() - began < seconds - took[-1] / 2e3:
        took.append(_pass(run))
    return took


def _pass(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def layers(task: Task, passes: int) -> list[Any]:
    """Times of the nodes of an exported file, by the runtime's own profile."""
    with np.load(task.feeds) as kept:
        feeds = dict(zip(task.names, (kept[name] for name in kept.files), strict=True))
    with _open(task, profile=True) as opened:
        for _ in range(passes + 1):
            opened.run(feeds)
        return list(opened.profile())


def _base_memory(task: Task) -> int:
    """Bytes of the process with its runtime imported, and nothing loaded yet."""
    from importlib import import_module

    import_module("torch" if task.runtime in ("torch", "compile") else task.runtime)
    return _memory("VmRSS")


def peak_memory() -> int:
    """Most bytes that this process has held in memory at once, shared libraries included.

    Not getrusage's figure where the system says it: that begins with what the parent had held.
    """
    return _memory("VmHWM")


def _memory(field: str) -> int:
    if _STATUS.is_file():
        for line in _STATUS.read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    main()
