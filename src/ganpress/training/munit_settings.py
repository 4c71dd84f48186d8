"""Settings of MUNIT's training; the defaults are those of the authors' code."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from ganpress.errors import ConfigError
from ganpress.run.settings import Settings
from ganpress.training.settings import TrainConfig


class MunitWeights(Settings):
    """Weights of the generator's terms (Huang et al. 2018, eq. 5); the adversarial one has 1."""

    image: float = Field(default=10, ge=0, description="L1 of a picture and its reconstruction")
    style: float = Field(default=1, ge=0, description="L1 of a drawn style and its reconstruction")
    content: float = Field(default=1, ge=0, description="L1 of a content code, likewise")
    cycle: float = Field(
        default=0, ge=0, description="L1 after there and back; 10 for photos, as for summer2winter"
    )


class MunitTraining(TrainConfig):
    """Two auto-encoders and two discriminators, trained at once."""

    steps: int = Field(default=1_000_000, ge=1, description="of the whole training")
    lr: float = Field(default=1e-4, gt=0, description="of Adam, for all networks")
    weight_decay: float = Field(default=1e-4, ge=0, description="of all networks")
    halve_every: int = Field(default=100_000, ge=1, description="steps until lr is halved")
    critic_width: int = Field(default=64, ge=1, description="first width of the discriminators")
    critic_layers: int = Field(default=4, ge=1, description="their strided convolutions")
    critic_scales: int = Field(default=3, ge=1, description="sizes of the picture they look at")
    weights: MunitWeights = MunitWeights()

    @model_validator(mode="after")
    def _pictures_fit(self) -> Self:
        down = self.options.get("down", 2)
        step = 2**down if isinstance(down, int) else 1  # other types are refused with the family
        if self.data.size % step:
            raise ConfigError(f"data.size is {self.data.size}: make it a multiple of {step}.")
        least = 2 ** (self.critic_layers + self.critic_scales - 1)
        if self.data.size < least:
            raise ConfigError(
                f"Discriminators of {self.critic_layers} layers at {self.critic_scales} scales "
                f"need pictures of at least {least} pixels, data.size is {self.data.size}: raise "
                "it, or lower critic_layers or critic_scales."
            )
        return self
