"""The retraining's loop against the paper's algorithm, written out (`reference_cagc`)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import reference_cagc as paper
import torch
import torch.nn.functional as F
from nets import WIRINGS
from reference_slim import OBJECTIVES, USUAL, History, Judge, averaged
from slim_setup import (
    BATCH,
    OWN,
    Clock,
    assert_close,
    discriminator_state,
    in_double,
    left_by,
    pictures_of,
    scalars,
    stage_of,
)
from thin import thinned
from torch import Tensor, nn

from ganpress.data import Batch
from ganpress.losses.features import load_features
from ganpress.methods.base import Given
from ganpress.methods.content_aware.requests import resolve
from ganpress.methods.content_aware.retrain import Objective, retrain
from ganpress.methods.content_aware.settings import ContentAwareConfig
from ganpress.methods.content_aware.terms import terms_of
from ganpress.models.checkpoint import Model
from ganpress.models.discriminator import Discriminator
from ganpress.nn.discriminators import build_discriminator
from ganpress.run.run import Run
from ganpress.run.settings import checked
from ganpress.training.discriminator import DiscriminatorWithLoss
from ganpress.training.distil import Budget, Networks
from ganpress.training.teacher import CachedTeacher

STEPS = 3
OF_16 = {"size": 16, "channels": [8, 8, 4]}
OWN_HERE = {**OWN, "stylegan2 of 16": OF_16, "spade of 8": {**OWN["spade"], "inputs": 8}}
TAPS = ("layers.3", "layers.4")  # of the 16 px of the tiny StyleGAN2
SETTINGS: dict[str, Any] = {
    "min_channels": 1,
    "mixing": 1.0,
    "data": {"size": 32, "batch": BATCH},
    "distance": {"features": "tiny"},
    "cut": {"ratio": 0.5},
    "path": {"every": 2},
    "finetune": {"lr": 1e-3, "ema": 0.9},
    "discriminator": {"width": 4, "layers": 2, "lr": 2e-3},
}
R1 = {"r1": 10.0, "r1_every": 2}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with in_double():
        yield


@dataclass(frozen=True)
class Case:
    """One way of running the loop.

    Attributes:
        own: the teacher's discriminator (`OWN_HERE`); None: a fresh PatchGAN. card: of it.
        settings: over `SETTINGS`, group by group.
        betas: of Adam, as the family's teachers have them.
        real: what is real to the discriminator. masked: there is a mask.
        seconds: that a step takes, of a limit of a minute; None: no limit.
    """

    wiring: str = "stylegan2"
    own: str | None = "stylegan2 of 16"
    card: Mapping[str, Any] = field(default_factory=lambda: R1)
    settings: Mapping[str, Any] = field(default_factory=dict)
    betas: tuple[float, float] = (0.0, 0.99)
    real: str = "images"
    masked: bool = True
    rate_factor: float = 1.0
    seconds: float | None = None

    def config(self) -> ContentAwareConfig:
        values = {**SETTINGS, "discriminator": {**SETTINGS["discriminator"], "real": self.real}}
        for name, change in self.settings.items():
            over = {**values.get(name, {}), **change} if isinstance(change, dict) else change
            values[name] = over
        return checked(ContentAwareConfig, values)


def soft(inputs: tuple[Tensor, ...], target: Tensor, given: Tensor | None = None) -> Tensor:
    """A mask between 0 and 1, of which much is near 0."""
    return torch.sigmoid(3 * target.mean(1, keepdim=True) - 1)


@dataclass
class Start:
    """What the loop starts from: the package's objects, and the same for the reference."""

    config: ContentAwareConfig
    student: nn.Module
    teacher: nn.Module
    discriminator: DiscriminatorWithLoss
    objective: Objective
    batches: list[Batch]
    judge: Judge
    twin: nn.Module


