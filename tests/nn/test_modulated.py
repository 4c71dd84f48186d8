"""StyleGAN2's layers: what their gates start at."""

from __future__ import annotations

import torch

from ganpress.nn.axes import Axis, fixed
from ganpress.nn.layers import add_gates
from ganpress.nn.modulated import EqualLinear


def test_the_gate_of_a_style_starts_at_the_root_mean_square_of_the_style() -> None:
    """Of standard normal inputs, whose mean of squares +-sqrt(d) e_i have too."""
    torch.manual_seed(0)
    layer = EqualLinear(fixed(6, "style"), Axis("a", 5), bias=1.0, lr_mul=0.5, gated=True)
    with torch.no_grad():
        layer.bias.normal_()
    x = 6**0.5 * torch.cat([torch.eye(6), -torch.eye(6)])
    wanted = layer(x).square().mean(0).sqrt().detach()
    before = layer(x)
    add_gates(layer)
    assert layer.gate is not None
    torch.testing.assert_close(layer.gate.detach(), wanted / wanted.mean())
    torch.testing.assert_close(layer(x), before)
