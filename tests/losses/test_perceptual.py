"""The perceptual loss of SPADE, written out."""

from __future__ import annotations

import pytest
import torch
from nets import photos
from torch import Tensor, nn

from ganpress.losses.perceptual import perceptual, perceptual_features


class FiveDepths(nn.Module):
    """Five multiples of the picture, so that each depth's L1 is known."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {f"depth{k}": 10.0**k * x for k in range(5)}


def test_deeper_maps_weigh_more() -> None:
    fake, real = photos(2), photos(2, seed=5)
    each = [1 / 32, 10 / 16, 100 / 8, 1000 / 4, 10000]
    wanted = float((fake - real).abs().mean()) * sum(each)
    assert float(perceptual(FiveDepths(), fake, real)) == pytest.approx(wanted, rel=1e-5)  # type: ignore[arg-type]


def test_a_network_of_four_taps_has_the_last_four_weights() -> None:
    fake, real = photos(2).requires_grad_(), photos(2, seed=5).requires_grad_()
    net = perceptual_features("tiny")
    with torch.no_grad():
        pairs = zip(net(fake).values(), net(real).values(), strict=True)
        terms = [(a - b).abs().mean() for a, b in pairs]
    wanted = sum(w * float(t) for w, t in zip((1 / 16, 1 / 8, 1 / 4, 1), terms, strict=True))
    found = perceptual(net, fake, real)
    assert float(found.detach()) == pytest.approx(wanted, rel=1e-5)
    found.backward()
    assert real.grad is None
    assert fake.grad is not None


@pytest.mark.shared_weights
def test_squeezenet_is_read_at_five_depths() -> None:
    assert perceptual_features("squeezenet").taps == ("relu1", "fire3", "fire5", "fire7", "fire9")