def start(case: Case) -> Start:
    wiring = WIRINGS[case.wiring]
    teacher, student = wiring.net(0), wiring.net(1)
    torch.manual_seed(7)
    own = None
    if case.own is not None:
        kind = case.own.split(" of ")[0].split()[-1]
        net = build_discriminator(kind, **OWN_HERE[case.own])
        own = Discriminator(net, kind, dict(OWN_HERE[case.own]), **case.card)
    c = resolve(Given(Model(teacher, wiring.family, wiring.settled, {}, own), None), case.config())
    assert c.finetune.betas == case.betas
    d = c.discriminator
    discriminator = DiscriminatorWithLoss(
        width=d.width, layers=d.layers, pooled=d.pooled, own=own, reads=student.reads, fixed=d.fixed
    )  # type: ignore[arg-type]
    terms = terms_of(c, None)
    for features in (terms.distance and terms.distance.features, terms.features):
        if features is not None:
            features.double()
    taps = TAPS if c.distil.relation else ()
    batches = pictures_of(case.wiring)
    if case.wiring == "stylegan2":
        small = [F.avg_pool2d(b.x, 2) for b in batches]
        batches = [Batch(x, b.ids, None) for x, b in zip(small, batches, strict=True)]
    judge = Judge(
        copy.deepcopy(discriminator.net),
        OBJECTIVES[said] if (said := case.card.get("objective")) else USUAL[discriminator.kind],
        pooled=False,
        one_pass=case.own not in ("photo and patch", "stylegan2 of 16"),
        fixed=d.fixed,
        r1=discriminator.r1,
        r1_every=discriminator.r1_every,
    )
    mask = soft if case.masked else None
    minimised = Objective(terms, mask, None, taps)
    twin = copy.deepcopy(student)
    return Start(c, student, teacher, discriminator, minimised, batches, judge, twin)


class Passes:
    """What a step of the reference shows to both networks."""

    def __init__(self, s: Start, case: Case) -> None:
        self.s, self.styled = s, case.wiring == "stylegan2"

    def draw(self, batch: Batch, *, shifted: bool) -> Any:
        """Its inputs, and a call: network -> its pictures and maps."""
        net: Any = self.s.twin
        if not self.styled:
            x = self._read(net, batch)
            return x, lambda of: ([of(*x)], {})
        c = self.s.config
        z, z2, crossover, noise = paper.drawn(net, BATCH, c.mixing)
        inputs = (z, *noise)
        if not (shifted and c.distil.relation):
            return inputs, lambda of: (of.rgbs(paper.styles(of, z, z2, crossover), *noise), {})
        direction = torch.randn(BATCH, net.style_dim)
        direction = direction / direction.norm(dim=1, keepdim=True)
        shift = c.distil.shift * torch.randn(BATCH, 1) * direction

        def run(of: Any) -> Any:
            w = paper.styles(of, z, z2, crossover)
            moved = torch.stack([w[:, k] + shift for k in range(w.shape[1])], 1)
            both = torch.cat([w, moved])
            maps = [torch.cat([m, m]) for m in noise]
            pictures, found = paper.with_maps(of, TAPS, lambda: of.rgbs(both, *maps))
            return [p[:BATCH] for p in pictures], found

        return inputs, run

    def _read(self, net: Any, batch: Batch) -> tuple[Tensor, ...]:
        if net.reads == ("image",):
            return (batch.x,)
        if net.reads == ("semantics",):
            return (net.encode(batch.labels, batch.instances),)
        drawn = [net.draw(1, batch.x.shape[-1]) for _ in batch.x]
        columns = [torch.cat(column) for column in zip(*drawn, strict=True)]
        return (batch.x, *columns[1:]) if net.reads[0] == "image" else tuple(columns)

    def condition(self, inputs: tuple[Tensor, ...]) -> Tensor | None:
        if self.s.discriminator.kind == "sngan":
            return inputs[1] if len(inputs) > 1 else None
        return inputs[0] if self.s.discriminator.extra_channels else None


