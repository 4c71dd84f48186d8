"""CartoonGAN's training, compared with its steps written out from the paper."""

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
    pictures,
    reseed,
    scaled,
)
from torch import nn

from ganpress.data import Images
from ganpress.losses.features import load_features
from ganpress.models.families.cartoongan import CARTOONGAN
from ganpress.nn.discriminators import build_discriminator
from ganpress.nn.edges import smooth_edges
from ganpress.run.run import Run
from ganpress.run.settings import checked
from ganpress.training.cartoongan import CartoonganTraining, train_cartoongan

SETTINGS: dict[str, Any] = {
    **{"steps": 5, "warm_up": 2, "batch": 2, "width": 0.05, "options": {"blocks": 1}},
    **{"ema": 0.9, "lr": 2e-3, "discriminator_width": 3, "discriminator_layers": 2},
    **{"content": {"features": "tiny"}, "data": {"size": 16, "load_size": 20, "workers": 0}},
}
CASES: dict[str, dict[str, Any]] = {
    "as in the paper": {},
    "without the first phase": {"warm_up": 0, "steps": 3},
    "without smoothed edges": {"edges": 0.0, "warm_up": 1, "steps": 4},
    "other weights": {
        **{"edges": 3.0, "warm_up": 1, "ema": 0.2, "batch": 3, "steps": 4},
        **{"content": {"features": "tiny", "weight": 0.5, "tap": "relu1"}},
    },
    "in two parts": {"accumulate": 2, "warm_up": 1},
}


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    with double_precision():
        yield


def start(c: CartoonganTraining) -> Reference:
    """The generator as torch draws it; the discriminator's convolutions from N(0, 0.02)."""
    reseed("init")
    G, D = scaled(CARTOONGAN, c), build_discriminator("patch", width=3, layers=2)
    for layer in D.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
    return Reference(G, D, Adam(G, moves_idle=True), Adam(D, moves_idle=True), c.ema)


def reference(photos: Images, cartoons: Images, c: CartoonganTraining) -> Reference:
    """Chen et al., CVPR 2018: section 3.3's first phase on eq. 4 alone, then eqs. 1 to 4."""
    r, net = start(c), load_features("tiny")
    G, D, tap = r.G, r.D, c.content.tap or net.taps[-1]
    data = zip(batches(photos, c), batches(cartoons, c, "other"), strict=True)
    for step, (photo, cartoon) in enumerate(data):
        reseed(f"train/{step}")
        fake = G(photo.x)
        content = (net(fake)[tap] - net(photo.x)[tap]).abs().mean()
        gan = d_loss = torch.zeros(())
        if step >= c.warm_up:
            gan = -torch.sigmoid(D(fake)).log().mean()
        r.opt_g.step(c.content.weight * content + gan, 2e-3)
        r.follow()
        if step >= c.warm_up:
            made, real, smooth = D(fake.detach()), D(cartoon.x), D(smooth_edges(cartoon.x))
            d_loss = -torch.sigmoid(real).log().mean() - (1 - torch.sigmoid(made)).log().mean()
            d_loss = d_loss - c.edges * (1 - torch.sigmoid(smooth)).log().mean()
            r.opt_d.step(d_loss, 2e-3)
        r.log({"loss/content": content, "loss/gan": gan, "loss/d": d_loss})
    return r


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> tuple[Images, Images]:
    root = tmp_path_factory.mktemp("domains")
    return pictures(root / "photos", seed=0), pictures(root / "cartoons", seed=1, stylised=True)


@pytest.mark.parametrize("changed", CASES.values(), ids=CASES.keys())
def test_training_takes_the_papers_steps(
    tmp_path: Path, domains: tuple[Images, Images], changed: dict[str, Any]
) -> None:
    c = checked(CartoonganTraining, SETTINGS | changed)
    model = train_cartoongan(Run(tmp_path, quiet=True, log_every=1), *domains, c)[""]
    wanted = reference(*domains, c)
    check(tmp_path / "train", wanted)
    check_tensors(model.net.state_dict(), wanted.averaged())
    assert model.discriminator is not None
    check_tensors(model.discriminator.net.state_dict(), wanted.discriminators())


def test_the_cartoons_used_here_have_edges_to_smooth(domains: tuple[Images, Images]) -> None:
    c = checked(CartoonganTraining, SETTINGS)
    shown = list(batches(domains[1], c, "other"))
    assert len(shown) == c.steps
    assert all(float((smooth_edges(b.x) - b.x).abs().max()) > 0.1 for b in shown)
