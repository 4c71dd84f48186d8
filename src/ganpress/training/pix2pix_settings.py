"""Settings of pix2pix's training; the defaults are the paper's for facades."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ganpress.errors import ConfigError
from ganpress.training.settings import PatchSettings, TrainConfig, TrainData


class Pix2PixTraining(TrainConfig):
    """pix2pix (Isola et al., CVPR 2017): 200 epochs of facades' 400 pairs, one pair a step."""

    generator: Literal["unet", "resnet"] = Field(
        default="unet",
        description="unet: family pix2pix; resnet: family cyclegan. 'options' are that family's",
    )
    objective: Literal["vanilla", "lsgan", "hinge"] = Field(
        default="vanilla", description="adversarial loss; vanilla: cross-entropy on logits"
    )
    steps: int = Field(default=80_000, ge=1, description="of the whole training")
    lr: float = Field(default=2e-4, gt=0, description="of the generator; Adam, betas 0.5, 0.999")
    decay_from: float = Field(
        default=0.5, ge=0, lt=1, description="progress from which the rates fall linearly to 0"
    )
    l1: float = Field(default=100.0, ge=0, description="weight of L1 to the target")
    critic: PatchSettings = PatchSettings(norm="batch")
    data: TrainData = TrainData(load_size=286)

    @property
    def family(self) -> str:
        """Name of the family that is trained."""
        return "pix2pix" if self.generator == "unet" else "cyclegan"

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        self.critic.check(self.data.size)
        downs = self.options.get("downs", 8) if self.generator == "unet" else 2
        step = 2**downs if isinstance(downs, int) else 1  # other types are refused with the family
        if self.data.size % step:
            raise ConfigError(
                f"data.size is {self.data.size}, not a multiple of {step}, which the generator "
                "needs: change it" + (", or options.downs." if self.generator == "unet" else ".")
            )
        return self
