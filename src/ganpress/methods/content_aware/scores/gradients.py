"""Scores from gradients of a loss: content-aware (the paper, section 3.2) and Taylor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ganpress.methods.content_aware.scores.drawn import Drawn, Noise, interest_in, noise_loss
from ganpress.methods.content_aware.scores.readers import Rgb, Share, entrance, readers
from ganpress.nn.axes import widths
from ganpress.nn.modes import in_eval
from ganpress.types import Scores

Shares = Mapping[str, list[Share]]


def content_aware(net: nn.Module, drawn: Drawn, *, noise: Noise, rgb: Rgb = "last") -> Scores:
    """The paper's score: how much of the content's noise each channel's readers answer.

    Per batch one backward pass of `noise_loss`; a channel's score is the mean over the reader's
    (out, kh, kw) of |dL / dW[:, c]|, summed over readers and batches. The gradient is that of the
    whole batch, before its magnitude is taken: that is the authors' definition, so the size of a
    batch matters. Weights are the stored ones, before StyleGAN2's gain. A layer that the forward
    pass does not run adds 0.

    Returns: group -> (width,).
    """
    read, total = readers(net, rgb), zeros(net)
    with scoring(net, read) as weights:
        for sample in drawn.batches():
            pictures = net(*sample.inputs)
            hit, values = noise(interest_in(drawn.interest, sample, pictures))
            found = mean_gradients(noise_loss(pictures, hit, values), weights, read)
            total = {group: total[group] + s for group, s in found.items()}
    return total


def taylor(net: nn.Module, drawn: Drawn, *, noise: Noise, rgb: Rgb = "last") -> Scores:
    """First-order change of the same loss where a channel is taken away (Molchanov et al., ICLR
    2017, eq. 8): |sum of map x gradient| of what its readers are given, over readers and pixels,
    as a mean over samples.

    Returns: group -> (width,).
    """
    read, total, count = readers(net, rgb), zeros(net), 0
    with evaluating(net), read_maps(net, read, with_gradient=True) as maps:
        for sample in drawn.batches():
            maps.clear()
            pictures = net(*sample.inputs)
            hit, values = noise(interest_in(drawn.interest, sample, pictures))
            paths = list(maps)
            loss = noise_loss(pictures, hit, values)
            found = _slopes(loss, [maps[path] for path in paths])
            effect = {
                path: maps[path].detach() * g
                for path, g in zip(paths, found, strict=True)
                if g is not None
            }
            for group, shares in read.items():
                ran = [(s, effect[p]) for s in shares if (p := entrance(net, s)) in effect]
                each = [share.maps(e).sum(2) for share, e in ran]
                if each:
                    total[group] = total[group] + torch.stack(each).sum(0).abs().sum(0)
            count += len(pictures)
    return {group: score / max(1, count) for group, score in total.items()}


def mean_gradients(
    loss: Tensor, weights: Mapping[str, Tensor], read: Shares, *, again: bool = False
) -> Scores:
    """Each channel's mean |dL / dW| over the other dims of a weight, summed over its readers.

    Args:
        weights: those of `scoring`, by full name.
        again: the graph of ``loss`` is needed once more.
    Returns: group -> (width,).
    """
    names = list(weights)
    found = _slopes(loss, [weights[n] for n in names], again=again)
    size = {n: g.abs() for n, g in zip(names, found, strict=True) if g is not None}
    out = {}
    for group, shares in read.items():
        each = [s.rows(size[s.weight]).mean(1) for s in shares if s.weight in size]
        width = shares[0].axis.width if shares else 0
        out[group] = torch.stack(each).sum(0) if each else loss.new_zeros(width)
    return out


def zeros(net: nn.Module) -> dict[str, Tensor]:
    """A score of 0 for each channel, on the network's device and in its precision."""
    like = next(net.parameters())
    return {group: like.new_zeros(width) for group, width in widths(net).items()}


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Within, the network is in eval mode and its parameters want no gradients."""
    wanted = [(p, p.requires_grad) for p in net.parameters()]
    for parameter, _ in wanted:
        parameter.requires_grad_(False)
    try:
        with in_eval(net), torch.enable_grad():
            yield
    finally:
        for parameter, want in wanted:
            parameter.requires_grad_(want)


@contextmanager
def scoring(net: nn.Module, read: Shares) -> Iterator[dict[str, Tensor]]:
    """Within, the network is in eval mode, and of its parameters only the readers' weights, which
    are given by full name, want gradients: no other is computed."""
    names = dict.fromkeys(share.weight for shares in read.values() for share in shares)
    weights = {name: net.get_parameter(name) for name in names}
    with evaluating(net):
        for weight in weights.values():
            weight.requires_grad_(True)
        yield dict(weights)


@contextmanager
def read_maps(
    net: nn.Module, read: Shares, *, with_gradient: bool = False
) -> Iterator[dict[str, Tensor]]:
    """Within, each forward pass puts what the readers are given into the dict, by `entrance`.

    Args: with_gradient: each reader is given a tensor of its own, so that a gradient with respect
        to it is what this reader alone makes of it.
    """
    found: dict[str, Tensor] = {}

    def watch(path: str) -> object:
        def hook(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            x, *others = given
            if with_gradient:
                x = x.view_as(x) if x.requires_grad else x.detach().requires_grad_()
            found[path] = x
            return (x, *others) if with_gradient else None

        return net.get_submodule(path).register_forward_pre_hook(hook)

    paths = dict.fromkeys(entrance(net, s) for shares in read.values() for s in shares)
    handles = [watch(path) for path in paths]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()  # type: ignore[attr-defined]


def _slopes(
    loss: Tensor, of: Sequence[Tensor], *, again: bool = False
) -> tuple[Tensor | None, ...]:
    """dL with respect to each tensor; None for one that the loss does not depend on."""
    return torch.autograd.grad(loss, of, allow_unused=True, retain_graph=again)
