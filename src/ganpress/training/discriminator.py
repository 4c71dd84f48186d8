"""A discriminator with its adversarial losses, as the loops of compression use it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.data import Batch
from ganpress.errors import ConfigError
from ganpress.losses.terms import hinge_d, hinge_g, logistic_d, logistic_g, lsgan_d, lsgan_g, r1
from ganpress.models.checkpoint import Model
from ganpress.models.discriminator import Discriminator
from ganpress.models.inputs import channels_of
from ganpress.nn.discriminators import PatchDiscriminator, build_discriminator
from ganpress.training.kit import float32_norms
from ganpress.training.shared_settings import DiscriminatorSettings
from ganpress.types import Inputs

Objective = tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]
LOSSES: dict[str, Objective] = {
    "cross-entropy": (lambda real, fake: 0.5 * logistic_d(real, fake), logistic_g),
    "least-squares": (lsgan_d, lsgan_g),
    "hinge": (hinge_d, hinge_g),
    "logistic": (logistic_d, logistic_g),
}
"""What discriminator and generator minimise, by the objective on the discriminator's card:
pix2pix's cross-entropy, whose discriminator has half of the loss (Isola et al., section 3.3);
CycleGAN's least squares; the hinge loss of SNGAN and SPADE; StyleGAN2's logistic loss, to which R1
is added (`DiscriminatorWithLoss.penalty`)."""


class DiscriminatorWithLoss(nn.Module):
    """A discriminator and what it and the generator minimise: a teacher's own, under the objective
    that its card names, or a fresh PatchGAN under least squares.

    GAN Slimming's code averages a fresh PatchGAN's logits to one scalar per image before the loss
    (``pooled=True``, its default); CycleGAN's keeps one per patch, as a teacher's own does unless
    its card says otherwise. A conditional discriminator also reads what the generator read: the
    photo (pix2pix), the semantics (SPADE), the class (SNGAN).
    """

    def __init__(
        self,
        *,
        width: int = 64,
        layers: int = 3,
        pooled: bool = True,
        own: Discriminator | None = None,
        reads: tuple[str, ...] = ("image",),
        channels: tuple[int, int] = (3, 3),
        fixed: bool = False,
        half: bool = False,
    ) -> None:
        """Args:
        width, layers, pooled: of a fresh PatchGAN; a teacher's own has them on its card.
        own: the teacher's discriminator, which is copied; None: a fresh PatchGAN.
        reads: names of the generator's inputs.
        channels: of the picture that the generator reads, and of what it makes.
        fixed: it is never trained; the loss compares its logits of the student's and the
                teacher's pictures.
        half: bfloat16 where autocast has it; logits and losses stay float32.
        """
        super().__init__()
        self.fixed, self.half_precision = fixed, half
        if own is not None:
            self.net = copy.deepcopy(own.net).requires_grad_(not fixed).train(not fixed)
        else:
            own = _fresh(channels[1], width, layers, pooled)
            self.net = own.net
        self.kind, options = own.kind, own.options
        self.objective, self.pooled = own.objective, own.pooled
        self.r1, self.r1_every = own.r1, own.r1_every
        self.made_channels = channels[1]
        self.extra_channels = _extra(self.kind, options, channels)
        self.at = _place(self.kind, self.extra_channels, reads)
        batch_statistics = (nn.BatchNorm2d,)  # real and generated pictures go through separately
        self.is_per_image = self.kind != "stylegan2" and not any(
            isinstance(m, batch_statistics) for m in self.net.modules()
        )

    @property
    def is_conditional(self) -> bool:
        """Whether it reads a condition beside the picture."""
        return self.at is not None

    def train(self, mode: bool = True) -> DiscriminatorWithLoss:
        """As of any module; a fixed one stays in eval mode."""
        return super().train(mode and not self.fixed)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """(n, c, h, w) -> logits: (n,) or (n, 1, h', w') of a PatchGAN, else (n, k): the logits of
        all scales side by side, each scale weighing as much as another in a mean.

        Args: seen: what a conditional one reads beside the picture.
        """
        return _together(self.logits(x, seen))

    def logits(
        self, x: Tensor, seen: Tensor | None = None, *, half: bool | None = None
    ) -> list[Tensor]:
        """The raw logits of each scale, float32. Args: half: in place of `half_precision`."""
        device, half = x.device.type, self.half_precision if half is None else half
        with (
            float32_norms(self.net),
            torch.autocast(device, dtype=torch.bfloat16, enabled=half),
        ):
            if seen is None:
                found = self.net(x)
            elif seen.ndim == 4:
                found = self.net(torch.cat([seen, x], 1))
            else:
                found = self.net(x, seen)
        scales = found if isinstance(found, list) else [found]
        scales = [(s[-1] if isinstance(s, list) else s).float() for s in scales]
        if self.pooled:
            scales = [s.flatten(1).mean(1) for s in scales]
        return scales

    def condition(self, inputs: Inputs) -> Tensor | None:
        """The generator's input that a conditional discriminator reads; None for others."""
        return None if self.at is None else inputs[self.at]

    def real_condition(self, batch: Batch, inputs: Inputs) -> Tensor | None:
        """The same for real images: their own class, or what the generator read of them."""
        if self.kind != "sngan" or self.at is None:
            return self.condition(inputs)
        if batch.classes is None:
            raise ConfigError(
                "This discriminator reads classes, which the images do not have: give a pack "
                "(.npz) with 'labels', or set discriminator.real=teacher."
            )
        return F.one_hot(batch.classes, inputs[self.at].shape[1]).float()

    def real_side(
        self, batch: Batch, inputs: Inputs, target: Tensor, source: str
    ) -> tuple[Tensor, Tensor | None]:
        """The pictures that the discriminator takes as real, (n, c, h, w), and their condition.

        Args:
            target: the teacher's pictures. source: "teacher": those are real; "images": the batch's
                targets where it has any, or else its images (`DiscriminatorSettings.real`).
        """
        if source == "teacher":
            return target, self.condition(inputs)
        return batch.x if batch.y is None else batch.y, self.real_condition(batch, inputs)

    def d_loss(
        self,
        real: Tensor,
        fake: Tensor,
        *,
        of_real: Tensor | None = None,
        of_fake: Tensor | None = None,
    ) -> Tensor:
        """What the discriminator minimises; ``fake`` is detached.

        In one pass over both halves where the logits of an image do not depend on the rest of the
        batch (no BatchNorm, no minibatch statistics), so that one pass equals two.

        Args: of_real, of_fake: the conditions of the pictures.
        """
        if self.is_per_image:
            seen = None
            if of_real is not None and of_fake is not None:
                seen = torch.cat([of_real, of_fake])
            both = [s.chunk(2) for s in self.logits(torch.cat([real, fake.detach()]), seen)]
            pairs = [(a, b) for a, b in both]
        else:
            sides = self.logits(real, of_real), self.logits(fake.detach(), of_fake)
            pairs = list(zip(*sides, strict=True))
        loss, _ = LOSSES[self.objective]
        return torch.stack([loss(a, b) for a, b in pairs]).mean()

    def is_penalised(self, step: int) -> bool:
        """Whether R1 is due in this step: where its card has a weight, every `r1_every` steps."""
        return self.r1 > 0 and step % self.r1_every == 0

    def penalty(self, real: Tensor, of_real: Tensor | None = None) -> Tensor:
        """Lazy R1, r1 / 2 * r1_every * mean |d D(x) / dx|^2 on real pictures (Mescheder et al.
        2018, eq. 9; StyleGAN2, section 3.1); due where `is_penalised`. In float32, as the teachers'
        training has it."""
        x = real.detach().requires_grad_(True)
        logits = torch.cat([s.flatten(1) for s in self.logits(x, of_real, half=False)], 1)
        return self.r1 / 2 * self.r1_every * r1(logits, x)

    def g_loss(
        self, fake: Tensor, target: Tensor | None = None, seen: Tensor | None = None
    ) -> Tensor:
        """What the generator minimises.

        Args:
            target: the teacher's picture: under a fixed discriminator the loss is the mean squared
                difference of its logits (CEC's discriminator-aware loss).
            seen: the condition of both.
        """
        made = self.logits(fake, seen)
        if self.fixed and target is not None:
            with torch.no_grad():
                wanted = self.logits(target, seen)
            terms = [F.mse_loss(a, b) for a, b in zip(made, wanted, strict=True)]
        else:
            terms = [LOSSES[self.objective][1](s) for s in made]
        return torch.stack(terms).mean()


