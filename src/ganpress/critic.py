"""A critic: a discriminator with its adversarial objective, as the loops use it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganpress.losses import lsgan_d, lsgan_g
from ganpress.nn.discriminators import PatchDiscriminator


class Critic(nn.Module):
    """PatchGAN under the least-squares loss.

    GAN Slimming's code averages the logits to one scalar per image before the loss
    (``pooled=True``, its default); CycleGAN's keeps one per patch.
    """

    def __init__(self, *, width: int = 64, layers: int = 3, pooled: bool = True) -> None:
        super().__init__()
        self.net = PatchDiscriminator(3, width, layers, norm="instance-affine")
        self.pooled = pooled
        for module in self.net.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n,) or (n, 1, h', w') logits."""
        logits: Tensor = self.net(x)
        return logits.mean((1, 2, 3)) if self.pooled else logits

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the discriminator minimises, in one pass over both halves; ``fake`` is detached.

        Instance statistics are of each image, so one pass equals two.
        """
        a, b = self(torch.cat([real, fake.detach()])).chunk(2)
        return lsgan_d(a, b)

    def g_loss(self, fake: Tensor) -> Tensor:
        """What the generator minimises."""
        return lsgan_g(self(fake))


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
