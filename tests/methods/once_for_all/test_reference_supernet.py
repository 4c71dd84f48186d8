"""The supernet's loop against GAN Compression's algorithm written out from the paper (methods.md
1.2, 2.2, 6.2, 7.1, 7.2)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from nets import WIRINGS, Wiring
from reference_ofa import (
    Adaptors,
    Connectors,
    cut,
    give_back,
    matching,
    of_vgg,
    perceptual,
    places,
    ssim,
    variation,
)
from reference_slim import OBJECTIVES, USUAL, History, Judge, averaged
from reference_slim import distance as slimming_distance
from slim_setup import (
    BATCH,
    OWN,
    STEPS,
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
from ganpress.losses.distance import Distance
from ganpress.losses.features import load_features
from ganpress.methods.base import Given
from ganpress.methods.once_for_all.requests import resolve
from ganpress.methods.once_for_all.settings import OnceForAllConfig
from ganpress.methods.once_for_all.supernet import Objective, Rates, distil_at_widths
from ganpress.methods.once_for_all.tap_base import tap_widths
from ganpress.methods.once_for_all.taps import tap_loss
from ganpress.methods.once_for_all.terms import picture_terms
from ganpress.models.checkpoint import Model
from ganpress.models.discriminator import Discriminator
from ganpress.nn.discriminators import build_discriminator
from ganpress.run.run import Run
from ganpress.run.settings import checked
from ganpress.training.discriminator import DiscriminatorWithLoss
from ganpress.training.distil import Budget, Networks
from ganpress.training.teacher import CachedTeacher

OWN_HERE = {
    **OWN,
    "stylegan2 of 16": {"size": 16, "channels": [8, 8, 4]},
    "spade of 8": {**OWN["spade"], "inputs": 8},
}
DISTANCE = {"content": 1.0, "style": 10.0, "unit": 0.5, "pixel": 2.0}
SETTINGS: dict[str, Any] = {
    "min_channels": 1,
    "channel_multiple": 1,
    "data": {"size": 32, "batch": BATCH},
    "distance": {"features": "tiny", **DISTANCE},
    "discriminator": {"width": 4, "layers": 2, "lr": 2e-3},
    "supernet": {"lr": 1e-3},
}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with in_double():
        yield


@dataclass(frozen=True)
class Authors:
    """The authors' values for a task (methods.md 1.2): weights, and Adam's."""

    recon: float = 0.0
    taps: float = 0.0
    gan: float = 1.0
    matching: float = 0.0
    perceptual: float = 0.0
    distance: float = 0.0
    style: float = 0.0
    l1: bool = False
    at: tuple[str, ...] = ()
    betas: tuple[float, float] = (0.5, 0.999)
    decay: float = 0.0
    lr: float = 1e-3
    d_lr: float = 2e-3


RESNET = ("down2", "blocks.0", "blocks.1")
UNPAIRED = Authors(recon=10, taps=0.01)
PAIRED = Authors(recon=100, taps=1)
SPADE = Authors(taps=10, matching=10, perceptual=10, betas=(0.0, 0.9))
MUNIT = Authors(recon=10, taps=1, style=1, l1=True, at=("content",), decay=1e-4)
NOISE = Authors(recon=10, taps=0.01, betas=(0.0, 0.9))


@dataclass(frozen=True)
class Case:
    """One way of running the loop.

    Attributes:
        paper: the weights that are to come of the settings.
        own: the teacher's own discriminator (`slim_setup.OWN`); None: a fresh PatchGAN.
        teacher: its wiring, where that is not the student's.
        settings: over `SETTINGS`, group by group. card: of the discriminator.
        paired: targets are the truth. real: what the discriminator is to take as real.
        sets: width sets of a step.
        seconds: that a step takes, of a limit of a minute; None: no limit.
        ema: decay of the average.
    """

    wiring: str = "cyclegan separable"
    paper: Authors = UNPAIRED
    own: str | None = "patch"
    teacher: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    paired: bool = False
    real: str = "teacher"
    sets: int = 1
    seconds: float | None = None
    rate_factor: float = 1.0
    ema: float = 0.0
    terms: str = "gan-compression"
    steps: int = STEPS

    def config(self) -> OnceForAllConfig:
        values = dict(SETTINGS)
        for name, change in self.settings.items():
            over = {**values.get(name, {}), **change} if isinstance(change, dict) else change
            values[name] = over
        return checked(OnceForAllConfig, values)

    @property
    def budget(self) -> Budget:
        if self.seconds is None:
            return Budget(self.steps, None, self.rate_factor)
        return Budget(4 * self.steps, 1.0, self.rate_factor)

    def progress(self, step: int) -> float:
        """How much of the stage is over when a step begins, 0 to 1."""
        return step / self.steps if self.seconds is None else step * self.seconds / 60


@dataclass
class Start:
    """What the loop starts from: the package's objects, and the same for the reference."""

    config: OnceForAllConfig
    wiring: Wiring
    student: nn.Module
    teacher: nn.Module
    discriminator: DiscriminatorWithLoss
    objective: Objective
    batches: list[Batch]
    sets: list[list[dict[str, int]]]
    judge: Judge
    twin: nn.Module
    maps: Any


