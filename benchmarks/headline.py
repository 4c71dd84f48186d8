"""The headline: full teachers against students in every runtime and precision, in one run.

Command:  .venv/bin/python -m benchmarks.headline [--threads 2] [--only cyclegan] [--quick]
Time:     about an hour on two quiet cores, of which cyclegan takes a third; `--quick` some minutes,
          with tiny networks, to see that it runs.
Needs:    ganpress[onnx,openvino]; with `pip install nncf` OpenVINO's own 8 bits after training are
          timed, too, and torch.compile wants a C++ compiler (what is missing is said, not timed).
Result:   benchmarks/results/headline.json, .md and -summary.md (with --quick under another name;
          another processor's under one of its own, by --name).

All rows of a family take turns in one measurement (`ganpress.bench`), each in a process of its own.
The networks have the widths named and random weights: what a convolution takes does not depend on
its weights. Students of ours carry ganpress's trained 8-bit quantisers, here calibrated on noise;
teachers, and GAN Compression's own published student, are quantised after training, as a user
would: by onnxruntime's tool, for each runtime in the form it is fast at, and by NNCF.

What it says: how many times as fast each row is as the teacher in torch eager float32, and as the
teacher in the same runtime and precision; which share of the ratio of MACs that is; and where the
time of the fastest rows goes.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

import ganpress
from benchmarks.headline_page import TEACHER, page, summary
from ganpress.formats.importers.gan_compression import widths_of
from ganpress.measures.cost import CostTable, measure
from ganpress.measures.timing.exports import onnx_bytes
from ganpress.models.checkpoint import Model, full_model
from ganpress.models.families.base import draw_inputs
from ganpress.quantisation.quantise import FakeQuantiser, calibrate, quantise
from ganpress.types.sizes import Size, words

RESULTS = Path(__file__).parent / "results"
RUNTIMES = ("torch", "compile", "onnxruntime", "openvino")
PRECISIONS = ("fp32", "bf16", "int8", "int8+bf16")
STEP, FEWEST = 8, 4  # widths are multiples of 8, and never below 4
NNCF = ", 8 bits by NNCF"
INTEGER = {"norm": "batch", "padding": "zero", "up": "nearest"}
"""Options of a ResNet all of whose layers run on integers: norms that fold into convolutions."""


@dataclass(frozen=True)
class Student:
    """A student by its widths, or by the ratio of the teacher's true MACs to its own.

    Attributes:
        options: on top of the teacher's. ours: it carries trained 8-bit quantisers.
    """

    widths: Mapping[str, int] = field(default_factory=dict)
    ratio: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    ours: bool = True


@dataclass(frozen=True)
class Case:
    """A family's teacher and its students."""

    family: str
    size: Size
    students: Mapping[str, Student]
    options: Mapping[str, Any] = field(default_factory=dict)


def resnet(stem: int, down1: int, trunk: int, blocks: int) -> dict[str, int]:
    """Widths of a ResNet student; the way up has those of the way down."""
    inner = {f"block{i}": blocks for i in range(9)}
    return {"stem": stem, "down1": down1, "trunk": trunk, **inner, "up1": down1, "up2": stem}


