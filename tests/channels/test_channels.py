"""Slices of a network: take, shrink, Elastic, keep_top."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from nets import (
    SCALED,
    WIRINGS,
    Wiring,
    difference,
    every_scaled_wiring,
    every_vanishing_wiring,
    every_wiring,
    photos,
    random_counts,
    random_indices,
)
from torch import Tensor, nn

from ganpress.channels.ranking import cut_level, filled, keep_top
from ganpress.channels.take import Elastic, scales, shrink, take
from ganpress.errors import InfeasibleTarget, WidthsError
from ganpress.nn.axes import Axis, axes, fixed, tags, widths
from ganpress.nn.layers import add_gates, conv
from ganpress.quantisation.quantise import FakeQuantiser, quantise
from ganpress.types import Keep, Widths

KINDS = {"counts": random_counts, "indices": random_indices}
counts_and_indices = pytest.mark.parametrize("chosen", KINDS.values(), ids=KINDS.keys())
Chosen = Callable[[nn.Module, int], Keep]

# --- take and shrink -----------------------------------------------------------------------------


@every_wiring
def test_keeping_every_channel_changes_no_bit(wiring: Wiring) -> None:
    net = wiring.net()
    whole = {g: torch.arange(w) for g, w in wiring.widths.items()}
    small = shrink(wiring.build, net, whole)
    x = wiring.inputs()
    assert torch.equal(small(*x), net(*x))
    assert small.state_dict().keys() == net.state_dict().keys()


@every_wiring
@counts_and_indices
def test_a_shrunk_network_has_the_widths_it_was_given(wiring: Wiring, chosen: Chosen) -> None:
    net = wiring.net()
    for seed in range(3):
        keep = chosen(net, seed)
        small = shrink(wiring.build, net, keep)
        expected = {g: k if isinstance(k, int) else len(k) for g, k in keep.items()}
        assert widths(small) == expected
        fresh = wiring.build(expected).state_dict()
        assert {n: t.shape for n, t in small.state_dict().items()} == {
            n: t.shape for n, t in fresh.items()
        }
        assert small(*wiring.inputs()).isfinite().all()


@every_wiring
@counts_and_indices
def test_removing_channels_that_nobody_listens_to_changes_nothing(
    wiring: Wiring, chosen: Chosen
) -> None:
    net = wiring.net().double()  # deep networks amplify float32's rounding past any small limit
    keep = {**chosen(net, 5), **{g: wiring.widths[g] for g in wiring.inexact}}
    deafen(net, keep)
    x = [t.double() for t in wiring.inputs()]
    assert difference(shrink(wiring.build, net, keep)(*x), net(*x)) <= 1e-9


@torch.no_grad()
def deafen(net: nn.Module, keep: Keep) -> None:
    """Set to zero every weight that reads a channel which is not kept."""
    for module in net.modules():
        reads = 0 if isinstance(module, nn.ConvTranspose2d) else 1
        dims = tags(module).get("weight", ())
        start = 0
        for axis in (dims[reads] or ()) if len(dims) > 1 else ():
            gone = torch.ones(axis.width, dtype=torch.bool)
            kept = axis.width if axis.fixed else keep[axis.group]
            gone[torch.arange(kept) if isinstance(kept, int) else kept] = False
            end = start + axis.width * axis.span
            module.weight.transpose(0, reads)[start:end][gone.repeat_interleave(axis.span)] = 0
            start = end


@every_wiring
def test_the_network_that_is_cut_from_stays_as_it_was(wiring: Wiring) -> None:
    net = wiring.net()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    small = shrink(wiring.build, net, random_counts(net, 1))
    with torch.no_grad():
        for tensor in small.state_dict().values():
            tensor.zero_()
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())


@every_wiring
def test_counts_stay_views_of_the_original(wiring: Wiring) -> None:
    net = wiring.net()
    held = dict(itertools.chain(net.named_parameters(), net.named_buffers()))
    state = take(net, random_counts(net, 3))
    assert state.keys() == held.keys()
    said = axes(net)
    for name, tensor in state.items():
        joined = any(dim and len(dim) > 1 for dim in said.get(name, ()))
        assert joined or tensor.data_ptr() == held[name].data_ptr(), name


def test_groups_that_are_not_named_stay_whole() -> None:
    net = WIRINGS["cyclegan affine"].net()
    small = shrink(WIRINGS["cyclegan affine"].build, net, {"up2": 2})
    assert widths(small) == {**widths(net), "up2": 2}


def test_a_concatenation_with_spans_and_fixed_axes_is_cut_row_by_row() -> None:
    dec, enc, labels = Axis("dec", 3), Axis("enc", 4, span=2), fixed(2, "labels")
    layer = conv((dec, labels, enc), Axis("out", 5, span=3), 1)
    keep = {"dec": torch.tensor([2]), "enc": torch.tensor([1, 3]), "out": torch.tensor([0, 4])}
    state = take(layer, keep)
    rows, columns = [0, 1, 2, 12, 13, 14], [2, 3, 4, 7, 8, 11, 12]
    assert torch.equal(state["weight"], layer.weight[rows][:, columns])
    assert torch.equal(state["bias"], layer.bias[rows])
    by_count = take(layer, {"dec": 2, "out": 2})
    assert torch.equal(by_count["weight"], layer.weight[:6][:, [0, 1, *range(3, 13)]])
    turned = conv((enc, labels, dec), Axis("out", 5, span=3), 1)
    state = take(turned, keep)
    assert torch.equal(state["weight"], turned.weight[rows][:, [2, 3, 6, 7, 8, 9, 12]])


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"trunck": 3}, "no group 'trunck'.*did you mean 'trunk'.*Groups: stem"),
        ({"image": 2}, "no group 'image'"),
        ({"trunk": 12}, "channel 11 of 'trunk', which has 11"),
        ({"trunk": torch.tensor([0, 11])}, "channel 11 of 'trunk', which has 11"),
        ({"trunk": torch.tensor([-1, 2])}, "channel -1 of 'trunk'"),
        ({"trunk": -2}, "channel -2 of 'trunk'"),
    ],
)
def test_a_keep_list_that_does_not_fit_is_refused(keep: Keep, message: str) -> None:
    with pytest.raises(WidthsError, match=message):
        take(WIRINGS["cyclegan instance"].net(), keep)


def test_a_stem_cannot_be_cut_away_whole() -> None:
    wiring = WIRINGS["cyclegan instance"]
    with pytest.raises(WidthsError, match=r"'stem'.*at least 1"):
        shrink(wiring.build, wiring.net(), {"stem": 0})


def test_a_shrunk_network_trains_and_keeps_what_was_frozen() -> None:
    wiring = WIRINGS["cyclegan affine"]
    net = wiring.net()
    net.stem.conv.weight.requires_grad_(False)
    small = shrink(wiring.build, net.train(), {"trunk": 5})
    assert small.training
    assert not small.stem.conv.weight.requires_grad
    small(photos()).sum().backward()
    assert all(p.grad is not None for p in small.parameters() if p.requires_grad)
    assert all(p.grad is None for p in net.parameters())


@every_vanishing_wiring
def test_a_network_with_an_emptied_block_can_be_cut_again(wiring: Wiring) -> None:
    empty, x = {wiring.vanishing[-1]: 0}, wiring.inputs()
    once = shrink(wiring.build, wiring.net(), empty)
    twice = shrink(wiring.build, once, {"up2": 3, "trunk": 4})
    assert widths(twice) == {**wiring.widths, **empty, "up2": 3, "trunk": 4}
    at_once = shrink(wiring.build, wiring.net(), {**empty, "up2": 3, "trunk": 4})
    assert torch.equal(twice(*x), at_once(*x))


def test_gates_and_quantisers_come_along() -> None:
    wiring = WIRINGS["cartoongan"]
    net = quantise(wiring.net(gates=True), FakeQuantiser())
    small = shrink(wiring.build, net, {"down1a": torch.tensor([1, 4]), "block0": 0})
    gate = small.get_submodule("down1.0").gate
    assert torch.equal(gate, net.get_submodule("down1.0").gate[[1, 4]])
    assert widths(small)["down1a"] == 2
    assert small.stem.conv.quantiser == FakeQuantiser()


# --- Elastic -------------------------------------------------------------------------------------


@every_wiring
@counts_and_indices
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_elastic_equals_the_rebuilt_network_bit_for_bit(
    wiring: Wiring, chosen: Chosen, training: bool
) -> None:
    net = wiring.net().train(training)
    keep, x = chosen(net, 11), wiring.inputs()
    small = shrink(wiring.build, net, keep)
    out, expected = Elastic(net)(keep, *x), small(*x)
    assert torch.equal(out, expected)
    out.square().sum().backward()
    expected.square().sum().backward()
    assert_gradients_agree(wiring, net, small, keep)


def assert_gradients_agree(wiring: Wiring, net: nn.Module, small: nn.Module, keep: Keep) -> None:
    """Kept channels have the small network's gradient, the others none."""
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    grads = {n: p.grad for n, p in net.named_parameters()}
    expected = sliced(net, grads, keep)
    for name, parameter in small.named_parameters():
        if not wiring.runs(name):
            continue
        assert parameter.grad is not None
        assert torch.equal(expected[name], parameter.grad), name
        assert grads[name].count_nonzero() == parameter.grad.count_nonzero(), name


