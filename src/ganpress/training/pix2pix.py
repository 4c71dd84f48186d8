"""Train pix2pix's generator on pairs (Isola et al., CVPR 2017)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ganpress.data import Batch, Images
from ganpress.errors import ConfigError
from ganpress.losses.terms import hinge_d, hinge_g, logistic_d, logistic_g, lsgan_d, lsgan_g
from ganpress.models.checkpoint import Model
from ganpress.models.discriminator import Discriminator
from ganpress.models.families import FAMILIES
from ganpress.models.families.cyclegan import halvings_of
from ganpress.nn.init import learning, normal
from ganpress.run import distributed
from ganpress.run.grid import first_rows
from ganpress.run.proposals import Changes, fewer
from ganpress.run.run import Run
from ganpress.training import kit
from ganpress.training.optimisers import adam
from ganpress.training.settings import PatchSettings, PatchTraining, TrainData
from ganpress.training.start import Start


class Pix2PixTraining(PatchTraining):
    """pix2pix (Isola et al., CVPR 2017): 200 epochs of facades' 400 pairs, one pair a step."""

    renamed: ClassVar[Mapping[str, str]] = {"critic": "discriminator"}

    generator: Literal["unet", "resnet"] = Field(
        default="unet",
        description="unet: family pix2pix; resnet: family cyclegan. 'options' are that family's",
    )
    objective: Literal["vanilla", "lsgan", "hinge"] = Field(
        default="vanilla", description="adversarial loss; vanilla: cross-entropy on logits"
    )
    steps: int = Field(default=80_000, ge=1, description="training steps")
    lr: float = Field(
        default=2e-4, gt=0, description="learning rate of the generator (Adam, betas 0.5 and 0.999)"
    )
    decay_from: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="fraction of the training after which learning rates fall linearly to 0",
    )
    l1: float = Field(
        default=100.0, ge=0, description="weight of L1 to the target (lambda in eq. 4)"
    )
    discriminator: PatchSettings = PatchSettings(norm="batch")
    data: TrainData = TrainData(load_size=286)

    @property
    def family(self) -> str:
        """Name of the family that is trained."""
        return "pix2pix" if self.generator == "unet" else "cyclegan"

    @property
    def crop_step(self) -> int:
        """A factor of 2 for each halving."""
        if self.generator == "resnet":
            return int(2 ** halvings_of(self.options))
        downs = self.options.get("downs", 8)
        return 2**downs if isinstance(downs, int) else 1  # other types are refused with the family

    @property
    def smallest_crop(self) -> int:
        """Also of the ResNet: two pixels of its trunk."""
        trunk = 2 * self.crop_step if self.generator == "resnet" else 1
        return max(super().smallest_crop, trunk)

    def finer_steps(self) -> Iterator[Changes]:
        """Fewer halvings of the U-Net."""
        downs = self.options.get("downs", 8)
        if self.generator == "unet" and isinstance(downs, int):
            yield from fewer("options.downs", downs, least=2)

    def crops_within(self, side: int) -> Iterator[Changes]:
        """Also of a U-Net with fewer halvings."""
        yield from super().crops_within(side)
        for finer in self.finer_steps():
            step = 2 ** finer["options.downs"]
            crop = {**finer, "data.size": side // step * step}
            yield crop
            for shallow in self.shallower():
                yield {**shallow, **crop}


Objective = tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]
OBJECTIVES: dict[str, Objective] = {
    "vanilla": (lambda real, fake: 0.5 * logistic_d(real, fake), logistic_g),
    "lsgan": (lsgan_d, lsgan_g),
    "hinge": (lambda real, fake: 0.5 * hinge_d(real, fake), hinge_g),
}
"""Losses of discriminator and generator; the former is halved to slow it down (section 3.3)."""
CARD_NAMES = {"vanilla": "cross-entropy", "lsgan": "least-squares", "hinge": "hinge"}
"""What the discriminator's card calls them."""


