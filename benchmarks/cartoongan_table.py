"""The real case: CartoonGAN Hayao slimmed on photos, against its baselines, in one table.

Command:  .venv/bin/python -m benchmarks.cartoongan_table --runs runs/hayao-cpu
Needs:    GANPRESS_DATA and GANPRESS_WEIGHTS (the Hayao file, SqueezeNet).
Time:     first the teacher's pictures are rendered into a cache that all rows share, then each row
          trains for the same minutes, those of the configuration file. Resumes; a row that is done
          is not trained again. `--only render` or `--only gs-32` does one part; the table has the
          rows that are there.
Result:   benchmarks/results/cartoongan-hayao-cpu.json, a grid of all rows beside it, and the table
          cartoongan-hayao-cpu.md, which is written from the JSON.

Rows: GS-32 and GS-8 (the whole method), GD (a uniformly narrow student of the same MACs distilled
from scratch) and CP (pruning in the minimax game without distillation). Every row is a
configuration of the same code. The photos of the evaluation are never trained on.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ganpress import (
    Images,
    Model,
    Run,
    SlimConfig,
    import_model,
    load,
    measure,
    open_images,
    read_config,
)
from ganpress.data import evaluation
from ganpress.methods.base import Given
from ganpress.methods.compress import compress
from ganpress.methods.gan_slimming.method import joint_crops, resolve_for
from ganpress.run.grid import grid
from ganpress.training.setup import render_teacher, set_up, training_crops

RESULTS = Path(__file__).parent / "results"
SIZE = 128  # pixels of the pictures in the grid
ROWS: dict[str, list[str]] = {
    "gs-32": [],
    "gs-8": ["quantise.bits=8", "quantise.ranges=calibrated"],
    "gd": ["procedure=gd"],
    "cp": ["procedure=cp"],
}
TITLES = {
    "gs-32": "GS-32",
    "gs-8": "GS-8",
    "gd": "GD: uniform student, distilled from scratch",
    "cp": "CP: pruned without distillation",
}


def main() -> None:
    """Render, train what is missing, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/hayao-cpu"))
    parser.add_argument("--config", type=Path, default=Path("cartoongan-hayao-cpu"))
    parser.add_argument(
        "--only", choices=["render", "table", *ROWS], help="one part: a row, or the table of all"
    )
    parser.add_argument("--name", default="cartoongan-hayao-cpu")
    a = parser.parse_args()
    data, weights = (Path(os.environ[k]) for k in ("GANPRESS_DATA", "GANPRESS_WEIGHTS"))
    teacher = import_model("cartoongan", weights / "cartoongan_hayao" / "hayao_fp16.pth")
    photos = open_images([data / "lfw128" / "train", data / "monet2photo" / "trainB"])
    test = open_images([data / "lfw128" / "test", data / "monet2photo" / "testB"])
    shared = [f"data.teacher_cache={a.runs / 'teacher-cache'}"]
    if a.only != "table":
        render(teacher, photos, read_config(SlimConfig, a.config, shared), a.runs)
    for name in ROWS if a.only is None else {a.only} & ROWS.keys():
        compress(teacher, photos, run=a.runs / name, config=settings(a.config, name, shared),
                 test=test, command=f"benchmarks.cartoongan_table row {name}")  # fmt: skip
    if a.only in (None, "table"):
        write(a.name, a.runs, teacher, test)


def settings(config: Path, row: str, shared: list[str]) -> SlimConfig:
    """A row's settings: the file's, with the row's own; GD spends all minutes on fine-tuning."""
    base = read_config(SlimConfig, config, shared)
    extra = list(ROWS[row])
    if row == "gd":
        minutes = (base.sparsify.minutes or 0) + (base.finetune.minutes or 0)
        extra.append(f"finetune.minutes={minutes}")
    return read_config(SlimConfig, config, [*shared, *extra])


def render(teacher: Model, photos: Images, config: SlimConfig, runs: Path) -> None:
    """Fill the cache that all rows share."""
    torch.set_num_threads(config.threads or torch.get_num_threads())
    c, run = resolve_for(Given(teacher, None), config), Run(runs / "render", seed=config.seed)
    setup = set_up(teacher, photos, None, None, c, run)
    render_teacher(setup, c, {"render-sparsify": joint_crops(c), "render": training_crops(c)})