def start(case: Case) -> Start:
    wiring = WIRINGS[case.wiring]
    teacher, student = WIRINGS[case.teacher or case.wiring].net(0), wiring.net(1)
    torch.manual_seed(7)
    own = None
    if case.own is not None:
        kind = case.own.split(" of ")[0].split()[-1]
        net = build_discriminator(kind, **OWN_HERE[case.own])
        own = Discriminator(net, kind, dict(OWN_HERE[case.own]), **case.card)
    model = Model(teacher, wiring.family, wiring.settled, {}, own)
    images = SimpleNamespace(paired=case.paired) if case.real == "images" else None
    c = resolve(Given(model, cast(Any, images)), case.config())
    assert c.discriminator.real == case.real
    d = c.discriminator
    discriminator = DiscriminatorWithLoss(
        width=d.width, layers=d.layers, pooled=d.pooled, own=own, reads=student.reads, fixed=d.fixed
    )  # type: ignore[arg-type]
    near = Distance(c.distance)
    pictures = picture_terms(c, discriminator, None, near)
    own_net = pictures.pictures and pictures.pictures.features
    for features in (pictures.features, own_net, near.features):
        if isinstance(features, nn.Module):
            features.double()
    taps = None
    if c.distil.taps_weight:
        names = c.distil.taps or ()
        assert c.distil.tap_loss is not None
        side = wiring.pixels
        both = [tap_widths(net, names, side) for net in (student, teacher)]
        loss = "l1" if case.paper.l1 else "mse"
        torch.set_default_dtype(torch.float32)  # the discriminator's smallest picture is found so
        taps = tap_loss(c.distil.tap_loss, names, *both, discriminator, distance=loss).double()  # type: ignore[arg-type]
        torch.set_default_dtype(torch.float64)
    judge = Judge(
        copy.deepcopy(discriminator.net),
        OBJECTIVES[case.card["objective"]]
        if "objective" in case.card
        else USUAL[discriminator.kind],
        pooled=d.pooled if own is None else False,
        one_pass=case.own not in ("photo and patch", "stylegan2 of 16"),
        fixed=d.fixed,
        r1=case.card.get("r1", 0.0),
        r1_every=case.card.get("r1_every", 16),
    )
    maps: Any = None
    if taps is not None:
        state = copy.deepcopy(taps.state_dict())
        if case.terms == "dcd":
            maps = Connectors.of(state, judge, enlarged={8: 2})
        else:
            maps = Adaptors.of(state, case.paper.l1)
    draw, sets = torch.Generator().manual_seed(3), []
    for _ in range(STEPS):
        sets.append(
            [
                {
                    g: int(torch.randint(1, n + 1, (1,), generator=draw))
                    for g, n in wiring.widths.items()
                }
                for _ in range(case.sets)
            ]
        )
    return Start(
        c, wiring, student, teacher, discriminator, Objective(pictures, taps, case.paired),
        shown(case), sets, judge, copy.deepcopy(student), maps,
    )  # fmt: skip


