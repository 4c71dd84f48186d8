"""The settings of channel scores and of the cut, two groups of the method's settings."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ganpress.errors import ConfigError
from ganpress.methods.content_aware.scores.names import MEANINGS, check_name
from ganpress.run.settings import Settings


class ScoreSettings(Settings):
    """How the importance of channels is measured, before anything is cut (section 3.2)."""

    name: str = Field(
        default="content-aware",
        description="; ".join(f"{name}: {meaning}" for name, meaning in MEANINGS.items()),
    )
    second: str | None = Field(
        default=None, description="another score, combined with the first by rank; None: the first"
    )
    second_weight: float = Field(
        default=0.5, gt=0, lt=1, description="part of the second score's rank in the sum, 0 to 1"
    )
    samples: int = Field(
        default=400,
        ge=1,
        description="pictures that are looked at (the paper's 400; DCP-GAN takes 5000 for its own "
        "score, and says that 1000 are enough)",
    )
    batch: int = Field(
        default=10,
        ge=1,
        description="pictures whose gradients are added before their magnitude is taken",
    )
    noise: float = Field(
        default=0.05,
        gt=0,
        le=1,
        description="probability that a pixel of the content becomes -1 or 1 (content-aware, "
        "taylor)",
    )
    rgb: Literal["last", "all"] = Field(
        default="last",
        description="which of the layers that make a picture vote on the channels that they read; "
        "last: the last one (as published); all: every one",
    )
    directions: int = Field(
        default=10, ge=2, description="latent directions of a batch (diversity)"
    )
    shift: float = Field(
        default=5.0, gt=0, description="length of a step along a direction (diversity)"
    )
    latents: int = Field(
        default=10_000,
        ge=100,
        description="latents whose principal components the directions are (diversity)",
    )
    seed: int | None = Field(
        default=None, ge=0, description="of samples, noise and directions; None: the run's"
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        check_name(self.name, "score.name")
        if self.second is not None:
            check_name(self.second, "score.second")
        if self.second == self.name:
            raise ConfigError(
                f"score.second={self.second} is score.name, too: leave it out, or name another."
            )
        return self


class CutSettings(Settings):
    """How many channels go: a ratio here, or a cost by ``target``."""

    ratio: float | None = Field(
        default=None,
        description="fraction of the channels that are removed, above 0 and below 1 (the paper's: "
        "0.7); None: as many as target asks for",
    )
    scope: Literal["layer", "network"] = Field(
        default="layer",
        description="layer: the same ratio of every layer's channels (the paper); network: the "
        "least important of all layers (a ratio at which these would be all of a layer's is "
        "refused once the scores are known)",
    )
    unit: Literal["mean", "rank", "none"] = Field(
        default="mean",
        description="what makes layers comparable where scope is network; mean: scores are divided "
        "by their layer's mean; rank: a channel's rank in its layer, as a fraction, is its score; "
        "none: scores are taken as they are",
    )
    cost_exponent: float = Field(
        default=0.0,
        ge=0,
        description="where scope is network, exponent of what a channel costs, by which its score "
        "is divided, so that layers of few pixels stay wider; 0: cost ignored",
    )

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        if self.ratio is not None and not 0 < self.ratio < 1:
            what = "removes nothing" if self.ratio <= 0 else "leaves no channel"
            raise ConfigError(
                f"cut.ratio={self.ratio:g} {what}: it is the fraction of the channels that is "
                "removed, above 0 and below 1, such as the paper's cut.ratio=0.7."
            )
        if self.cost_exponent and self.scope == "layer":
            raise ConfigError(
                f"cut.cost_exponent={self.cost_exponent:g} compares the channels of different "
                "layers, and cut.scope=layer takes the same ratio of each: set cut.scope=network, "
                "or cut.cost_exponent=0."
            )
        return self
