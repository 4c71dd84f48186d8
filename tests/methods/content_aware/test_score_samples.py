"""What scores are computed on: who votes, samples and noise of a seed, masks; what stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from cagc_runs import settings
from nets import WIRINGS
from PIL import Image
from scored_nets import doubled, drawn_of, fixed_noise, inputs, latents
from torch import Tensor, nn

from ganpress.data import Batch, open_images
from ganpress.errors import ConfigError
from ganpress.methods.content_aware import pruning
from ganpress.methods.content_aware.score_settings import ScoreSettings
from ganpress.methods.content_aware.scores.diversity import (
    drawn_directions,
)
from ganpress.methods.content_aware.scores.drawn import (
    Drawn,
    Sample,
    drawn_from,
    interest_in,
    salt_and_pepper,
)
from ganpress.methods.content_aware.scores.gradients import content_aware
from ganpress.methods.content_aware.scores.readers import readers
from ganpress.models.checkpoint import Model
from ganpress.models.source import Source
from ganpress.nn.axes import Axis, fixed
from ganpress.nn.layers import conv
from ganpress.run.run import Run
from ganpress.training.setup import Setup
from ganpress.types import Inputs, Scores

# --- who votes ------------------------------------------------------------------------------------


def test_only_the_last_torgb_votes_unless_all_are_asked_for() -> None:
    net = doubled(WIRINGS["stylegan2"])
    layers = {g: [s.layer for s in shares] for g, shares in readers(net).items()}
    assert layers["conv8"] == ["layers.3.modulated.conv"]
    assert layers["conv16"] == ["to_rgb.2.modulated.conv"]
    every = {g: [s.layer for s in shares] for g, shares in readers(net, "all").items()}
    assert every["conv8"] == ["layers.3.modulated.conv", "to_rgb.1.modulated.conv"]
    assert every["up8"] == layers["up8"] == ["layers.2.modulated.conv"]
    drawn = drawn_of(inputs(WIRINGS["stylegan2"]))
    few = content_aware(net, drawn, noise=fixed_noise)
    many = content_aware(net, drawn, noise=fixed_noise, rgb="all")
    assert torch.equal(few["up8"], many["up8"])
    assert bool((many["conv8"] > few["conv8"]).all())


def test_the_only_layer_that_makes_a_picture_always_votes() -> None:
    net = doubled(WIRINGS["pix2pix"])
    assert [s.layer for s in readers(net)["enc0"]] == ["downs.1.conv", "out.conv"]
    assert readers(net) == readers(net, "all")


# --- what is drawn --------------------------------------------------------------------------------


@pytest.mark.parametrize("flip", [False, True])
def test_crops_are_mirrored_only_where_those_of_the_training_are(
    flip: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = np.zeros((32, 32, 3), np.uint8)
    left[:, :8] = 255
    (tmp_path / "x").mkdir()
    Image.fromarray(left).save(tmp_path / "x" / "left.png")
    seen: list[Sample] = []

    def listen(model: Model, drawn: Drawn, asked: ScoreSettings) -> Scores:
        seen.extend(drawn.batches())
        return {}

    monkeypatch.setattr(pruning, "score_channels", listen)
    model, run = WIRINGS["cyclegan instance"].model(), Run(tmp_path / "run", quiet=True)
    source = Source(model, open_images(tmp_path / "x"))
    setup = SimpleNamespace(run=run, source=source, interest=None, teacher=model)
    config = settings(score={"samples": 8, "batch": 8}, data={"flip": flip})
    pruning.scored(cast(Setup, setup), config, model)
    lit = {bool(x[0, 0, 0] > 0) for x in seen[0].inputs[0]}
    assert lit == ({True, False} if flip else {True})


def test_samples_do_not_depend_on_the_batch_and_the_last_one_is_smaller() -> None:
    model = WIRINGS["sngan conditional"].model()
    source = Source(model, None)

    def all_of(batch: int, seed: int = 4) -> list[Inputs]:
        drawn = drawn_from(source, samples=7, batch=batch, seed=seed)
        return [sample.inputs for sample in drawn.batches()]

    def joined(batch: int) -> list[Tensor]:
        return [torch.cat(column) for column in zip(*all_of(batch), strict=True)]

    assert [len(z) for z, _ in all_of(3)] == [3, 3, 1]
    for batch in (1, 7, 10):
        for a, b in zip(joined(3), joined(batch), strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(all_of(7)[0][0], all_of(7, seed=5)[0][0])


def test_noise_is_of_the_seed_and_not_of_the_batch() -> None:
    mask = torch.ones(5, 1, 8, 8)
    whole = salt_and_pepper(0.3, torch.Generator().manual_seed(1))(mask)
    again = salt_and_pepper(0.3, torch.Generator().manual_seed(1))
    parts = [again(mask[:2]), again(mask[2:])]
    for k in range(2):
        assert torch.equal(whole[k], torch.cat([p[k] for p in parts]))


def test_noise_hits_the_content_alone_and_as_often_as_it_is_to() -> None:
    mask = torch.zeros(4, 1, 64, 64)
    mask[..., :32], mask[..., 32:48] = 1.0, 0.5
    hit, values = salt_and_pepper(0.2, torch.Generator().manual_seed(0))(mask)
    assert not hit[..., 48:].any()
    assert float(hit[..., :32].mean()) == pytest.approx(0.2, abs=0.015)
    assert float(hit[..., 32:48].mean()) == pytest.approx(0.1, abs=0.015)
    assert set(values.unique().tolist()) == {-1.0, 1.0}
    assert float(values.mean()) == pytest.approx(0.0, abs=0.03)


def test_pixels_without_interest_change_no_score() -> None:
    wiring = WIRINGS["sngan"]
    net, given = doubled(wiring), inputs(wiring)

    def scored(interest: Any) -> Scores:
        noise = salt_and_pepper(0.5, torch.Generator().manual_seed(0))
        return content_aware(net, drawn_of(given, interest=interest), noise=noise)

    def upper(_: Inputs, x: Tensor, __: Any) -> Tensor:
        rows = torch.arange(x.shape[2])[:, None] < 16
        return rows.expand(len(x), 1, -1, x.shape[3]).double()

    whole, none = scored(None), scored(lambda _, x, __: torch.zeros_like(x[:, :1]))
    half = scored(upper)
    assert not any(score.any() for score in none.values())
    assert any(not torch.equal(half[g], whole[g]) for g in whole)
    seen: list[Inputs] = []
    scored(lambda given, x, _: seen.append(given) or torch.ones_like(x[:, :1]))
    assert all(torch.equal(a, b) for a, b in zip(seen[0], given, strict=True))


def test_a_mask_that_is_none_is_refused_with_what_it_must_be() -> None:
    pictures = torch.zeros(2, 3, 8, 8)
    with pytest.raises(ConfigError, match=r"gives \(2, 8, 8\).*must be \(2, 1, 8, 8\)"):
        interest_in(lambda _, x, __: x[:, 0], Sample(()), pictures)
    with pytest.raises(ConfigError, match=r"from 0 to 255.*from 0, where nothing matters, to 1"):
        interest_in(
            lambda _, x, __: torch.tensor([0.0, 255.0]).repeat(2, 1, 8, 4), Sample(()), pictures
        )
    with pytest.raises(ConfigError, match="must be from 0"):
        interest_in(lambda _, x, __: torch.full((2, 1, 8, 8), torch.nan), Sample(()), pictures)


def test_scoring_leaves_the_network_as_it_was() -> None:
    wiring = WIRINGS["sngan"]
    net = wiring.net().train()
    for name, parameter in net.named_parameters():
        parameter.requires_grad_("b5" not in name)
    before = {n: t.clone() for n, t in net.state_dict().items()}
    wanted = {n: p.requires_grad for n, p in net.named_parameters()}

    def broken() -> Iterator[Sample]:
        yield Sample(wiring.inputs())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        content_aware(net, Drawn(broken), noise=fixed_noise)
    assert net.training
    assert {n: p.requires_grad for n, p in net.named_parameters()} == wanted
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())


def test_scores_of_a_frozen_teacher_are_those_of_one_that_trains() -> None:
    wiring = WIRINGS["stylegan2"]
    net, drawn = doubled(wiring), drawn_of(inputs(wiring))
    free = content_aware(net, drawn, noise=fixed_noise)
    with torch.no_grad():
        frozen = content_aware(net.requires_grad_(False), drawn, noise=fixed_noise)
    assert all(torch.equal(free[g], frozen[g]) for g in free)
    assert not any(p.requires_grad for p in net.parameters())


def test_directions_are_a_function_of_the_seed() -> None:
    net, _, latent = latents("stylegan2")

    def first(seed: int) -> Tensor:
        drawn = Drawn(lambda: iter(()), seed=seed)
        return drawn_directions(net, latent, drawn, count=4, latents=200)()

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_masks_that_come_with_photos_reach_the_interest_with_their_photos(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = WIRINGS["cyclegan instance"].model()
    photos = torch.rand(2, 3, 32, 32)
    masks = photos[:, :1]

    def batches(*_: Any) -> Iterator[Batch]:
        for _ in range(2):
            yield Batch(photos, torch.full((2,), -1), None, masks=masks)

    monkeypatch.setattr(Source, "batches", batches)
    seen: list[tuple[Inputs, Tensor]] = []

    def interest(given: Inputs, pictures: Tensor, came: Tensor) -> Tensor:
        seen.append((given, came))
        return came

    drawn = drawn_from(Source(model, None), samples=3, batch=2, size=32, interest=interest)
    content_aware(model.net, drawn, noise=salt_and_pepper(0.5, torch.Generator()))
    assert [len(came) for _, came in seen] == [2, 1]
    assert all(torch.equal(given[0][:, :1], came) for given, came in seen)


def test_a_concatenation_is_shared_by_its_groups_rows() -> None:
    wide, narrow = Axis("wide", 2, span=3), Axis("narrow", 4)
    net = nn.Sequential(conv((wide, narrow), fixed(3), 1))
    shares = {group: found for group, [found] in readers(net).items()}
    weight = net.get_parameter("0.weight")
    assert torch.equal(shares["wide"].rows(weight)[1], weight[:, 3:6].transpose(0, 1).flatten())
    assert torch.equal(shares["narrow"].rows(weight)[0], weight[:, 6].flatten())
    x = torch.rand(2, 10, 4, 4)
    assert torch.equal(shares["narrow"].maps(x), x[:, 6:].flatten(2))
    assert shares["wide"].maps(x).shape == (2, 2, 48)
