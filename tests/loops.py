"""What the reference steps of the training loops share: float64 loops, plain networks, comparing.

A reference step is written out from its paper in the test; here is what is not of any one paper.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import golden
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ganpress.data import Batch, Images, stream

Tensors = dict[str, Tensor]
ORIGINAL = ".parametrizations.weight.original"


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    """Each test of a module that imports this runs in float64: rounding can then neither make a
    difference nor hide one."""
    with golden.float64():
        yield


def seed(number: int, salt: str) -> None:
    """Torch's seed in a run of this seed: for "init", or for a step, such as "train/3"."""
    digest = hashlib.sha256(f"{number}/{salt}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def batches(images: Images, config: Any) -> list[Batch]:
    """The training's batches, in float64."""
    data = {"size": config.data.size, "flip": config.data.flip, "load_size": config.data.load_size}
    steps = {"batch": config.batch, "seed": config.seed, "first": 0, "total": config.steps}
    return [batch.to("cpu") for batch in stream(images, **data, **steps, workers=0)]


def followed(average: Tensors, state: Mapping[str, Tensor], updates: int, decay: float) -> Tensors:
    """The average after its update number ``updates`` (from 1): decay * average + (1 - decay) *
    state, the decay rising as (1 + t) / (10 + t) up to its value; counters are copied."""
    d = min(decay, (1 + updates) / (10 + updates))
    mixed = {n: d * average[n] + (1 - d) * t.detach() for n, t in state.items()}
    return {n: mixed[n] if t.is_floating_point() else t.clone() for n, t in state.items()}


def adam(tensors: Sequence[Tensor], lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """Adam with the default eps, betas as in the paper: those of the mean and of the square."""
    return torch.optim.Adam(tensors, lr=lr, betas=betas, eps=1e-8)


class Normed:
    """A network on tensors of its own, its spectral norm written out (Miyato et al., eq. 6 to 8).

    Made from a network whose layers are under torch's spectral norm, whose vectors it starts from;
    ``tensors`` have that network's names, so that the two can be compared.
    """

    def __init__(self, net: nn.Module) -> None:
        self.tensors = {n: t.detach().clone() for n, t in net.state_dict().items()}
        self.names = [n for n, _ in net.named_parameters()]
        self.layers = [n.removesuffix(ORIGINAL) for n in self.tensors if n.endswith(ORIGINAL)]
        self.plain = deepcopy(net).train()
        for layer in self.layers:
            at = self.plain.get_submodule(layer)
            parametrize.remove_parametrizations(at, "weight", leave_parametrized=False)
        for name in self.names:
            self.tensors[name].requires_grad_(True)

    @property
    def parameters(self) -> list[Tensor]:
        return [self.tensors[name] for name in self.names]

    def weights(self, *, iterations: int = 1) -> Tensors:
        """What the layers multiply by, W / sigma(W), after a power iteration of each."""
        found = {n: t for n, t in self.tensors.items() if ".parametrizations." not in n}
        for layer in self.layers:
            whole = self.tensors[layer + ORIGINAL]
            matrix = whole.flatten(1)
            u, v = (self.tensors[f"{layer}.parametrizations.weight.0._{k}"] for k in "uv")
            for _ in range(iterations):
                with torch.no_grad():
                    u = matrix @ v / (matrix @ v).norm()
                    v = matrix.T @ u / (matrix.T @ u).norm()
            self.tensors[f"{layer}.parametrizations.weight.0._u"] = u
            self.tensors[f"{layer}.parametrizations.weight.0._v"] = v
            found[f"{layer}.weight"] = whole / (u @ matrix @ v)
        return found

    def __call__(self, weights: Tensors, *inputs: Tensor) -> Any:
        """Run with these ``weights()``, in training mode."""
        return functional_call(self.plain, weights, inputs)


@dataclass
class Reference:
    """How a reference ends: what state.pt holds of a run, and what was logged in each step."""

    nets: dict[str, Tensors]
    optimisers: dict[str, Optimizer]
    average: Tensors
    log: list[dict[str, float]] = field(default_factory=list)


def compare(folder: Path, reference: Reference) -> None:
    """A run's log, networks, optimisers and average are the reference's, to 1e-4."""
    lines = [json.loads(t) for t in (folder / "train" / "log.jsonl").read_text().splitlines()]
    for line, wanted in zip(lines, reference.log, strict=True):
        assert {n: line[n] for n in wanted} == pytest.approx(wanted, rel=1e-4, abs=1e-9), line
    held = torch.load(folder / "train" / "state.pt", weights_only=True)["of"]
    for name, tensors in reference.nets.items():
        same(held[name], tensors, name)
    for name, optimiser in reference.optimisers.items():
        wanted = optimiser.state_dict()
        assert held[name]["state"].keys() == wanted["state"].keys(), name
        for at, moments in wanted["state"].items():
            found = held[name]["state"][at]
            found = {**found, "step": found["step"].to(moments["step"].dtype)}  # a count
            same(found, moments, f"{name} {at}", noise=1e-11)
        [ours], [theirs] = held[name]["param_groups"], wanted["param_groups"]
        for key in ("lr", "betas", "eps", "weight_decay", "amsgrad"):
            assert ours[key] == pytest.approx(theirs[key]), f"{name} {key}"
    same(held["average"]["shadow"], reference.average, "average")


def same(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str, *, noise: float = 1e-6
) -> None:
    """The same names, and numbers to 1e-4; those of the least part of a tensor to 1e-5 of its
    largest. ``noise``: what a number that does not learn, such as a bias before a norm, may differ.
    """
    assert found.keys() == wanted.keys(), what
    for name, tensor in wanted.items():
        atol = noise + 1e-5 * float(tensor.detach().abs().max())
        told = partial("{}: {}: {}".format, what, name)
        torch.testing.assert_close(found[name], tensor.detach(), rtol=1e-4, atol=atol, msg=told)


@contextmanager
def each_step_only_its_own_gradients() -> Iterator[None]:
    """Within, a backward pass that leaves gradients in another optimiser's network is an error."""
    left: dict[int, tuple[Optimizer, list[Tensor | None]]] = {}

    def look(optimiser: Optimizer, *_: Any) -> None:
        for other, before in left.values():
            if other is not optimiser:
                for was, now in zip(before, _gradients(other), strict=True):
                    assert (was is None) == (now is None), "a step reached the other network"
                    assert was is None or now is None or torch.equal(was, now)
        left[id(optimiser)] = (optimiser, _gradients(optimiser))

    handle = register_optimizer_step_pre_hook(look)
    try:
        yield
    finally:
        handle.remove()


def _gradients(optimiser: Optimizer) -> list[Tensor | None]:
    held = [p for group in optimiser.param_groups for p in group["params"]]
    return [None if p.grad is None else p.grad.clone() for p in held]
