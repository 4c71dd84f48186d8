"""Times of parts of networks on this machine, kept in the user's cache folder.

One file for each processor, runtime, version, precision and number of threads. A part is known by a
digest of its operators and shapes (`segments.Part.key`), so that networks share what they have in
common, and what is there is never measured again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError
from ganpress.measures.timing import timer
from ganpress.measures.timing.exports import source_digest
from ganpress.measures.timing.timer import Conditions, Timer
from ganpress.run.cache import cache_dir, cache_folder, mark_used
from ganpress.run.files import read_json, write_json
from ganpress.run.locks import alone
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
class Times:
    """What has been measured.

    Attributes:
        ms: milliseconds by a part's key and its numbers of channels. labels: of parts, for people.
        facts: what else is kept, JSON values by key.
    """

    ms: dict[tuple[str, str], float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Times:
        """What `content` made. Raises: KeyError, TypeError, ValueError, AttributeError."""
        parts = dict(content["parts"])
        ms = {(key, at): float(t) for key, part in parts.items() for at, t in part["ms"].items()}
        labels = {key: str(part["label"]) for key, part in parts.items()}
        return cls(ms, labels, dict(content["facts"]))

    def over(self, other: Times) -> Times:
        """These times, and those of another that are not among them."""
        return Times({**other.ms, **self.ms}, {**other.labels, **self.labels},
                     {**other.facts, **self.facts})  # fmt: skip

    def content(self, keys: set[str] | None) -> dict[str, Any]:
        """JSON values. Args: keys: those that are kept; None: all."""
        parts: dict[str, Any] = {}
        for (key, at), ms in sorted(self.ms.items()):
            if keys is None or key in keys:
                parts.setdefault(key, {"label": self.labels[key], "ms": {}})["ms"][at] = ms
        facts = {k: v for k, v in sorted(self.facts.items()) if keys is None or k in keys}
        return {"facts": facts, "parts": parts}


@dataclass
class LayerTable:
    """Milliseconds by part and numbers of channels, under one set of conditions.

    Attributes:
        path: the file that keeps them; None: this process alone.
        timer: measures what is not known yet; None where these are times of elsewhere.
        used: keys that were asked for: what a run keeps a copy of.
        own: what the run's copy holds. It goes before what is known here, and stays with the run:
            other runs of this process, and the file, get none of it.
    """

    conditions: Conditions
    path: Path | None
    timer: Timer | None
    quiet: bool = False
    used: set[str] = field(default_factory=set)
    own: Times = field(default_factory=Times)
    _known: Times = field(default_factory=Times)
    _held: bool = False

    def ms(self, key: str, point: Sequence[int]) -> float:
        """A time that is known."""
        self.used.add(key)
        at = key, _name(point)
        return self.own.ms[at] if at in self.own.ms else self._known.ms[at]

    def fill(self, jobs: Iterable[Job], what: str) -> None:
        """Measure what is not known of these; in another process's table it may be by now.

        What has been measured is kept when this is stopped. Args: what: for the progress.
        Raises: ConfigError elsewhere than where the table is from.
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
        if key in self.own.facts:
            return self.own.facts[key]
        if key not in self._known.facts:
            with self._alone():
                if key not in self._known.facts:
                    self._known.facts[key] = work_out(self._timer())
                    self._save()
        return self._known.facts[key]

    def shares(self, key: str) -> bool:
        """Whether a fact is known to all runs; what is of the copy of one alone is not."""
        return key not in self.own.facts and key in self._known.facts

    def _unknown(self, jobs: Sequence[Job]) -> list[Job]:
        return [job for job in jobs if not self._has(job)]

    def _has(self, job: Job) -> bool:
        at = job.key, _name(job.point)
        return at in self.own.ms or at in self._known.ms

    def _timer(self) -> Timer:
        if self.timer is None:
            raise ConfigError(
                f"The latency table of this run is of {self.conditions.words}, and lacks what is "
                f"asked for now; {timer.elsewhere(self.conditions)}: go on there, or start another "
                "run here."
            )
        return self.timer

    def _measure(self, jobs: Sequence[Job], what: str) -> None:
        began = saved = time.monotonic()
        with Progress(what, len(jobs), 0, budget_s=float("inf"), used_s=0.0,
                      quiet=self.quiet or len(jobs) < LONG) as bar:  # fmt: skip
            try:
                for done, job in enumerate(jobs):
                    ms = self._timer()(job.file())
                    self._known.labels.setdefault(job.key, job.label)
                    self._known.ms[job.key, _name(job.point)] = ms
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
        cache_folder(self.path.parent)
        with alone(self.path.with_name(self.path.name + ".lock")):
            self.read(self.path)
            self._held = True
            try:
                yield
            finally:
                self._held = False

    def read(self, path: Path) -> None:
        """Take in what a file of the same conditions holds and is not known here."""
        if (found := self.times_in(path)) is not None:
            self._known = self._known.over(found)

    def times_in(self, path: Path) -> Times | None:
        """What a file of the same conditions holds; None where there is none. A broken one is put
        aside."""
        if not path.exists():
            return None
        try:
            content = read_json(path)
            found = Times.of(content)
            fits = content["format"] == FORMAT and content["conditions"] == asdict(self.conditions)
        except (ConfigError, KeyError, TypeError, ValueError, AttributeError):
            fits = False
        if not fits:
            say(f"{path} is no latency table of {self.conditions.words}: it is measured anew.",
                quiet=self.quiet)  # fmt: skip
            path.rename(path.with_name(path.name + ".broken"))
            return None
        mark_used(path)
        return found

    def _save(self) -> None:
        if self.path is not None:
            write_json(self.path, self._content(self._known))

    def keep(self, path: Path) -> None:
        """Write what was asked for to a file, a run's own copy."""
        write_json(path, self._content(self.own.over(self._known), self.used))

    def _content(self, times: Times, keys: set[str] | None = None) -> dict[str, Any]:
        return {"format": FORMAT, "conditions": asdict(self.conditions), **times.content(keys)}


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
        here = timer.elsewhere(conditions) is None
        path = cache_dir() / FOLDER / f"{digest}.json" if here else None
        table = LayerTable(conditions, path, timer.timer_for(conditions) if here else None, quiet)
        if path is not None:
            table.read(path)
        _open[conditions] = table
    table.quiet = quiet
    table.own = (table.times_in(kept) if kept else None) or Times()
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
