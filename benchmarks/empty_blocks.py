"""Whether residual blocks should be allowed to lose all their inner channels, on two real wirings.

Command:  .venv/bin/python -m benchmarks.empty_blocks --runs runs/empty-blocks [--steps 800]
          [--only hayao-rank-empty] [--photos 400] [--core 0]
Needs:    GANPRESS_DATA and GANPRESS_WEIGHTS (Hayao, GAN Compression's horse to zebra, SqueezeNet).
Time:     one pinned thread; with --steps 800 hours, with --steps 8 --photos 8 a few minutes. It
          resumes: a row whose settings have ended is not trained again.
Result:   benchmarks/results/empty-blocks.json and, written from it, empty-blocks.md.

Each wiring is slimmed to 1/40 of its MACs twice for either way of comparing channels of different
groups (`sparsify.ranking`): with `sparsify.empty_blocks` and without, all else equal, and judged by
the unit distance to its teacher on photos that were not trained on. Before that, without training:
`fade` scales all gammas inside one block, and says how far the teacher's picture moves.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganpress import Images, Model, Run, SlimConfig, evaluate, import_model, measure, open_images
from ganpress.data import evaluation
from ganpress.errors import Diverged, InfeasibleTarget
from ganpress.measures.timing.device import processor
from ganpress.methods.base import Given
from ganpress.methods.gan_slimming.extract import scaled_copy
from ganpress.methods.gan_slimming.method import slim
from ganpress.methods.gan_slimming.settings import resolve
from ganpress.methods.gan_slimming.targets import check_target
from ganpress.run.recipes import recipes
from ganpress.run.settings import checked, read_config

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "empty-blocks.json"
TARGET = 1 / 40
SEED = 0
MIN_CHANNELS = {"hayao": 4, "horse2zebra": 1}
"""GAN Compression's student is narrow already: with 4, a 22nd is the least that it can cost."""
FADES = (0.1, 0.01, 0.0)
WIRINGS: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "hayao": (
        "cartoongan",
        "cartoongan_hayao/hayao_fp16.pth",
        ("lfw128/train", "monet2photo/trainB"),
        ("lfw128/test", "monet2photo/testB"),
    ),
    "horse2zebra": (
        "gan-compression",
        "gancompression_horse2zebra/latest_net_G_16_16_32_16_32_32_16_16.pth",
        ("horse2zebra_part/trainA",),
        ("horse2zebra_part/testA",),
    ),
}
"""Kind and file of the weights, folders of photos to train on and to judge on."""
ROWS = [
    (wiring, ranking, empty)
    for wiring in WIRINGS
    for ranking in ("rank", "magnitude")
    for empty in (False, True)
]


def main() -> None:
    """Fade, slim what is missing, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/empty-blocks"))
    parser.add_argument("--steps", type=int, default=800, help="of each of the two stages")
    parser.add_argument("--photos", type=int, default=400, help="at most, to train and to judge on")
    parser.add_argument("--only", help="one row, such as hayao-rank-empty")
    parser.add_argument("--core", type=int, default=0, help="that the process is pinned to")
    a = parser.parse_args()
    os.sched_setaffinity(0, {a.core})
    torch.set_num_threads(1)
    found = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    found |= {"protocol": protocol(a), "fade": found.get("fade", {}), "rows": found.get("rows", {})}
    for wiring, ranking, empty in ROWS:
        name = f"{wiring}-{ranking}-{'empty' if empty else 'keep'}"
        if a.only not in (None, name):
            continue
        settings = settings_of(wiring, ranking, empty, a.steps)
        key = {"steps": a.steps, "photos": a.photos, "settings": settings.model_dump()}
        if found["rows"].get(name, {}).get("of") == key:
            continue
        teacher = teacher_of(wiring)
        test = some(photos_of(WIRINGS[wiring][3]), a.photos)
        if wiring not in found["fade"]:
            found["fade"][wiring] = fade(teacher, test)
        row = slimmed(teacher, wiring, test, settings, a.runs / f"{name}-{a.steps}", a.photos)
        found["rows"][name] = {"of": key, **row}
        RESULT.write_text(json.dumps(found, indent=1) + "\n")
        RESULT.with_suffix(".md").write_text(table(found))
        print(name, json.dumps(row), flush=True)


def protocol(a: argparse.Namespace) -> dict[str, Any]:
    """What holds for every row."""
    return {
        "device": f"cpu, {processor()}, one pinned thread",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "seed": SEED,
        "target.macs": TARGET,
        "settings": "recipe hayao-cpu in float32, by steps instead of minutes",
        "distance": "squeezenet-unit-distance to the teacher on held-out photos, 96 px",
        "load": os.getloadavg()[0],
    }


def settings_of(wiring: str, ranking: str, empty: bool, steps: int) -> SlimConfig:
    """Those of the Hayao ablation, with as many steps in each stage."""
    base = read_config(SlimConfig, recipes(["ablate"])["hayao-cpu"]).model_dump()
    base |= {"seed": SEED, "precision": "float32", "target": {"macs": TARGET}}
    base["min_channels"] = MIN_CHANNELS[wiring]
    base["data"] |= {"cached_crops": 0}
    rounds = max(1, min(8, steps // 4))
    base["sparsify"] |= {"steps": steps, "minutes": None, "rounds": rounds}
    base["sparsify"] |= {"ranking": ranking, "empty_blocks": empty}
    base["finetune"] |= {"steps": steps, "minutes": None}
    return checked(SlimConfig, base)


def teacher_of(wiring: str) -> Model:
    """The published generator."""
    kind, file, *_ = WIRINGS[wiring]
    return import_model(kind, Path(os.environ["GANPRESS_WEIGHTS"]) / file)


def photos_of(folders: Sequence[str]) -> Images:
    """All photos of these folders of GANPRESS_DATA."""
    return open_images([Path(os.environ["GANPRESS_DATA"]) / f for f in folders])


def some(images: Images, most: int) -> Images:
    """At most so many of them, evenly spread."""
    step = max(1, len(images) // most)
    return images.some(list(range(0, len(images), step))[:most])


@torch.no_grad()
def fade(teacher: Model, photos: Images) -> dict[str, dict[str, float]]:
    """Block -> factor of all its inner gammas -> L1 change of the picture, 0 to 1 of the grey
    range, on four photos, without training. At 0 the block is what extraction makes of it."""
    x = next(evaluation(some(photos, 4), batch=4, size=96)).x
    net: Any = scaled_copy(teacher).net.eval()
    whole, out = net(x), {}
    for i, block in enumerate(net.blocks):
        gamma = block.norm1.weight.clone()
        moved = {}
        for factor in FADES:
            block.norm1.weight.copy_(gamma * factor)
            hook = block.register_forward_hook(emptied) if factor == 0 else None
            moved[f"{factor:g}"] = round(float((net(x) - whole).abs().mean()) / 2, 5)
            if hook:
                hook.remove()
        block.norm1.weight.copy_(gamma)
        out[f"block{i}"] = moved
    return out


def emptied(block: Any, inputs: tuple[Tensor, ...], _: Tensor) -> Tensor:
    """What a residual block without inner channels gives: its input and the last norm's shift."""
    shift: Tensor = block.norm2.bias.view(1, -1, 1, 1)
    return inputs[0] + shift


