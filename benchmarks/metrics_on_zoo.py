"""Which metric to trust: the zoo's teachers, and real pictures spoilt in known ways, by each.

Command:  .venv/bin/python -m benchmarks.metrics_on_zoo [--only NAME]
Needs:    GANPRESS_DATA, GANPRESS_WEIGHTS (SqueezeNet) and the extra `features`; Inception where its
          weights are in GANPRESS_WEIGHTS.
Time:     about 6 minutes of one free core; each teacher is written when it is done.
Result:   benchmarks/results/metrics-on-zoo.json, and the tables metrics-on-zoo.md written from it.

For each teacher a set A of real pictures is the reference, and a set B of other real ones is
compared with it as it is, blurred, and through JPEG; then as many pictures of the teacher. All rows
of a task have the same two counts, so that the bias of the Frechet distance is the same in each.
"Floor" is B as it is: what a distance of sets says of pictures without a fault. By metrics of
pairs each picture of B is compared with itself spoilt, with another picture of B (unlike), and the
teacher's picture with its true one where there is one.

What is asked of a metric: that its order is the order of the faults (none, blur of 0.5, 1 and 2
pixels; none, JPEG of quality 60, 30 and 15), and that faults stand out from the floor.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from recipes.split_pairs import split
from torch import Tensor

from ganpress import Images, Model, load, open_images
from ganpress.data import evaluation
from ganpress.losses.features import Features, load_features, without_weights
from ganpress.losses.terms import unit_distance
from ganpress.measures.comparison import eight_bit
from ganpress.measures.image_metrics import learned_distance, set_distances
from ganpress.measures.protocol import named
from ganpress.models.inputs import drawn, from_noise, inputs_of

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "metrics-on-zoo"
SEED, BATCH, MOST, OF_REFERENCE = 0, 30, 200, 200
BLURS, QUALITIES = (0.5, 1.0, 2.0), (60, 30, 15)
SETS = ("squeezenet", "efficientnet-lite0", "inception-pytorch")
ALWAYS = ("squeezenet", "efficientnet-lite0")


@dataclass(frozen=True)
class Task:
    """A teacher of the zoo and its pictures.

    reference: real pictures, A. real: others, B. inputs: what the teacher reads, as many as B;
    None where it reads noise. paired: B are the true pictures of the inputs.
    """

    name: str
    size: int
    reference: Images
    real: Images
    inputs: Images | None
    paired: bool


def main() -> None:
    """Measure, write the JSON, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", help="one teacher of the zoo")
    parser.add_argument("--table", action="store_true", help="only write the tables anew")
    a = parser.parse_args()
    path = RESULT.with_suffix(".json")
    found = json.loads(path.read_text()) if path.exists() else {"tasks": {}}
    if not a.table:
        with tempfile.TemporaryDirectory() as folder:
            for task in tasks(Path(os.environ["GANPRESS_DATA"]), Path(folder)):
                if a.only in (None, task.name):
                    found["tasks"][task.name] = measured(task)
                    print(task.name, f"{found['tasks'][task.name]['seconds']} s", flush=True)
                    found["machine"] = machine()
                    path.write_text(json.dumps(found, indent=1) + "\n")
    RESULT.with_suffix(".md").write_text(tables(found))


def machine() -> dict[str, Any]:
    """What it was measured on and with."""
    facts = {"device": "cpu", "threads": torch.get_num_threads(), "torch": torch.__version__}
    return {**facts, "python": platform.python_version(), "platform": platform.platform()}


def tasks(data: Path, folder: Path) -> Iterator[Task]:
    """The teachers whose pictures are here."""
    split(data / "facades", folder / "facades")
    train, test = folder / "facades" / "train", folder / "facades" / "test"
    real, reference = (open_images(half / "photo") for half in (test, train))
    labels = open_images(test / "label", pairs=test / "photo")
    yield Task("pix2pix-facades", 128, reference, real, labels, True)
    maps = open_images(test / "photo", labels=test / "label")
    yield Task("gaugan-facades", 64, reference, real, maps, True)
    monet = data / "monet2photo"
    photos = open_images(monet / "testB")
    paintings = open_images(monet / "testA")
    few = photos.some(range(len(paintings)))
    yield Task("cyclegan-monet", 64, open_images(monet / "trainA"), paintings, few, False)
    learnt, held = (
        _drawn(open_images(data / "cifar10" / f"{half}.npz"), MOST) for half in ("train", "test")
    )
    yield Task("sngan-cifar10", 32, learnt, held, None, False)
    faces = open_images(data / "lfw64" / "all.npz")
    order = torch.randperm(len(faces), generator=_generator())[: 2 * MOST].tolist()
    some, others = (faces.some(sorted(order[k::2])) for k in (0, 1))
    yield Task("stylegan2-lfw", 64, some, others, None, False)


