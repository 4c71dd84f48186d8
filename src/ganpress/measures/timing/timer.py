"""Milliseconds of an ONNX file in a runtime on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec

import numpy as np

from ganpress.errors import ConfigError, MissingExtra, require
from ganpress.measures.timing.device import processor as processor

Timer = Callable[[bytes], float]
"""An ONNX file -> the median milliseconds of a run."""

RUNTIMES = ("openvino", "onnxruntime")
"""The usual one first."""
clock: Callable[[], float] = time.perf_counter
"""Seconds; benchmarks on a busy machine put the process's own time in its place."""
WARM_UP = 2
LEAST, MOST = 5, 3000  # runs
SECONDS = 0.15  # of runs, where they are short


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


def time_of(data: bytes, conditions: Conditions) -> float:
    """The median milliseconds of running a file, on numbers of a normal distribution."""
    from ganpress.formats.runtimes import open_file

    precision = None if conditions.runtime == "onnxruntime" else conditions.precision
    with open_file(
        data, runtime=conditions.runtime, threads=conditions.threads, precision=precision
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
            began = clock()
            opened.run(feeds)
            times.append(1e3 * (clock() - began))
        return float(np.median(times))
