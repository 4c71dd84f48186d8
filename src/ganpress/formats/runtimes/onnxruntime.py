"""ONNX files by onnxruntime, on the CPU."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median_high
from typing import Any

from ganpress.errors import ConfigError, require
from ganpress.formats.runtimes.base import (
    Arrays,
    Hint,
    NodeTime,
    Opened,
    Port,
    Source,
    unreadable,
)

NAME = "onnxruntime"
QUIET = 3  # errors only
_DTYPES = {"float": "float32", "double": "float64"}
_KERNEL = "_kernel_time"


def open_with_onnxruntime(
    source: Source, *, threads: int, hint: Hint | None, profile: bool, settings: Mapping[str, Any]
) -> Opened:
    """See `open_file`. Args: settings: session options by name (``session.intra_op...``)."""
    require(f"Running {source.name}", NAME)
    import onnxruntime

    if hint not in (None, "f32"):
        raise ConfigError(
            f"onnxruntime computes in the precision that the file has: it cannot be asked for "
            f"{hint}. Export the model in that precision, or choose OpenVINO."
        )
    folder = tempfile.TemporaryDirectory() if profile else None
    options = _options(onnxruntime, threads, folder.name if folder else None, settings)
    file = source.file if isinstance(source.file, bytes) else str(source.file)
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no public base
        if folder:
            folder.cleanup()
        raise unreadable(source, NAME, error) from error
    runs = _Runs(session, folder)
    return Opened(
        runtime=NAME,
        version=onnxruntime.__version__,
        threads=threads,
        precision="f32",
        inputs=_ports(session.get_inputs()),
        outputs=_ports(session.get_outputs()),
        described=dict(session.get_modelmeta().custom_metadata_map),
        run=runs.run,
        profile=runs.profile,
        close=runs.close,
    )


def _options(
    onnxruntime: Any, threads: int, folder: str | None, settings: Mapping[str, Any]
) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = QUIET
    for name, value in settings.items():
        options.add_session_config_entry(name, str(value))
    if folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
    return options


class _Runs:
    """A session, how often it ran, and where it writes its profile."""

    def __init__(self, session: Any, folder: tempfile.TemporaryDirectory[str] | None) -> None:
        self.session, self.folder, self.count = session, folder, 0
        self.names = [output.name for output in session.get_outputs()]

    def run(self, inputs: Arrays) -> dict[str, Any]:
        self.count += 1
        return dict(zip(self.names, self.session.run(self.names, dict(inputs)), strict=True))

    def profile(self) -> tuple[NodeTime, ...]:
        if self.folder is None or not self.count:
            return ()
        file = Path(self.session.end_profiling())
        events = json.loads(file.read_text())
        self.close()
        return _node_times(events, self.count)

    def close(self) -> None:
        if self.folder is not None:
            self.session.end_profiling()
            self.folder.cleanup()
            self.folder = None


def _node_times(events: list[dict[str, Any]], runs: int) -> tuple[NodeTime, ...]:
    """Median milliseconds of each node over all runs but the first, from the events of a profile:
    a node that runs several times in a run (in a loop) counts with their sum."""
    took: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
            key = event["name"].removesuffix(_KERNEL), event["args"]["op_name"]
            took[key].append(event["dur"] / 1e3)
    return tuple(NodeTime(*key, median_high(_by_run(times, runs))) for key, times in took.items())


def _by_run(times: list[float], runs: int) -> list[float]:
    """The sum of each run but the first, where there are others."""
    each = max(1, len(times) // runs)
    sums = [sum(times[start : start + each]) for start in range(0, len(times), each)]
    return sums[1:] or sums


def _ports(found: Any) -> dict[str, Port]:
    return {port.name: _port(port.shape, port.type) for port in found}


def _port(shape: Any, kind: str) -> Port:
    """Args: kind: as onnxruntime spells it, 'tensor(float)'."""
    element = kind.removeprefix("tensor(").removesuffix(")")
    return Port(
        tuple(d if isinstance(d, int) and d >= 0 else None for d in shape),
        _DTYPES.get(element, element),
        tuple(d if isinstance(d, str) else "" for d in shape),
    )
