"""Students made for integers beside plain ones: the same teacher, MACs, losses and minutes.

Command:  OMP_NUM_THREADS=1 taskset -c 0 python -m benchmarks.integer_students
Needs:    GANPRESS_DATA and GANPRESS_WEIGHTS, the extras `onnx` and `openvino`.
Time:     36 minutes on one core: 3.5 of training for each of nine students, the rest evaluation,
          export and timing. `--minutes` of training a student; `--only` one teacher, the other's
          rows stay; `--tiny` for a trial in seconds.
Result:   benchmarks/results/integer-students.json and .md.

Two teachers of the zoo: a ResNet (cyclegan, photos to Monet, 64 pixels) and a U-Net (pix2pix,
OpenMoji, 128 pixels). Of each three 8-bit students, uniformly narrow within the same MACs, that
begin with the teacher's most important channels and train for the same minutes in 8 bits
(once-for-all, procedure `uniform`): in the teacher's wiring, and in the form for integers, doubling
by sub-pixel convolutions or by resizing; of the ResNet also with separable blocks, as in GAN
Compression, and in the teacher's wiring within two thirds and half of those MACs: a dense
convolution takes less time for a MAC. Quality is the distance to the teacher's pictures
on held-out photos, of the fake-quantised network. Speed is of its files, int8 and with the
quantisers removed, by onnxruntime and OpenVINO with one thread; all files of a teacher take turns
in one process, and times are the process's own, so that other work on the machine disturbs them
less.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganpress import load, open_images
from ganpress.data import Images
from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.graph import Runtime
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.measures.cost import measure
from ganpress.measures.fidelity import evaluate
from ganpress.measures.timing.device import processor
from ganpress.methods.base import Given
from ganpress.methods.once_for_all import ONCE_FOR_ALL, OnceForAllConfig
from ganpress.models.checkpoint import Model
from ganpress.quantisation.quantise import quantise
from ganpress.run.run import Run
from ganpress.run.settings import read_config

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
SHARED = [
    *("procedure=uniform", "target.macs=0.25", "student.wiring=dense", "quantise.bits=8"),
    *("quantise.per_channel=true", "quantise.ranges=calibrated", "data.workers=0"),
    "finetune.steps=0",
]
FORMS = {
    "plain": [],
    "integers, sub-pixel": ["student.form=integers", "student.doubling=sub-pixel"],
    "integers, resize": ["student.form=integers", "student.doubling=resize"],
    "separable, as GAN Compression's": ["student.wiring=separable"],
    "plain, two thirds of the MACs": ["target.macs=0.17"],
    "plain, half of the MACs": ["target.macs=0.125"],
}
RESNETS_ALONE = ("separable", "plain, ")
TEACHERS: dict[str, dict[str, Any]] = {
    "cyclegan-monet": {"size": 64, "train": "monet2photo/trainB", "test": "monet2photo/testB"},
    "pix2pix-openmoji": {"size": 128, "train": "openmoji/train", "test": "openmoji/val"},
}
TINY = [
    *("supernet.minutes=", "supernet.steps=2", "data.batch=2", "search.calibrate=4"),
    *("distance.features=tiny", "distance.style=0"),
]


def images_of(name: str, split: str, count: int) -> Images:
    """The teacher's pictures, at most so many."""
    data = Path(os.environ["GANPRESS_DATA"])
    found = open_images(
        data / TEACHERS[name][split],
        side_by_side="AB" if name.startswith("pix2pix") else None,
    )
    return found.some(range(min(count, len(found))))


def student_of(teacher: Model, name: str, form: str, a: argparse.Namespace, run: Path) -> Model:
    """Train one student in 8 bits."""
    size = TEACHERS[name]["size"]
    asked = [*SHARED, *FORMS[form], f"data.size={size}", f"seed={a.seed}"]
    asked += [f"data.load_size={size + size // 10}", f"supernet.minutes={a.minutes}"]
    asked += ["supernet.steps=1000000", *(TINY if a.tiny else [])]
    config = read_config(OnceForAllConfig, "once-for-all-cpu", asked)
    given = Given(teacher, images_of(name, "train", 40 if a.tiny else 100_000))
    used = ONCE_FOR_ALL.resolve(given, config)
    ONCE_FOR_ALL.check(given, used)
    return ONCE_FOR_ALL.compress(given, used, Run(run, seed=used.seed, quiet=True))


def without_quantisers(model: Model) -> Model:
    """The same network in floats."""
    bare = copy.copy(model)
    bare.net = quantise(copy.deepcopy(model.net), None)
    return bare


def runner(data: bytes, runtime: Runtime, size: int) -> Callable[[], object]:
    """What runs a file once, with one thread."""
    import onnxruntime
    import openvino

    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, size, size)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    if runtime == "onnxruntime":
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"image": x})
    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(data), "CPU", settings).create_infer_request()
    return lambda: request.infer([x])


