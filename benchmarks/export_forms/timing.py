"""All forms of a case take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.export_forms.drawing import Array, Forms


def measured(forms: Forms, threads: int, passes: int) -> dict[str, Any]:
    """Per runtime and form: the median ratio to the first form, milliseconds, the difference."""
    import onnx

    first = onnx.load_from_string(next(iter(forms.values())))
    shape = [d.dim_value for d in first.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    runs: dict[tuple[str, str], Callable[[], Array]] = {}
    refused: dict[str, str] = {}
    for runtime, open_ in RUNTIMES.items():
        for name, data in forms.items():
            try:
                run = open_(data, threads)
                run(x)
            except Exception as error:  # a form that a runtime cannot run is a result
                refused[f"{runtime}: {name}"] = str(error).splitlines()[0][:200]
                continue
            runs[runtime, name] = lambda run=run: run(x)  # type: ignore[misc]
    took: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for turn in range(passes):
        keys = list(runs) if turn % 2 else list(runs)[::-1]
        for key in keys:
            began = time.process_time()
            runs[key]()
            took[key].append(time.process_time() - began)
    out: dict[str, Any] = {"refused": refused} if refused else {}
    for runtime in RUNTIMES:
        base = (runtime, next(iter(forms)))
        want = runs[base]()
        out[runtime] = {
            name: {
                "ratio": round(
                    statistics.median(
                        a / b for a, b in zip(took[runtime, name], took[base], strict=True)
                    ),
                    3,
                ),
                "ms": round(1e3 * statistics.median(took[runtime, name]), 2),
                "difference": float(np.abs(runs[runtime, name]() - want).max()),
            }
            for name in forms
            if (runtime, name) in runs
        }
    return out


def onnxruntime_of(data: bytes, threads: int) -> Callable[[Array], Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def openvino_of(data: bytes, threads: int) -> Callable[[Array], Array]:
    import openvino

    core = openvino.Core()
    wanted = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = core.compile_model(core.read_model(data), "CPU", wanted)
    return lambda x: compiled(x)[0]


RUNTIMES = {"onnxruntime": onnxruntime_of, "openvino": openvino_of}


def versions() -> dict[str, str]:
    import onnxruntime
    import openvino

    return {"onnxruntime": onnxruntime.__version__, "openvino": openvino.__version__}
