"""The joint loop against GAN Slimming's algorithm written out from the paper (methods.md 6.1)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import WIRINGS
from reference_slim import (
    History,
    gone_for,
    importance_per_cost,
    magnitudes,
    proximal_step,
    ranked,
    rates,
)
from slim_setup import (
    STEPS,
    Case,
    Clock,
    Start,
    arguments,
    assert_same,
    brighter,
    cost_of,
    discriminator_state,
    in_double,
    l_dist_of,
    left_by,
    pruning_of,
    scalars,
    stage_of,
    start,
)
from torch import Tensor

from ganpress.channels.take import scales
from ganpress.methods.gan_slimming.goal import Goal
from ganpress.methods.gan_slimming.joint import joint
from ganpress.nn.axes import widths
from ganpress.run.run import Run


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with in_double():
        yield


def slimmed(s: Start, case: Case, units: dict[str, float], run: Run) -> dict[str, Any]:
    """The algorithm: W and gamma descend L_GAN + beta L_dist, gamma is soft-thresholded, theta
    descends the discriminator's loss."""
    c, G, T, D = s.config, s.twin, s.teacher, s.judge
    frozen, gentle = case.pruning.get("frozen", ()), case.rate_factor
    overall, goal = case.pruning.get("overall", lambda p: p), case.pruning.get("goal")
    gamma = {g: ps for g, ps in scales(G).items() if g not in frozen}
    of_gamma = {id(p) for ps in gamma.values() for p in ps}
    W = [p for p in G.parameters() if id(p) not in of_gamma]
    adam = torch.optim.Adam(W, 1.0, betas=(0.5, 0.999), weight_decay=c.sparsify.weight_decay)
    sgd = torch.optim.SGD([p for ps in gamma.values() for p in ps], 1.0, momentum=0.5)
    adam_d = torch.optim.Adam(D.net.parameters(), 1.0, betas=(0.5, 0.999), weight_decay=1e-3)
    history, terms, counts = History(c.discriminator.pool), [], []
    others = {g: n for g, n in widths(G).items() if g not in gamma}
    G.train()
    for step, batch in enumerate(s.batches[:STEPS]):
        run.seed_all(f"joint/{step}")
        progress = step / STEPS if case.seconds is None else step * case.seconds / 60
        alpha, eta = (gentle * f for f in rates(c.sparsify.schedule, overall(progress)))
        adam.param_groups[0]["lr"] = alpha * c.sparsify.lr
        sgd.param_groups[0]["lr"] = eta * c.sparsify.scale_lr
        adam_d.param_groups[0]["lr"] = alpha * c.discriminator.lr
        x = s.read(batch)
        y, seen = T(*x).detach(), s.condition(x)

        # eq. 4, 6, 11: W and gamma
        made = G(*x)
        l_dist = l_gan = l_d = torch.zeros(())
        if c.beta > 0:
            l_dist = l_dist_of(s, case, x, made, y)
        if c.discriminator.weight > 0:
            l_gan = D.g_loss(made, y, seen)
        adam.zero_grad()
        sgd.zero_grad()
        (c.discriminator.weight * l_gan + c.beta * l_dist).backward()
        adam.step()
        sgd.step()

        # eq. 12-14: the threshold is rho times the learning rate; what a cost asks for goes, too
        sizes = {g: m / units[g] for g, m in magnitudes(gamma).items()}
        gone: dict[str, Tensor] = {}
        if goal is not None:
            reached = min(1.0, progress / goal.ramp_fraction)
            budget = goal.start * (goal.end / goal.start) ** reached
            compared = ranked(sizes) if c.sparsify.ranking == "rank" else sizes
            price = lambda chosen: goal.cost({**others, **chosen})  # noqa: E731
            importance = importance_per_cost(compared, price, c.sparsify.cost_exponent)
            gone = gone_for(budget, importance, price, c.min_channels, c.channel_multiple)
        amount = gentle * c.sparsify.rho * eta * c.sparsify.scale_lr
        counts.append(proximal_step(gamma, units, amount, gone, c.min_channels))

        # eq. 15: theta
        if c.discriminator.weight > 0 and not c.discriminator.fixed:
            real, of_real = s.real(batch, y, x)
            fake = made.detach() if seen is not None else history.show(made)
            l_d = D.d_loss(real, fake, of_real, seen) + D.penalty(step, real, of_real)
            adam_d.zero_grad()
            l_d.backward()
            adam_d.step()
        terms.append([float(l_dist.detach()), float(l_gan.detach()), float(l_d.detach())])
    state = {"student": G.state_dict(), "discriminator": discriminator_state(D)}
    state |= {"opt_w": adam.state_dict(), "opt_s": sgd.state_dict(), "opt_d": adam_d.state_dict()}
    return {"state": state, "pool": history.pictures, "terms": terms, "counts": counts}


def goal(end: float, ramp_fraction: float = 0.5) -> Goal:
    """From the whole network to a share of its made-up cost."""
    cost = cost_of(WIRINGS["cyclegan affine"].widths)
    return Goal(cost, start=1.0, end=end, ramp_fraction=ramp_fraction)


