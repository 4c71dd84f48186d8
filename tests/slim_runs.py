"""Toy compressions by GAN Slimming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ganpress.data import Images, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.measures.cost import measure
from ganpress.methods.gan_slimming.method import slim
from ganpress.methods.gan_slimming.settings import SlimConfig
from ganpress.models.checkpoint import Model, full_model
from ganpress.run.run import Run, read_log
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


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return open_images(write_folder(tmp_path_factory.mktemp("photos"), 16, seed=3, size=40))


def compressed(
    family: str, photos: Images, run: Path, config: SlimConfig, **options: Any
) -> tuple[Model, Model]:
    """(student, teacher)."""
    teacher = teacher_of(family, **options)
    folder = Run(run, seed=config.seed, quiet=True, log_every=1)
    return slim(teacher, photos, config, folder), teacher
