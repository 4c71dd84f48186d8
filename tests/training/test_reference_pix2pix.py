"""pix2pix's training, compared with its steps written out from the paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from reference_training import (
    Adam,
    Reference,
    batches,
    check,
    check_tensors,
    double_precision,
    drawn_normal,
    linear_decay,
    pictures,
    reseed,
    scaled,
)
from torch import Tensor

from ganpress.data import Images
from ganpress.models.families import FAMILIES
from ganpress.nn.discriminators import build_discriminator
from ganpress.run.run import Run
from ganpress.training.pix2pix import Pix2PixTraining, train_pix2pix

PATCH = {"width": 3, "layers": 2, "norm": "instance"}
UNET = {"downs": 3, "norm": "instance"}
SETTINGS: dict[str, Any] = {
    **{"steps": 4, "batch": 2, "width": 0.05, "options": UNET, "ema": 0.9, "lr": 2e-3},
    **{"discriminator": {**PATCH, "lr": 3e-3}, "data": {"size": 16, "load_size": 20, "workers": 0}},
}
CASES: dict[str, dict[str, Any]] = {
    "cross-entropy": {},
    "least squares": {"objective": "lsgan"},
    "hinge": {"objective": "hinge", "discriminator": {**PATCH, "lr": 0.2}},
    "with the paper's batch statistics": {
        **{
            "options": {"downs": 3},
            "discriminator": {**PATCH, "norm": "batch", "lr": 3e-3},
            "batch": 3,
        },
    },
    "with the resnet": {"generator": "resnet", "options": {"blocks": 1}},
    "with dropout": {
        **{"options": {**UNET, "downs": 6, "dropout": True}, "steps": 3},
        **{"data": {"size": 64, "load_size": 70, "workers": 0, "enlarge": True}},
    },
    "in two parts": {"accumulate": 2},
    "another weight and an early decay": {"l1": 7.0, "ema": 0.2, "decay_from": 0.1, "steps": 5},
}


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    with double_precision():
        yield


def d_objective(name: str, real: Tensor, fake: Tensor) -> Tensor:
    """What the discriminator minimises, halved as section 3.3 says."""
    if name == "vanilla":
        return -(torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(fake)).log().mean()) / 2
    if name == "lsgan":
        return (((real - 1) ** 2).mean() + (fake**2).mean()) / 2
    return (torch.clamp(1 - real, min=0).mean() + torch.clamp(1 + fake, min=0).mean()) / 2


def g_objective(name: str, fake: Tensor) -> Tensor:
    """What the generator minimises: log D(G), not -log(1 - D(G))."""
    if name == "vanilla":
        return -torch.sigmoid(fake).log().mean()
    return ((fake - 1) ** 2).mean() if name == "lsgan" else -fake.mean()


def reference(pairs: Images, c: Pix2PixTraining) -> Reference:
    """Isola et al., CVPR 2017: a step on D (eq. 1), then one on G (eq. 4), on the same picture."""
    reseed("init")
    G = drawn_normal(scaled(FAMILIES["pix2pix" if c.generator == "unet" else "cyclegan"], c))
    patch = c.discriminator.model_dump(exclude={"lr"})
    D = drawn_normal(build_discriminator("patch", inputs=6, **patch))
    r = Reference(G, D, Adam(G), Adam(D), c.ema)
    for step, batch in enumerate(batches(pairs, c)):
        reseed(f"train/{step}")
        assert batch.y is not None
        x, y, share = batch.x, batch.y, linear_decay(step, c)
        fake = G(x)
        real_logits, fake_logits = D(torch.cat([x, y], 1)), D(torch.cat([x, fake.detach()], 1))
        d_loss = d_objective(c.objective, real_logits, fake_logits)
        r.opt_d.step(d_loss, c.discriminator.lr * share)
        gan = g_objective(c.objective, D(torch.cat([x, fake], 1)))
        l1 = (fake - y).abs().mean()
        r.opt_g.step(gan + c.l1 * l1, 2e-3 * share)
        r.follow()
        r.log({"loss/gan": gan, "loss/l1": l1, "loss/d": d_loss, "lr": 2e-3 * share})
    return r


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Images:
    root = tmp_path_factory.mktemp("pairs")
    pictures(root / "y", seed=0, stylised=True)
    return pictures(root / "x", seed=0, pairs=root / "y")


@pytest.mark.parametrize("changed", CASES.values(), ids=CASES.keys())
def test_training_takes_the_papers_steps(
    tmp_path: Path, pairs: Images, changed: dict[str, Any]
) -> None:
    c = Pix2PixTraining(**{**SETTINGS, **changed})
    model = train_pix2pix(Run(tmp_path, quiet=True, log_every=1), pairs, None, c)[""]
    wanted = reference(pairs, c)
    check(tmp_path / "train", wanted)
    check_tensors(model.net.state_dict(), wanted.averaged())
    assert model.discriminator is not None
    check_tensors(model.discriminator.net.state_dict(), wanted.discriminators())
