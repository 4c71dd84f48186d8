"""The settings of SPADE's training."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ganpress.errors import ConfigError
from ganpress.run.settings import Settings
from ganpress.training.settings import TrainConfig


class MultiscaleSettings(Settings):
    """The discriminators: the same PatchGAN on the picture and on that halved."""

    width: int = Field(default=64, ge=1, description="channels of its first layer")
    layers: int = Field(default=4, ge=2, description="its convolutions at each scale")
    scales: int = Field(default=2, ge=1, description="sizes of the picture it looks at")


class GauGANTraining(TrainConfig):
    """SPADE (Park et al., CVPR 2019); the defaults are those of Cityscapes: 200 epochs of 2975.

    The authors compare features of VGG-19; here it is VGG-16 or a smaller network.
    """

    steps: int = Field(default=37_200, ge=1, description="of the whole training")
    batch: int = Field(default=16, ge=1, description="images a step, over all processes")
    lr_g: float = Field(default=1e-4, gt=0, description="of the generator; Adam")
    lr_d: float = Field(default=4e-4, gt=0, description="of the discriminator; Adam")
    decay: float = Field(
        default=0.5, gt=0, le=1, description="last share of the training: lr falls to 0"
    )
    matching: float = Field(default=10.0, ge=0, description="weight of feature matching")
    perceptual: float = Field(default=10.0, ge=0, description="weight of the features' distance")
    features: Literal["vgg16", "squeezenet", "tiny", "none"] = Field(
        default="vgg16", description="network of the perceptual loss; none: without it"
    )
    critic: MultiscaleSettings = MultiscaleSettings()

    @model_validator(mode="after")
    def _latent_grid_fits(self) -> Self:
        step = {"more": 64, "most": 128}.get(str(self.options.get("upsampling")), 32)
        if self.data.size % step:
            raise ConfigError(
                f"data.size is {self.data.size}, not a multiple of {step}, which the generator "
                "needs: change it, or options.upsampling."
            )
        return self
