"""What the training of a StyleGAN2 has of its own, of a teacher's as of a student's: mixed styles,
the path length penalty, and Adam where penalties have steps of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganpress.losses import terms as losses
from ganpress.models.families.stylegan2 import StyleGAN2
from ganpress.run import distributed


def lazy_ratio(weight: float, every: int) -> float:
    """k / (k + 1) for a penalty that is due every k steps, by which Adam's rate and the exponents
    of its betas are multiplied (Karras et al. 2020, appendix B); 1 without it."""
    return every / (every + 1) if weight > 0 else 1.0


@dataclass(frozen=True)
class RandomInputs:
    """This process's rows of the random inputs of one step: ``z`` for the layers before
    ``crossover``, ``z2`` for those from it on, and noise maps."""

    z: Tensor
    z2: Tensor
    crossover: int
    noise: tuple[Tensor, ...]

    def parts(self, count: int) -> Iterator[RandomInputs]:
        """Equal parts, in order, as `Batch.parts`."""
        pieces = [t.chunk(count) for t in (self.z, self.z2, *self.noise)]
        for z, z2, *noise in zip(*pieces, strict=True):
            yield RandomInputs(z, z2, self.crossover, tuple(noise))

    def styles(self, net: StyleGAN2) -> Tensor:
        """W+, (n, styles, dim)."""
        if self.crossover >= net.styles:
            return net.mapping(self.z)[:, None].expand(-1, net.styles, -1)
        coarse, fine = net.mapping(torch.cat([self.z, self.z2])).chunk(2)
        return net.mix(coarse, fine, self.crossover)


def random_inputs(net: StyleGAN2, mixing: float, n: int) -> RandomInputs:
    """The random inputs of a step on ``n`` pictures over all processes, from torch's global
    generator.

    Args: mixing: probability that a batch mixes two styles (Karras et al. 2019, section 3.1).
    """
    z, z2 = torch.randn(2, n, net.style_dim).to(net.const.device)
    mixed = torch.rand(()) < mixing
    crossover = int(torch.randint(1, net.styles, ())) if mixed else net.styles
    share = distributed.share
    return RandomInputs(share(z), share(z2), crossover, tuple(share(m) for m in net.noise(n)))


class PathPenalty(nn.Module):
    """Mean squared deviation of path lengths from their running mean (eq. 4 of the paper)."""

    mean: Tensor

    def __init__(self, decay: float = 0.01) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, lengths: Tensor) -> Tensor:
        """(n,) -> a number; the mean follows those of all processes first."""
        with torch.no_grad():
            self.mean.lerp_(distributed.mean(lengths.mean()), self.decay)
        return (lengths - self.mean).square().mean()


def path_loss(net: StyleGAN2, path: PathPenalty, *, mixing: float, batch: int) -> Tensor:
    """The path length penalty on random inputs of its own: half of ``batch`` pictures, which is
    over all processes, but at least one for each of these."""
    n = max(1, batch // (2 * distributed.world())) * distributed.world()
    random = random_inputs(net, mixing, n)
    styles = random.styles(net)
    made = net.synthesis(styles, *random.noise)
    noise = torch.randn(n, *made.shape[1:], device=made.device)
    loss: Tensor = path(losses.path_lengths(made, styles, distributed.share(noise)))
    return loss
