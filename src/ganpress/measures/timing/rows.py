"""The numbers of a measurement: a row for each candidate, and what they all were measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ganpress.measures.files.feeds import Dims
from ganpress.measures.timing import device
from ganpress.measures.timing.candidates import Candidate, Left
from ganpress.measures.timing.exports import folder
from ganpress.measures.timing.layers import by_kind, by_node
from ganpress.measures.timing.rounds import Plan, Timed, Watch, run_in_turn
from ganpress.measures.timing.statistics import Ratio, median, p95, times_as_fast


@dataclass(frozen=True)
class Row:
    """One candidate's numbers.

    Attributes:
        median_ms, p95_ms: of a pass. passes: how many were counted, over how many rounds.
        images_per_s: pictures in a second, at the median.
        peak_bytes: most memory that its process held. base_bytes: of that before the model, and
            its runtime's libraries, were at work.
        file_bytes: on disk, with a .bin beside.
        dims: of its inputs by name.
        ratio: how many times as fast as the first row. ratio_runtime: as the first model in the
            same runtime, in the first of its precisions; None where that was not timed.
        layers: time by operator kind and by node, where it was asked for.
    """

    model: str
    runtime: str
    precision: str
    threads: int
    batch: int
    dims: Mapping[str, Dims]
    version: str
    median_ms: float
    p95_ms: float
    passes: int
    rounds: int
    images_per_s: float
    peak_bytes: int
    base_bytes: int
    file: str
    file_bytes: int
    note: str
    ratio: Ratio | None
    ratio_runtime: Ratio | None
    layers: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Bench:
    """What `bench` measured.

    Attributes:
        device: see `device.describe`.
        left: candidates without numbers, and why.
        interrupted: Ctrl-C came before the end.
        exports: the folder that exported files are kept in, None where none was exported.
    """

    device: Mapping[str, Any]
    versions: Mapping[str, str]
    threads: int
    seconds: float
    seed: int
    rows: tuple[Row, ...]
    left: tuple[Left, ...]
    interrupted: bool
    exports: str | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def time_candidates(
    candidates: Sequence[Candidate],
    left: Sequence[Left],
    *,
    threads: int,
    plan: Plan,
    watch: Watch = lambda *_: None,
) -> Bench:
    """Time candidates in turn; the first is the reference.

    Args: left: those that cannot be timed, for the result.
    """
    there = device.describe()
    several = len({c.model for c in candidates}) > 1
    tasks = {_label(c, several): c.task(threads) for c in candidates}
    timed, interrupted = run_in_turn(tasks, plan, watch)
    pairs = list(zip(candidates, timed.values(), strict=True))
    good = [(c, t) for c, t in pairs if t.passes]
    failed = [Left(c.model, c.runtime, c.precision, t.error) for c, t in pairs if t.error]
    kept = any(c.path.parent == folder() for c in candidates)
    return Bench(
        device=there,
        versions={c.runtime: t.version for c, t in good},
        threads=threads,
        seconds=plan.seconds,
        seed=plan.seed,
        rows=tuple(_row(c, t, good, threads, plan.seed) for c, t in good),
        left=(*left, *failed),
        interrupted=interrupted,
        exports=str(folder()) if kept else None,
    )


def _label(candidate: Candidate, several: bool) -> str:
    name = f"{candidate.model}, " if several else ""
    return f"{name}{candidate.runtime} {candidate.precision}"


def _row(
    candidate: Candidate,
    timed: Timed,
    good: Sequence[tuple[Candidate, Timed]],
    threads: int,
    seed: int,
) -> Row:
    middle = median(timed.passes)
    here = (good[0][0].model, candidate.runtime)
    beside = next((t for c, t in good if (c.model, c.runtime) == here), None)
    return Row(
        model=candidate.model,
        runtime=candidate.runtime,
        precision=candidate.precision,
        threads=threads,
        batch=candidate.batch,
        dims=candidate.dims,
        version=timed.version,
        median_ms=middle,
        p95_ms=p95(timed.passes),
        passes=len(timed.passes),
        rounds=len(timed.rounds),
        images_per_s=1e3 * candidate.batch / middle,
        peak_bytes=timed.peak,
        base_bytes=timed.base,
        file=str(candidate.path),
        file_bytes=candidate.bytes,
        note=candidate.note,
        ratio=times_as_fast(timed.rounds, good[0][1].rounds, seed),
        ratio_runtime=times_as_fast(timed.rounds, beside.rounds, seed) if beside else None,
        layers=_layers(timed),
    )


def _layers(timed: Timed) -> Mapping[str, Any] | None:
    if not timed.layers:
        return None
    return {
        "kinds": [asdict(share) for share in by_kind(timed.layers)],
        "nodes": [asdict(share) for share in by_node(timed.layers)],
    }
