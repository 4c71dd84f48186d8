"""GAN Compression's published student against ours at half of its time, from one teacher.

Command:  .venv/bin/python -m benchmarks.published_student --run runs/published-student
Needs:    GANPRESS_DATA and GANPRESS_WEIGHTS, the extras `onnx` and `openvino`; `pip install nncf`.
Time:     half an hour of one core: training `--minutes` (10) for each student, then evaluation,
          export and timing. It resumes: what is trained is not trained again. `--tiny` for a
          trial of seconds.
Result:   benchmarks/results/published-student.json and .md, or `--name` (with --tiny in the run's
          folder).

The teacher is the published CartoonGAN generator of Hayao's style. *Theirs*: the widths of GAN
Compression's published horse2zebra student, 16_16_32_16_32_32_16_16, with separable blocks, on this
network's groups; it begins as their transfer has it, with the teacher's most important channels,
trains in float by `once-for-all` (its fine-tuning loop), and is then quantised by NNCF, calibrated
on 64 training photos. *Ours*: GAN Slimming in 8 bits with `target.latency_ms`, a fraction of the
milliseconds that theirs then takes in OpenVINO on this machine with `--threads` (2). A machine's
speed moves by a tenth within minutes, so that the run's last table, where all take turns, can say
another ratio than the one that was asked for. Both train for the same minutes, on the same photos
and by the same distance to the teacher beside the GAN term.

Quality is the distance to the teacher's pictures on held-out photos: of theirs in float, and as its
8-bit file makes them; of ours in 8 bits, fake-quantised. Speed is of the files, all in
turns in one measurement (`ganpress.bench`), each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import ganpress
from benchmarks.calibrated import by_nncf, compiled, fed
from ganpress.data import Images, open_images
from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.formats.exporters.parity import CALIBRATION, seen_of
from ganpress.formats.importers.gan_compression import widths_of
from ganpress.measures.cost import measure
from ganpress.methods import METHODS
from ganpress.models.checkpoint import Model
from ganpress.run.settings import read_config

HERE = Path(__file__).parent
PUBLISHED = "16_16_32_16_32_32_16_16"
THEIRS, OURS = "GAN Compression's published widths", "GAN Slimming, 8 bits"
PRECISIONS = ["fp32", "bf16", "int8", "int8+bf16"]
AT, SIZE = 256, 96  # pixels that are timed; that are trained and evaluated
INTEGERS = ["quantise.bits=8", "quantise.per_channel=true", "quantise.ranges=calibrated"]
INTEGERS += ["quantise.first=int8"]  # the stem, too, as in theirs
TINY = ["data.batch=2", "distance.features=tiny", "distance.style=0"]


def main() -> None:
    """Train what is missing, measure, write, tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, default=Path("runs/published-student"))
    parser.add_argument("--minutes", type=float, default=10.0, help="of training for each student")
    parser.add_argument("--fraction", type=float, default=0.5, help="of their milliseconds")
    parser.add_argument("--threads", type=int, default=2, help="of the runtime")
    parser.add_argument("--name", default="published-student", help="of the results")
    parser.add_argument("--tiny", action="store_true", help="a trial of seconds")
    a = parser.parse_args()
    if a.tiny:
        a.minutes = 0.05
    torch.set_num_threads(1)
    a.run.mkdir(parents=True, exist_ok=True)
    teacher = hayao(a.run)
    theirs = compressed(a, teacher, "theirs", "once-for-all", "hayao", of_their_widths(a, teacher))
    file, took = quantised(theirs, a.run, a.threads)
    asked = [f"target.latency_ms={a.fraction * took:.4g}", "target.runtime=openvino"]
    asked += [f"target.threads={a.threads}", f"target.size={AT}", *INTEGERS, *shares(a)]
    ours = compressed(a, teacher, "ours", "slim", "hayao-slim", asked)
    found = compared(a, teacher, {THEIRS: theirs, OURS: ours}, file)
    to = a.run if a.tiny else HERE / "results"
    (to / f"{a.name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (to / f"{a.name}.md").write_text(page(found))
    print(page(found))


def hayao(run: Path) -> Model:
    """The published CartoonGAN generator."""
    weights = Path(os.environ["GANPRESS_WEIGHTS"]) / "cartoongan_hayao" / "hayao_fp16.pth"
    return ganpress.import_model("cartoongan", weights)


def photos(split: str, *, tiny: bool) -> Images:
    """Photos to train on ("train"), and those never trained on ("test")."""
    data = Path(os.environ["GANPRESS_DATA"])
    found = open_images([data / f"lfw128/{split}", data / f"monet2photo/{split}B"])
    return found.some(range(16)) if tiny else found


def of_their_widths(a: argparse.Namespace, teacher: Model) -> list[str]:
    """Settings of a student of the published widths, that is trained at these alone."""
    blocks = teacher.options["blocks"]
    widths = widths_of(PUBLISHED, blocks=blocks)
    widths |= {f"{name}a": widths[of] for name, of in NEXT.items()}
    space = a.run / "published.toml"
    space.write_text("\n".join(
        f'[[slot]]\nname = "{g}"\ngroups = {{{g} = 1}}\nnumbers = [{widths[g]}]\n'
        for g in teacher.widths
    ))  # fmt: skip
    chosen = "_".join(str(widths[g]) for g in teacher.widths)
    return [
        *("student.wiring=separable", "student.width_ratio=1", "target.macs=1"),
        *(f'search.space="{space}"', f"search.choose={chosen}"),
        *("supernet.steps=1", "supernet.minutes=", f"finetune.minutes={a.minutes}"),
    ]


NEXT = {"down1": "down1", "down2": "trunk", "up1": "up1", "up2": "up2"}
"""CartoonGAN's second convolution of a size has what the published network's only one has."""


def shares(a: argparse.Namespace) -> list[str]:
    """Minutes of GAN Slimming's two stages, as in the benchmark's recipe; averaged weights, as
    theirs has."""
    stages = [f"sparsify.minutes={0.4 * a.minutes:g}", f"finetune.minutes={0.6 * a.minutes:g}"]
    return [*stages, "finetune.ema=0.995"]


def compressed(
    a: argparse.Namespace, teacher: Model, name: str, method: str, config: str, sets: list[str]
) -> Model:
    """A student; the one that is there, where its run has ended."""
    sets = ["target.macs=", *sets, *(TINY if a.tiny else [])]
    c = read_config(METHODS[method].settings, HERE / "once_for_all" / f"{config}.toml", sets)
    return ganpress.compress(
        teacher, photos("train", tiny=a.tiny), run=a.run / name, config=c, method=method,
        test=photos("test", tiny=a.tiny),
    )  # fmt: skip


def nncf_graph(theirs: Model, size: int) -> Any:
    """Their student in 8 bits for pictures of a size."""
    form = Form(size)
    seen = seen_of(theirs, photos("train", tiny=False), form, CALIBRATION)
    return by_nncf(to_bytes(theirs, form, runtime="openvino"), fed(theirs, seen))


class Graph(nn.Module):
    """An OpenVINO network for one picture, as a module."""

    def __init__(self, run: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
        super().__init__()
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        made = [next(iter(self.run({"image": one.numpy()}).values())) for one in x.split(1)]
        return torch.cat([torch.from_numpy(picture) for picture in made])


def quantised(theirs: Model, run: Path, threads: int) -> tuple[Path, float]:
    """NNCF's file of their student, and its milliseconds, both made once: the target of ours goes
    by them."""
    import openvino

    file, kept = run / "theirs.xml", run / "theirs.json"
    if kept.exists():
        return file, float(json.loads(kept.read_text())["ms"])
    openvino.save_model(nncf_graph(theirs, AT), file, compress_to_fp16=False)
    timed = ganpress.bench({"theirs": file}, runtimes=["openvino"], threads=threads).as_dict()
    took = min(float(row["median_ms"]) for row in timed["rows"])
    kept.write_text(json.dumps({"ms": took}) + "\n")
    return file, took


def compared(
    a: argparse.Namespace, teacher: Model, students: Mapping[str, Model], file: Path
) -> dict[str, Any]:
    """Costs, quality and speed."""
    shown = photos("test", tiny=a.tiny)
    rows: dict[str, Any] = {}
    in_8_bits = replace(students[THEIRS], net=Graph(compiled(nncf_graph(students[THEIRS], SIZE))))
    for name, student in {**students, f"{THEIRS}, 8 bits by NNCF": in_8_bits}.items():
        judged = ganpress.evaluate(
            student, teacher, shown, size=SIZE, features="tiny" if a.tiny else "squeezenet"
        )
        cost = measure(students.get(name, students[THEIRS]).net, AT)
        rows[name] = {
            "macs": cost.macs, "params": cost.params,
            "steps": steps_of(a.run / ("ours" if name == OURS else "theirs")),
            "metrics": judged.metrics, "spread": judged.spread, "protocol": judged.protocol,
        }  # fmt: skip
    models: dict[str, Model | Path] = {"teacher": teacher, **students}
    models[f"{THEIRS}, 8 bits by NNCF"] = file
    timed = ganpress.bench(
        models, runtimes=["openvino"], precisions=PRECISIONS,
        threads=a.threads, size=AT, seconds=0.2 if a.tiny else 3.0,
    ).as_dict()  # fmt: skip
    return {
        "minutes": a.minutes, "fraction": a.fraction, "threads": a.threads, "tiny": a.tiny,
        "torch": torch.__version__, "device": timed["device"], "versions": timed["versions"],
        "students": rows,
        "widths": {name: student.widths for name, student in students.items()},
        "rows": [{k: v for k, v in row.items() if k != "layers"} for row in timed["rows"]],
    }  # fmt: skip


def steps_of(run: Path) -> int:
    """Training steps; those of a stage that renders the teacher's pictures are none."""
    stages = json.loads((run / "results.json").read_text())["stages"]
    return sum(s["steps"] or 0 for s in stages if not s["name"].startswith("render"))


def page(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    students = found["students"]
    metrics = list(students[OURS]["metrics"])
    heads = ["", "MACs", "steps", *metrics, *(f"{precision}, ms" for precision in PRECISIONS)]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for name in dict.fromkeys(row["model"] for row in found["rows"]):
        ms = {r["precision"]: r["median_ms"] for r in found["rows"] if r["model"] == name}
        row = students.get(name, {"metrics": {}})
        cells = [f"{row['macs'] / 1e9:.2f} G" if "macs" in row else ""]
        cells += [str(row.get("steps", ""))]
        cells += [f"{row['metrics'][m]:.4f}" if row["metrics"] else "" for m in metrics]
        cells += [f"{ms[p]:.2f}" if p in ms else "" for p in PRECISIONS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    ours, theirs = (fastest(found["rows"], n) for n in (OURS, f"{THEIRS}, 8 bits by NNCF"))
    lines += ["", (
        f"**Ours is {theirs / ours:.2f} times as fast**, each in its fastest 8-bit form. "
        f"{found['minutes']:g} minutes of training each; distances to the teacher at {SIZE} px on "
        f"photos never trained on, theirs in floats and as NNCF's file makes them; medians at {AT} "
        f"px, {found['threads']} thread(s), {found['device']['processor']}, OpenVINO "
        f"{found['versions']['openvino']}, torch {found['torch']}. Networks of floats are in 8 "
        "bits after training there. Written by `python -m benchmarks.published_student`."
    )]  # fmt: skip
    return "\n".join([*lines, ""])


def fastest(rows: list[dict[str, Any]], name: str) -> float:
    """Milliseconds of a model's fastest row in 8 bits."""
    return min(
        float(row["median_ms"])
        for row in rows
        if row["model"] == name and row["precision"].startswith("int8")
    )


if __name__ == "__main__":
    main()
