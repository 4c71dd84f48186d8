"""Training of a SPADE generator (Park et al., CVPR 2019, section 3 and appendix A)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from ganpress.data import Batch, Images
from ganpress.errors import ConfigError
from ganpress.losses.perceptual import perceptual, perceptual_features
from ganpress.losses.terms import feature_matching, hinge_d, hinge_g
from ganpress.models.checkpoint import Model
from ganpress.models.discriminator import Discriminator
from ganpress.models.families import family
from ganpress.models.families.gaugan import SpadeGenerator
from ganpress.models.inputs import check_ids
from ganpress.nn.spade import add_spectral_norm, plain_state
from ganpress.run import distributed
from ganpress.run.ema import Average
from ganpress.run.grid import first_rows
from ganpress.run.proposals import Changes
from ganpress.run.run import Run
from ganpress.run.settings import Settings
from ganpress.training import kit
from ganpress.training.optimisers import adam
from ganpress.training.settings import TrainConfig
from ganpress.training.start import Start
from ganpress.types import State


class MultiscaleSettings(Settings):
    """The discriminators: one PatchGAN per scale, each scale half the size of the one before."""

    width: int = Field(default=64, ge=1, description="channels of a discriminator's first layer")
    layers: int = Field(
        default=4, ge=2, description="convolutions of the discriminator at each scale"
    )
    scales: int = Field(
        default=2,
        ge=1,
        description="scales of the discriminators, each half the size of the one before",
    )


class GauGANTraining(TrainConfig):
    """SPADE (Park et al., CVPR 2019); the defaults are those of Cityscapes: 200 epochs of 2975.

    The authors compare features of VGG-19; here it is VGG-16 or a smaller network.
    """

    renamed: ClassVar[Mapping[str, str]] = {"critic": "discriminator"}

    steps: int = Field(default=37_200, ge=1, description="training steps")
    batch: int = Field(default=16, ge=1, description="images in a step, over all processes")
    lr_g: float = Field(default=1e-4, gt=0, description="learning rate of the generator (Adam)")
    lr_d: float = Field(default=4e-4, gt=0, description="learning rate of the discriminator (Adam)")
    decay: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="last fraction of the training, in which learning rates fall linearly to 0",
    )
    matching: float = Field(default=10.0, ge=0, description="weight of the feature matching loss")
    perceptual: float = Field(default=10.0, ge=0, description="weight of the perceptual loss")
    features: Literal["vgg16", "squeezenet", "tiny", "none"] = Field(
        default="vgg16", description="feature network of the perceptual loss; none: no such loss"
    )
    discriminator: MultiscaleSettings = MultiscaleSettings()

    @property
    def crop_step(self) -> int:
        """A factor of 2 for each doubling of the latent grid."""
        return {"more": 64, "most": 128}.get(str(self.options.get("upsampling")), 32)

    def finer_steps(self) -> Iterator[Changes]:
        """Fewer doublings."""
        return ({"options.upsampling": kind} for kind in ("more", "normal"))


GAUGAN = family("gaugan")
REFRESH = 20  # power iterations until the spectral norm of averaged weights converges


def train_gaugan(
    run: Run,
    images: Images,
    other: Images | None,
    config: GauGANTraining,
    *,
    weights: Path | None = None,
    start: Start | None = None,
) -> dict[str, Model]:
    """Train a generator on photos with label maps: hinge loss, feature matching, perceptual loss.

    The blocks' convolutions are under spectral norm while they train, and plain in the result.
    Departures from NVlabs' code: VGG-16 or a smaller network in place of VGG-19; the discriminator
    sees the picture that the generator's step made, not a second one. With several processes
    BatchNorm's statistics are of all pictures on CUDA, of each process's own on the CPU.

    Args:
        images: photos with label maps (and instance maps where the option `edges` is set).
        weights: file or folder of the feature network.
    Raises: ConfigError where maps are missing or ``other`` is given; ImagesError for ids past the
        option `labels`.
    """
    c = config
    if other is not None:
        raise ConfigError("SPADE learns from photos and their label maps: leave --other out.")
    device = kit.device_of(c)
    run.seed_all("init")
    G, discriminator = networks(c, device, run, start)
    check_maps(images, G)
    D = discriminator.net
    compare = None
    if c.perceptual > 0 and c.features != "none":
        compare = perceptual_features(c.features, weights).to(device)
    opt_g = adam(G.parameters(), c.lr_g, betas=(0.0, 0.9))
    opt_d = adam(D.parameters(), c.lr_d, betas=(0.0, 0.9))
    average = kit.average_of(G, c, start)
    G.train()
    D.train()
    stage = run.stage("train")
    loop = stage.steps(
        c.steps, minutes=c.minutes, G=G, D=D, opt_g=opt_g, opt_d=opt_d, average=average
    )
    batches = kit.batches(images, c, first=stage.first)
    for step in loop:
        decay = min(1.0, (1 - stage.progress) / c.decay)  # constant, then linear to 0
        opt_g.param_groups[0]["lr"] = c.lr_g * decay
        opt_d.param_groups[0]["lr"] = c.lr_d * decay
        parts = list(next(batches).to(device).parts(c.accumulate))
        maps = [read_maps(G, part) for part in parts]

        # G step: L_GAN + lambda_FM L_FM + lambda_P L_P
        D.requires_grad_(False)
        opt_g.zero_grad(set_to_none=True)
        fakes, logs = [], torch.zeros(3, device=device)
        for part, seen in zip(parts, maps, strict=True):
            with kit.float32_norms(G, D), kit.autocast(c):
                fake = G(seen)
                outputs = D(torch.cat([seen, fake], 1))
                with torch.no_grad():
                    true = D(torch.cat([seen, part.x], 1))
                gan = torch.stack([hinge_g(scale[-1].float()) for scale in outputs]).mean()
                matched = feature_matching([s[:-1] for s in true], [s[:-1] for s in outputs])
                near = perceptual(compare, fake, part.x) if compare else gan.new_zeros(())
                loss = gan + c.matching * matched + c.perceptual * near
            (loss / c.accumulate).backward()
            fakes.append(fake.detach())
            logs += torch.stack([gan, matched, near]).detach() / c.accumulate
        distributed.average_gradients(G)
        opt_g.step()
        average.update()

        # D step: hinge over both scales
        D.requires_grad_(True)
        opt_d.zero_grad(set_to_none=True)
        d_loss = torch.zeros((), device=device)
        for part, seen, fake in zip(parts, maps, fakes, strict=True):
            with kit.float32_norms(D), kit.autocast(c):
                both = torch.cat([torch.cat([seen, part.x], 1), torch.cat([seen, fake], 1)])
                logits = [scale[-1].float().chunk(2) for scale in D(both)]
                loss = torch.stack([hinge_d(real, made) for real, made in logits]).mean()
            (loss / c.accumulate).backward()
            d_loss += loss.detach() / c.accumulate
        distributed.average_gradients(D)
        opt_d.step()

        gan, matched, near = logs.unbind()
        stage.log(step, **{"loss/g": gan, "loss/matching": matched, "loss/perceptual": near})
        stage.log(step, **{"loss/d": d_loss, "lr/g": opt_g.param_groups[0]["lr"]})
        if step % c.sample_every == 0 or step + 1 == c.steps:
            with kit.autocast(c):
                pictures = sample(G, maps[0][:4])
            rows = first_rows(painted(maps[0][:, : G.classes]), pictures, parts[0].x)
            stage.images(step, "labels-made-real", rows, columns=len(pictures))
    stage.finish()
    net = kit.generator(GAUGAN, c, xavier, start)
    net.load_state_dict(trained(G, average))
    return {"": kit.model_of(net, GAUGAN, c, discriminator=discriminator)}


def networks(
    c: GauGANTraining, device: str, run: Run, start: Start | None
) -> tuple[SpadeGenerator, Discriminator]:
    """Generator and discriminator at their start, both under spectral norm; weights that were
    trained keep the norm that they have."""
    net = kit.generator(GAUGAN, c, xavier, start)
    net = add_spectral_norm(net, keep=start is not None)
    G = cast(SpadeGenerator, kit.place(net, c, device))
    options = {"inputs": G.channels + G.out_channels, **c.discriminator.model_dump()}
    D = kit.place(kit.discriminator(run, "spade", options, xavier, start), c, device)
    if distributed.world() > 1 and device.startswith("cuda"):
        nn.SyncBatchNorm.convert_sync_batchnorm(G)
    return G, Discriminator(D, "spade", options, "hinge")


def check_maps(images: Images, net: SpadeGenerator) -> None:
    """Refuse photos whose maps the network cannot read: ConfigError, ImagesError."""
    if not images.has_labels:
        raise ConfigError("SPADE needs a label map for each photo: give their folder (--labels).")
    if net.edges and not images.has_instances:
        raise ConfigError(
            "The option 'edges' needs an instance map for each photo: give their folder "
            "(--instances), or set options.edges=false."
        )
    check_ids(net, images)


def read_maps(net: SpadeGenerator, batch: Batch) -> Tensor:
    """What the generator reads of a batch: (n, channels, h, w)."""
    if batch.labels is None:
        raise ConfigError("A batch came without its label maps.")
    return net.encode(batch.labels, batch.instances)


@torch.no_grad()
def xavier(net: nn.Module, gain: float = 0.02) -> nn.Module:
    """SPADE's start, in place: Xavier's normal weights times ``gain``, biases 0."""
    for parameter in net.parameters():
        if parameter.ndim == 4:
            nn.init.xavier_normal_(parameter, gain)
        else:
            parameter.zero_()
    return net


@torch.no_grad()
def sample(net: nn.Module, seen: Tensor) -> Tensor:
    """Pictures as the finished network would make them (running statistics), float32."""
    out: Tensor = net.eval()(seen).float()
    net.train()
    return out


def trained(net: nn.Module, average: Average) -> State:
    """The averaged weights with spectral norm folded; without averaging, bit for bit."""
    end = copy.deepcopy(net)
    end.load_state_dict(average.shadow)
    return plain_state(end, refresh=REFRESH if average.decay > 0 else 0)


def painted(one_hot: Tensor) -> Tensor:
    """A colour for each label: (n, classes, h, w) -> (n, 3, h, w) in [-1, 1]."""
    hue = one_hot.argmax(1, keepdim=True) * 0.618  # the golden ratio: neighbours differ
    thirds = torch.arange(3, device=one_hot.device).view(3, 1, 1) / 3
    return (2 * math.pi * (hue + thirds)).cos()
