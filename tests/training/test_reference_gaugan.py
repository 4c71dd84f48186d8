"""SPADE's training loop is the paper's, step by step (Park et al. 2019, section 3, appendix A).

`reference` is to be read beside the paper and those it refers to: hinge loss (Miyato et al. 2018),
feature matching and the features' distance (Wang et al. 2018, eq. 4 and section 3.4).
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
from thin import thinned
from torch import Tensor, nn

from ganpress.data import Images, open_images
from ganpress.losses.features import Features, load_features
from ganpress.models.families import family
from ganpress.nn.discriminators import build_discriminator
from ganpress.nn.spade import add_spectral_norm
from ganpress.run.run import Run
from ganpress.run.settings import checked
from ganpress.training.gaugan import GauGANTraining, train_gaugan

__all__ = ["float64"]  # a fixture
GAUGAN = family("gaugan")
LABELS = 4
DEPTHS = {"relu1": 1 / 16, "relu2": 1 / 8, "relu3": 1 / 4, "relu4": 1.0}
"""Weights of the four layers of the tiny network; of five layers the first would have 1 / 32."""


@pytest.fixture
def images(tmp_path: Path) -> Images:
    """Five pictures of noise in cells, a grey for each id of their label maps."""
    for folder in ("photo", "label"):
        (tmp_path / folder).mkdir()
    for i in range(5):
        rng = np.random.default_rng(i)
        ids = rng.integers(LABELS, size=(18, 18)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
        photo = ids[..., None] * 40 + rng.integers(0, 90, (72, 72, 3))
        Image.fromarray(ids).save(tmp_path / "label" / f"{i}.png")
        Image.fromarray(photo.astype(np.uint8)).save(tmp_path / "photo" / f"{i}.png")
    return open_images(tmp_path / "photo", labels=tmp_path / "label")


def settings(**changed: Any) -> GauGANTraining:
    given: dict[str, Any] = {
        **{"steps": 4, "batch": 4, "width": 1 / 256, "ema": 0.9, "decay": 0.6, "seed": 3},
        **{"lr_g": 1e-3, "lr_d": 4e-3, "features": "tiny", "matching": 7.0, "perceptual": 3.0},
        **{"discriminator": {"width": 4, "layers": 2}, "data": {"size": 64, "workers": 0}},
        "options": {"labels": LABELS, "edges": False},
    }
    return checked(GauGANTraining, {**given, **changed})


def start(c: GauGANTraining) -> tuple[Normed, Normed]:
    """Both networks with Xavier's normal weights times 0.02, spectral norm where the paper has it:
    in the discriminator and in the generator's residual blocks."""
    seed(c.seed, "init")
    widths = {
        group: max(1, round(w / 256)) for group, w in GAUGAN.full(GAUGAN.resolve(c.options)).items()
    }
    G = add_spectral_norm(xavier(GAUGAN.build(widths, **c.options)))
    D = xavier(build_discriminator("spade", inputs=LABELS + 3, **c.discriminator.model_dump()))
    return Normed(G), Normed(D)


def xavier(net: nn.Module) -> nn.Module:
    for tensor in net.parameters():
        if tensor.ndim == 4:
            nn.init.xavier_normal_(tensor, gain=0.02)
        else:
            nn.init.zeros_(tensor)
    return net


def generators_terms(real: list[list[Tensor]], fake: list[list[Tensor]]) -> tuple[Tensor, Tensor]:
    """-D(G) and the L1 distance of the stages before the logits, means over the scales."""
    gan = sum(-maps[-1].mean() for maps in fake) / len(fake)
    matched = torch.zeros(())
    for theirs, ours in zip(real, fake, strict=True):
        for a, b in zip(theirs[:-1], ours[:-1], strict=True):
            matched = matched + (a.detach() - b).abs().mean() / len(real)
    return torch.as_tensor(gan), matched


def discriminators_loss(D: Normed, seen: Tensor, photo: Tensor, fake: Tensor) -> Tensor:
    """max(0, 1 - D(x)) + max(0, 1 + D(G)), mean over the scales."""
    weights = D.weights()
    real = [maps[-1] for maps in D(weights, torch.cat([seen, photo], 1))]
    made = [maps[-1] for maps in D(weights, torch.cat([seen, fake], 1))]
    terms = [F.relu(1 - x).mean() for x in real] + [F.relu(1 + x).mean() for x in made]
    return torch.stack(terms).sum() / len(real)


