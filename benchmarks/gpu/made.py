"""What a step is measured on: drawn pictures, and feature weights that are random numbers.

The time and the memory of a step depend on neither.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ganpress.data import Images, open_images
from ganpress.losses.networks import vgg16_layers
from ganpress.run.files import make_folder, replace_file
from ganpress.types.sizes import Size, height_width

COUNT = 32
"""Pictures in a set."""


def pictures(
    folder: Path, needs: str, *, size: Size, labels: int = 4, edges: bool = False
) -> tuple[Images, Images | None]:
    """(images, the other domain) for a recipe that needs "other", "pairs", "labels" or nothing.

    Args: size: pixels. labels: ids in label maps. edges: with instance maps.
    """
    sides = height_width(size)
    root = folder / f"{needs or 'classes'}-{sides[0]}x{sides[1]}-{labels}"
    x, y = (_photos(sides, seed) for seed in (0, 1))
    if not needs:
        make_folder(root)
        np.savez(root / "pack.npz", images=x, labels=np.arange(COUNT) % 10)
        return open_images(root / "pack.npz"), None
    maps = _maps(sides, labels)
    for kind, whole in {"x": x, "y": y, "labels": maps, "instances": maps}.items():
        make_folder(root / kind)
        for number, picture in enumerate(whole):
            Image.fromarray(picture).save(root / kind / f"{number}.png")
    if needs == "other":
        return open_images(root / "x"), open_images(root / "y")
    if needs == "pairs":
        return open_images(root / "x", pairs=root / "y"), None
    shapes = root / "instances" if edges else None
    return open_images(root / "x", labels=root / "labels", instances=shapes), None


def _photos(sides: tuple[int, int], seed: int) -> np.ndarray:
    """Smooth noise: (COUNT, height, width, 3) uint8."""
    coarse = torch.randn(COUNT, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, size=sides, mode="bicubic")
    levels = (fine.clamp(-2, 2) * 63 + 128).to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).numpy())


def _maps(sides: tuple[int, int], labels: int) -> np.ndarray:
    """Blocks of ids: (COUNT, height, width) uint8."""
    height, width = sides
    i, y, x = np.ogrid[:COUNT, :height, :width]
    ids: np.ndarray = (8 * y // height) * 8 + 8 * x // width + i
    return (ids % labels).astype(np.uint8)


def random_vgg16(folder: Path) -> Path:
    """A file with VGG-16's tensors up to relu4_3, random: the published one is 528 MB."""
    path = make_folder(folder) / "random-vgg16.pth"
    if not path.exists():
        torch.manual_seed(0)
        state = {f"features.{n}": t for n, t in vgg16_layers().state_dict().items()}
        replace_file(path, lambda file: torch.save(state, file))
    return path
