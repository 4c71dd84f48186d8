"""The terms of the distance in bfloat16, against float32 and against double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ganpress.data.drawn.draw import draw
from ganpress.losses.distance import Distance, DistanceSettings
from ganpress.losses.terms import gram, style


def maps(seed: int, shift: float = 0.0) -> Tensor:
    """(2, 6, 24, 24), as after a ReLU."""
    drawn = torch.Generator().manual_seed(seed)
    return (torch.randn(2, 6, 24, 24, generator=drawn) + shift).relu()


def test_the_gram_matrix_of_half_precision_maps_is_summed_and_kept_in_float32() -> None:
    x = maps(0, shift=1.0).bfloat16()
    exact = torch.einsum("ncij,ndij->ncd", x.double(), x.double()) / x[0].numel()
    assert gram(x).dtype == torch.float32
    assert torch.allclose(gram(x).double(), exact, rtol=1e-6)


def test_the_gram_matrix_of_float32_maps_is_the_product_it_was() -> None:
    x = maps(0)
    flat = x.permute(0, 2, 3, 1).flatten(1, 2)
    assert torch.equal(gram(x), (flat.transpose(1, 2) @ flat) / flat[0].numel())


def test_the_gradient_of_style_reaches_half_precision_maps() -> None:
    a, b = maps(0).bfloat16().requires_grad_(), maps(1).bfloat16()
    u, v = a.detach().double().requires_grad_(), b.double()
    style({"": a}, {"": b}).backward()  # type: ignore[no-untyped-call]
    of_u, of_v = (torch.einsum("ncij,ndij->ncd", m, m) / m[0].numel() for m in (u, v))
    (of_u - of_v).square().mean().backward()  # type: ignore[no-untyped-call]
    assert a.grad is not None
    assert u.grad is not None
    assert a.grad.dtype == torch.bfloat16
    assert (a.grad.double() - u.grad).norm() < 0.01 * u.grad.norm()


@pytest.mark.parametrize("term", ["content", "style", "unit"])
def test_pictures_that_are_close_are_as_far_apart_in_bfloat16_as_in_float32(term: str) -> None:
    """Half a grey level of noise: roundings of pictures, or of Gram matrices, would be more."""
    drawn = np.stack([np.asarray(draw(3, number, 96)) for number in range(2)])
    x = torch.from_numpy(drawn).permute(0, 3, 1, 2) / 127.5 - 1
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    y = (x + 0.005 * noise).clamp(-1, 1)
    alone = {"content": 0.0, "style": 0.0, "unit": 0.0, term: 1.0}
    settings = DistanceSettings(features="tiny", **alone)
    wanted = float(Distance(settings)(y, x))
    assert float(Distance(settings, half=True)(y, x)) == pytest.approx(wanted, rel=0.12)
