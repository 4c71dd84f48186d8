"""Pictures a second of `ganpress.generate` beside a bare torch loop, in one run.

Command:  .venv/bin/python -m benchmarks.run_speed MODEL.safetensors [--images DIR] [--threads 1]
Time:     about 3 minutes on 2 cores.
Result:   benchmarks/results/run-speed.json and .md

200 photos of 256 px. The bare loop reads, runs and writes them one after the other with PIL and
torch, the plain way. Both take turns on pieces of the photos, so that noise hits both alike; the
order within a turn changes. The exported files run on the same pieces, where their packages are.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ganpress import Model, export, generate, load, measure
from ganpress.errors import MissingExtra

RESULTS = Path(__file__).parent / "results"
SIZE, COUNT, PIECES = 256, 200, 10


def main() -> None:
    """Measure, write, tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, help="a ganpress model that reads photos")
    parser.add_argument("--images", type=Path, default=None, help="photos; default: monet2photo's")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the network")
    parser.add_argument("--count", type=int, default=COUNT)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    photos = a.images or Path(os.environ["GANPRESS_DATA"]) / "monet2photo"
    model = load(a.model)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        pieces = cut_up(photos, work / "in", a.count)
        ways = ways_of(model, work, a.threads)
        seconds = measured(ways, pieces, work)
    write(summary(seconds, model, a.model, a.count, a.threads))


def cut_up(photos: Path, to: Path, count: int) -> list[Path]:
    """Folders with JPEGs of 256 x 256 px, together ``count``."""
    names = sorted(p for p in photos.rglob("*") if p.suffix.lower() in (".jpg", ".png"))[:count]
    if len(names) < count:
        raise SystemExit(f"{photos} has {len(names)} photos, {count} are needed.")
    pieces = [to / f"{i}" for i in range(PIECES)]
    for i, name in enumerate(names):
        pieces[i % PIECES].mkdir(parents=True, exist_ok=True)
        with Image.open(name) as photo:
            square = photo.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        square.save(pieces[i % PIECES] / f"{i:05d}.jpg", quality=95)
    return pieces


def ways_of(model: Model, work: Path, threads: int) -> dict[str, Callable[[Path, Path], None]]:
    """What is timed, by name: (folder to read, folder to write)."""

    def ours(what: Any, source: Path, out: Path) -> None:
        generate(what, out, images=source, threads=threads, quiet=True)

    ways: dict[str, Callable[[Path, Path], None]] = {
        "bare loop": partial(bare_loop, model),
        "ganpress, torch": partial(ours, model),
    }
    for target, name in (("onnx", "net.onnx"), ("openvino", "net.xml")):
        try:
            export(model, work / name, to=target, size=SIZE)
        except MissingExtra:
            continue
        ways[f"ganpress, .{name.split('.')[1]}"] = partial(ours, work / name)
    return ways


@torch.no_grad()
def bare_loop(model: Model, source: Path, out: Path) -> None:
    """What anybody would write: read, run, write."""
    out.mkdir(parents=True)
    net = model.net.eval()
    for path in sorted(source.iterdir()):
        with Image.open(path) as photo:
            x = torch.from_numpy(np.array(photo.convert("RGB")))
        made = net(x.permute(2, 0, 1)[None].float() / 127.5 - 1)[0]
        pixels = ((made + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(out / path.name, quality=95, subsampling=0)


def measured(
    ways: dict[str, Callable[[Path, Path], None]], pieces: list[Path], work: Path
) -> dict[str, list[float]]:
    """Seconds of each way for each piece; the first piece is run once before, as a warm-up."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn, piece in enumerate([pieces[0], *pieces]):
        order = list(ways)[turn % len(ways) :] + list(ways)[: turn % len(ways)]
        for name in order:
            out = work / "out"
            shutil.rmtree(out, ignore_errors=True)
            began = time.perf_counter()
            ways[name](piece, out)
            took = time.perf_counter() - began
            if len(list(out.glob("*.jpg"))) != len(list(piece.iterdir())):
                raise SystemExit(f"{name} did not make every picture.")
            if turn:
                found[name].append(took)
    return found


def summary(
    seconds: dict[str, list[float]], model: Model, file: Path, count: int, threads: int
) -> dict[str, Any]:
    """The numbers: pictures a second over all pieces, and against the bare loop piece by piece."""
    bare = seconds["bare loop"]
    rows = {
        name: {
            "pictures_per_second": round(count / sum(times), 3),
            "against_bare_loop": round(sum(bare) / sum(times), 3),
            "median_of_pieces": round(
                statistics.median(b / t for b, t in zip(bare, times, strict=True)), 3
            ),
        }
        for name, times in seconds.items()
    }
    return {
        "rows": rows, "model": file.name, "family": model.family.name,
        "gmacs": round(measure(model.net, SIZE).macs / 1e9, 3), "photos": count, "size": SIZE,
        "threads": threads, "cores": len(os.sched_getaffinity(0)), "device": "cpu",
        "torch": torch.__version__, "load": round(os.getloadavg()[0], 2),
        "command": f"python -m benchmarks.run_speed {file} --threads {threads}",
    }  # fmt: skip


def write(found: dict[str, Any]) -> None:
    """results/run-speed.json and .md."""
    (RESULTS / "run-speed.json").write_text(json.dumps(found, indent=1) + "\n")
    lines = ["| way | pictures a second | against the bare loop |", "|---|---|---|"]
    for name, row in found["rows"].items():
        lines.append(
            f"| {name} | {row['pictures_per_second']:.2f} | {row['against_bare_loop']:.2f} |"
        )
    lines += [
        "",
        f"{found['photos']} JPEGs of {found['size']} px; {found['family']} of {found['gmacs']} G "
        f"MACs; {found['threads']} thread(s) for the network, {found['cores']} cores of a CPU that "
        f"others used, too (load {found['load']}); torch {found['torch']}. The ways took turns on "
        f"{PIECES} pieces of the photos. Written by `{found['command']}`.",
    ]
    (RESULTS / "run-speed.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
