"""Toy compressions by GAN Slimming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ganpress.data import Images
from ganpress.measures.cost import measure
from ganpress.methods.base import Given
from ganpress.methods.gan_slimming import GAN_SLIMMING, SlimConfig
from ganpress.models.checkpoint import Model, full_model
from ganpress.run.logs import read_log
from ganpress.run.run import Run
from ganpress.run.settings import checked

SETTINGS: dict[str, Any] = {
    "min_channels": 1,
    "data": {"size": 32, "batch": 4, "workers": 0},
    "distance": {"features": "tiny", "style": 0.0, "unit": 2.0, "pixel": 5.0},
    "discriminator": {"width": 4, "layers": 2, "weight": 0.1, "lr": 2e-4},
    "sparsify": {"steps": 10, "lr": 5e-4, "weight_decay": 0.0, "batch": 2},
    "finetune": {"steps": 3, "lr": 1e-3, "weight_decay": 0.0},
}


def settings(**changes: Any) -> SlimConfig:
    """The toy settings with some changed; a dict changes a part of a group."""
    values = dict(SETTINGS)
    for name, change in changes.items():
        values[name] = {**values.get(name, {}), **change} if isinstance(change, dict) else change
    return checked(SlimConfig, values)


def teacher_of(family: str, *, seed: int = 0, width: int = 8, **options: Any) -> Model:
    """A generator with random weights, every group of the same width, two blocks."""
    torch.manual_seed(seed)
    model = full_model(family, blocks=2, **options)
    return Model(model.build(dict.fromkeys(model.widths, width)), model.family, model.options)


def log_of(run: Path, stage: str) -> list[dict[str, float]]:
    return read_log(run / stage / "log.jsonl")


def share(student: Model, teacher: Model, name: str) -> float:
    of = [getattr(measure(m.net, m.family.image.size), name) for m in (student, teacher)]
    return float(of[0]) / float(of[1])


def resolved(teacher: Model, config: SlimConfig) -> SlimConfig:
    """The settings as the stages use them."""
    found = GAN_SLIMMING.resolve(Given(teacher, None), config)
    assert isinstance(found, SlimConfig)
    return found


def slim(
    teacher: Model,
    images: Images | None,
    config: SlimConfig,
    run: Run,
    *,
    reals: Images | None = None,
    weights: Path | None = None,
) -> Model:
    """The student: settings resolved, what cannot be done refused, then all stages, as
    `ganpress.compress` has it, without what follows them."""
    given = Given(teacher, images, reals, weights)
    used = resolved(teacher, config)
    GAN_SLIMMING.check(given, used)
    return GAN_SLIMMING.compress(given, used, run)


def compressed(
    family: str, photos: Images, run: Path, config: SlimConfig, **options: Any
) -> tuple[Model, Model]:
    """(student, teacher)."""
    teacher = teacher_of(family, **options)
    folder = Run(run, seed=config.seed, quiet=True, log_every=1)
    return slim(teacher, photos, config, folder), teacher
