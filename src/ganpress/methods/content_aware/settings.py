"""The settings of Content-Aware GAN Compression, beside those that every method has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from ganpress.methods.content_aware.score_settings import CutSettings, ScoreSettings
from ganpress.run.settings import Settings
from ganpress.training.shared_settings import (
    FinetuneSettings,
    InheritedDiscriminator,
    MethodSettings,
)


class ContentAwareDistil(Settings):
    """What pulls the pruned student to its teacher (section 3.3 of the paper), and later terms."""

    mode: Literal["output", "intermediate"] = Field(
        default="output",
        description="pictures that L1 compares; output: the last; intermediate: that of every "
        "resolution, where the family has them (StyleGAN2), the mask resized to each",
    )
    pixel: float = Field(default=3.0, ge=0, description="weight of L1 between pictures")
    perceptual: float = Field(
        default=3.0,
        ge=0,
        description="weight of LPIPS between the last pictures (distance.features=vgg16), or of "
        "the unit distance of another feature network",
    )
    masked: bool = Field(
        default=True,
        description="compare pictures where the mask says; false: everywhere, though there is one",
    )
    mask_norm: bool = Field(
        default=False,
        description="divide L1 by the mask's mean, so that its weight does not shrink with the "
        "masked area; false: the paper's",
    )
    relation: float = Field(
        default=0.0,
        ge=0,
        description="weight of latent-direction distillation (StyleKD; 30 there): similarities "
        "of feature maps before and after a shift of the style; 0: none",
    )
    relation_loss: Literal["kl", "mse"] = Field(
        default="kl", description="how the similarities are compared"
    )
    relation_side: int = Field(
        default=32,
        ge=4,
        description="resolution of the layers whose maps are compared, pixels; the last where the "
        "pictures are smaller",
    )
    shift: float = Field(
        default=5.0, gt=0, description="standard deviation of the shift of the style"
    )
    directions: Literal["principal", "random"] = Field(
        default="principal",
        description="of the shift; principal: components of the teacher's styles, by their "
        "variance; random: any",
    )
    mmd: float = Field(
        default=0.0,
        ge=0,
        description="weight of the distribution term: maximum mean discrepancy of the batches' "
        "features by distance.features; 0: none",
    )


class PathSettings(Settings):
    """The path length penalty of StyleGAN2's generator."""

    weight: float | None = Field(
        default=None,
        ge=0,
        description="its weight; None: the teacher's, 2 where that is not known; 0: none",
    )
    every: int | None = Field(
        default=None,
        ge=1,
        description="steps between two penalties; None: the teacher's, 4 where that is not known",
    )


class ContentAwareDiscriminator(InheritedDiscriminator):
    """The discriminator, under the teacher's own objective, with its R1 where it has that."""

    start: Literal["teacher", "reset", "fresh"] = Field(
        default="teacher",
        description="teacher: the discriminator saved with the teacher, under its objective, where "
        "there is one; reset: the same network and objective with new weights; fresh: a new one of "
        "the family's own kind (StyleGAN2's with R1, SNGAN's), else a PatchGAN",
    )
    lr: float | None = Field(  # type: ignore[assignment]
        default=None,
        gt=0,
        description="learning rate of the discriminator (Adam); None: the family's",
    )


class NarrowSettings(Settings):
    """Cuts on the way to the student's widths, with training between them (beyond the paper)."""

    rounds: int = Field(
        default=1,
        ge=1,
        description="cuts, at equal ratios of the cost or of the channels, each by the scores of "
        "what the one before has left; 1: all at once (the paper)",
    )
    steps: int = Field(
        default=150_000, ge=1, description="training steps between the cuts, over all rounds"
    )
    minutes: float | None = Field(
        default=None,
        gt=0,
        description="wall-clock limit in minutes between the cuts, over all rounds; None: steps "
        "alone",
    )


class ContentAwareFinetune(FinetuneSettings):
    """Retraining of the pruned student."""

    steps: int = Field(default=450_000, ge=1, description="training steps")
    lr: float | None = Field(  # type: ignore[assignment]
        default=None,
        gt=0,
        description="learning rate (Adam); None: the family's, of StyleGAN2 a tenth of it with a "
        "batch of at most 4",
    )
    decay: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="fraction of the steps, at the end, over which the learning rates fall to 0",
    )
    betas: tuple[float, float] | None = Field(
        default=None, description="Adam's, of both networks; None: the family's"
    )
    weight_decay: float = Field(default=0.0, ge=0, description="weight decay (Adam)")
    ema: float = Field(
        default=0.99778,
        ge=0,
        lt=1,
        description="decay of the moving average of the weights, per step; 0: no average",
    )


class ContentAwareConfig(MethodSettings):
    """Content-Aware GAN Compression (Liu et al., CVPR 2021).

    The defaults are the paper's for StyleGAN2 at 256 pixels, but for batches of 8 (theirs: 16).
    Departures: teacher and student are given the same noise maps, ToRGB keeps its gain when
    channels are cut, R1 and the path length are those that the teacher was trained with, groups
    keep ``min_channels``, and the decay of the weights' average is ramped up (`run.ema.Average`;
    theirs starts with the pruned weights, which so stay in it for thousands of steps).
    """

    recipe_kinds: ClassVar[tuple[str, ...]] = ("content-aware", "ablate")
    renamed: ClassVar[Mapping[str, str]] = {}

    mixing: float = Field(
        default=0.9, ge=0, le=1, description="probability that a batch mixes two styles (StyleGAN2)"
    )
    score: ScoreSettings = ScoreSettings()
    cut: CutSettings = CutSettings()
    narrow: NarrowSettings = NarrowSettings()
    distil: ContentAwareDistil = ContentAwareDistil()
    path: PathSettings = PathSettings()
    discriminator: ContentAwareDiscriminator = ContentAwareDiscriminator()
    finetune: ContentAwareFinetune = ContentAwareFinetune()
