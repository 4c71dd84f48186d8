"""CycleGAN's training, compared with its steps written out from the paper."""

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
from torch import Tensor, nn

from ganpress.data import Images
from ganpress.models.families.cyclegan import CYCLEGAN
from ganpress.nn.discriminators import build_discriminator
from ganpress.run.run import Run
from ganpress.training.cyclegan import CycleGANTraining, train_cyclegan

PATCH = {"width": 3, "layers": 2, "norm": "instance", "lr": 3e-3}
SETTINGS: dict[str, Any] = {
    **{"steps": 4, "batch": 3, "width": 0.05, "options": {"blocks": 1}, "ema": 0.9, "pool": 2},
    **{"lr": 2e-3, "discriminator": PATCH, "data": {"size": 16, "load_size": 20, "workers": 0}},
}
CASES: dict[str, dict[str, Any]] = {
    "as in the paper": {},
    "without identity": {"identity": 0.0},
    "without history": {"pool": 0},
    "in two parts": {"batch": 2, "accumulate": 2},
    "other weights and an early decay": {
        **{"cycle": 3.0, "identity": 2.0, "ema": 0.2, "decay_from": 0.1, "steps": 5, "batch": 2},
    },
    "with learned scales": {"options": {"blocks": 1, "affine": True}},
    "with batch statistics": {"options": {"blocks": 1, "norm": "batch"}, "steps": 3},
}


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    with double_precision():
        yield


class History:
    """Up to ``size`` pictures; once full, a coin decides between the new one and an older one,
    whose place the new one takes (Shrivastava et al., CVPR 2017, section 2.3)."""

    def __init__(self, size: int) -> None:
        self.size, self.held = size, list[Tensor]()

    def shown(self, made: Tensor) -> Tensor:
        """(n, 3, h, w) -> what the discriminator is shown for them."""
        rows = []
        for row in made.detach() if self.size else ():
            if len(self.held) < self.size:
                self.held.append(row)
                rows.append(row)
                continue
            coin, place = torch.rand(2).tolist()
            if coin >= 0.5:
                place = int(place * self.size)
                self.held[place], row = row, self.held[place]
            rows.append(row)
        return torch.stack(rows) if rows else made.detach()


def start(c: CycleGANTraining) -> Reference:
    """Both generators and both discriminators as the run draws them."""
    reseed("init")
    G, D = nn.ModuleDict(), nn.ModuleDict()
    options = {"width": PATCH["width"], "layers": PATCH["layers"], "norm": PATCH["norm"]}
    for way, end in (("A2B", "B"), ("B2A", "A")):
        G[way] = drawn_normal(scaled(CYCLEGAN, c))
        D[end] = drawn_normal(build_discriminator("patch", **options))
    return Reference(G, D, Adam(G), Adam(D), c.ema)


def reference(domains: tuple[Images, Images], c: CycleGANTraining) -> Reference:
    """Zhu et al., ICCV 2017, eqs. 1 to 3 with least squares, and section 5.2's identity."""
    r = start(c)
    A2B, B2A = r.G.get_submodule("A2B"), r.G.get_submodule("B2A")
    D_A, D_B = r.D.get_submodule("A"), r.D.get_submodule("B")
    of_a, of_b = History(c.pool), History(c.pool)
    data = zip(batches(domains[0], c), batches(domains[1], c, "other"), strict=True)
    for step, (first, second) in enumerate(data):
        reseed(f"train/{step}")
        a, b, share = first.x, second.x, linear_decay(step, c)
        fake_b, fake_a = A2B(a), B2A(b)
        gan = ((D_B(fake_b) - 1) ** 2).mean() + ((D_A(fake_a) - 1) ** 2).mean()
        cycle = (B2A(fake_b) - a).abs().mean() + (A2B(fake_a) - b).abs().mean()
        loss = gan + c.cycle * cycle
        identity = torch.zeros(())
        if c.identity:
            identity = (A2B(b) - b).abs().mean() + (B2A(a) - a).abs().mean()
            loss = loss + c.cycle * c.identity * identity
        r.opt_g.step(loss, 2e-3 * share)
        r.follow()

        parts = zip(fake_a.chunk(c.accumulate), fake_b.chunk(c.accumulate), strict=True)
        shown = [(of_a.shown(in_a), of_b.shown(in_b)) for in_a, in_b in parts]
        old_a, old_b = (torch.cat(rows) for rows in zip(*shown, strict=True))
        d_a = ((D_A(a) - 1) ** 2).mean() + (D_A(old_a) ** 2).mean()
        d_b = ((D_B(b) - 1) ** 2).mean() + (D_B(old_b) ** 2).mean()
        r.opt_d.step((d_a + d_b) / 2, 3e-3 * share)
        losses = {"loss/gan": gan, "loss/cycle": cycle, "loss/identity": identity}
        r.log({**losses, "loss/d": (d_a + d_b) / 2, "lr": 2e-3 * share})
    return r


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> tuple[Images, Images]:
    root = tmp_path_factory.mktemp("domains")
    return pictures(root / "a", seed=0), pictures(root / "b", seed=1, stylised=True)


@pytest.mark.parametrize("changed", CASES.values(), ids=CASES.keys())
def test_training_takes_the_papers_steps(
    tmp_path: Path, domains: tuple[Images, Images], changed: dict[str, Any]
) -> None:
    c = CycleGANTraining(**{**SETTINGS, **changed})
    models = train_cyclegan(Run(tmp_path, quiet=True, log_every=1), *domains, c)
    wanted = reference(domains, c)
    check(tmp_path / "train", wanted)
    for way, model in models.items():
        check_tensors(model.net.state_dict(), wanted.averaged(f"{way}."))
        assert model.discriminator is not None
        check_tensors(model.discriminator.net.state_dict(), wanted.discriminators(f"{way[-1]}."))
