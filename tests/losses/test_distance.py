"""The distance of the settings: what it loads, and what it computes."""

from __future__ import annotations

import pytest
import torch
from nets import photos

from ganpress.losses import features as networks
from ganpress.losses.distance import Distance, DistanceSettings
from ganpress.losses.features import load_features
from ganpress.losses.networks import TINY_TAPS


@pytest.mark.parametrize("style", [0.0, 1.0])
def test_the_feature_network_is_read_once(style: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """VGG-16 is a file of 528 MB."""
    reads, read = [], networks.read_weights
    monkeypatch.setattr(networks, "read_weights", lambda path: reads.append(path) or read(path))
    Distance(DistanceSettings(features="tiny", style=style))
    assert len(reads) == 1


def test_content_alone_computes_the_first_tap_and_nothing_behind_it() -> None:
    alone = Distance(DistanceSettings(features="tiny", style=0.0)).features
    every = load_features("tiny")
    assert alone is not None
    assert alone.taps == every.taps[:1]
    assert len(alone.layers) == TINY_TAPS[every.taps[0]] + 1 < len(every.layers)
    x = photos(2)
    assert torch.equal(alone(x)[every.taps[0]], every(x)[every.taps[0]])
    for settings in ({"style": 1.0}, {"style": 0.0, "unit": 1.0}):
        whole = Distance(DistanceSettings(features="tiny", **settings)).features
        assert whole is not None
        assert whole.taps == every.taps


def test_the_distance_is_the_weighted_sum_of_its_terms_written_out() -> None:
    a, b = photos(2), photos(2, seed=9)
    weights = {"content": 0.5, "style": 30.0, "unit": 0.2, "pixel": 3.0}
    net = load_features("tiny")
    u, v = list(net(a).values()), list(net(b).values())
    gram = [torch.einsum("ncij,ndij->ncd", m, m) / m[0].numel() for m in (*u, *v)]
    of_u, of_v = gram[: len(u)], gram[len(u) :]
    terms = {
        "pixel": (a - b).abs().mean(),
        "content": (u[0] - v[0]).abs().mean(),
        "style": sum((p - q).square().mean() for p, q in zip(of_u, of_v, strict=True)),
        "unit": sum(
            (p / p.norm(dim=1, keepdim=True).clamp_min(1e-12)
             - q / q.norm(dim=1, keepdim=True).clamp_min(1e-12)).square().sum(1).mean()
            for p, q in zip(u, v, strict=True)
        ),
    }  # fmt: skip
    whole = Distance(DistanceSettings(features="tiny", **weights))
    wanted = sum(float(weights[name] * term) for name, term in terms.items())
    assert float(whole(a, b)) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("kind", ["perceptual", "mse"])
def test_a_mask_is_laid_over_both_pictures_first(kind: str) -> None:
    a, b = photos(2), photos(2, seed=9)
    mask = torch.zeros(2, 1, *a.shape[2:])
    mask[:, :, 4:20] = 0.75
    weights = {"content": 1.0, "style": 10.0, "unit": 0.2, "pixel": 3.0}
    distance = Distance(DistanceSettings(kind=kind, features="tiny", **weights))
    wanted = float(distance(mask * a, mask * b))
    assert float(distance(a, b, mask)) == pytest.approx(wanted, rel=1e-6)
    assert float(distance(a * (mask > 0) + b * (mask == 0), b * (mask > 0), mask)) == pytest.approx(
        wanted, rel=1e-6
    )


def test_the_teachers_maps_are_made_without_a_graph() -> None:
    b = photos(2, seed=9).requires_grad_()
    distance = Distance(DistanceSettings(features="tiny", unit=0.2))
    assert not any(maps.requires_grad for maps in distance.seen(b).values())
    a = photos(2).requires_grad_()
    distance(a, b).backward()
    assert a.grad is not None and float(a.grad.abs().max()) > 0


@pytest.mark.parametrize(
    ("features", "wanted"), [("squeezenet", (0.01, 0.002)), ("vgg16", (1, 1e5)), ("tiny", (1, 1e5))]
)
def test_content_and_style_have_the_weights_that_fit_their_network(
    features: str, wanted: tuple[float, float]
) -> None:
    assert DistanceSettings(features=features).content_and_style == wanted
    own = DistanceSettings(features=features, content=0.0, style=7.0)
    assert own.content_and_style == (0.0, 7.0)
