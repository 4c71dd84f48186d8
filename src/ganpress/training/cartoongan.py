"""Train CartoonGAN (Chen et al., CVPR 2018): photos become cartoons with clear edges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ganpress.data import Images
from ganpress.errors import ConfigError
from ganpress.losses.features import Features, load_features
from ganpress.losses.terms import content, logistic_d, logistic_g
from ganpress.models.checkpoint import Model
from ganpress.models.discriminator import Discriminator
from ganpress.models.families.cartoongan import CARTOONGAN
from ganpress.nn.edges import smooth_edges
from ganpress.run import distributed
from ganpress.run.grid import first_rows
from ganpress.run.proposals import Changes, fewer
from ganpress.run.run import Run
from ganpress.run.settings import Settings
from ganpress.training import kit
from ganpress.training.optimisers import adam
from ganpress.training.settings import TrainConfig
from ganpress.training.start import Start


class ContentSettings(Settings):
    """The content loss between a cartoon and its photo (Chen et al. 2018, eq. 4)."""

    weight: float = Field(
        default=10, ge=0, description="weight of the content loss (omega in eq. 2)"
    )
    features: Literal["vgg16", "squeezenet", "squeezenet-1.1", "squeezenet-1.1-caffe", "tiny"] = (
        Field(
            default="vgg16", description="feature network of the content loss; the paper has VGG-19"
        )
    )
    tap: str | None = Field(
        default=None,
        description="layer whose features are compared; None: the deepest (VGG-16's relu4_3)",
    )


class CartoonganTraining(TrainConfig):
    """CartoonGAN (Chen et al., CVPR 2018): a warm-up with the content loss alone, then adversarial
    training in which edge-smoothed cartoons count as fakes, too."""

    renamed: ClassVar[Mapping[str, str]] = {
        "critic_width": "discriminator_width",
        "critic_layers": "discriminator_layers",
    }

    steps: int = Field(
        default=75_000,
        ge=1,
        description="training steps; 75000: 200 epochs of 6000 photos at batch 16",
    )
    batch: int = Field(default=16, ge=1, description="images in a step, over all processes")
    warm_up: int = Field(
        default=3_750, ge=0, description="first steps, with the content loss alone"
    )
    lr: float = Field(default=2e-4, gt=0, description="learning rate of both networks (Adam)")
    edges: float = Field(
        default=1.0, ge=0, description="weight of the edge-smoothed negatives; 0: none"
    )
    discriminator_width: int = Field(
        default=64, ge=1, description="channels of the discriminator's first layer"
    )
    discriminator_layers: int = Field(
        default=3, ge=1, description="strided convolutions of the discriminator"
    )
    content: ContentSettings = ContentSettings()

    @property
    def crop_step(self) -> int:
        """Two halvings."""
        return 4

    @property
    def smallest_crop(self) -> int:
        """So that a norm of the discriminator sees more than one pixel."""
        return int(3 * 2**self.discriminator_layers)

    def shallower(self) -> Iterator[Changes]:
        """Fewer layers."""
        return fewer("discriminator_layers", self.discriminator_layers)

    def too_small(self, smallest: int) -> str:
        """With the discriminator's layers."""
        layers = self.discriminator_layers
        return (
            f"A discriminator of discriminator_layers={layers} needs crops of at least {smallest} "
            "pixels"
        )


