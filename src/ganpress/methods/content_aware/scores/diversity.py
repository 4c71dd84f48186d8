"""Diversity-aware scores (DCP-GAN, CVPR 2024): channels that answer some latent directions more
than others are what makes pictures differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganpress.methods.content_aware.scores.drawn import DIRECTIONS, Drawn
from ganpress.methods.content_aware.scores.gradients import mean_gradients, scoring, zeros
from ganpress.methods.content_aware.scores.readers import Rgb, readers
from ganpress.models.components import principal_components
from ganpress.models.spaces import LatentCode, code_dim
from ganpress.types import Inputs, Scores


@dataclass(frozen=True)
class Directions:
    """Principal components of a latent: (d, d) unit rows, and the share of the variance of each,
    (d,), which is the probability that it is drawn with."""

    vectors: Tensor
    shares: Tensor

    def draw(self, count: int, draw: torch.Generator) -> Tensor:
        """``count`` of the directions, (count, d), each drawn anew."""
        return self.vectors[torch.multinomial(self.shares, count, True, generator=draw)]


@torch.no_grad()
def principal_directions(
    net: nn.Module, latent: LatentCode, *, latents: int = 10_000, draw: torch.Generator
) -> Directions:
    """The principal components of ``latents`` draws of the latent, of unit length; the largest
    number of each is positive. What a generator draws is standard normal, so that those of z and
    of a style code are any directions, while w has some that say more than others."""
    like = next(net.parameters())
    code = torch.randn(latents, code_dim(net), generator=draw).to(like)
    found = latent.of((code,) * (latent.at + 1)).cpu()
    parts = principal_components(found, found.shape[1])
    return Directions(parts.vectors.to(like), parts.ratios)


def diversity(
    net: nn.Module,
    latent: LatentCode,
    drawn: Drawn,
    *,
    directions: Callable[[], Tensor],
    shift: float = 5.0,
    detached: bool = False,
    rgb: Rgb = "last",
) -> Scores:
    """The diversity-aware score: how unevenly a channel's readers answer latent directions.

    Per batch and direction d, L = sum of |G(w) - G(w + shift d)| at the same noise, and g_d the
    mean over (out, kh, kw) of |dL / dW[:, c]|. The score is the sum of (g_d - mean of g)^2 over the
    batch's directions, then over batches and, of several readers, taken of their sum.

    Args:
        directions: draws a batch's directions, (k, d) of unit length.
        detached: no gradient flows through the shifted picture (the paper's text; the authors'
            code, which means to, freezes nothing).
    Returns: group -> (width,).
    """
    read, total = readers(net, rgb), zeros(net)
    with scoring(net, read) as weights:
        for inputs, _ in drawn.batches():
            with torch.no_grad():
                code = latent.of(inputs)
            pictures, chosen = latent.run(code, inputs), directions().to(code)
            answers = [
                mean_gradients(
                    _difference(latent, code + shift * direction, inputs, pictures, detached),
                    weights, read, again=k + 1 < len(chosen),
                )
                for k, direction in enumerate(chosen)
            ]  # fmt: skip
            for group in read:
                g = torch.stack([answer[group] for answer in answers])
                total[group] = total[group] + (g - g.mean(0)).square().sum(0)
    return total


def drawn_directions(
    net: nn.Module, latent: LatentCode, drawn: Drawn, *, count: int = 10, latents: int = 10_000
) -> Callable[[], Tensor]:
    """What draws ``count`` principal directions for each batch, as a function of the seed."""
    draw = drawn.generator(DIRECTIONS)
    found = principal_directions(net, latent, latents=latents, draw=draw)
    return lambda: found.draw(count, draw)


def _difference(
    latent: LatentCode, code: Tensor, inputs: Inputs, pictures: Tensor, detached: bool
) -> Tensor:
    """Sum of the absolute differences from the picture of another code, scalar."""
    with torch.set_grad_enabled(not detached):
        edited = latent.run(code, inputs)
    return (edited - pictures).abs().sum()
