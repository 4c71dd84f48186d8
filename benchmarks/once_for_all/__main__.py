"""The evidence for GAN Compression on a CPU: its ablation beside GAN Slimming, one supernet and
many students, and what the search is worth.

Command:  .venv/bin/python -m benchmarks.once_for_all --runs runs/once-for-all
Needs:    GANPRESS_DATA and GANPRESS_WEIGHTS, the extras `search` and `features`.
Time:     about 6 minutes of one core for each variant and seed. Minutes of a core: openmoji 65
          (its closest at five seeds 35 more, its further variants 40, with scales 40), hayao 70,
          facades 110, monet 180, students 40, longer 47, widened 30, rank 40, evolution 15. It
          resumes; what has ended is not run again. `--only PART` does one part; parts that do not
          need each other can run beside each other, a core each. `--keep` runs nothing and writes
          what is there.
Result:   benchmarks/results/once-for-all-PART.json and .md, and once-for-all.md of all parts;
          once-for-all-students.svg, quality over MACs.

`openmoji`, `hayao`, `facades` (with mIoU) and `monet`: variants of `ganpress ablate once-for-all`,
and GAN Slimming's gs-32 beside them: same teacher, pictures, cost and minutes; the closest ones
also with what GAN Slimming's students have and theirs lack: scales of the norms, and of monet dense
blocks. `students`: from a supernet that is trained for four minutes by the sandwich, students at
1/4, 1/9, 1/16 and 1/30 of the MACs, fine-tuned for four minutes each, and a GAN Slimming run of
five minutes for each: the same in all. `longer`: the ablation's three students with fifteen minutes
in place of five. `widened`: what it is worth that the search uses its budget up, three seeds.
`rank`: eight width sets by their quality inside a supernet of ten minutes and after separate
training. `evolution`: against brute force on a small space of it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.once_for_all import parts
from benchmarks.once_for_all.tables import keep, write_all

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
CLOSE = "fast,uniform,shrinking"
PAIRED, BASELINES = f"{CLOSE},no-taps,published", f"{CLOSE},no-taps"
OTHERS = "full,scratch,new-d,unsorted,sandwich,omgd,dcd"
SHRINKING = "once-for-all-shrinking-cpu"
CLOSEST, SEEDS, MORE_SEEDS = "uniform,shrinking", "0,1,2", "0,1,2,3,4"


def main() -> None:
    """Run what is missing of the parts asked for, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/once-for-all"))
    parser.add_argument("--only", choices=[*PARTS], help="one part")
    parser.add_argument("--keep", action="store_true", help="run nothing, write what is there")
    a = parser.parse_args()
    a.runs.mkdir(parents=True, exist_ok=True)
    for name, run in PARTS.items():
        if a.only in (None, name):
            if not a.keep:
                run(a.runs)
            keep(a.runs, name)
    write_all()


def ganpress(*command: Any) -> None:
    """A command of the package, as a user types it."""
    subprocess.run([sys.executable, "-m", "ganpress", *map(str, command)], check=True)


def data(name: str) -> Path:
    """A folder of the shared pictures."""
    return Path(os.environ["GANPRESS_DATA"]) / name


def openmoji_shown() -> list[Any]:
    """Outlines and drawings, side by side, and those never trained on."""
    pictures = data("openmoji")
    return ["--images", pictures / "train", "--side-by-side", "AB", "--test", pictures / "val"]


def hayao_shown() -> list[Any]:
    """Photos, and those never trained on."""
    train = [x for f in ("lfw128/train", "monet2photo/trainB") for x in ("--images", data(f))]
    return train + [x for f in ("lfw128/test", "monet2photo/testB") for x in ("--test", data(f))]


def ablate(method: str, run: Path, config: str, what: list[Any], names: str, seeds: str) -> None:
    """Variants of a method, from the command line."""
    shown = ["--run", run, "--config", HERE / f"{config}.toml", *what]
    ganpress("ablate", method, *shown, "--variants", names, "--seeds", seeds)


def other_students(runs: Path, part: str, what: list[Any]) -> None:
    """Variants with what GAN Slimming's students have and this part's lack."""
    for student in parts.OTHER_STUDENTS:
        if student.of == part:
            own, run = [*what, *flags(student.settings)], runs / f"{part}-{student.folder}"
            ablate("once-for-all", run, part, own, student.variants, student.seeds)


