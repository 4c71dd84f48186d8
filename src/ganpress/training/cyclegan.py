"""Train CycleGAN's two generators on two unpaired domains (Zhu et al., ICCV 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ganpress.data import Images
from ganpress.errors import ConfigError
from ganpress.losses.terms import lsgan_d, lsgan_g
from ganpress.models.checkpoint import Model
from ganpress.models.discriminator import Discriminator
from ganpress.models.families.cyclegan import CYCLEGAN, halvings_of
from ganpress.nn.init import learning, normal
from ganpress.run import distributed
from ganpress.run.grid import first_rows
from ganpress.run.progress import say
from ganpress.run.run import Run
from ganpress.training import kit
from ganpress.training.optimisers import adam
from ganpress.training.pool import Pool
from ganpress.training.settings import PatchTraining, TrainData
from ganpress.training.start import Start


class CycleGANTraining(PatchTraining):
    """CycleGAN (Zhu et al., ICCV 2017): 200 epochs of horse2zebra, one image a step."""

    renamed: ClassVar[Mapping[str, str]] = {"critic": "discriminator"}

    steps: int = Field(default=266_800, ge=1, description="training steps")
    lr: float = Field(
        default=2e-4,
        gt=0,
        description="learning rate of the generators (Adam, betas 0.5 and 0.999)",
    )
    decay_from: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="fraction of the training after which learning rates fall linearly to 0",
    )
    cycle: float = Field(
        default=10.0, ge=0, description="weight of the cycle-consistency L1 (lambda in eq. 3)"
    )
    identity: float = Field(
        default=0.5, ge=0, description="weight of the identity loss, as a multiple of cycle"
    )
    pool: int = Field(
        default=50, ge=0, description="generated images kept for the discriminators; 0: none"
    )
    data: TrainData = TrainData(load_size=286)

    @property
    def crop_step(self) -> int:
        """A factor of 2 for each halving."""
        return int(2 ** halvings_of(self.options))

    @property
    def smallest_crop(self) -> int:
        """Also of the generator: two pixels of its trunk."""
        return max(super().smallest_crop, 2 * self.crop_step)


Terms = dict[str, Tensor]


def train_cyclegan(
    run: Run,
    images: Images,
    other: Images | None,
    config: CycleGANTraining,
    *,
    weights: Path | None = None,
    start: Start | None = None,
) -> dict[str, Model]:
    """Train on two unpaired domains, ``images`` (A) and ``other`` (B): generators first,
    then discriminators.

    Under torchrun each process keeps its own history of generated images.

    Args: weights: not used; CycleGAN needs no other network.
    Returns: {"A2B": ..., "B2A": ...}, each with the discriminator of the domain it ends in.
    Raises: ConfigError without a second domain.
    """
    c, device = config, kit.device_of(config)
    if other is None:
        raise ConfigError("CycleGAN goes between two sets of pictures: give the second, other.")
    run.seed_all("init")
    patch: dict[str, Any] = c.discriminator.model_dump(exclude={"lr"})
    channels = dict(zip("AB", kit.channels_of(CYCLEGAN, c), strict=True))
    identity = _identity(run, c, channels)
    G, D = nn.ModuleDict(), nn.ModuleDict()
    for way in ("A2B", "B2A"):
        ends = {"in_channels": channels[way[0]], "out_channels": channels[way[-1]]}
        G[way] = kit.place(kit.generator(CYCLEGAN, c, normal, start, way, **ends), c, device)
        own = {"inputs": channels[way[-1]], **patch}
        net = kit.discriminator(run, "patch", own, normal, start, way)
        D[way[-1]] = kit.place(net, c, device)
    opt_g = adam(learning(G), c.lr, betas=(0.5, 0.999))
    opt_d = adam(learning(D), c.discriminator.lr, betas=(0.5, 0.999))
    average, pool_a, pool_b = kit.average_of(G, c, start), Pool(c.pool), Pool(c.pool)
    stage = run.stage("train")
    loop = stage.steps(
        c.steps, minutes=c.minutes, G=G, D=D, opt_g=opt_g, opt_d=opt_d, average=average,
        pool_a=pool_a, pool_b=pool_b,
    )  # fmt: skip
    first = kit.batches(images, c, first=stage.first)
    second = kit.batches(other, c, first=stage.first, salt="other")
    for step in loop:
        share = min(1.0, (1 - stage.progress) / (1 - c.decay_from))
        opt_g.param_groups[0]["lr"] = c.lr * share
        opt_d.param_groups[0]["lr"] = c.discriminator.lr * share
        a, b = next(first).to(device).x, next(second).to(device).x
        parts = list(zip(a.chunk(c.accumulate), b.chunk(c.accumulate), strict=True))

        # G step (eq. 3): both directions, there and back
        D.requires_grad_(False)
        opt_g.zero_grad(set_to_none=True)
        fakes: list[tuple[Tensor, Tensor]] = []
        logs: list[Terms] = []
        for x, y in parts:
            with kit.autocast(c):
                terms, fake_a, fake_b = _translate(G, D, x, y, identity=identity > 0)
                weight = {"gan": 1.0, "cycle": c.cycle, "identity": c.cycle * identity}
                loss = torch.stack([w * terms[f"loss/{n}"] for n, w in weight.items()]).sum()
            (loss / c.accumulate).backward()
            fakes.append((fake_a.detach(), fake_b.detach()))
            logs.append({name: term.detach() for name, term in terms.items()})
        distributed.average_gradients(G)
        opt_g.step()
        average.update()

        # D step: both discriminators, on pictures from the history
        D.requires_grad_(True)
        opt_d.zero_grad(set_to_none=True)
        d_loss = torch.zeros((), device=device)
        for (x, y), (fake_a, fake_b) in zip(parts, fakes, strict=True):
            with kit.autocast(c):
                logits = D["A"](x), D["A"](pool_a(fake_a)), D["B"](y), D["B"](pool_b(fake_b))
                real_a, made_a, real_b, made_b = (t.to(x.dtype) for t in logits)
                loss = (lsgan_d(real_a, made_a) + lsgan_d(real_b, made_b)) / c.accumulate
            loss.backward()
            d_loss += loss.detach()
        distributed.average_gradients(D)
        opt_d.step()

        means = {name: torch.stack([log[name] for log in logs]).mean() for name in logs[0]}
        stage.log(step, **means, **{"loss/d": d_loss}, lr=c.lr * share)
        if step % c.sample_every == 0:
            fake_a, fake_b = (torch.cat(column) for column in zip(*fakes, strict=True))
            shown = first_rows(a, fake_b, b, fake_a)
            stage.images(step, "samples", shown, columns=min(4, len(a)))
    G.load_state_dict(average.shadow)
    stage.finish()
    return {
        way: kit.model_of(
            net,
            CYCLEGAN,
            c,
            Discriminator(
                D[way[-1]], "patch", {"inputs": channels[way[-1]], **patch}, "least-squares"
            ),
        )
        for way, net in G.items()
    }


def _identity(run: Run, config: CycleGANTraining, channels: dict[str, int]) -> float:
    """The weight of the identity loss; 0, with a sentence, where a picture of one domain has other
    channels than the generator that ends there reads."""
    if config.identity == 0 or channels["A"] == channels["B"]:
        return config.identity
    say(
        f"The identity loss is left out: it gives a picture of {channels['B']} channels to a "
        f"generator that reads {channels['A']} (set identity=0 to leave this line out).",
        quiet=run.quiet or distributed.rank() > 0,
    )
    return 0.0


def _translate(
    G: nn.ModuleDict, D: nn.ModuleDict, a: Tensor, b: Tensor, *, identity: bool
) -> tuple[Terms, Tensor, Tensor]:
    """The generators' terms, both directions added, and the pictures made: of A, and of B."""
    fake_b, fake_a = G["A2B"](a).to(a.dtype), G["B2A"](b).to(a.dtype)
    gan_b, gan_a = (lsgan_g(D[to](fake).to(a.dtype)) for to, fake in (("B", fake_b), ("A", fake_a)))
    again_a, again_b = G["B2A"](fake_b).to(a.dtype), G["A2B"](fake_a).to(a.dtype)
    terms = {
        "loss/gan": gan_b + gan_a,
        "loss/cycle": F.l1_loss(again_a, a) + F.l1_loss(again_b, b),
        "loss/identity": torch.zeros_like(gan_a),
    }
    if identity:
        same_b, same_a = G["A2B"](b).to(a.dtype), G["B2A"](a).to(a.dtype)
        terms["loss/identity"] = F.l1_loss(same_b, b) + F.l1_loss(same_a, a)
    return terms, fake_a, fake_b
