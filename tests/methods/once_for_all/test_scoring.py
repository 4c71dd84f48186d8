"""How width sets are scored: figures by hand, what is held out, a network that stays as it is."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from family_runs import write_domains
from nets import WIRINGS, Wiring, every_wiring
from ofa_runs import given_for, settings
from torch import Tensor

from ganpress.channels.take import shrink
from ganpress.data import open_images
from ganpress.errors import ConfigError
from ganpress.losses.distance import Distance, DistanceSettings
from ganpress.losses.features import load_features
from ganpress.methods.base import Given
from ganpress.methods.once_for_all.holdout import hold_out, scorer_for, unmeasurable
from ganpress.methods.once_for_all.method import identity_of
from ganpress.methods.once_for_all.requests import resolve
from ganpress.methods.once_for_all.scoring import At, Held, Scorer, check_quality
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import inputs_of
from ganpress.models.source import Source
from ganpress.run.run import Run
from ganpress.run.settings import checked
from ganpress.training.setup import set_up


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_domains(tmp_path_factory.mktemp("scoring"))


def distance() -> Distance:
    values = {"features": "tiny", "content": 1.0, "style": 10.0}
    return Distance(checked(DistanceSettings, values))


def held_by(wiring: Wiring, *lengths: int, truth: bool = True) -> list[Held]:
    """Batches of these lengths with made-up teacher's pictures and truths."""
    found = []
    for k, n in enumerate(lengths):
        inputs = wiring.inputs(n, seed=k)
        shape = wiring.net().eval()(*inputs).shape
        draw = torch.Generator().manual_seed(k)
        teacher, real = (torch.rand(shape, generator=draw) * 2 - 1 for _ in range(2))
        found.append(Held(inputs, teacher, real if truth else None))
    return found


