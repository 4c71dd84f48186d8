"""The norms of MUNIT's decoder, written out on a few numbers."""

from __future__ import annotations

import torch

from ganpress.nn.adain import AdaIN, SampleNorm
from ganpress.nn.axes import Axis


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 2 + 1


def test_a_sample_is_normalised_by_its_unbiased_deviation_plus_epsilon() -> None:
    x, norm = drawn(2, 3, 2, 2), SampleNorm(Axis("a", 3), eps=0.25)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
        norm.bias.copy_(torch.tensor([0.0, 3.0, -1.0]))
    for sample, made in zip(x.double(), norm(x), strict=True):
        mean = sample.sum() / 12
        deviation = ((sample - mean).square().sum() / 11).sqrt()
        for c, (weight, bias) in enumerate(((1.0, 0.0), (-2.0, 3.0), (0.5, -1.0))):
            wanted = (sample[c] - mean) / (deviation + 0.25) * weight + bias
            torch.testing.assert_close(made[c].double(), wanted, rtol=1e-5, atol=1e-5)


def test_adain_gives_each_channel_the_mean_and_the_deviation_of_its_style() -> None:
    x, bias, scale = drawn(2, 3, 4, 4), drawn(2, 3), drawn(3, 2).T
    made = AdaIN()(x, bias, scale)
    torch.testing.assert_close(made.mean((2, 3)), bias, rtol=1e-4, atol=1e-4)
    deviation = made.std((2, 3), correction=0)
    torch.testing.assert_close(deviation, scale.abs(), rtol=1e-3, atol=1e-4)
    wanted = (x - x.mean((2, 3), True)) * scale[:, :, None, None]
    assert bool((((made - bias[:, :, None, None]) * wanted) >= -1e-6).all())  # the scale's sign
