"""Settings of CartoonGAN's training; the defaults follow the paper."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ganpress.errors import ConfigError
from ganpress.run.settings import Settings
from ganpress.training.settings import TrainConfig


class ContentSettings(Settings):
    """What keeps a cartoon close to its photo (Chen et al. 2018, eq. 4)."""

    weight: float = Field(default=10, ge=0, description="the paper's omega")
    features: Literal["vgg16", "squeezenet", "squeezenet-1.1", "squeezenet-1.1-caffe", "tiny"] = (
        Field(default="vgg16", description="the network; the paper has VGG-19")
    )
    tap: str | None = Field(
        default=None, description="its layer; None: the deepest (VGG-16's relu4_3)"
    )


class CartoonganTraining(TrainConfig):
    """A warm-up that only reconstructs, then the game against edge-smoothed cartoons, too."""

    steps: int = Field(default=75_000, ge=1, description="200 epochs of 6000 photos at batch 16")
    batch: int = Field(default=16, ge=1, description="images a step, over all processes")
    warm_up: int = Field(default=3_750, ge=0, description="first steps, with content loss only")
    lr: float = Field(default=2e-4, gt=0, description="of Adam, for both networks")
    edges: float = Field(
        default=1.0, ge=0, description="weight of the edge-smoothed negatives; 0: none"
    )
    critic_width: int = Field(default=64, ge=1, description="first width of the discriminator")
    critic_layers: int = Field(default=3, ge=1, description="its strided convolutions")
    content: ContentSettings = ContentSettings()

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.data.size % 4:
            raise ConfigError(f"data.size is {self.data.size}: make it a multiple of 4.")
        least = 3 * 2**self.critic_layers
        if self.data.size < least:
            raise ConfigError(
                f"A discriminator of critic_layers={self.critic_layers} needs crops of at least "
                f"{least} pixels, got {self.data.size}: raise data.size or lower critic_layers."
            )
        return self
