"""Latency of what is shipped: a student's exported file beside its teacher's, in one measurement.

Float and 8 bits stand beside each other: where the student has 8 bits, the same widths without
quantisers are timed, too, since 8 bits are not faster in every runtime.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ganpress.errors import GanpressError
from ganpress.measures.files.cost import precision_of
from ganpress.measures.files.feeds import Dims
from ganpress.measures.timing.candidates import Asked, Candidate, Left, of_file, of_model
from ganpress.measures.timing.device import has_bfloat
from ganpress.measures.timing.latency_rows import FLOAT, STUDENT, TEACHER
from ganpress.measures.timing.rounds import Plan
from ganpress.measures.timing.rows import Bench, Row, time_candidates
from ganpress.models.checkpoint import Model
from ganpress.types.sizes import Size

RUN_BY = ("onnxruntime", "openvino")
"""In the order of what is called the file's latency: onnxruntime runs the file that is there."""
_WRITERS = ("onnx", "onnxscript", "onnxruntime")
_KEPT = ("model", "runtime", "precision", "median_ms", "p95_ms", "passes", "images_per_s",
         "peak_bytes", "file_bytes")  # fmt: skip


def time_files(
    teacher: Model, student: Model, file: Path, *, size: Size, quick: bool = False
) -> dict[str, Any] | None:
    """Latency of a student's exported file and of its teacher's, as results.json holds it.

    Args:
        file: the student's exported file, of pictures of ``size``.
        quick: a third of the time.
    Returns: None where the packages that write and run such files are missing.
    Raises: KeyboardInterrupt.
    """
    if not all(find_spec(name) for name in _WRITERS) or not file.is_file():
        return None
    with tempfile.TemporaryDirectory(prefix="ganpress-timing-") as folder:
        candidates, left = _candidates(teacher, student, file, size, Path(folder))
        plan = Plan(seconds=0.5 if quick else 1.5, rounds=5)
        found = time_candidates(candidates, left, threads=torch.get_num_threads(), plan=plan)
    if found.interrupted:
        raise KeyboardInterrupt
    return as_results(found, size)


def _candidates(
    teacher: Model, student: Model, file: Path, size: Size, folder: Path
) -> tuple[list[Candidate], list[Left]]:
    own = precision_of(file)
    asked = Asked(installed(), None, size, 1, {}, folder)
    made: list[Candidate | Left] = of_model(TEACHER, teacher, floats(asked), _at(folder, "0"))
    for runtime in installed():
        precisions = _of_file(runtime, own)
        one = replace(asked, runtimes=[runtime], precisions=precisions, size=None, batch=None)
        made += of_file(STUDENT, file, one, _at(folder, f"1-{runtime}"))
    if own == "int8":
        made += of_model(FLOAT, student, floats(asked), _at(folder, "2"))
    candidates = [one for one in made if isinstance(one, Candidate)]
    return candidates, [one for one in made if isinstance(one, Left)]


def _of_file(runtime: str, own: str) -> list[str]:
    if runtime != "openvino" or not has_bfloat():
        return [own]
    return [own, "int8+bf16" if own == "int8" else "bf16"]


def floats(asked: Asked) -> Asked:
    """The same in float32, and in bfloat16 where the processor has it."""
    return replace(asked, precisions=["fp32", "bf16"] if has_bfloat() else ["fp32"])


def installed() -> list[str]:
    """The runtimes that are here."""
    return [name for name in RUN_BY if find_spec(name) is not None]


def _at(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made


def as_results(found: Bench, size: Size) -> dict[str, Any]:
    """What is kept of a measurement in results.json."""
    return {
        "device": dict(found.device),
        "versions": dict(found.versions),
        "threads": found.threads,
        "batch": 1,
        "size": size,
        "rows": [_kept(row) for row in found.rows],
        "left": [vars(one) for one in found.left],
    }


def _kept(row: Row) -> dict[str, Any]:
    ratio = row.ratio_runtime
    numbers = {key: _short(getattr(row, key)) for key in _KEPT}
    return {
        **numbers,
        "ratio": [_short(v) for v in (ratio.value, ratio.low, ratio.high)] if ratio else None,
    }


def _short(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def time_model(model: Model, size: Size) -> list[dict[str, Any]]:
    """Latency of one model's exported file in each runtime and precision that is usual for it;
    [] where the packages are missing, or the model cannot be exported."""
    if not all(find_spec(name) for name in _WRITERS):
        return []
    with tempfile.TemporaryDirectory(prefix="ganpress-timing-") as folder:
        asked = Asked(installed(), None, size, 1, {}, Path(folder))
        try:
            made = of_model("model", model, asked, Path(folder))
        except GanpressError:
            return []
        candidates = [one for one in made if isinstance(one, Candidate)]
        return _timed_alone(candidates)


def time_file(
    path: Path, size: Size | None, dims: Mapping[str, Dims] | None = None
) -> list[dict[str, Any]]:
    """Latency of one exported file in each runtime that takes it."""
    with tempfile.TemporaryDirectory(prefix="ganpress-timing-") as folder:
        asked = Asked(None, None, size, None, dims or {}, Path(folder))
        made = of_file(path.name, path, asked, Path(folder))
        return _timed_alone([one for one in made if isinstance(one, Candidate)])


def _timed_alone(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    if not candidates:
        return []
    threads = torch.get_num_threads()
    found = time_candidates(candidates, (), threads=threads, plan=Plan(seconds=1.5, rounds=5))
    return [
        {"runtime": r.runtime, "precision": r.precision, "median_ms": r.median_ms,
         "p95_ms": r.p95_ms, "device": "cpu", "threads": r.threads, "batch": r.batch,
         "dims": dict(r.dims), "repeats": r.passes}
        for r in found.rows
    ]  # fmt: skip
