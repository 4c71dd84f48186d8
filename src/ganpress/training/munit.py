"""Train MUNIT's two auto-encoders (Huang et al., ECCV 2018); a translator each way comes out."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ganpress.data import Images
from ganpress.errors import ConfigError
from ganpress.losses.terms import lsgan_d, lsgan_g
from ganpress.models.checkpoint import Model
from ganpress.models.discriminator import Discriminator
from ganpress.models.families.munit import MUNIT, MunitGenerator
from ganpress.run import distributed
from ganpress.run.grid import first_rows
from ganpress.run.proposals import Changes, fewer
from ganpress.run.run import Run
from ganpress.run.settings import Settings
from ganpress.training import kit
from ganpress.training.optimisers import adam
from ganpress.training.settings import TrainConfig
from ganpress.training.start import Start


class MunitWeights(Settings):
    """Weights of the generator's terms (Huang et al. 2018, eq. 5); the adversarial one has 1."""

    image: float = Field(
        default=10, ge=0, description="weight of L1 between a picture and its reconstruction"
    )
    style: float = Field(
        default=1,
        ge=0,
        description="weight of L1 between a random style code and its reconstruction",
    )
    content: float = Field(
        default=1, ge=0, description="weight of L1 between a content code and its reconstruction"
    )
    cycle: float = Field(
        default=0,
        ge=0,
        description="weight of the cycle-consistency L1; the authors take 10 for summer2winter",
    )


class MunitTraining(TrainConfig):
    """MUNIT (Huang et al., ECCV 2018): two auto-encoders, two discriminators."""

    renamed: ClassVar[Mapping[str, str]] = {
        "critic_width": "discriminator_width",
        "critic_layers": "discriminator_layers",
        "critic_scales": "discriminator_scales",
    }

    steps: int = Field(default=1_000_000, ge=1, description="training steps")
    lr: float = Field(default=1e-4, gt=0, description="learning rate of all networks (Adam)")
    weight_decay: float = Field(default=1e-4, ge=0, description="weight decay of all networks")
    halve_every: int = Field(
        default=100_000,
        ge=1,
        description="steps after which the learning rate is halved, again and again",
    )
    discriminator_width: int = Field(
        default=64, ge=1, description="channels of the discriminators' first layer"
    )
    discriminator_layers: int = Field(
        default=4, ge=1, description="strided convolutions of each discriminator"
    )
    discriminator_scales: int = Field(
        default=3,
        ge=1,
        description="scales of the discriminators, each half the size of the one before",
    )
    weights: MunitWeights = MunitWeights()

    @property
    def crop_step(self) -> int:
        """A factor of 2 for each of the encoder's halvings."""
        down = self.options.get("down", 2)
        return 2**down if isinstance(down, int) else 1  # other types are refused with the family

    @property
    def smallest_crop(self) -> int:
        """So that the smallest scale has a pixel left after its layers."""
        return int(2 ** (self.discriminator_layers + self.discriminator_scales - 1))

    def finer_steps(self) -> Iterator[Changes]:
        """Fewer halvings."""
        down = self.options.get("down", 2)
        return fewer("options.down", down) if isinstance(down, int) else iter(())

    def shallower(self) -> Iterator[Changes]:
        """Fewer scales, then fewer layers, then both."""
        scales, layers = self.discriminator_scales, self.discriminator_layers
        yield from fewer("discriminator_scales", scales)
        yield from fewer("discriminator_layers", layers)
        for one in fewer("discriminator_layers", layers):
            yield {"discriminator_scales": 1, **one}

    def too_small(self, smallest: int) -> str:
        """With the discriminators' layers and scales."""
        return (
            f"Discriminators of {self.discriminator_layers} layers at {self.discriminator_scales} "
            f"scales need pictures of at least {smallest} pixels (discriminator_layers, "
            "discriminator_scales)"
        )


Terms = dict[str, Tensor]


