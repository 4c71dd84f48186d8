"""Golden traces: the losses of a few steps of each tiny training, and where its weights end.

    python -m tests.golden --write         write tests/golden/NAME.json anew
    python -m tests.golden --bits FILE     write the sha256 of each training's final weights

Run it at the root of a checkout. Traces are computed in float64 and compared to 1e-4, so that they
hold on any machine and version of torch (in float32 ten steps of a GAN make 1e-2 of a rounding);
bits are those of the usual float32, for two checkouts on one machine. A trace that changes says
that the numbers of a training changed: write it anew only in a commit that says why.

Another training joins by an entry in `TRACES`: a function of an empty folder that gives a `Trace`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ganpress.data import Batch, Images, open_images
from ganpress.run.run import Run
from ganpress.run.settings import checked
from ganpress.training.train import trainer

FOLDER = Path(__file__).parent / "golden"
ENTRIES = 6  # numbers of each network that are held one by one


class Trace(NamedTuple):
    """``log``: for each name its number in every step; ``states``: the tensors of each network."""

    log: dict[str, list[float]]
    states: dict[str, Mapping[str, Tensor]]


@contextmanager
def float64() -> Iterator[None]:
    """Within, networks are built in float64 and training loops compute in it."""
    to, before = Batch.to, torch.get_default_dtype()

    def doubled(batch: Batch, device: str) -> Batch:
        there = to(batch, device)
        return Batch(**{f.name: _double(getattr(there, f.name)) for f in fields(there)})

    torch.set_default_dtype(torch.float64)
    try:
        with patch.object(Batch, "to", doubled), patch.object(Tensor, "float", Tensor.double):
            yield
    finally:
        torch.set_default_dtype(before)


def _double(tensor: Tensor | None) -> Tensor | None:
    return tensor.double() if tensor is not None and tensor.is_floating_point() else tensor


# --- the trainings ------------------------------------------------------------------------------
# The weights of a loss differ from 1 and from each other, so that none can stand in for another.

_PATCH = {"width": 4, "layers": 2}
_COMMON = {"steps": 10, "batch": 2, "width": 0.05, "ema": 0.9, "seed": 1, "sample_every": 100}
RECIPES: dict[str, dict[str, Any]] = {
    "cyclegan": {"options": {"blocks": 1}, "discriminator": _PATCH, "pool": 3},
    "pix2pix": {"options": {"downs": 4}, "discriminator": _PATCH},
    "cartoongan": {
        **{
            "options": {"blocks": 1},
            "discriminator_width": 4,
            "discriminator_layers": 2,
            "warm_up": 3,
        },
        **{"content": {"features": "tiny"}, "edges": 0.5},
    },
    "munit": {
        **{
            "options": {"res": 1},
            "discriminator_width": 4,
            "discriminator_layers": 2,
            "discriminator_scales": 2,
        },
        **{"weights": {"style": 2.0, "content": 3.0, "cycle": 5.0}, "halve_every": 6},
    },
    "gaugan": {
        **{"options": {"labels": 4, "edges": False}, "width": 1 / 128, "features": "tiny"},
        **{"discriminator": _PATCH, "batch": 4, "accumulate": 2, "matching": 7.0},
    },
    "sngan": {
        **{"options": {"bottom_width": 4, "latent_dim": 8, "classes": 3}, "width": 0.02},
        **{"discriminator": {"width": 4}, "batch": 8, "d_steps": 2, "g_batch": 6, "lr_d": 4e-4},
    },
    "stylegan2": {
        "options": {"size": 32, "style_dim": 8, "n_mlp": 2, "base": 128, "most": 8},
        **{"discriminator": {"base": 128, "most": 8}, "width": 1.0, "batch": 4},
        **{"r1_every": 4, "path_every": 3},
    },
}


def recipe(name: str, folder: Path) -> Trace:
    """Train the family of this name, ten steps."""
    torch.set_num_threads(1)
    how = trainer(name)
    crops = {"size": 32, "load_size": 36, "workers": 0}
    config = checked(how.config, {**_COMMON, "data": crops, **RECIPES[name]})
    images, other = data(how.needs, folder)
    run = Run(folder / "run", seed=config.seed, log_every=1, quiet=True)
    models = how.stage(run, images, other, config)
    states: dict[str, Mapping[str, Tensor]] = {}
    for direction, model in models.items():
        states[f"G {direction}".strip()] = model.net.state_dict()
        if model.discriminator is not None:
            states[f"D {direction}".strip()] = model.discriminator.net.state_dict()
    return Trace(read_log(folder / "run" / "train" / "log.jsonl"), states)


def data(needs: str, folder: Path) -> tuple[Images, Images | None]:
    """Six pictures of 36 pixels, and what belongs to them: pairs, label maps, another domain,
    classes where nothing else is needed."""
    count, side = 6, 36
    i, y, x, c = np.ogrid[:count, :side, :side, :3]
    waves = np.sin(x / (3 + i)) + np.cos(y / (4 + c)) + ((x + 2 * y + 5 * i) % 7) / 7
    first = (40 + 50 * (waves - waves.min())).astype(np.uint8)
    second = (255 - first // 2 - (40 * ((x // 6 + y // 6) % 2)).astype(np.uint8)).astype(np.uint8)
    labels = ((x // 9 + y // 12 + i) % 4)[..., 0].astype(np.uint8)
    if not needs:
        classes = np.arange(count) % 3
        np.savez(folder / "pack.npz", images=first, labels=classes)
        return open_images(folder / "pack.npz"), None
    for kind, pictures in {"x": first, "y": second, "labels": labels}.items():
        (folder / kind).mkdir()
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / kind / f"{number}.png")
    if needs == "other":
        return open_images(folder / "x"), open_images(folder / "y")
    beside = folder / ("y" if needs == "pairs" else needs)
    return open_images(folder / "x", **{needs: beside}), None


def read_log(path: Path) -> dict[str, list[float]]:
    """The numbers of each name, in order of the steps that have it; the clock is left out."""
    found: dict[str, list[float]] = {}
    for line in path.read_text().splitlines():
        for name, value in json.loads(line).items():
            if name not in ("step", "elapsed_s"):
                found.setdefault(name, []).append(value)
    return found


TRACES: dict[str, Callable[[Path], Trace]] = {name: partial(recipe, name) for name in RECIPES}


# --- what is kept of them -----------------------------------------------------------------------


def summary(trace: Trace) -> dict[str, Any]:
    """JSON: the log, and of each network the mean, the mean size, and some single weights."""
    return {"log": trace.log, "states": {n: _numbers(s) for n, s in trace.states.items()}}


def _numbers(state: Mapping[str, Tensor]) -> dict[str, Any]:
    floats = {n: t.double() for n, t in state.items() if t.is_floating_point()}
    every = torch.cat([t.flatten() for t in floats.values()])
    wide = [n for n, t in floats.items() if t.ndim > 1]  # a bias may be one that does not learn
    some = wide[:: max(1, len(wide) // ENTRIES)]
    entries = {n: float(floats[n].flatten()[floats[n].numel() // 2]) for n in some}
    return {"mean": float(every.mean()), "size": float(every.abs().mean()), "entries": entries}


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What is not the same to 1e-4, in words: a logged number of its own size (or a tenth of the
    largest in its row), a weight of its own size or of the network's mean size."""
    rows, nets = wanted["log"], wanted["states"]
    if found["log"].keys() != rows.keys() or found["states"].keys() != nets.keys():
        return [f"it has {[*found['log'], *found['states']]}, not {[*rows, *nets]}"]
    told = []
    for name, row in rows.items():
        floor = 0.1 * max(map(abs, row))
        told += _apart(name, dict(enumerate(found["log"][name])), dict(enumerate(row)), floor)
    for name, net in nets.items():
        ours, floor = found["states"][name], net["size"]
        told += _apart(f"{name}:", ours["entries"], net["entries"], floor)
        told += _apart(f"{name}: all", *({k: n[k] for k in ("mean", "size")} for n in (ours, net)),
                       floor)  # fmt: skip
    return told


