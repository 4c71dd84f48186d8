"""Content-Aware GAN Compression's retraining, written out from its paper (Liu et al., CVPR 2021),
and methods.md 1.3, 6.3, 7.4 and 7.5, to compare the package's loop with.

Networks are called as they are; no loss, loop, mask, style mixing, penalty or distance of the
package is. StyleGAN2's penalties: Karras et al., CVPR 2020, section 3 and appendix B.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Maps = Mapping[str, Tensor]


def drawn(net: Any, n: int, mixing: float) -> tuple[Tensor, Tensor, int, list[Tensor]]:
    """Two z for each picture, the layer from which the second holds (none: behind the last), and
    fresh noise for every convolution."""
    z = torch.randn(2, n, net.style_dim)
    count = len(net.layers) + 1
    crossover = int(torch.randint(1, count, ())) if torch.rand(()) < mixing else count
    return z[0], z[1], crossover, [torch.randn(n, 1, side, side) for side in net.sides]


def styles(net: Any, z: Tensor, z2: Tensor, crossover: int) -> Tensor:
    """w of every layer, (n, layers, dim): the first z's before the crossover, then the second's."""
    w, w2 = net.mapping(z), net.mapping(z2)
    count = len(net.layers) + 1
    return torch.stack([w if layer < crossover else w2 for layer in range(count)], 1)


def lazy(lr: float, betas: tuple[float, float], every: int, weight: float) -> dict[str, Any]:
    """Rate and betas of Adam that takes k + 1 steps where there would be k: c = k / (k + 1),
    lr' = c lr, beta' = beta^c."""
    c = every / (every + 1) if weight > 0 else 1.0
    return {"lr": lr * c, "betas": (betas[0] ** c, betas[1] ** c)}


def shrunk(mask: Tensor, side: int) -> Tensor:
    """A mask at a smaller size: the mean over each pixel's square."""
    n, _, h, w = mask.shape
    return mask.reshape(n, 1, side, h // side, side, w // side).mean((3, 5))


def pixel(s: Sequence[Tensor], t: Sequence[Tensor], mask: Tensor | None, *, within: bool) -> Any:
    """Sum over pictures of mean |m T - m S|; ``within``: over the mean of m."""
    total: Any = 0.0
    for a, b in zip(s, t, strict=True):
        m = torch.ones_like(a[:, :1]) if mask is None else shrunk(mask, a.shape[-1])
        term = (m * b - m * a).abs().mean()
        total = total + (term / m.mean() if within and mask is not None else term)
    return total


def unit(features: Callable[[Tensor], Maps], s: Tensor, t: Tensor, mask: Tensor | None) -> Tensor:
    """LPIPS's form without learned weights, of the pictures where the mask says."""
    m = torch.ones_like(s[:, :1]) if mask is None else mask
    a, b = features(m * s), features(m * t)

    def normed(maps: Tensor) -> Tensor:
        return maps / (maps.square().sum(dim=1, keepdim=True) + 1e-24).sqrt()

    each = [((normed(a[tap]) - normed(b[tap])) ** 2).sum(dim=1).mean() for tap in a]
    return torch.stack(each).sum()


def relation(s: Sequence[Tensor], t: Sequence[Tensor], kind: str) -> Any:
    """StyleKD: of each layer the plain rows' cosines with the shifted ones; KL(T || S) of their
    softmax over the row, a mean over rows, or the mean squared difference."""
    total: Any = 0.0
    for a, b in zip(s, t, strict=True):
        of_s, of_t = (_cosines(m) for m in (a, b))
        if kind == "mse":
            total = total + ((of_s - of_t) ** 2).mean()
            continue
        p, q = (torch.softmax(m, dim=1) for m in (of_t, of_s))
        total = total + (p * (p / q).log()).sum() / len(p)
    return total


def _cosines(maps: Tensor) -> Tensor:
    n = len(maps) // 2
    rows = [maps[i].flatten() for i in range(2 * n)]
    return torch.stack(
        [
            torch.stack([(a @ b) / ((a @ a).sqrt() * (b @ b).sqrt()) for b in rows[n:]])
            for a in rows[:n]
        ]
    )


def mmd(x: Tensor, y: Tensor) -> Any:
    """Gretton et al. 2012, eq. 5: all pairs of both sets, a mean of Gaussians whose width is the
    mean squared distance of two different vectors, times 1/4 to 4."""
    both = [*x, *y]
    n, total = len(both), len(both) * (len(both) - 1)
    apart = [[((a - b) ** 2).sum() for b in both] for a in both]
    width = sum(float(d.detach()) for row in apart for d in row) / total

    def kernel(i: int, j: int) -> Any:
        return sum((-apart[i][j] / (h * width)).exp() for h in (0.25, 0.5, 1, 2, 4)) / 5

    of_x, of_y = range(len(x)), range(len(x), n)
    pairs = {
        "xx": [kernel(i, j) for i in of_x for j in of_x],
        "yy": [kernel(i, j) for i in of_y for j in of_y],
        "xy": [kernel(i, j) for i in of_x for j in of_y],
    }
    mean = {name: sum(each) / len(each) for name, each in pairs.items()}
    return mean["xx"] + mean["yy"] - 2 * mean["xy"]


def path_penalty(net: Any, n: int, mixing: float, mean: Tensor) -> tuple[Tensor, Tensor]:
    """E (|J_w^T y| - a)^2, and a, which has moved by 0.01 towards this mean; the length's square is
    summed over w and averaged over its layers."""
    z, z2, crossover, noise = drawn(net, n, mixing)
    w = styles(net, z, z2, crossover)
    pictures = net.synthesis(w, *noise)
    y = torch.randn(pictures.shape) / pictures.shape[-1]
    [J] = torch.autograd.grad((pictures * y).sum(), w, create_graph=True)
    lengths = ((J**2).sum(2).sum(1) / w.shape[1]) ** 0.5
    a = 0.99 * mean + 0.01 * lengths.mean().detach()
    return ((lengths - a) ** 2).mean(), a


def with_maps(net: nn.Module, names: Sequence[str], call: Callable[[], Any]) -> tuple[Any, Maps]:
    """What a call gives, and what these modules put out in it."""
    found: dict[str, Tensor] = {}
    handles = [
        net.get_submodule(n).register_forward_hook(lambda _, __, out, n=n: found.update({n: out}))
        for n in names
    ]
    out = call()
    for handle in handles:
        handle.remove()
    return out, found
