"""8 bits after training: ours and NNCF's, how far from the float network, and how fast.

Command:  .venv/bin/python -m benchmarks.calibrated [--only NAME...] [--size 256]
Needs:    GANPRESS_DATA and GANPRESS_WEIGHTS, the extras `onnx` and `openvino`; NNCF's rows want
          `pip install nncf` (a venv of its own will do: it is no dependency, ADR 32).
Time:     some minutes of one core.
Result:   benchmarks/results/calibrated.json, and the table calibrated.md written from it.

The zoo's teachers, quantised after training on 64 pictures (or draws): by ganpress for onnxruntime
and for OpenVINO, and by NNCF with its default settings from the float file that ganpress exports.
All are compared with torch in float32 on 20 other pictures. Times are of one thread, the process's
own, so that other work on the machine disturbs them less; all files of a network take turns, and
what is given is the time of the float file in the same runtime over theirs, of the same turns.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.export_parity import COUNT, SEED, Case, cases
from ganpress.formats.exporters.form import OUTPUT, Form, Seen
from ganpress.formats.exporters.graph import Runtime
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.formats.exporters.parity import CALIBRATION, seen_of
from ganpress.formats.exporters.verify import GREY
from ganpress.formats.runtimes import open_file
from ganpress.measures.timing.device import processor
from ganpress.measures.timing.statistics import Ratio, times_as_fast
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import reads

RESULT = Path(__file__).parent / "results" / "calibrated"
FILES = {
    "ours, OpenVINO": ("openvino", "float, OpenVINO"),
    "NNCF, OpenVINO": ("openvino", "float, OpenVINO"),
    "ours, onnxruntime": ("onnxruntime", "float, onnxruntime"),
}
"""Runtime of each 8-bit file, and the float file that it is compared with."""
ROUNDS, RUNS = 10, 3
Feeds = Mapping[str, Any]
Run = Callable[[Feeds], dict[str, Any]]


def by_nncf(data: bytes, feeds: Sequence[Feeds]) -> Any:
    """A float ONNX file in OpenVINO, quantised by NNCF as it does by default."""
    import nncf
    import openvino

    graph = openvino.Core().read_model(data)
    return nncf.quantize(graph, nncf.Dataset(list(feeds)), subset_size=len(feeds))


def compiled(graph: Any) -> Run:
    """An OpenVINO network in memory, in float32 on one thread, as `open_file` runs one."""
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    request = openvino.Core().compile_model(graph, "CPU", settings).create_infer_request()
    return lambda feeds: {OUTPUT: next(iter(request.infer(dict(feeds)).values()))}


def fed(model: Model, seen: Sequence[Seen]) -> list[Feeds]:
    """As a runtime is given them."""
    return [{n: t.numpy() for n, t in zip(reads(model), one.inputs, strict=True)} for one in seen]


def files_of(
    model: Model, size: Any, observed: Sequence[Seen]
) -> tuple[dict[str, Run], dict[str, str]]:
    """Every file ready to run, and why one is missing."""
    inputs = [one.inputs for one in observed]
    runs: dict[str, Run] = {}
    missing: dict[str, str] = {}
    runtimes: dict[Runtime, str] = {"openvino": "OpenVINO", "onnxruntime": "onnxruntime"}
    for runtime, spelled in runtimes.items():
        floats = to_bytes(model, Form(size), runtime=runtime)
        runs[f"float, {spelled}"] = open_file(floats, runtime=runtime, threads=1).run
        integers = to_bytes(model, Form(size, precision="int8"), inputs, runtime=runtime)
        runs[f"ours, {spelled}"] = open_file(integers, runtime=runtime, threads=1).run
        if runtime != "openvino":
            continue
        if find_spec("nncf") is None:
            missing["NNCF, OpenVINO"] = "not installed"
            continue
        try:
            runs["NNCF, OpenVINO"] = compiled(by_nncf(floats, fed(model, observed)))
        except Exception as error:  # whatever it raises is the result
            missing["NNCF, OpenVINO"] = f"fails: {str(error).strip().splitlines()[0]}"
    return runs, missing


def timed(runs: Mapping[str, Run], feeds: Feeds) -> dict[str, list[list[float]]]:
    """Milliseconds of each run, by round; the files take turns."""
    took: dict[str, list[list[float]]] = {name: [] for name in runs}
    for number in range(ROUNDS + 1):
        for name, run in runs.items():
            turn = []
            for _ in range(RUNS):
                began = time.process_time()
                run(feeds)
                turn.append(1e3 * (time.process_time() - began))
            if number:  # the first allocates
                took[name].append(turn)
    return took


def measured(case: Case, size: int | None) -> dict[str, Any]:
    """The rows of one network."""
    model = case.teacher()
    side = model.resolve_size(None if model.is_fixed else size or case.size)
    form = Form(side)
    runs, missing = files_of(model, side, seen_of(model, case.train, form, CALIBRATION))
    seen = seen_of(model, case.test, form, COUNT)
    wanted = [model(*one.inputs).numpy() for one in seen]
    feeds = fed(model, seen)
    took = timed(runs, feeds[0])
    rows: dict[str, Any] = {name: {"none": why} for name, why in missing.items()}
    for name, run in runs.items():
        made = [next(iter(run(one).values())) for one in feeds]
        off = [np.abs(x - want).mean() for x, want in zip(made, wanted, strict=True)]
        rows[name] = {"mean_grey_levels": float(np.mean(off)) / GREY}
        if name in FILES:
            found = times_as_fast(took[name], took[FILES[name][1]], SEED)
            rows[name]["times_as_fast"] = vars(found) if found else None
    return {"family": model.family.name, "size": side, "rows": rows}


def cell(row: Mapping[str, Any] | None) -> str:
    """'1.05 grey levels, 2.10 (2.05–2.15) times as fast'."""
    if row is None or "none" in row:
        return row["none"] if row else ""
    found = Ratio(**row["times_as_fast"])
    spread = f" ({found.low:.2f}–{found.high:.2f})" if found.low is not None else ""
    return f"{row['mean_grey_levels']:.2f}; {found.value:.2f}{spread}"


def page(found: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    lines = [f"| network | {' | '.join(FILES)} |", f"|---|{'---:|' * len(FILES)}"]
    for name, of in found["networks"].items():
        cells = " | ".join(cell(of["rows"].get(file)) for file in FILES)
        lines.append(f"| {name}, {of['size']} px | {cells} |")
    lines += ["", (
        f"Mean difference from torch in float32, grey levels; times as fast as the float file in "
        f"the same runtime (one thread, the process's own time, {ROUNDS} turns). Calibrated on "
        f"{CALIBRATION} pictures or draws, compared on {COUNT} others. {found['processor']}; "
        f"onnxruntime {found['onnxruntime']}, OpenVINO {found['openvino']}, NNCF "
        f"{found['nncf'] or 'not installed'}. Written by `python -m benchmarks.calibrated`."
    )]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Quantise, compare, write after each network."""
    import onnxruntime
    import openvino

    from ganpress.measures.timing.timer import installed

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", help="of these names")
    parser.add_argument("--size", type=int, help="pixels; each network's own")
    parser.add_argument("--out", type=Path, default=RESULT, help="without an ending")
    a = parser.parse_args()
    torch.set_num_threads(1)
    file = Path(f"{a.out}.json")
    found = json.loads(file.read_text()) if file.exists() else {"networks": {}}
    found |= {
        "processor": processor(), "onnxruntime": onnxruntime.__version__,
        "openvino": openvino.__version__.split("-")[0], "nncf": installed("nncf"), "seed": SEED,
    }  # fmt: skip
    for name, case in cases().items():
        if "random" in name or (a.only and name not in a.only):
            continue
        found["networks"][name] = measured(case, a.size)
        a.out.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, indent=1) + "\n")
        Path(f"{a.out}.md").write_text(page(found))
        print(name, json.dumps(found["networks"][name]["rows"]), flush=True)
    print(page(found))


if __name__ == "__main__":
    main()
