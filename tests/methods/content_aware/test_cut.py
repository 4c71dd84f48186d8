"""Which channels stay: the paper's widths and costs, ratios, targets, bindings, what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from nets import WIRINGS, Wiring, difference, every_family
from torch import Tensor, nn

from ganpress.channels.take import counts
from ganpress.errors import ConfigError, InfeasibleTarget
from ganpress.measures.cost import cost_ratio, measure
from ganpress.measures.target import TargetSettings
from ganpress.methods.content_aware.cut import (
    Limits,
    best,
    check_ratio_of_all,
    cut,
    over_mean,
    pruned,
    widths_after,
)
from ganpress.methods.content_aware.score_settings import CutSettings
from ganpress.models.checkpoint import Model, full_model
from ganpress.models.families import FAMILIES
from ganpress.models.families.stylegan2 import STYLEGAN2, StyleGAN2
from ganpress.models.upstream import binding_of
from ganpress.nn.axes import axes, widths
from ganpress.nn.modulated import EqualLinear
from ganpress.run.ema import Average
from ganpress.types import Scores, Widths

NO_TARGET = TargetSettings()


def scores_of(have: Widths, seed: int = 0) -> Scores:
    draw = torch.Generator().manual_seed(seed)
    return {g: torch.rand(w, generator=draw) + 0.01 for g, w in have.items()}


def ghost(size: int, have: Widths | None = None) -> nn.Module:
    with torch.device("meta"):
        return STYLEGAN2.build(have, size=size)


def published_macs(net: nn.Module, size: int) -> float:
    """As the authors count: with the linear layers, in G."""
    found = measure(net, size)
    return (found.macs + found.macs_linear) / 1e9


# --- the paper's networks -------------------------------------------------------------------------


@pytest.mark.parametrize(("ratio", "macs"), [(0.5, 11.30), (0.6, 7.33), (0.7, 4.124), (0.8, 1.857)])
def test_a_uniform_cut_at_256_pixels_has_the_papers_widths_and_cost(
    ratio: float, macs: float
) -> None:
    full = widths(ghost(256))
    left = counts(cut(scores_of(full), CutSettings(ratio=ratio), NO_TARGET))
    assert published_macs(ghost(256, left), 256) == pytest.approx(macs, rel=5e-4)
    if ratio == 0.7:
        assert list(left.values()) == [154] * 10 + [77] * 2 + [39] * 2
        assert sum(p.numel() for p in ghost(256, left).parameters()) / 1e6 == pytest.approx(
            5.57, abs=0.005
        )


@pytest.mark.parametrize(("ratio", "macs"), [(0.7, 6.990), (0.8, 3.165)])
def test_a_uniform_cut_at_1024_pixels_has_the_papers_widths_and_cost(
    ratio: float, macs: float
) -> None:
    left = widths_after(widths(ghost(1024)), ratio)
    assert published_macs(ghost(1024, left), 1024) == pytest.approx(macs, rel=5e-4)
    if ratio == 0.7:
        assert list(left.values()) == [154] * 10 + [77] * 2 + [39] * 2 + [20] * 2 + [10] * 2


def test_a_ratio_is_truncated_as_the_authors_do() -> None:
    assert widths_after({"a": 100, "b": 10, "c": 7}, 0.29) == {"a": 72, "b": 8, "c": 5}


# --- what stays -----------------------------------------------------------------------------------


def test_the_best_channels_of_each_layer_stay_in_their_order() -> None:
    scores = {"a": torch.tensor([3.0, 9.0, 1.0, 5.0]), "b": torch.tensor([0.1, 0.4, 0.2, 0.3])}
    kept = cut(scores, CutSettings(ratio=0.5), NO_TARGET)
    assert kept["a"].tolist() == [1, 3]
    assert kept["b"].tolist() == [1, 3]
    assert best(scores, {"a": 3, "b": 1})["a"].tolist() == [0, 1, 3]


def test_a_ratio_of_the_network_ranks_all_channels_together() -> None:
    scores = {"a": torch.tensor([8.0, 7.0, 6.0, 5.0]), "b": torch.tensor([0.4, 9.0, 0.3, 0.2])}
    how = CutSettings(ratio=0.4, scope="network", unit="none")
    kept = cut(scores, how, NO_TARGET)
    assert [kept[g].tolist() for g in "ab"] == [[0, 1, 2, 3], [1]]  # int(8 x 0.4) = 3 go
    alike = {"a": torch.tensor([8.0, 7.0, 0.5, 5.0]), "b": torch.tensor([0.04, 0.05, 0.001, 0.04])}
    kept = cut(alike, CutSettings(ratio=0.3, scope="network"), NO_TARGET)
    assert [kept[g].tolist() for g in "ab"] == [[0, 1, 3], [0, 1, 3]]
    assert float(over_mean(alike)["a"].mean()) == pytest.approx(1.0)


def test_a_network_can_be_ranked_by_ranks_and_by_what_channels_cost() -> None:
    scores = {"a": torch.tensor([8.0, 99.0, 9.0, 7.0]), "b": torch.tensor([0.1, 0.3, 0.2, 0.4])}
    kept = cut(scores, CutSettings(ratio=0.5, scope="network", unit="rank"), NO_TARGET)
    assert [kept[g].tolist() for g in "ab"] == [[1, 2], [1, 3]]

    scores = {"a": torch.tensor([1.0, 2.0, 3.0, 4.0]), "b": torch.tensor([5.0, 6.0, 7.0, 8.0])}
    of = lambda w: (w["a"] + 4 * w["b"]) / 20  # noqa: E731
    # prices of 0.4 and 1.6: scores of 2.5, 5, 7.5, 10 and 3.1, 3.8, 4.4, 5
    for exponent, wanted in ((0.0, [[3], [2, 3]]), (1.0, [[1, 2, 3], [3]])):
        how = CutSettings(scope="network", unit="none", cost_exponent=exponent)
        kept = cut(scores, how, TargetSettings(macs=0.5), cost=of)
        assert [kept[g].tolist() for g in "ab"] == wanted


def test_one_of_several_cuts_is_of_the_teachers_widths_and_may_remove_nothing() -> None:
    have = {"a": 10, "b": 4}
    left = {"a": torch.arange(8.0), "b": torch.arange(4.0)}
    kept = cut(left, CutSettings(ratio=0.5), NO_TARGET, whole=have)
    assert counts(kept) == {"a": 5, "b": 2} and kept["a"].tolist() == [3, 4, 5, 6, 7]
    assert counts(cut(left, CutSettings(ratio=0.1), NO_TARGET, whole=have)) == {"a": 8, "b": 4}
    how = CutSettings(ratio=0.5, scope="network", unit="none")
    assert counts(cut(left, how, NO_TARGET, whole=have)) == {"a": 5, "b": 1}  # 7 of 14 at most
    last = {"a": torch.arange(3.0), "b": torch.tensor([0.1, 0.2])}  # b would go: it keeps a channel
    assert counts(cut(last, CutSettings(ratio=0.8, scope="network", unit="none"), NO_TARGET,
                      whole=have)) == {"a": 2, "b": 1}  # fmt: skip
    of = lambda w: sum(w.values()) / 14  # noqa: E731
    kept = cut(left, CutSettings(), TargetSettings(macs=0.5), cost=of, whole=have)
    assert counts(kept) == {"a": 5, "b": 2}


@pytest.mark.parametrize("scope", ["layer", "network"])
@pytest.mark.parametrize("cost", ["macs", "params", "bytes"])
def test_a_cost_is_reached_by_the_widest_network_within_it(scope: Any, cost: str) -> None:
    model = WIRINGS["stylegan2"].model()
    of = cost_ratio(cost, model.net, model.net, model.size)
    target = TargetSettings(**{cost: 0.6})
    how = CutSettings(scope=scope)
    scores = scores_of(model.widths)
    kept = cut(scores, how, target, cost=of)
    assert of(counts(kept)) <= 0.6
    wider = {g: min(len(scores[g]), len(k) + 1) for g, k in kept.items()}
    assert of(wider) > 0.6
    small = pruned(model, kept).net
    measured = getattr(measure(small, model.size), cost)
    assert measured / getattr(measure(model.net, model.size), cost) == pytest.approx(
        of(counts(kept))
    )


def test_floors_and_multiples_hold_in_every_form() -> None:
    model = full_model("sngan", latent_dim=6)
    have = dict.fromkeys(model.widths, 24) | {"stem": 3}
    scores, limits = scores_of(have), Limits(min_channels=6, multiple=4)
    of = lambda w: sum(w.values()) / sum(have.values())  # noqa: E731
    for how, target in (
        (CutSettings(ratio=0.7), NO_TARGET),
        (CutSettings(ratio=0.5, scope="network"), NO_TARGET),
        (CutSettings(), TargetSettings(macs=0.5)),
        (CutSettings(scope="network"), TargetSettings(macs=0.5)),
    ):
        kept = counts(cut(scores, how, target, cost=of, limits=limits))
        assert kept.pop("stem") == 3
        assert all(k % 4 == 0 and 8 <= k <= 24 for k in kept.values())
        assert min(kept.values()) < 24


def test_what_whole_steps_leave_of_a_cost_goes_to_the_layers_that_kept_least() -> None:
    have = {"dear": 64, "inner": 64, "short": 48}
    of = lambda w: (20 * w["dear"] + w["inner"] + w["short"]) / 1392  # noqa: E731
    how, limits = CutSettings(), Limits(min_channels=1, multiple=16)
    kept = counts(cut(scores_of(have), how, TargetSettings(macs=0.52), cost=of, limits=limits))
    # half of each is (32, 32, 32): 0.506; the dear one's next step does not fit, one of another's
    # does, and 32 of 64 is the smaller share
    assert kept == {"dear": 32, "inner": 48, "short": 32}
    one_by_one = Limits(min_channels=1)
    kept = counts(cut(scores_of(have), how, TargetSettings(macs=0.52), cost=of, limits=one_by_one))
    assert len({round(kept[g] / have[g], 1) for g in have}) == 1  # the paper's: all alike


def test_a_layout_binds_every_form() -> None:
    case = WIRINGS["sngan"]
    have = dict.fromkeys(case.widths, 24)
    bind = binding_of("pth-sngan", "sngan", case.settled, have, scaled=False)
    of = lambda w: sum(w.values()) / sum(have.values())  # noqa: E731
    for how, target in (
        (CutSettings(ratio=0.7), NO_TARGET),
        (CutSettings(ratio=0.5, scope="network"), NO_TARGET),
        (CutSettings(), TargetSettings(macs=0.8)),
        (CutSettings(scope="network"), TargetSettings(macs=0.8)),
    ):
        kept = counts(cut(scores_of(have), how, target, cost=of, limits=Limits(bind=bind)))
        assert len(set(kept.values())) == 1
        assert kept["mid0"] < 24


# --- the cut network ------------------------------------------------------------------------------


@torch.no_grad()
def deaden(net: nn.Module, keep: dict[str, Tensor]) -> None:
    """Nothing reads the channels that are not kept."""
    for name, dims in axes(net).items():
        path, _, own = name.rpartition(".")
        layer = net.get_submodule(path) if path else net
        if own != "weight" or len(dims) < 2 or isinstance(layer, EqualLinear):
            continue
        weight, dim = net.get_parameter(name), 1 - int(getattr(layer, "out_dim", 0))
        rows = []
        for axis in dims[dim] or ():
            mask = torch.ones(axis.width)
            if not axis.fixed:
                mask.zero_()[keep[axis.group]] = 1
            rows.append(mask.repeat_interleave(axis.span))
        if rows:
            weight.mul_(torch.cat(rows).view([-1 if d == dim else 1 for d in range(weight.ndim)]))


@every_family
def test_cutting_dead_channels_leaves_the_picture_as_it_was(wiring: Wiring) -> None:
    model = wiring.model()
    keep = cut(scores_of(model.widths), CutSettings(ratio=0.4), NO_TARGET)
    keep |= {g: torch.arange(model.widths[g]) for g in wiring.inexact}
    deaden(model.net, keep)
    inputs = wiring.inputs()
    small = pruned(model, keep)
    assert small.widths == counts(keep)
    assert difference(small(*inputs), model(*inputs)) < 2e-5


@torch.no_grad()
def test_a_gain_worked_out_from_the_cut_width_would_brighten_the_picture_1_8234_times() -> None:
    torch.manual_seed(0)
    net = STYLEGAN2.build(size=8, style_dim=8, n_mlp=1)
    model = Model(net, STYLEGAN2, STYLEGAN2.resolve({"size": 8, "style_dim": 8, "n_mlp": 1}))
    keep = cut(scores_of(model.widths), CutSettings(ratio=0.7), NO_TARGET)
    assert set(counts(keep).values()) == {154}
    deaden(net, keep)
    inputs = net.draw(2, 8, torch.Generator().manual_seed(1))  # type: ignore[operator]
    small, want = pruned(model, keep), model(*inputs)
    assert difference(small(*inputs), want) < 2e-5
    assert isinstance(small.net, StyleGAN2)
    for layer in small.net.to_rgb:
        layer.modulated.gain.fill_(154**-0.5)
    brighter = (small(*inputs) * want).sum() / want.square().sum()
    assert float(brighter) == pytest.approx(1.8234, abs=1e-4)


def test_noise_maps_constants_and_a_moving_average_follow() -> None:
    wiring = WIRINGS["stylegan2"]
    model = wiring.model()
    average = Average(model.net, 0.5)
    with torch.no_grad():
        for parameter in model.net.parameters():
            parameter.add_(0.1)
    average.update()
    smooth = Model(copy.deepcopy(model.net), model.family, model.options)
    smooth.net.load_state_dict(average.shadow)
    keep = cut(scores_of(model.widths), CutSettings(ratio=0.5), NO_TARGET)
    small, small_average = pruned(model, keep), pruned(smooth, keep)
    own, shadow = small.net.state_dict(), small_average.net.state_dict()
    assert torch.equal(own["const"], model.net.get_parameter("const")[:, keep["const"]])
    assert all(
        torch.equal(own[n], t) for n, t in model.net.named_buffers() if n.startswith("noise_")
    )
    assert {n: t.shape for n, t in own.items()} == {n: t.shape for n, t in shadow.items()}
    assert torch.equal(shadow["const"], average.shadow["const"][:, keep["const"]])
    assert not torch.equal(shadow["const"], own["const"])


def test_statistics_of_batch_norms_are_read_anew_where_batches_are_given() -> None:
    wiring = WIRINGS["sngan"]
    model = wiring.model()
    keep = cut(scores_of(model.widths), CutSettings(ratio=0.5), NO_TARGET)
    old, new = pruned(model, keep), pruned(model, keep, calibration=[wiring.inputs(8)])
    name = "b5.running_mean"
    kept = model.net.get_buffer(name)[keep["block2"]]
    assert torch.equal(old.net.get_buffer(name), kept)
    assert not torch.allclose(new.net.get_buffer(name), kept)


@every_family
def test_a_cut_model_knows_its_discriminator_and_where_it_comes_from(wiring: Wiring) -> None:
    model = wiring.model()
    model.discriminator = wiring.discriminator()
    keep = cut(scores_of(model.widths), CutSettings(ratio=0.3), NO_TARGET)
    small = pruned(model, keep)
    assert small.discriminator is model.discriminator
    assert small.provenance == model.provenance
    assert small.family is FAMILIES[wiring.name]
    assert model.widths == wiring.widths


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "what"),
    [(0.0, "removes nothing"), (1.0, "leaves no channel"), (-0.5, "removes"), (7.0, "leaves")],
)
def test_ratios_that_cut_nothing_or_all_are_refused(ratio: float, what: str) -> None:
    with pytest.raises(ConfigError, match=rf"cut.ratio={ratio:g} {what}.*such as.*cut.ratio=0\.7"):
        CutSettings(ratio=ratio)


def test_a_ratio_beside_a_cost_and_neither_are_refused() -> None:
    scores = scores_of({"a": 10})
    with pytest.raises(ConfigError, match=r"cut\.ratio=0\.7 and target\.macs=0\.1 contradict"):
        cut(scores, CutSettings(ratio=0.7), TargetSettings(macs=0.1))
    with pytest.raises(ConfigError, match=r"cut\.ratio=0\.7, the paper's.*target\.macs=0\.09"):
        cut(scores, CutSettings(), NO_TARGET)


def test_a_ratio_that_empties_a_layer_is_refused_with_one_that_does_not() -> None:
    scores = {"a": torch.linspace(1, 2, 20), "b": torch.linspace(5, 6, 20)}
    with pytest.raises(
        ConfigError, match=r"no channel of a\. Lower it to (0\.\d+) at most"
    ) as told:
        cut(scores, CutSettings(ratio=0.7, scope="network", unit="none"), NO_TARGET)
    assert "--set cut.scope=layer" in str(told.value)
    most = float(str(told.value).partition("Lower it to ")[2].partition(" ")[0])
    kept = cut(scores, CutSettings(ratio=most, scope="network", unit="none"), NO_TARGET)
    assert (len(kept["a"]), len(kept["b"])) == (1, 20)
    assert counts(cut(scores, CutSettings(ratio=0.7), NO_TARGET)) == {"a": 6, "b": 6}


def test_before_scoring_only_ratios_that_no_scores_allow_are_refused_for_all_layers() -> None:
    have = {"wide": 40, "narrow": 4, "none": 0}
    check_ratio_of_all(have, 0.9)  # 5 channels for two groups: some scores leave both one
    uneven = {
        "wide": torch.arange(40.0),
        "narrow": torch.linspace(30, 40, 4),
        "none": torch.ones(0),
    }
    how = CutSettings(ratio=0.9, scope="network", unit="none")
    assert counts(cut(uneven, how, NO_TARGET)) == {"wide": 3, "narrow": 2, "none": 0}
    with pytest.raises(
        ConfigError, match=r"leaves 1 of 44 channels for 2 groups.*cut\.scope=layer"
    ):
        check_ratio_of_all(have, 0.98)
    with pytest.raises(ConfigError, match=r"removes no channel.*--set cut\.ratio=0\.05"):
        check_ratio_of_all(have, 0.01)
    with pytest.raises(ConfigError, match="Lower min_channels"):
        check_ratio_of_all(have, 0.5, Limits(min_channels=40))


@pytest.mark.parametrize("scope", ["layer", "network"])
def test_a_ratio_that_removes_no_channel_is_refused_with_one_that_does(scope: Any) -> None:
    scores, limits = scores_of({"a": 9, "b": 9}), Limits(min_channels=4)
    with pytest.raises(ConfigError, match=r"removes no channel.*--set cut.ratio=(0\.\d+)") as told:
        cut(scores, CutSettings(ratio=0.02, scope=scope), NO_TARGET, limits=limits)
    ratio = float(str(told.value).partition("cut.ratio=")[2].partition("=")[2].rstrip(").") or 0)
    kept = cut(scores, CutSettings(ratio=ratio, scope=scope), NO_TARGET, limits=limits)
    assert sum(map(len, kept.values())) < 18
    with pytest.raises(ConfigError, match="Lower min_channels"):
        cut(scores, CutSettings(ratio=0.7), NO_TARGET, limits=Limits(min_channels=9))


@pytest.mark.parametrize("scope", ["layer", "network"])
def test_a_cost_below_the_smallest_network_is_refused(scope: Any) -> None:
    model = WIRINGS["stylegan2"].model()
    of = cost_ratio("macs", model.net, model.net, model.size)
    with pytest.raises(InfeasibleTarget, match=r"(?s)smallest network.*lower min_channels"):
        cut(
            scores_of(model.widths), CutSettings(scope=scope), TargetSettings(macs=0.01),
            cost=of, limits=Limits(min_channels=5),
        )  # fmt: skip
