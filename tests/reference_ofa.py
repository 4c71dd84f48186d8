"""GAN Compression's formulas, written out from the papers, to compare the package's loop with.

Equations are those of Li et al., CVPR 2020 (GC), unless another paper is named: OMGD is Ren et al.,
ICCV 2021; DCD is Hu et al., CVPR 2023. Networks are called as they are; no loss, loop, slicing, tap
loss or discriminator class of the package is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from reference_slim import Judge, gram
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ganpress.nn.axes import Dim, axes, widths

Build = Callable[[Mapping[str, int]], nn.Module]

# --- a sub-generator, cut by hand ----------------------------------------------------------------


def rows(dim: Dim, length: int, counts: Mapping[str, int]) -> Tensor:
    """Which of a dim's rows the first channels of each group have."""
    found, start = [], 0
    for axis in dim or ():
        kept = axis.width if axis.fixed else counts.get(axis.group, axis.width)
        found += range(start, start + kept * axis.span)
        start += axis.width * axis.span
    return torch.tensor(found if dim else range(length))


def places(net: nn.Module, name: str, counts: Mapping[str, int]) -> tuple[Tensor, ...]:
    """Where the numbers of a sub-generator's tensor stand in the supernet's."""
    tensor = net.state_dict()[name]
    dims = axes(net).get(name) or (None,) * tensor.ndim
    each = [rows(dim, n, counts) for dim, n in zip(dims, tensor.shape, strict=True)]
    return tuple(torch.meshgrid(*each, indexing="ij")) if each else ()


def cut(net: nn.Module, build: Build, counts: Mapping[str, int]) -> nn.Module:
    """The plain small network that holds the first channels of each group."""
    with torch.random.fork_rng():  # what it is initialised with is not drawn from the step's seed
        small = build({**widths(net), **counts})
    state = {n: t[places(net, n, counts)].clone() for n, t in net.state_dict().items()}
    small.load_state_dict(state)
    return small.train(net.training)


@torch.no_grad()
def give_back(small: nn.Module, net: nn.Module, counts: Mapping[str, int]) -> None:
    """Running statistics that a sub-generator took are the supernet's."""
    own = dict(net.named_buffers())
    for name, buffer in small.named_buffers():
        own[name][places(net, name, counts)] = buffer


# --- terms between pictures ----------------------------------------------------------------------


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Wang et al. 2004, eq. 13: an 11 x 11 Gaussian of deviation 1.5, zeros beyond the border."""
    line = torch.exp(-((torch.arange(11.0) - 5) ** 2) / (2 * 1.5**2))
    window = torch.outer(line, line)
    window = (window / window.sum()).expand(x.shape[1], 1, 11, 11)

    def mean(t: Tensor) -> Tensor:
        return F.conv2d(t, window, padding=5, groups=t.shape[1])

    u, v = mean(x), mean(y)
    a, b, ab = mean(x * x) - u * u, mean(y * y) - v * v, mean(x * y) - u * v
    c1, c2 = 0.01**2, 0.03**2
    found = (2 * u * v + c1) * (2 * ab + c2) / ((u * u + v * v + c1) * (a + b + c2))
    return found.mean()


def variation(x: Tensor) -> Tensor:
    """Sum of absolute differences of neighbours."""
    down = (x[:, :, 1:] - x[:, :, :-1]).abs().sum()
    return down + (x[:, :, :, 1:] - x[:, :, :, :-1]).abs().sum()


def of_vgg(features: Callable[[Tensor], Mapping[str, Tensor]], s: Tensor, t: Tensor) -> Any:
    """OMGD, eq. 4 and 5: L1 of Gram matrices over all taps 1e4, L1 of the second tap 10."""
    a, b = features(s), features(t)
    second = list(a)[1]
    styles = sum((gram(a[tap]) - gram(b[tap])).abs().mean() for tap in a)
    return {"gram": 1e4 * styles, "feature": 10 * (a[second] - b[second]).abs().mean()}


def perceptual(
    features: Callable[[Tensor], Mapping[str, Tensor]], made: Tensor, real: Tensor
) -> Tensor:
    """pix2pixHD: L1 of five depths, 1/32, 1/16, 1/8, 1/4 and 1; of fewer the last of these."""
    a, b = features(made), features(real)
    weights = [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0][5 - len(a) :]
    return sum(
        (w * (a[tap] - b[tap]).abs().mean() for w, tap in zip(weights, a, strict=True)),
        torch.zeros(()),
    )


def matching(judge: Judge, made: Tensor, real: Tensor, condition: Tensor | None) -> Tensor:
    """pix2pixHD, eq. 4: L1 of maps before SPADE's discriminator's logits, averaged over scales."""
    shown = [p if condition is None else torch.cat([condition, p], 1) for p in (real, made)]
    with parametrize.cached():
        true = [[m.detach() for m in scale[:-1]] for scale in judge.net(shown[0])]
    with parametrize.cached():
        found = [scale[:-1] for scale in judge.net(shown[1])]
    each = [
        sum((a - b).abs().mean() for a, b in zip(*maps, strict=True))
        for maps in zip(found, true, strict=True)
    ]
    return sum(each) / len(each)  # type: ignore[return-value]


# --- terms between feature maps ------------------------------------------------------------------


@dataclass
class Adaptors:
    """GC, section 3.1: a 1x1 convolution for each tap, of the supernet's channels; of a narrower
    map the first columns.

    Attributes:
        l1: MUNIT's content code is compared by L1, all else by its squared difference.
    """

    weights: list[Tensor]
    biases: list[Tensor]
    l1: bool

    def __call__(
        self, s: Mapping[str, Tensor], t: Mapping[str, Tensor], taps: Sequence[str]
    ) -> Any:
        total: Any = 0.0
        for w, b, tap in zip(self.weights, self.biases, taps, strict=True):
            x = s[tap]
            made = torch.einsum("oi,ni...->no...", w[:, : x.shape[1], 0, 0], x)
            made = made + b.view(1, -1, *(1,) * (x.ndim - 2))
            error = made - t[tap]
            total = total + (error.abs().mean() if self.l1 else (error**2).mean())
        return total

    @property
    def parameters(self) -> list[Tensor]:
        return [p for pair in zip(self.weights, self.biases, strict=True) for p in pair]

    def state(self) -> dict[str, Tensor]:
        found = {}
        for i, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            found |= {f"adaptors.{i}.weight": w.detach(), f"adaptors.{i}.bias": b.detach()}
        return found

    @staticmethod
    def of(state: Mapping[str, Tensor], l1: bool) -> Adaptors:
        """A copy of the package's at its start."""
        count = len(state) // 2
        kinds = (
            [state[f"adaptors.{i}.{part}"].clone().requires_grad_() for i in range(count)]
            for part in ("weight", "bias")
        )
        return Adaptors(*kinds, l1)


