"""How each family is retrained where the settings leave it open: as its teachers are trained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """Adam of a family.

    Attributes: lr, d_lr: of student and discriminator. betas: of both.
    """

    lr: float = 2e-4
    d_lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)


TASKS = {
    "cyclegan": Task(),
    "cartoongan": Task(),
    "pix2pix": Task(),
    "gaugan": Task(lr=1e-4, d_lr=4e-4, betas=(0.0, 0.9)),
    "munit": Task(lr=1e-4, d_lr=1e-4),
    "sngan": Task(betas=(0.0, 0.9)),
    "stylegan2": Task(lr=2e-3, d_lr=2e-3, betas=(0.0, 0.99)),
}
"""By family; the paper's are StyleGAN2's and SNGAN's, the others' are their own papers'."""

SMALL_BATCH, SMALLER = 4, 0.1
"""With a batch of so many, StyleGAN2's rate is this part of the usual one (the authors' advice)."""
