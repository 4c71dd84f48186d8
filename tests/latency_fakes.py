"""A machine whose time is counted, not measured: for tests of latencies."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import onnx
import pytest

from ganpress.measures.timing import latency_target, layer_table, timer

CALL_MS = 0.25
MACS_PER_MS = 1e5
NUMBERS_PER_MS = 1e5


def counted_ms(data: bytes) -> float:
    """What a machine would take that fuses nothing and has no cache: by the multiply-accumulates of
    convolutions and fully connected layers, and the numbers that each node reads (but for what the
    file holds) and writes."""
    file = onnx.load_from_string(data)
    graph = onnx.shape_inference.infer_shapes(file, strict_mode=True, data_prop=True).graph
    shapes = {i.name: tuple(i.dims) for i in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    held, ms = {i.name for i in graph.initializer}, CALL_MS
    for node in graph.node:
        if all(name in held for name in node.input):
            held |= set(node.output)  # of weights alone: done when the file is opened
            continue
        ports = [*(name for name in node.input if name and name not in held), *node.output]
        ms += sum(prod(shapes[name]) for name in ports) / NUMBERS_PER_MS
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            read, weight, made = (shapes[n] for n in (*node.input[:2], node.output[0]))
            seen = read if node.op_type == "ConvTranspose" else made
            positions = prod(seen[2:]) if len(seen) == 4 else prod(seen[:-1])
            ms += prod(weight) * positions / MACS_PER_MS
    return ms


class Machine:
    """A machine of a speed, whose measurements are noted.

    Attributes:
        files: of each measurement, as they were given.
        fails_at: the measurement that is interrupted; None: none.
    """

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.files, self.fails_at = factor, list[Any](), None

    def time_of(self, data: bytes, _: object = None) -> float:
        """In place of `timer.time_of`."""
        if self.fails_at == len(self.files):
            raise KeyboardInterrupt
        self.files.append(data)
        return self.factor * counted_ms(data)


def use(machine: Machine, patch: pytest.MonkeyPatch, cache: Path, *, name: str = "A CPU") -> None:
    """Measure on this machine from now on, as a process would that has just started."""
    patch.setattr(timer, "time_of", machine.time_of)
    patch.setattr(timer, "processor", lambda: name)
    patch.setenv("XDG_CACHE_HOME", str(cache))
    for module, names in (
        (layer_table, ("_open",)),
        (latency_target, ("_tables", "_models")),
    ):
        for held in names:
            patch.setattr(module, held, {})
    for held in ("_said", "_compared"):
        patch.setattr(latency_target, held, set())
    for module in ("measures.timing.template", "formats.exporters.onnx"):
        # some passes treat layers of four channels and less in another way: no sum of linear parts
        patch.setattr(f"ganpress.{module}.optimised", lambda data, runtime: data)
