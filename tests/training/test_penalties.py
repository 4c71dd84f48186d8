"""The penalties of a teacher's training, as a compression takes them over."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from family_runs import with_discriminator
from nets import WIRINGS

from ganpress.models.checkpoint import load, save
from ganpress.models.discriminator import Discriminator
from ganpress.nn.discriminators import build_discriminator
from ganpress.training.discriminator import (
    DiscriminatorWithLoss,
    family_discriminator,
    starting_discriminator,
)
from ganpress.training.shared_settings import DiscriminatorSettings
from ganpress.training.styles import PathPenalty, lazy_ratio, path_loss


def own(r1: float = 10.0, size: int = 16) -> Discriminator:
    torch.manual_seed(0)
    options = {"size": size, "channels": [8, 8, 4][: size.bit_length() - 2]}
    return Discriminator(build_discriminator("stylegan2", **options), "stylegan2", options, r1=r1)


def test_r1_is_computed_in_float32_also_in_a_compression_in_bfloat16() -> None:
    discriminator = own()
    whole, half = (DiscriminatorWithLoss(own=discriminator, half=h) for h in (False, True))
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert not torch.equal(whole(x), half(x))
    assert torch.equal(whole.penalty(x), half.penalty(x))


def test_r1_is_the_squared_slope_by_finite_differences() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        discriminator = DiscriminatorWithLoss(own=own(r1=3.0, size=8))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.Tensor, "float", torch.Tensor.double)
            x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
            found = discriminator.penalty(x).item()
            slope, step = torch.zeros_like(x), 1e-5
            with torch.no_grad():
                for place in range(x.numel()):
                    moved = torch.zeros_like(x).view(-1)
                    moved[place] = step
                    ends = [discriminator(x + s * moved.view_as(x)).sum() for s in (1, -1)]
                    slope.view(-1)[place] = (ends[0] - ends[1]) / (2 * step)
    finally:
        torch.set_default_dtype(torch.float32)
    wanted = 3.0 / 2 * 16 * slope.square().sum().item() / len(x)
    assert found == pytest.approx(wanted, rel=1e-5)


def test_a_path_length_is_that_of_the_jacobian() -> None:
    """|J^T y| of the whole Jacobian, in float64; its mean moves by a hundredth."""
    torch.set_default_dtype(torch.float64)
    try:
        net = copy.deepcopy(WIRINGS["stylegan2"].net()).double()
        path = PathPenalty()
        torch.manual_seed(4)
        found = path_loss(net, path, mixing=0.0, batch=2).item()
        torch.manual_seed(4)
        z, _ = torch.randn(2, 1, net.style_dim)
        torch.rand(())
        noise = [torch.randn(1, 1, side, side) for side in net.sides]
        y = torch.randn(1, 3, 16, 16) / 16
        w = net.mapping(z)[:, None].expand(-1, net.styles, -1).detach()
        jacobian = torch.autograd.functional.jacobian(lambda w: net.synthesis(w, *noise), w)
        of_y = torch.einsum("nchw,nchwmld->ld", y, jacobian)
        length = (of_y.square().sum() / net.styles).sqrt().item()
        assert path.mean.item() == pytest.approx(0.01 * length, rel=1e-9)
        assert found == pytest.approx((0.99 * length) ** 2, rel=1e-9)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("weight", "every", "ratio"), [(2.0, 4, 4 / 5), (10.0, 16, 16 / 17), (0.0, 4, 1.0)]
)
def test_adam_makes_up_for_the_steps_of_a_penalty(weight: float, every: int, ratio: float) -> None:
    assert lazy_ratio(weight, every) == pytest.approx(ratio)


@pytest.mark.parametrize("start", ["teacher", "reset"])
def test_a_teachers_r1_is_that_of_its_compressions(start: str, tmp_path: Path) -> None:
    """From its file to the discriminator that every method starts from."""
    model = with_discriminator(WIRINGS["stylegan2"])
    assert model.discriminator is not None
    model.discriminator.r1, model.discriminator.r1_every = 0.5, 8
    read = load(save(model, tmp_path / "teacher.safetensors"))
    chosen = DiscriminatorSettings(start=start)  # type: ignore[arg-type]
    found = starting_discriminator(chosen, read.discriminator, ("z",))
    assert (found.objective, found.r1, found.r1_every) == ("logistic", 0.5, 8)
    assert [found.is_penalised(step) for step in (0, 1, 8)] == [True, False, True]


@pytest.mark.parametrize(
    ("name", "kind", "objective", "r1"),
    [
        ("stylegan2", "stylegan2", "logistic", 10.0),
        ("sngan", "sngan", "hinge", 0.0),
        ("sngan conditional", "sngan", "hinge", 0.0),
    ],
)
def test_a_fresh_discriminator_is_of_the_familys_kind_and_reads_its_pictures(
    name: str, kind: str, objective: str, r1: float
) -> None:
    wiring = WIRINGS[name]
    found = family_discriminator(wiring.model())
    assert found is not None
    assert (found.kind, found.objective, found.r1) == (kind, objective, r1)
    shown = wiring.inputs(4)
    made = DiscriminatorWithLoss(own=found, reads=wiring.ghost.reads)
    assert made(wiring.model()(*shown), made.condition(shown)).shape[0] == 4
    assert family_discriminator(WIRINGS["cyclegan instance"].model()) is None