def _apart(
    what: str, found: Mapping[Any, float], wanted: Mapping[Any, float], floor: float
) -> list[str]:
    if found.keys() != wanted.keys():
        return [f"{what} has {list(found)}, not {list(wanted)}"]
    return [
        f"{what} {key}: {found[key]:.9g}, not {value:.9g}"
        for key, value in wanted.items()
        if not abs(found[key] - value) <= 1e-4 * max(abs(value), floor)
    ]


def path_of(name: str) -> Path:
    """Where the trace of this name is kept."""
    return FOLDER / f"{name}.json"


def check(name: str, trace: Trace) -> None:
    """Raise AssertionError where a trace is not the kept one."""
    apart = differences(summary(trace), json.loads(path_of(name).read_text()))
    assert not apart, f"{name}: {len(apart)} numbers changed: " + "; ".join(apart[:8])


def bits(trace: Trace) -> str:
    """sha256 of all final weights, with their names."""
    digest = hashlib.sha256()
    for net, state in trace.states.items():
        for name, tensor in state.items():
            digest.update(f"{net}/{name}/{tensor.dtype}/{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code: 1 where traces are not the kept ones."""
    parser = argparse.ArgumentParser("python -m tests.golden", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--write", action="store_true", help="write the traces anew")
    parser.add_argument("--bits", type=Path, metavar="FILE", help="write each sha256 there")
    parser.add_argument("names", nargs="*", help="some of: " + ", ".join(TRACES))
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - TRACES.keys():
        parser.error(f"there is no trace {', '.join(sorted(unknown))}")
    names, failed = given.names or [*TRACES], False
    if given.bits:
        hashes = {name: bits(_traced(name)) for name in names}
        given.bits.write_text(json.dumps(hashes, indent=1) + "\n")
    for name in names if given.write or not given.bits else ():
        with float64():
            found = summary(_traced(name))
        if given.write:
            path_of(name).write_text(json.dumps(found, indent=1) + "\n")
            continue
        apart = differences(found, json.loads(path_of(name).read_text()))
        failed |= bool(apart)
        print(name, *(apart or ["as it was"]), sep="\n  " if apart else ": ")
    return int(failed)


def _traced(name: str) -> Trace:
    with TemporaryDirectory() as folder:
        return TRACES[name](Path(folder))


if __name__ == "__main__":
    sys.exit(main())
