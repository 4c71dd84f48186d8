"""The evidence for GAN Slimming on a CPU: its ablation on two tasks, SNGAN, and other readings.

Command:  .venv/bin/python -m benchmarks.ablations --runs runs
Needs:    GANPRESS_DATA and GANPRESS_WEIGHTS.
Time:     about 5 minutes of one core for each variant and seed, 5 core hours in all. It resumes;
          what has ended is not run again. `--only NAME` does one part; `--keep` runs nothing and
          writes what is there. `--metrics st-lpips-alex` measures finished variants by it, too,
          and trains nothing for that.
Result:   for each part benchmarks/results/ablation-NAME.json, .md and, of the two tasks, the
          paper's figures 3 (.svg) and 4 (.jpg); all parts together in ablations-cpu.md.

`facades` and `hayao` are the ablation: all nine variants, three seeds where they are close. `sngan`
is a student of a third of the MACs in 8 bits; `sngan-half` is told an eighth of the bytes, and that
channels are dearer where they take more of them, which leaves half of the MACs. `4-bit` asks the
quantised variants for 4 bits. The readings change one setting of a variant of `facades`, or of
`hayao`, to what the paper or its code says, or to the exact 8-bit form (ADR 15).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CLOSE = {
    "facades": "gd,cp+d,gs-32,gs-32+postq,gs-8,cec",
    "hayao": "gd,gs-32,gs-32+postq,gs-8",
}
SEEDS = ["--seeds", "0,1,2"]
READINGS = {
    "reading-real-images": ["--variants", "gs-32", "--set", "discriminator.real=images"],
    "reading-linear": ["--variants", "gs-32", "--set", "sparsify.schedule=linear"],
    "reading-cosine": ["--variants", "gs-32", "--set", "sparsify.schedule=cosine"],
    "reading-gs2020": ["--variants", "gs-8", "--set", "quantise.levels=gs2020"],
    "reading-clamped": ["--variants", "gs-8", "--set", "quantise.trunk=clamped", *SEEDS],
}
ON_HAYAO = {
    "reading-clamped-hayao": ["--variants", "gs-8", "--set", "quantise.trunk=clamped", *SEEDS],
    "reading-exact-hayao": ["--variants", "gs-8", "--set", "quantise.exact=true", *SEEDS],
}
HALF = [
    "--set",
    "target.macs=",
    "--set",
    "target.bytes=0.119",
    "--set",
    "sparsify.cost_exponent=0.7",
]


def main() -> None:
    """Run what is missing, keep the results, write the table of all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--only", help="one part, by its name")
    parser.add_argument("--metrics", help="further ones, as 'ganpress ablate --metrics'")
    parser.add_argument("--keep", action="store_true", help="run nothing, write what is there")
    a = parser.parse_args()
    for name, commands in parts(a.runs).items():
        if a.only not in (None, name):
            continue
        for command in [] if a.keep else commands:
            measured = ["--metrics", a.metrics] if a.metrics and "ablate" in command else []
            subprocess.run([sys.executable, "-m", *command, *measured], check=True)
        if (a.runs / f"ablation-{name}" / "ablation.json").exists():
            keep(a.runs / f"ablation-{name}", name)
    (RESULTS / "ablations-cpu.md").write_text(table())