def times(models: dict[str, Model], size: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of the process, by model and runtime, each of the file that is written
    for that runtime; all in turns."""
    opened = {
        (name, runtime): runner(to_bytes(model, Form(size), runtime=runtime), runtime, size)
        for name, model in models.items()
        for runtime in RUNTIMES
    }
    took: dict[tuple[str, str], list[float]] = {key: [] for key in opened}
    for k in range(rounds + 2):
        for key, run in opened.items():
            began = time.process_time()
            run()
            if k > 1:  # the first two allocate
                took[key].append(1e3 * (time.process_time() - began))
    return {
        name: {runtime: round(statistics.median(took[name, runtime]), 2) for runtime in RUNTIMES}
        for name in models
    }


RUNTIMES: tuple[Runtime, ...] = ("onnxruntime", "openvino")


def compare(name: str, a: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The rows of one teacher."""
    teacher = load(ROOT / "zoo" / f"{name}.safetensors")
    shown = images_of(name, "test", 4 if a.tiny else 64)
    side, size = TEACHERS[name]["size"], a.size
    whole = measure(teacher.net, size)
    rows: dict[str, Any] = {}
    models: dict[str, Model] = {}
    forms = [
        f for f in FORMS if not f.startswith(RESNETS_ALONE) or teacher.family.name == "cyclegan"
    ]
    for form in forms:
        print(f"{name}: {form}", flush=True)
        student = student_of(load_again(name), name, form, a, folder / f"{name}-{form}")
        found = evaluate(
            student, teacher, shown, size=side, features="tiny" if a.tiny else "squeezenet"
        )
        cost = measure(student.net, size)
        rows[form] = {
            "macs": cost.macs,
            "of_the_teachers": round(cost.macs / whole.macs, 4),
            "params": cost.params,
            "metrics": {key: round(value, 5) for key, value in found.metrics.items()},
            "spread": {key: round(value, 5) for key, value in found.spread.items()},
            "protocol": found.protocol,
            "steps": json.loads((folder / f"{name}-{form}/distil/done.json").read_text())["steps"],
        }
        models |= {f"{form}, int8": student, f"{form}, float": without_quantisers(student)}
    found_times = times(models, size, 3 if a.tiny else 40)
    for form in forms:
        rows[form]["ms"] = {k: found_times[f"{form}, {k}"] for k in ("int8", "float")}
    return {"timed_at": size, "evaluated_at": side, "students": rows}


def load_again(name: str) -> Model:
    """The teacher anew: a run moves it."""
    return load(ROOT / "zoo" / f"{name}.safetensors")


def page(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["# Students made for integers", "", "Made by `python -m benchmarks.integer_students`."]
    for name, part in found.items():
        how = part["how"]
        first = next(iter(part["students"].values()))
        metrics = [*first["metrics"]]
        lines += [
            "",
            f"## {name}, timed at {part['timed_at']} px, evaluated at {part['evaluated_at']} px",
            "",
            f"{how['cpu']}, one thread, onnxruntime {how['onnxruntime']}, OpenVINO "
            f"{how['openvino']}; {how['minutes']:g} minutes of training a student in 8 bits. "
            "Milliseconds are the process's own, at batch 1.",
            "",
            f"| student | MACs | {' | '.join(metrics)} | onnxruntime int8 / float, ms | OpenVINO "
            "int8 / float, ms |",
            f"|---|---:|{'---:|' * len(metrics)}---:|---:|",
        ]
        for form, row in part["students"].items():
            ms = [f"{row['ms']['int8'][r]:.2f} / {row['ms']['float'][r]:.2f}" for r in RUNTIMES]
            values = " | ".join(f"{row['metrics'][m]:.4f}" for m in metrics)
            lines.append(f"| {form} | {row['macs'] / 1e6:.1f} M | {values} | {' | '.join(ms)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Train, measure, write, tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=3.5, help="of training for each student")
    parser.add_argument("--size", type=int, default=256, help="pixels at which files are timed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[*TEACHERS], help="one teacher")
    parser.add_argument("--tiny", action="store_true", help="a trial of seconds")
    parser.add_argument("--out", type=Path, default=RESULTS)
    a = parser.parse_args()
    if a.tiny:
        a.size = 64
    torch.set_num_threads(1)
    import onnxruntime
    import openvino

    how = {
        "cpu": processor(),
        "threads": 1,
        "seed": a.seed,
        "minutes": a.minutes,
        "tiny": a.tiny,
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "openvino": openvino.__version__,
        "load": os.getloadavg()[0],
    }
    a.out.mkdir(parents=True, exist_ok=True)
    file = a.out / "integer-students.json"
    found = json.loads(file.read_text()) if a.only and file.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in [a.only] if a.only else TEACHERS:
            found[name] = {"how": how, **compare(name, a, Path(folder))}
    file.write_text(json.dumps(found, indent=1) + "\n")
    (a.out / "integer-students.md").write_text(page(found))
    print(page(found))


if __name__ == "__main__":
    main()
