"""Training of StyleGAN2 (Karras et al., CVPR 2020, appendix B)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from ganpress.data import Images
from ganpress.errors import ConfigError
from ganpress.losses import terms as losses
from ganpress.models.checkpoint import Model
from ganpress.models.discriminator import Discriminator
from ganpress.models.families import family
from ganpress.models.families.stylegan2 import StyleGAN2, resolutions
from ganpress.run import distributed
from ganpress.run.proposals import Changes, ways
from ganpress.run.run import Run
from ganpress.run.settings import Settings
from ganpress.training import kit
from ganpress.training.optimisers import adam
from ganpress.training.settings import TrainConfig, TrainData
from ganpress.training.start import Start
from ganpress.training.styles import PathPenalty, lazy_ratio, path_loss, random_inputs
from ganpress.types.sizes import shorter, words


class StyleDiscriminatorSettings(Settings):
    """The discriminator's widths: at most `base` / r channels at r pixels, at most `most`."""

    base: int = Field(
        default=32768,
        ge=1,
        description="the discriminator has base / s channels at s pixels, at most ``most``",
    )
    most: int = Field(default=512, ge=1, description="largest number of channels at any size")


class StyleGAN2Training(TrainConfig):
    """StyleGAN2 config-f (Karras et al., CVPR 2020) at 256 pixels; 25 M images seen.

    A smaller network by `options.base` and `options.most` keeps its gains in step with its widths;
    `width` cuts the network of those options instead.
    """

    renamed: ClassVar[Mapping[str, str]] = {"critic": "discriminator"}

    steps: int = Field(default=781_250, ge=1, description="training steps")
    batch: int = Field(default=32, ge=1, description="images in a step, over all processes")
    ema: float = Field(
        default=0.99778,
        ge=0,
        lt=1,
        description="decay of the moving average of the weights, per step",
    )
    lr_g: float = Field(default=2e-3, gt=0, description="learning rate of the generator (Adam)")
    lr_d: float = Field(default=2e-3, gt=0, description="learning rate of the discriminator (Adam)")
    r1: float = Field(default=10.0, ge=0, description="weight of the R1 penalty (gamma)")
    r1_every: int = Field(default=16, ge=1, description="steps between two R1 penalties")
    path: float = Field(default=2.0, ge=0, description="weight of the path length penalty")
    path_every: int = Field(default=4, ge=1, description="steps between two path length penalties")
    mixing: float = Field(
        default=0.9, ge=0, le=1, description="probability that a batch mixes two styles"
    )
    discriminator: StyleDiscriminatorSettings = StyleDiscriminatorSettings()
    data: TrainData = TrainData()

    @model_validator(mode="after")
    def _crop_is_the_picture(self) -> Self:
        size = self.options.get("size", 256)
        if size != self.data.size:
            equal = [{"data.size": size}], [{"options.size": self.data.size}]
            raise ConfigError(
                f"data.size is {words(self.data.size)}, but the generator makes {size} pixels "
                f"(options.size): make them equal{ways(self, *equal, check=_check_options)}."
            )
        return self

    def crops_within(self, side: int) -> Iterator[Changes]:
        """The picture of a generator with fewer doublings."""
        sizes = (2**i for i in reversed(range(3, side.bit_length())))
        return ({"data.size": one, "options.size": one} for one in sizes)


STYLEGAN2 = family("stylegan2")


def _check_options(config: TrainConfig) -> None:
    STYLEGAN2.full(STYLEGAN2.resolve(config.options))


SHOWN = 36  # pictures in a grid of samples