def write(name: str, runs: Path, teacher: Model, test: Images) -> None:
    """The JSON, the grid and the table of all rows."""
    full = measure(teacher.net, 256)
    rows: dict[str, Any] = {}
    students: dict[str, Model] = {}
    for row in (r for r in ROWS if (runs / r / "results.json").exists()):
        students[row] = student = load(runs / row / "student.safetensors")
        cost = measure(student.net, 256)
        kept = json.loads((runs / row / "results.json").read_text())
        found = kept["evaluation"]
        rows[row] = {
            "title": TITLES[row],
            "cost": asdict(cost),
            "file_bytes": (runs / row / "student.safetensors").stat().st_size,
            "macs_ratio": full.macs / cost.macs,
            "bytes_ratio": full.bytes / cost.bytes,
            "training_seconds": sum(s["seconds"] for s in kept["stages"] if trains(s)),
            "steps": {s["name"]: s["steps"] for s in kept["stages"] if trains(s)},
            "latency_ratio": kept["model"]["ratios"]["latency_ms"],
            "metrics": found["metrics"],
            "spread": found["spread"],
            "widths": student.widths,
            "config": json.loads((runs / row / "config.json").read_text()),
        }
        protocol = {**found["protocol"], "count": found["count"]}
    card = json.loads((runs / next(iter(rows)) / "card.json").read_text())
    out = {"teacher": asdict(full), "rows": rows, "protocol": protocol, "card": card}  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(out, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(table(name, out))
    picture(RESULTS / f"{name}.png", teacher, students, test)


def trains(stage: dict[str, Any]) -> bool:
    """Whether a stage's time is training: rendering is shared by the rows, and told apart."""
    return not stage["name"].startswith("render")


def table(name: str, out: dict[str, Any]) -> str:
    """The results as Markdown, read from the JSON's own data."""
    metric = next(k for k in next(iter(out["rows"].values()))["metrics"] if k != "l1")
    lines = [
        f"| row | 1/MACs | 1/bytes | {metric} | to GD | L1 | minutes | steps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    base = out["rows"].get("gd", {"metrics": {metric: None}})["metrics"][metric]
    for row in out["rows"].values():
        m, s = row["metrics"], row["spread"]
        lines.append(
            f"| {row['title']} | {row['macs_ratio']:.1f} | {row['bytes_ratio']:.1f} "
            f"| {m[metric]:.3f} ± {s[metric]:.3f} "
            f"| {f'{m[metric] / base - 1:+.1%}' if base else 'not run'} | {m['l1']:.4f} "
            f"| {row['training_seconds'] / 60:.1f} | {sum(row['steps'].values())} |"
        )
    card, protocol = out["card"], out["protocol"]
    told = (
        f"\nSmaller is better. {protocol['count']} photos never trained on; "
        f"{protocol['geometry']}; reference: {protocol['reference']}; "
        f"features: {protocol['features']}. ± is the standard error "
        f"over photos. One seed ({card['seed']}), {card['threads']} thread(s) of {card['device']}, "
        f"torch {card['torch']}. The teacher's pictures were rendered beforehand into a cache that "
        f"all rows share, which the minutes leave out. Written by "
        f"`python -m benchmarks.cartoongan_table` from `{name}.json`.\n"
    )
    return "\n".join(lines) + "\n" + told


def picture(path: Path, teacher: Model, students: dict[str, Model], test: Images) -> None:
    """Photo, teacher and each student (rows) on ten photos (columns)."""
    wanted = {round(i * (len(test) - 1) / 9) for i in range(10)}
    found = [b.x for i, b in enumerate(evaluation(test, batch=1, size=SIZE)) if i in wanted]
    x = torch.cat(found)
    made = torch.cat([x, teacher(x), *(s(x) for s in students.values())])
    Image.fromarray(grid(made, columns=len(x))).save(path, optimize=True)


if __name__ == "__main__":
    main()
