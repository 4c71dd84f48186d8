"""Times of parts of networks on this machine, kept in the user's cache folder.

One file for each processor, runtime, version, precision and number of threads. A part is known by a
digest of its operators and shapes (`segments.Part.key`), so that networks share what they have in
common, and what is there is never measured again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError
from ganpress.measures.timing import timer
from ganpress.measures.timing.exports import source_digest
from ganpress.measures.timing.timer import Conditions, Timer
from ganpress.run.cache import cache_dir, mark_used
from ganpress.run.files import alone, make_folder, read_json, write_json
from ganpress.run.progress import Progress, say

FORMAT = 1
FOLDER = "latency"
SAVE_EVERY_S = 10.0
LONG = 20  # measurements from which on a line says what takes the time

Point = tuple[int, ...]
"""Numbers of channels of a part, in the order of its basis."""


@dataclass(frozen=True)
class Job:
    """A time that is wanted: of a part, by its key, at numbers of channels.

    Attributes:
        label: what it is, for people. file: makes the ONNX file.
    """

    key: str
    label: str
    point: Point
    file: Callable[[], bytes]


@dataclass
class LayerTable:
    """Milliseconds by part and numbers of channels, under one set of conditions.

    Attributes:
        path: the file that keeps them; None: this process alone.
        timer: measures what is not known yet; None where this is not the machine.
        used: keys that were asked for: what a run keeps a copy of.
    """

    conditions: Conditions
    path: Path | None
    timer: Timer | None
    quiet: bool = False
    used: set[str] = field(default_factory=set)
    _known: dict[str, dict[str, Any]] = field(default_factory=dict)
    _facts: dict[str, Any] = field(default_factory=dict)
    _held: bool = False

    def ms(self, key: str, point: Sequence[int]) -> float:
        """A time that is known."""
        self.used.add(key)
        return float(self._known[key]["ms"][_name(point)])

    def fill(self, jobs: Iterable[Job], what: str) -> None:
        """Measure what is not known of these; in another process's table it may be by now.

        What has been measured is kept when this is stopped. Args: what: for the progress.
        Raises: ConfigError on another machine than the table's.
        """
        jobs = list({(job.key, job.point): job for job in jobs}.values())
        if not (left := self._unknown(jobs)):
            return
        with self._alone():
            left = self._unknown(jobs)
            if len(left) >= LONG:
                say(f"measuring {what} in {self.conditions.runtime}: {len(left)} parts of networks "
                    f"at some widths, once{f'; kept in {self.path}' if self.path else ''}",
                    quiet=self.quiet)  # fmt: skip
            self._measure(left, what)

    def fact(self, key: str, work_out: Callable[[Timer], Any]) -> Any:
        """What is kept under a key beside the times, JSON values; worked out once."""
        self.used.add(key)
        if key not in self._facts:
            with self._alone():
                if key not in self._facts:
                    self._facts[key] = work_out(self._timer())
                    self._save()
        return self._facts[key]

    def is_known(self, key: str) -> bool:
        """Whether there is a fact of this key."""
        return key in self._facts

    def _unknown(self, jobs: Sequence[Job]) -> list[Job]:
        return [job for job in jobs if not self._has(job)]

    def _has(self, job: Job) -> bool:
        return _name(job.point) in self._known.get(job.key, {}).get("ms", {})

    def _timer(self) -> Timer:
        if self.timer is None:
            raise ConfigError(
                f"The latency table of this run is of {self.conditions.processor}, and lacks what "
                f"is asked for now; this is {timer.processor()}: go on there, or start another run "
                "here."
            )
        return self.timer

    def _measure(self, jobs: Sequence[Job], what: str) -> None:
        began = saved = time.monotonic()
        with Progress(what, len(jobs), 0, budget_s=float("inf"), used_s=0.0,
                      quiet=self.quiet or len(jobs) < LONG) as bar:  # fmt: skip
            try:
                for done, job in enumerate(jobs):
                    ms = self._timer()(job.file())
                    entry = self._known.setdefault(job.key, {"label": job.label, "ms": {}})
                    entry["ms"][_name(job.point)] = ms
                    bar.update(done + 1, time.monotonic() - began)
                    if time.monotonic() - saved > SAVE_EVERY_S:
                        self._save()
                        saved = time.monotonic()
            finally:
                self._save()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time measures, so that none disturbs another's times; what others have
        measured is read first."""
        if self.path is None or self._held:
            yield
            return
        make_folder(self.path.parent)
        with alone(self.path.with_name(self.path.name + ".lock")):
            self.read(self.path)
            self._held = True
            try:
                yield
            finally:
                self._held = False

    def read(self, path: Path, *, wins: bool = False) -> None:
        """Take in what a file of the same conditions holds; a broken one is made anew.

        Args: wins: over what is known already.
        """
        if not path.exists():
            return
        try:
            found = read_json(path)
            known, facts = dict(found["parts"]), dict(found["facts"])
            fits = found["format"] == FORMAT and found["conditions"] == asdict(self.conditions)
            times = {key: {n: float(ms) for n, ms in e["ms"].items()} for key, e in known.items()}
        except (ConfigError, KeyError, TypeError, ValueError, AttributeError):
            fits, times = False, {}
        if not fits:
            say(f"{path} is no latency table of {self.conditions.words}: it is measured anew.",
                quiet=self.quiet)  # fmt: skip
            path.rename(path.with_name(path.name + ".broken"))
            return
        for key, ms in times.items():
            entry = self._known.setdefault(key, {"label": known[key]["label"], "ms": {}})
            entry["ms"] = {**entry["ms"], **ms} if wins else {**ms, **entry["ms"]}
        self._facts = {**self._facts, **facts} if wins else {**facts, **self._facts}
        mark_used(path)

    def _save(self) -> None:
        if self.path is not None:
            write_json(self.path, self._content())

    def keep(self, path: Path) -> None:
        """Write what was asked for to a file, from which `read` takes it."""
        write_json(path, self._content(self.used))

    def _content(self, keys: set[str] | None = None) -> dict[str, Any]:
        def kept(items: dict[str, Any]) -> dict[str, Any]:
            return {k: v for k, v in sorted(items.items()) if keys is None or k in keys}

        return {
            "format": FORMAT,
            "conditions": asdict(self.conditions),
            "facts": kept(self._facts),
            "parts": kept(self._known),
        }