CASES = {
    "cyclegan": Case(
        "cyclegan",
        256,
        {
            "GAN Compression's published student": Student(
                widths_of("16_16_32_16_32_32_16_16"), options={"separable": True}, ours=False
            ),
            "dense, stem 8, trunk 64": Student(resnet(8, 24, 64, 48)),
            "dense, stem 8, trunk 48": Student(resnet(8, 16, 48, 48)),
            "dense, stem 8, trunk 48, blocks 32": Student(resnet(8, 16, 48, 32)),
            "dense, stem 8, trunk 32": Student(resnet(8, 16, 32, 32)),
            "dense, stem 8, trunk 64, BatchNorm": Student(
                resnet(8, 24, 64, 48), options={"norm": "batch"}
            ),
            "dense, stem 8, trunk 64, integer form": Student(
                resnet(8, 24, 64, 48), options=INTEGER
            ),
        },
    ),
    "pix2pix": Case(
        "pix2pix",
        256,
        {
            "1/16 of the MACs": Student(ratio=16),
            "1/16, resize + convolution": Student(ratio=16, options={"upsampling": "resize"}),
        },
    ),
    "cartoongan": Case("cartoongan", 256, {"1/42 of the MACs": Student(ratio=42)}),
    "stylegan2": Case("stylegan2", 256, {"1/11 of the MACs": Student(ratio=11)}, {"size": 256}),
    "gaugan": Case(
        "gaugan",
        (256, 512),
        {"1/9 of the MACs": Student(ratio=9)},
        {"labels": 35, "edges": True, "upsampling": "more"},
    ),
}
QUICK: dict[str, dict[str, Any]] = {
    "gaugan": {"upsampling": "normal", "labels": 4},
    "stylegan2": {"size": 32, "style_dim": 32},
}


