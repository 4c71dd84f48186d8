"""Perceptual path length: the authors' values, closed forms, and what must be the same at both
ends of a pair."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from interop_files import reference
from nets import FIRST, WIRINGS, Wiring, each
from torch import Tensor, nn

from ganpress.data import Images, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import ConfigError, WeightsError
from ganpress.formats.importers import from_state
from ganpress.losses import picture_distance
from ganpress.losses.lpips import PictureDistance
from ganpress.losses.picture_distance import load_distance
from ganpress.measures.fidelity import evaluate
from ganpress.measures.metrics.path_length import lerp, pair_lengths, slerp, trimmed, trimmed_mean
from ganpress.measures.path_length import path_length
from ganpress.measures.quality import evaluate_quality
from ganpress.models.checkpoint import Model
from ganpress.nn.modulated import ModulatedConv

LATENT = {n: WIRINGS[n] for n in ("stylegan2", "sngan", "sngan conditional")}


@dataclass
class Squares:
    """The sum of squared differences, in place of a network's distance."""

    name: str = "squares"
    protocol: str = "sum of squared differences"

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).square().flatten(1).sum(1)


def squares() -> PictureDistance:
    return Squares()  # type: ignore[return-value]


def exact(wiring: Wiring) -> Model:
    """A tiny model whose pictures have no rounding to speak of."""
    model = wiring.model()
    model.net.double()
    return model


def test_the_great_circle_is_at_the_fraction_of_its_angle_and_keeps_lengths() -> None:
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.randn(50, 7, generator=draw, dtype=torch.float64) for _ in range(2))
    t = torch.rand(50, generator=draw, dtype=torch.float64)
    c = slerp(a, b, t)
    angle = torch.cosine_similarity(a, b).arccos()
    assert torch.allclose(torch.cosine_similarity(a, c).arccos(), t * angle)
    assert torch.allclose(torch.cosine_similarity(c, b).arccos(), (1 - t) * angle)
    assert torch.allclose(c.norm(dim=1), (1 - t) * a.norm(dim=1) + t * b.norm(dim=1))
    for end, whole in ((a, 0.0), (b, 1.0)):
        assert torch.allclose(slerp(a, b, torch.full((50,), whole, dtype=torch.float64)), end)


def test_the_great_circle_between_equal_codes_stays_there() -> None:
    a = torch.tensor([[3.0, 4.0]])
    assert torch.allclose(slerp(a, a, torch.tensor([0.3])), a)


def test_the_error_is_that_of_the_mean_of_the_pairs_that_are_kept() -> None:
    found = path_length(LATENT["stylegan2"].model(), squares(), count=24, batch=24)
    kept = sorted(found.pairs.tolist())  # the percentiles of 24 are its ends: both are kept
    deviation = statistics.pstdev(kept)
    assert found.value == pytest.approx(statistics.mean(kept))
    assert found.error == pytest.approx(deviation / 24**0.5) and deviation > 0


