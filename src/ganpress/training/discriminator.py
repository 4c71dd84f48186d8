"""A critic: a discriminator with its adversarial objective, as the loops use it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ganpress.data import Batch
from ganpress.errors import ConfigError
from ganpress.losses.terms import hinge_d, hinge_g, logistic_d, logistic_g, lsgan_d, lsgan_g
from ganpress.models.checkpoint import Discriminator
from ganpress.nn.discriminators import PatchDiscriminator
from ganpress.run.slim import CriticSettings
from ganpress.types import Inputs

Objective = tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]
OBJECTIVES: dict[str, Objective] = {
    "patch": (lsgan_d, lsgan_g),
    "munit": (lsgan_d, lsgan_g),
    "spade": (hinge_d, hinge_g),
    "sngan": (hinge_d, hinge_g),
    "stylegan2": (logistic_d, logistic_g),
}
"""What discriminator and generator minimise, by the discriminator's kind. (pix2pix's cross-entropy
is least squares here; StyleGAN2's gradient penalty is left out, the game being short.)"""


class Critic(nn.Module):
    """A fresh PatchGAN under the least-squares loss, or a teacher's own discriminator.

    GAN Slimming's code averages a PatchGAN's logits to one scalar per image before the loss
    (``pooled=True``, its default); CycleGAN's keeps one per patch. A conditional discriminator also
    reads what the generator read: the photo (pix2pix), the semantics (SPADE), the class (SNGAN).
    """

    def __init__(
        self,
        *,
        width: int = 64,
        layers: int = 3,
        pooled: bool = True,
        held: Discriminator | None = None,
        reads: tuple[str, ...] = ("image",),
        fixed: bool = False,
        half: bool = False,
    ) -> None:
        """Args:
        held: the teacher's discriminator, which is copied; None: a fresh PatchGAN.
        reads: names of the generator's inputs.
        fixed: it is never trained; the student is to be judged as the teacher is.
        half: bfloat16 where autocast has it; logits and losses stay float32.
        """
        super().__init__()
        self.kind = held.kind if held else "patch"
        self.pooled, self.fixed, self.half_precision = pooled, fixed, half
        if held is not None:
            self.net = copy.deepcopy(held.net).requires_grad_(not fixed).train(not fixed)
        else:
            self.net = PatchDiscriminator(3, width, layers, norm="instance-affine")
            for module in self.net.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.normal_(module.weight, 0.0, 0.02)
        options = dict(held.options) if held else {}
        self.at = _place(self.kind, options, reads)
        self.extra_channels = _extra(self.kind, options)
        crowd = (nn.BatchNorm2d,)  # statistics over the batch: real and made ones go apart
        self.judges_alone = self.kind != "stylegan2" and not any(
            isinstance(m, crowd) for m in self.net.modules()
        )

    @property
    def is_conditional(self) -> bool:
        """Whether it reads something beside the picture."""
        return self.at is not None

    def train(self, mode: bool = True) -> Critic:
        """As of any module; a fixed one stays in eval mode."""
        return super().train(mode and not self.fixed)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """(n, 3, h, w) -> logits: (n,) or (n, 1, h', w') of a PatchGAN, else (n, k): the logits of
        all scales side by side, each scale weighing as much as another in a mean.

        Args: seen: what a conditional one reads beside the picture.
        """
        return _together(self.logits(x, seen))

    def logits(self, x: Tensor, seen: Tensor | None = None) -> list[Tensor]:
        """The raw logits of each scale, float32."""
        device = x.device.type
        with (
            _norms_once(self.net),
            torch.autocast(device, dtype=torch.bfloat16, enabled=self.half_precision),
        ):
            if seen is None:
                found = self.net(x)
            elif seen.ndim == 4:
                found = self.net(torch.cat([seen, x], 1))
            else:
                found = self.net(x, seen)
        scales = found if isinstance(found, list) else [found]
        scales = [(s[-1] if isinstance(s, list) else s).float() for s in scales]
        if self.kind == "patch" and self.pooled:
            scales = [s.mean((1, 2, 3)) for s in scales]
        return scales

    def condition(self, inputs: Inputs) -> Tensor | None:
        """What a conditional critic reads of the generator's inputs; None for another."""
        return None if self.at is None else inputs[self.at]

    def real_condition(self, batch: Batch, inputs: Inputs) -> Tensor | None:
        """The same for real images: their own class, or what the generator read of them."""
        if self.kind != "sngan" or self.at is None:
            return self.condition(inputs)
        if batch.classes is None:
            raise ConfigError(
                "This discriminator reads classes, which the images do not have: give a pack "
                "(.npz) with 'labels', or set critic.real=teacher."
            )
        return F.one_hot(batch.classes, inputs[self.at].shape[1]).float()

    def d_loss(
        self,
        real: Tensor,
        fake: Tensor,
        *,
        of_real: Tensor | None = None,
        of_fake: Tensor | None = None,
    ) -> Tensor:
        """What the discriminator minimises; ``fake`` is detached.

        In one pass over both halves where every picture is judged by itself (instance statistics
        are of each image, so one pass equals two). Args: of_real, of_fake: their conditions.
        """
        if self.judges_alone:
            seen = None
            if of_real is not None and of_fake is not None:
                seen = torch.cat([of_real, of_fake])
            both = [s.chunk(2) for s in self.logits(torch.cat([real, fake.detach()]), seen)]
            pairs = [(a, b) for a, b in both]
        else:
            sides = self.logits(real, of_real), self.logits(fake.detach(), of_fake)
            pairs = list(zip(*sides, strict=True))
        loss, _ = OBJECTIVES[self.kind]
        return torch.stack([loss(a, b) for a, b in pairs]).mean()

    def g_loss(
        self, fake: Tensor, target: Tensor | None = None, seen: Tensor | None = None
    ) -> Tensor:
        """What the generator minimises.

        Args:
            target: the teacher's picture: under a fixed critic the loss is the mean squared
                difference of its logits (CEC's discriminator-aware loss).
            seen: the condition of both.
        """
        made = self.logits(fake, seen)
        if self.fixed and target is not None:
            with torch.no_grad():
                wanted = self.logits(target, seen)
            terms = [F.mse_loss(a, b) for a, b in zip(made, wanted, strict=True)]
        else:
            terms = [OBJECTIVES[self.kind][1](s) for s in made]
        return torch.stack(terms).mean()


