"""A target in milliseconds: how far predictions are off, and how far off students end.

Command:  python -m benchmarks.latency_target            (every zoo teacher, quiet cores)
Time:     about 3 minutes a teacher and runtime for the table (GauGAN 10), once; then seconds for
          each width set, and about a minute for each student.
Result:   benchmarks/results/latency-target.json and .md; rows of other teachers, runtimes and
          precisions stay.

For each teacher, runtime and precision, the table of this machine is built in a cache of its own
(``--cache``), with the fit on whole networks that goes with it. Then whole networks of random
widths that were not used for it are exported by the exporter itself, timed, and compared with the
prediction. Then each method makes a student of the time half way between those of the teacher's
widths and of the narrowest ones, from drawn pictures, with so few steps that its widths alone mean
something (a method that cannot make so fast a one is asked for half way from there to the
teacher); its results.json says what was asked for, predicted and measured, and `ganpress.bench`
times it once more, beside its teacher.

A machine's speed moves by a tenth and more between a table and what is made by it. So the teacher
is timed in turns with all of these: how far they are off is said as it was measured, and once more
for a machine on which the teacher takes what it took when the table was made.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from ganpress import bench, compress, load
from ganpress.data import Images, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import GanpressError
from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.graph import Runtime
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.measures.target import TargetSettings
from ganpress.measures.timing import timer
from ganpress.measures.timing.cost_model import LatencyModel
from ganpress.measures.timing.device import processor
from ganpress.measures.timing.latency_target import model_of, quantised, resolved_target
from ganpress.methods import METHODS
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import from_noise
from ganpress.quantisation.settings import QuantiseSettings
from ganpress.run.settings import checked

ZOO = Path(__file__).parent.parent / "zoo"
RESULTS = Path(__file__).parent / "results"
TEACHERS = (
    "cyclegan-monet", "pix2pix-facades", "pix2pix-openmoji", "gaugan-facades", "sngan-cifar10",
    "stylegan2-lfw",
)  # fmt: skip
LIMIT = 0.10
BRIEF: dict[str, dict[str, Any]] = {
    "slim": {"sparsify": {"steps": 30, "batch": 1, "scale_lr": 0.01}},
    "once-for-all": {
        "student": {"wiring": "dense"},  # a separable one can be faster than the target as it is
        "supernet": {"steps": 30},
        "search": {"evaluations": 60, "population": 12, "images": 2, "calibrate": 2, "widen": True},
    },
    "content-aware": {"score": {"samples": 2, "batch": 2}},
}


def main() -> None:
    """Measure what is asked for, and write the results after each teacher."""
    given = arguments()
    os.environ["XDG_CACHE_HOME"] = str(given.cache)
    torch.set_num_threads(given.threads)
    rows = kept_rows(given.out)
    for name in given.teachers:
        for runtime in given.runtimes:
            for bits in given.bits:
                row = of_teacher(name, runtime, bits, given)
                alike = ("teacher", "runtime", "precision")
                rows = [r for r in rows if any(r[k] != row[k] for k in alike)] + [row]
                write(sorted(rows, key=lambda r: [r[k] for k in alike]), given)


def kept_rows(path: Path) -> list[dict[str, Any]]:
    """What was measured before, each row with its processor, which the file says once where all
    are of one."""
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    return [{"processor": found.get("processor"), **row} for row in found["rows"]]


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--teachers", nargs="*", default=list(TEACHERS))
    parser.add_argument("--runtimes", nargs="*", default=["openvino", "onnxruntime"])
    parser.add_argument("--bits", nargs="*", type=int, default=[32, 8])
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--sets", type=int, default=10, help="width sets that are compared")
    parser.add_argument("--size", type=int, help="pixels; the network's own")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "latency-target"
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "latency-target.json")
    return parser.parse_args()


def of_teacher(name: str, runtime: Runtime, bits: int, given: argparse.Namespace) -> dict[str, Any]:
    """Predictions and students of one teacher in one runtime."""
    teacher = load(ZOO / f"{name}.safetensors")
    asked = TargetSettings(
        latency_ms=1.0, runtime=runtime, threads=given.threads,
        size=None if teacher.is_fixed else given.size,
    )  # fmt: skip
    how = QuantiseSettings(bits=bits)
    began = time.monotonic()
    target = resolved_target(asked, how, teacher, teacher)
    built_s = time.monotonic() - began
    model = model_of(teacher, target, how)
    row = {
        "teacher": name, "family": teacher.family.name, "runtime": runtime,
        "processor": processor(),
        "precision": target.precision, "size": target.size, "threads": given.threads,
        "teacher_ms": target.teacher_ms, "round": target.round, "table_s": round(built_s, 1),
        "fit": {"offset_ms": model.fit.offset_ms, "factor": model.fit.factor,
                "error": model.fit.error},
        "sets": compared(teacher, model, target, how, given.sets),
    }  # fmt: skip
    errors = [abs(one["predicted_ms"] / one["measured_ms"] - 1) for one in row["sets"]]
    beside = [abs(one["predicted_ms"] / one["measured_ms"] * one["teacher_ms"] / row["teacher_ms"]
                  - 1) for one in row["sets"]]  # fmt: skip
    row |= {
        "mean_error": statistics.mean(errors),
        "max_error": max(errors),
        "mean_error_beside": statistics.mean(beside),
        "max_error_beside": max(beside),
    }
    print(f"{name} {runtime} {target.precision}: {row['mean_error']:.1%} off, beside the teacher "
          f"{row['mean_error_beside']:.1%}; table {built_s:.0f} s", flush=True)  # fmt: skip
    least = {group: min(width, model.step) for group, width in teacher.widths.items()}
    asked_ms = (model(teacher.widths) + model(least)) / 2
    whole_ms = min(model(teacher.widths), target.teacher_ms or math.inf)
    row["students"] = {
        m: nearest(teacher, m, target, how, (asked_ms, whole_ms)) for m in given.methods
    }
    return row


def nearest(
    teacher: Model,
    method: str,
    target: TargetSettings,
    how: QuantiseSettings,
    ms: tuple[float, float],
) -> dict[str, Any]:
    """`student` of the time asked for, or, where this method's smallest network takes longer, of
    half way from there to that of the teacher's widths, and once more.

    Args: ms: asked for, and of the teacher's widths.
    """
    asked_ms, whole_ms = ms
    for _ in range(6):
        found = student(teacher, method, target, how, asked_ms)
        if "none" not in found:
            break
        asked_ms = (asked_ms + whole_ms) / 2
    return found


def compared(
    teacher: Model, model: LatencyModel, target: TargetSettings, how: QuantiseSettings, count: int
) -> list[dict[str, Any]]:
    """Predicted and measured ms at random widths, each file made by the exporter, and of the
    teacher that was timed in turns with them."""
    conditions = model.table.conditions
    runtime = cast(Runtime, conditions.runtime)
    whole = to_bytes(teacher, Form(size=model.size), runtime=runtime)
    sets, files = [], [whole]
    for i in range(count):
        widths = model.some_widths(1000 + i)
        narrow = Model(teacher.build(widths).eval(), teacher.family, teacher.options)
        for weight in narrow.net.parameters():
            if not weight.any():  # class gains begin at 0, and an export would leave them out
                torch.nn.init.normal_(weight, std=0.02)
        data = to_bytes(quantised(narrow, how), Form(size=model.size), runtime=runtime)
        sets.append(widths)
        files.append(data)
    floats = replace(conditions, precision="fp32")

    def timed(data: bytes) -> float:
        return timer.time_of(data, floats if data is whole else conditions)

    now, *measured = timer.in_turns(timed, files)
    return [
        {"widths": widths, "predicted_ms": model(widths), "measured_ms": ms, "teacher_ms": now}
        for widths, ms in zip(sets, measured, strict=True)
    ]


def student(
    teacher: Model, method: str, target: TargetSettings, how: QuantiseSettings, asked_ms: float
) -> dict[str, Any]:
    """What a run of a method says of its student's time; or why there is none."""
    asked = {
        "latency_ms": round(asked_ms, 3),
        "runtime": target.runtime, "threads": target.threads,
        "size": None if teacher.is_fixed else target.size,
    }  # fmt: skip
    values = {
        "target": asked, "quantise": how.model_dump(), "finetune": {"steps": 1},
        "data": {"size": 64 if not from_noise(teacher) else 256, "batch": 2, "workers": 0},
        "discriminator": {"start": "fresh", "width": 4, "layers": 2},
        "distance": {"features": "tiny"}, **BRIEF[method],
    }  # fmt: skip
    chosen = METHODS[method]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        try:
            config = checked(chosen.settings, values)
            made = compress(teacher, pictures(teacher, root), run=root / "run", config=config,
                            method=method, quiet=True)  # fmt: skip
        except GanpressError as error:
            return {"none": str(error)}
        results: dict[str, Any] = json.loads((root / "run/results.json").read_text())
        found = dict(results["latency_target"])
        timed = bench(
            {"teacher": teacher, "student": made}, runtimes=[found["runtime"]],
            precisions=list({"fp32", found["precision"]}), threads=found["threads"],
            size=None if made.is_fixed else found["size"], seconds=2,
        ).as_dict()  # fmt: skip
        rows = {(row["model"], row["precision"]): row["median_ms"] for row in timed["rows"]}
        return found | {
            "bench_ms": rows["student", found["precision"]],
            "bench_teacher_ms": rows["teacher", "fp32"],
        }