def sliced(net: nn.Module, tensors: dict[str, Tensor], keep: Keep) -> dict[str, Tensor]:
    """`take` applied to tensors of a network's shapes."""
    own = {n: p.detach().clone() for n, p in net.named_parameters()}
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(tensors[name])
        out = {n: t.detach().clone() for n, t in take(net, keep).items()}
        for name, parameter in net.named_parameters():
            parameter.copy_(own[name])
    return out


@pytest.mark.parametrize("wiring", [w for w in WIRINGS.values() if w.is_batch], ids=str)
def test_statistics_are_updated_in_place_through_prefixes(wiring: Wiring) -> None:
    net = wiring.net().train()
    keep, x = random_counts(net, 4), wiring.inputs()
    small = shrink(wiring.build, net, keep)
    before = {n: b.clone() for n, b in net.named_buffers()}
    Elastic(net)(keep, *x)
    small(*x)
    updated = dict(small.named_buffers())
    assert updated
    for name, buffer in net.named_buffers():
        n = len(updated[name]) if buffer.ndim else None
        assert torch.equal(buffer[:n] if n else buffer, updated[name]), name
        if n:
            assert torch.equal(buffer[n:], before[name][n:]), name
            assert not torch.equal(buffer[:n], before[name][:n]), name


@every_vanishing_wiring
def test_elastic_runs_with_an_emptied_block(wiring: Wiring) -> None:
    net, x = wiring.net(), wiring.inputs()
    keep = {wiring.vanishing[-1]: 0, "trunk": 5}
    assert torch.equal(Elastic(net)(keep, *x), shrink(wiring.build, net, keep)(*x))


