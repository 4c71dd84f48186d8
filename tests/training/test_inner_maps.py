"""The maps inside discriminators: those of their own forward pass, for all kinds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import pytest
import torch
from nets import WIRINGS, Wiring, photos

from ganpress.errors import ConfigError
from ganpress.losses.terms import feature_matching
from ganpress.models.discriminator import Discriminator
from ganpress.models.inputs import channels_of, reads
from ganpress.nn.discriminators import build_discriminator
from ganpress.training.discriminator import DiscriminatorWithLoss
from ganpress.training.inner_maps import channels_read, inner_maps, smallest_side

# Each scale's stages before the logits, as modules of the tiny discriminators of `nets`.
STAGES = {
    "cyclegan instance": [["model.1", "model.4", "model.7"]],
    "pix2pix": [["model.1", "model.4", "model.7"]],
    "gaugan": [[f"scales.{s}.stages.{i}" for i in range(3)] for s in range(2)],
    "munit": [[f"cnns.{s}.{i}" for i in range(2)] for s in range(2)],
    "sngan conditional": [["block1", "block2", "block3", "block4"]],
    "stylegan2": [["blocks.0", "blocks.1"]],
}


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def with_loss(wiring: Wiring) -> DiscriminatorWithLoss:
    net = wiring.ghost
    return DiscriminatorWithLoss(
        own=wiring.discriminator(), reads=reads(net), channels=channels_of(net)
    ).eval()


@pytest.mark.parametrize("name", STAGES)
def test_the_inner_maps_are_those_of_the_forward_pass(name: str) -> None:
    wiring = WIRINGS[name]
    discriminator, shown = with_loss(wiring), wiring.shown()
    found, modules = {}, dict(discriminator.net.named_modules())
    for stage in chain(*STAGES[name]):
        modules[stage].register_forward_hook(
            lambda _, __, out, stage=stage: found.setdefault(stage, out)
        )
    discriminator.net(*shown)
    wanted = [[found[stage] for stage in scale] for scale in STAGES[name]]
    maps = inner_maps(discriminator, *shown)
    assert [len(scale) for scale in maps] == [len(scale) for scale in wanted]
    for ours, theirs in zip(chain(*maps), chain(*wanted), strict=True):
        assert torch.equal(ours, theirs)


def test_the_condition_is_read_before_the_picture() -> None:
    discriminator = with_loss(WIRINGS["pix2pix"])
    [shown] = WIRINGS["pix2pix"].shown()
    [maps] = inner_maps(discriminator, shown[:, 3:], shown[:, :3])
    [wanted] = inner_maps(discriminator, shown)
    assert all(torch.equal(a, b) for a, b in zip(maps, wanted, strict=True))
    assert channels_read(discriminator) == 6


def test_spades_feature_matching_can_read_any_discriminator() -> None:
    """As the recipe of SPADE computes it, from the maps that its discriminator returns."""
    wiring = WIRINGS["gaugan"]
    discriminator = with_loss(wiring)
    [real], fake = wiring.shown(), wiring.shown()[0].flip(0)
    wanted = [[s[:-1] for s in discriminator.net(x)] for x in (real, fake)]
    ours = feature_matching(*(inner_maps(discriminator, x) for x in (real, fake)))
    assert float(ours) == pytest.approx(float(feature_matching(*wanted)))
    other = DiscriminatorWithLoss(width=4, layers=2)
    assert float(feature_matching(*(inner_maps(other, photos(2, seed=k)) for k in (1, 2)))) > 0


@pytest.mark.parametrize("name", STAGES)
def test_the_smallest_side_is_read_in_training_and_half_of_it_is_not(name: str) -> None:
    discriminator = with_loss(WIRINGS[name]).train()
    side, channels = smallest_side(discriminator), channels_read(discriminator)
    maps = inner_maps(discriminator, torch.zeros(1, channels, side, side))
    assert [len(scale) for scale in maps] == [len(scale) for scale in STAGES[name]]
    if side > 1:
        with pytest.raises((RuntimeError, ValueError)):
            inner_maps(discriminator, torch.zeros(1, channels, side // 2, side // 2))


def test_a_discriminator_of_too_many_halvings_is_refused() -> None:
    net = build_discriminator("patch", width=1, layers=11)
    own = Discriminator(net, "patch", {"width": 1, "layers": 11})
    with pytest.raises(ConfigError, match="too many halvings"):
        smallest_side(DiscriminatorWithLoss(own=own))


def test_a_70_pixel_patchgan_reads_maps_of_32_pixels() -> None:
    net = build_discriminator("patch", width=2)
    assert smallest_side(DiscriminatorWithLoss(own=Discriminator(net, "patch", {"width": 2}))) == 32
