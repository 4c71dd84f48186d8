"""Loss terms as pure functions, named by paper and equation. Weighted sums are in the loops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Maps = Mapping[str, Tensor]

_MIN_LENGTH = 1e-12  # L2 norm of a feature vector; the eps of F.normalize


def lsgan_d(real: Tensor, fake: Tensor) -> Tensor:
    """Least-squares GAN loss of the discriminator, halved: 1/2 [(D(x) - 1)^2 + D(G)^2]."""
    return 0.5 * (F.mse_loss(real, torch.ones_like(real)) + fake.square().mean())


def lsgan_g(fake: Tensor) -> Tensor:
    """Least-squares GAN loss of the generator: (D(G) - 1)^2."""
    return F.mse_loss(fake, torch.ones_like(fake))


def hinge_d(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the discriminator (SNGAN, SPADE): mean max(0, 1 - D(x)) + max(0, 1 + D(G))."""
    return (1 - real).relu().mean() + (1 + fake).relu().mean()


def hinge_g(fake: Tensor) -> Tensor:
    """Hinge loss of the generator: -mean D(G)."""
    return -fake.mean()


def logistic_d(real: Tensor, fake: Tensor) -> Tensor:
    """Logistic loss of the discriminator: softplus(-D(x)) + softplus(D(G)), means.

    StyleGAN2's, and the cross-entropy of pix2pix (which halves it) on logits.
    """
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def logistic_g(fake: Tensor) -> Tensor:
    """Non-saturating loss of the generator: mean softplus(-D(G))."""
    return F.softplus(-fake).mean()


def feature_matching(real: Iterable[Iterable[Tensor]], fake: Iterable[Iterable[Tensor]]) -> Tensor:
    """L1 between a multiscale discriminator's maps of the real and the made picture.

    pix2pixHD, eq. 4, as SPADE weighs it: summed over layers, averaged over scales.

    Args: real, fake: for each scale its maps; the real ones get no gradient.
    """
    scales = [
        torch.stack([F.l1_loss(b, a.detach()) for a, b in zip(*maps, strict=True)]).sum()
        for maps in zip(real, fake, strict=True)
    ]
    return torch.stack(scales).mean()


def r1(logits: Tensor, images: Tensor) -> Tensor:
    """Mean over the batch of |d sum(D(x)) / dx|^2 (Mescheder et al. 2018, eq. 9), differentiable.

    Args: logits: D(images), where ``images`` (n, c, h, w) has requires_grad.
    """
    [grad] = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return grad.square().flatten(1).sum(1).mean()


def path_lengths(images: Tensor, w: Tensor, noise: Tensor) -> Tensor:
    """StyleGAN2's |J_w^T y| of each picture (Karras et al. 2020, eq. 4), (n,), differentiable.

    Args:
        images: (n, c, h, w), made from ``w``.
        w: (n, layers, dim) with requires_grad; squares are summed over dim, averaged over layers.
        noise: standard normal, as ``images``; divided by sqrt(h w) here.
    """
    y = noise / (images.shape[2] * images.shape[3]) ** 0.5
    [grad] = torch.autograd.grad((images * y).sum(), w, create_graph=True)
    return grad.square().sum(2).mean(1).sqrt()


class _Gram(torch.autograd.Function):
    """A^T A / (p c) of (n, p, c) maps; the gradient takes one product, A (g + g^T), not two.

    Of half-precision maps the matrix is float32, products and sums included: the difference of two
    matrices is far smaller than they are, and a rounding of their entries to 8 bits would be most
    of it. The gradient, which is compared with nothing, stays in the maps' precision.
    """

    @staticmethod
    def forward(ctx: Any, flat: Tensor) -> Tensor:
        """Keeps the maps as they are."""
        ctx.save_for_backward(flat)
        wide = at_least_float32(flat)
        out: Tensor = (wide.transpose(1, 2) @ wide).div_(flat[0].numel())
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """d(A^T A) is symmetric."""
        (flat,) = ctx.saved_tensors
        both = (grads[0] + grads[0].transpose(1, 2)).div_(flat[0].numel())
        to: Tensor = flat @ both.to(flat.dtype)
        return to


def _places(features: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, h w, c); a view where the maps are channels_last."""
    return features.permute(0, 2, 3, 1).flatten(1, 2)


def at_least_float32(maps: Tensor) -> Tensor:
    """The maps as float32 or wider: half-precision differences would be mostly rounding."""
    return maps.float() if maps.dtype in (torch.bfloat16, torch.float16) else maps


def gram(features: Tensor) -> Tensor:
    """Gram matrix over space, divided by C H W: (n, c, h, w) -> (n, c, c), float32 or float64."""
    out: Tensor = _Gram.apply(_places(features))  # type: ignore[no-untyped-call]
    return out


def content(a: Tensor, b: Tensor) -> Tensor:
    """L1 between feature maps of one layer: the content half of GAN Slimming's d."""
    return F.l1_loss(a, b)


def style(a: Maps, b: Maps) -> Tensor:
    """Sum over layers of the squared difference of Gram matrices: the style half of d."""
    return torch.stack([_gram_difference(a[tap], b[tap]) for tap in b]).sum()


