"""The settings that every compression method has, under the same names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ganpress.losses.distance import DistanceSettings
from ganpress.measures.interest.interest import resolved_mask
from ganpress.measures.interest.settings import MaskSettings
from ganpress.measures.target import TargetSettings
from ganpress.quantisation.settings import QuantiseSettings
from ganpress.run.settings import CropSettings, PixelSize, Settings, at_least, multiple_of
from ganpress.training.settings import RunSettings, precision_of


class StudentSettings(Settings):
    """What the student starts as."""

    form: Literal["as-teacher", "integers"] = Field(
        default="as-teacher",
        description="wiring of the student; as-teacher: the teacher's; integers: the family's form "
        "that integer runtimes run fast: doubling by convolutions that are not transposed, norms "
        "with running statistics, which the convolutions take in, and zero padding",
    )
    doubling: Literal["resize", "sub-pixel"] = Field(
        default="sub-pixel",
        description="with form=integers, what stands for a transposed convolution; sub-pixel: one "
        "convolution that makes all four pixels, the same function; resize: nearest neighbours "
        "and a convolution, near it, with 9/4 of the MACs or more",
    )


class DataSettings(CropSettings):
    """How photos become batches."""

    size: Annotated[PixelSize, at_least(16), multiple_of(4)] = Field(
        default=256,
        description='training crop, pixels, or height x width as "256x512"; divisible by 4',
    )
    batch: int = Field(default=8, ge=1, description="crops in a batch")
    cached_crops: int = Field(
        default=0,
        ge=0,
        description="crops kept of each photo, so that the teacher's outputs can be cached; "
        "0: a fresh crop each time and no cache",
    )
    cached_maps: bool = Field(
        default=True,
        description="where crops are kept, keep the teacher's feature maps that are distilled, "
        "too; they take more room on disk than its pictures",
    )
    teacher_cache: str | None = Field(
        default=None,
        description="folder of cached teacher outputs, which several runs may share; None: the "
        "run's own",
    )


class DiscriminatorSettings(Settings):
    """The discriminator of the minimax problem (eq. 15): the teacher's own, or a fresh PatchGAN."""

    start: Literal["teacher", "reset", "fresh"] = Field(
        default="teacher",
        description="teacher: the discriminator saved with the teacher, under its objective, where "
        "there is one; reset: the same network and objective with new weights; fresh: always a new "
        "PatchGAN",
    )
    real: Literal["teacher", "images"] = Field(
        default="teacher",
        description="what the discriminator takes as real: the teacher's pictures (the authors' "
        "code), or images of the target domain (the paper)",
    )
    fixed: bool = Field(
        default=False,
        description="do not train it: its logits of the student's pictures are to equal those of "
        "the teacher's (CEC, Shu et al. 2019)",
    )
    width: int = Field(default=64, ge=1, description="channels of a fresh PatchGAN's first layer")
    layers: int = Field(default=3, ge=1, description="strided convolutions of a fresh PatchGAN")
    pooled: bool = Field(
        default=True, description="average a PatchGAN's logits over the image before the loss"
    )
    lr: float = Field(default=1e-5, gt=0, description="learning rate of the discriminator (Adam)")
    weight: float = Field(
        default=1.0, ge=0, description="weight of L_GAN in eq. 4; 0: no discriminator"
    )
    pool: int = Field(
        default=50, ge=0, description="generated images kept for the discriminator; 0: none"
    )


class InheritedDiscriminator(DiscriminatorSettings):
    """The discriminator of a method that goes on with the teacher's: under its objective, its
    logits as they are, and real images where there are any."""

    real: Literal["auto", "teacher", "images"] = Field(  # type: ignore[assignment]
        default="auto",
        description="what the discriminator takes as real: the teacher's pictures, or images of "
        "the target domain; auto: images where there are any",
    )
    pooled: bool = Field(
        default=False, description="average a PatchGAN's logits over the image before the loss"
    )
    pool: int = Field(
        default=0, ge=0, description="generated images kept for the discriminator; 0: none"
    )


class FinetuneSettings(Settings):
    """Distillation of a fixed student: after extraction, or of a narrow student from scratch."""

    steps: int = Field(default=20_000, ge=1, description="training steps")
    minutes: float | None = Field(
        default=None, gt=0, description="wall-clock limit in minutes; None: steps alone"
    )
    lr: float = Field(
        default=1e-4, gt=0, description="initial learning rate (Adam); falls to 0 along a cosine"
    )
    weight_decay: float = Field(default=1e-3, ge=0, description="weight decay (Adam)")
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="decay of the moving average of the weights, per step; 0: no average",
    )
    select: Literal["last", "best"] = Field(
        default="last",
        description="weights that the student ends with: of the last step, or of the validation "
        "with the smallest distance to the teacher on held-out inputs",
    )
    validate_every: int = Field(
        default=500, ge=1, description="steps between two validations, where select is best"
    )
    holdout_images: int = Field(
        default=16,
        ge=1,
        description="inputs held out of training for validation, where select is best",
    )


class MethodSettings(RunSettings):
    """The settings of every compression method; a method adds its own to these."""

    renamed: ClassVar[Mapping[str, str]] = {
        "critic": "discriminator",
        "least": "min_channels",
        "multiple": "channel_multiple",
        "data.views": "data.cached_crops",
        "data.cache": "data.teacher_cache",
        "finetune.keep": "finetune.select",
        "finetune.held": "finetune.holdout_images",
        "finetune.check_every": "finetune.validate_every",
    }

    restarts: int = Field(
        default=2,
        ge=0,
        description="how often a stage that diverges may go back to its last good state, with "
        "halved learning rates",
    )
    min_channels: int = Field(default=8, ge=1, description="smallest number of channels of a group")
    channel_multiple: int = Field(
        default=1, ge=1, description="the number of channels of a group is a multiple of this"
    )
    student: StudentSettings = StudentSettings()
    data: DataSettings = DataSettings()
    distance: DistanceSettings = DistanceSettings()
    mask: MaskSettings = MaskSettings()
    discriminator: DiscriminatorSettings = DiscriminatorSettings()
    target: TargetSettings = TargetSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    quantise: QuantiseSettings = QuantiseSettings()


def least_channels(wanted: int, multiple: int) -> int:
    """The smallest number of channels that is no less than is wanted and a whole multiple."""
    return -(-wanted // multiple) * multiple


def resolved_alike(settings: MethodSettings) -> dict[str, Any]:
    """What every method's settings are resolved to alike: ``min_channels`` lifted to a multiple of
    ``channel_multiple``, the weights of the distance's terms, the digest of the mask's files, the
    precision of this machine, and what is quantised beside the layers."""
    content, style = settings.distance.content_and_style
    return {
        "min_channels": least_channels(settings.min_channels, settings.channel_multiple),
        "distance": settings.distance.model_copy(update={"content": content, "style": style}),
        "mask": resolved_mask(settings.mask),
        "precision": precision_of(settings),
        "quantise": resolved_quantise(settings),
    }


def resolved_quantise(settings: MethodSettings) -> QuantiseSettings:
    """The settings of quantisation with what is "auto" by the student's form."""
    q, made_for = settings.quantise, settings.student.form == "integers"
    rounds = made_for and q.can_round_outputs
    wanted = {"first": made_for, "outputs": rounds}
    open_ = {name for name in wanted if getattr(q, name) == "auto"}
    return q.model_copy(update={name: "int8" if wanted[name] else "float" for name in open_})