def reference(s: Start, case: Case, run: Run) -> dict[str, Any]:
    """Discriminator, R1, student, path length, average: step by step."""
    c, d, D, G, T = s.config, s.config.distil, s.judge, s.twin, s.teacher
    weight, every = (2.0, 2) if case.wiring == "stylegan2" else (0.0, 4)
    if c.path.weight == 0:
        weight = 0.0
    adam = torch.optim.Adam(G.parameters(), **paper.lazy(1e-3, case.betas, every, weight))
    adam_d = torch.optim.Adam(D.net.parameters(), **paper.lazy(2e-3, case.betas, D.r1_every, D.r1))
    rates = [(o, case.rate_factor * o.param_groups[0]["lr"]) for o in (adam, adam_d)]
    passes, history = Passes(s, case), History(c.discriminator.pool)
    features, mean, logged = load_features("tiny").double(), torch.zeros(()), []
    shadow = copy.deepcopy(G.state_dict())
    gan = c.discriminator.weight
    G.train()
    for step, batch in enumerate(s.batches[:STEPS]):
        run.seed_all(f"finetune/{step}")
        if f := c.finetune.decay:
            progress = step / STEPS if case.seconds is None else step * case.seconds / 60
            for optimiser, lr in rates:
                optimiser.param_groups[0]["lr"] = lr * min(1.0, (1 - progress) / f)
        else:
            for optimiser, lr in rates:
                optimiser.param_groups[0]["lr"] = lr
        line: dict[str, float] = {}

        if gan > 0 and not c.discriminator.fixed:
            inputs, call = passes.draw(batch, shifted=False)
            with torch.no_grad():
                fake = call(G)[0][-1]
            seen = passes.condition(inputs)
            real, of_real = batch.x if batch.y is None else batch.y, seen
            if case.real == "teacher":
                with torch.no_grad():
                    real = call(T)[0][-1]
            elif D.net.__class__.__name__ == "SnganDiscriminator" and seen is not None:
                of_real = F.one_hot(batch.classes, 4).to(real)
            shown = fake if seen is not None else history.show(fake)
            loss = D.d_loss(real, shown, of_real, seen)
            adam_d.zero_grad()
            loss.backward()
            adam_d.step()
            line["d"] = float(loss.detach())
            if D.r1 and step % D.r1_every == 0:
                adam_d.zero_grad()
                penalty = D.penalty(step, real, of_real)
                penalty.backward()
                adam_d.step()
                line["r1"] = float(penalty.detach())

        inputs, call = passes.draw(batch, shifted=True)
        with torch.no_grad():
            t, of_t = call(T)
        student, of_s = call(G)
        m = soft(inputs, t[-1]) if case.masked else None
        compared = (student, t) if d.mode == "intermediate" else (student[-1:], t[-1:])
        terms: dict[str, Any] = {}
        if d.pixel:
            terms["pixel"] = 3 * paper.pixel(*compared, m, within=d.mask_norm)
        if d.perceptual:
            terms["perceptual"] = 3 * paper.unit(features, student[-1], t[-1], m)
        if d.mmd:
            last = list(features(t[-1]))[-1]
            a, b = (features(p)[last].mean((2, 3)) for p in (student[-1], t[-1]))
            terms["mmd"] = d.mmd * paper.mmd(a, b)
        if d.relation:
            maps = [[of[tap] for tap in TAPS] for of in (of_s, of_t)]
            terms["relation"] = d.relation * paper.relation(*maps, d.relation_loss)
        total: Any = sum(terms.values())
        if gan > 0:
            terms["gan"] = D.g_loss(student[-1], t[-1], passes.condition(inputs))
            total = total + gan * terms["gan"]
        adam.zero_grad()
        total.backward()
        adam.step()
        line |= {name: float(value.detach()) for name, value in terms.items()}

        if weight and step % every == 0:
            adam.zero_grad()
            penalty, mean = paper.path_penalty(G, max(1, BATCH // 2), c.mixing, mean)
            (weight * every * penalty).backward()
            adam.step()
            line["path"] = float(penalty.detach())
        shadow = averaged(shadow, G, 0.9, step + 1)
        logged.append(line)
    state = {"student": G.state_dict(), "discriminator": discriminator_state(D)}
    state |= {"opt_g": adam.state_dict(), "opt_d": adam_d.state_dict(), "path": {"mean": mean}}
    return {"state": state, "pool": history.pictures, "log": logged, "average": shadow}


SNGAN = {"wiring": "sngan", "own": "sngan", "card": {}, "betas": (0.0, 0.9)}
PATCH = {"wiring": "cyclegan affine", "own": "patch", "card": {}, "betas": (0.5, 0.999)}
CASES = {
    "StyleGAN2 of the paper": Case(),
    "unmasked, no style mixed": Case(masked=False, settings={"mixing": 0.0}),
    "every resolution, within the mask": Case(
        settings={"distil": {"mode": "intermediate", "mask_norm": True}}
    ),
    "StyleKD and a distribution term": Case(
        masked=False,
        settings={"distil": {"relation": 30.0, "directions": "random", "mmd": 2.0}},
    ),
    "StyleKD by squares, the teacher is real": Case(
        real="teacher",
        settings={
            "distil": {"relation": 5.0, "relation_loss": "mse", "directions": "random"},
            "path": {"weight": 0.0},
        },
    ),
    "no R1, rates that fall with the clock": Case(
        card={}, settings={"finetune": {"decay": 0.9}}, seconds=20.0, rate_factor=0.5
    ),
    "SNGAN": Case(**SNGAN),  # type: ignore[arg-type]
    "SNGAN of classes, its teacher is real": Case(
        "sngan conditional", "sngan of classes", {}, betas=(0.0, 0.9), real="teacher"
    ),
    "SNGAN of classes, images are real": Case(
        "sngan conditional", "sngan of classes", {}, betas=(0.0, 0.9)
    ),
    "photos, a pool": Case(
        **PATCH,  # type: ignore[arg-type]
        real="teacher",
        settings={"discriminator": {"pool": 2}},
    ),
    "pairs, a conditional discriminator": Case(
        "pix2pix instance", "photo and patch", {"objective": "cross-entropy"}, betas=(0.5, 0.999)
    ),
    "a fixed discriminator": Case(
        **PATCH,  # type: ignore[arg-type]
        real="teacher",
        settings={"discriminator": {"fixed": True}},
    ),
    "no discriminator": Case(
        **PATCH,  # type: ignore[arg-type]
        settings={"discriminator": {"weight": 0.0}, "distil": {"perceptual": 0.0}},
    ),
    "no distillation": Case(settings={"distil": {"pixel": 0.0, "perceptual": 0.0}}),
}


AKIN = (
    *("unmasked, no style mixed", "StyleKD by squares, the teacher is real", "no distillation"),
    *("SNGAN", "SNGAN of classes, its teacher is real"),
)
"""What only joins parts of the other cases anew."""


@pytest.mark.parametrize(
    "case",
    thinned(CASES.values(), lambda case: all(CASES[name] is not case for name in AKIN)),
    ids=CASES.keys(),
)
def test_the_loop_is_the_papers_algorithm(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, clock = start(case), Clock()
    stage = stage_of(tmp_path, "finetune", monkeypatch, clock)

    def batches(first: int) -> Iterator[Batch]:
        for batch in begun.batches[first:]:
            clock.now += case.seconds or 0.0
            yield batch

    networks = Networks(
        begun.student, CachedTeacher(copy.deepcopy(begun.teacher)), begun.discriminator
    )
    timed = case.seconds is not None
    budget = Budget(4 * STEPS if timed else STEPS, 1.0 if timed else None, case.rate_factor)
    c = begun.config
    retrain(stage, networks, batches, begun.objective, c, budget=budget, decay=c.finetune.decay)

    wanted = reference(begun, case, stage.run)
    state, log = left_by(stage)
    pool, average = state.pop("pool")["images"], state.pop("average")
    for name in ("watch", "best"):
        state.pop(name)
    assert len(log) == STEPS
    for line, said in zip(log, wanted["log"], strict=True):
        [found] = scalars([line], *(f"loss/{n}" for n in said))
        assert found == pytest.approx(list(said.values()), rel=1e-6, abs=1e-12)
        assert {n for n in line if n.startswith("loss/")} == {f"loss/{n}" for n in said}
    assert_close(state, wanted["state"])
    assert_close(pool, wanted["pool"])
    assert_close(average["shadow"], wanted["average"])
    assert_close(begun.student.state_dict(), wanted["average"])
    assert all(value != 0 for line in wanted["log"] for value in line.values())
