"""Toy compressions by GAN Compression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from family_runs import with_discriminator
from nets import WIRINGS, Wiring

from ganpress.data import Images, open_images
from ganpress.errors import ExportError
from ganpress.measures.cost import Latency
from ganpress.methods.base import Given
from ganpress.methods.once_for_all import ONCE_FOR_ALL, OnceForAllConfig
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import from_noise
from ganpress.run.logs import read_log
from ganpress.run.run import Run
from ganpress.run.settings import checked

SETTINGS: dict[str, Any] = {
    "seed": 3,
    "min_channels": 1,
    "channel_multiple": 1,
    "data": {"size": 32, "batch": 2, "workers": 0},
    "distance": {"features": "tiny", "content": 1.0, "style": 10.0},
    "discriminator": {"width": 4, "layers": 2},
    "target": {"macs": 0.9},
    "supernet": {"steps": 2},
    "search": {
        "images": 2,
        "kind": "random",
        "evaluations": 2,
        "calibrate": 3,
        "ratios": [1.0, 0.5, 0.25],
    },
}


def settings(**changes: Any) -> OnceForAllConfig:
    """The toy settings with some changed; a dict changes a part of a group."""
    values = dict(SETTINGS)
    for name, change in changes.items():
        values[name] = {**values.get(name, {}), **change} if isinstance(change, dict) else change
    return checked(OnceForAllConfig, values)


def teacher_of(name: str, seed: int = 0) -> Model:
    """A tiny teacher of a wiring with a discriminator that fits its inputs."""
    return with_discriminator(WIRINGS[name], seed)


def images_for(wiring: Wiring, home: Path) -> Images | None:
    """What the family is trained on: pairs for pix2pix, label maps, nothing for noise."""
    if from_noise(wiring.ghost):
        return None
    if wiring.name == "gaugan":
        return open_images(home / "x", labels=home / "labels", instances=home / "things")
    return open_images(home / "x", pairs=home / "y" if wiring.name == "pix2pix" else None)


def given_for(name: str, home: Path) -> Given:
    """A tiny teacher and its images; MUNIT has pictures of the second domain."""
    wiring = WIRINGS[name]
    reals = open_images(home / "y") if wiring.name == "munit" else None
    return Given(teacher_of(name), images_for(wiring, home), reals)


def press(given: Given, config: OnceForAllConfig, run: Path, **how: Any) -> Model:
    """The student, as `ganpress.compress` has it, without what follows the stages."""
    used = ONCE_FOR_ALL.resolve(given, config)
    assert isinstance(used, OnceForAllConfig)
    ONCE_FOR_ALL.check(given, used)
    folder = Run(run, seed=used.seed, quiet=True, log_every=1, **how)
    return ONCE_FOR_ALL.compress(given, used, folder)


def log_of(run: Path, stage: str) -> list[dict[str, float]]:
    return read_log(run / stage / "log.jsonl")


def brief(patch: pytest.MonkeyPatch) -> None:
    """What follows the stages takes no time: no latency, no export, few pictures."""

    def refuse(*_: Any, **__: Any) -> None:
        raise ExportError("not in this test")

    quick = Latency(1.0, 1.0, "cpu", threads=1, batch=1, size=32, repeats=1)
    patch.setattr("ganpress.measures.both_costs.latency", lambda *_, **__: quick)
    patch.setattr("ganpress.methods.finish.export", refuse)
    patch.setattr("ganpress.methods.finish.FROM_NOISE", 10)