def pictures(teacher: Model, root: Path) -> Images | None:
    """Drawn pictures, or label maps, that this teacher reads."""
    if from_noise(teacher):
        return None
    photos = write_folder(root / "photos", 6, size=256)
    if teacher.family.name != "gaugan":
        return open_images(photos)
    import numpy as np
    from PIL import Image

    (root / "labels").mkdir()
    for path in photos.iterdir():
        cells = np.zeros((256, 256), np.uint8)
        Image.fromarray(cells).save(root / "labels" / f"{path.stem}.png")
    return open_images(photos, labels=root / "labels")


def write(rows: Sequence[dict[str, Any]], given: argparse.Namespace) -> None:
    """The JSON, and a table beside it."""
    facts = {"threads": given.threads, "rows": rows}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(facts, indent=1) + "\n")
    heads = ["teacher", "processor", "runtime", "precision", "teacher, ms", "rounds to",
             "mean error", "largest", "table, s", *given.methods]  # fmt: skip
    lines = [f"{given.threads} thread(s). Errors: of {given.sets} width sets that the table was "
             "not fitted to. Students: asked for the time half way between those of the teacher's "
             "widths and of the narrowest ones (half way from there to the teacher where the "
             "method cannot make so fast a one), and how far `bench` finds them from it; more than "
             f"{LIMIT:.0%} is **bold**. In brackets: the same on a machine as fast as it was for "
             "the table, by the teacher, which was timed in turns with these networks.", "",
             "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]  # fmt: skip
    for row in rows:
        cells = [row["teacher"], row["processor"], row["runtime"], row["precision"],
                 f"{row['teacher_ms']:.4g}", str(row["round"]),
                 f"{row['mean_error']:.1%} ({row['mean_error_beside']:.1%})",
                 f"{row['max_error']:.1%} ({row['max_error_beside']:.1%})",
                 f"{row['table_s']:.0f}",
                 *(ended(row["students"][m]) for m in given.methods)]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", counted(rows)]
    given.out.with_suffix(".md").write_text("\n".join(lines) + "\n")


def counted(rows: Sequence[dict[str, Any]]) -> str:
    """How many students came near what was asked for."""
    students = [one for row in rows for one in row["students"].values()]
    made = [one for one in students if "none" not in one]
    offs = [off_by(one) for one in made]
    within, beside = (sum(abs(off[k]) <= LIMIT for off in offs) for k in (0, 1))
    refused = len(students) - len(made)
    said = f"; {refused} refused, whose least network takes longer" if refused else ""
    return (
        f"Of {len(made)} students {within} end within {LIMIT:.0%} of their target as it was "
        f"measured, {beside} beside their teacher{said}."
    )


def ended(found: dict[str, Any]) -> str:
    """'+7.0% (-0.5%): 10.7 for 10 ms'."""
    if "none" in found:
        return "refused: " + found["none"].split("\n")[0][:120]
    measured, beside = map(marked, off_by(found))
    return f"{measured} ({beside}): {found['bench_ms']:.4g} for {found['asked_ms']:.4g} ms"


def off_by(found: dict[str, Any]) -> tuple[float, float]:
    """How far a student is from its target: as measured, and beside its teacher."""
    ratio = found["bench_ms"] / found["asked_ms"]
    return ratio - 1, ratio * found["teacher_ms"] / found["bench_teacher_ms"] - 1


def marked(off: float) -> str:
    """A relative error; bold beyond the limit."""
    return f"**{off:+.1%}**" if abs(off) > LIMIT else f"{off:+.1%}"


if __name__ == "__main__":
    main()
