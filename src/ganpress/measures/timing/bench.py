"""`ganpress.bench`: models in runtimes and precisions, timed in turn on this device."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ganpress.errors import ConfigError
from ganpress.measures.files.feeds import Dims
from ganpress.measures.timing.candidates import Asked, candidates_of
from ganpress.measures.timing.precisions import check_names
from ganpress.measures.timing.rounds import Plan, Watch
from ganpress.measures.timing.rows import Bench, time_candidates
from ganpress.models.checkpoint import Model
from ganpress.run.hub.fetch import local_file
from ganpress.types.seeds import check_seed
from ganpress.types.sizes import Size, as_size


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
        watch: is called with what goes on.

    Raises: ConfigError, CheckpointError, MissingExtra. What only one candidate cannot do stands in
        `Bench.left`.
    """
    given = models if isinstance(models, Mapping) else named(models)
    check_names(runtimes or (), precisions or ())
    _check(threads, batch, seconds, rounds)
    check_seed(seed)
    if threads is None:
        import torch

        threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="ganpress-bench-") as folder:
        asked = Asked(
            runtimes=_each_once(runtimes),
            precisions=_each_once(precisions),
            size=None if size is None else as_size(size),
            batch=batch,
            dims=dims or {},
            folder=Path(folder),
            seed=seed,
        )
        watch("exporting", 0.0, None)
        candidates, left = candidates_of(given, asked)
        plan = Plan(seconds=seconds, rounds=rounds, seed=seed, layers=layers)
        return time_candidates(candidates, left, threads=threads, plan=plan, watch=watch)


def named(files: Sequence[Path | str]) -> dict[str, Path]:
    """Files by their shortest names that tell them apart: the file's own, or its whole path."""
    paths = [Path(file) for file in files]
    alone = {path.name for path in paths if sum(p.name == path.name for p in paths) == 1}
    found = {path.name if path.name in alone else str(path): path for path in paths}
    if len(found) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise ConfigError(f"{twice} is named twice: name each model once.")
    return {name: local_file(path) for name, path in found.items()}


def _each_once(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else list(dict.fromkeys(names))


def _check(threads: int | None, batch: int | None, seconds: float, rounds: int) -> None:
    for what, value in (("--threads", threads), ("--batch", batch), ("rounds", rounds)):
        if value is not None and value < 1:
            raise ConfigError(f"{what} is {value}: it must be at least 1.")
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"--seconds is {seconds}: it must be more than 0.")