def _fresh(inputs: int, width: int, layers: int, pooled: bool) -> Discriminator:
    """A new PatchGAN under least squares, initialised as CycleGAN's."""
    net = PatchDiscriminator(inputs, width, layers, norm="instance-affine")
    _renewed(net)
    return Discriminator(net, "patch", {"inputs": inputs}, objective="least-squares", pooled=pooled)


def _renewed(net: nn.Module) -> nn.Module:
    """New weights of convolutions, in place: as `_fresh`'s."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
    return net


def _together(scales: list[Tensor]) -> Tensor:
    if len(scales) == 1:
        return scales[0]
    return torch.stack([s.flatten(1).mean(1) for s in scales], 1)


CONDITIONS = {"patch": "image", "spade": "semantics", "sngan": "y"}
"""The generator's input that a kind of discriminator reads beside the picture, if it reads any."""


def _place(kind: str, extra: int, reads: tuple[str, ...]) -> int | None:
    """Which of the generator's inputs a discriminator reads beside the picture; None: none."""
    if not extra:
        return None
    name = CONDITIONS[kind]
    if name not in reads:
        raise ConfigError(
            f"The teacher's discriminator reads '{name}', which its generator does not: "
            "--set discriminator.start=fresh."
        )
    return reads.index(name)


def _extra(kind: str, options: dict[str, Any], channels: tuple[int, int]) -> int:
    """Channels or classes that a discriminator reads beside the picture. Raises: ConfigError where
    it does not read the pictures of a generator that reads and makes these ``channels``."""
    seen, made = channels
    more = int(options.get("inputs", 3)) - made
    fits = more > 0 if kind == "spade" else more in ((0, seen) if kind == "patch" else (0,))
    if not fits:
        raise ConfigError(
            f"The teacher's discriminator ('{kind}') reads {more + made} channels, and its "
            f"generator's pictures have {made}: --set discriminator.start=fresh."
        )
    return int(options.get("classes", 0)) if kind == "sngan" else more