def train_cartoongan(
    run: Run,
    images: Images,
    other: Images | None,
    config: CartoonganTraining,
    *,
    weights: Path | None = None,
    start: Start | None = None,
) -> dict[str, Model]:
    """Train on photos (``images``) and cartoons (``other``), unpaired.

    The first ``warm_up`` steps only keep the photo's content (section 3.3); then the
    discriminator learns cartoons from translations and from cartoons with blurred edges (eq. 3).

    Args: weights: file or folder of the feature network's weights.
    Raises: ConfigError without cartoons; WeightsError without the feature network.
    """
    c, device = config, kit.device_of(config)
    if other is None:
        raise ConfigError("CartoonGAN needs photos and cartoons: give the cartoons, other.")
    run.seed_all("init")
    G = kit.place(kit.generator(CARTOONGAN, c, nn.Module.train, start), c, device)
    options = _discriminator_options(c)
    D = kit.place(kit.discriminator(run, "patch", options, _initialised, start), c, device)
    features = _features(c, weights).to(device)
    tap = features.taps[-1]
    opt_g = adam(G.parameters(), c.lr, betas=(0.5, 0.999))
    opt_d = adam(D.parameters(), c.lr, betas=(0.5, 0.999))
    average = kit.average_of(G, c, start)
    stage = run.stage("train")
    loop = stage.steps(
        c.steps, minutes=c.minutes, G=G, D=D, opt_g=opt_g, opt_d=opt_d, average=average
    )
    photos = kit.batches(images, c, first=stage.first)
    cartoons = kit.batches(other, c, first=stage.first, salt="other")
    for step in loop:
        photo, cartoon = next(photos).to(device), next(cartoons).to(device)
        warm = step < c.warm_up
        zero = photo.x.new_zeros(())
        far, gan, d_loss = zero, zero, zero

        # G step: content (eq. 4), and after the warm-up the adversarial loss
        D.requires_grad_(False)
        opt_g.zero_grad(set_to_none=True)
        fakes: list[Tensor] = []
        for part in photo.parts(c.accumulate):
            with kit.autocast(c):
                fake = G(part.x)
                with torch.no_grad():
                    wanted = features(part.x)[tap]
                kept = content(features(fake)[tap], wanted)
                pleased = zero if warm else logistic_g(D(fake))
                loss = c.content.weight * kept + pleased
            (loss / c.accumulate).backward()
            far, gan = far + kept.detach() / c.accumulate, gan + pleased.detach() / c.accumulate
            fakes.append(fake.detach())
        distributed.average_gradients(G)
        opt_g.step()
        average.update()

        # D step (eq. 3), on the same translations
        if not warm:
            D.requires_grad_(True)
            opt_d.zero_grad(set_to_none=True)
            for part, fake in zip(cartoon.parts(c.accumulate), fakes, strict=True):
                with kit.autocast(c):
                    loss = _discriminator_loss(D, part.x, fake, edges=c.edges)
                (loss / c.accumulate).backward()
                d_loss = d_loss + loss.detach() / c.accumulate
            distributed.average_gradients(D)
            opt_d.step()

        stage.log(step, **{"loss/content": far, "loss/gan": gan, "loss/d": d_loss})
        if step % c.sample_every == 0:
            rows = first_rows(photo.x, torch.cat(fakes), cartoon.x, smooth_edges(cartoon.x))
            stage.images(step, "photo-cartoon-real-smoothed", rows, columns=min(4, len(photo.x)))
    G.load_state_dict(average.shadow)
    stage.finish()
    discriminator = Discriminator(D, "patch", options, "logistic")
    return {"": kit.model_of(G, CARTOONGAN, c, discriminator=discriminator)}


def _discriminator_options(config: CartoonganTraining) -> dict[str, int]:
    inputs = kit.channels_of(CARTOONGAN, config)[1]
    width, layers = config.discriminator_width, config.discriminator_layers
    return {"inputs": inputs, "width": width, "layers": layers}


def _initialised(net: nn.Module) -> nn.Module:
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
    return net


def _features(config: CartoonganTraining, weights: Path | None) -> Features:
    """The content network up to the one layer that is read."""
    c = config.content
    if c.tap is None:
        deepest = load_features(c.features, weights=weights).taps[-1:]
        return load_features(c.features, weights=weights, taps=deepest)
    return load_features(c.features, weights=weights, taps=[c.tap])


def _discriminator_loss(D: nn.Module, cartoon: Tensor, fake: Tensor, *, edges: float) -> Tensor:
    """-log D(cartoon) - log(1 - D(G(photo))) - edges * log(1 - D(smoothed cartoon))."""
    pictures = [cartoon, fake] + ([smooth_edges(cartoon)] if edges > 0 else [])
    real, made, *smooth = D(torch.cat(pictures)).chunk(len(pictures))  # norms are per image
    loss = logistic_d(real, made)
    return loss + edges * F.softplus(smooth[0]).mean() if smooth else loss