def shown(case: Case) -> list[Batch]:
    """Batches as a source would give them to this family."""
    name = WIRINGS[case.wiring].name
    found = pictures_of(name)
    if name == "stylegan2":
        found = [replace(b, x=b.x[..., :16, :16], y=None) for b in found]
    if name == "gaugan":  # slow: one picture
        found = [
            Batch(
                b.x[:1], b.ids[:1], None, cast(Tensor, b.labels)[:1], cast(Tensor, b.instances)[:1]
            )
            for b in found
        ]
    if name == "cyclegan" and case.real == "teacher":
        found = [replace(b, y=None) for b in found]
    return found


def read(net: Any, batch: Batch) -> tuple[Tensor, ...]:
    """What both generators read; noise is drawn picture after picture."""
    if net.reads == ("image",):
        return (batch.x,)
    if net.reads == ("semantics",):
        return (net.encode(batch.labels, batch.instances),)
    drawn = [net.draw(1, batch.x.shape[-1]) for _ in batch.x]
    columns = [torch.cat(column) for column in zip(*drawn, strict=True)]
    return (batch.x, *columns[1:]) if net.reads[0] == "image" else tuple(columns)


def run_with_maps(
    net: nn.Module, names: Sequence[str], call: Callable[[Any], Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """A picture and the outputs of these modules."""
    found: dict[str, Tensor] = {}
    handles = [
        net.get_submodule(n).register_forward_hook(lambda _, __, out, n=n: found.update({n: out}))
        for n in names
    ]
    out = call(net)
    for handle in handles:
        handle.remove()
    return out, found


def by_reference(x: Tensor, y: Tensor) -> Callable[[Any], Tensor]:
    """MUNIT: content of one picture, style of another."""

    def call(net: Any) -> Tensor:
        code = net.style(y).flatten(1)
        made: Tensor = net.decoder(net.content(x), net.mlp(code))
        return made

    return call


def condition_of(s: Start, inputs: tuple[Tensor, ...]) -> Tensor | None:
    if s.wiring.name == "sngan":
        return inputs[1] if len(inputs) > 1 else None
    return inputs[0] if s.discriminator.extra_channels else None


def supernet(s: Start, case: Case, run: Run) -> dict[str, Any]:
    """The algorithm: in each step a width set c; theta ascends L_GAN, and the shared weights, of
    which c has the first channels, descend eq. 5; both by the gradient at the step's start."""
    p, G, T, D = case.paper, s.twin, s.teacher, s.judge
    learned = [*G.parameters(), *(s.maps.parameters if s.maps else ())]
    adam = torch.optim.Adam(learned, 1.0, betas=p.betas, weight_decay=p.decay)
    adam_d = torch.optim.Adam(D.net.parameters(), 1.0, betas=p.betas, weight_decay=p.decay)
    history, logged = History(s.config.discriminator.pool), []
    shadow = copy.deepcopy(G.state_dict())
    trains = p.gan > 0 and not s.config.discriminator.fixed
    features = load_features("tiny").double()
    taps = s.objective.taps.taps if s.objective.taps else ()
    G.train()
    for step, batch in enumerate(s.batches[: case.steps]):
        run.seed_all(f"supernet/{step}")
        factor = case.rate_factor * min(1.0, 2 * (1 - case.progress(step)))  # then linear to 0
        adam.param_groups[0]["lr"] = factor * p.lr
        adam_d.param_groups[0]["lr"] = factor * p.d_lr
        x = read(G, batch)
        names, call = list(taps), lambda net, x=x: net(*x)
        styled = p.style > 0 and step % 2 == 1 and batch.y is not None
        if styled:
            names, call = [*taps, "style"], by_reference(x[0], cast(Tensor, batch.y))
        with torch.no_grad():
            t, tf = run_with_maps(T, names, call)
        seen = condition_of(s, x)
        truth = batch.x if s.wiring.name == "gaugan" else batch.y if case.paired else None
        real, of_real = t, seen
        if case.real == "images":
            real = batch.x if batch.y is None else batch.y
            if s.wiring.name == "sngan" and seen is not None:
                of_real = F.one_hot(cast(Tensor, batch.classes), 4).to(real)
        for q in learned:
            q.grad = None
        adam_d.zero_grad()
        means: dict[str, float] = {}
        for c in s.sets[step]:
            small = cut(G, s.wiring.build, c)
            made, sf = run_with_maps(small, names, call)

            # theta: the GAN's discriminator loss, the picture detached
            l_d: Any = torch.zeros(())
            if trains:
                other = made.detach() if seen is not None else history.show(made)
                l_d = D.d_loss(real, other, of_real, seen) + D.penalty(step, real, of_real)
                add(list(D.net.parameters()), l_d, len(s.sets[step]))

            # eq. 5: lambda_GAN L_GAN + lambda_recon L_recon + lambda_distill L_distill
            l_gan = D.g_loss(made, t, seen) if p.gan > 0 else torch.zeros(())
            near = pictures(s, case, made, t, truth, seen, features)
            l_taps = s.maps(sf, tf, taps) if s.maps else torch.zeros(())
            l_style = (sf["style"] - tf["style"]).abs().mean() if styled else torch.zeros(())
            loss = p.gan * l_gan + sum(near.values()) + p.taps * l_taps + p.style * l_style
            own = s.maps.parameters if s.maps else []
            grads = torch.autograd.grad(loss, [*small.parameters(), *own], allow_unused=True)
            n = len(s.sets[step])
            shared = dict(G.named_parameters())
            for (name, _), g in zip(small.named_parameters(), grads, strict=False):
                if g is not None:
                    whole = torch.zeros_like(shared[name])
                    whole[places(G, name, c)] = g / n
                    accumulate(shared[name], whole)
            for q, g in zip(own, grads[len(list(small.parameters())) :], strict=True):
                if g is not None:
                    accumulate(q, g / n)
            give_back(small, G, c)
            terms = {"gan": l_gan, "d": l_d, "distilled": l_taps, "style": l_style, **near}
            for name, value in terms.items():
                means[name] = means.get(name, 0.0) + float(value.detach()) / n
        adam_d.step()
        adam.step()
        shadow = averaged(shadow, G, case.ema, step + 1) if case.ema else {
            k: v.clone() for k, v in G.state_dict().items()
        }  # fmt: skip
        logged.append(means)
    state = {"student": G.state_dict(), "discriminator": discriminator_state(D)}
    state |= {"opt_g": adam.state_dict(), "opt_d": adam_d.state_dict()}
    state |= {"taps": s.maps.state()} if s.maps else {}
    return {"state": state, "pool": history.pictures, "log": logged, "average": shadow}


def pictures(
    s: Start, case: Case, made: Tensor, teacher: Tensor, truth: Tensor | None, seen: Any, net: Any
) -> dict[str, Tensor]:
    """The terms between pictures, with their weights."""
    p, found = case.paper, dict[str, Tensor]()
    if p.distance:
        found["distance"] = p.distance * slimming_distance(made, teacher, net, DISTANCE)
    if case.terms == "omgd":
        return found | {
            "ssim": 10 * (1 - ssim(made, teacher)),
            **of_vgg(net, made, teacher),
            "tv": 1e-5 * variation(made),
        }
    if case.terms == "dcd":
        return found | cast(dict[str, Tensor], of_vgg(net, made, teacher))
    goal = teacher if truth is None else truth
    if truth is None and s.config.distil.unpaired == "none":
        return found
    if p.recon:
        found["reconstruction"] = p.recon * (made - goal).abs().mean()
    if p.matching:
        found["matching"] = p.matching * matching(s.judge, made, goal, seen)
    if p.perceptual:
        found["perceptual"] = p.perceptual * perceptual(net, made, goal)
    return found


def accumulate(parameter: Tensor, grad: Tensor) -> None:
    parameter.grad = grad if parameter.grad is None else parameter.grad + grad


def add(parameters: list[Tensor], loss: Tensor, n: int) -> None:
    for q, g in zip(
        parameters, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True
    ):
        if g is not None:
            accumulate(q, g / n)


CASES = {
    "unpaired": Case(),
    "unpaired, a dense student of affine norms": Case("cyclegan affine"),
    "unpaired, the teacher is dense": Case(teacher="cyclegan instance"),
    "unpaired, BatchNorm": Case("cyclegan separable batch"),
    "unpaired, a fresh discriminator, a pool and an average": Case(
        own=None, settings={"discriminator": {"pool": 2}}, ema=0.9
    ),
    "unpaired, no pseudo-pairs": Case(
        paper=replace(UNPAIRED, recon=0), settings={"distil": {"unpaired": "none"}}
    ),
    "unpaired, no taps": Case(
        paper=replace(UNPAIRED, taps=0), settings={"distil": {"taps_weight": 0.0}}
    ),
    "paired, a conditional discriminator": Case(
        "pix2pix", PAIRED, "photo and patch", paired=True, real="images"
    ),
    "paired, cross-entropy, a pool that is not used": Case(
        "pix2pix instance",
        PAIRED,
        "photo and patch",
        paired=True,
        real="images",
        card={"objective": "cross-entropy"},
        settings={"discriminator": {"pool": 2}},
    ),
    "label maps": Case("gaugan separable", SPADE, "spade of 8", real="images", steps=2),
    "a style": Case("munit", MUNIT, "munit"),
    "a style, no style encoder": Case("munit separable", replace(MUNIT, style=0), "munit"),
    "noise, R1 in every other step": Case(
        "stylegan2",
        replace(NOISE, betas=(0.0, 0.99)),
        "stylegan2 of 16",
        card={"r1": 10.0, "r1_every": 2},
        real="images",
    ),
    "noise": Case("sngan", NOISE, "sngan"),
    "noise and classes, images are real": Case(
        "sngan conditional", NOISE, "sngan of classes", real="images"
    ),
    "a fixed discriminator": Case(settings={"discriminator": {"fixed": True}}),
    "a light discriminator": Case(
        paper=replace(UNPAIRED, gan=0.3), settings={"discriminator": {"weight": 0.3}}
    ),
    "no discriminator": Case(
        paper=replace(UNPAIRED, gan=0), settings={"discriminator": {"weight": 0.0}}
    ),
    "OMGD": Case(
        paper=replace(UNPAIRED, gan=0), terms="omgd", settings={"distil": {"objective": "omgd"}}
    ),
    "DCD": Case(
        paper=replace(UNPAIRED, taps=1), terms="dcd", settings={"distil": {"objective": "dcd"}}
    ),
    "DCD by the sandwich": Case(
        paper=replace(UNPAIRED, taps=1),
        terms="dcd",
        settings={"distil": {"objective": "dcd"}},
        sets=2,
    ),
    "the sandwich": Case(sets=3),
    "the sandwich, BatchNorm and a pool": Case(
        "cyclegan separable batch", sets=3, settings={"discriminator": {"pool": 2}}
    ),
    "the sandwich, R1": Case(
        "stylegan2",
        replace(NOISE, betas=(0.0, 0.99)),
        "stylegan2 of 16",
        card={"r1": 10.0, "r1_every": 2},
        real="images",
        sets=2,
    ),
    "GAN Slimming's distance to the teacher, beside the truth": Case(
        "pix2pix",
        replace(PAIRED, distance=7),
        "photo and patch",
        paired=True,
        real="images",
        settings={"distil": {"distance": 7.0}},
    ),
    "the distance alone, no pseudo-pairs": Case(
        paper=replace(UNPAIRED, recon=0, distance=7),
        settings={"distil": {"distance": 7.0, "unpaired": "none"}},
    ),
    "the distance by the sandwich": Case(
        paper=replace(UNPAIRED, distance=7), sets=3, settings={"distil": {"distance": 7.0}}
    ),
    "OMGD and the distance": Case(
        paper=replace(UNPAIRED, gan=0, distance=7),
        terms="omgd",
        settings={"distil": {"objective": "omgd", "distance": 7.0}},
    ),
    "the clock is ahead of the steps": Case(seconds=12.0),
    "other weights and learning rates, weight decay, gentler": Case(
        paper=replace(
            UNPAIRED, recon=3, taps=0.5, lr=5e-4, d_lr=1e-4, betas=(0.3, 0.8), decay=0.01
        ),
        settings={
            "distil": {"reconstruction": 3.0, "taps_weight": 0.5},
            "supernet": {"lr": 5e-4, "betas": [0.3, 0.8], "weight_decay": 0.01},
            "discriminator": {"lr": 1e-4},
        },
        rate_factor=0.5,
    ),
}


AKIN = ("unpaired, no pseudo-pairs", "unpaired, BatchNorm", "OMGD", "DCD", "the sandwich")
"""What other cases do with something more: a distance, several width sets, a pool."""


@pytest.mark.parametrize(
    "case",
    thinned(CASES.values(), lambda case: all(CASES[name] is not case for name in AKIN)),
    ids=CASES.keys(),
)
def test_the_loop_is_the_papers_algorithm(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, clock = start(case), Clock()
    stage = stage_of(tmp_path, "supernet", monkeypatch, clock)
    seen, see = list[Tensor](), Distance.seen

    def counted(distance: Distance, teacher: Tensor) -> dict[str, Tensor]:
        seen.append(teacher)
        return see(distance, teacher)

    monkeypatch.setattr(Distance, "seen", counted)

    def batches(first: int) -> Iterator[Batch]:
        for batch in begun.batches[first:]:
            clock.now += case.seconds or 0.0
            yield batch

    steps, over = iter(begun.sets), list[float]()

    def sets(progress: float) -> list[dict[str, int]]:
        over.append(progress)
        return next(steps)

    c, p = begun.config, case.paper
    assert (c.supernet.lr, c.discriminator.lr) == (p.lr, p.d_lr)
    networks = Networks(
        begun.student, CachedTeacher(copy.deepcopy(begun.teacher)), begun.discriminator
    )
    rates = Rates(c.supernet.lr or 0.0, c.supernet.weight_decay or 0.0, case.ema)
    distil_at_widths(
        stage, networks, batches, begun.objective, c, sets,
        rates=rates, budget=case.budget,
    )  # fmt: skip

    assert len(seen) == (case.steps if p.distance else 0)  # once for all sets of a step

    wanted = supernet(begun, case, stage.run)
    state, log = left_by(stage)
    pool, average = state.pop("pool")["images"], state.pop("average")
    for name in ("watch", "best"):
        state.pop(name)
    assert len(log) == case.steps
    assert over == pytest.approx([case.progress(step) for step in range(case.steps)])
    assert scalars(log, *(f"loss/{n}" for n in wanted["log"][0])) == [
        pytest.approx(list(line.values()), rel=1e-6, abs=1e-12) for line in wanted["log"]
    ]
    losses = {n for n in log[0] if n.startswith("loss/")}
    assert losses == {f"loss/{n}" for n in wanted["log"][0]}
    assert_close(state, wanted["state"])
    assert_close(pool, wanted["pool"])
    assert_close(average["shadow"], wanted["average"])
    assert_close(begun.student.state_dict(), wanted["average"])
    assert_something_happened(case, wanted)


def assert_something_happened(case: Case, wanted: dict[str, Any]) -> None:
    """The case is of use: every term is there, and the discriminator moves unless it is fixed."""
    p, line = case.paper, wanted["log"][1]  # an odd step
    assert (line["distilled"] > 0) == (p.taps > 0)
    assert (line["style"] > 0) == (p.style > 0)
    assert line.get("reconstruction", 0.0) > 0 or not p.recon or case.terms != "gan-compression"
    fixed = case.settings.get("discriminator", {}).get("fixed", False)
    assert bool(wanted["state"]["opt_d"]["state"]) == (p.gan > 0 and not fixed)
    unconditional = case.own in (None, "patch", "munit", "sngan", "stylegan2 of 16")
    wants_pool = case.settings.get("discriminator", {}).get("pool", 0)
    assert len(wanted["pool"]) == (wants_pool if unconditional else 0)