def _gram_difference(a: Tensor, b: Tensor) -> Tensor:
    """Mean over (n, c, c) of (gram(a) - gram(b))^2.

    Where there are many more channels c than places p, by |A^T A - B^T B|^2 = |A A^T|^2 +
    |B B^T|^2 - 2 |A B^T|^2, whose matrices are p x p.
    """
    n, c, h, w = a.shape
    if 2 * h * w > c:
        return F.mse_loss(gram(a), gram(b))
    x, y = (_places(at_least_float32(m)) / (c * h * w) ** 0.5 for m in (a, b))
    pairs = ((x, x), (y, y), (x, y))
    of_a, of_b, across = ((u @ v.transpose(1, 2)).square().sum() for u, v in pairs)
    out: Tensor = (of_a + of_b - 2 * across) / (n * c * c)
    return out


class _UnitDifference(torch.autograd.Function):
    """|a / |a| - b / |b||^2 over channels, (n, c, h, w) twice -> (n, h, w), by three dot products.

    Normalising both maps, as the formula is written, makes and keeps a dozen tensors of their size.
    Where a vector is 0 it stays 0 and gets no gradient, as after a ReLU it would not pass one on.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        """Exactly 0 where a and b are equal."""
        aa, bb, ab = (a * a).sum(1), (b * b).sum(1), (a * b).sum(1)
        norm_a, norm_b = (s.sqrt().clamp_min_(_MIN_LENGTH) for s in (aa, bb))
        ctx.save_for_backward(a, b, ab, norm_a, norm_b)
        both = ab / (norm_a * norm_b)
        out: Tensor = (aa / (norm_a * norm_a) + bb / (norm_b * norm_b) - 2 * both).clamp_min_(0)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """For a: along b, less its projection on a; for b the same with a and b exchanged."""
        a, b, ab, norm_a, norm_b = ctx.saved_tensors
        cross = -2 * grads[0] / (norm_a * norm_b)

        def to(x: Tensor, y: Tensor, norm: Tensor) -> Tensor:
            weight = torch.where(norm > _MIN_LENGTH, cross, 0)
            along = -weight * ab / (norm * norm)
            return torch.addcmul(along.unsqueeze(1) * x, weight.unsqueeze(1), y)

        wants_a, wants_b = ctx.needs_input_grad
        return to(a, b, norm_a) if wants_a else None, to(b, a, norm_b) if wants_b else None


def unit_distance(a: Maps, b: Maps) -> Tensor:
    """LPIPS's form without its learned weights: squared distance of unit-length features.

    Zhang et al., CVPR 2018, eq. 1 with w_l = 1: each pixel's feature vector is normalised over
    channels; squared differences are summed over channels, averaged over space, summed over
    layers.

    Args:
        a, b: maps by layer, (n, c, h, w) each.
    Returns: (n,), 0 for equal images; each layer adds at most 4.
    """
    per_layer = []
    for tap in b:
        distance: Tensor = _UnitDifference.apply(a[tap], b[tap])  # type: ignore[no-untyped-call]
        per_layer.append(distance.mean((1, 2)))
    return torch.stack(per_layer).sum(0)


def learned_unit_distance(a: Maps, b: Maps, weights: Sequence[Tensor]) -> Tensor:
    """LPIPS's form with its learned weights: Zhang et al., CVPR 2018, eq. 1.

    As `unit_distance`, but each channel's squared difference is multiplied by its weight. It is
    LPIPS or ST-LPIPS only on the network and with the weights published under that name.

    Args:
        a, b: maps by layer, (n, c, h, w) each.
        weights: of each layer's channels, c numbers in any shape, >= 0.
    Returns: (n,), 0 for equal images.
    """
    per_layer = []
    for tap, weight in zip(b, weights, strict=True):
        x, y = (F.normalize(maps[tap], dim=1) for maps in (a, b))
        scale = weight.to(x).view(1, -1, 1, 1)
        per_layer.append(((x - y).square() * scale).sum(1).mean((1, 2)))
    return torch.stack(per_layer).sum(0)


def group_soft_threshold(scales: Iterable[Tensor], amount: float) -> list[Tensor]:
    """Shrink the scales of one group towards zero, the producers of a channel together.

    With one producer this is GAN Slimming's eq. 14, prox(g) = sign(g) max(|g| - amount, 0). With k
    producers (a residual trunk) it is the proximal step of amount * sqrt(k) * ||(g_1, ..., g_k)||_2
    per channel: the group lasso, so that all producers reach zero together or not at all.

    Args:
        scales: k tensors, (c,) each.
        amount: rho times the learning rate of the scales in use in this step; >= 0.
    Returns: k new tensors, (c,); channels within the threshold are exactly 0.
    """
    stacked = torch.stack(list(scales))
    if len(stacked) == 1:
        return [stacked[0].sign() * (stacked[0].abs() - amount).clamp_min(0)]
    norm = stacked.norm(dim=0)
    shrink = (1 - amount * len(stacked) ** 0.5 / norm.clamp_min(1e-12)).clamp_min(0)
    return list((stacked * shrink).unbind(0))