def narrow(wiring: Wiring) -> dict[str, int]:
    return {g: max(1, w // 2) for g, w in wiring.widths.items()}


def small_of(wiring: Wiring, net: torch.nn.Module) -> torch.nn.Module:
    return shrink(wiring.build, net, narrow(wiring)).eval()


@pytest.mark.parametrize("quality", ["distance", "truth"])
@pytest.mark.parametrize("kept", [2**30, 0], ids=["maps kept", "maps made anew"])
def test_figures_are_means_over_pictures_whatever_the_batches(
    quality: str, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganpress.methods.once_for_all.scoring.KEPT_BYTES", kept)
    wiring = WIRINGS["cyclegan affine"]
    net, held = wiring.net(1), held_by(wiring, 3, 1)
    scorer = Scorer(net, held, distance(), quality=quality)
    scorer({})
    found = scorer(narrow(wiring))
    small, d = small_of(wiring, net), distance()
    rows: dict[str, list[float]] = {"distance": [], "l1": [], "truth": []}
    with torch.no_grad():
        for batch in held:
            made = small(*batch.inputs)
            for i in range(len(made)):
                one, t, y = made[i : i + 1], batch.teacher[i : i + 1], cast(Tensor, batch.truth)
                rows["l1"].append(float((one - t).abs().mean()))
                rows["distance"].append(float(d(one, t)))
                rows["truth"].append(float(d(one, y[i : i + 1])))
    wanted = {n: sum(r) / 4 for n, r in rows.items() if n in ("l1", quality)}
    assert found == pytest.approx(wanted, rel=1e-4)


def test_without_the_truth_of_every_input_none_is_measured() -> None:
    wiring = WIRINGS["cyclegan affine"]
    held = [*held_by(wiring, 2), *held_by(wiring, 1, truth=False)]
    assert Scorer(wiring.net(1), held, distance())({}).keys() == {"distance", "l1"}


def test_the_frechet_distance_is_that_of_embeddings_of_all_pictures() -> None:
    """Of Gaussians with these means and covariances."""
    wiring = WIRINGS["cyclegan affine"]
    net, held = wiring.net(1), held_by(wiring, 5, 4, 1)
    features = load_features("tiny")
    reals = [b.teacher.roll(1, 0) for b in held_by(wiring, 6, 5)]
    scorer = Scorer(net, held, distance(), reals=reals, features=features)
    found = scorer(narrow(wiring))["frechet"]
    small = small_of(wiring, net)
    with torch.no_grad():
        made = torch.cat([features.embed(small(*b.inputs)) for b in held]).double().numpy()
        real = torch.cat([features.embed(x) for x in reals]).double().numpy()
    u, v = made.mean(0), real.mean(0)
    a, b = np.cov(made, rowvar=False), np.cov(real, rowvar=False)
    values = np.linalg.eigvals(a @ b).real.clip(min=0)  # those of its root squared
    wanted = ((u - v) ** 2).sum() + np.trace(a + b) - 2 * np.sqrt(values).sum()
    assert found == pytest.approx(float(wanted), rel=1e-3)


def test_real_pictures_are_embedded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wiring = WIRINGS["cyclegan affine"]
    features, shown = load_features("tiny"), []
    embed = type(features).embed
    monkeypatch.setattr(
        type(features), "embed", lambda self, x: (shown.append(len(x)), embed(self, x))[1]
    )
    reals = [b.teacher for b in held_by(wiring, 3)]
    scorer = Scorer(wiring.net(1), held_by(wiring, 2), distance(), reals=reals, features=features)
    first, again = scorer({}), scorer({})
    assert shown == [3, 2, 2] and first == again


def test_a_segmenter_sees_the_pictures_of_the_width_set() -> None:
    wiring = WIRINGS["cyclegan affine"]
    net, held, seen = wiring.net(1), held_by(wiring, 2, 1), []

    def segment(made: Any) -> dict[str, float]:
        seen.extend(made)
        return {"miou": 0.5, "accuracy": 0.25}

    found = Scorer(net, held, distance(), segment=segment)(narrow(wiring))
    assert (found["miou"], found["accuracy"]) == (0.5, 0.25)
    small = small_of(wiring, net)
    for made, batch in zip(seen, held, strict=True):
        torch.testing.assert_close(made, small(*batch.inputs).detach(), rtol=1e-5, atol=1e-5)


@every_wiring
@pytest.mark.parametrize("training", [False, True])
def test_scoring_changes_nothing_of_the_supernet_but_running_statistics(
    training: bool, wiring: Wiring
) -> None:
    if training and wiring.name == "gaugan":
        pytest.skip("slow, and in evaluation mode it is the same")
    net = wiring.net(1).train(training)
    next(iter(net.children())).eval()  # modes differ inside
    before = {n: t.clone() for n, t in net.state_dict().items()}
    modes = {n: m.training for n, m in net.named_modules()}
    held = [Held(wiring.inputs(1), torch.zeros(1, 3, 16, 16), None)]
    held[0] = Held(
        held[0].inputs, torch.zeros_like(copy.deepcopy(net).eval()(*held[0].inputs)), None
    )
    scorer = Scorer(net, held, Distance(checked(DistanceSettings, {"kind": "mse"})))
    scorer.calibration = [wiring.inputs(2, seed=7)]
    first = scorer(narrow(wiring))
    whole = scorer({})
    assert scorer(narrow(wiring)) == pytest.approx(first, rel=1e-5)  # of no set but its own
    assert whole != first
    for n, t in net.state_dict().items():
        if "running" not in n:
            assert torch.equal(t, before[n]), n
    assert {n: m.training for n, m in net.named_modules()} == modes
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_pictures_are_made_in_evaluation_mode_with_statistics_of_the_width_set() -> None:
    wiring = WIRINGS["cyclegan batch"]
    net, held = wiring.net(1), held_by(wiring, 3)
    calibration = [wiring.inputs(4, seed=8), wiring.inputs(4, seed=9)]
    found = Scorer(net.train(), held, distance(), calibration)(narrow(wiring))
    small = small_of(wiring, wiring.net(1))
    norms = [m for m in small.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    small.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative mean
    with torch.no_grad():
        for inputs in calibration:
            small(*inputs)
        made = small.eval()(*held[0].inputs)
    assert found["l1"] == pytest.approx(float((made - held[0].teacher).abs().mean()), rel=1e-4)


def test_groups_that_are_not_named_stay_whole() -> None:
    wiring = WIRINGS["cyclegan affine"]
    net, x = wiring.net(1), wiring.inputs()
    assert torch.equal(At(net, {})(*x), net(*x))
    assert not torch.allclose(At(net, {"stem": 2})(*x), net(*x))


# --- what is held out ----------------------------------------------------------------------------


def scorer_of(name: str, home: Path, tmp_path: Path, **changes: Any) -> tuple[Given, Scorer, Any]:
    given = given_for(name, home)
    pixels = WIRINGS[name].pixels
    config = settings(data={"size": pixels}, search={"images": 3, **changes})
    c = resolve(given, config)
    images, held = hold_out(given, c)
    run = Run(tmp_path / "run", quiet=True)
    setup = set_up(given.teacher, images, given.reals, None, c, run)
    return given, scorer_for(setup, WIRINGS[name].net(1), held, given, c), (images, held)


def test_held_out_images_and_those_that_are_trained_on_are_all_and_share_none(home: Path) -> None:
    given = given_for("cyclegan affine", home)
    images, held = hold_out(given, settings(search={"images": 2}))
    assert images is not None and held is not None
    assert (len(images), len(held)) == (4, 2)
    whole = pictures_in(given.images)
    assert sorted(pictures_in(images) + pictures_in(held)) == sorted(whole)
    assert len(set(whole)) == 6
    again = hold_out(given, settings(seed=9, search={"images": 2}))[1]
    assert pictures_in(again) == pictures_in(held)  # the same for every seed


def pictures_in(images: Any) -> list[float]:
    from ganpress.data import evaluation

    return [float(x.sum()) for batch in evaluation(images, batch=8, size=32) for x in batch.x]


def test_noise_that_is_scored_is_of_its_own(home: Path, tmp_path: Path) -> None:
    given, scorer, (images, held) = scorer_of("sngan conditional", home, tmp_path)
    assert images is None and held is None
    assert [len(b.teacher) for b in scorer.held] == [3]
    (batch,) = scorer.held
    assert batch.truth is None
    torch.testing.assert_close(batch.teacher, given.teacher.net(*batch.inputs).detach())
    _, again, _ = scorer_of("sngan conditional", home, tmp_path / "again")
    assert all(torch.equal(a, b) for a, b in zip(batch.inputs, again.held[0].inputs, strict=True))


@pytest.mark.parametrize(
    ("name", "truth"), [("cyclegan batch", None), ("pix2pix", "y"), ("gaugan instance", "x")]
)
def test_the_truth_of_an_input_is_its_target_or_the_photo_of_its_label_map(
    name: str, truth: str | None, home: Path, tmp_path: Path
) -> None:
    given, scorer, (_, held) = scorer_of(name, home, tmp_path)
    from ganpress.data import evaluation

    (batch,) = evaluation(held, batch=8, size=WIRINGS[name].pixels)
    (found,) = scorer.held
    if truth is None:
        assert found.truth is None
    else:
        assert torch.equal(cast(Tensor, found.truth), getattr(batch, truth))
    torch.testing.assert_close(found.teacher, given.teacher.net(*found.inputs).detach())


def test_the_teacher_makes_its_pictures_once(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, scorer, _ = scorer_of("cyclegan batch", home, tmp_path)
    monkeypatch.setattr(
        type(given.teacher.net), "forward", refuse_for(given.teacher, given.teacher.net.forward)
    )
    assert scorer({})["l1"] != scorer({"stem": 2})["l1"]


def refuse_for(teacher: Model, forward: Any) -> Any:
    original = type(teacher.net).forward

    def run(self: Any, *inputs: Any) -> Any:
        assert self is not teacher.net, "the teacher runs again"
        return original(self, *inputs)

    return run


def test_statistics_are_read_where_there_are_any(home: Path, tmp_path: Path) -> None:
    _, batch, _ = scorer_of("cyclegan batch", home, tmp_path / "a", calibrate=3)
    _, instance, _ = scorer_of("cyclegan affine", home, tmp_path / "b", calibrate=3)
    assert [len(x) for (x,) in batch.calibration] == [3]
    assert list(instance.calibration) == []


@pytest.mark.parametrize("name", ["gaugan", "sngan conditional", "munit", "cyclegan batch"])
def test_parts_of_a_sample_are_the_whole_and_are_made_one_by_one(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One-hot label maps of Cityscapes take 12 times as much memory as the photos."""
    given, made = given_for(name, home), list[int]()
    source, pixels = Source(given.teacher, given.images), WIRINGS[name].pixels
    whole, parts = source.sample(5, pixels), source.sampled(5, pixels, 3)

    def counted(of: Any, batch: Any, draw: Any) -> Any:
        made.append(len(batch.x))
        return inputs_of(of, batch, draw)

    monkeypatch.setattr("ganpress.models.source.inputs_of", counted)
    assert made == []
    for _ in range(2):  # the same again
        found = list(zip(*parts, strict=True))
        assert all(torch.equal(torch.cat(f), w) for f, w in zip(found, whole, strict=True))
    assert made == [2, 2, 1, 2, 2, 1]


@pytest.mark.parametrize(
    ("name", "count", "paired"),
    [("pix2pix", 3, True), ("munit", 6, False), ("gaugan instance", 3, True)],
)
def test_the_real_pictures_of_frechet_are_truths_or_those_of_the_domain(
    name: str, count: int, paired: bool, home: Path, tmp_path: Path
) -> None:
    """Truths of the held-out inputs, or all pictures of the second domain."""
    _, scorer, (_, held) = scorer_of(name, home, tmp_path, quality="frechet")
    from ganpress.data import evaluation

    assert sum(map(len, scorer.reals)) == count
    pixels = WIRINGS[name].pixels
    source = held if paired else open_images(home / "y")
    (batch,) = evaluation(source, batch=8, size=pixels)
    wanted = batch.y if name == "pix2pix" else batch.x
    assert torch.equal(torch.cat(list(scorer.reals)), cast(Tensor, wanted))
    assert "frechet" in scorer({})


def test_of_many_real_pictures_some_are_taken_that_are_not_the_first(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of a set are often all of one class."""
    monkeypatch.setattr("ganpress.methods.once_for_all.holdout.REALS", 3)
    _, scorer, _ = scorer_of("munit", home, tmp_path, quality="frechet")
    found = [float(x.sum()) for batch in scorer.reals for x in batch]
    every = pictures_in(open_images(home / "y"))
    assert len(found) == 3 and set(found) < set(every) and found != every[:3]


def identity(given: Given, run: Path, **changes: Any) -> dict[str, Any]:
    """Of a search whose supernet is the same whatever changes."""
    c = resolve(given, settings(**changes))
    setup = set_up(given.teacher, hold_out(given, c)[0], given.reals, None, c, Run(run, quiet=True))
    return identity_of(setup, given.teacher, given, c)


def test_a_study_of_other_inputs_real_pictures_or_segmenter_is_of_another_search(
    home: Path, tmp_path: Path
) -> None:
    """All that a reused supernet does not pin down (`reuse.FREE`)."""
    labels = given_for("gaugan instance", home)
    size = {"data": {"size": 64}}
    same, other = (
        identity(labels, tmp_path / name, **size, search={"quality": "miou", "segmenter": net})
        for name, net in (("a", "facades"), ("b", "drn-d-105-cityscapes"))
    )
    assert same != other
    noise = replace(given_for("sngan", home), images=open_images(home / "x"))
    how = {"search": {"quality": "frechet"}, "discriminator": {"real": "teacher"}}
    seeds = [identity(noise, tmp_path / f"seed {seed}", seed=seed, **how) for seed in (3, 4)]
    assert seeds[0] != seeds[1]
    reals = replace(noise, images=open_images(home / "y"))
    assert identity(reals, tmp_path / "reals", seed=3, **how) != seeds[0]
    assert identity(noise, tmp_path / "again", seed=3, **how) == seeds[0]
    photos = given_for("cyclegan instance", home)
    assert identity(photos, tmp_path / "c", seed=3) == identity(photos, tmp_path / "d", seed=4)


# --- what can be measured -------------------------------------------------------------------------


class Some(SimpleNamespace):
    """A few images."""

    def __len__(self) -> int:
        return 6


def given_with(
    name: str, *, paired: bool = False, reals: bool = False, images: bool = True
) -> Given:
    some = Some(paired=paired) if images else None
    real = Some() if reals else None
    return Given(WIRINGS[name].model(), cast(Any, some), cast(Any, real))


def test_a_distance_of_sets_is_refused_of_a_single_picture() -> None:
    given = given_with("pix2pix", paired=True)
    found = unmeasurable(given, settings(search={"images": 1}))
    with pytest.raises(ConfigError, match="frechet needs at least 2 held-out inputs"):
        check_quality("frechet", found)
    assert "frechet" not in unmeasurable(given, settings(search={"images": 2}))


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (given_with("cyclegan affine"), {"truth", "frechet"}),
        (given_with("cyclegan affine", reals=True), {"truth"}),
        (given_with("pix2pix", paired=True), set()),
        (given_with("gaugan"), set()),
        (given_with("sngan", images=False), {"truth", "frechet"}),
        (given_with("sngan"), {"truth"}),
        (given_with("sngan", paired=True), {"truth"}),
    ],
)
def test_what_cannot_be_measured_says_why(given: Given, missing: set[str]) -> None:
    found = unmeasurable(given, settings())
    assert set(found) == missing | {"miou", "accuracy"}
    assert all(why.startswith("needs ") for why in found.values())
    for name in ("distance", "l1"):
        check_quality(name, found)
    for name in missing:
        with pytest.raises(ConfigError, match=f"search.quality={name} needs .*can be measured"):
            check_quality(name, found)
    with pytest.raises(ConfigError, match="did you mean 'distance'"):
        check_quality("distanse", found)