def test_a_pairs_length_is_that_of_the_derivative_of_a_linear_network() -> None:
    draw = torch.Generator().manual_seed(1)
    a, b = (torch.randn(9, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    matrix = torch.randn(4, 12, generator=draw, dtype=torch.float64)
    found = pair_lengths(
        lambda w: (w @ matrix).view(-1, 3, 2, 2), Squares(), partial(lerp, a, b), torch.rand(9)
    )
    assert torch.allclose(found, ((b - a) @ matrix).square().sum(1), rtol=1e-6)


def test_what_is_trimmed_is_what_lies_outside_of_both_ranks() -> None:
    x = torch.arange(220.0)
    assert len(trimmed(x)) == 220 - 2 - 2  # ranks 2.19 and 216.81: 2 and 217 are kept
    assert trimmed(x)[0] == 2
    assert trimmed(x)[-1] == 217
    assert trimmed_mean(x) == float(x[2:218].mean())


def with_exact_gains(net: nn.Module) -> nn.Module:
    """The gains of convolutions in float64: a file keeps them in float32, which is 2e-8 away."""
    for module in net.modules():
        if isinstance(module, ModulatedConv):
            fan_in = round(float(module.gain) ** -2)
            module.gain = torch.tensor(fan_in, dtype=torch.float64).rsqrt()
    return net


@pytest.mark.shared_interop
def test_the_authors_path_lengths_are_reproduced() -> None:
    file = reference("content_aware")
    options = json.loads(file.said["constructor"])
    model = from_state("stylegan2", file.weights)
    assert model.options["size"] == options["size"]
    net: Any = with_exact_gains(model.net.double())
    noise = [file.weights[f"noises.noise_{k}"].double() for k in range(len(net.layers))]
    w0, w1, t = (file.input[f"ppl_{name}"].double() for name in ("w0", "w1", "t"))
    pairs = pair_lengths(
        lambda w: net.synthesis(w, *noise).detach(), Squares(), partial(lerp, w0, w1), t
    )
    wanted = file.output["ppl_pair"]
    assert float(((pairs - wanted) / wanted).abs().max()) < 1e-9
    assert len(trimmed(pairs)) == int(file.output["ppl_kept_pairs"])
    assert trimmed_mean(pairs) == pytest.approx(float(file.output["ppl"]), rel=1e-9)
    untrimmed = trimmed_mean(pairs, low=0, high=100)
    assert untrimmed == pytest.approx(float(file.output["ppl_mean_untrimmed"]), rel=1e-9)


@each(LATENT)
def test_every_pair_is_the_derivative_along_its_path(wiring: Wiring) -> None:
    """Only if all else that the network reads is the same at both ends: else 1e8 times as much."""
    model = exact(wiring)
    net: Any = model.net
    spaces = ("w", "z") if wiring.name == "stylegan2" else ("z",)
    for space in spaces:
        found = path_length(as_double(model), squares(), space=space, count=5, batch=2, eps=1e-6)
        draw = torch.Generator().manual_seed(0)
        assert len(found.pairs) == 5
        for length in found.pairs:
            z0, *rest = (x.double() for x in net.draw(1, 16, draw))
            z1, *_ = (x.double() for x in net.draw(1, 16, draw))
            t = torch.rand(1, generator=draw).double()
            ends = (net.mapping(z0), net.mapping(z1)) if space == "w" else (z0, z1)
            way = {"w": lerp, "z": slerp}[space]
            make = net.synthesis if space == "w" else net
            _, slope = torch.autograd.functional.jvp(
                lambda s: make(way(*ends, s), *rest),  # noqa: B023
                t,
                torch.ones_like(t),
            )
            assert float(length) == pytest.approx(float(slope.square().sum()), rel=2e-3)


def as_double(model: Model) -> Model:
    """A model that draws in float64."""
    net: Any = model.net
    draw = type(net).draw
    net.draw = lambda *a: tuple(x.double() for x in draw(net, *a))
    return model


def test_what_is_drawn_does_not_depend_on_the_batch_and_the_name_fixes_the_protocol() -> None:
    model = WIRINGS["stylegan2"].model()
    a, b = (path_length(model, squares(), count=7, batch=batch) for batch in (1, 4))
    assert torch.allclose(a.pairs, b.pairs, rtol=0.05)  # float32: differences of nearly equal ones
    assert a.name == "ppl-w-eps0.0001-trim1-99-7-squares"
    assert "noise maps" in a.protocol
    other = path_length(model, squares(), space="z", count=8, eps=1e-3)
    assert other.name == "ppl-z-eps0.001-trim1-99-8-squares"


def test_the_network_keeps_its_mode_and_running_statistics() -> None:
    model = WIRINGS["sngan"].model()
    model.net.train()
    before = {n: t.clone() for n, t in model.net.state_dict().items()}
    path_length(model, squares(), space="z", count=3)
    assert model.net.training
    assert all(torch.equal(before[n], t) for n, t in model.net.state_dict().items())


@each({n: w for n, w in FIRST.items() if n not in ("stylegan2",)})
def test_generators_without_the_space_are_refused_with_the_reason(wiring: Wiring) -> None:
    model = wiring.model()
    why = "no mapping network" if wiring.name == "sngan" else "not of a latent code"
    with pytest.raises(ConfigError, match=why):
        path_length(model, squares(), space="w", count=3)


def test_a_distance_says_which_network_and_form_it_is(tmp_path: Path) -> None:
    tiny = load_distance("tiny")
    assert tiny.name == "tiny-unit-distance"
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    assert tiny(x, x).tolist() == [0, 0]
    assert (tiny(x, x.flip(0)) > 0).all()
    with pytest.raises(ConfigError, match="did you mean 'squeezenet'"):
        load_distance("squeezenett")
    with pytest.raises(ConfigError, match="at least 16 pixels, not 8"):
        load_distance("tiny", side=8)
    with pytest.raises(
        ConfigError, match="'squeezenet' compares pictures of at least 17 pixels, not 16"
    ):
        load_distance("squeezenet", side=16, weights=tmp_path)  # before its weights are looked for


def test_pictures_beyond_256_pixels_are_compared_at_that_size() -> None:
    tiny = load_distance("tiny")
    x, y = (torch.rand(1, 3, 256, 256) * 2 - 1 for _ in range(2))
    large = (p.repeat_interleave(2, 2).repeat_interleave(2, 3) for p in (x, y))
    assert torch.allclose(tiny(*large), tiny(x, y), rtol=1e-5)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return open_images(write_folder(tmp_path_factory.mktemp("real"), 5, seed=2, size=32))


def test_path_lengths_are_offered_as_other_metrics_are(photos: Images) -> None:
    model = WIRINGS["stylegan2"].model()
    found = evaluate_quality(
        model, photos, count=6, features="tiny", metrics=["ppl-w", "ppl-z"], seed=3
    )
    for space in ("w", "z"):
        alone = path_length(model, load_distance("tiny"), space=space, count=6, seed=3)
        assert alone.name == f"ppl-{space}-eps0.0001-trim1-99-6-tiny-unit-distance"
        assert found.metrics[alone.name] == pytest.approx(alone.value, rel=1e-3)
        assert found.protocol[alone.name] == alone.protocol
        assert found.spread[alone.name] > 0
    only = evaluate_quality(model, photos, count=6, features="tiny")
    assert not any(name.startswith("ppl") for name in only.metrics)


def test_a_students_path_length_stands_beside_its_teachers() -> None:
    student, teacher = (WIRINGS["sngan"].model(seed) for seed in (0, 1))
    found = evaluate(student, teacher, None, count=5, features="tiny", metrics=["ppl-z"])
    name = "ppl-z-eps0.0001-trim1-99-5-tiny-unit-distance"
    wanted = path_length(teacher, load_distance("tiny"), space="z", count=5)
    assert found.metrics[name] != found.yardsticks[f"{name}, the teacher"]
    assert found.yardsticks[f"{name}, the teacher"] == pytest.approx(wanted.value, rel=1e-3)


def test_path_lengths_of_generators_without_the_space_are_refused_by_name(photos: Images) -> None:
    with pytest.raises(ConfigError, match="no mapping network"):
        evaluate_quality(WIRINGS["sngan"].model(), photos, features="tiny", metrics=["ppl-w"])
    model = WIRINGS["cartoongan"].model()
    with pytest.raises(ConfigError, match=r"'ppl-z' follows paths .* that reads noise"):
        evaluate_quality(model, photos, other=photos, features="tiny", metrics=["ppl-z"])
    with pytest.raises(ConfigError, match="'ppl-w' follows paths"):
        evaluate(model, model, photos, features="tiny", metrics=["ppl-w"])


def test_lpips_is_taken_where_its_weights_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not picture_distance.lpips_is_here()
    for here, wanted in ((False, "squeezenet"), (True, "vgg16")):
        asked: list[str] = []

        def load(name: str, **_: object) -> None:
            asked.append(name)  # noqa: B023
            raise WeightsError("not here")

        monkeypatch.setattr(picture_distance, "lpips_is_here", lambda _, here=here: here)
        monkeypatch.setattr(picture_distance, "load_features", load)
        monkeypatch.setattr(picture_distance, "picture_distance", lambda name, _: load(name))
        with pytest.raises(WeightsError):
            load_distance()
        assert asked == [wanted]
