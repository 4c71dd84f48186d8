"""`ganpress.bench`: models in runtimes and precisions, timed in turn on this device."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError
from ganpress.measures.files.feeds import Dims
from ganpress.measures.timing import device
from ganpress.measures.timing.candidates import Asked, Candidate, Left, candidates_of
from ganpress.measures.timing.layers import by_kind, by_node
from ganpress.measures.timing.precisions import check_names
from ganpress.measures.timing.rounds import Plan, Timed, Watch, run_in_turn
from ganpress.measures.timing.statistics import Ratio, median, p95, times_as_fast
from ganpress.models.checkpoint import Model
from ganpress.types.sizes import Size, as_size


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
        ratio: how many times as fast as the first row. ratio_alike: as the first model in the same
            runtime and precision; None where that was not timed.
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
    ratio_alike: Ratio | None
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


def bench(
    models: Sequence[Path | str] | Mapping[str, Model | Path],
    *,
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    threads: int | None = None,
    size: Size | None = None,
    batch: int | None = None,
    dims: Mapping[str, Dims] | None = None,
    seconds: float = 3.0,
    rounds: int = 10,
    seed: int = 0,
    layers: bool = False,
    watch: Watch = lambda *_: None,
) -> Bench:
    """Time models in turn on this device, the first of them the reference.

    Ganpress models are exported on the way (`exports`), into the user's cache; .onnx and .xml
    files are timed as they are, whoever wrote them. Every candidate runs in a process of its own.

    Args:
        models: files, or names with models or files.
        runtimes: of "torch", "compile" (torch.compile), "onnxruntime" and "openvino"; None: all
            that are installed, but for "compile".
        precisions: see `precisions`; None: float32, a student's own 8 bits, and bfloat16 in
            OpenVINO where the processor has it.
        threads: None: as many as torch.
        size, batch: of the pictures; None: each model's own, and 1. dims: of inputs by name, for
            files that do not say them.
        seconds: of each candidate, over ``rounds`` turns; a slow one takes a pass in each turn.
        layers: measure where the time goes in exported files.
        watch: is told what goes on.

    Raises: ConfigError, CheckpointError, MissingExtra. What only one candidate cannot do stands in
        `Bench.left`.
    """
    given = models if isinstance(models, Mapping) else named(models)
    check_names(runtimes or (), precisions or ())
    _check(threads, batch, seconds, rounds)
    there = device.describe()
    if threads is None:
        import torch

        threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="ganpress-bench-") as folder:
        asked = Asked(
            runtimes, precisions, None if size is None else as_size(size), batch, dims or {},
            Path(folder), seed,
        )  # fmt: skip
        watch("exporting", 0.0, None)
        candidates, left = candidates_of(given, asked)
        plan = Plan(seconds=seconds, rounds=rounds, seed=seed, layers=layers)
        tasks = {_label(c, given): c.task(threads) for c in candidates}
        timed, interrupted = run_in_turn(tasks, plan, watch)
        return _bench(candidates, list(timed.values()), left, Bench(
            there, {}, threads, seconds, seed, (), (), interrupted, _kept(candidates, folder),
        ))  # fmt: skip


def named(files: Sequence[Path | str]) -> dict[str, Path]:
    """Files by their shortest names that tell them apart: the file's own, or its whole path."""
    paths = [Path(file) for file in files]
    alone = {path.name for path in paths if sum(p.name == path.name for p in paths) == 1}
    found = {path.name if path.name in alone else str(path): path for path in paths}
    if len(found) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise ConfigError(f"{twice} is named twice: name each model once.")
    return found


def _check(threads: int | None, batch: int | None, seconds: float, rounds: int) -> None:
    for what, value in (("--threads", threads), ("--batch", batch), ("rounds", rounds)):
        if value is not None and value < 1:
            raise ConfigError(f"{what} is {value}: it must be at least 1.")
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"--seconds is {seconds}: it must be more than 0.")


def _label(candidate: Candidate, models: Mapping[str, Any]) -> str:
    name = f"{candidate.model}, " if len(models) > 1 else ""
    return f"{name}{candidate.runtime} {candidate.precision}"


def _kept(candidates: Sequence[Candidate], folder: str) -> str | None:
    from ganpress.measures.timing.exports import folder as kept

    inside = any(candidate.path.parent == kept() for candidate in candidates)
    return str(kept()) if inside else None


def _bench(
    candidates: Sequence[Candidate], timed: Sequence[Timed], left: Sequence[Left], facts: Bench
) -> Bench:
    """The rows of those that were timed, and with the others why not."""
    pairs = list(zip(candidates, timed, strict=True))
    good = [(c, t) for c, t in pairs if t.passes]
    failed = [Left(c.model, c.runtime, c.precision, t.error) for c, t in pairs if t.error]
    rows = tuple(_row(c, t, good, facts) for c, t in good)
    versions = {c.runtime: t.version for c, t in good}
    return Bench(**{**vars(facts), "rows": rows, "left": (*left, *failed), "versions": versions})


def _row(
    candidate: Candidate, timed: Timed, good: Sequence[tuple[Candidate, Timed]], facts: Bench
) -> Row:
    middle = median(timed.passes)
    first = good[0][0].model
    alike = (first, candidate.runtime, candidate.precision)
    beside = next((t for c, t in good if (c.model, c.runtime, c.precision) == alike), None)
    return Row(
        model=candidate.model,
        runtime=candidate.runtime,
        precision=candidate.precision,
        threads=facts.threads,
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
        ratio=times_as_fast(timed.rounds, good[0][1].rounds, facts.seed),
        ratio_alike=times_as_fast(timed.rounds, beside.rounds, facts.seed) if beside else None,
        layers=_layers(timed),
    )


def _layers(timed: Timed) -> Mapping[str, Any] | None:
    if not timed.layers:
        return None
    return {
        "kinds": [asdict(share) for share in by_kind(timed.layers)],
        "nodes": [asdict(share) for share in by_node(timed.layers)],
    }
