"""All candidates in turn, round after round, each in a process of its own.

What changes while one measures (the clock of a processor that gets warm, other people's work) then
falls on all alike. The order within a round is drawn anew each time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ganpress.measures.timing.process import Failed, Worker
from ganpress.measures.timing.task import Task

REST_S = 0.02
"""Between two turns: the threads of the last one wait actively for some milliseconds."""
LAYER_PASSES = 10


@dataclass
class Timed:
    """What was measured of a candidate.

    Attributes:
        rounds: milliseconds of each pass, by round.
        peak, base: bytes: most that its process held, and what it held before anything was loaded.
        error: why there is nothing, or nothing more; "" else.
    """

    rounds: list[list[float]] = field(default_factory=list)
    version: str = ""
    peak: int = 0
    base: int = 0
    layers: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""

    @property
    def passes(self) -> list[float]:
        """Milliseconds of every pass."""
        return [ms for one in self.rounds for ms in one]


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    Attributes:
        seconds: of each candidate, all rounds together.
        rounds: how often each has its turn.
        layers: measure the nodes of exported files, too.
    """

    seconds: float = 3.0
    rounds: int = 10
    seed: int = 0
    layers: bool = False


Watch = Callable[[str, float, float | None], None]
"""Is called with what goes on, the share of all that is done, and the seconds left (None: not yet
known)."""


def run_in_turn(
    tasks: Mapping[str, Task],
    plan: Plan,
    watch: Watch = lambda *_: None,
) -> tuple[dict[str, Timed], bool]:
    """Measure every task, and whether Ctrl-C ended it early: then with what there is.

    Args:
        tasks: by a name for ``watch``. A task that fails has an `error`, and the others go on.
    """
    found = {name: Timed() for name in tasks}
    with _workers() as workers:
        try:
            _load(tasks, workers, found, watch)
            _rounds(workers, found, plan, watch)
            _finish(workers, tasks, found, plan, watch)
        except KeyboardInterrupt:
            return found, True
    return found, False


@contextmanager
def _workers() -> Iterator[dict[str, Worker]]:
    workers: dict[str, Worker] = {}
    try:
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


def _load(
    tasks: Mapping[str, Task],
    workers: dict[str, Worker],
    found: Mapping[str, Timed],
    watch: Watch,
) -> None:
    """Start each process, load its candidate and warm it up, one after the other."""
    for name, task in tasks.items():
        watch(f"loading {name}", 0.0, None)
        workers[name] = Worker()
        with _noting(name, workers, found):
            loaded = workers[name].ask("load", task={**vars(task), "names": list(task.names)})
            found[name].version = loaded["version"]


@contextmanager
def _noting(name: str, workers: dict[str, Worker], found: Mapping[str, Timed]) -> Iterator[None]:
    """Within, a candidate that fails is ended and its reason kept."""
    try:
        yield
    except Failed as error:
        found[name].error = str(error)
        workers.pop(name).close()


def _rounds(
    workers: dict[str, Worker], found: Mapping[str, Timed], plan: Plan, watch: Watch
) -> None:
    began, done, total = time.monotonic(), 0, plan.rounds * len(workers)
    for number in range(plan.rounds):
        for name in in_order(list(workers), plan.seed, number):
            gone = time.monotonic() - began
            watch(name, done / total, gone / done * (total - done) if done else None)
            with _noting(name, workers, found):
                turn = workers[name].ask("turn", seconds=plan.seconds / plan.rounds)
                found[name].rounds.append(turn["ms"])
            time.sleep(REST_S)
            done += 1


def in_order(names: Sequence[str], seed: int, number: int) -> list[str]:
    """The order of a round, a function of the seed and the round."""
    order = list(names)
    random.Random(f"{seed}/{number}").shuffle(order)
    return order


def _finish(
    workers: dict[str, Worker],
    tasks: Mapping[str, Task],
    found: Mapping[str, Timed],
    plan: Plan,
    watch: Watch,
) -> None:
    """Peak memory, and then the layers: a profile takes memory of its own."""
    for name in list(workers):
        with _noting(name, workers, found):
            memory = workers[name].ask("memory")
            found[name].peak, found[name].base = memory["peak"], memory["base"]
    for name in list(workers) if plan.layers else ():
        if tasks[name].runtime in ("torch", "compile"):
            continue
        watch(f"layers of {name}", 1.0, None)
        with _noting(name, workers, found):
            found[name].layers = workers[name].ask("layers", passes=LAYER_PASSES)["layers"]
