"""Training of SNGAN (Miyato et al., ICLR 2018; conditional: Miyato and Koyama, ICLR 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from ganpress.data import Batch, Images
from ganpress.errors import ConfigError
from ganpress.losses.terms import hinge_d, hinge_g
from ganpress.models.checkpoint import Model
from ganpress.models.discriminator import Discriminator
from ganpress.models.families import family
from ganpress.models.families.base import draw_inputs
from ganpress.run import distributed
from ganpress.run.proposals import Changes, is_held, ways
from ganpress.run.run import Run
from ganpress.run.settings import Settings
from ganpress.training import kit
from ganpress.training.optimisers import adam
from ganpress.training.settings import TrainConfig, TrainData
from ganpress.training.start import Start
from ganpress.types import Inputs
from ganpress.types.sizes import words


class SNGANDiscriminatorSettings(Settings):
    """The discriminator; it projects classes where the generator has some."""

    width: int = Field(default=128, ge=1, description="channels of each of its layers")
    spectral_norm: bool = Field(default=True, description="spectral norm on all of its layers")


class SNGANTraining(TrainConfig):
    """SNGAN on CIFAR-10 (Miyato et al., ICLR 2018); the defaults are those of GongXinyuu's code.

    A step is ``d_steps`` updates of the discriminator, then one of the generator.
    """

    renamed: ClassVar[Mapping[str, str]] = {"critic": "discriminator", "n_critic": "d_steps"}

    steps: int = Field(default=50_000, ge=1, description="training steps")
    batch: int = Field(
        default=320, ge=1, description="real images in a step, divided among its d_steps updates"
    )
    g_batch: int = Field(
        default=128, ge=1, description="generated images in an update of the generator"
    )
    d_steps: int = Field(
        default=5, ge=1, description="updates of the discriminator for each one of the generator"
    )
    lr_g: float = Field(default=2e-4, gt=0, description="learning rate of the generator (Adam)")
    lr_d: float = Field(default=2e-4, gt=0, description="learning rate of the discriminator (Adam)")
    decay: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="last fraction of the training, in which rates fall linearly to 0; 0: none",
    )
    discriminator: SNGANDiscriminatorSettings = SNGANDiscriminatorSettings()
    data: TrainData = TrainData(size=32, flip=False)

    @model_validator(mode="after")
    def _updates_fit(self) -> Self:
        if self.batch % (self.d_steps * self.accumulate):
            parts = self.d_steps * self.accumulate
            how = ways(self, [{"batch": -(-self.batch // parts) * parts}])
            raise ConfigError(
                f"A batch of {self.batch} cannot be shared out to {self.d_steps} updates of "
                f"{self.accumulate} part(s): make it a multiple of {parts}{how}."
            )
        return self

    @model_validator(mode="after")
    def _crop_is_the_picture(self) -> Self:
        width = self.options.get("bottom_width", 4)
        if isinstance(width, int) and self.data.size != 8 * width:  # others are refused later
            size = self.data.size
            bottom = [{"options.bottom_width": size // 8}] if isinstance(size, int) else []
            how = ways(self, [{"data.size": 8 * width}], bottom)
            raise ConfigError(
                f"With bottom_width {width} SNGAN makes pictures of {8 * width} px, but data.size "
                f"is {words(size)}: make them equal{how}."
            )
        return self

    def crops_within(self, side: int) -> Iterator[Changes]:
        """The picture of a generator that begins on a smaller grid."""
        widths = reversed(range(1, side // 8 + 1))
        return ({"data.size": 8 * one, "options.bottom_width": one} for one in widths)


SNGAN = family("sngan")
SHOWN = 100  # pictures of a sample grid, ten in a row; a conditional network's columns are classes


def train_sngan(
    run: Run,
    images: Images,
    other: Images | None,
    config: SNGANTraining,
    *,
    weights: Path | None = None,
    start: Start | None = None,
) -> dict[str, Model]:
    """Train an SNGAN generator: hinge loss, d_steps discriminator updates, then the generator's.

    Conditional where the option `classes` is set. With several processes BatchNorm's statistics
    are of each process's own pictures.

    Raises: ConfigError where ``other`` is given, sizes do not fit, or classes are missing.
    """
    c = config
    options = SNGAN.resolve(c.options)
    classes = int(options["classes"])
    _check(c, options, other)
    _check_classes(images, classes)
    device = kit.device_of(c)
    run.seed_all("init")
    made = int(options["out_channels"])
    discriminator = {"inputs": made, "classes": classes, **c.discriminator.model_dump()}
    G = kit.place(kit.generator(SNGAN, c, glorot, start), c, device)
    D = kit.place(kit.discriminator(run, "sngan", discriminator, glorot, start), c, device)
    opt_g = adam(G.parameters(), c.lr_g, betas=(0.0, 0.9))
    opt_d = adam(D.parameters(), c.lr_d, betas=(0.0, 0.9))
    average = kit.average_of(G, c, start)
    shown = fixed_inputs(G, classes, c.seed)
    G.train()
    D.train()
    stage = run.stage("train")
    loop = stage.steps(
        c.steps, minutes=c.minutes, G=G, D=D, opt_g=opt_g, opt_d=opt_d, average=average
    )
    batches = kit.batches(images, c, first=stage.first)
    for step in loop:
        left = min(1.0, (1 - stage.progress) / c.decay) if c.decay else 1.0
        opt_g.param_groups[0]["lr"] = c.lr_g * left
        opt_d.param_groups[0]["lr"] = c.lr_d * left
        batch = next(batches)

        # D steps: max(0, 1 - D(x)) + max(0, 1 + D(G(z)))
        D.requires_grad_(True)
        d_loss = torch.zeros((), device=device)
        for update in batch.to(device).parts(c.d_steps):
            opt_d.zero_grad(set_to_none=True)
            random = random_inputs(G, c.batch // c.d_steps, c.accumulate, device)
            for part, inputs in zip(update.parts(c.accumulate), random, strict=True):
                with kit.float32_norms(D), kit.autocast(c):
                    with torch.no_grad():
                        fake = G(*inputs)
                    both = torch.cat([part.x, fake])
                    labels = torch.cat([one_hot(part, classes), inputs[1]]) if classes else None
                    real, made = D(both, labels).float().chunk(2)
                    loss = hinge_d(real, made)
                (loss / c.accumulate).backward()
                d_loss += loss.detach() / (c.accumulate * c.d_steps)
            distributed.average_gradients(D)
            opt_d.step()

        # G step: -D(G(z))
        D.requires_grad_(False)
        opt_g.zero_grad(set_to_none=True)
        g_loss = torch.zeros((), device=device)
        for inputs in random_inputs(G, c.g_batch, c.accumulate, device):
            with kit.float32_norms(D), kit.autocast(c):
                loss = hinge_g(D(G(*inputs), *inputs[1:]).float())
            (loss / c.accumulate).backward()
            g_loss += loss.detach() / c.accumulate
        distributed.average_gradients(G)
        opt_g.step()
        average.update()

        stage.log(step, **{"loss/g": g_loss, "loss/d": d_loss})
        stage.log(step, **{"lr/g": c.lr_g * left})
        if step % c.sample_every == 0 or step + 1 == c.steps:
            pictures = kit.averaged(G, average)(*(t.to(device) for t in shown))
            stage.images(step, "samples", pictures, columns=10)
    stage.finish()
    saved = Discriminator(D, "sngan", discriminator, "hinge")
    return {"": kit.model_of(kit.averaged(G, average), SNGAN, c, discriminator=saved)}


def _check(config: SNGANTraining, options: dict[str, int], other: Images | None) -> None:
    c = config
    if other is not None:
        raise ConfigError("SNGAN learns from one set of photos: leave --other out.")
    if c.g_batch % (share := distributed.world() * c.accumulate):
        raise ConfigError(f"g_batch is {c.g_batch}; it must be a multiple of {share}.")


def _check_classes(images: Images, count: int) -> None:
    """A conditional network needs a class below ``count`` for each photo."""
    if not count:
        return
    if images.classes is None:
        raise ConfigError(
            "A conditional SNGAN needs each photo's class: give a pack (.npz) with 'labels'"
            + ("." if is_held("options.classes") else ", or set options.classes=0.")
        )
    if (top := int(images.classes.max())) >= count:
        name = images.names[int(images.classes.argmax())]
        raise ConfigError(
            f"The photo '{name}' is of class {top}, but options.classes is {count}: set "
            f"options.classes={top + 1}, or check the pack's labels."
        )


def random_inputs(net: nn.Module, n: int, parts: int, device: str) -> list[Inputs]:
    """Random inputs for ``n`` pictures over all processes: this process's share, in equal parts."""
    shares = [distributed.share(t).to(device).chunk(parts) for t in draw_inputs(net, n, 32)]
    return list(zip(*shares, strict=True))


def fixed_inputs(net: nn.Module, classes: int, seed: int) -> Inputs:
    """The inputs of the sample grids: the same in every step; classes in turn."""
    z, *_ = draw_inputs(net, SHOWN, 32, torch.Generator().manual_seed(seed))
    if not classes:
        return (z,)
    return z, F.one_hot(torch.arange(SHOWN) % min(classes, 10), classes).float()


def one_hot(batch: Batch, classes: int) -> Tensor:
    """(n, classes) float32."""
    assert batch.classes is not None
    return F.one_hot(batch.classes, classes).float()


@torch.no_grad()
def glorot(net: nn.Module) -> nn.Module:
    """Upstream's start, in place: Glorot's uniform weights for convolutions."""
    for parameter in net.parameters():
        if parameter.ndim == 4:
            nn.init.xavier_uniform_(parameter)
    return net