def _name(point: Sequence[int]) -> str:
    return "x".join(map(str, point))


_open: dict[Conditions, LayerTable] = {}


def table_of(
    conditions: Conditions, kept: Path | None = None, *, quiet: bool = False
) -> LayerTable:
    """The table of these conditions, one in a process.

    Args: kept: a run's own copy, which wins over the cache: a run that goes on has the target that
        it began with.
    """
    table = _open.get(conditions)
    if table is None:
        hangs_on = [asdict(conditions), source_digest()]  # files of another exporter are others
        digest = sha256(json.dumps(hangs_on, sort_keys=True).encode()).hexdigest()[:16]
        here = conditions.processor == timer.processor()
        path = cache_dir() / FOLDER / f"{digest}.json" if here else None
        table = LayerTable(conditions, path, timer.timer_for(conditions) if here else None, quiet)
        if path is not None:
            table.read(path)
        _open[conditions] = table
    table.quiet = quiet
    if kept is not None and kept.exists():
        table.read(kept, wins=True)
    return table


def kept_conditions(path: Path) -> Conditions | None:
    """The conditions of a run's own table; None where it has none yet.

    Raises: ConfigError for a file that cannot be read.
    """
    if not path.exists():
        return None
    try:
        return Conditions(**read_json(path)["conditions"])
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is no latency table. Restore it, or start in another folder."
        ) from error