@dataclass
class Connectors:
    """DCD: L1 between the fourth convolution's maps (of a PatchGAN the last before its logits) of
    what a 1x1 convolution, BatchNorm and ReLU make of each map; the teacher's are never trained."""

    weights: list[Tensor]
    norms: list[nn.BatchNorm2d]
    fixed: list[Tensor]
    judge: Judge
    enlarged: Mapping[int, int] = field(default_factory=dict)

    def __call__(
        self, s: Mapping[str, Tensor], t: Mapping[str, Tensor], taps: Sequence[str]
    ) -> Any:
        total: Any = 0.0
        for w, norm, other, tap in zip(self.weights, self.norms, self.fixed, taps, strict=True):
            made = norm(F.conv2d(s[tap], w[:, : s[tap].shape[1]])).relu()
            wanted = F.conv2d(t[tap], other).relu()
            total = total + (self.inside(made) - self.inside(wanted).detach()).abs().mean()
        return total

    def inside(self, x: Tensor) -> Tensor:
        factor = self.enlarged.get(x.shape[-1], 1)
        x = x.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
        for layer in list(self.judge.net.model)[:-1]:
            x = layer(x)
        return x

    @property
    def parameters(self) -> list[Tensor]:
        both = zip(self.weights, self.norms, strict=True)
        return [p for w, norm in both for p in (w, *norm.parameters())]

    def state(self) -> dict[str, Tensor]:
        found = {f"teacher_{i}": t for i, t in enumerate(self.fixed)}
        for i, (w, norm) in enumerate(zip(self.weights, self.norms, strict=True)):
            found[f"connectors.{i}.conv.weight"] = w.detach()
            found |= {f"connectors.{i}.norm.{n}": t for n, t in norm.state_dict().items()}
        return found

    @staticmethod
    def of(state: Mapping[str, Tensor], judge: Judge, enlarged: Mapping[int, int]) -> Connectors:
        """A copy of the package's at its start."""
        fixed = [t.clone() for n, t in state.items() if n.startswith("teacher_")]
        names = [f"connectors.{i}.conv.weight" for i in range(len(fixed))]
        weights = [state[n].clone().requires_grad_() for n in names]
        norms = [nn.BatchNorm2d(len(w)).train() for w in weights]
        return Connectors(weights, norms, fixed, judge, enlarged)
