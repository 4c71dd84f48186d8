"""How the authors train each family, and with which weights: what settings leave to the family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Task:
    """The authors' values for a family (GAN Compression, appendix 6.1, and their scripts).

    Attributes:
        lr, d_lr: learning rates of student and discriminator (Adam).
        betas, weight_decay: of both.
        reconstruction, taps_weight: without and with the truth.
        matching, perceptual: of SPADE's objective.
        style: of MUNIT's style codes.
        distance: of feature maps.
        taps: modules whose maps are distilled; None: the family's.
    """

    lr: float = 2e-4
    d_lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 0.0
    reconstruction: tuple[float, float] = (10.0, 100.0)
    taps_weight: tuple[float, float] = (0.01, 1.0)
    matching: float = 0.0
    perceptual: float = 0.0
    style: float = 0.0
    distance: Literal["mse", "l1"] = "mse"
    taps: tuple[str, ...] | None = None


TASKS = {
    "cyclegan": Task(),
    "cartoongan": Task(),
    "pix2pix": Task(),
    "gaugan": Task(
        lr=1e-4,
        d_lr=4e-4,
        betas=(0.0, 0.9),
        reconstruction=(0.0, 0.0),
        taps_weight=(10.0, 10.0),
        matching=10.0,
        perceptual=10.0,
    ),
    "munit": Task(
        lr=1e-4,
        d_lr=1e-4,
        weight_decay=1e-4,
        reconstruction=(10.0, 10.0),
        taps_weight=(1.0, 1.0),
        style=1.0,
        distance="l1",
        taps=("content",),
    ),
    "sngan": Task(betas=(0.0, 0.9), taps_weight=(0.01, 0.01)),
    "stylegan2": Task(lr=2e-3, d_lr=2e-3, betas=(0.0, 0.99), taps_weight=(0.01, 0.01)),
}
"""By family. The authors have no values for CartoonGAN, SNGAN and StyleGAN2: the first has the
unpaired task's, the others that task's weights with their own teacher's optimisers. MUNIT's rate
they halve every 200,000 steps; here all fall as ``supernet.decay`` says. Their perceptual
loss is on VGG-19, here on ``distance.features``."""