CASES = {
    "thresholds in the scales' own units": Case(settings={"sparsify": {"relative": False}}),
    "thresholds relative to each group": Case(),
    "a cost by ranks": Case(pruning={"goal": goal(0.4)}),
    "a cost by magnitudes at least 3 channels": Case(
        settings={"min_channels": 3, "sparsify": {"ranking": "magnitude"}},
        pruning={"goal": goal(0.5)},
    ),
    "a cost by ranks per cost in multiples of 2": Case(
        settings={"min_channels": 2, "channel_multiple": 2, "sparsify": {"cost_exponent": 1.0}},
        pruning={"goal": goal(0.4, ramp_fraction=1.0)},
    ),
    "rho alone, at least 3 channels": Case(settings={"min_channels": 3, "sparsify": {"rho": 7.0}}),
    "the trunk kept": Case(pruning={"frozen": ("trunk",), "goal": goal(0.6)}),
    "no distillation": Case(settings={"beta": 0.0}),
    "no discriminator": Case(settings={"discriminator": {"weight": 0.0}}),
    "a light discriminator": Case(settings={"discriminator": {"weight": 0.3}}),
    "images are real": Case(settings={"discriminator": {"real": "images"}}),
    "a logit for each patch": Case(settings={"discriminator": {"pooled": False}}),
    "the paper's schedule": Case(settings={"sparsify": {"schedule": "linear"}}),
    "constant rates, gentler": Case(
        settings={"sparsify": {"schedule": "constant"}}, rate_factor=0.5
    ),
    "the second of two rounds": Case(pruning={"overall": lambda progress: (1 + progress) / 2}),
    "rates never fall below a hundredth": Case(pruning={"overall": lambda progress: 0.98}),
    "the clock is ahead of the steps": Case(seconds=12.0),
    "the clock is ahead, the paper's schedule and a cost": Case(
        settings={"sparsify": {"schedule": "linear"}}, pruning={"goal": goal(0.4)}, seconds=12.0
    ),
    "all terms of the distance": Case(
        settings={"distance": {"content": 0.7, "style": 1e2, "unit": 2.0, "pixel": 5.0}}
    ),
    "squared error": Case(settings={"distance": {"kind": "mse"}}),
    "the teacher's own PatchGAN": Case(own="patch"),
    "a fixed discriminator": Case(own="patch", settings={"discriminator": {"fixed": True}}),
    "a photo read beside the picture": Case("pix2pix", "photo and patch"),
    "hinge, label maps read beside the picture": Case("gaugan", "spade"),
    "hinge, noise": Case("sngan", "sngan"),
    "hinge, a fixed discriminator of classes": Case(
        "sngan conditional", "sngan of classes", settings={"discriminator": {"fixed": True}}
    ),
    "hinge, classes, images are real": Case(
        "sngan conditional", "sngan of classes", settings={"discriminator": {"real": "images"}}
    ),
    "least squares at two scales": Case(own="munit"),
    "a masked distance": Case(mask=brighter),
    "logistic": Case(own="stylegan2"),
    "logistic with R1 in every other step": Case(own="stylegan2", card={"r1": 10.0, "r1_every": 2}),
    "R1 where a class is read": Case(
        "sngan conditional", "sngan of classes", card={"r1": 3.0, "r1_every": 3}
    ),
    "a card says that logits are averaged": Case(own="patch", card={"pooled": True}),
    **{
        f"a card says {name}": Case(own="patch", card={"objective": name})
        for name in ("cross-entropy", "least-squares", "hinge", "logistic")
    },
    "a photo read beside the picture under cross-entropy": Case(
        "pix2pix", "photo and patch", card={"objective": "cross-entropy"}
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_joint_loop_is_the_papers_algorithm(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, clock = start(case), Clock()
    found_scales = scales(begun.student)
    units = dict.fromkeys(found_scales, 1.0)
    if begun.config.sparsify.relative:
        units = {g: float(m.mean()) for g, m in magnitudes(found_scales).items()}
    stage = stage_of(tmp_path, "joint", monkeypatch, clock)
    pruning = pruning_of(case, begun, units if begun.config.sparsify.relative else {})
    joint(stage, *arguments(case, begun, clock), pruning, budget=case.budget())

    wanted = slimmed(begun, case, units, stage.run)
    state, log = left_by(stage)
    pool = state.pop("pool")["images"]
    assert len(log) == STEPS
    assert_same(state, wanted["state"])
    assert_same(pool, wanted["pool"])
    assert_same(scalars(log, "loss/distance", "loss/gan", "loss/d"), wanted["terms"])
    names = [f"width/{g}" for g in wanted["counts"][0]]
    assert scalars(log, *names) == [list(alive.values()) for alive in wanted["counts"]]
    assert_something_happened(case, wanted, begun)


def assert_something_happened(case: Case, wanted: dict[str, Any], begun: Start) -> None:
    """The case is of use: channels go where a cost or a large rho asks for it, the history is full
    where there is one, and the discriminator moves unless it is fixed."""
    first, last = wanted["counts"][0], wanted["counts"][-1]
    if "goal" in case.pruning:
        assert sum(last.values()) < sum(first.values())
    if begun.config.sparsify.rho > 5:
        assert min(last.values()) == 3 < max(last.values())
    plays = begun.config.discriminator.weight > 0 and not begun.config.discriminator.fixed
    unconditional = case.own not in ("photo and patch", "spade", "sngan of classes")
    assert len(wanted["pool"]) == (2 if plays and unconditional else 0)
    assert bool(wanted["state"]["opt_d"]["state"]) == plays
