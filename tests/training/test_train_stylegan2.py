"""Training StyleGAN2: lazy penalties, the average, the discriminator, resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganpress.data import Images, open_images
from ganpress.errors import ConfigError
from ganpress.models.checkpoint import load, save
from ganpress.run.logs import read_log
from ganpress.run.run import Run
from ganpress.training.settings import TrainData
from ganpress.training.stylegan2 import (
    StyleDiscriminatorSettings,
    StyleGAN2Training,
    train_stylegan2,
)


def faces(folder: Path, n: int = 8) -> Images:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(n):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / f"{k}.png")
    return open_images(folder)


def recipe(**changed: Any) -> StyleGAN2Training:
    given: dict[str, Any] = {
        "options": {"size": 16, "style_dim": 8, "n_mlp": 2, "base": 128, "most": 8},
        "discriminator": StyleDiscriminatorSettings(base=64, most=8),
        "data": TrainData(size=16, workers=0),
        "steps": 6,
        "batch": 4,
        "ema": 0.9,
        "r1_every": 2,
        "path_every": 3,
        "sample_every": 5,
    }
    return StyleGAN2Training(**{**given, **changed})


def test_training_leaves_an_averaged_generator_with_its_discriminator(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", quiet=True, log_every=1)
    model = train_stylegan2(run, faces(tmp_path / "faces"), None, recipe())[""]
    assert model.size == 16
    assert model.discriminator is not None and model.discriminator.kind == "stylegan2"
    assert model(torch.randn(2, 8)).shape == (2, 3, 16, 16)
    again = load(save(model, tmp_path / "net.safetensors"))
    assert again.discriminator is not None
    x = torch.randn(4, 3, 16, 16)
    assert torch.equal(again.discriminator.net(x), model.discriminator.net(x))
    log = read_log(tmp_path / "run" / "train" / "log.jsonl")
    assert {"loss/g", "loss/d", "loss/r1", "loss/path", "path/mean"} <= log[0].keys()
    assert ["loss/r1" in line for line in log] == [True, False] * 3
    assert ["loss/path" in line for line in log] == [True, False, False] * 2


def test_training_in_two_sittings_is_training_in_one(tmp_path: Path) -> None:
    pictures, found = faces(tmp_path / "faces"), []
    for name, sittings in {"one": (6,), "two": (4, 6)}.items():
        for steps in sittings:
            run = Run(tmp_path / name, quiet=True)
            model = train_stylegan2(run, pictures, None, recipe(steps=steps))[""]
        found.append(model.net.state_dict())
    assert all(torch.equal(found[0][n], found[1][n]) for n in found[0])


def test_a_recipe_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="makes 16 pixels"):
        recipe(data=TrainData(size=32))
    pictures = faces(tmp_path / "faces")
    with pytest.raises(ConfigError, match="leave --other out"):
        train_stylegan2(Run(tmp_path / "run", quiet=True), pictures, pictures, recipe())