def train_stylegan2(
    run: Run,
    images: Images,
    other: Images | None,
    config: StyleGAN2Training,
    *,
    weights: Path | None = None,
    start: Start | None = None,
) -> dict[str, Model]:
    """Train a generator on ``images``: logistic loss, lazy R1 and path length penalties, mixing.

    z, the crossover and the noise maps are sampled for the whole batch on every process. The
    penalties run in float32 whatever the precision. ``weights`` is not used.

    Raises: ConfigError if ``other`` is given.
    """
    c = config
    if other is not None:
        raise ConfigError("StyleGAN2 learns from one set of images: leave --other out.")
    device = kit.device_of(c)
    run.seed_all("init")
    G = kit.place(kit.generator(STYLEGAN2, c, nn.Module.train, start), c, device)
    assert isinstance(G, StyleGAN2)
    discriminator = discriminator_options(c)
    net = kit.discriminator(run, "stylegan2", discriminator, nn.Module.train, start)
    D = kit.place(net, c, device)
    shown = torch.randn(SHOWN, G.style_dim).to(device)
    ratio_g, ratio_d = lazy_ratio(c.path, c.path_every), lazy_ratio(c.r1, c.r1_every)
    opt_g = adam(G.parameters(), c.lr_g * ratio_g, betas=(0.0, 0.99**ratio_g))
    opt_d = adam(D.parameters(), c.lr_d * ratio_d, betas=(0.0, 0.99**ratio_d))
    average, path = kit.average_of(G, c, start), PathPenalty().to(device)
    stage = run.stage("train")
    loop = stage.steps(
        c.steps, minutes=c.minutes, G=G, D=D, opt_g=opt_g, opt_d=opt_d, average=average, path=path
    )
    batches = kit.batches(images, c, first=stage.first)
    for step in loop:
        parts = list(next(batches).to(device).parts(c.accumulate))

        # D step: softplus(-D(x)) + softplus(D(G(z)))
        D.requires_grad_(True)
        opt_d.zero_grad(set_to_none=True)
        d_loss = torch.zeros((), device=device)
        for part, random in zip(
            parts, random_inputs(G, c.mixing, c.batch).parts(c.accumulate), strict=True
        ):
            with kit.autocast(c):
                with torch.no_grad():
                    fake = G.synthesis(random.styles(G), *random.noise)
                loss = losses.logistic_d(D(part.x).float(), D(fake).float())
            (loss / c.accumulate).backward()
            d_loss += loss.detach() / c.accumulate
        distributed.average_gradients(D)
        opt_d.step()

        # lazy R1: gamma / 2 |grad D(x)|^2
        if c.r1 > 0 and step % c.r1_every == 0:
            opt_d.zero_grad(set_to_none=True)
            penalty = torch.zeros((), device=device)
            for part in parts:
                x = part.x.detach().requires_grad_(True)
                r1 = losses.r1(D(x), x)
                (c.r1 / 2 * c.r1_every * r1 / c.accumulate).backward()
                penalty += r1.detach() / c.accumulate
            distributed.average_gradients(D)
            opt_d.step()
            stage.log(step, **{"loss/r1": penalty})

        # G step: softplus(-D(G(z)))
        D.requires_grad_(False)
        opt_g.zero_grad(set_to_none=True)
        g_loss = torch.zeros((), device=device)
        for random in random_inputs(G, c.mixing, c.batch).parts(c.accumulate):
            with kit.autocast(c):
                fake = G.synthesis(random.styles(G), *random.noise)
                loss = losses.logistic_g(D(fake).float())
            (loss / c.accumulate).backward()
            g_loss += loss.detach() / c.accumulate
        distributed.average_gradients(G)
        opt_g.step()

        # lazy path length, on half a batch
        if c.path > 0 and step % c.path_every == 0:
            opt_g.zero_grad(set_to_none=True)
            loss = path_loss(G, path, mixing=c.mixing, batch=c.batch)
            (c.path * c.path_every * loss).backward()
            distributed.average_gradients(G)
            opt_g.step()
            stage.log(step, **{"loss/path": loss, "path/mean": path.mean})
        average.update()

        stage.log(step, **{"loss/g": g_loss, "loss/d": d_loss})
        if step % c.sample_every == 0 or step + 1 == c.steps:
            stage.images(step, "samples", kit.averaged(G, average)(shown), columns=9)
    stage.finish(path_mean=float(path.mean))
    saved = Discriminator(D, "stylegan2", discriminator, "logistic", r1=c.r1, r1_every=c.r1_every)
    return {"": kit.model_of(kit.averaged(G, average), STYLEGAN2, c, discriminator=saved)}


def discriminator_options(config: StyleGAN2Training) -> dict[str, Any]:
    """How the discriminator is built."""
    size, limits = shorter(config.data.size), config.discriminator
    channels = [max(1, min(limits.most, limits.base // side)) for side in resolutions(size)]
    inputs = kit.channels_of(STYLEGAN2, config)[1]
    return {"size": size, "channels": channels, "inputs": inputs}
