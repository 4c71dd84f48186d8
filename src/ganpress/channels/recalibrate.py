"""BatchNorm's running statistics for a choice of widths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganpress.nn.modes import in_eval
from ganpress.types import Inputs


def batch_norms(net: nn.Module) -> list[_BatchNorm]:
    """The norms of a network that keep running statistics."""
    return [m for m in net.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


@torch.no_grad()
def recalibrate(net: nn.Module, inputs_stream: Iterable[Inputs]) -> nn.Module:
    """Read the running statistics of every BatchNorm anew, in place.

    The channels of a narrower network have other means and variances than its teacher's, whose
    statistics it was cut with. They are read as torch counts with ``momentum=None``: the mean over
    batches of each batch's mean and of its unbiased variance, while every norm normalises by its
    batch, as in training. All batches count alike, so they should be of the same size.

    Everything else is in eval mode (no dropout, nothing random) and stays as it was: parameters,
    other buffers, modes, the number of batches a norm has seen.

    Args: inputs_stream: what the network reads, batch by batch, on its device. Not touched where
        there is no BatchNorm; with no batch in it the statistics stay as they are.
    """
    norms = batch_norms(net)
    if norms:
        with _collecting(net, norms):
            for inputs in inputs_stream:
                net(*inputs)
    return net


@contextmanager
def _collecting(net: nn.Module, norms: list[_BatchNorm]) -> Iterator[None]:
    """Norms in train mode and counting from nothing, all else in eval mode; put back at the end."""
    counted = [
        (n.momentum, None if n.num_batches_tracked is None else n.num_batches_tracked.clone())
        for n in norms
    ]
    with in_eval(net):
        for norm in norms:
            norm.momentum = None
            norm.train()
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.zero_()
        try:
            yield
        finally:
            for norm, (momentum, batches) in zip(norms, counted, strict=True):
                norm.momentum = momentum
                if norm.num_batches_tracked is not None and batches is not None:
                    norm.num_batches_tracked.copy_(batches)
