"""The evidence for GAN Compression on a CPU: its ablation beside GAN Slimming, one supernet and
many students, and what the search is worth.

Command:  .venv/bin/python -m benchmarks.once_for_all --runs runs/once-for-all
Needs:    GANPRESS_DATA and GANPRESS_WEIGHTS, the extras `search` and `features`.
Time:     about 6 minutes of one core for each variant and seed. Minutes of a core: monet, openmoji,
          hayao, facades 66 each, students 40, search 55: 360 in all, 3 hours of 2 cores with
          `--jobs 2`. `--further` adds as much again: five seeds, the other variants and other forms
          of students (72, 100, 48, 60), longer 47, widened 30. It resumes; what has ended is not
          run again. `--only PART` does one part. `--keep` runs nothing and writes what is there.
Result:   benchmarks/results/once-for-all-PART.json and .md, and once-for-all.md of all parts;
          once-for-all-students.svg, quality over MACs.

`openmoji`, `hayao`, `facades` (with mIoU) and `monet`: variants of `ganpress ablate once-for-all`,
and GAN Slimming's gs-32 beside them: same teacher, pictures, cost and minutes; with `--further`
also students with what GAN Slimming's have and the paper's lack: scales of the norms, and dense
blocks. `students`: from a supernet that is trained for four minutes by the sandwich, students at
1/4, 1/9, 1/16 and 1/30 of the MACs, fine-tuned for four minutes each, and a GAN Slimming run of
five minutes for each: the same in all. `search`: eight width sets by their quality inside a
supernet of ten minutes and after separate training; and evolution against brute force on a small
space of it. `longer`: the ablation's students with fifteen minutes in place of five. `widened`:
what it is worth that the search uses its budget up, three seeds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.beside import run_beside
from benchmarks.once_for_all import parts
from benchmarks.once_for_all.tables import keep, write_all

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
SHRINKING = "once-for-all-shrinking-cpu"
HAYAO_PHOTOS = {
    "--images": ("lfw128/train", "monet2photo/trainB"),
    "--test": ("lfw128/test", "monet2photo/testB"),
}


def main() -> None:
    """Run what is missing of the parts asked for, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/once-for-all"))
    parser.add_argument("--only", choices=[*PARTS, *FURTHER], help="one part")
    parser.add_argument("--further", action="store_true", help="what takes three hours more")
    parser.add_argument("--jobs", type=int, default=1, help="parts beside each other (1)")
    parser.add_argument("--keep", action="store_true", help="run nothing, write what is there")
    a = parser.parse_args()
    a.runs.mkdir(parents=True, exist_ok=True)
    names = [a.only] if a.only else [*PARTS, *(FURTHER if a.further else ())]
    if a.only and not a.keep:
        (PARTS | FURTHER)[a.only](a.runs, a.further)
    elif not a.keep:
        options = ["--further"] if a.further else []
        run_beside("benchmarks.once_for_all", a.runs, names, a.jobs, options)
    for name in names:
        for result in RESULTS_OF.get(name, (name,)):
            keep(a.runs, result)
    write_all()


def ganpress(*command: Any) -> None:
    """A command of the package, as a user types it."""
    subprocess.run([sys.executable, "-m", "ganpress", *map(str, command)], check=True)


def data(name: str) -> Path:
    """A folder of the shared pictures."""
    return Path(os.environ["GANPRESS_DATA"]) / name


def tables(part: str) -> Callable[[Path, bool], None]:
    """The runs of a part's table: of both methods, on the same teacher and pictures."""

    def run(runs: Path, further: bool) -> None:
        what = SHOWN[part](runs)
        for rows in (*parts.TABLES[part], *(parts.FURTHER[part] if further else ())):
            config, (end, settings) = part, parts.STUDENTS[rows.student]
            if rows.method == "slim":
                config, end = f"{part}-slim", "-slim"
            line = ["--run", runs / f"{part}{end}", "--config", HERE / f"{config}.toml"]
            line += [*what, *flags(settings), "--variants", rows.variants, "--seeds", rows.seeds]
            ganpress("ablate", rows.method, *line)

    return run


def openmoji_pictures() -> list[Any]:
    """Outlines and drawings, side by side, and those never trained on."""
    pictures = data("openmoji")
    return ["--images", pictures / "train", "--side-by-side", "AB", "--test", pictures / "val"]


def openmoji(runs: Path) -> list[Any]:
    """Outlines to colour, 1/9 of the MACs."""
    what = ["--teacher", ROOT / "zoo" / "pix2pix-openmoji.safetensors", *openmoji_pictures()]
    return [*what, "--metrics", "efficientnet-lite0,st-lpips-alex"]