def train_pix2pix(
    run: Run,
    images: Images,
    other: Images | None,
    config: Pix2PixTraining,
    *,
    weights: Path | None = None,
    start: Start | None = None,
) -> dict[str, Model]:
    """Train on ``images``, each with its target: the discriminator first, then the generator.

    Args: other, weights: not used; pix2pix needs no second domain and no other network.
    Returns: {"": the generator with its discriminator, which reads input and picture}.
    Raises: ConfigError for images without targets.
    """
    c, device = config, kit.device_of(config)
    if not images.paired:
        raise ConfigError("pix2pix learns from pairs: give a target for each image (pairs).")
    family, (d_loss_of, g_loss_of) = FAMILIES[c.family], OBJECTIVES[c.objective]
    run.seed_all("init")
    G = kit.place(kit.generator(family, c, normal, start), c, device)
    patch: dict[str, Any] = {
        "inputs": sum(kit.channels_of(family, c)),
        **c.discriminator.model_dump(exclude={"lr"}),
    }
    D = kit.place(kit.discriminator(run, "patch", patch, normal, start), c, device)
    opt_g = adam(learning(G), c.lr, betas=(0.5, 0.999))
    opt_d = adam(learning(D), c.discriminator.lr, betas=(0.5, 0.999))
    average = kit.average_of(G, c, start)
    stage = run.stage("train")
    loop = stage.steps(
        c.steps, minutes=c.minutes, G=G, D=D, opt_g=opt_g, opt_d=opt_d, average=average
    )
    stream = kit.batches(images, c, first=stage.first)
    is_whole = c.accumulate == 1  # else a part's graph is let go, and its picture made again
    for step in loop:
        share = min(1.0, (1 - stage.progress) / (1 - c.decay_from))
        opt_g.param_groups[0]["lr"] = c.lr * share
        opt_d.param_groups[0]["lr"] = c.discriminator.lr * share
        parts = [_pair(part) for part in next(stream).to(device).parts(c.accumulate)]
        fakes: list[Tensor] = []

        # D step (eq. 1): tell (x, y) from (x, G(x))
        D.requires_grad_(True)
        opt_d.zero_grad(set_to_none=True)
        d_loss = torch.zeros((), device=device)
        for x, y in parts:
            with kit.autocast(c):
                with torch.set_grad_enabled(is_whole):
                    fakes.append(G(x))
                real, fake = D(torch.cat([x, y], 1)), D(torch.cat([x, fakes[-1].detach()], 1))
                loss = d_loss_of(real.to(x.dtype), fake.to(x.dtype)) / c.accumulate
            loss.backward()
            d_loss += loss.detach()
        distributed.average_gradients(D)
        opt_d.step()

        # G step (eq. 4): L_cGAN + l1 L_L1
        D.requires_grad_(False)
        opt_g.zero_grad(set_to_none=True)
        gan, l1 = torch.zeros_like(d_loss), torch.zeros_like(d_loss)
        for i, (x, y) in enumerate(parts):
            with kit.autocast(c):
                made = fakes[i] if is_whole else G(x)
                logits = D(torch.cat([x, made], 1))
                terms = g_loss_of(logits.to(x.dtype)), F.l1_loss(made.to(x.dtype), y)
            ((terms[0] + c.l1 * terms[1]) / c.accumulate).backward()
            gan, l1 = gan + terms[0].detach() / c.accumulate, l1 + terms[1].detach() / c.accumulate
        distributed.average_gradients(G)
        opt_g.step()
        average.update()

        losses = {"loss/gan": gan, "loss/l1": l1, "loss/d": d_loss}
        stage.log(step, **losses, lr=c.lr * share)
        if step % c.sample_every == 0:
            x, y = (torch.cat(column) for column in zip(*parts, strict=True))
            shown = first_rows(x, torch.cat(fakes), y)
            stage.images(step, "samples", shown, columns=min(4, len(x)))
    G.load_state_dict(average.shadow)
    discriminator = Discriminator(D, "patch", patch, CARD_NAMES[c.objective])
    stage.finish()
    return {"": kit.model_of(G, family, c, discriminator)}


def _pair(part: Batch) -> tuple[Tensor, Tensor]:
    """Inputs and targets, (n, c, s, s) each."""
    if part.y is None:
        raise ConfigError("A batch without targets: the images are not paired.")
    return part.x, part.y
