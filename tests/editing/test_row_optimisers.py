"""Optimisers of many rows: torch's own steps, independence of the rows, and resuming."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ganpress.editing.row_optimisers import Losses, RowAdam, RowLBFGS, RowOptimiser

SCALES = torch.linspace(0.5, 2.0, 6)


def quadratic(x: Tensor) -> Tensor:
    """A bowl for each row, its middle at the row's own place."""
    middles = torch.arange(len(x), dtype=x.dtype)[:, None]
    return (SCALES * (x - middles).square()).sum(1)


def rosenbrock(x: Tensor) -> Tensor:
    a, b = x.unbind(1)
    return (1 - a).square() + 100 * (b - a.square()).square()


def run(rows: RowOptimiser, losses: Losses, steps: int) -> Tensor:
    for step in range(steps):
        rows.step(losses, step / steps)
    return rows.x


def start(n: int, d: int = 6) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(3))


def test_lbfgs_takes_torchs_steps_where_each_is_good_enough() -> None:
    x = start(1)
    ours = RowLBFGS(x, history=5)
    theirs = x.clone().requires_grad_()
    torchs = torch.optim.LBFGS([theirs], lr=1, max_iter=7, history_size=5, tolerance_change=0)

    def closure() -> Tensor:
        torchs.zero_grad()
        loss = quadratic(theirs).sum()
        loss.backward()
        return loss

    torchs.step(closure)
    assert torch.allclose(run(ours, quadratic, 8), theirs, atol=1e-5)
    assert ours.loss.item() < 1e-3 * quadratic(x).item()


def test_lbfgs_finds_the_end_of_a_bent_valley_and_never_gets_worse() -> None:
    rows = RowLBFGS(torch.tensor([[-1.2, 1.0], [0.0, 0.0], [2.0, -1.0]]))
    before = torch.full((3,), torch.inf)
    for _ in range(150):
        rows.step(rosenbrock, 0)
        assert (rows.loss <= before).all()
        before = rows.loss
    assert torch.allclose(rows.x, torch.ones(3, 2), atol=1e-2)


def test_lbfgs_steps_back_where_a_loss_is_not_finite() -> None:
    def cliff(x: Tensor) -> Tensor:
        return torch.where(
            x[:, 0] < 1, (x[:, 0] - 0.9).square(), torch.full_like(x[:, 0], torch.nan)
        )

    rows = RowLBFGS(torch.tensor([[-30.0], [0.0]]), lr=40.0)
    run(rows, cliff, 60)
    assert torch.allclose(rows.x, torch.tensor([[0.9], [0.9]]), atol=1e-3)


@pytest.mark.parametrize("kind", [RowLBFGS, RowAdam])
def test_a_rows_result_does_not_depend_on_the_rows_beside_it(
    kind: type[RowLBFGS] | type[RowAdam],
) -> None:
    x = torch.cat([start(3, 2), 50 * start(1, 2)])
    together = run(kind(x), rosenbrock, 25)
    for i in range(4):
        assert torch.allclose(together[i], run(kind(x[i : i + 1]), rosenbrock, 25)[0], rtol=1e-4)


@pytest.mark.parametrize("kind", [RowLBFGS, RowAdam])
def test_a_state_goes_on_bit_for_bit(kind: type[RowLBFGS] | type[RowAdam]) -> None:
    whole = run(kind(start(2, 2)), rosenbrock, 20)
    first, second = kind(start(2, 2)), kind(torch.zeros(2, 2))
    for step in range(11):
        first.step(rosenbrock, step / 20)
    second.load_state_dict(first.state_dict())
    for step in range(11, 20):
        second.step(rosenbrock, step / 20)
    assert torch.equal(second.x, whole)


def test_adams_rate_rises_for_a_twentieth_and_falls_over_the_last_quarter() -> None:
    adam = RowAdam(start(1), lr=0.4)
    assert [adam.rate(p) for p in (0, 0.025, 0.05, 0.75)] == pytest.approx([0, 0.2, 0.4, 0.4])
    assert [adam.rate(p) for p in (0.875, 1.0)] == pytest.approx([0.2, 0.0], abs=1e-7)
