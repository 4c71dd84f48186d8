"""Fine-tuning against the same game written out: no proximal step, averaged weights at the end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from reference_slim import History, averaged
from slim_setup import (
    STEPS,
    Case,
    Clock,
    Start,
    arguments,
    assert_same,
    brighter,
    discriminator_state,
    in_double,
    l_dist_of,
    left_by,
    scalars,
    stage_of,
    start,
)
from thin import thinned
from torch import nn

from ganpress.run.run import Run
from ganpress.training.distil import distil


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with in_double():
        yield


def tuned(s: Start, case: Case, run: Run) -> dict[str, Any]:
    """G descends L_GAN + beta L_dist, its average follows, D descends eq. 15; rates to 0."""
    c, G, T, D = s.config, s.twin, s.teacher, s.judge
    gentle = case.rate_factor
    decay = c.finetune.weight_decay
    adam = torch.optim.Adam(G.parameters(), 1.0, betas=(0.5, 0.999), weight_decay=decay)
    adam_d = torch.optim.Adam(D.net.parameters(), 1.0, betas=(0.5, 0.999), weight_decay=1e-3)
    history, terms = History(c.discriminator.pool), []
    shadow = {n: t.clone() for n, t in G.state_dict().items()}
    shadows = []
    G.train()
    for step, batch in enumerate(s.batches[:STEPS]):
        run.seed_all(f"tune/{step}")
        progress = step / STEPS if case.seconds is None else step * case.seconds / 60
        eta = gentle * (1 + math.cos(math.pi * progress)) / 2
        adam.param_groups[0]["lr"] = eta * c.finetune.lr
        adam_d.param_groups[0]["lr"] = eta * c.discriminator.lr
        x = s.read(batch)
        y, seen = T(*x).detach(), s.condition(x)

        made = G(*x)
        l_dist = l_gan = l_d = torch.zeros(())
        if c.beta > 0:
            l_dist = l_dist_of(s, case, x, made, y)
        if c.discriminator.weight > 0:
            l_gan = D.g_loss(made, y, seen)
        adam.zero_grad()
        (c.discriminator.weight * l_gan + c.beta * l_dist).backward()
        adam.step()
        shadow = averaged(shadow, G, c.finetune.ema, update=step + 1)
        shadows.append(shadow)

        if c.discriminator.weight > 0 and not c.discriminator.fixed:
            real, of_real = s.real(batch, y, x)
            fake = made.detach() if seen is not None else history.show(made)
            l_d = D.d_loss(real, fake, of_real, seen) + D.penalty(step, real, of_real)
            adam_d.zero_grad()
            l_d.backward()
            adam_d.step()
        terms.append([float(t.detach()) for t in (l_dist, l_gan, l_d)] + [eta * c.finetune.lr])
    state = {"student": G.state_dict(), "discriminator": discriminator_state(D)}
    state |= {"opt_g": adam.state_dict(), "opt_d": adam_d.state_dict()}
    return {"state": state, "pool": history.pictures, "terms": terms, "shadows": shadows}


CASES = {
    "averaged, the decay still rising": Case(),
    "averaged, the decay reached": Case(settings={"finetune": {"ema": 0.25}}),
    "not averaged": Case(settings={"finetune": {"ema": 0.0}}),
    "no distillation": Case(settings={"beta": 0.0}),
    "no discriminator": Case(settings={"discriminator": {"weight": 0.0}}),
    "a light discriminator": Case(settings={"discriminator": {"weight": 0.3}}),
    "images are real": Case(settings={"discriminator": {"real": "images"}}),
    "a logit for each patch, gentler": Case(
        settings={"discriminator": {"pooled": False}}, rate_factor=0.5
    ),
    "the clock is ahead of the steps": Case(seconds=12.0),
    "all terms of the distance": Case(
        settings={"distance": {"content": 0.7, "style": 1e2, "unit": 2.0, "pixel": 5.0}}
    ),
    "a fixed discriminator": Case(own="patch", settings={"discriminator": {"fixed": True}}),
    "a photo read beside the picture": Case("pix2pix", "photo and patch"),
    "hinge, noise": Case("sngan", "sngan"),
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


OF_THE_DISCRIMINATOR = (
    *("a card says cross-entropy", "a card says least-squares", "a card says hinge"),
    *("a card says logistic", "a card says that logits are averaged", "logistic"),
    *("a photo read beside the picture under cross-entropy", "least squares at two scales"),
)
"""What the loop is not told of: a discriminator computes its losses by itself, and the joint loop's
test tries the same ones."""


@pytest.mark.parametrize(
    "case",
    thinned(CASES.values(), lambda case: all(CASES[n] is not case for n in OF_THE_DISCRIMINATOR)),
    ids=CASES.keys(),
)
def test_fine_tuning_is_the_game_without_pruning(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, clock = start(case), Clock()
    stage = stage_of(tmp_path, "tune", monkeypatch, clock)
    facts = distil(stage, *arguments(case, begun, clock), budget=case.budget())

    wanted = tuned(begun, case, stage.run)
    state, log = left_by(stage)
    pool, average = state.pop("pool")["images"], state.pop("average")
    del state["watch"], state["best"]
    assert facts == {}
    assert_same(state, wanted["state"])
    assert_same(pool, wanted["pool"])
    assert average["updates"] == STEPS
    assert_same(average["shadow"], wanted["shadows"][-1])
    assert_same(begun.student.state_dict(), wanted["shadows"][-1])
    names = ("loss/distance", "loss/gan", "loss/d", "lr")
    assert_same(scalars(log, *names), wanted["terms"])
    assert bool(wanted["state"]["opt_d"]["state"]) == (
        begun.config.discriminator.weight > 0 and not begun.config.discriminator.fixed
    )


def test_the_average_that_is_best_on_the_holdout_is_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at after steps 2 and 4 and at the end: of these the second is the best here."""
    case = Case(settings={"finetune": {"validate_every": 2}})
    begun, clock, looked = start(case), Clock(), list[nn.Module]()

    def measure(net: nn.Module) -> float:
        assert not net.training
        looked.append(net)
        return [3.0, 1.0, 2.0][len(looked) - 1]

    stage = stage_of(tmp_path, "tune", monkeypatch, clock)
    given = arguments(case, begun, clock)
    facts = distil(stage, *given, budget=case.budget(), validate=measure)
    shadows = tuned(begun, case, stage.run)["shadows"]
    for net, step in zip(looked, (1, 3, 4), strict=True):
        assert_same(net.state_dict(), shadows[step])
    assert facts == {"kept_step": 3, "held_out": 1.0}
    assert_same(begun.student.state_dict(), shadows[3])
    assert [line.get("held-out") for line in left_by(stage)[1]] == [None, 3.0, None, 1.0, None]
