"""Diversity-aware scores (DCP-GAN, CVPR 2024): channels that answer some latent directions more
than others are what makes pictures differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ganpress.methods.content_aware.scores.drawn import DIRECTIONS, Drawn
from ganpress.methods.content_aware.scores.gradients import mean_gradients, scoring, zeros
from ganpress.methods.content_aware.scores.readers import Rgb, readers
from ganpress.models.families.base import draw_inputs
from ganpress.models.inputs import reads
from ganpress.types import Inputs, Scores

CODES = ("z", "style")
"""Inputs that are random vectors: latents that a direction can be added to."""


@dataclass(frozen=True)
class Latent:
    """The vector that decides what a generator makes.

    Attributes:
        name: w, z, or the style code. at: the number of the input that it is, or is made of.
        of: inputs -> the latent, (n, d). run: (latent, inputs) -> pictures, with gradients.
    """

    name: str
    at: int
    of: Callable[[Inputs], Tensor]
    run: Callable[[Tensor, Inputs], Tensor]


def latent_of(net: nn.Module) -> Latent | None:
    """w of a network with a mapping, the random vector that it reads, or None."""
    at = next((k for k, name in enumerate(reads(net)) if name in CODES), None)
    if at is None:
        return None
    mapped: Any = net
    if hasattr(net, "mapping") and hasattr(net, "synthesis"):
        return Latent(
            "w", at, lambda inputs: mapped.mapping(inputs[at]),
            lambda w, inputs: mapped.synthesis(w, *inputs[:at], *inputs[at + 1 :]),
        )  # fmt: skip
    return Latent(
        reads(net)[at], at, lambda inputs: inputs[at],
        lambda code, inputs: net(*inputs[:at], code, *inputs[at + 1 :]),
    )  # fmt: skip


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
    net: nn.Module, latent: Latent, *, latents: int = 10_000, draw: torch.Generator
) -> Directions:
    """The principal components of ``latents`` draws of the latent, of unit length; the largest
    number of each is positive. What a generator draws is standard normal, so that those of z and
    of a style code are any directions, while w has some that say more than others."""
    like = next(net.parameters())
    width = draw_inputs(net, 1, 16, torch.Generator().manual_seed(0))[latent.at].shape[1]
    code = torch.randn(latents, width, generator=draw).to(like)
    found = latent.of((code,) * (latent.at + 1)).double().cpu()
    values, columns = torch.linalg.eigh(torch.cov(found.T).reshape(found.shape[1], -1))
    vectors = columns.T.flip(0)
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    shares = values.flip(0).clamp_min(0)
    return Directions((vectors * largest.sign()).to(like), (shares / shares.sum()).cpu())


def diversity(
    net: nn.Module,
    latent: Latent,
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
        for inputs in drawn.batches():
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
    net: nn.Module, latent: Latent, drawn: Drawn, *, count: int = 10, latents: int = 10_000
) -> Callable[[], Tensor]:
    """What draws ``count`` principal directions for each batch, as a function of the seed."""
    draw = drawn.generator(DIRECTIONS)
    found = principal_directions(net, latent, latents=latents, draw=draw)
    return lambda: found.draw(count, draw)


def _difference(
    latent: Latent, code: Tensor, inputs: Inputs, pictures: Tensor, detached: bool
) -> Tensor:
    """Sum of the absolute differences from the picture of another code, scalar."""
    with torch.set_grad_enabled(not detached):
        edited = latent.run(code, inputs)
    return (edited - pictures).abs().sum()
