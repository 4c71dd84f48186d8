"""Safeguards of a training stage: divergence detection, restarts, and the best weights."""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ganpress.errors import Diverged
from ganpress.run.card import now_utc
from ganpress.run.files import read_json
from ganpress.run.progress import say
from ganpress.run.run import Run, Stage
from ganpress.types import State

JUMP = 100.0  # a loss this many times its running median has diverged
WINDOW = 101  # losses in the running median
MIN_LOSSES = 20  # losses needed before one can be said to have diverged
FLOOR = 0.01  # the smallest median compared with: an adversarial loss can start near 0


class Watch:
    """Finds a loss above `JUMP` times the median of its last `WINDOW` absolute values."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def __call__(self, loss: Tensor) -> str | None:
        """Compare a loss, a scalar tensor (), with the median of those before it.

        Returns: the reason why it counts as diverged, in words; None where it does not, where there
            are fewer than `MIN_LOSSES` to compare with, or where it is not finite, which is an
            error that `Stage.log` raises.
        """
        value = abs(float(loss.detach()))
        if not math.isfinite(value):
            return None
        median = statistics.median(self.seen) if len(self.seen) >= MIN_LOSSES else math.inf
        self.seen = [*self.seen[1 - WINDOW :], value]
        if value <= JUMP * max(median, FLOOR):
            return None
        return f"the loss is {value:.4g}, more than {JUMP:.0f} times its median of {median:.4g}"

    def state_dict(self) -> dict[str, list[float]]:
        """The last `WINDOW` absolute losses."""
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, list[float]]) -> None:
        """Go on from the losses of `state_dict`."""
        self.seen = list(state["seen"])


class Best:
    """The weights with the smallest measure so far, measured every ``every`` steps.

    Without a measure no weights are kept, and `select` returns the last ones.
    """

    def __init__(
        self, net: nn.Module, measure: Callable[[nn.Module], float] | None, every: int
    ) -> None:
        """Args: measure: smaller is better; called with a copy of ``net`` in eval mode."""
        self.net, self.measure, self.every = net, measure, every
        self.step, self.value = -1, math.inf
        self.state: State = {}
        self.looked = -1  # the last step that was measured

    def look(self, step: int, state: State, *, last: bool = False) -> dict[str, float]:
        """Measure the weights ``state`` every ``every`` steps, and keep them if they are the best.

        Args: last: measure them whatever the step, since the loop has ended.
        Returns: what is to be logged: the measure, or {} where none was taken.
        """
        if self.measure is None or not (last or (step + 1) % self.every == 0):
            return {}
        if last and step == self.looked:
            return {}
        self.looked = step
        shown = copy.deepcopy(self.net).eval()
        shown.load_state_dict(state)
        with torch.no_grad():
            value = self.measure(shown)
        if value < self.value:
            self.step, self.value = step, value
            self.state = {n: t.detach().clone() for n, t in state.items()}
        return {"held-out": value}

    def select(self, last: State) -> State:
        """The best weights seen, or ``last`` where nothing was measured."""
        return self.state or last

    def facts(self) -> dict[str, float]:
        """For the stage's done.json; {} where the last weights are kept by choice."""
        return {"kept_step": self.step, "held_out": self.value} if self.state else {}

    def state_dict(self) -> dict[str, Any]:
        """Step, measure and weights of the best so far."""
        return {"step": self.step, "value": self.value, "state": self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; its weights arrive on the CPU, where they may stay."""
        self.step, self.value, self.state = state["step"], state["value"], dict(state["state"])


def with_restarts(
    run: Run,
    name: str,
    attempt: Callable[[Stage, float], None],
    objects: dict[str, nn.Module],
    most: int,
    *,
    rates: str = "learning rates",
) -> Stage:
    """Run a stage; where it diverges, restart it from its last saved state at half the rates.

    Each restart, with its reason and time, is printed on stderr and written to NAME-restarts.json,
    so that a resumed run goes on at the same rates and the report can list them.

    Args:
        attempt: runs the stage given; called with the stage and the factor of its rates: 1,
            then 1/2, 1/4, ... Where a state was saved, the stage goes on from that.
        objects: the networks trained in it; their weights are restored before each restart.
        most: restarts allowed.
        rates: what the factor multiplies, in the user's words.
    Returns: the stage, run to its end. Raises: Diverged after ``most`` times, with what was tried.
    """
    file = f"{name}-restarts.json"
    path = run.root / file
    was = read_json(path) if path.exists() else {"why": []}
    tried: list[str] = list(was["why"])
    times: list[str] = list(was.get("at", [""] * len(tried)))
    before = {n: copy.deepcopy(o.state_dict()) for n, o in objects.items()}
    while True:
        stage = run.stage(name)
        try:
            attempt(stage, 0.5 ** len(tried))
            return stage
        except Diverged as error:
            if len(tried) >= most:
                message = f" It went back {len(tried)} time(s), halving {rates}."
                raise Diverged(f"{error}{message if tried else ''}") from error
            tried.append(str(error).removeprefix("Training diverged: ").partition(". ")[0])
            times.append(now_utc())
            run.write_json(file, {"stage": name, "why": tried, "at": times, "rates": rates})
            say(
                f"{name}: diverged, {tried[-1]}; it goes back to its last saved state, with "
                f"{rates} times 1/{2 ** len(tried)} ({len(tried)} of at most {most}).",
                quiet=run.quiet,
            )
            for n, o in objects.items():
                o.load_state_dict(before[n])
