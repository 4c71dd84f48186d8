"""Label maps and models to evaluate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ganpress.data import Images, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.models.checkpoint import Model, full_model


def model(seed: int, family: str = "cyclegan", width: int = 6) -> Model:
    torch.manual_seed(seed)
    whole = full_model(family, blocks=1)
    return Model(whole.build(dict.fromkeys(whole.widths, width)), whole.family, whole.options)


def label_maps(home: Path, n: int = 5) -> Images:
    """Photos with label maps of ids 0 to 3 and with instance maps."""
    given = {"labels": home / "labels", "instances": home / "things"}
    for stem in (path.stem for path in sorted(write_folder(home / "x", n, size=40).iterdir())):
        ids = np.random.default_rng(len(stem) + int(stem[-1])).integers(0, 4, (5, 5))
        for folder in given.values():
            folder.mkdir(exist_ok=True)
            Image.fromarray(ids.repeat(8, 0).repeat(8, 1).astype(np.uint8)).save(
                folder / f"{stem}.png"
            )
    return open_images(home / "x", **given)
