"""Scores from weights and styles: L1 norms of the filters that read or make a channel, and the
style that scales it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ganpress.methods.content_aware.scores.drawn import Drawn
from ganpress.methods.content_aware.scores.gradients import evaluating, zeros
from ganpress.methods.content_aware.scores.readers import (
    Rgb,
    Share,
    constants,
    makers,
    modulated_by,
    readers,
)
from ganpress.models.spaces import latent_of
from ganpress.nn.modulated import ModulatedConv
from ganpress.types import Scores


def l1_out(net: nn.Module, drawn: Drawn, *, rgb: Rgb = "last") -> Scores:
    """Sum over (out, kh, kw) of |W[:, c]| of the layers that read a channel. Of a modulated
    convolution W is the mean over samples of its modulated and demodulated weight.

    Returns: group -> (width,).
    """
    return _sums(net, drawn, readers(net, rgb), zeros(net))


def l1_in(net: nn.Module, drawn: Drawn) -> Scores:
    """Sum over (in, kh, kw) of |W[c]| of the layers that make a channel, W as of `l1_out`; of a
    channel of a learned constant the sum of its magnitudes (the authors draw that one at random).

    Returns: group -> (width,).
    """
    first = {group: t.detach().abs().sum((0, 2, 3)) for group, t in constants(net).items()}
    return _sums(net, drawn, makers(net), {**zeros(net), **first})


def style(net: nn.Module, drawn: Drawn, *, rgb: Rgb = "last") -> Scores:
    """|mean over samples of the style that scales a channel|, bias included, summed over the
    modulated convolutions that read it; without the layer's gain.

    Returns: group -> (width,); 0 for one that no modulated convolution reads.
    """
    read, out = readers(net, rgb), zeros(net)
    layers = _modulated(net, read)
    total = {name: torch.zeros(()) for name in layers}
    count = 0
    with evaluating(net), torch.no_grad():
        for w in _styles(net, drawn):
            total = {name: total[name].to(w) + m.affine(w).sum(0) for name, m in layers.items()}
            count += len(w)
    for group, shares in read.items():
        for share in shares:
            if share.layer in total:
                mean = total[share.layer] / max(1, count)
                out[group] = out[group] + share.maps(mean[None]).abs().sum((0, 2))
    return out


def _sums(
    net: nn.Module, drawn: Drawn, shares_of: Mapping[str, list[Share]], first: Scores
) -> Scores:
    weights, out = _mean_weights(net, drawn, shares_of), dict(first)
    for group, shares in shares_of.items():
        for share in shares:
            out[group] = out[group] + share.rows(weights[share.layer]).abs().sum(1)
    return out


@torch.no_grad()
def _mean_weights(
    net: nn.Module, drawn: Drawn, shares_of: Mapping[str, list[Share]]
) -> dict[str, Tensor]:
    """Each layer's weight; of a modulated convolution the mean over samples of what it amounts to.

    A sample's weight is W[o, i] d[o] s[i], with the gain in s: its mean is W times the mean of the
    outer products of d and s, so that no sample's weight is formed.
    """
    paths = dict.fromkeys(share.layer for shares in shares_of.values() for share in shares)
    out = {path: net.get_parameter(f"{path}.weight").detach() for path in paths}
    layers = _modulated(net, shares_of)
    total = {name: torch.zeros(()) for name in layers}
    count = 0
    with evaluating(net), torch.no_grad():
        for w in _styles(net, drawn) if layers else ():
            total = {n: total[n].to(w) + _outer(m, w) for n, m in layers.items()}
            count += len(w)
    for name, layer in layers.items():
        factor = total[name] / max(1, count)  # (out, in)
        weight = layer.conv.weight.detach()
        out[name] = weight * (factor.T if layer.up else factor)[:, :, None, None]
    return out


def _outer(layer: ModulatedConv, w: Tensor) -> Tensor:
    """Sum over samples of demodulation times style and gain, (out, in)."""
    s = layer.affine(w) * layer.gain
    made = layer.conv.weight.shape[layer.conv.out_dim]
    d = layer.norm(s) if layer.demodulate else s.new_ones(len(s), made)
    out: Tensor = d.T @ s
    return out


def _modulated(net: nn.Module, shares_of: Mapping[str, list[Share]]) -> dict[str, ModulatedConv]:
    """The modulated convolutions among the layers, by the layer with the weight."""
    found = {s.layer: modulated_by(net, s) for shares in shares_of.values() for s in shares}
    return {path: layer for path, layer in found.items() if layer is not None}


def _styles(net: nn.Module, drawn: Drawn) -> Iterator[Tensor]:
    """w of each batch, (n, d); none where no latent is mapped."""
    latent = latent_of(net)
    for inputs, _ in drawn.batches() if latent is not None else ():
        yield latent.of(inputs)  # type: ignore[union-attr]
