"""Milliseconds of an ONNX file in a runtime on this machine."""

from __future__ import annotations

import atexit
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ganpress.errors import ConfigError, ExportError, MissingExtra, require
from ganpress.measures.timing.device import processor as processor
from ganpress.measures.timing.process import Failed, Worker

Timer = Callable[[bytes], float]
"""An ONNX file -> the median milliseconds of a run."""

RUNTIMES = ("openvino", "onnxruntime")
"""The usual one first."""
WARM_UP = 2
LEAST, MOST = 5, 3000  # runs
SECONDS = 0.15  # of runs, where they are short
TURNS = 3  # of whole networks
_worker: Worker | None = None


@dataclass(frozen=True)
class Conditions:
    """What times hang on, beside what is run.

    Attributes:
        processor: its name. version: of the runtime's package.
    """

    processor: str
    runtime: str
    version: str
    precision: str
    threads: int

    @property
    def words(self) -> str:
        """'openvino 2026.4.1, fp32, 1 thread, Some CPU'."""
        threads = f"{self.threads} thread{'s' if self.threads != 1 else ''}"
        return f"{self.runtime} {self.version}, {self.precision}, {threads}, {self.processor}"


def installed(package: str) -> str | None:
    """The version of a package; None where it is not installed. onnxruntime can be installed under
    another name, such as onnxruntime-gpu."""
    try:
        return version(package)
    except PackageNotFoundError:
        others = packages_distributions().get(package) if find_spec(package) else None
        return version(others[0]) if others else None


def usual_runtime() -> str:
    """OpenVINO where it is installed, else onnxruntime. Raises: MissingExtra where neither is."""
    for runtime in RUNTIMES:
        if installed(runtime):
            return runtime
    raise MissingExtra(
        "target.latency_ms is measured in a runtime, and none is installed: "
        "pip install 'ganpress[openvino]' or 'ganpress[onnx]'"
    )


def conditions_here(runtime: str, precision: str, threads: int) -> Conditions:
    """The conditions of this machine. Raises: MissingExtra, ConfigError."""
    require(f"A latency in {runtime}", runtime, "onnx", "onnxscript")
    if precision in ("fp16", "bf16") and runtime != "openvino":
        raise ConfigError(
            f"{runtime} computes in the precision that a file has, and has no fast {precision} on "
            "a CPU: set target.runtime=openvino, or leave target.precision out."
        )
    return Conditions(processor(), runtime, installed(runtime) or "", precision, threads)


def elsewhere(conditions: Conditions) -> str | None:
    """Why these times cannot be taken here: this is another processor, or the runtime has another
    version; None where they can."""
    if conditions.processor != processor():
        return f"this is {processor()}"
    found = installed(conditions.runtime) or ""
    if found != conditions.version:
        return f"{conditions.runtime} is {found or 'not installed'} here"
    return None


def timer_for(conditions: Conditions) -> Timer:
    """Times files under these conditions."""
    return lambda data: time_of(data, conditions)


def in_turns(timer: Timer, files: Sequence[bytes]) -> list[float]:
    """Milliseconds of each file: the median of `TURNS` measurements, for which the files take
    turns. Where the machine has another speed for some seconds, that is one measurement of each,
    and not all of one."""
    rounds = [[timer(data) for data in files] for _ in range(TURNS)]
    return [float(np.median(times)) for times in zip(*rounds, strict=True)]


def time_of(data: bytes, conditions: Conditions) -> float:
    """The median milliseconds of running a file, in a process of its own: beside what this one has
    in memory, and its threads, a network of a millisecond takes up to 15 % longer.

    Raises: ExportError where the runtime refuses the file.
    """
    global _worker
    with tempfile.TemporaryDirectory(prefix="ganpress-timing-") as folder:
        path = Path(folder) / "network.onnx"
        path.write_bytes(data)
        _worker = _worker or Worker()
        try:
            found = _worker.ask("time", path=str(path), conditions=asdict(conditions))
        except Failed as error:
            end()
            raise ExportError(f"{conditions.runtime} cannot run this network: {error}") from error
        except BaseException:  # its answer, which comes later, is to nothing that is asked then
            end()
            raise
    return float(found["ms"])


@atexit.register
def end() -> None:
    """End the process that times, if there is one: the next file starts another."""
    global _worker
    if _worker is not None:
        _worker.close()
        _worker = None


@contextmanager
def measuring() -> Iterator[None]:
    """Within, files are timed in one process, which ends with it."""
    try:
        yield
    finally:
        end()


def median_ms(path: Path, conditions: Conditions) -> float:
    """The median milliseconds of running a file in this process, on numbers of a normal
    distribution."""
    from ganpress.formats.runtimes import open_file

    precision = None if conditions.runtime == "onnxruntime" else conditions.precision
    with open_file(
        path, runtime=conditions.runtime, threads=conditions.threads, precision=precision
    ) as opened:
        draw = np.random.default_rng(0)
        feeds = {
            name: draw.standard_normal([d or 1 for d in port.dims]).astype(port.dtype)
            for name, port in opened.inputs.items()
        }
        for _ in range(WARM_UP):
            opened.run(feeds)
        times: list[float] = []
        while len(times) < LEAST or (sum(times) < 1e3 * SECONDS and len(times) < MOST):
            began = time.perf_counter()
            opened.run(feeds)
            times.append(1e3 * (time.perf_counter() - began))
        return float(np.median(times))