def train_munit(
    run: Run,
    images: Images,
    other: Images | None,
    config: MunitTraining,
    *,
    weights: Path | None = None,
    start: Start | None = None,
) -> dict[str, Model]:
    """Train on two unpaired domains, ``images`` (A) and ``other`` (B), in both directions at once.

    Each step trains the auto-encoders, then the discriminators on the same translations.

    Args: weights: not used; MUNIT needs no other network.
    Returns: {"A2B": ..., "B2A": ...}: the content encoder of one domain with the style encoder,
        MLP and decoder of the other, each with the discriminator of the domain it ends in.
    Raises: ConfigError without a second domain, or for networks without style encoders.
    """
    c, device = config, kit.device_of(config)
    if other is None:
        raise ConfigError("MUNIT translates between two sets of pictures: give the second, other.")
    run.seed_all("init")
    channels = kit.channels_of(MUNIT, c)  # of the domains A and B
    A, B = (kit.place(net, c, device) for net in _auto_encoders(c, channels, start))
    G = nn.ModuleDict({"A": A, "B": B})
    seen = {d: _discriminator_options(c, own) for d, own in zip("AB", channels, strict=True)}
    D = nn.ModuleDict()
    for way, end in (("B2A", "A"), ("A2B", "B")):
        net = kit.discriminator(run, "munit", seen[end], _initialised, start, way)
        D[end] = kit.place(net, c, device)
    decay, dim = c.weight_decay, A.style_dim
    opt_g = adam(G.parameters(), c.lr, betas=(0.5, 0.999), weight_decay=decay)
    opt_d = adam(D.parameters(), c.lr, betas=(0.5, 0.999), weight_decay=decay)
    average = kit.average_of(G, c, start)
    stage = run.stage("train")
    loop = stage.steps(
        c.steps, minutes=c.minutes, G=G, D=D, opt_g=opt_g, opt_d=opt_d, average=average
    )
    first = kit.batches(images, c, first=stage.first)
    second = kit.batches(other, c, first=stage.first, salt="other")
    for step in loop:
        for opt in (opt_g, opt_d):
            opt.param_groups[0]["lr"] = c.lr * 0.5 ** (step // c.halve_every)
        a, b = next(first).to(device).x, next(second).to(device).x
        s_a, s_b = (distributed.share(torch.randn(c.batch, dim)).to(device) for _ in "AB")

        # G step (eq. 5): reconstruct pictures, translate, and reconstruct the codes
        D.requires_grad_(False)
        opt_g.zero_grad(set_to_none=True)
        logs: list[Terms] = []
        fakes: list[tuple[Tensor, Tensor]] = []
        for part in _parts(c.accumulate, a, b, s_a, s_b):
            with kit.autocast(c):
                terms, fake_a, fake_b = _translate(A, B, D, *part, cycle=c.weights.cycle > 0)
                w = c.weights
                loss = (
                    terms["loss/gan"]
                    + w.image * terms["loss/image"]
                    + w.style * terms["loss/style"]
                    + w.content * terms["loss/content"]
                    + w.cycle * terms["loss/cycle"]
                )
            (loss / c.accumulate).backward()
            logs.append(terms)
            fakes.append((fake_a.detach(), fake_b.detach()))
        distributed.average_gradients(G)
        opt_g.step()
        average.update()

        # D step: the least-squares loss is not halved, as weight decay is weighed against it
        D.requires_grad_(True)
        opt_d.zero_grad(set_to_none=True)
        d_loss = a.new_zeros(())
        for (part_a, part_b), (fake_a, fake_b) in zip(
            _parts(c.accumulate, a, b), fakes, strict=True
        ):
            with kit.autocast(c):
                loss = 2 * (
                    _discriminator_loss(D["A"], part_a, fake_a)
                    + _discriminator_loss(D["B"], part_b, fake_b)
                )
            (loss / c.accumulate).backward()
            d_loss = d_loss + loss.detach() / c.accumulate
        distributed.average_gradients(D)
        opt_d.step()

        stage.log(step, **_mean(logs), **{"loss/d": d_loss, "lr": opt_g.param_groups[0]["lr"]})
        if step % c.sample_every == 0:
            fake_a, fake_b = (torch.cat(f) for f in zip(*fakes, strict=True))
            rows = first_rows(a, fake_b, b, fake_a)
            stage.images(step, "a-ab-b-ba", rows, columns=min(4, len(a)))
    G.load_state_dict(average.shadow)
    stage.finish()
    return {
        f"{i}2{o}": kit.model_of(
            _translator(G[i], G[o]),
            MUNIT,
            c,
            discriminator=Discriminator(D[o], "munit", seen[o], "least-squares"),
        )
        for i, o in ("AB", "BA")
    }


def _auto_encoders(
    config: MunitTraining, channels: tuple[int, int], start: Start | None
) -> tuple[MunitGenerator, MunitGenerator]:
    """Those of the domains A and B, whose pictures have these channels.

    Of a start's translator, the content encoder is that of the domain it reads, the rest of the one
    it makes (`_translator` the other way round); what no file holds is fresh, in the first one's
    widths.
    """
    A, B = (_auto_encoder(config, own, start) for own in channels)
    for way, source, target in (("A2B", A, B), ("B2A", B, A)):
        model = start.models.get(way) if start else None
        if model:
            net = copy.deepcopy(model.net).requires_grad_(True).train()
            assert isinstance(net, MunitGenerator)
            source.content = net.content
            target.style, target.mlp, target.decoder = net.style, net.mlp, net.decoder
    return A, B


def _auto_encoder(config: MunitTraining, channels: int, start: Start | None) -> MunitGenerator:
    """A fresh one of a domain whose pictures have these channels, in the widths of a start."""
    ends = {"in_channels": channels, "out_channels": channels}
    widths = start.models["A2B"].widths if start else None
    net = kit.scaled(MUNIT, config, widths, **ends)
    if not isinstance(net, MunitGenerator) or net.style is None:
        raise ConfigError(
            "MUNIT is trained with style encoders, and the file to start from has none."
            if start
            else "MUNIT is trained with style encoders: leave options.style_encoder true."
        )
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return net


def _discriminator_options(config: MunitTraining, channels: int) -> dict[str, int]:
    c = config
    return {
        "inputs": channels,
        "width": c.discriminator_width,
        "layers": c.discriminator_layers,
        "scales": c.discriminator_scales,
    }


def _initialised(net: nn.Module) -> nn.Module:
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return net


def _parts(count: int, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
    return list(zip(*(t.chunk(count) for t in tensors), strict=True))


def _translate(
    A: MunitGenerator,
    B: MunitGenerator,
    D: nn.ModuleDict,
    a: Tensor,
    b: Tensor,
    s_a: Tensor,
    s_b: Tensor,
    *,
    cycle: bool,
) -> tuple[Terms, Tensor, Tensor]:
    """The generator's terms, each summed over both domains, and the pictures A <- B and B <- A."""
    c_a, c_b = A.encode_content(a), B.encode_content(b)
    own_a, own_b = A.encode_style(a).flatten(1), B.encode_style(b).flatten(1)
    same_a, fake_a = A.decode(torch.cat([c_a, c_b]), torch.cat([own_a, s_a])).chunk(2)
    same_b, fake_b = B.decode(torch.cat([c_b, c_a]), torch.cat([own_b, s_b])).chunk(2)
    back_c_b, back_c_a = A.encode_content(fake_a), B.encode_content(fake_b)
    back_s_a, back_s_b = A.encode_style(fake_a).flatten(1), B.encode_style(fake_b).flatten(1)
    terms = {
        "loss/image": F.l1_loss(same_a, a) + F.l1_loss(same_b, b),
        "loss/style": F.l1_loss(back_s_a, s_a) + F.l1_loss(back_s_b, s_b),
        "loss/content": F.l1_loss(back_c_a, c_a) + F.l1_loss(back_c_b, c_b),
        "loss/gan": _generator_loss(D["A"], fake_a) + _generator_loss(D["B"], fake_b),
        "loss/cycle": a.new_zeros(()),
    }
    if cycle:
        there_a, there_b = A.decode(back_c_a, own_a), B.decode(back_c_b, own_b)
        terms["loss/cycle"] = F.l1_loss(there_a, a) + F.l1_loss(there_b, b)
    return terms, fake_a, fake_b


def _generator_loss(discriminator: nn.Module, fake: Tensor) -> Tensor:
    """The generator's least-squares loss, summed over the scales."""
    return torch.stack([lsgan_g(logits) for logits in discriminator(fake)]).sum()


def _discriminator_loss(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's least-squares loss, summed over the scales; one pass, as no statistics
    are shared."""
    halves = [logits.chunk(2) for logits in discriminator(torch.cat([real, fake]))]
    return torch.stack([lsgan_d(r, f) for r, f in halves]).sum()


def _mean(logs: list[Terms]) -> Terms:
    return {name: torch.stack([terms[name].detach() for terms in logs]).mean() for name in logs[0]}


def _translator(source: nn.Module, target: nn.Module) -> nn.Module:
    """The content encoder of one auto-encoder in a copy of the other."""
    net = copy.deepcopy(target)
    assert isinstance(source, MunitGenerator) and isinstance(net, MunitGenerator)
    net.content, net.in_channels = copy.deepcopy(source.content), source.in_channels
    return net
