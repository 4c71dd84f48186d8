"""Tiny starts of GAN Slimming's two loops, and how their ends are compared with the reference."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import WIRINGS
from reference_slim import OBJECTIVES, USUAL, Judge, distance
from torch import Tensor, nn

from ganpress.channels.take import scales
from ganpress.data import Batch
from ganpress.losses.distance import Distance
from ganpress.methods.gan_slimming.joint import Pruning
from ganpress.methods.gan_slimming.settings import SlimConfig
from ganpress.models.discriminator import Discriminator
from ganpress.nn.axes import widths
from ganpress.nn.discriminators import build_discriminator
from ganpress.run import stage as stage_module
from ganpress.run.logs import read_log
from ganpress.run.run import Run, Stage
from ganpress.run.settings import checked
from ganpress.training.discriminator import DiscriminatorWithLoss
from ganpress.training.distil import Batches, Budget, Distillation, Networks
from ganpress.training.teacher import CachedTeacher

STEPS, BATCH = 5, 3
TOLERANCE = 1e-6
SETTINGS: dict[str, Any] = {
    "min_channels": 1,
    "beta": 20.0,
    "data": {"size": 32, "batch": BATCH},
    "distance": {"features": "tiny", "content": 1.0, "style": 1e3},
    "discriminator": {"width": 4, "layers": 2, "pool": 2, "lr": 2e-3},
    "sparsify": {"lr": 1e-3, "rho": 1.0, "scale_lr": 0.05},
    "finetune": {"lr": 1e-3, "ema": 0.9},
}
OWN: dict[str, dict[str, Any]] = {
    "patch": {"width": 4, "layers": 2, "norm": "instance"},
    "photo and patch": {"inputs": 6, "width": 4, "layers": 2, "norm": "batch"},
    "munit": {"width": 4, "layers": 2, "scales": 2},
    "spade": {"inputs": 8, "width": 4, "layers": 3},
    "sngan": {"width": 8},
    "sngan of classes": {"width": 8, "classes": 4},
    "stylegan2": {"size": 32, "channels": [8, 8, 4, 4]},
}
"""Discriminators of a teacher's own: kind (the last word but for 'of ...') and options."""


@dataclass(frozen=True)
class Case:
    """One way of running a loop.

    Attributes:
        own: the teacher's own discriminator, of `OWN`; None: a fresh PatchGAN.
        settings: over `SETTINGS`, group by group.
        card: what the file of the teacher's own discriminator says that it was trained under.
        mask: of the distillation; None: pictures are compared as they are.
        pruning: of the joint loop, beside the floors and references.
        rate_factor: of the learning rates (and of rho).
        seconds: that each step takes, of a limit of one minute; None: no limit.
    """

    wiring: str = "cyclegan affine"
    own: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    mask: Callable[[tuple[Tensor, ...], Tensor], Tensor] | None = None
    pruning: Mapping[str, Any] = field(default_factory=dict)
    rate_factor: float = 1.0
    seconds: float | None = None

    def config(self) -> SlimConfig:
        values = dict(SETTINGS)
        for name, change in self.settings.items():
            over = {**values.get(name, {}), **change} if isinstance(change, dict) else change
            values[name] = over
        return checked(SlimConfig, values)

    def budget(self, steps: int = STEPS) -> Budget:
        """As many steps as that, or a minute of the clock and more steps than fit into it."""
        if self.seconds is None:
            return Budget(steps, None, self.rate_factor)
        return Budget(4 * steps, 1.0, self.rate_factor)


@dataclass
class Start:
    """What a loop starts from: the package's objects, and the same for the reference."""

    student: nn.Module
    teacher: nn.Module
    discriminator: DiscriminatorWithLoss
    distance: Distance
    batches: list[Batch]
    config: SlimConfig
    judge: Judge
    twin: nn.Module

    def read(self, batch: Batch) -> tuple[Tensor, ...]:
        """What the generator reads; noise and class are drawn picture after picture."""
        net: Any = self.twin
        if net.reads == ("image",):
            return (batch.x,)
        if net.reads == ("semantics",):
            return (net.encode(batch.labels, batch.instances),)
        drawn = [net.draw(1, 16) for _ in batch.x]
        return tuple(torch.cat(column) for column in zip(*drawn, strict=True))

    def condition(self, inputs: tuple[Tensor, ...]) -> Tensor | None:
        """What the discriminator reads beside the picture."""
        if self.discriminator.kind == "sngan":
            return inputs[1] if len(inputs) > 1 else None
        return inputs[0] if self.discriminator.extra_channels else None

    def real(
        self, batch: Batch, target: Tensor, inputs: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor | None]:
        """What is real to it, and the condition of that."""
        if self.config.discriminator.real == "teacher":
            return target, self.condition(inputs)
        real = batch.x if batch.y is None else batch.y
        if self.discriminator.kind == "sngan" and batch.classes is not None:
            return real, F.one_hot(batch.classes, 4).to(real)
        return real, self.condition(inputs)


