"""The settings that every compression method has, under the same names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from ganpress.losses.distance import DistanceSettings
from ganpress.measures.target import TargetSettings
from ganpress.quantisation.settings import QuantiseSettings
from ganpress.run.settings import CropSettings, Settings
from ganpress.training.settings import RunSettings


class DataSettings(CropSettings):
    """How photos become batches."""

    size: int = Field(
        default=256, ge=16, multiple_of=4, description="training crop, pixels; divisible by 4"
    )
    load_size: int | None = Field(
        default=None, description="shorter side before the crop; None: as size"
    )
    batch: int = Field(default=8, ge=1, description="crops in a batch")
    flip: bool = Field(default=True, description="half of the crops are mirrored")
    cached_crops: int = Field(
        default=0,
        ge=0,
        description="crops kept of each photo, so that the teacher's outputs can be cached; "
        "0: a fresh crop each time and no cache",
    )
    workers: int = Field(default=1, ge=0, description="decoding processes")
    teacher_cache: str | None = Field(
        default=None,
        description="folder of teacher outputs that several runs share; None: the run's own",
    )


class DiscriminatorSettings(Settings):
    """The discriminator of the minimax game (eq. 15): the teacher's own, or a fresh PatchGAN."""

    start: Literal["teacher", "fresh"] = Field(
        default="teacher",
        description="teacher: the discriminator saved with the teacher, under its objective, where "
        "there is one; fresh: always a new PatchGAN",
    )
    real: Literal["teacher", "images"] = Field(
        default="teacher",
        description="what is real to it: the teacher's pictures (the authors' code), or images of "
        "the target domain (the paper)",
    )
    fixed: bool = Field(
        default=False,
        description="it stays what the teacher's was, and the student is to be judged as the "
        "teacher is (CEC, Shu et al. 2019)",
    )
    width: int = Field(default=64, ge=1, description="channels of a fresh one's first layer")
    layers: int = Field(default=3, ge=1, description="strided convolutions of a fresh one")
    pooled: bool = Field(
        default=True, description="a PatchGAN's logits are averaged before the loss"
    )
    lr: float = Field(default=1e-5, gt=0, description="its learning rate (Adam)")
    weight: float = Field(
        default=1.0, ge=0, description="of L_GAN in eq. 4; 0: no discriminator at all"
    )
    pool: int = Field(default=50, ge=0, description="size of the history of generated images")


class FinetuneSettings(Settings):
    """Distillation of a fixed student: after extraction, or of a narrow student from scratch."""

    steps: int = Field(default=20_000, ge=1, description="of the whole stage")
    minutes: float | None = Field(
        default=None, gt=0, description="wall-clock limit of the whole stage"
    )
    lr: float = Field(default=1e-4, gt=0, description="learning rate (Adam), falls to 0")
    weight_decay: float = Field(default=1e-3, ge=0, description="of the weights")
    ema: float = Field(
        default=0.0, ge=0, lt=1, description="decay of the averaged weights; 0: none"
    )
    select: Literal["last", "best"] = Field(
        default="last",
        description="which weights the student ends with; best: by the distance on inputs that are "
        "held out of training",
    )
    validate_every: int = Field(default=500, ge=1, description="steps between two looks at those")
    holdout_images: int = Field(default=16, ge=1, description="inputs held out")


class MethodSettings(RunSettings):
    """What every compression method can be told; a method adds its own settings to these."""

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
        description="times that a stage that diverges goes back to its last good state, halving "
        "its learning rates",
    )
    min_channels: int = Field(
        default=8, ge=1, description="channels that every group keeps at least"
    )
    channel_multiple: int = Field(default=1, ge=1, description="widths are multiples of this")
    data: DataSettings = DataSettings()
    distance: DistanceSettings = DistanceSettings()
    discriminator: DiscriminatorSettings = DiscriminatorSettings()
    target: TargetSettings = TargetSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    quantise: QuantiseSettings = QuantiseSettings()