def starting_discriminator(
    settings: DiscriminatorSettings,
    own: Discriminator | None,
    reads: tuple[str, ...],
    channels: tuple[int, int] = (3, 3),
    *,
    half: bool = False,
) -> DiscriminatorWithLoss:
    """The discriminator that compression starts from; a fresh one is initialised from torch's
    global state.

    Args: own: the discriminator saved with the teacher. reads: names of the generator's inputs.
        channels: of the picture that it reads, and of what it makes.
    Raises: ConfigError for a fixed discriminator without the teacher's.
    """
    own = None if settings.start == "fresh" else own
    if own is not None and settings.start == "reset":
        own = replace(own, net=_renewed(build_discriminator(own.kind, **own.options)))
    if settings.fixed and (own is None or settings.start == "reset"):
        raise ConfigError(
            "discriminator.fixed needs the discriminator that the teacher was trained against, "
            "and there is none"
            + (
                " in its file"
                if settings.start == "teacher"
                else f" (discriminator.start is '{settings.start}')"
            )
            + ": import or train the teacher with it, or set discriminator.fixed=false."
        )
    shape = settings.model_dump(include={"width", "layers", "pooled"})
    return DiscriminatorWithLoss(
        **shape, own=own, reads=reads, channels=channels, fixed=settings.fixed, half=half
    )


R1, R1_EVERY = 10.0, 16  # StyleGAN2's penalty (Karras et al. 2020)


def family_discriminator(teacher: Model) -> Discriminator | None:
    """A fresh discriminator as StyleGAN2's or SNGAN's papers train theirs against, for pictures of
    this generator, initialised from torch's global state; None of families trained against a
    PatchGAN or on pairs."""
    options, made = teacher.options, channels_of(teacher)[1]
    if teacher.family.name == "stylegan2":
        full = teacher.family.full(options)
        widths = [full[group] for group in full if group.startswith("conv")]
        built = {"size": teacher.size, "channels": widths, "inputs": made}
        net = build_discriminator("stylegan2", **built)
        return Discriminator(net, "stylegan2", built, r1=R1, r1_every=R1_EVERY)
    if teacher.family.name == "sngan":
        built = {"inputs": made, "classes": int(options["classes"])}
        return Discriminator(build_discriminator("sngan", **built), "sngan", built)
    return None


def check_size(discriminator: DiscriminatorWithLoss, side: int) -> None:
    """Refuse pictures that a teacher's discriminator cannot read: ConfigError.

    Args: side: the smallest height and width in pixels that it will be shown.
    """
    ghost = copy.deepcopy(discriminator.net).to("meta").eval()
    extra = discriminator.extra_channels
    seen = (
        ()
        if discriminator.kind != "sngan" or not extra
        else (torch.zeros(2, extra, device="meta"),)
    )
    channels = discriminator.made_channels + (extra if discriminator.kind != "sngan" else 0)
    try:
        with torch.no_grad():
            ghost(torch.zeros(2, channels, side, side, device="meta"), *seen)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"The teacher's discriminator ('{discriminator.kind}') cannot read pictures of {side} "
            f"pixels ({error})."
        ) from error
