"""Optimisers of many independent problems at once: each row of a matrix is one problem.

A row's result does not depend on the rows beside it: whatever an optimiser learns of the curvature
or of step sizes, it learns of each row by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

Losses = Callable[[Tensor], Tensor]
"""(n, d) -> (n,): the loss of each row, which depends on that row alone; with gradients."""


class RowOptimiser(Protocol):
    """What optimises the rows, one evaluation of all losses a step."""

    @property
    def x(self) -> Tensor:
        """(n, d), the rows so far."""

    def step(self, losses: Losses, progress: float) -> Tensor:
        """Evaluate the losses once, move; the losses that were evaluated, (n,).

        Args: progress: 0 to 1, of all steps.
        """

    def state_dict(self) -> dict[str, Any]:
        """Tensors by name: all that the next steps depend on."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take them back."""


class RowLBFGS:
    """L-BFGS (Nocedal 1980) with backtracking by Armijo's condition, for each row by itself.

    As `torch.optim.LBFGS`: the first step is min(1, 1 / |g|_1) long, the others ``lr``; pairs whose
    curvature is not positive are not kept. A step that does not lower its row's loss enough is
    halved until one does, so that no row ever gets worse.
    """

    ENOUGH = 1e-4  # of what the slope promises (Nocedal & Wright, 3.1)
    SHORTEST = 1e-4  # of a step: then the row forgets its curvature and goes down the gradient

    def __init__(self, x: Tensor, *, lr: float = 1.0, history: int = 20) -> None:
        self.lr, n = lr, len(x)
        self._x = x.detach().clone()
        self.seen = torch.zeros((), dtype=torch.bool)
        self.loss, self.step_size = x.new_zeros(n), x.new_zeros(n)
        self.grad, self.direction = torch.zeros_like(self._x), torch.zeros_like(self._x)
        self.moves, self.changes = (x.new_zeros(history, *x.shape) for _ in range(2))

    @property
    def x(self) -> Tensor:
        """(n, d), the best rows so far."""
        return self._x

    def step(self, losses: Losses, progress: float) -> Tensor:
        """One evaluation; ``progress`` is not used. Rows whose loss is not finite step back."""
        trial = self.x + self.step_size[:, None] * self.direction
        loss, grad = _evaluated(losses, trial)
        if not self.seen:
            self.seen, self.loss, self.grad = torch.ones((), dtype=torch.bool), loss, grad
            self._restart(torch.ones_like(loss, dtype=torch.bool))
            return loss
        slope = (self.grad * self.direction).sum(1)
        enough = self.loss + self.ENOUGH * self.step_size * slope
        good = loss.isfinite() & grad.isfinite().all(1) & (loss <= enough)
        self._accept(good, trial, loss, grad)
        self.step_size = torch.where(good, torch.full_like(loss, self.lr), self.step_size / 2)
        uphill = (self.grad * self.direction).sum(1) >= 0
        self._restart(uphill | (self.step_size < self.SHORTEST * self.lr) & ~good)
        return loss

    def _accept(self, good: Tensor, trial: Tensor, loss: Tensor, grad: Tensor) -> None:
        """Move the rows for which ``good`` is true, and learn from their move."""
        move, change = trial - self.x, grad - self.grad
        curved = good & ((move * change).sum(1) > 1e-10)
        for kept, newest in ((self.moves, move), (self.changes, change)):
            kept[1:, curved] = kept[:-1, curved].clone()
            kept[0, curved] = newest[curved]
        self._x = torch.where(good[:, None], trial, self.x)
        self.grad = torch.where(good[:, None], grad, self.grad)
        self.loss = torch.where(good, loss, self.loss)
        self.direction = torch.where(good[:, None], -self._by_curvature(self.grad), self.direction)

    def _by_curvature(self, grad: Tensor) -> Tensor:
        """The two-loop recursion: the inverse Hessian's estimate times the gradient."""
        product = (self.moves * self.changes).sum(2)  # (history, n); 0 where nothing is kept
        rho = torch.where(product > 0, 1 / product.clamp_min(1e-30), torch.zeros_like(product))
        q, weights = grad.clone(), []
        for move, change, r in zip(self.moves, self.changes, rho, strict=True):
            weights.append(r * (move * q).sum(1))
            q = q - weights[-1][:, None] * change
        size = self.changes[0].square().sum(1)
        known = product[0] > 0
        q = (
            q
            * torch.where(known, product[0] / size.clamp_min(1e-30), torch.ones_like(size))[:, None]
        )
        kept = list(zip(self.moves, self.changes, rho, weights, strict=True))
        for move, change, r, weight in reversed(kept):
            q = q + (weight - r * (change * q).sum(1))[:, None] * move
        return q

    def _restart(self, rows: Tensor) -> None:
        """These rows go down their gradient, as at the start."""
        self.moves[:, rows], self.changes[:, rows] = 0, 0
        first = self.lr * (1 / self.grad.abs().sum(1).clamp_min(1e-30)).clamp_max(1)
        self.direction = torch.where(rows[:, None], -self.grad, self.direction)
        short = self.step_size < self.SHORTEST * self.lr  # and shorter still, after a failure
        again = torch.where(short & (self.step_size > 0), self.step_size * first, first)
        self.step_size = torch.where(rows, again, self.step_size)

    _STATE = ("_x", "seen", "loss", "step_size", "grad", "direction", "moves", "changes")

    def state_dict(self) -> dict[str, Any]:
        """All that the next steps depend on."""
        return {name: getattr(self, name) for name in self._STATE}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take it back, onto the device of the rows."""
        device = self.x.device
        for name in self._STATE:
            setattr(self, name, state[name].to(device))


class RowAdam:
    """Adam under StyleGAN2's projector's rate: up in the first 5 %, down by a cosine in the last
    25 % (Karras et al., CVPR 2020, appendix D)."""

    UP, DOWN = 0.05, 0.25

    def __init__(self, x: Tensor, *, lr: float = 0.1) -> None:
        self.lr = lr
        self.rows = x.detach().clone().requires_grad_(True)
        self._adam = torch.optim.Adam([self.rows], lr=lr, betas=(0.9, 0.999))

    @property
    def x(self) -> Tensor:
        """(n, d), the rows after the last step."""
        return self.rows.detach()

    def rate(self, progress: float) -> float:
        """The learning rate at this share of all steps."""
        down = min(1.0, (1.0 - progress) / self.DOWN)
        down = 0.5 - 0.5 * torch.cos(torch.tensor(down * torch.pi)).item()
        return self.lr * down * min(1.0, progress / self.UP)

    def step(self, losses: Losses, progress: float) -> Tensor:
        """One step of every row; Adam's moments are those of each number by itself."""
        self._adam.param_groups[0]["lr"] = self.rate(progress)
        loss, self.rows.grad = _evaluated(losses, self.rows)
        self._adam.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The rows and Adam's moments."""
        return {"x": self.x, "adam": self._adam.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take them back."""
        with torch.no_grad():
            self.rows.copy_(state["x"])
        self._adam.load_state_dict(state["adam"])


def _evaluated(losses: Losses, x: Tensor) -> tuple[Tensor, Tensor]:
    """The losses and their gradients: the gradient of the sum is each row's own."""
    with torch.enable_grad():
        rows = x.detach().requires_grad_(True)
        loss = losses(rows)
        (grad,) = torch.autograd.grad(loss.sum(), rows)
    return loss.detach(), grad