def _drawn(images: Images, count: int) -> Images:
    order = torch.randperm(len(images), generator=_generator())[:count].tolist()
    return images.some(sorted(order))


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def measured(task: Task) -> dict[str, Any]:
    """Every metric of every row of a task."""
    began = time.monotonic()
    nets = {name: load_features(name) for name in SETS if _here(name)}
    learned = load_features("st-lpips-alex")
    reference = _pictures(_first(task.reference, OF_REFERENCE), task.size)
    real = _pictures(_first(task.real, MOST), task.size)
    made = _made(load(ROOT / "zoo" / f"{task.name}.safetensors"), task, len(real))
    rows = {"as it is": real, **spoilt(real), "teacher": made}
    embedded = {name: _embed(net, reference) for name, net in nets.items()}
    by_sets = {row: _of_sets(nets, embedded, pictures) for row, pictures in rows.items()}
    unlike = real.roll(1, 0)
    pairs = {row: p for row, p in rows.items() if row != "as it is" and row != "teacher"}
    pairs["unlike"] = unlike
    if task.paired:
        pairs["teacher"] = made
    by_pairs = {row: _of_pairs(nets["squeezenet"], learned, p, real) for row, p in pairs.items()}
    return {
        "sets": by_sets,
        "pairs": by_pairs,
        "protocol": {
            "geometry": f"shorter side to {task.size} px (bicubic, antialiased), centre crop",
            "reference": f"{len(reference)} of {named(task.reference)}",
            "real": f"{len(real)} of {named(task.real)}",
            "made": f"{len(made)}, rounded to 8 bits; seed {SEED}",
            **{n: f"{net.name}, sha256 {net.digest[:12]}" for n, net in nets.items()},
            "st-lpips": f"{learned.name}, sha256 {learned.digest[:12]}",
        },
        "seconds": round(time.monotonic() - began, 1),
    }


def _here(name: str) -> bool:
    return name in ALWAYS or not without_weights(name)


def _first(images: Images, count: int) -> Images:
    return images if len(images) <= count else images.some(range(count))


def _pictures(images: Images, size: int) -> Tensor:
    return torch.cat([b.x for b in evaluation(images, batch=BATCH, size=size)])


@torch.no_grad()
def _made(model: Model, task: Task, count: int) -> Tensor:
    """As many of the teacher's pictures, of the inputs or of noise."""
    if from_noise(model):
        inputs = drawn(model, count, BATCH, _generator())
        return torch.cat([eight_bit(model(*each)) for each in inputs])
    assert task.inputs is not None
    batches = evaluation(task.inputs, batch=BATCH, size=task.size)
    draw = _generator()
    return torch.cat([eight_bit(model(*inputs_of(model, b, draw))) for b in batches])[:count]


def spoilt(x: Tensor) -> dict[str, Tensor]:
    """Row -> the pictures blurred by so many pixels, or through JPEG of such a quality."""
    rows = {f"blurred, {sigma:g} px": blurred(x, sigma) for sigma in BLURS}
    return rows | {f"JPEG {quality}": through_jpeg(x, quality) for quality in QUALITIES}


def blurred(x: Tensor, sigma: float) -> Tensor:
    """By a Gaussian of this standard deviation in pixels, edges repeated; 8 bits."""
    half = max(1, int(4 * sigma + 0.5))
    at = torch.arange(-half, half + 1, dtype=torch.float32)
    line = (-(at**2) / (2 * sigma**2)).exp()
    line = (line / line.sum()).expand(3, 1, -1)
    padded = F.pad(x, (half,) * 4, mode="replicate")
    rows = F.conv2d(padded, line[:, :, None], groups=3)
    return eight_bit(F.conv2d(rows, line[:, :, :, None], groups=3))


