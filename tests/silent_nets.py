"""Parts of networks with silent channels."""

from __future__ import annotations

from torch import Tensor, nn

from ganpress.nn.axes import axes


def shifts(net: nn.Module, group: str) -> list[Tensor]:
    """The betas of the norms of a group."""
    said = axes(net)
    return [
        p
        for n, p in net.named_parameters()
        if ".norm" in n and n.endswith("bias") and said[n][0][0].group == group
    ]