def _together(scales: list[Tensor]) -> Tensor:
    if len(scales) == 1:
        return scales[0]
    return torch.stack([s.flatten(1).mean(1) for s in scales], 1)


def _place(kind: str, options: dict[str, Any], reads: tuple[str, ...]) -> int | None:
    """Which of the generator's inputs a discriminator reads beside the picture; None: none."""
    name = None
    if kind == "patch" and options.get("inputs", 3) == 6:
        name = "image"
    elif kind == "spade":
        name = "semantics"
    elif kind == "sngan" and options.get("classes"):
        name = "y"
    if name is None:
        return None
    if name not in reads:
        raise ConfigError(
            f"The teacher's discriminator reads '{name}', which its generator does not: "
            "--set critic.start=fresh."
        )
    return reads.index(name)


def _extra(kind: str, options: dict[str, Any]) -> int:
    """Channels or classes that a discriminator reads beside the picture."""
    return int(options.get("classes", 0) if kind == "sngan" else options.get("inputs", 3) - 3)


@contextmanager
def _norms_once(net: nn.Module) -> Iterator[None]:
    """Within, each spectral norm is worked out once, in float32 whatever autocast is on."""
    with parametrize.cached():
        for layer in net.modules():
            if parametrize.is_parametrized(layer, "weight"):
                _ = layer.weight
        yield


def critic_of(
    settings: CriticSettings,
    held: Discriminator | None,
    reads: tuple[str, ...],
    *,
    half: bool = False,
) -> Critic:
    """The critic that a game starts from; a fresh one is drawn from torch's global state.

    Args: held: the discriminator saved with the teacher. reads: names of the generator's inputs.
    Raises: ConfigError for a fixed critic without the teacher's.
    """
    held = held if settings.start == "teacher" else None
    if settings.fixed and held is None:
        raise ConfigError(
            "critic.fixed needs the discriminator that the teacher was trained against, and "
            "there is none"
            + (" (critic.start is 'fresh')" if settings.start == "fresh" else " in its file")
            + ": import or train the teacher with it, or set critic.fixed=false."
        )
    shape = settings.model_dump(include={"width", "layers", "pooled"})
    return Critic(**shape, held=held, reads=reads, fixed=settings.fixed, half=half)


def check_size(critic: Critic, side: int) -> None:
    """Refuse pictures that a teacher's discriminator cannot read: ConfigError.

    Args: side: the smallest height and width in pixels that it will be shown.
    """
    ghost = copy.deepcopy(critic.net).to("meta").eval()
    extra = critic.extra_channels
    seen = () if critic.kind != "sngan" or not extra else (torch.zeros(2, extra, device="meta"),)
    channels = 3 + (extra if critic.kind != "sngan" else 0)
    try:
        with torch.no_grad():
            ghost(torch.zeros(2, channels, side, side, device="meta"), *seen)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"The teacher's discriminator ('{critic.kind}') cannot judge pictures of {side} "
            f"pixels ({error}): enlarge the crop, or --set critic.start=fresh."
        ) from error


def real_pictures(batch: Batch, target: Tensor, source: str) -> Tensor:
    """What a discriminator is told is real, (n, 3, h, w): the teacher's pictures, or images (the
    targets where there are any).

    Args: source: "teacher" or "images" (`CriticSettings.real`).
    """
    if source == "teacher":
        return target
    return batch.x if batch.y is None else batch.y


class Pool:
    """CycleGAN's history of generated images (Shrivastava et al.): half of each batch shown to the
    discriminator are older ones; size 0: none. State is saved with the run; choices come from
    torch's seed."""

    def __init__(self, size: int = 50) -> None:
        self.size, self.images = size, list[Tensor]()

    def __call__(self, fake: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, 3, h, w), some of them replaced by older ones."""
        if self.size == 0:
            return fake.detach()
        out = []
        for image in fake.detach():
            if len(self.images) < self.size:
                self.images.append(image.clone())
                out.append(image)
                continue
            draw = torch.rand(2)
            if draw[0] < 0.5:
                out.append(image)
                continue
            at = int(draw[1] * self.size)
            out.append(self.images[at].to(image.device))  # from the CPU after a resume
            self.images[at] = image.clone()
        return torch.stack(out)

    def state_dict(self) -> dict[str, list[Tensor]]:
        """The images held."""
        return {"images": self.images}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        """Take up the images held at the time of saving."""
        self.images = list(state["images"])