def brighter(inputs: tuple[Tensor, ...], target: Tensor) -> Tensor:
    """A mask: 1 where photo and teacher's picture are together brighter than grey."""
    return ((inputs[0] + target).mean(1, keepdim=True) > 0).to(target)


def l_dist_of(s: Start, case: Case, x: tuple[Tensor, ...], made: Tensor, target: Tensor) -> Tensor:
    """L_dist as the settings weigh its terms, of what the mask leaves of the pictures."""
    d = s.config.distance
    if case.mask is not None:
        mask = case.mask(x, target)
        made, target = made * mask, target * mask
    if d.kind == "mse":
        return ((made - target) ** 2).mean()
    weights = {"content": d.content, "style": d.style, "unit": d.unit, "pixel": d.pixel}
    return distance(made, target, s.distance.features, weights)


def start(case: Case) -> Start:
    """Student and teacher with other random weights; scales around 1/2, 1 and 2 in turn."""
    config, wiring = case.config(), WIRINGS[case.wiring]
    teacher, student = wiring.net(0), wiring.net(1, gates=bool(scales(wiring.net(gates=True))))
    with torch.no_grad():
        for k, producers in enumerate(scales(student).values()):
            for scale in producers:
                scale.mul_(2.0 ** (k % 3 - 1))
    torch.manual_seed(7)
    own = None
    if case.own is not None:
        kind = case.own.split(" of ")[0].split()[-1]
        net = build_discriminator(kind, **OWN[case.own])
        own = Discriminator(net, kind, dict(OWN[case.own]), **case.card)
    d = config.discriminator
    discriminator = DiscriminatorWithLoss(
        width=d.width,
        layers=d.layers,
        pooled=d.pooled,
        own=own,
        reads=student.reads,
        fixed=d.fixed,
    )
    found = Distance(config.distance)
    if found.features is not None and torch.get_default_dtype() == torch.float64:
        found.features.double()
    said = case.card
    judge = Judge(
        copy.deepcopy(discriminator.net),
        OBJECTIVES[said["objective"]] if "objective" in said else USUAL[discriminator.kind],
        pooled=d.pooled if own is None else said.get("pooled", False),
        one_pass=case.own not in ("photo and patch", "stylegan2"),
        fixed=d.fixed,
        r1=said.get("r1", 0.0),
        r1_every=said.get("r1_every", 16),
    )
    data = pictures_of(case.wiring)
    return Start(
        student, teacher, discriminator, found, data, config, judge, copy.deepcopy(student)
    )