def main() -> None:
    """Measure, write, say."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=[*CASES])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each row")
    parser.add_argument("--runtime", default=",".join(RUNTIMES))
    parser.add_argument("--name", default="headline", help="of the result's files")
    parser.add_argument("--quick", action="store_true", help="tiny networks, to see that it runs")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    name = f"{a.name}-quick" if a.quick else a.name
    file = RESULTS / f"{name}.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    for case in [a.only] if a.only else CASES:
        found[case] = measured(CASES[case], a.runtime.split(","), a.threads, a.seconds, a.quick)
        file.write_text(json.dumps(found, indent=1) + "\n")
        (RESULTS / f"{name}.md").write_text(page(found))
        (RESULTS / f"{name}-summary.md").write_text(summary(found))
    print(page(found))


# --- networks -------------------------------------------------------------------------------------


def teacher_of(case: Case, *, quick: bool) -> Model:
    """The papers' full network; an eighth of its widths to try."""
    model = full_model(
        case.family, **{**case.options, **(QUICK.get(case.family, {}) if quick else {})}
    )
    return (
        resized(model, {g: max(FEWEST, w // 8) for g, w in model.widths.items()})
        if quick
        else model
    )


def resized(model: Model, widths: Mapping[str, int], **options: Any) -> Model:
    """A network of other widths, and perhaps options, with random weights."""
    resolved = model.family.resolve({**model.options, **options})
    full = model.family.full(resolved)
    net = model.family.build({g: widths.get(g, w) for g, w in full.items()}, **resolved)
    return Model(net.eval(), model.family, resolved)


def student_of(student: Student, teacher: Model, size: Size, *, quick: bool) -> Model:
    """A student, in 8 bits where it is one of ours."""
    if student.ratio is None:
        scale = 8 if quick else 1
        widths = {g: max(FEWEST, w // scale) for g, w in student.widths.items()}
    else:
        widths = widths_at(teacher, student, size)
    made = resized(teacher, widths, **student.options)
    if student.ours:
        plain = copy.deepcopy(made)
        quantise(made.net, FakeQuantiser(per_channel=True))
        inputs = draw_inputs(plain.net, 1, size, torch.Generator().manual_seed(0))
        calibrate(made.net, plain.net, *inputs)
    return made


def widths_at(teacher: Model, student: Student, size: Size) -> dict[str, int]:
    """The largest widths, all by one factor, at which the MACs are the teacher's over the ratio."""
    assert student.ratio is not None
    budget = measure(teacher.net, size).macs / student.ratio
    with torch.device("meta"):
        ghost = resized(teacher, teacher.widths, **student.options)
    table = CostTable(ghost.net, size)

    def scaled(factor: float) -> dict[str, int]:
        return {g: max(FEWEST, round(factor * w / STEP) * STEP) for g, w in ghost.widths.items()}

    factors = [k / 400 for k in range(400, 0, -1)]
    return next((w for f in factors if table(w := scaled(f)).macs <= budget), scaled(0))


# --- measuring ------------------------------------------------------------------------------------


def measured(
    case: Case, runtimes: list[str], threads: int, seconds: float, quick: bool
) -> dict[str, Any]:
    """All rows of a family, with MACs, and what became of their ratio."""
    teacher = teacher_of(case, quick=quick)
    size = teacher.resolve_size(None if teacher.is_fixed else 64 if quick else case.size)
    networks = {TEACHER: teacher}
    networks |= {
        name: student_of(student, teacher, size, quick=quick)
        for name, student in case.students.items()
    }
    costs = {name: measure(m.net, size) for name, m in networks.items()}
    models: dict[str, Model | Path] = {**networks}
    with tempfile.TemporaryDirectory() as folder:
        if find_spec("nncf") and "openvino" in runtimes:
            theirs = [name for name, student in case.students.items() if not student.ours]
            for i, name in enumerate([TEACHER, *theirs]):
                models[name + NNCF] = by_nncf(networks[name], size, Path(folder) / f"{i}.xml")
                costs[name + NNCF] = costs[name]
        found = ganpress.bench(
            models,
            runtimes=runtimes,
            precisions=PRECISIONS,
            threads=threads,
            size=None if teacher.is_fixed else size,
            seconds=0.1 if quick else seconds,
            rounds=2 if quick else 10,
            layers=True,
            watch=progress(case.family),
        )
    out = found.as_dict()
    return {
        "device": out["device"], "versions": out["versions"], "threads": threads,
        "size": words(size), "seed": found.seed, "quick": quick,
        "macs": {n: {"macs": c.macs, "macs_outres": c.macs_outres} for n, c in costs.items()},
        "widths": {n: m.widths for n, m in models.items() if isinstance(m, Model)},
        "rows": with_shares(out["rows"], {n: c.macs for n, c in costs.items()}),
        "left": [entry for entry in out["left"] if not entry["model"].endswith(NNCF)],
    }  # fmt: skip


def with_shares(rows: list[dict[str, Any]], macs: Mapping[str, int]) -> list[dict[str, Any]]:
    """Rows with the ratio to the teacher in the same runtime and precision, the ratio of MACs, and
    the share of that which turned into time."""
    timed = {(r["model"], r["runtime"], r["precision"]): r["median_ms"] for r in rows}
    out = []
    for row in rows:
        alike = timed.get((TEACHER, row["runtime"], row["precision"]))
        ratio = macs[TEACHER] / macs[row["model"]]
        gained = alike / row["median_ms"] if alike else None
        layers = row.pop("layers") or {"kinds": []}
        out.append(
            {
                **{k: v for k, v in row.items() if k not in ("file", "dims")},
                "ratio_alike": gained,
                "ratio_macs": ratio,
                "share": gained / ratio if gained and ratio > 1 else None,
                "kinds": layers["kinds"][:8],
            }
        )
    return out


def by_nncf(model: Model, size: Size, path: Path) -> Path:
    """A model in OpenVINO, in 8 bits by NNCF's quantisation after training, on noise."""
    import nncf
    import openvino

    graph = openvino.Core().read_model(onnx_bytes(model, "fp32", size, runtime="openvino"))
    names = [port.any_name for port in graph.inputs]
    draw = torch.Generator().manual_seed(0)
    batches = [draw_inputs(model.net, 1, size, draw) for _ in range(4)]
    feeds = [dict(zip(names, (t.numpy() for t in each), strict=True)) for each in batches]
    quantised = nncf.quantize(graph, nncf.Dataset(feeds), subset_size=len(feeds))
    openvino.save_model(quantised, path, compress_to_fp16=False)
    return path


def progress(name: str) -> Callable[[str, float, float | None], None]:
    """Says what is measured, at each tenth."""
    seen: set[int] = set()

    def watch(what: str, done: float, left_s: float | None) -> None:
        tenth = int(10 * done)
        if tenth not in seen or done == 0:
            seen.add(tenth)
            left = "" if left_s is None else f", {left_s:.0f} s left"
            print(f"{name}: {100 * done:.0f} %{left}: {what}", flush=True)

    return watch


if __name__ == "__main__":
    main()
