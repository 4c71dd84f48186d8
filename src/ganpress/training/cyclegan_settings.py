"""Settings of CycleGAN's training; the defaults are the paper's."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from ganpress.errors import ConfigError
from ganpress.training.settings import PatchSettings, TrainConfig, TrainData


class CycleGANTraining(TrainConfig):
    """CycleGAN (Zhu et al., ICCV 2017): 200 epochs of horse2zebra, one image a step."""

    steps: int = Field(default=266_800, ge=1, description="of the whole training")
    lr: float = Field(default=2e-4, gt=0, description="of the generators; Adam, betas 0.5, 0.999")
    decay_from: float = Field(
        default=0.5, ge=0, lt=1, description="progress from which the rates fall linearly to 0"
    )
    cycle: float = Field(default=10.0, ge=0, description="weight of L1 after there and back")
    identity: float = Field(
        default=0.5, ge=0, description="weight of L1 on pictures of the target, times cycle"
    )
    pool: int = Field(default=50, ge=0, description="size of the history of generated images")
    critic: PatchSettings = PatchSettings()
    data: TrainData = TrainData(load_size=286)

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        self.critic.check(self.data.size)
        if self.data.size % 4:
            raise ConfigError(f"data.size is {self.data.size}: make it a multiple of 4.")
        return self
