"""OpenVINO networks (.xml with a .bin beside it) and ONNX files by OpenVINO, on the CPU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median_high
from typing import Any, get_args

from ganpress.errors import CheckpointError, require
from ganpress.formats.runtimes.base import (
    Arrays,
    Hint,
    NodeTime,
    Opened,
    Port,
    Source,
    unreadable,
)

NAME = "openvino"
DYNAMIC = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
"""0: a dense layer of 8-bit weights reads floats as floats; by default their numbers are rounded to
8 bits on the way, in groups, which no quantiser of the file asked for."""
SPELLED = "OpenVINO"
HINT_AT = "inference_precision_hint"
"""Where a file's metadata say what it is to be computed in."""
_ELEMENTS = {"f32": "float32", "f64": "float64", "f16": "float16", "bf16": "bfloat16",
             "u8": "uint8", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
             "u16": "uint16", "u32": "uint32", "u64": "uint64", "boolean": "bool"}  # fmt: skip


def open_with_openvino(
    source: Source, *, threads: int, hint: Hint | None, profile: bool, settings: Mapping[str, Any]
) -> Opened:
    """See `open_file`. Float arithmetic is what is asked for, or what the file says, or float32:
    some CPUs would take bfloat16 by themselves.

    Args: settings: of the CPU plugin by name (``ENABLE_CPU_PINNING``).
    """
    require(f"Running {source.name}", NAME)
    import openvino

    read = read_network(source)
    chosen: Hint = hint or _hint_of(read)
    wanted = {
        "INFERENCE_PRECISION_HINT": chosen,
        DYNAMIC: 0,
        "INFERENCE_NUM_THREADS": threads,
        **({"PERF_COUNT": True} if profile else {}),
        **settings,
    }
    try:
        compiled = openvino.Core().compile_model(read, "CPU", wanted)
    except Exception as error:  # openvino's errors share no public base
        raise unreadable(source, SPELLED, error) from error
    runs = _Runs(compiled.create_infer_request(), profile)
    return Opened(
        runtime=NAME,
        version=openvino.__version__.split("-")[0],
        threads=threads,
        precision=chosen,
        inputs=_ports(read.inputs),
        outputs=_ports(read.outputs),
        described=_described(read),
        run=runs.run,
        profile=runs.profile,
        close=runs.close,
    )


def read_network(source: Source) -> Any:
    """The network as openvino.Model. Raises: CheckpointError, MissingExtra."""
    require(f"Running {source.name}", NAME)
    import openvino

    file = source.file
    if isinstance(file, Path) and file.suffix.lower() == ".xml":
        weights = file.with_suffix(".bin")
        if not weights.is_file():
            raise CheckpointError(
                f"{file} has its weights in {weights.name}, which is not beside it."
            )
    try:
        return openvino.Core().read_model(file, source.weights)
    except Exception as error:  # openvino's errors share no public base
        raise unreadable(source, SPELLED, error) from error


class _Runs:
    """A request that runs the network, and the times of its nodes in each run."""

    def __init__(self, request: Any, profiling: bool) -> None:
        self.request, self.profiling = request, profiling
        self.took: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def run(self, inputs: Arrays) -> dict[str, Any]:
        made = self.request.infer(dict(inputs), share_inputs=True)
        if self.profiling:
            self._note()
        return {name: made[port] for port in self.request.model_outputs for name in _names(port)}

    def _note(self) -> None:
        for node in self.request.profiling_info:
            if node.real_time.total_seconds() > 0:
                kind = f"{node.node_type} {node.exec_type}"
                self.took[node.node_name, kind].append(1e3 * node.real_time.total_seconds())

    def profile(self) -> tuple[NodeTime, ...]:
        self.profiling = False
        return tuple(NodeTime(*key, median_high(ms[1:] or ms)) for key, ms in self.took.items())

    def close(self) -> None:
        self.request = None


def _names(port: Any) -> list[str]:
    """All names of a port; of one without, the name of the node that makes it."""
    return sorted(port.names) or [port.node.friendly_name]


def _ports(ports: Any) -> dict[str, Port]:
    return {
        (port.any_name if port.names else port.node.friendly_name): Port(
            tuple(d.get_length() if d.is_static else None for d in port.partial_shape),
            _ELEMENTS.get(port.element_type.type_name, port.element_type.type_name),
            ("",) * len(port.partial_shape),
        )
        for port in ports
    }


def _hint_of(read: Any) -> Hint:
    """What the file says that it is to be computed in; float32 where it says nothing."""
    said = _described(read).get(HINT_AT)
    hints: tuple[Hint, ...] = get_args(Hint)
    return next((hint for hint in hints if hint == said), "f32")


def _described(read: Any) -> dict[str, str]:
    """The metadata of the ONNX file that the network was made from."""
    known = dict(read.get_rt_info().items())
    info: Any = known.get("framework", {})
    found: Mapping[str, Any] = getattr(info, "value", info)
    return {key: str(getattr(value, "value", value)) for key, value in found.items()}