def hayao(runs: Path) -> list[Any]:
    """Photos to Hayao's style, 1/22 of the MACs."""
    teacher = runs / "hayao.safetensors"
    if not teacher.exists():
        file = Path(os.environ["GANPRESS_WEIGHTS"]) / "cartoongan_hayao" / "hayao_fp16.pth"
        ganpress("import", "cartoongan", file, "-o", teacher)
    what = ["--teacher", teacher]
    for option, folders in HAYAO_PHOTOS.items():
        what += [x for folder in folders for x in (option, data(folder))]
    return what


def facades(runs: Path) -> list[Any]:
    """Label pictures to photos, split as the teacher's were, 1/9 of the MACs, with mIoU."""
    split = runs / "facades-split"
    if not split.exists():
        line = ["-m", "recipes.split_pairs", str(data("facades")), "--to", str(split)]
        subprocess.run([sys.executable, *line], check=True)
    train, test = split / "train", split / "test"
    what = ["--teacher", ROOT / "zoo" / "pix2pix-facades.safetensors"]
    what += ["--images", train / "label", "--pairs", train / "photo"]
    what += ["--test", test / "label", "--test-pairs", test / "photo"]
    return [*what, "--metrics", "miou-facades"]


def monet(runs: Path) -> list[Any]:
    """Photos to Monet's paintings, 1/9 of the MACs; real paintings for the discriminator."""
    pictures = data("monet2photo")
    what = ["--teacher", ROOT / "zoo" / "cyclegan-monet.safetensors"]
    what += ["--images", pictures / "trainB", "--reals", pictures / "trainA"]
    return [*what, "--test", pictures / "testB", "--metrics", "efficientnet-lite0"]


SHOWN = {"monet": monet, "openmoji": openmoji, "hayao": hayao, "facades": facades}
"""Teacher and pictures of each table, as options."""


def compress(runs: Path, method: str, name: str, config: str, *sets: str) -> None:
    """One compression of the OpenMoji teacher. Args: config: a file here, or a recipe."""
    teacher, file = ROOT / "zoo" / "pix2pix-openmoji.safetensors", HERE / f"{config}.toml"
    line = ["--teacher", teacher, "--run", runs / name]
    line += ["--config", file if file.exists() else config]
    ganpress("compress", method, *line, *openmoji_pictures(), *flags(sets))


def flags(sets: Iterable[str]) -> list[str]:
    """Settings as options of a command."""
    return [x for one in sets for x in ("--set", one)]


def students(runs: Path, further: bool) -> None:
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


def longer(runs: Path, further: bool) -> None:
    """What three times the minutes make of the ablation's students at 1/9."""
    minutes = [f"supernet.minutes={parts.LONG_SUPERNET}", f"finetune.minutes={parts.LONG_TUNING}"]
    compress(runs, "once-for-all", "longer/searched", "openmoji", *minutes)
    compress(runs, "once-for-all", "longer/uniform", "openmoji", *minutes, "procedure=uniform")
    own = ["sparsify.minutes=4.5", "finetune.minutes=10.5"]
    compress(runs, "slim", "longer/slim", "openmoji-slim", *own)
    own = ["supernet.minutes=4.5", "finetune.minutes=10.5"]
    own += ["supernet.steps=100000", "finetune.steps=100000"]
    compress(runs, "once-for-all", "longer/shrinking", SHRINKING, *own)


def widened(runs: Path, further: bool) -> None:
    """Three supernets of two minutes at sets of any cost, each searched with its sets as they are
    drawn and widened, and fine-tuned for three minutes."""
    trained = ["supernet.minutes=2", "supernet.sampling=uniform", "finetune.minutes=3"]
    for seed in range(3):
        own, drawn = [*trained, f"seed={seed}"], f"widened/drawn-{seed}"
        compress(runs, "once-for-all", drawn, "openmoji", *own, "search.widen=false")
        name, taken = f"widened/widened-{seed}", f"reuse={runs / drawn}"
        compress(runs, "once-for-all", name, "openmoji", *own, taken)


def search(runs: Path, further: bool) -> None:
    """What the search is worth, on one supernet."""
    rank(runs)
    evolution(runs)


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


PARTS = {**{part: tables(part) for part in SHOWN}, "students": students, "search": search}
FURTHER = {"longer": longer, "widened": widened}
RESULTS_OF = {"search": ("rank", "evolution")}
"""Names of the results of a part where they are not its own."""

if __name__ == "__main__":
    main()