def test_elastic_follows_gates_and_quantisers_that_come_and_go() -> None:
    wiring, x, keep = WIRINGS["cartoongan"], photos(), {"trunk": 5, "up1a": 7}
    net = wiring.net()
    elastic = Elastic(net)
    elastic(keep, x)
    add_gates(net)
    with torch.no_grad():
        for gate in (s for n, s in net.named_parameters() if n.endswith("gate")):
            gate.uniform_(0.5, 1.5)
    quantise(net, FakeQuantiser(bits=4))
    assert torch.equal(elastic(keep, x), shrink(wiring.build, net, keep)(x))


# --- scales --------------------------------------------------------------------------------------


@every_scaled_wiring
def test_every_group_has_scales_once_gates_are_added(wiring: Wiring) -> None:
    net = wiring.net(gates=True)
    found = scales(net)
    assert {g: {len(s) for s in ss} for g, ss in found.items()} == {
        g: {w} for g, w in wiring.widths.items()
    }
    assert len(found["trunk"]) == 3  # the second down-sampling and both blocks
    assert all(len(ss) == 1 for g, ss in found.items() if g != "trunk")


def test_networks_without_affine_norms_have_no_scales() -> None:
    assert scales(WIRINGS["cyclegan instance"].net()) == {}
    assert set(SCALED) < set(WIRINGS)


# --- keep_top and cut_level ----------------------------------------------------------------------

steps_of_an_eighth = st.integers(0, 12).map(lambda n: n / 8)
scores_strategy = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.lists(steps_of_an_eighth, min_size=1, max_size=6).map(torch.tensor),
    min_size=1,
)


def product(w: Widths) -> float:
    """A cost like a network's: neighbours multiply."""
    sides = [3, *w.values(), 3]
    return float(sum(a * b for a, b in itertools.pairwise(sides)))


def brute_force(
    scores: dict[str, Tensor], budget: float, floor: int, multiple: int
) -> tuple[float, dict[str, int]] | None:
    """Try every level from the lowest, then add steps, the best next channel first, while any fits:
    the level and the widths, None where no network fits."""

    def at(level: float) -> dict[str, int]:
        out = {}
        for group, score in scores.items():
            above = sum(float(s) > level for s in score)
            above = max(above, floor)
            rounded = next(n for n in itertools.count() if n >= above and n % multiple == 0)
            out[group] = min(len(score), rounded)
        return out

    levels = sorted({0.0, *(float(s) for score in scores.values() for s in score)})
    level = next((level for level in levels if product(at(level)) <= budget), None)
    if level is None:
        return None
    left = at(level)
    while multiple > 1:
        ways = []
        for group, score in scores.items():
            out = sorted(score.tolist(), reverse=True)[left[group] :]
            taken = min(multiple - left[group] % multiple, len(out))
            wider = {**left, group: left[group] + taken}
            if out and out[0] > 0 and product(wider) <= budget:
                ways.append((out[0], wider))
        if not ways:
            break
        left = max(ways, key=lambda way: way[0])[1]
    return level, left