def distance(features: Features | None, fake: Tensor, photo: Tensor) -> Tensor:
    """Weighted L1 between the feature network's layers."""
    near = torch.zeros(())
    if features is not None:
        theirs, ours = features(photo), features(fake)
        for tap, depth in DEPTHS.items():
            near = near + depth * (theirs[tap] - ours[tap]).abs().mean()
    return near


def reference(images: Images, c: GauGANTraining) -> Reference:
    """G, then D on the same picture; two learning rates, constant and then linear to 0."""
    G, D = start(c)
    features = load_features("tiny") if c.features == "tiny" else None
    opt_g, opt_d = adam(G.parameters, c.lr_g, (0.0, 0.9)), adam(D.parameters, c.lr_d, (0.0, 0.9))
    average = {n: t.detach().clone() for n, t in G.tensors.items()}
    log = []
    for t, batch in enumerate(batches(images, c)):
        for opt, rate in ((opt_g, c.lr_g), (opt_d, c.lr_d)):
            opt.param_groups[0]["lr"] = rate * min(1.0, (1 - t / c.steps) / c.decay)
        assert batch.labels is not None
        maps = F.one_hot(batch.labels, LABELS).permute(0, 3, 1, 2).double()
        parts = list(zip(maps.chunk(c.accumulate), batch.x.chunk(c.accumulate), strict=True))
        fakes, terms = [], torch.zeros(4)

        opt_g.zero_grad()
        for seen, photo in parts:
            fake, weights = G(G.weights(), seen), D.weights()
            judged = [D(weights, torch.cat([seen, x], 1)) for x in (photo, fake)]
            gan, matched = generators_terms(*judged)
            near = distance(features, fake, photo)
            loss = gan + c.matching * matched + c.perceptual * near
            (loss / c.accumulate).backward()
            fakes.append(fake.detach())
            terms[:3] += torch.stack([gan, matched, near]).detach() / c.accumulate
        opt_g.step()
        average = followed(average, G.tensors, t + 1, c.ema)

        opt_d.zero_grad()
        for (seen, photo), fake in zip(parts, fakes, strict=True):
            loss = discriminators_loss(D, seen, photo, fake)
            (loss / c.accumulate).backward()
            terms[3] += loss.detach() / c.accumulate
        opt_d.step()
        names = ("loss/g", "loss/matching", "loss/perceptual", "loss/d")
        log.append(dict(zip(names, terms.tolist(), strict=True)))
        log[-1]["lr/g"] = opt_g.param_groups[0]["lr"]
    nets = {"G": G.tensors, "D": D.tensors}
    return Reference(nets, {"opt_g": opt_g, "opt_d": opt_d}, average, log)


def folded(c: GauGANTraining, average: dict[str, Tensor]) -> dict[str, Tensor]:
    """The averaged weights divided by their own spectral norms, found by 20 power iterations."""
    G, _ = start(c)
    G.tensors = average
    return G.weights(iterations=20 if c.ema else 0)


@pytest.mark.parametrize(
    "changed",
    thinned(
        [
            {},
            {"accumulate": 2, "ema": 0.2, "discriminator": {"width": 4, "layers": 3, "scales": 1}},
            {"perceptual": 0.0, "matching": 0.0, "ema": 0.0},
            {"features": "none", "batch": 2},
        ],
        2,
    ),
    ids=["plain", "in parts", "hinge alone", "without features"],
)
def test_spade_is_trained_as_its_paper_says(
    images: Images, tmp_path: Path, changed: dict[str, Any]
) -> None:
    c = settings(**changed)
    run = Run(tmp_path / "run", seed=c.seed, quiet=True, log_every=1)
    with each_step_only_its_own_gradients():
        model = train_gaugan(run, images, None, c)[""]
    wanted = reference(images, c if c.perceptual else c.model_copy(update={"features": "none"}))
    compare(tmp_path / "run", wanted)
    same(model.net.state_dict(), folded(c, wanted.average), "the teacher")
    assert model.discriminator is not None
    same(model.discriminator.net.state_dict(), wanted.nets["D"], "its discriminator")