def through_jpeg(x: Tensor, quality: int) -> Tensor:
    """As Pillow writes and reads it, chroma at half the resolution."""
    out = []
    for picture in ((x + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        out.append(torch.from_numpy(np.array(Image.open(file))))
    return torch.stack(out).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def _embed(net: Features, x: Tensor) -> Tensor:
    return torch.cat([net.embed(part) for part in x.split(BATCH)])


def _of_sets(
    nets: Mapping[str, Features], reference: Mapping[str, Tensor], x: Tensor
) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, net in nets.items():
        found |= set_distances(net, reference[name], _embed(net, x), "reference")
    return found


@torch.no_grad()
def _of_pairs(net: Features, learned: Features, x: Tensor, y: Tensor) -> dict[str, float]:
    """Means over pictures: unit distance, ST-LPIPS, l1."""
    looks: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        f"{net.name}-unit-distance": lambda a, b: unit_distance(net(a), net(b)),
        learned.name: lambda a, b: learned_distance(learned, learned(a), learned(b)),
        "l1": lambda a, b: (a - b).abs().mean((1, 2, 3)) / 2,
    }
    parts = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
    return {
        name: float(torch.cat([look(a, b) for a, b in parts]).mean())
        for name, look in looks.items()
    }


def tables(found: Mapping[str, Any]) -> str:
    """The page: a table of each task's sets and pairs, and what each metric gets right."""
    lines = ["# The zoo's teachers and spoilt pictures, by each metric", ""]
    lines += [f"- {name}: {value}" for name, value in found["machine"].items()]
    lines += ["", "Written by `python -m benchmarks.metrics_on_zoo` from metrics-on-zoo.json.", ""]
    for name, task in found["tasks"].items():
        lines += [f"## {name}", ""]
        lines += _table("against set A", task["sets"])
        lines += _table("against its own picture", task["pairs"])
        lines += [f"- {key}: {text}" for key, text in task["protocol"].items()]
        lines += [""]
    return "\n".join([*lines, *_verdicts(found["tasks"])]) + "\n"


def _table(head: str, rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    names = list(next(iter(rows.values())))
    lines = [f"| {head} | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    lines += [
        f"| {row} | {' | '.join(f'{values[n]:.4g}' for n in names)} |"
        for row, values in rows.items()
    ]
    return [*lines, ""]


def _verdicts(tasks_: Mapping[str, Any]) -> list[str]:
    """What is asked of a metric, over all tasks: order, and how far faults stand out."""
    heads = ["metric", "blurs in order", "JPEGs in order", "blur 0.5 over the floor"]
    heads += ["JPEG 15 over the floor", "teacher over the floor"]
    lines = ["## What each metric gets right", "", f"| {' | '.join(heads)} |", "|---" * 6 + "|"]
    for kind in ("sets", "pairs"):
        names = dict.fromkeys(n for t in tasks_.values() for row in t[kind].values() for n in row)
        lines += [_verdict(name, [t[kind] for t in tasks_.values()]) for name in names]
    return [
        *lines,
        "",
        "In order: tasks in which each stronger fault has the larger distance, and (sets) pictures "
        "as they are the smallest. CIFAR-10 is JPEG of quality 75 here: its JPEG rows are hardly "
        "faults. Over the floor: "
        "median over tasks of the row's distance divided by that of real pictures as they are "
        "(sets; not of the kernel distance, whose floor is 0 in the mean), or by that of an unlike "
        "picture (pairs).",
    ]


def _verdict(name: str, found: list[Mapping[str, Mapping[str, float]]]) -> str:
    tasks_ = [t for t in found if all(name in row for row in t.values())]
    blurs = [f"blurred, {sigma:g} px" for sigma in BLURS]
    jpegs = [f"JPEG {quality}" for quality in QUALITIES]
    cells = []
    for rows in (blurs, jpegs):
        values = [[t[r][name] for r in ("as it is", *rows) if r in t] for t in tasks_]
        right = sum(v == sorted(v) for v in values)
        cells.append(f"{right} of {len(tasks_)}")
    for row in (blurs[0], jpegs[-1], "teacher"):
        cells.append(_over_floor(name, row, tasks_))
    return f"| {name} | {' | '.join(cells)} |"


def _over_floor(name: str, row: str, tasks_: list[Mapping[str, Mapping[str, float]]]) -> str:
    if name.startswith(("kernel-", "kid-")):
        return "–"
    floor = "as it is" if "as it is" in tasks_[0] else "unlike"
    ratios = [t[row][name] / t[floor][name] for t in tasks_ if row in t]
    return f"{float(np.median(ratios)):.3g}" if ratios else "–"


if __name__ == "__main__":
    main()
