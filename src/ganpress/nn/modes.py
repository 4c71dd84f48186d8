"""A network in eval mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_eval(net: nn.Module) -> Iterator[nn.Module]:
    """Within, ``net`` is in eval mode; then each of its modules is in its own mode again, also one
    that was in another than ``net``, and where a forward pass raises an error."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield net
    finally:
        for module, training in modes:
            module.training = training