def facades_shown(runs: Path) -> list[Any]:
    """Label pictures and photos, split as the teacher's were, and those never trained on."""
    split = runs / "facades-split"
    if not split.exists():
        line = ["-m", "recipes.split_pairs", str(data("facades")), "--to", str(split)]
        subprocess.run([sys.executable, *line], check=True)
    train, test = split / "train", split / "test"
    shown = ["--images", train / "label", "--pairs", train / "photo"]
    return [*shown, "--test", test / "label", "--test-pairs", test / "photo"]


def openmoji(runs: Path) -> None:
    """Outlines to colour, 1/9 of the MACs."""
    what = ["--teacher", ROOT / "zoo" / "pix2pix-openmoji.safetensors", *openmoji_shown()]
    what += ["--metrics", "efficientnet-lite0,st-lpips-alex"]
    of, slim = runs / "openmoji", runs / "openmoji-slim"
    ablate("once-for-all", of, "openmoji", what, PAIRED, "0")
    ablate("slim", slim, "openmoji-slim", what, "gs-32", "0")
    for names, seeds in ((CLOSE, SEEDS), (CLOSEST, MORE_SEEDS)):
        ablate("once-for-all", of, "openmoji", what, names, seeds)
        ablate("slim", slim, "openmoji-slim", what, "gs-32", seeds)
    ablate("once-for-all", of, "openmoji", what, f"fast,{OTHERS}", "0")


def hayao(runs: Path) -> None:
    """Photos to Hayao's style, 1/22 of the MACs."""
    teacher = runs / "hayao.safetensors"
    if not teacher.exists():
        file = Path(os.environ["GANPRESS_WEIGHTS"]) / "cartoongan_hayao" / "hayao_fp16.pth"
        ganpress("import", "cartoongan", file, "-o", teacher)
    what = ["--teacher", teacher, *hayao_shown()]
    ablate("once-for-all", runs / "hayao", "hayao", what, BASELINES, "0")
    ablate("slim", runs / "hayao-slim", "hayao-slim", what, "gs-32", "0")
    for seeds in ("0,1", SEEDS):
        ablate("once-for-all", runs / "hayao", "hayao", what, CLOSE, seeds)
        ablate("slim", runs / "hayao-slim", "hayao-slim", what, "gs-32", seeds)


def facades(runs: Path) -> None:
    """Label pictures to photos, 1/9 of the MACs, with mIoU."""
    what = ["--teacher", ROOT / "zoo" / "pix2pix-facades.safetensors", *facades_shown(runs)]
    what += ["--metrics", "miou-facades"]
    for names, seeds in ((BASELINES, "0"), (CLOSE, "0,1"), (CLOSE, SEEDS)):
        ablate("once-for-all", runs / "facades", "facades", what, names, seeds)
        ablate("slim", runs / "facades-slim", "facades-slim", what, "gs-32", seeds)
    other_students(runs, "facades", what)


def monet(runs: Path) -> None:
    """Photos to Monet's paintings, 1/9 of the MACs; real paintings for the discriminator."""
    what = ["--teacher", ROOT / "zoo" / "cyclegan-monet.safetensors"]
    pictures = data("monet2photo")
    what += ["--images", pictures / "trainB", "--reals", pictures / "trainA"]
    what += ["--test", pictures / "testB", "--metrics", "efficientnet-lite0"]
    for names, seeds in (("fast,uniform,no-taps", "0"), ("fast,uniform", SEEDS)):
        ablate("once-for-all", runs / "monet", "monet", what, names, seeds)
        ablate("slim", runs / "monet-slim", "monet-slim", what, "gs-32", seeds)
    other_students(runs, "monet", what)


def compress(runs: Path, method: str, name: str, config: str, *sets: str) -> None:
    """One compression of the OpenMoji teacher. Args: config: a file here, or a recipe."""
    teacher, file = ROOT / "zoo" / "pix2pix-openmoji.safetensors", HERE / f"{config}.toml"
    line = ["--teacher", teacher, "--run", runs / name]
    line += ["--config", file if file.exists() else config]
    ganpress("compress", method, *line, *openmoji_shown(), *flags(sets))


def flags(sets: Iterable[str]) -> list[str]:
    """Settings as options of a command."""
    return [x for one in sets for x in ("--set", one)]


