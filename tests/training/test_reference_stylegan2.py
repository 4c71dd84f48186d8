"""StyleGAN2's training loop is the paper's, step by step (Karras et al. 2020, appendix B).

`reference` is to be read beside the paper; lazy regularisation is its section 3.1, the path length
penalty its eq. 4, R1 eq. 9 of Mescheder et al. 2018, mixing section 3.1 of Karras et al. 2019.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from loops import (
    Reference,
    adam,
    batches,
    compare,
    each_step_only_its_own_gradients,
    float64,
    followed,
    same,
    seed,
)
from PIL import Image
from torch import Tensor, nn

from ganpress.data import Images, open_images
from ganpress.models.checkpoint import Model
from ganpress.models.families import family
from ganpress.nn.discriminators import DISCRIMINATORS, build_discriminator
from ganpress.run.run import Run
from ganpress.run.settings import checked
from ganpress.training.stylegan2 import StyleGAN2Training, train_stylegan2

__all__ = ["float64"]  # a fixture
STYLEGAN2 = family("stylegan2")
OPTIONS = {"size": 16, "style_dim": 8, "n_mlp": 2, "base": 128, "most": 8}
SIDES = (4, 8, 8, 16, 16)  # of the noise maps: one convolution at 4 pixels, then two a size
STYLES = 6  # one for each of the five convolutions, one for the last ToRGB


@pytest.fixture
def images(tmp_path: Path) -> Images:
    (tmp_path / "faces").mkdir()
    pictures = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)
    for k, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "faces" / f"{k}.png")
    return open_images(tmp_path / "faces")


def settings(**changed: Any) -> StyleGAN2Training:
    given: dict[str, Any] = {
        **{"steps": 5, "batch": 4, "ema": 0.9, "r1_every": 2, "path_every": 3, "seed": 3},
        **{"lr_g": 2e-3, "lr_d": 3e-3, "r1": 10.0, "path": 2.0, "mixing": 0.5},
        **{"discriminator": {"base": 64, "most": 8}, "data": {"size": 16, "workers": 0}},
        "options": OPTIONS,
    }
    return checked(StyleGAN2Training, {**given, **changed})


def start(c: StyleGAN2Training) -> tuple[Any, nn.Module]:
    seed(c.seed, "init")
    return STYLEGAN2.build(**OPTIONS), build_discriminator("stylegan2", size=16, channels=[8, 8, 4])


def drawn(c: StyleGAN2Training, n: int) -> tuple[Tensor, Tensor, int, list[Tensor]]:
    """Two z for each picture, the layer from which the second holds (none: behind the last), and
    fresh noise for every convolution."""
    z = torch.randn(2, n, OPTIONS["style_dim"])
    crossover = int(torch.randint(1, STYLES, ())) if torch.rand(()) < c.mixing else STYLES
    return z[0], z[1], crossover, [torch.randn(n, 1, side, side) for side in SIDES]


def styles(G: Any, z: Tensor, z2: Tensor, crossover: int) -> Tensor:
    """w of every layer, (n, layers, dim): the first z's before the crossover, then the second's."""
    w, w2 = G.mapping(z), G.mapping(z2)
    return torch.stack([w if layer < crossover else w2 for layer in range(STYLES)], 1)


def made(G: Any, c: StyleGAN2Training) -> list[Tensor]:
    """Pictures of one drawing, in the parts of the batch."""
    z, z2, crossover, noise = drawn(c, c.batch)
    parts = zip(*(t.chunk(c.accumulate) for t in (z, z2, *noise)), strict=True)
    return [G.synthesis(styles(G, *both, crossover), *maps) for *both, maps in
            ((z, z2, maps) for z, z2, *maps in parts)]  # fmt: skip


def path_penalty(G: Any, c: StyleGAN2Training, mean: Tensor) -> tuple[Tensor, Tensor]:
    """E (|J_w^T y| - a)^2 on half a batch, and a, which has moved by 0.01 towards this mean; the
    length's square is summed over w and averaged over its layers."""
    n = max(1, c.batch // 2)
    z, z2, crossover, noise = drawn(c, n)
    w = styles(G, z, z2, crossover)
    pictures = G.synthesis(w, *noise)
    y = torch.randn(n, 3, 16, 16) / 16
    [J] = torch.autograd.grad((pictures * y).sum(), w, create_graph=True)
    lengths = ((J**2).sum(2).sum(1) / STYLES) ** 0.5
    a = 0.99 * mean + 0.01 * lengths.mean().detach()
    return ((lengths - a) ** 2).mean(), a


def lazy(lr: float, every: int, weight: float) -> tuple[float, tuple[float, float]]:
    """Rate and betas of Adam that takes k + 1 steps where there would be k: c = k / (k + 1),
    lr' = c lr, beta' = beta^c (0 and 0.99 before)."""
    c = every / (every + 1) if weight > 0 else 1.0
    return lr * c, (0.0, 0.99**c)


def discriminators_steps(
    D: nn.Module, opt: Any, c: StyleGAN2Training, t: int, photos: Tensor, fakes: list[Tensor]
) -> dict[str, float]:
    """softplus(-D(x)) + softplus(D(G)); every so often gamma / 2 |grad D(x)|^2, so much more."""
    log, parts = {"loss/d": 0.0}, photos.chunk(c.accumulate)
    opt.zero_grad()
    for x, fake in zip(parts, fakes, strict=True):
        loss = F.softplus(-D(x)).mean() + F.softplus(D(fake.detach())).mean()
        (loss / c.accumulate).backward()
        log["loss/d"] += float(loss.detach()) / c.accumulate
    opt.step()
    if c.r1 == 0 or t % c.r1_every:
        return log
    opt.zero_grad()
    log["loss/r1"] = 0.0
    for x in parts:
        x = x.clone().requires_grad_(True)
        [slope] = torch.autograd.grad(D(x).sum(), x, create_graph=True)
        r1 = (slope**2).sum() / len(x)
        (c.r1 / 2 * r1 * c.r1_every / c.accumulate).backward()
        log["loss/r1"] += float(r1.detach()) / c.accumulate
    opt.step()
    return log


def reference(images: Images, c: StyleGAN2Training) -> tuple[Reference, Tensor]:
    """How it ends, and the mean of the path lengths."""
    G, D = start(c)
    opt_g = adam(list(G.parameters()), *lazy(c.lr_g, c.path_every, c.path))
    opt_d = adam(list(D.parameters()), *lazy(c.lr_d, c.r1_every, c.r1))
    average = {n: t.detach().clone() for n, t in G.state_dict().items()}
    mean, log = torch.zeros(()), []
    for t, batch in enumerate(batches(images, c)):
        seed(c.seed, f"train/{t}")
        told = discriminators_steps(D, opt_d, c, t, batch.x, made(G, c))

        opt_g.zero_grad()
        losses = [F.softplus(-D(fake)).mean() for fake in made(G, c)]
        torch.stack(losses).mean().backward()
        told["loss/g"] = float(torch.stack(losses).mean().detach())
        opt_g.step()

        if c.path > 0 and t % c.path_every == 0:
            opt_g.zero_grad()
            penalty, mean = path_penalty(G, c, mean)
            (c.path * c.path_every * penalty).backward()
            opt_g.step()
            told |= {"loss/path": float(penalty.detach()), "path/mean": float(mean)}
        average = followed(average, G.state_dict(), t + 1, c.ema)
        log.append(told)
    nets = {"G": G.state_dict(), "D": D.state_dict()}
    return Reference(nets, {"opt_g": opt_g, "opt_d": opt_d}, average, log), mean


def trained(images: Images, folder: Path, c: StyleGAN2Training) -> Model:
    run = Run(folder, seed=c.seed, quiet=True, log_every=1)
    with each_step_only_its_own_gradients():
        return train_stylegan2(run, images, None, c)[""]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"mixing": 1.0, "ema": 0.2, "r1_every": 1, "path_every": 1, "batch": 5},
        {"accumulate": 2, "mixing": 0.0, "r1": 3.0, "path": 0.0},
        {"r1": 0.0, "path_every": 2, "batch": 1},
    ],
    ids=["plain", "always mixed and regularised", "in parts", "one picture, no R1"],
)
def test_stylegan2_is_trained_as_its_paper_says(
    images: Images, tmp_path: Path, changed: dict[str, Any]
) -> None:
    c = settings(**changed)
    model = trained(images, tmp_path / "run", c)
    wanted, mean = reference(images, c)
    compare(tmp_path / "run", wanted)
    held = torch.load(tmp_path / "run/train/state.pt", weights_only=True)["of"]["path"]
    same(held, {"mean": mean}, "path")
    same(model.net.state_dict(), wanted.average, "the teacher")
    assert model.discriminator is not None
    same(model.discriminator.net.state_dict(), wanted.nets["D"], "its discriminator")


def test_a_batch_in_parts_is_a_whole_one_where_no_logit_depends_on_the_batch(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group of one picture has no deviation, so that each picture is judged by itself."""
    alone = partial(DISCRIMINATORS["stylegan2"], group=1)
    monkeypatch.setitem(DISCRIMINATORS, "stylegan2", alone)
    whole, *parts = (
        trained(images, tmp_path / str(n), settings(accumulate=n, mixing=1.0)) for n in (1, 2, 4)
    )
    for other in parts:
        same(other.net.state_dict(), whole.net.state_dict(), "in parts")
        assert other.discriminator is not None and whole.discriminator is not None
        same(other.discriminator.net.state_dict(), whole.discriminator.net.state_dict(), "in parts")
