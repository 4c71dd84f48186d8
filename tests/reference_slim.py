"""GAN Slimming's formulas, written out from the papers, to compare the package's loops with.

Networks are called as they are, and torch's own Adam and SGD are used; no loss, distance,
discriminator class, proximal step, image history or average of the package is. Equations are those
of Wang et al., ECCV 2020, unless another paper is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

Maps = Mapping[str, Tensor]
Cost = Callable[[Mapping[str, int]], float]

# --- L_GAN ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Objective:
    """What discriminator and generator minimise, of logits of any shape."""

    d: Callable[[Tensor, Tensor], Tensor]
    g: Callable[[Tensor], Tensor]


CROSS_ENTROPY = Objective(  # pix2pix, that of the discriminator halved (section 3.3)
    d=lambda real, fake: ((1 + (-real).exp()).log().mean() + (1 + fake.exp()).log().mean()) / 2,
    g=lambda fake: (1 + (-fake).exp()).log().mean(),
)
LEAST_SQUARES = Objective(  # Mao et al. 2017, that of the discriminator halved
    d=lambda real, fake: (((real - 1) ** 2).mean() + (fake**2).mean()) / 2,
    g=lambda fake: ((fake - 1) ** 2).mean(),
)
HINGE = Objective(  # SNGAN, SPADE
    d=lambda real, fake: (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean(),
    g=lambda fake: -fake.mean(),
)
LOGISTIC = Objective(  # StyleGAN2: -log sigmoid(D(x)) - log(1 - sigmoid(D(G)))
    d=lambda real, fake: -F.logsigmoid(real).mean() - F.logsigmoid(-fake).mean(),
    g=lambda fake: -F.logsigmoid(fake).mean(),
)
OBJECTIVES = {
    "cross-entropy": CROSS_ENTROPY,
    "least-squares": LEAST_SQUARES,
    "hinge": HINGE,
    "logistic": LOGISTIC,
}
USUAL = {
    "patch": LEAST_SQUARES,
    "munit": LEAST_SQUARES,
    "spade": HINGE,
    "sngan": HINGE,
    "stylegan2": LOGISTIC,
}
"""Of a kind of discriminator of which nothing else is said."""


@dataclass
class Judge:
    """A discriminator network under its objective.

    Attributes:
        pooled: its logits are averaged over each picture before the loss (the authors' PatchGAN).
        one_pass: real and made pictures go through it in one batch; else one after the other, as
            where its statistics are those of the batch.
        fixed: it is not trained, and the student is to get the teacher's logits (CEC).
        r1, r1_every: StyleGAN2's penalty: its weight, and the steps from one to the next.
    """

    net: nn.Module
    objective: Objective
    pooled: bool
    one_pass: bool
    fixed: bool
    r1: float = 0.0
    r1_every: int = 16

    def logits(self, pictures: Tensor, condition: Tensor | None) -> list[Tensor]:
        """Of each scale. A photo or label map stands before the picture, a class beside it."""
        with parametrize.cached():  # one power iteration of the spectral norm a pass
            if condition is None:
                out = self.net(pictures)
            elif condition.ndim == 4:
                out = self.net(torch.cat([condition, pictures], dim=1))
            else:
                out = self.net(pictures, condition)
        scales = out if isinstance(out, list) else [out]
        last = [s[-1] if isinstance(s, list) else s for s in scales]  # SPADE's: maps, then logits
        return [s.mean(dim=(1, 2, 3)) for s in last] if self.pooled else last

    def d_loss(self, real: Tensor, fake: Tensor, of_real: Tensor, of_fake: Tensor) -> Tensor:
        """Eq. 15, averaged over scales."""
        if self.one_pass:
            conditions = None if of_real is None else torch.cat([of_real, of_fake])
            both = self.logits(torch.cat([real, fake]), conditions)
            pairs = [(s[: len(real)], s[len(real) :]) for s in both]
        else:
            first, then = self.logits(real, of_real), self.logits(fake, of_fake)
            pairs = list(zip(first, then, strict=True))
        return sum(self.objective.d(r, f) for r, f in pairs) / len(pairs)

    def penalty(self, step: int, real: Tensor, of_real: Tensor | None) -> Tensor | float:
        """Of the steps 0, r1_every, 2 r1_every, ...: r1_every times r1 / 2 |dD/dx|^2 on real
        pictures, averaged over them (Mescheder et al. 2018, eq. 9; lazy, StyleGAN2, 3.1)."""
        if self.r1 == 0 or step % self.r1_every:
            return 0.0
        x = real.detach().clone().requires_grad_()
        total = sum(s.sum() for s in self.logits(x, of_real))
        [slope] = torch.autograd.grad(total, x, create_graph=True)
        return self.r1_every * self.r1 / 2 * (slope**2).sum() / len(x)

    def g_loss(self, fake: Tensor, target: Tensor, condition: Tensor | None) -> Tensor:
        """L_GAN for the student, averaged over scales."""
        made = self.logits(fake, condition)
        if self.fixed:  # Shu et al. 2019
            asked = [s.detach() for s in self.logits(target, condition)]
            return sum(((a - b) ** 2).mean() for a, b in zip(made, asked, strict=True)) / len(made)
        return sum(self.objective.g(s) for s in made) / len(made)


# --- L_dist --------------------------------------------------------------------------------------


def gram(maps: Tensor) -> Tensor:
    """Products of channels summed over places, divided by C H W."""
    _, c, h, w = maps.shape
    return torch.einsum("nihw,njhw->nij", maps, maps) / (c * h * w)


def distance(
    student: Tensor,
    teacher: Tensor,
    features: Callable[[Tensor], Maps],
    weights: Mapping[str, float],
) -> Tensor:
    """Eq. 2's d: content of the first tap + style of all; two terms more that settings add."""
    a, b = features(student), features(teacher)
    first = next(iter(a))

    def unit(maps: Tensor) -> Tensor:  # LPIPS without its learned weights
        return maps / (maps.square().sum(dim=1, keepdim=True) + 1e-24).sqrt()

    terms = {
        "content": (a[first] - b[first]).abs().mean(),
        "style": sum(((gram(a[tap]) - gram(b[tap])) ** 2).mean() for tap in a),
        "unit": sum(((unit(a[tap]) - unit(b[tap])) ** 2).sum(dim=1).mean() for tap in a),
        "pixel": (student - teacher).abs().mean(),
    }
    return sum(weights.get(name, 0.0) * term for name, term in terms.items())


# --- learning rates ------------------------------------------------------------------------------


def rates(schedule: str, progress: float) -> tuple[float, float]:
    """Factors of alpha (W and theta, by Adam) and eta (gamma, by SGD), never below 1/100."""
    cosine = (1 + math.cos(math.pi * progress)) / 2
    from_half = 1.0 if progress < 0.5 else 2 - 2 * progress
    alpha, eta = {
        "cosine": (cosine, cosine),  # the authors' code
        "linear": (from_half, cosine),  # the paper: alpha decays linearly from T / 2
        "constant": (1.0, 1.0),
    }[schedule]
    return max(alpha, 0.01), max(eta, 0.01)


# --- pruning -------------------------------------------------------------------------------------


def magnitudes(scales: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
    """Root mean square of each channel's scales over the producers of its group."""
    with torch.no_grad():
        return {g: (sum(p**2 for p in ps) / len(ps)) ** 0.5 for g, ps in scales.items()}


def soft_threshold(scale: Tensor, amount: float) -> Tensor:
    """Eq. 14: prox(gamma) = sign(gamma) max(|gamma| - amount, 0)."""
    return torch.where(scale.abs() > amount, scale - amount * scale.sign(), 0.0)


@torch.no_grad()
def proximal_step(
    scales: Mapping[str, Sequence[Tensor]],
    units: Mapping[str, float],
    amount: float,
    gone: Mapping[str, Tensor],
    min_channels: int,
) -> dict[str, int]:
    """Eq. 12-14 in place, and the channels that a cost leaves no room for are zeroed.

    With k producers a group's channels are shrunk as the group lasso shrinks them: the vector of a
    channel's scales by amount sqrt(k). The ``min_channels`` largest of a group are never zeroed.
    Returns: channels alive.
    """
    alive = {}
    for group, producers in scales.items():
        size, cut = magnitudes({group: producers})[group], amount * units[group]
        to_zero = (size <= cut) | gone.get(group, torch.tensor(False))
        largest = set(size.argsort(descending=True)[:min_channels].tolist())
        for c in range(len(size)):
            vector = torch.stack([p[c] for p in producers])
            if len(producers) == 1:
                shrunk = soft_threshold(vector, cut)
            else:
                shrunk = vector * max(0.0, 1 - cut * len(producers) ** 0.5 / float(vector.norm()))
            if to_zero[c]:
                shrunk = torch.zeros_like(vector)
            if c in largest and not shrunk.any():
                shrunk = vector
            for p, value in zip(producers, shrunk, strict=True):
                p[c] = value
        alive[group] = sum(any(bool(p[c]) for p in producers) for c in range(len(size)))
    return alive


def ranked(sizes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The share of its group that is no larger than a channel; 0 for one that is dead."""
    return {
        g: torch.stack([(s <= one).double().mean() * bool(one > 0) for one in s])
        for g, s in sizes.items()
    }


def importance_per_cost(
    scores: Mapping[str, Tensor], cost: Cost, exponent: float
) -> dict[str, Tensor]:
    """Divided by what the group's next channel costs, in units of the mean over groups."""
    alive = {g: int((s > 0).sum()) for g, s in scores.items()}
    saved = {g: cost(alive) - cost({**alive, g: max(0, alive[g] - 1)}) for g in alive}
    mean = sum(saved.values()) / len(saved)
    return {g: s / max(saved[g] / mean, 1e-3) ** exponent for g, s in scores.items()}


def gone_for(
    budget: float, scores: Mapping[str, Tensor], cost: Cost, min_channels: int, multiple: int
) -> dict[str, Tensor]:
    """The channels to cut: all up to the lowest score at which what is left fits the budget. In
    whole steps of ``multiple``, the best channels below that score come back while a step fits."""
    for level in sorted({0.0, *(float(v) for s in scores.values() for v in s)}):
        chosen = {}
        for group, s in scores.items():
            n = max(min_channels, int((s > level).sum()))
            chosen[group] = min(len(s), math.ceil(n / multiple) * multiple)
        if cost(chosen) <= budget:
            break
    else:
        raise AssertionError("The budget of this test is below the smallest network.")
    if multiple == 1:
        return {g: (s <= level) & (level > 0) for g, s in scores.items()}
    order = {g: s.sort(descending=True, stable=True) for g, s in scores.items()}
    while True:
        next_best = {g: float(order[g].values[n]) for g, n in chosen.items() if n < len(scores[g])}
        wider = {g: {**chosen, g: min(len(scores[g]), chosen[g] + multiple)} for g in next_best}
        fit = {g: v for g, v in next_best.items() if v > 0 and cost(wider[g]) <= budget}
        if not fit:
            break
        chosen = wider[max(fit, key=lambda g: fit[g])]
    gone = {g: torch.ones(len(s), dtype=torch.bool) for g, s in scores.items()}
    for group, n in chosen.items():
        gone[group][order[group].indices[:n]] = False
    return gone


# --- what the loops carry along ------------------------------------------------------------------


@dataclass
class History:
    """Shrivastava et al. 2017, as CycleGAN uses it: once full, each picture is with probability
    half replaced by an older one, whose place it takes."""

    size: int
    pictures: list[Tensor] = field(default_factory=list)

    def show(self, made: Tensor) -> Tensor:
        shown = []
        for picture in made.detach():
            if len(self.pictures) < self.size:
                self.pictures.append(picture)
                shown.append(picture)
            elif self.size:
                coin, place = torch.rand(2).tolist()
                old = int(place * self.size)
                if coin >= 0.5:
                    shown.append(self.pictures[old])
                    self.pictures[old] = picture
                else:
                    shown.append(picture)
            else:
                shown.append(picture)
        return torch.stack(shown)


@torch.no_grad()
def averaged(
    shadow: Mapping[str, Tensor], net: nn.Module, decay: float, update: int
) -> dict[str, Tensor]:
    """shadow <- d shadow + (1 - d) weights, d = min(decay, (1 + t) / (10 + t)) at update t = 1, 2,
    ...; counters are copied."""
    d = min(decay, (1 + update) / (10 + update))
    return {
        n: d * shadow[n] + (1 - d) * t if t.is_floating_point() else t.clone()
        for n, t in net.state_dict().items()
    }
