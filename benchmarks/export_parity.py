"""Exported files against torch: every teacher, an 8-bit student of every family, every precision.

Command:  .venv/bin/python -m benchmarks.export_parity [--only NAME...] [--stale | --again]
Needs:    GANPRESS_DATA and GANPRESS_WEIGHTS, the extras `onnx` and `openvino`.
Time:     about a quarter of an hour of one core; not timed, so that a busy one will do. A row that
          is there and was not refused is not made again: stop it, and start again. `--stale` makes
          those anew that exporters of another source wrote, `--again` all.
Result:   benchmarks/results/export-parity.json, and the tables export-parity.md written from it.

Each row is one file, made by `ganpress.export` for onnxruntime or OpenVINO and checked there on 20
pictures that were not trained on, or on 20 draws where the network reads noise: what
`<file>.parity.json` says. Teachers are those of the zoo, the published CartoonGAN, and a MUNIT
generator of random weights, as there is no small one that is trained. A student has half of its
teacher's channels, in 8 bits, and was distilled for some steps: long enough to make the teacher's
pictures roughly. Its 8-bit file is compared with the fake-quantised network, and by the distance
that `ganpress evaluate` gives: both pictures to the teacher's, and the ratio of the two.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganpress import Images, Model, export, import_model, load, open_images, save
from ganpress.channels.take import shrink
from ganpress.errors import GanpressError
from ganpress.formats.exporters.form import PRECISIONS, Form, Seen, as_precision
from ganpress.formats.exporters.parity import seen_of
from ganpress.generation.program import open_program
from ganpress.losses.features import Features, load_features
from ganpress.measures.fidelity import pairwise
from ganpress.measures.looked import Looked
from ganpress.measures.timing.device import processor
from ganpress.measures.timing.exports import source_digest
from ganpress.methods.once_for_all.beginning import sorted_by_importance
from ganpress.models.checkpoint import full_model
from ganpress.models.inputs import from_noise
from ganpress.quantisation.quantise import FakeQuantiser, calibrate, quantise, quantiser_of

ZOO = Path(__file__).parents[1] / "zoo"
RESULT = Path(__file__).parent / "results" / "export-parity"
COUNT, TRAIN, BATCH, STEPS, RATE = 20, 32, 4, 40, 5e-4
SEED = 0
FP32, HALF, SHARE = 1e-4, 2.0, 0.01
"""Limits: the largest difference in fp32, in [-1, 1]; the mean one in fp16 and bf16, grey levels;
of the distance of an 8-bit student."""
TARGETS = {"onnxruntime": ("onnx", ".onnx"), "openvino": ("openvino", ".xml")}
METRIC = "unit-distance"
ORDER = (
    ("teacher", "fp32"), ("student", "int8"), ("teacher", "bf16"), ("teacher", "fp16"),
    ("teacher", "int8"), ("student", "fp32"), ("student", "bf16"), ("student", "fp16"),
)  # fmt: skip
"""What is asked for most comes first, of all networks."""


@dataclass(frozen=True)
class Case:
    """A teacher and what it reads.

    Attributes:
        size: pixels; None: the network's own.
        train, test: pictures to distil and calibrate on, and others to compare on; None: noise.
    """

    teacher: Callable[[], Model]
    size: int | None
    train: Images | None
    test: Images | None


def cases() -> dict[str, Case]:
    """By name; pictures of a folder are split, so that none is in both."""
    data, weights = (Path(os.environ[f"GANPRESS_{name}"]) for name in ("DATA", "WEIGHTS"))
    photos = [open_images(data / "monet2photo" / part) for part in ("trainB", "testB")]
    facades = {"label": data / "facades" / "label", "photo": data / "facades" / "photo"}
    labels = open_images(facades["label"])
    maps = open_images(facades["photo"], labels=facades["label"])
    emoji = [open_images(data / "openmoji" / part, side_by_side="AB") for part in ("train", "val")]

    def zoo(name: str) -> Callable[[], Model]:
        return lambda: load(ZOO / f"{name}.safetensors")

    def hayao() -> Model:
        return import_model("cartoongan", weights / "cartoongan_hayao" / "hayao_fp16.pth")

    return {
        "cyclegan-monet": Case(zoo("cyclegan-monet"), 64, *photos),
        "demo_teacher": Case(zoo("demo_teacher"), 64, *photos),
        "pix2pix-facades": Case(zoo("pix2pix-facades"), 128, *halves(labels)),
        "pix2pix-openmoji": Case(zoo("pix2pix-openmoji"), 128, *emoji),
        "gaugan-facades": Case(zoo("gaugan-facades"), 64, *halves(maps)),
        "sngan-cifar10": Case(zoo("sngan-cifar10"), None, None, None),
        "stylegan2-lfw": Case(zoo("stylegan2-lfw"), None, None, None),
        "cartoongan-hayao": Case(hayao, 64, *photos),
        "munit, random weights": Case(munit, 64, *photos),
    }


def halves(images: Images) -> tuple[Images, Images]:
    """All but every eleventh picture, and these (as the zoo's teachers were trained)."""
    test = range(0, len(images), 11)
    return images.some([k for k in range(len(images)) if k not in test]), images.some(list(test))


def munit() -> Model:
    """A quarter of the widths of MUNIT's generator."""
    torch.manual_seed(SEED)
    whole = full_model("munit")
    widths = {group: max(8, width // 4) for group, width in whole.widths.items()}
    return replace(whole, net=whole.build(widths).eval())


# --- students -------------------------------------------------------------------------------------


def student_of(case: Case, teacher: Model, form: Form) -> Model:
    """Half of each group's channels, the most important ones, in 8 bits with calibrated ranges;
    distilled for `STEPS` steps by the mean difference of the pictures."""
    ordered = sorted_by_importance(teacher)
    widths = {group: max(4, width // 2) for group, width in teacher.widths.items()}
    student = replace(teacher, net=shrink(teacher.build, ordered.net, widths).eval())
    read = [one.inputs for one in seen_of(teacher, case.train, form, TRAIN)]
    batches = [
        tuple(torch.cat(column) for column in zip(*read[k : k + BATCH], strict=True))
        for k in range(0, TRAIN, BATCH)
    ]
    wanted = [teacher(*inputs) for inputs in batches]
    for step in range(STEPS):
        if step == STEPS // 2:  # the second half in 8 bits
            floats = copy.deepcopy(student.net)
            quantise(student.net, FakeQuantiser(per_channel=True))
            calibrate(student.net, floats, *batches[0])
        if step % (STEPS // 2) == 0:
            optimiser = torch.optim.Adam(student.net.parameters(), lr=RATE)
        number = step % len(batches)
        with torch.enable_grad():
            off = (student.net(*batches[number]) - wanted[number]).abs().mean()
        optimiser.zero_grad()
        off.backward()
        optimiser.step()
    return student


def kept_student(name: str, case: Case, teacher: Model, form: Form, runs: Path) -> Model:
    """The student of an earlier start, or a new one."""
    file = runs / f"{name.split(',')[0]}-{STEPS}.safetensors"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        save(student_of(case, teacher, Form(form.size)), file)
    return load(file)


# --- rows -----------------------------------------------------------------------------------------


def row_of(model: Model, case: Case, runtime: str, form: Form, path: Path) -> dict[str, Any]:
    """What the parity of the file says, or why it was refused."""
    is_trained = quantiser_of(model.net) is not None
    calibrates = form.precision == "int8" and not is_trained and not from_noise(model)
    try:
        facts = export(
            model, path, to=TARGETS[runtime][0], form=form,
            images=COUNT if case.test is None else case.test,
            calibrate=case.train if calibrates else None,
        )  # fmt: skip
    except GanpressError as error:
        return {"refused": str(error)}
    assert facts.parity is not None
    found = json.loads(facts.parity.read_text())
    kept = ("largest", "mean_grey_levels", "largest_grey_levels", "allowed", "version", "against")
    return {**{name: found[name] for name in kept}, "bytes": facts.bytes}


def distances(
    net: Features, made: Sequence[Tensor], teachers: Sequence[Tensor]
) -> tuple[float, float]:
    """Unit distance and l1 to the teacher's pictures, means over the pictures."""
    rows = [
        pairwise(net, (), Looked(x), Looked(want)) for x, want in zip(made, teachers, strict=True)
    ]
    unit, l1 = (
        sum(float(row[name]) for row in rows) / len(rows) for name in (f"{net.name}-{METRIC}", "l1")
    )
    return unit, l1


def with_distances(
    row: dict[str, Any], path: Path, student: Model, teacher: Model, seen: Sequence[Seen]
) -> dict[str, Any]:
    """The row of an 8-bit student with its distance to the teacher: the file's, and that of the
    fake-quantised network."""
    net, program = load_features("squeezenet"), open_program(path)
    teachers = [teacher(*one.inputs) for one in seen]
    fake = distances(net, [student(*one.inputs) for one in seen], teachers)
    file = distances(net, [program(one.inputs) for one in seen], teachers)
    return {
        **row, "features": net.name, "distance": file[0], "fake_distance": fake[0],
        "ratio": file[0] / fake[0], "l1": file[1], "fake_l1": fake[1],
    }  # fmt: skip


def measured(
    name: str, case: Case, role: str, precision: str, a: argparse.Namespace
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of one network in one precision, each with its key; those that are there already
    are left out; with ``a.stale`` not those that other exporters made."""
    wanted = {runtime: f"{name}/{role}/{runtime}/{precision}" for runtime in TARGETS}
    source = source_digest()[:12]
    rows = a.found["rows"]
    left = [
        runtime
        for runtime, key in wanted.items()
        if "refused" in rows.get(key, {"refused": ""})
        or (a.stale and rows[key]["exporters"] != source)
    ]
    if not left:
        return
    teacher = case.teacher()
    form = Form(teacher.resolve_size(case.size), precision=as_precision(precision))
    model = teacher if role == "teacher" else kept_student(name, case, teacher, form, a.runs)
    for runtime in left:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"net{TARGETS[runtime][1]}"
            row = row_of(model, case, runtime, form, path)
            if role == "student" and precision == "int8" and "refused" not in row:
                seen = seen_of(teacher, case.test, form, COUNT)
                row = with_distances(row, path, model, teacher, seen)
        yield wanted[runtime], {
            "family": teacher.family.name, "size": form.size, "exporters": source, **row,
        }  # fmt: skip


def said(row: dict[str, Any]) -> str:
    """A row in a line."""
    if "refused" in row:
        return f"refused: {row['refused']}"
    ratio = f", distance {row['ratio']:.4f} of the fake-quantised one" if "ratio" in row else ""
    return f"largest {row['largest']:.1e}, mean {row['mean_grey_levels']:.3f} grey levels{ratio}"


# --- the page -------------------------------------------------------------------------------------


def verdict(precision: str, row: dict[str, Any]) -> bool:
    """Whether a row is within its limit; an 8-bit teacher has none but the exporter's own."""
    if "refused" in row:
        return False
    if "ratio" in row:
        return bool(abs(row["ratio"] - 1) <= SHARE)
    if precision == "fp32":
        return bool(row["largest"] <= FP32)
    return precision == "int8" or bool(row["mean_grey_levels"] <= HALF)


def cell(precision: str, row: dict[str, Any] | None) -> str:
    """The figure of a row that its limit is about."""
    if row is None:
        return ""
    if "refused" in row:
        return "**refused**"
    text = f"{row['mean_grey_levels']:.2g}"
    if precision == "fp32":
        text = f"{row['largest']:.1e}"
    if "ratio" in row:
        text = f"{row['ratio'] - 1:+.2%} ({row['fake_distance']:.3f})"
    return text if verdict(precision, row) else f"**{text}**"


def page(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    rows = found["rows"]
    heads = [f"{runtime} {precision}" for precision in PRECISIONS for runtime in TARGETS]
    lines = [f"| network | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    networks = dict.fromkeys(tuple(key.split("/")[:2]) for key in rows)
    for name, role in sorted(networks, key=lambda one: (one[0], one[1] == "student")):
        cells = [
            cell(precision, rows.get(f"{name}/{role}/{runtime}/{precision}"))
            for precision in PRECISIONS
            for runtime in TARGETS
        ]
        size = next(r["size"] for key, r in rows.items() if key.startswith(f"{name}/{role}/"))
        lines.append(f"| {name}, {size} px, {role} | {' | '.join(cells)} |")
    lines += ["", (
        f"fp32: the largest difference from torch, of [-1, 1] (limit {FP32:.0e}). fp16, bf16, and "
        f"int8 of a teacher (calibrated after training): the mean difference, grey levels (limit "
        f"{HALF:g} for the first two). int8 of a student: how much further its file's pictures "
        "are from the teacher's than the fake-quantised network's, by squeezenet-unit-distance "
        f"(limit {SHARE:.0%}), and in brackets that distance. Beyond a limit is **bold**. {COUNT} "
        f"pictures, or draws; students of half the channels, {STEPS} steps. "
        f"{found['processor']}; torch {found['torch']}, onnxruntime {found['onnxruntime']}, "
        f"OpenVINO {found['openvino']}. Written by `python -m benchmarks.export_parity`."
    )]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Export, compare, write after each row."""
    import onnxruntime
    import openvino

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", help="of these names")
    parser.add_argument("--stale", action="store_true", help="rows of other exporters, too")
    parser.add_argument("--again", action="store_true", help="rows that are there, too")
    parser.add_argument("--runs", type=Path, default=Path("runs/export-parity"), help="students")
    parser.add_argument("--out", type=Path, default=RESULT, help="without an ending")
    a = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    file = Path(f"{a.out}.json")
    a.found = json.loads(file.read_text()) if file.exists() and not a.again else {"rows": {}}
    a.found |= {
        "processor": processor(), "torch": torch.__version__, "seed": SEED,
        "onnxruntime": onnxruntime.__version__, "openvino": openvino.__version__.split("-")[0],
    }  # fmt: skip
    chosen = {n: c for n, c in cases().items() if a.only is None or n.split(",")[0] in a.only}
    for role, precision in ORDER:
        for name, case in chosen.items():
            for key, row in measured(name, case, role, precision, a):
                a.found["rows"][key] = row
                write(a.found, a.out)
                print(key, said(row), flush=True)
    write(a.found, a.out)
    print(page(a.found))


def write(found: dict[str, Any], out: Path) -> None:
    """The rows, and the table of them."""
    out.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{out}.json").write_text(json.dumps(found, indent=1) + "\n")
    Path(f"{out}.md").write_text(page(found))


if __name__ == "__main__":
    main()
