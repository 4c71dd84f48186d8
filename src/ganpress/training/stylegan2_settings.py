"""The settings of StyleGAN2's training."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from ganpress.errors import ConfigError
from ganpress.run.settings import Settings
from ganpress.training.settings import TrainConfig, TrainData


class StyleCriticSettings(Settings):
    """The discriminator's widths: at most `base` / r channels at r pixels, at most `most`."""

    base: int = Field(
        default=32768, ge=1, description="its channels at size s are base / s, at most ``most``"
    )
    most: int = Field(default=512, ge=1, description="its channels at most")


class StyleGAN2Training(TrainConfig):
    """StyleGAN2 config-f (Karras et al., CVPR 2020) at 256 pixels; 25 M images seen.

    A smaller network by `options.base` and `options.most` keeps its gains in step with its widths;
    `width` cuts the network of those options instead.
    """

    steps: int = Field(default=781_250, ge=1, description="of the whole training")
    batch: int = Field(default=32, ge=1, description="images a step, over all processes")
    ema: float = Field(default=0.99778, ge=0, lt=1, description="decay of the averaged weights")
    lr_g: float = Field(default=2e-3, gt=0, description="of the generator; Adam")
    lr_d: float = Field(default=2e-3, gt=0, description="of the discriminator; Adam")
    r1: float = Field(default=10.0, ge=0, description="weight of the R1 penalty")
    r1_every: int = Field(default=16, ge=1, description="steps between two R1 penalties")
    path: float = Field(default=2.0, ge=0, description="weight of the path length penalty")
    path_every: int = Field(default=4, ge=1, description="steps between two path length penalties")
    mixing: float = Field(default=0.9, ge=0, le=1, description="share of batches with two styles")
    critic: StyleCriticSettings = StyleCriticSettings()
    data: TrainData = TrainData()

    @model_validator(mode="after")
    def _crop_is_the_picture(self) -> Self:
        size = self.options.get("size", 256)
        if size != self.data.size:
            raise ConfigError(
                f"data.size is {self.data.size}, but the generator makes {size} pixels "
                "(options.size): make them equal."
            )
        return self
