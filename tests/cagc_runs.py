"""Toy compressions by Content-Aware GAN Compression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganpress.methods.base import Given
from ganpress.methods.content_aware import CONTENT_AWARE, ContentAwareConfig
from ganpress.models.checkpoint import Model
from ganpress.run.run import Run
from ganpress.run.settings import checked

SETTINGS: dict[str, Any] = {
    "seed": 3,
    "min_channels": 1,
    "data": {"size": 32, "batch": 2, "workers": 0},
    "distance": {"features": "tiny"},
    "discriminator": {"width": 4, "layers": 2},
    "score": {"samples": 3, "batch": 2, "latents": 100},
    "cut": {"ratio": 0.5},
    "finetune": {"steps": 2, "lr": 1e-3},
}


def settings(**changes: Any) -> ContentAwareConfig:
    """The toy settings with some changed; a dict changes a part of a group."""
    values = dict(SETTINGS)
    for name, change in changes.items():
        values[name] = {**values.get(name, {}), **change} if isinstance(change, dict) else change
    return checked(ContentAwareConfig, values)


def press(given: Given, config: ContentAwareConfig, run: Path, **how: Any) -> Model:
    """The student, as `ganpress.compress` has it, without what follows the stages."""
    used = CONTENT_AWARE.resolve(given, config)
    assert isinstance(used, ContentAwareConfig)
    CONTENT_AWARE.check(given, used)
    folder = Run(run, **{"seed": used.seed, "quiet": True, "log_every": 1, **how})
    return CONTENT_AWARE.compress(given, used, folder)
