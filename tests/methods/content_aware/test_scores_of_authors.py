"""The authors' own scores, kept channels, pruned weights and pictures, from their code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache

import pytest
import torch
from interop_files import largest, reference
from torch import Tensor

from ganpress.formats.importers import stylegan2 as rosinality
from ganpress.formats.importers.fitting import assemble
from ganpress.measures.target import TargetSettings
from ganpress.methods.content_aware.cut import cut, pruned
from ganpress.methods.content_aware.score_settings import CutSettings
from ganpress.methods.content_aware.scores.activations import asv, l1_map
from ganpress.methods.content_aware.scores.diversity import diversity
from ganpress.methods.content_aware.scores.drawn import Drawn, Sample
from ganpress.methods.content_aware.scores.filters import l1_in, l1_out, style
from ganpress.methods.content_aware.scores.gradients import content_aware
from ganpress.models.checkpoint import Model
from ganpress.models.families.stylegan2 import StyleGAN2
from ganpress.models.spaces import latent_of
from ganpress.types import Inputs, Scores, State

pytestmark = pytest.mark.shared_interop
NAME = "content_aware"


def weights_under(part: str) -> State:
    prefix = f"{part}/"
    other = reference(NAME).other
    return {n.removeprefix(prefix): t for n, t in other.items() if n.startswith(prefix)}


def imported(weights: State) -> Model:
    return assemble(rosinality.plan(weights, source="x"), weights, source="x")


@cache
def dense() -> Model:
    return imported(reference(NAME).weights)


def config() -> dict[str, float]:
    found: dict[str, float] = json.loads(reference(NAME).said["config"])
    return found


def samples() -> Inputs:
    given = reference(NAME).input
    return (given["z"], *(given[f"noise_{k}"] for k in range(len(net().layers))))


def net() -> StyleGAN2:
    assert isinstance(dense().net, StyleGAN2)
    return dense().net


def drawn() -> Drawn:
    return Drawn(
        lambda: iter([Sample(samples())]), interest=lambda *_: reference(NAME).input["hit"]
    )


def statistics(batch: int = 7) -> Drawn:
    """The samples of the scores that are statistics, which do not depend on the batch."""

    def batches() -> Iterator[Sample]:
        maps = net().draw(1, 0)[1:]
        for z in reference(NAME).input["z_stats"].split(batch):
            yield Sample((z, *(m.expand(len(z), -1, -1, -1) for m in maps)))

    return Drawn(batches)


def noise(mask: Tensor) -> tuple[Tensor, Tensor]:
    given = reference(NAME).input
    return mask, given["salt_pepper"].float()


def agrees(scores: Scores, name: str, tolerance: float, *, first: int = 0) -> None:
    """Each group's largest difference is within the tolerance, relative to its largest score."""
    assert list(scores) == list(dense().widths)
    for k, (group, score) in enumerate(scores.items()):
        if k >= first:
            want = reference(NAME).output[f"{name}_{k}"]
            assert largest(score, want) <= tolerance * float(want.abs().max()), (name, group)


def paper_scores() -> Scores:
    return content_aware(net(), drawn(), noise=noise)


def kept() -> dict[str, Tensor]:
    ratio = config()["remove_ratio"]
    return cut(paper_scores(), CutSettings(ratio=ratio), TargetSettings())


def test_the_dense_generator_makes_the_authors_pictures() -> None:
    assert largest(dense()(*samples()), reference(NAME).output["image"]) < 2e-5


def test_the_content_aware_score_is_the_authors() -> None:
    agrees(paper_scores(), "ca_score", 2e-5)


