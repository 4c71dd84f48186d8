"""Adam by one kernel is Adam."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ganpress.training.optimisers import adam


def by_the_paper(
    weight: Tensor, grads: list[Tensor], lr: float, betas: tuple[float, float], decay: float
) -> Tensor:
    """Kingma and Ba 2015, algorithm 1, with L2 in the gradient; in float64."""
    x, m, v = weight.double(), torch.zeros(()).double(), torch.zeros(()).double()
    for t, grad in enumerate(grads, 1):
        g = grad.double() + decay * x
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        x = x - lr * (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)).sqrt() + 1e-8)
    return x


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_three_steps_are_those_of_the_paper(layout: torch.memory_format, decay: float) -> None:
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(4, 3, 3, 3, generator=draw).to(memory_format=layout)
    grads = [torch.randn(4, 3, 3, 3, generator=draw) for _ in range(3)]
    weight = nn.Parameter(start.clone())
    optimiser = adam([weight], 0.1, (0.5, 0.9), decay)
    for grad in grads:
        optimiser.zero_grad(set_to_none=True)
        (weight * grad).sum().backward()
        optimiser.step()
    expected = by_the_paper(start, grads, 0.1, (0.5, 0.9), decay)
    torch.testing.assert_close(weight.double(), expected, rtol=1e-5, atol=1e-6)


def test_a_weight_of_which_only_the_first_channels_were_used_keeps_the_others() -> None:
    weight = nn.Parameter(torch.ones(4, 3))
    optimiser = adam([weight], 0.1, (0.5, 0.9))
    (2 * weight[:2]).sum().backward()
    optimiser.step()
    assert weight.detach()[2:].eq(1).all()
    torch.testing.assert_close(weight.detach()[:2], torch.full((2, 3), 0.9))
