"""SNGAN's training loop is the papers', step by step (Miyato et al. 2018; Miyato and Koyama 2018).

`reference` is to be read beside the papers: section 4 of the first, eq. 3 of the second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from loops import (
    Normed,
    Reference,
    Tensors,
    adam,
    batches,
    compare,
    each_step_only_its_own_gradients,
    float64,
    followed,
    same,
    seed,
)
from torch import Tensor, nn

from ganpress.data import Images, open_images
from ganpress.models.families import family
from ganpress.models.families.base import draw_inputs
from ganpress.nn.discriminators import build_discriminator
from ganpress.run.run import Run
from ganpress.run.settings import checked
from ganpress.training.sngan import SNGANTraining, train_sngan

__all__ = ["float64"]  # a fixture
SNGAN = family("sngan")
LATENT = 8


@pytest.fixture
def images(tmp_path: Path) -> Images:
    """Seven pictures of 16 px in three classes."""
    pictures = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "pack.npz", images=pictures, labels=np.arange(7) % 3)
    return open_images(tmp_path / "pack.npz")


def settings(**changed: Any) -> SNGANTraining:
    classes = changed.pop("classes", 0)
    given: dict[str, Any] = {
        **{"steps": 4, "batch": 8, "d_steps": 2, "g_batch": 6, "width": 0.02, "ema": 0.9},
        **{"lr_g": 3e-3, "lr_d": 5e-3, "decay": 0.6, "discriminator": {"width": 4}, "seed": 3},
        "data": {"size": 16, "workers": 0, "flip": False},
        "options": {"bottom_width": 2, "latent_dim": LATENT, "classes": classes},
    }
    return checked(SNGANTraining, {**given, **changed})


def start(c: SNGANTraining) -> tuple[nn.Module, Normed]:
    """Both networks with Glorot's weights in their convolutions, the discriminator's normed."""
    seed(c.seed, "init")
    G = glorot(SNGAN.build(dict.fromkeys(SNGAN.full(c.options), 5), **c.options))
    D = build_discriminator("sngan", classes=c.options["classes"], **c.discriminator.model_dump())
    return G.train(), Normed(glorot(D))


def glorot(net: nn.Module) -> nn.Module:
    for tensor in net.parameters():
        if tensor.ndim == 4:
            nn.init.xavier_uniform_(tensor)
    return net


def inputs(n: int, classes: int) -> tuple[Tensor, Tensor | None]:
    """z, standard normal, and classes drawn evenly, one-hot."""
    z = torch.randn(n, LATENT)
    return z, torch.eye(classes)[torch.randint(classes, (n,))] if classes else None


def rows(count: int, *tensors: Tensor | None) -> list[list[Tensor | None]]:
    """Each tensor in ``count`` equal runs."""
    cut = [[None] * count if t is None else list(t.chunk(count)) for t in tensors]
    return [list(part) for part in zip(*cut, strict=True)]


def reference(images: Images, c: SNGANTraining) -> Reference:
    """d_steps updates of D on hinge loss, one of G, BatchNorm on the batch; both rates fall
    linearly to 0 in the last share of the training."""
    classes, log = c.options["classes"], []
    G, D = start(c)
    opt_g = adam(list(G.parameters()), c.lr_g, (0.0, 0.9))
    opt_d = adam(D.parameters, c.lr_d, (0.0, 0.9))
    average: Tensors = {n: t.detach().clone() for n, t in G.state_dict().items()}
    for t, batch in enumerate(batches(images, c)):
        seed(c.seed, f"train/{t}")
        for opt, rate in ((opt_g, c.lr_g), (opt_d, c.lr_d)):
            opt.param_groups[0]["lr"] = rate * (
                min(1, (1 - t / c.steps) / c.decay) if c.decay else 1
            )
        one_hot = torch.eye(classes)[batch.classes] if classes else None
        d_loss = 0.0
        for photos, labels in rows(c.d_steps, batch.x, one_hot):
            opt_d.zero_grad()
            drawn = inputs(c.batch // c.d_steps, classes)
            for x, y, z, y_z in rows(c.accumulate, photos, labels, *drawn):
                fake, weights = G(z, y_z).detach(), D.weights()
                real_says, fake_says = D(weights, x, y), D(weights, fake, y_z)
                loss = F.relu(1 - real_says).mean() + F.relu(1 + fake_says).mean()
                (loss / c.accumulate).backward()
                d_loss += float(loss.detach()) / c.accumulate / c.d_steps
            opt_d.step()
        opt_g.zero_grad()
        g_loss = 0.0
        for z, y_z in rows(c.accumulate, *inputs(c.g_batch, classes)):
            loss = -D(D.weights(), G(z, y_z), y_z).mean()
            (loss / c.accumulate).backward()
            g_loss += float(loss.detach()) / c.accumulate
        opt_g.step()
        average = followed(average, G.state_dict(), t + 1, c.ema)
        log.append({"loss/d": d_loss, "loss/g": g_loss, "lr/g": opt_g.param_groups[0]["lr"]})
    nets = {"G": G.state_dict(), "D": D.tensors}
    return Reference(nets, {"opt_g": opt_g, "opt_d": opt_d}, average, log)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"classes": 3},
        {"classes": 3, "accumulate": 2, "ema": 0.2, "d_steps": 1, "batch": 4},
        {"discriminator": {"width": 4, "spectral_norm": False}, "d_steps": 4, "decay": 0},
    ],
    ids=["plain", "conditional", "in parts", "without spectral norm"],
)
def test_sngan_is_trained_as_its_papers_say(
    images: Images, tmp_path: Path, changed: dict[str, Any]
) -> None:
    c = settings(**changed)
    run = Run(tmp_path / "run", seed=c.seed, quiet=True, log_every=1)
    with each_step_only_its_own_gradients():
        model = train_sngan(run, images, None, c)[""]
    wanted = reference(images, c)
    compare(tmp_path / "run", wanted)
    same(model.net.state_dict(), wanted.average, "the teacher")
    assert model.discriminator is not None
    same(model.discriminator.net.state_dict(), wanted.nets["D"], "its discriminator")


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_accumulating_gradients_changes_the_batch_norms_groups_only(
    images: Images, tmp_path: Path, norm: str
) -> None:
    """A spectral norm iterates once a part, too."""
    options = {"bottom_width": 2, "latent_dim": LATENT, "classes": 3, "norm": norm}
    given = {"options": options, "discriminator": {"width": 4, "spectral_norm": False}}
    whole, parts = (
        train_sngan(Run(tmp_path / str(n), quiet=True), images, None, settings(**given, **how))[""]
        for n, how in enumerate([{}, {"accumulate": 2}])
    )
    shown = draw_inputs(whole.net, 3, 16, torch.Generator().manual_seed(1))
    apart = float((parts(*shown) - whole(*shown)).abs().max())
    assert apart < 1e-9 if norm == "instance" else apart > 1e-3
