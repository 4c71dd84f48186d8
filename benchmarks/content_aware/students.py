"""What a student is worth in use, by the commands that a user has; one JSON file for each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.content_aware.faces import COSTS, TEACHER, photos_to_project, sinet
from ganpress.losses.features import without_weights

TEACHER_NAME = "teacher"
CHOSEN = {
    "content-aware": (
        "",
        ("content-aware", "by-cost", "diversity", "l1-out", "random", "unmasked"),
    ),
    "slim": ("-slim", ("gs-32",)),
    "once-for-all": ("-once-for-all", ("fast",)),
}
"""Method -> the end of its folder's name, and variants whose students are judged."""
COUNT, PAIRS = 200, 100
SEEDS = ["0", "1", "2", "3", "4"]
SECOND = "efficientnet-lite0"


@dataclass(frozen=True)
class Network:
    """A network to be judged: its name in the tables, and its file."""

    name: str
    file: Path


def networks(runs: Path) -> list[Network]:
    """The teacher, and the first seed's students that are there."""
    found = [Network(TEACHER_NAME, TEACHER)]
    for part in (*COSTS, "low-gan"):
        for method, (end, variants) in CHOSEN.items():
            for variant in variants:
                folder = runs / f"{part}{end}" / f"{variant}-0"
                if (folder / "done.json").exists():
                    name = f"{part}-{method}-{variant}"
                    found.append(Network(name, folder / "student.safetensors"))
    return found


def judge(network: Network, runs: Path, run: Callable[..., None], *, tiny: bool) -> None:
    """Distances, path lengths, projections, a morph and a table of mixtures; what is there stays.

    Args: run: a command of ganpress.
    """
    folder = runs / "students" / network.name
    folder.mkdir(parents=True, exist_ok=True)
    beside = ["--teacher", TEACHER]
    shorter = ["--iterations", "4"] if tiny else []
    if not (folder / "distances.json").exists():
        count = ["--count", "8" if tiny else str(PAIRS)]
        paths = [*count, "--metrics", "ppl-w,ppl-z", "--features", "squeezenet"]
        run("evaluate", network.file, *beside, *sinet(), *paths, "--json", folder / "paths.json")
        for net in feature_networks():
            line = ["--count", "8" if tiny else str(COUNT), "--metrics", "none", "--features", net]
            out = ["--json", folder / f"distance-{net}.json"]
            run("evaluate", network.file, *beside, *sinet(), *line, *out)
        (folder / "distances.json").write_text(json.dumps(feature_networks()))
    if not (folder / "projection" / "results.json").exists():
        photos = photos_to_project(runs, 1 if tiny else 4)
        run("edit", "project", network.file, "--images", photos, "--run", folder / "projection",
            *shorter)  # fmt: skip
    if network.name == TEACHER_NAME:
        return
    beside += ["--teacher-latents", runs / "students" / TEACHER_NAME / "projection"]
    codes = folder / "projection"
    ways: dict[str, tuple[Sequence[Any], list[Any]]] = {
        "morph": ([codes], beside),
        "morph-random": (SEEDS, ["--teacher", TEACHER]),
    }
    for name, (latents, shown) in ways.items():
        if not (folder / name / "results.json").exists():
            run("edit", "morph", network.file, *latents, *shown, "-o", folder / name)
    if not (folder / "mix" / "mix.png").exists():
        ends = ["--source", codes, "--destination", codes, "--layers", "0-3"]
        run("edit", "mix", network.file, *ends, *beside, "-o", folder / "mix")


def feature_networks() -> list[str]:
    """Those that distances are measured by, of which the weights are here."""
    if lacks := without_weights(SECOND):
        print(f"students: without {SECOND}: {lacks}", flush=True)
        return ["squeezenet"]
    return ["squeezenet", SECOND]


def figures(folder: Path) -> dict[str, Any]:
    """What the commands found of one network, as far as it is there."""
    found: dict[str, Any] = {"protocol": {}}
    for file in sorted(folder.glob("*.json")):
        said = json.loads(file.read_text())
        if isinstance(said, dict):
            found |= said["metrics"] | {f"{n}": v for n, v in said["yardsticks"].items()}
            found["protocol"] |= {file.stem: said["protocol"]}
    if (file := folder / "projection" / "results.json").exists():
        found["projection"] = json.loads(file.read_text())
    for name in ("morph", "morph-random"):
        if (file := folder / name / "results.json").exists():
            found[name] = json.loads(file.read_text())["smoothness"]
    return found