@hypothesis.given(scores_strategy, st.integers(6, 100), st.integers(1, 4), st.integers(1, 3))
@hypothesis.settings(max_examples=150)
def test_keep_top_keeps_as_much_as_an_exhaustive_search(
    scores: dict[str, Tensor], budget: int, floor: int, multiple: int
) -> None:
    wanted = brute_force(scores, budget, floor, multiple)
    given: dict[str, Any] = {"budget": budget, "cost": product, "floors": floor}
    given["multiple"] = multiple
    if wanted is None:
        with pytest.raises(InfeasibleTarget):
            keep_top(scores, **given)
        return
    keep = keep_top(scores, **given)
    assert {g: len(k) for g, k in keep.items()} == wanted[1]
    assert product(wanted[1]) <= budget
    for group, k in keep.items():
        assert torch.equal(k, k.unique())
        cut = [float(s) for i, s in enumerate(scores[group]) if i not in k.tolist()]
        assert max(cut, default=-1) <= float(scores[group][k].min())
    assert cut_level(scores, **given) == wanted


def test_what_whole_steps_leave_of_a_budget_is_spent_on_the_next_best_channels() -> None:
    """At one level for all, the trunk's next step is too dear, and with it went the blocks'."""
    scores = {"trunk": torch.arange(1, 65) / 64, "block": torch.arange(1, 65) / 70}

    def cost(w: Widths) -> float:
        return 10 * w["trunk"] + w["block"]

    keep = keep_top(scores, budget=400, cost=cost, multiple=16)
    assert {g: len(k) for g, k in keep.items()} == {"trunk": 32, "block": 64}


def test_a_step_goes_to_the_group_whose_next_channels_are_worth_most() -> None:
    scores = {"a": torch.tensor([9.0, 9, 2, 2, 2, 2]), "b": torch.tensor([9.0, 9, 3, 3, 1, 1])}
    keep = keep_top(scores, budget=6, cost=lambda w: sum(w.values()), floors=2, multiple=2)
    assert {g: len(k) for g, k in keep.items()} == {"a": 2, "b": 4}


def test_widths_are_filled_up_to_whole_steps_and_through_their_bound() -> None:
    def twice(w: Widths) -> dict[str, int]:
        n = max(w["a"], -(-w["b"] // 2))
        return {"a": n, "b": 2 * n, "c": w["c"]}

    have, worth = {"a": 8, "b": 16, "c": 9}, {"a": 1.0, "b": 2.0, "c": 0.5}
    given: dict[str, Any] = {"have": have, "worth": lambda group, _: worth[group]}
    tied = filled({"a": 4, "b": 8, "c": 1}, fits=lambda w: sum(w.values()) <= 20, bind=twice,
                  **given)  # fmt: skip
    assert tied == {"a": 6, "b": 12, "c": 2}
    stepped = filled({"a": 4, "b": 5, "c": 1}, fits=lambda w: w["b"] < 14, multiple=4, **given)
    assert stepped == {"a": 8, "b": 12, "c": 9}


def test_a_budget_for_everything_cuts_nothing_that_has_a_score() -> None:
    scores = {"a": torch.tensor([0.5, 0.1, 0.0]), "b": torch.tensor([0.2, 0.3])}
    level, left = cut_level(scores, budget=1e9, cost=product, floors=1)
    assert (level, left) == (0.0, {"a": 2, "b": 2})


def test_equal_scores_are_kept_from_the_front() -> None:
    keep = keep_top({"a": torch.ones(9)}, budget=30, cost=product, floors=4)
    assert keep["a"].tolist() == [0, 1, 2, 3]


def test_each_group_can_have_a_floor_of_its_own() -> None:
    scores = {"a": torch.rand(9), "b": torch.rand(9)}
    keep = keep_top(scores, budget=60, cost=product, floors={"a": 5, "b": 1})
    assert len(keep["a"]) >= 5
    with pytest.raises(InfeasibleTarget, match=r"allows 17.*costs"):
        keep_top(scores, budget=17, cost=product, floors={"a": 5, "b": 1})


def test_a_multiple_is_respected_unless_the_group_is_smaller() -> None:
    scores = {"a": torch.rand(30), "b": torch.rand(6)}
    keep = keep_top(scores, budget=200, cost=product, floors=8, multiple=8)
    assert len(keep["a"]) % 8 == 0
    assert len(keep["b"]) == 6


def test_an_infeasible_budget_says_what_the_smallest_network_costs() -> None:
    said = r"allows 10,.*at least 8 channels a group\) costs 48.*or lower min_channels\.$"
    with pytest.raises(InfeasibleTarget, match=said):
        keep_top({"a": torch.rand(20)}, budget=10, cost=product)
    with pytest.raises(InfeasibleTarget, match=r"1 channels a group in steps of 4.*the target\.$"):
        keep_top({"a": torch.rand(20)}, budget=10, cost=product, floors=1, multiple=4)
