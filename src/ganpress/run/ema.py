"""Averaged weights."""

from __future__ import annotations

import torch
from torch import nn

from ganpress.types import State


class Average:
    """Exponential moving average of a network's floating tensors; ``decay`` 0 follows exactly.

    The decay is ramped up as (1 + t) / (10 + t), so that the first weights are soon forgotten;
    not where they are a trained network's (``ramped=False``).
    """

    def __init__(self, net: nn.Module, decay: float, *, ramped: bool = True) -> None:
        self.net, self.decay, self.updates, self.ramped = net, decay, 0, ramped
        self.shadow = {n: t.detach().clone() for n, t in net.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Follow the network by one step."""
        self.updates += 1
        ramp = (1 + self.updates) / (10 + self.updates) if self.ramped else 1.0
        decay = min(self.decay, ramp)
        for name, tensor in self.net.state_dict().items():
            if tensor.is_floating_point() and self.decay > 0:
                self.shadow[name].lerp_(tensor, 1 - decay)
            else:
                self.shadow[name].copy_(tensor)

    def state_dict(self) -> dict[str, int | State]:
        """The average and how many updates made it."""
        return {"updates": self.updates, "shadow": self.shadow}

    def load_state_dict(self, state: dict[str, int | State]) -> None:
        """Go on from a saved average."""
        updates, shadow = state["updates"], state["shadow"]
        if isinstance(updates, int) and isinstance(shadow, dict):
            self.updates = updates
            for name, tensor in self.shadow.items():  # which may be on another device
                tensor.copy_(shadow[name])