def pictures_of(wiring: str, steps: int = 20) -> list[Batch]:
    """Noise as photos and their targets, label maps, and classes; where a generator reads noise
    there are no targets. Crops are not limited (-1)."""
    side, draw = (64 if wiring == "gaugan" else 32), torch.Generator().manual_seed(5)
    found = []
    for _ in range(steps):
        x, y = (torch.rand(BATCH, 3, side, side, generator=draw) * 2 - 1 for _ in range(2))
        labels, things = (
            torch.randint(n, (BATCH, 8, 8), generator=draw).repeat_interleave(side // 8, 1)
            for n in (4, 3)
        )
        maps = (m.repeat_interleave(side // 8, 2) for m in (labels, things))
        classes = torch.randint(4, (BATCH,), generator=draw)
        target = None if wiring.startswith("sngan") else y
        found.append(Batch(x, torch.full((BATCH,), -1), target, *maps, classes))
    return found


def cost_of(net_widths: Mapping[str, int]) -> Any:
    """A cost that is no sum over groups: products of neighbours, as in a chain of convolutions."""

    def products(widths: Mapping[str, int]) -> int:
        sizes = [widths[g] for g in sorted(widths)]
        return sum(a * b for a, b in pairwise([3, *sizes, 3]))

    whole = products(net_widths)
    return lambda widths: products(widths) / whole


@contextmanager
def in_double() -> Iterator[None]:
    """Everything in float64, also what the package casts to float: sums in another order then
    differ by 1e-16 and Adam's division does not blow that up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


@dataclass
class Clock:
    """Time as a stage sees it; it passes only where a batch is fetched."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


def arguments(
    case: Case, begun: Start, clock: Clock
) -> tuple[Networks, Batches, Distillation | None, SlimConfig]:
    """The positional arguments that both loops have after the stage."""
    teacher = CachedTeacher(copy.deepcopy(begun.teacher))
    c = begun.config

    def batches(first: int) -> Iterator[Batch]:
        for batch in begun.batches[first:]:
            clock.now += case.seconds or 0.0
            yield batch

    networks = Networks(begun.student, teacher, begun.discriminator)
    distillation = Distillation(begun.distance, c.beta, case.mask) if c.beta > 0 else None
    return networks, batches, distillation, c


def pruning_of(case: Case, begun: Start, references: Mapping[str, float]) -> Pruning:
    """What the joint loop prunes: no group below `min_channels`."""
    floors = dict.fromkeys(widths(begun.student), begun.config.min_channels)
    return Pruning(floors, references=references, **case.pruning)


def stage_of(root: Path, name: str, patch: pytest.MonkeyPatch, clock: Clock) -> Stage:
    """A stage that logs each step and lives by this clock."""
    patch.setattr(stage_module, "time", clock)
    return Run(root, quiet=True, log_every=1, save_every_s=1e9).stage(name)


def left_by(stage: Stage) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """The state and the log of a loop that has ended."""
    state = torch.load(stage.root / "state.pt", weights_only=True)
    return state["of"], read_log(stage.root / "log.jsonl")


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested dicts and lists by dotted names."""
    if isinstance(value, Mapping):
        items: Any = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return {name: value}
    return {k: v for key, inner in items for k, v in flat(inner, f"{name}.{key}").items()}


def largest_difference(found: Any, wanted: Any) -> tuple[float, str]:
    """Of two nests of numbers, in units of each tensor's largest value; and where it is."""
    a, b = flat(found), flat(wanted)
    assert a.keys() == b.keys(), sorted(a.keys() ^ b.keys())[:4]
    worst = (0.0, "")
    for name, value in b.items():
        if name.endswith(".fused"):  # which kernel an optimiser's step is
            continue
        if value is None or isinstance(value, bool | str):
            assert a[name] == value, name
            continue
        x, y = torch.as_tensor(a[name]).double(), torch.as_tensor(value).double()
        if x.numel():
            unit = max(float(y.abs().max()), 1e-12)
            worst = max(worst, (float((x - y).abs().max()) / unit, name))
    return worst


def assert_same(found: Any, wanted: Any, tolerance: float = TOLERANCE) -> None:
    difference, name = largest_difference(found, wanted)
    assert difference <= tolerance, f"{name} differs by {difference:.2g}"


def scalars(log: list[dict[str, float]], *names: str) -> list[list[float]]:
    """These numbers of each step of a log."""
    return [[line[name] for name in names] for line in log]


def discriminator_state(judge: Judge) -> dict[str, Tensor]:
    return {f"net.{n}": t for n, t in judge.net.state_dict().items()}


def assert_close(found: Any, wanted: Any) -> None:
    """To a millionth of each tensor's largest number; what a bias that a norm takes away gets as
    its gradient is rounding."""
    a, b = (
        {n: v for n, v in flat(of).items() if not n.endswith(".fused")} for of in (found, wanted)
    )  # the same step in one kernel
    assert a.keys() == b.keys(), sorted(a.keys() ^ b.keys())[:4]
    for name, value in b.items():
        if name.endswith(".fused"):  # which kernel an optimiser's step is
            continue
        if value is None or isinstance(value, bool | str):
            assert a[name] == value, name
            continue
        x, y = (torch.as_tensor(v).double() for v in (a[name], value))
        noise = 1e-18 if name.endswith("exp_avg_sq") else 1e-9
        noise = 1e-5 if name.endswith("bias") else noise  # a hundredth of the smallest step
        torch.testing.assert_close(x, y, rtol=0, atol=1e-6 * float(y.abs().max()) + noise, msg=name)
