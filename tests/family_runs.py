"""What whole runs of every family are made on, whatever the method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nets import Wiring
from PIL import Image

from ganpress.data.drawn.draw import write_folder
from ganpress.models.checkpoint import Model
from ganpress.nn.discriminators import build_discriminator


def with_discriminator(wiring: Wiring, seed: int = 0) -> Model:
    """A tiny teacher with a discriminator that fits its inputs."""
    model, discriminator = wiring.model(seed), wiring.discriminator()
    if wiring.name == "gaugan":
        wide: Any = model.net
        options = {**discriminator.options, "inputs": wide.channels + 3}
        discriminator.options, discriminator.net = options, build_discriminator("spade", **options)
    if wiring.name == "sngan" and not wiring.options.get("classes"):
        discriminator.options = {"width": 8}
        discriminator.net = build_discriminator("sngan", **discriminator.options)
    model.discriminator = discriminator
    return model


def write_domains(root: Path, count: int = 6) -> Path:
    """Photos of 64 pixels (x) with targets (y), label maps and instance maps."""
    draw = np.random.default_rng(0)
    for stem in (path.stem for path in sorted(write_folder(root / "x", count, size=64).iterdir())):
        for kind, top in (("labels", 4), ("things", 3)):
            cells = draw.integers(0, top, (8, 8)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
            (root / kind).mkdir(exist_ok=True)
            Image.fromarray(cells).save(root / kind / f"{stem}.png")
    write_folder(root / "y", count, size=64, seed=5)
    return root