def slimmed(
    teacher: Model, wiring: str, test: Images, settings: SlimConfig, run: Path, most: int
) -> dict[str, Any]:
    """Slim, judge; what became of it, or why it was refused."""
    train = some(photos_of(WIRINGS[wiring][2]), most)
    c, began = resolve(settings), time.monotonic()
    try:
        check_target(teacher, c)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            weights = Path(os.environ["GANPRESS_WEIGHTS"])
            given = Given(teacher, train, weights=weights)
            student = slim(given, c, Run(run, seed=SEED, quiet=True))
    except (InfeasibleTarget, Diverged) as error:
        return {"refused": str(error)}
    found = evaluate(student, teacher, test, size=96, weights=weights)
    macs = [measure(m.net, m.family.image.size).macs for m in (student, teacher)]
    inner = {g: n for g, n in student.widths.items() if g.startswith("block")}
    return {
        "macs": macs[0] / macs[1],
        "distance": next(v for k, v in found.metrics.items() if k.endswith("-unit-distance")),
        "l1": found.metrics["l1"],
        "emptied": [g for g, n in inner.items() if n == 0],
        "widths": student.widths,
        "warnings": sorted({str(w.message) for w in told}),
        "seconds": round(time.monotonic() - began, 1),
    }


def table(found: dict[str, Any]) -> str:
    """The rows and the fades as Markdown."""
    p = found["protocol"]
    lines = ["# Emptied residual blocks at 1/40 of the MACs", ""]
    lines += [f"* {key}: {value}" for key, value in p.items()]
    if min(row["of"]["steps"] for row in found["rows"].values()) < 100:
        lines += ["", "So few steps say only which channels go, not how good the pictures get."]
    head = ["row", "steps", "MACs", "distance", "L1", "emptied", "inner widths"]
    lines += ["", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, row in found["rows"].items():
        steps = row["of"]["steps"]
        if "refused" in row:
            lines.append(f"| {name} | {steps} | refused: {row['refused']} | | | | |")
            continue
        inner = " ".join(str(n) for g, n in row["widths"].items() if g.startswith("block"))
        numbers = f"{row['macs']:.4f} | {row['distance']:.4f} | {row['l1']:.4f}"
        gone = ", ".join(row["emptied"]) or "none"
        lines.append(f"| {name} | {steps} | {numbers} | {gone} | {inner} |")
    factors = [f"{f:g}" for f in FADES]
    lines += [
        "",
        "L1 change of the teacher's picture where one block's inner gammas are scaled:",
        "",
    ]
    lines += [f"| block | {' | '.join(factors)} |", "|---" * (len(factors) + 1) + "|"]
    for wiring, blocks in found["fade"].items():
        for block, moved in blocks.items():
            lines.append(f"| {wiring} {block} | {' | '.join(str(moved[f]) for f in factors)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