def parts(runs: Path) -> dict[str, list[list[str]]]:
    """Name -> commands, as modules with their arguments."""
    data, weights = (Path(os.environ[k]) for k in ("GANPRESS_DATA", "GANPRESS_WEIGHTS"))
    hayao, split = runs / "hayao.safetensors", runs / "facades"
    shown = ["--images", split / "train" / "label", "--pairs", split / "train" / "photo"]
    shown += ["--test", split / "test" / "label", "--test-pairs", split / "test" / "photo"]
    photos = [x for f in ("lfw128/train", "monet2photo/trainB") for x in ("--images", data / f)]
    photos += [x for f in ("lfw128/test", "monet2photo/testB") for x in ("--test", data / f)]
    pictures = ["--images", data / "cifar10" / "train.npz"]
    pictures += ["--test", data / "cifar10" / "test.npz"]
    facades = [ROOT / "zoo" / "pix2pix-facades.safetensors", "facades", *shown]
    cartoon = weights / "cartoongan_hayao" / "hayao_fp16.pth"
    hayaos = [hayao, "hayao", *photos]
    sngan = [ROOT / "zoo" / "sngan-cifar10.safetensors", "sngan-cifar10", *pictures]

    def ablate(name: str, what: list[Any], *more: str) -> list[str]:
        teacher, config, *images = map(str, what)
        fixed = ["--run", runs / f"ablation-{name}", "--teacher", teacher]
        settings = ["--config", f"{config}-cpu"]
        return ["ganpress", "ablate", "slim", *map(str, [*fixed, *settings, *images]), *more]

    def twice(name: str, what: list[Any]) -> list[list[str]]:
        return [ablate(name, what), ablate(name, what, "--variants", CLOSE[name], *SEEDS)]

    pairs = ["recipes.split_pairs", str(data / "facades"), "--to", str(split)]
    return {
        "facades": [*([] if split.exists() else [pairs]), *twice("facades", facades)],
        "hayao": [
            ["ganpress", "import", "cartoongan", str(cartoon), "-o", str(hayao)],
            *twice("hayao", hayaos),
        ],
        "sngan": [ablate("sngan", sngan, "--variants", "gs-8")],
        "sngan-half": [ablate("sngan-half", sngan, "--variants", "gs-8", *HALF)],
        "4-bit": [
            ablate(
                "4-bit", facades, "--variants", "gs-32,gs-32+postq,gs-8", "--set", "quantise.bits=4"
            )
        ],
        **{name: [ablate(name, facades, *change)] for name, change in READINGS.items()},
        **{name: [ablate(name, hayaos, *change)] for name, change in ON_HAYAO.items()},
    }


def keep(run: Path, name: str) -> None:
    """Copy a part's result files, its pictures as JPEG."""
    RESULTS.mkdir(exist_ok=True)
    for suffix in ("json", "md"):
        shutil.copyfile(run / f"ablation.{suffix}", RESULTS / f"ablation-{name}.{suffix}")
    if name in CLOSE:
        shutil.copyfile(run / "fig3.svg", RESULTS / f"ablation-{name}.svg")
        Image.open(run / "fig4.png").convert("RGB").save(
            RESULTS / f"ablation-{name}.jpg", quality=88, optimize=True
        )


def table() -> str:
    """All parts that have results, variant by variant, from their JSON files."""
    files = sorted(RESULTS.glob("ablation-*.json"))
    lines = [
        "| part | variant | bits | seeds | 1/MACs | 1/bytes | to the teacher | l1 "
        "| to real pictures |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for file in files:
        found = json.loads(file.read_text())
        name = file.stem.removeprefix("ablation-")
        if (real := score(found)) and name not in READINGS and name not in ("4-bit", "sngan-half"):
            of_teacher = found["judged_teacher"][real.removeprefix("real/")]
            lines.append(f"| {name} | teacher | 32 | – | 1 | 1 | – | – | {of_teacher:.4g} |")
        lines += [row(name, variant, found["metric"], real) for variant in found["variants"]]
    return "\n".join(lines) + "\n" + NOTE


NOTE = """
To the teacher: unit distance on SqueezeNet 1.1 to the teacher's picture of the same input, held out
of training; l1: mean absolute difference, as a fraction of the grey range. To real pictures: of
facades the same unit distance to the photo of the label map; of the sngan parts the score of a
CIFAR-10 classifier (is-resnet56, larger is better); all others: smaller is better. ± is the
standard deviation over seeds. One thread of a CPU for each variant, the same minutes within a part.
Protocols, devices and versions: ablation-*.md. Written by `python -m benchmarks.ablations`.
"""


def score(found: dict[str, Any]) -> str | None:
    """The number that says how good a student is by real pictures, where there are some."""
    names = found["variants"][0]["numbers"]
    kinds = ("real/is-", f"real/{found['metric']}")
    return next((n for kind in kinds for n in names if n.startswith(kind)), None)


def row(name: str, variant: dict[str, Any], metric: str, real: str | None) -> str:
    """One variant as a line of the table."""
    n = variant["numbers"]

    def told(key: str | None) -> str:
        if key is None:
            return "–"
        spread = n[key]["spread"]
        return f"{n[key]['mean']:.4g}" + (f" ± {spread:.2g}" if spread else "")

    cells = [name, variant["variant"], str(variant["bits"]), str(len(variant["seeds"]))]
    cells += [f"{n[key]['mean']:.1f}" for key in ("ratio/macs", "ratio/bytes")]
    return "| " + " | ".join([*cells, told(metric), told("l1"), told(real)]) + " |"


if __name__ == "__main__":
    main()