def students(runs: Path) -> None:
    """One supernet, four students; and a slimming run for each: as many minutes in all."""
    trained = [f"supernet.minutes={parts.SHARED_MINUTES}", "supernet.sampling=sandwich"]
    trained += [f"finetune.minutes={parts.OWN_MINUTES}"]
    first = runs / "students" / f"once-{parts.BUDGETS[0]}"
    for part in parts.BUDGETS:
        target = f"target.macs={1 / part:.4g}"
        own = [*trained, target]
        own += [f"reuse={first}"] if part != parts.BUDGETS[0] else []
        compress(runs, "once-for-all", f"students/once-{part}", "openmoji", *own)
        compress(runs, "slim", f"students/slim-{part}", "openmoji-slim", target, "min_channels=2")


def longer(runs: Path) -> None:
    """What three times the minutes make of the ablation's students at 1/9."""
    minutes = [f"supernet.minutes={parts.LONG_SUPERNET}", f"finetune.minutes={parts.LONG_TUNING}"]
    compress(runs, "once-for-all", "longer/searched", "openmoji", *minutes)
    compress(runs, "once-for-all", "longer/uniform", "openmoji", *minutes, "procedure=uniform")
    own = ["sparsify.minutes=4.5", "finetune.minutes=10.5"]
    compress(runs, "slim", "longer/slim", "openmoji-slim", *own)
    own = ["supernet.minutes=4.5", "finetune.minutes=10.5"]
    own += ["supernet.steps=100000", "finetune.steps=100000"]
    compress(runs, "once-for-all", "longer/shrinking", SHRINKING, *own)


def widened(runs: Path) -> None:
    """Three supernets of two minutes at sets of any cost, each searched with its sets as they are
    drawn and widened, and fine-tuned for three minutes."""
    trained = ["supernet.minutes=2", "supernet.sampling=uniform", "finetune.minutes=3"]
    for seed in range(3):
        own, drawn = [*trained, f"seed={seed}"], f"widened/drawn-{seed}"
        compress(runs, "once-for-all", drawn, "openmoji", *own, "search.widen=false")
        name, taken = f"widened/widened-{seed}", f"reuse={runs / drawn}"
        compress(runs, "once-for-all", name, "openmoji", *own, taken)


def rank(runs: Path) -> None:
    """Eight width sets, in a supernet of ten minutes and trained separately."""
    supernet, as_it_is = supernet_of(runs)
    for name in parts.spread_sets(supernet / "search"):
        inside, alone = runs / "rank" / f"in-{name}", f"rank/alone-{name}"
        chosen = [*as_it_is, f"search.choose={name}"]
        compress(runs, "once-for-all", f"rank/in-{name}", "openmoji", *chosen)
        own = ["procedure=scratch", f"reuse={inside}", "supernet.minutes=2.5", "finetune.steps=0"]
        compress(runs, "once-for-all", alone, "openmoji", *own)


def evolution(runs: Path) -> None:
    """Brute force and evolution on a small space of the same supernet."""
    supernet, as_it_is = supernet_of(runs)
    space = runs / "small-space.toml"
    parts.write_small_space(supernet / "search", space)
    common = [*as_it_is, f'search.space="{space}"', "search.widen=false"]
    compress(
        runs, "once-for-all", "evolution/brute-force", "openmoji", *common,
        "search.kind=brute-force", "search.evaluations=",
    )  # fmt: skip
    most = len(parts.trials(runs / "evolution" / "brute-force" / "search"))
    for seed in range(3):
        compress(
            runs, "once-for-all", f"evolution/evolution-{seed}", "openmoji", *common,
            f"search.evaluations={most // 4}", f"search.population={max(4, most // 16)}",
            f"seed={seed}",
        )  # fmt: skip


def supernet_of(runs: Path) -> tuple[Path, list[str]]:
    """A run at 1/9 whose supernet is trained for ten minutes by the sandwich, made where it lacks;
    and settings that take that over and train no more."""
    trained = [f"supernet.minutes={parts.SUPERNET_MINUTES}", "supernet.sampling=sandwich"]
    trained += ["finetune.steps=0"]
    compress(runs, "once-for-all", "supernet", "openmoji", *trained)
    return runs / "supernet", [f"reuse={runs / 'supernet'}", *trained]


PARTS = {
    "openmoji": openmoji,
    "hayao": hayao,
    "facades": facades,
    "monet": monet,
    "students": students,
    "longer": longer,
    "widened": widened,
    "rank": rank,
    "evolution": evolution,
}

if __name__ == "__main__":
    main()
