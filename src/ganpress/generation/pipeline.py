"""The loop that makes pictures: decoding and encoding run in threads beside the network."""

from __future__ import annotations

import math
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganpress.data import ImagesWarning
from ganpress.data.checking import first_frames
from ganpress.data.endings import is_picture
from ganpress.errors import ImagesError, Interrupted
from ganpress.generation.jobs import LOSSY, Job, format_of
from ganpress.generation.prepare import Ready, draw_job, picture_bytes, read_job
from ganpress.generation.program import Program
from ganpress.generation.record import Record
from ganpress.models.inputs import reads
from ganpress.run.progress import Progress, Stopper, say
from ganpress.types.sizes import Size, as_size, height_width, spelled

GPU_PIXELS = 8 * 256**2
"""Of a default batch on a GPU; on a CPU larger batches than 1 are no faster."""
_NAMED = 3


@dataclass(frozen=True)
class Generated:
    """What `generate` made, and how fast.

    Attributes:
        made, skipped: pictures made, and those that were there already.
        left_out: why pictures that cannot be read were left out, one line each.
        padded: pictures of a size that the network does not take.
        seconds: from the first picture to the last, of which the network took `model_seconds`.
        file_seconds: of decoding and encoding, summed over their threads, which run meanwhile.
    """

    folder: str
    made: int
    skipped: int
    left_out: tuple[str, ...]
    padded: int
    seconds: float
    model_seconds: float
    file_seconds: float

    @property
    def per_second(self) -> float:
        """Pictures per second; 0 where none was made."""
        return self.made / self.seconds if self.made else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """How all pictures of one call are made."""

    program: Program
    size: Size | None
    seed: int
    label: int | None
    shared: dict[str, Tensor]
    batch: int | None
    workers: int
    quality: int
    strict: bool
    quiet: bool
    device: str = "cpu"

    def read(self, job: Job) -> Ready | ImagesError:
        """What the network reads of a job."""
        net: Any = self.program.model.net
        if not job.sources:
            return draw_job(job, net, self.seed, self.label)
        return read_job(job, net, self.program.model.fit, self.size)

    def most(self, ready: Ready) -> int:
        """Pictures of this size in a batch."""
        if self.program.batch or self.batch:
            return self.program.batch or self.batch or 1
        pixels = prod(ready.padded or height_width(self.program.model.size))
        return 1 if self.device == "cpu" else max(1, min(64, GPU_PIXELS // pixels))


@dataclass
class Tally:
    """What is counted while pictures are made."""

    made: int = 0
    padded: int = 0
    model_s: float = 0.0
    files_s: float = 0.0
    left_out: list[str] = field(default_factory=list)
    frames: dict[str, int] = field(default_factory=dict)


def make(plan: Plan, jobs: Sequence[Job], record: Record) -> Generated:
    """Make these pictures, in order."""
    skipped = len(record.made)
    if skipped and jobs:
        say(f"there already: {skipped}; to make: {len(jobs)}", quiet=plan.quiet)
    _say_formats(plan, jobs)
    tally, began = Tally(), time.perf_counter()
    bar = Progress("run", len(jobs), 0, budget_s=math.inf, used_s=0.0, quiet=plan.quiet)
    pool = ThreadPoolExecutor(plan.workers)
    with bar, Stopper() as stopper:
        try:
            writing: deque[Future[float]] = deque()
            for group in _groups(plan, _read_ahead(plan, jobs, pool, tally)):
                start = time.perf_counter()
                made = _run(plan, group)
                tally.model_s += time.perf_counter() - start
                for ready, picture in zip(group, made, strict=True):
                    _note_padding(plan, ready, tally)
                    if ready.frames > 1:
                        tally.frames[next(iter(ready.job.sources.values())).where] = ready.frames
                    tally.files_s += ready.seconds
                    writing.append(pool.submit(_write, record, picture, ready, plan.quality))
                while len(writing) > 2 * plan.workers + len(group):
                    _finish(writing, tally)
                bar.update(tally.made + len(tally.left_out), time.perf_counter() - began)
                if stopper.signal:
                    break
            while writing:
                _finish(writing, tally)
        finally:
            pool.shutdown(cancel_futures=True)
        if stopper.signal and tally.made + len(tally.left_out) < len(jobs):
            raise Interrupted(
                f"Stopped: {skipped + tally.made} of {skipped + len(jobs)} pictures are made. Run "
                "the same command again to go on.",
                exit_code=128 + stopper.signal,
            )
    if tally.frames:
        warnings.warn(first_frames(tally.frames), ImagesWarning, stacklevel=2)
    _report_left_out(tally, len(jobs), skipped)
    return Generated(
        str(record.folder),
        tally.made,
        skipped,
        tuple(tally.left_out),
        tally.padded,
        time.perf_counter() - began,
        tally.model_s,
        tally.files_s,
    )


def _say_formats(plan: Plan, jobs: Sequence[Job]) -> None:
    """What becomes of sizes and formats, once."""
    if not jobs:
        return
    if plan.program.size is not None:
        say(
            f"{plan.program.name} takes pictures of {spelled(plan.program.size)} pixels only: each "
            "is resized to cover that, and cropped about its centre",
            quiet=plan.quiet,
        )
    if plan.program.batch is not None and plan.batch not in (None, plan.program.batch):
        say(f"{plan.program.name} takes {plan.program.batch} at a time", quiet=plan.quiet)
    lossy = sorted({str(format_of(job.out)) for job in jobs} & set(LOSSY))
    if lossy:
        say(f"quality of {' and '.join(lossy)}: {plan.quality}", quiet=plan.quiet)
    ends = {
        Path(source.where).suffix.lower()
        for job in jobs
        for source in job.sources.values()
        if job.out.endswith(".png") and is_picture(source.where)
    } - {".png"}
    if ends:
        say(f"pictures that end in {', '.join(sorted(ends))} are written as PNG", quiet=plan.quiet)


def _read_ahead(
    plan: Plan, jobs: Sequence[Job], pool: ThreadPoolExecutor, tally: Tally
) -> Iterator[Ready]:
    """What is read of each job, in order, some of it ahead; what cannot be read is noted."""
    waiting: deque[Future[Ready | ImagesError]] = deque()
    rest = iter(jobs)
    ahead = 2 * plan.workers + (plan.batch or plan.program.batch or 1)
    while True:
        while len(waiting) < ahead and (job := next(rest, None)) is not None:
            waiting.append(pool.submit(plan.read, job))
        if not waiting:
            return
        found = waiting.popleft().result()
        if not isinstance(found, ImagesError):
            yield found
        elif plan.strict:
            raise found
        else:
            tally.left_out.append(str(found))


def _groups(plan: Plan, ready: Iterator[Ready]) -> Iterator[list[Ready]]:
    """Runs of inputs of one size, as many as go into a batch."""
    group: list[Ready] = []
    for each in ready:
        if group and each.padded != group[0].padded:
            yield group
            group = []
        group.append(each)
        if len(group) == plan.most(each):
            yield group
            group = []
    if group:
        yield group


def _run(plan: Plan, group: Sequence[Ready]) -> Tensor:
    """(n, c, h, w): the pictures of a group. Raises: ImagesError where memory is too small."""
    names = reads(plan.program.model)
    inputs = tuple(
        torch.cat([each.inputs[name] for each in group])
        if name in group[0].inputs
        else plan.shared[name].expand(len(group), *plan.shared[name].shape[1:])
        for name in names
    )
    try:
        return plan.program(inputs)
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and (
            "allocate" not in str(error)
        ):
            raise
        shape = spelled(as_size(group[0].padded)) if group[0].padded else str(len(group))
        raise ImagesError(
            f"{group[0].job.out} ({shape} pixels, {len(group)} at a time) does not fit into "
            "memory: give --size 512, or a smaller --batch."
        ) from error


def _note_padding(plan: Plan, ready: Ready, tally: Tally) -> None:
    if ready.padded == ready.size or not ready.size:
        return
    tally.padded += 1
    if tally.padded == 1:
        net: Any = plan.program.model.net
        say(
            f"{ready.job.out} has {spelled(as_size(ready.size))} pixels (height x width), and this "
            f"network needs {net.needs}: such pictures are padded by reflection, this one to "
            f"{spelled(as_size(ready.padded))}, and cropped back",
            quiet=plan.quiet,
        )


def _write(record: Record, picture: Tensor, ready: Ready, quality: int) -> float:
    """Encode and write one picture; the seconds that it took."""
    began = time.perf_counter()
    record.put(ready.job.out, picture_bytes(picture, ready, quality))
    return time.perf_counter() - began


def _finish(writing: deque[Future[float]], tally: Tally) -> None:
    tally.files_s += writing.popleft().result()
    tally.made += 1


def _report_left_out(tally: Tally, total: int, skipped: int) -> None:
    wrong = tally.left_out
    if not wrong:
        return
    more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    reasons = "; ".join(line.rstrip(".") for line in wrong[:_NAMED]) + more
    if not tally.made + skipped:
        raise ImagesError(f"Unusable images: {reasons}. Nothing is left. Repair or remove them.")
    text = f"Left out {len(wrong)} of {total} images: {reasons}."
    warnings.warn(text, ImagesWarning, stacklevel=2)