def test_the_gradient_of_a_batch_is_taken_before_its_magnitude() -> None:
    def singly() -> Iterator[Sample]:
        for k in range(3):
            yield Sample(tuple(t[k : k + 1] for t in samples()))

    given, turn = reference(NAME).input, iter(range(3))

    def one(mask: Tensor) -> tuple[Tensor, Tensor]:
        k = next(turn)
        return given["hit"][k : k + 1].float(), given["salt_pepper"][k : k + 1].float()

    apart = content_aware(net(), Drawn(singly), noise=one)
    gaps = [
        float((s - w).abs().max() / w.max())
        for s, w in zip(apart.values(), paper_scores().values(), strict=True)
    ]
    assert max(gaps) > 0.1


@pytest.mark.parametrize("batch", [20, 7])
def test_scores_that_are_statistics_are_the_authors_in_any_batches(batch: int) -> None:
    given = statistics(batch)
    agrees(l1_out(net(), given), "l1_out", 1e-5)
    agrees(l1_in(net(), given), "l1_in", 1e-5, first=1)
    agrees(style(net(), given), "l1_style", 1e-5)
    agrees(l1_map(net(), given), "l1_map", 1e-5)
    agrees(asv(net(), given), "asv", 1e-5, first=1)
    agrees(asv(net(), given, over="l1"), "l1_norm_asv", 1e-5, first=1)
    agrees(asv(net(), given, over="l2"), "l2_norm_asv", 1e-5, first=1)
    assert not asv(net(), given)["const"].any()  # the same for every sample


@pytest.mark.parametrize(("name", "detached"), [("dcp_score", False), ("dcp_score_detached", True)])
def test_the_diversity_score_is_the_authors_in_both_forms(name: str, detached: bool) -> None:
    latent, given = latent_of(net()), Drawn(lambda: iter([Sample(samples())]))
    assert latent is not None
    assert latent.name == "w"
    found = diversity(
        net(), latent, given, shift=config()["alpha"], detached=detached,
        directions=lambda: reference(NAME).input["dcp_directions"],
    )  # fmt: skip
    agrees(found, name, 5e-5)


def test_the_kept_channels_are_the_authors() -> None:
    found = kept()
    assert [len(k) for k in found.values()] == config()["pruned_net_shape"]
    for k, indices in enumerate(found.values()):
        assert torch.equal(indices, reference(NAME).output[f"kept_{k}"])


def test_the_pruned_weights_are_the_authors_bit_for_bit() -> None:
    ours = pruned(dense(), kept()).net.state_dict()
    theirs = imported(weights_under("pruned_weights")).net.state_dict()
    assert ours.keys() == theirs.keys()
    differ = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    assert differ == {name for name in ours if name.endswith(".gain")}  # worked out anew by theirs


@torch.no_grad()
def test_the_pruned_picture_keeps_the_scale_of_the_full_network() -> None:
    w = reference(NAME).input["w"]
    want = reference(NAME).output
    small = pruned(dense(), kept()).net
    assert isinstance(small, StyleGAN2)
    maps = samples()[1:]
    assert largest(small.synthesis(w, *maps), want["image_pruned_scale_kept"]) < 5e-5
    assert largest(want["image_pruned_upstream"], want["image_pruned_scale_kept"]) > 1
    for layer in small.to_rgb:  # what upstream's class does with the same weights
        layer.modulated.gain.fill_(layer.modulated.conv.weight.shape[1] ** -0.5)
    assert largest(small.synthesis(w, *maps), want["image_pruned_upstream"]) < 5e-5


@torch.no_grad()
def test_a_pruned_release_makes_upstreams_picture_and_ours_survives_upstreams_class() -> None:
    maps, w = samples()[1:], reference(NAME).input["w"]
    want = reference(NAME).output
    released = imported(weights_under("pruned_weights")).net
    assert isinstance(released, StyleGAN2)
    assert largest(released.synthesis(w, *maps), want["image_pruned_upstream"]) < 5e-5
    again = imported(rosinality.state_of(pruned(dense(), kept()))).net
    assert isinstance(again, StyleGAN2)
    assert largest(again.synthesis(w, *maps), want["image_pruned_scale_kept"]) < 5e-5
