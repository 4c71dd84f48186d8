"""MUNIT's training, compared with its steps written out from the paper."""

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
from torch import Tensor, nn

from ganpress.data import Images
from ganpress.models.families.munit import MUNIT
from ganpress.nn.adain import SampleNorm
from ganpress.nn.discriminators import build_discriminator
from ganpress.run.run import Run
from ganpress.run.settings import checked
from ganpress.training.munit import MunitTraining, train_munit

SETTINGS: dict[str, Any] = {
    **{"steps": 3, "batch": 2, "width": 0.05, "options": {"res": 1}, "ema": 0.9, "lr": 2e-3},
    **{"discriminator_width": 3, "discriminator_layers": 2, "discriminator_scales": 2},
    "data": {"size": 16, "load_size": 20, "workers": 0},
}
CASES: dict[str, dict[str, Any]] = {
    "as in the paper": {},
    "with the cycle": {"weights": {"cycle": 10.0}, "batch": 3},
    "other weights": {"weights": {"image": 2.0, "style": 3.0, "content": 5.0, "cycle": 0.5}},
    "with halved rates and strong decay": {
        **{"steps": 5, "halve_every": 2, "weight_decay": 0.3, "ema": 0.2},
    },
    "in two parts": {"accumulate": 2, "weights": {"cycle": 1.0}},
}


@pytest.fixture(autouse=True)
def _double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def layer_norm(self: SampleNorm, x: Tensor) -> Tensor:
        """As the layer's own, which leaves float64 for float32."""
        mean, deviation = x.mean((1, 2, 3), keepdim=True), x.std((1, 2, 3), keepdim=True)
        scale, shift = (t[:, None, None] for t in (self.weight, self.bias))
        return (x - mean) / (deviation + self.eps) * scale + shift

    monkeypatch.setattr(SampleNorm, "forward", layer_norm)
    with double_precision():
        yield


def start(c: MunitTraining) -> Reference:
    """Auto-encoders from Kaiming's normal, discriminators from N(0, 0.02), biases 0."""
    reseed("init")
    G, D = nn.ModuleDict(), nn.ModuleDict()
    for domain in "AB":
        G[domain] = scaled(MUNIT, c)
        for layer in G[domain].modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    for domain in "AB":
        D[domain] = build_discriminator("munit", width=3, layers=2, scales=2)
        for layer in D[domain].modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, 0.0, 0.02)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    opt_g, opt_d = (Adam(n, weight_decay=c.weight_decay, moves_idle=True) for n in (G, D))
    return Reference(G, D, opt_g, opt_d, c.ema)


def l1(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean()


def generator_terms(
    r: Reference, pictures: tuple[Tensor, Tensor], styles: tuple[Tensor, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Huang et al., ECCV 2018, eqs. 1 to 4 in both directions, and the pictures made."""
    terms = {name: torch.zeros(()) for name in ("image", "style", "content", "gan", "cycle")}
    made = {}
    for own, other, at in (("A", "B", 0), ("B", "A", 1)):
        here: Any = r.G.get_submodule(own)
        there: Any = r.G.get_submodule(other)
        x, style = pictures[at], styles[1 - at]
        code, own_style = here.encode_content(x), here.encode_style(x).flatten(1)
        terms["image"] = terms["image"] + l1(here.decode(code, own_style), x)
        fake = there.decode(code, style)
        back, back_style = there.encode_content(fake), there.encode_style(fake).flatten(1)
        terms["content"] = terms["content"] + l1(back, code)
        terms["style"] = terms["style"] + l1(back_style, style)
        terms["cycle"] = terms["cycle"] + l1(here.decode(back, own_style), x)
        for logits in r.D.get_submodule(other)(fake):
            terms["gan"] = terms["gan"] + ((logits - 1) ** 2).mean()
        made[other] = fake.detach()
    return terms, made


def reference(domains: tuple[Images, Images], c: MunitTraining) -> Reference:
    """Eq. 5, the auto-encoders before the discriminators."""
    r, w = start(c), c.weights
    data = zip(batches(domains[0], c), batches(domains[1], c, "other"), strict=True)
    for step, (first, second) in enumerate(data):
        reseed(f"train/{step}")
        lr = 2e-3 / 2 ** (step // c.halve_every)
        pair = first.x, second.x
        styles = torch.randn(c.batch, 8), torch.randn(c.batch, 8)
        terms, made = generator_terms(r, pair, styles)
        if not w.cycle:
            terms["cycle"] = torch.zeros(())
        codes = w.style * terms["style"] + w.content * terms["content"]
        whole = w.image * terms["image"] + w.cycle * terms["cycle"]
        r.opt_g.step(terms["gan"] + codes + whole, lr)
        r.follow()
        d_loss = torch.zeros(())
        for domain, x in zip("AB", pair, strict=True):
            D = r.D.get_submodule(domain)
            for real, fake in zip(D(x), D(made[domain]), strict=True):
                d_loss = d_loss + ((real - 1) ** 2).mean() + (fake**2).mean()
        r.opt_d.step(d_loss, lr)
        r.log({**{f"loss/{n}": t for n, t in terms.items()}, "loss/d": d_loss, "lr": lr})
    return r


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> tuple[Images, Images]:
    root = tmp_path_factory.mktemp("domains")
    return pictures(root / "a", seed=0), pictures(root / "b", seed=1, stylised=True)


@pytest.mark.parametrize("changed", CASES.values(), ids=CASES.keys())
def test_training_takes_the_papers_steps(
    tmp_path: Path, domains: tuple[Images, Images], changed: dict[str, Any]
) -> None:
    c = checked(MunitTraining, SETTINGS | changed)
    models = train_munit(Run(tmp_path, quiet=True, log_every=1), *domains, c)
    wanted = reference(domains, c)
    check(tmp_path / "train", wanted)
    assert models.keys() == {"A2B", "B2A"}
    for way, model in models.items():
        source, target = (wanted.averaged(f"{domain}.") for domain in way.split("2"))
        content = {n: t for n, t in source.items() if n.startswith("content.")}
        check_tensors(model.net.state_dict(), target | content)
        assert model.discriminator is not None
        check_tensors(model.discriminator.net.state_dict(), wanted.discriminators(f"{way[-1]}."))
