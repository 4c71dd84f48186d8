"""How a projection searches the code of a photo, and what a morph is like."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ganpress.models.spaces import Space
from ganpress.run.settings import Seed, Settings


class ProjectSettings(Settings):
    """Projection of photos into a latent space, as in Content-Aware GAN Compression: W+ and noise
    maps, 800 iterations from the mean style, MSE and a perceptual distance.

    The paper's optimiser is L-BFGS. The default is StyleGAN2's projector's, which comes nearer in
    as many evaluations here (docs/editing.md).
    """

    space: Space = Field(
        default="w+",
        description="w+: a style for each layer, nearest to the photo; w: one style, nearer to "
        "what the network draws; z: for networks without styles",
    )
    optimiser: Literal["lbfgs", "adam"] = Field(
        default="adam",
        description="adam: StyleGAN2's projector's, whose rate is ramped and whose styles are "
        "jittered; lbfgs: the paper's, with backtracking",
    )
    iterations: int = Field(
        default=800, ge=1, description="evaluations of all losses; 1000 in StyleGAN2's projector"
    )
    lr: float | None = Field(
        default=None, gt=0, description="None: 1 for lbfgs, 0.1 for adam, as published"
    )
    distance: str = Field(
        default="auto",
        description="perceptual distance, a name of `losses.picture_distance`; auto: LPIPS where "
        "its weights are, else squeezenet",
    )
    pixel: float = Field(default=1.0, ge=0, description="weight of the mean squared error")
    perceptual: float = Field(default=1.0, ge=0, description="weight of the perceptual distance")
    noise: float = Field(
        default=1e5,
        ge=0,
        description="weight of the noise maps' autocorrelation, so that the photo goes into the "
        "style and not into the noise",
    )
    samples: int = Field(
        default=1000, ge=2, description="draws of z whose mean style the search starts from"
    )
    batch: int | None = Field(
        default=None, ge=1, description="photos at once; None: 4, and fewer beyond 256 pixels"
    )
    label: int | None = Field(
        default=None, ge=0, description="class of all photos, for networks with classes"
    )
    seed: Seed = Field(default=0, description="of draws, noise maps and jitter")


class MorphSettings(Settings):
    """What a morph goes through, and its animation."""

    frames: int = Field(default=60, ge=2, description="of each network, ends included")
    seconds: float = Field(default=3.0, gt=0, description="of one round of the animation")
    ending: Literal["gif", "webp"] = Field(default="gif", description="of the animation's file")
    space: Space | None = Field(
        default=None, description="to go through; None: the smallest that holds all latents"
    )
    distance: str = Field(
        default="auto",
        description="of neighbouring frames, a name of `losses.picture_distance`; auto: LPIPS "
        "where its weights are, else squeezenet",
    )
