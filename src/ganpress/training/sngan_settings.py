"""The settings of SNGAN's training."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from ganpress.errors import ConfigError
from ganpress.run.settings import Settings
from ganpress.training.settings import TrainConfig, TrainData


class SNGANCritic(Settings):
    """The discriminator; it projects classes where the generator has some."""

    width: int = Field(default=128, ge=1, description="its channels")
    spectral_norm: bool = Field(default=True, description="on all of its layers")


class SNGANTraining(TrainConfig):
    """SNGAN on CIFAR-10 (Miyato et al., ICLR 2018); the defaults are those of GongXinyuu's code.

    A step is one update of the generator, behind ``n_critic`` of the discriminator.
    """

    steps: int = Field(default=50_000, ge=1, description="of the whole training")
    batch: int = Field(
        default=320, ge=1, description="photos a step, shared out to n_critic updates"
    )
    g_batch: int = Field(default=128, ge=1, description="pictures in an update of the generator")
    n_critic: int = Field(default=5, ge=1, description="updates of the discriminator in a step")
    lr_g: float = Field(default=2e-4, gt=0, description="of the generator; Adam")
    lr_d: float = Field(default=2e-4, gt=0, description="of the discriminator; Adam")
    decay: float = Field(
        default=1.0, ge=0, le=1, description="last share of the training: lr falls to 0; 0: none"
    )
    critic: SNGANCritic = SNGANCritic()
    data: TrainData = TrainData(size=32, flip=False)

    @model_validator(mode="after")
    def _updates_fit(self) -> Self:
        if self.batch % (self.n_critic * self.accumulate):
            raise ConfigError(
                f"A batch of {self.batch} cannot be shared out to {self.n_critic} updates of "
                f"{self.accumulate} part(s): make it a multiple of "
                f"{self.n_critic * self.accumulate}."
            )
        return self
