"""Channels that are silent can be cut without changing the picture."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import pytest
import torch
from nets import (
    WIRINGS,
    Wiring,
    difference,
    every_emptied_wiring,
    every_gated_wiring,
    every_scaled_wiring,
    photos,
    randomise,
)
from silent_nets import shifts
from torch import Tensor, nn

from ganpress.channels.silence import absorb_constants, extract, scale_magnitudes, silent, survivors
from ganpress.channels.take import scales, shrink
from ganpress.methods.gan_slimming.goal import Goal
from ganpress.methods.gan_slimming.proximal import prune_step
from ganpress.models.families import family
from ganpress.nn.axes import Axis, axes, widths
from ganpress.nn.blocks import ResidualBlock
from ganpress.nn.layers import add_gates, conv, convolutions, fold_gates
from ganpress.quantisation.quantise import FakeQuantiser, quantise


def exact_groups(wiring: Wiring) -> tuple[str, ...]:
    """Groups all of whose readers pad by the picture: their constants can be absorbed exactly."""
    if wiring.settled.get("outer_padding") == "zero":
        return ()
    last = f"up{wiring.settled.get('downsamplings', 2)}"
    return (last,) if wiring.settled.get("padding") == "zero" else (last, "block0", "block1")


def is_gated(group: str) -> bool:
    """Groups with a gate emit 0 when it is 0, so that nothing remains to be absorbed."""
    return group.endswith("a")


@torch.no_grad()
def silence(
    net: nn.Module, groups: Iterable[str], *, keep_shift: bool, seed: int = 3
) -> dict[str, Tensor]:
    """Set to zero the scales of random channels (at least one stays) of each of `groups`."""
    generator = torch.Generator().manual_seed(seed)
    gone = {}
    for group in groups:
        width = widths(net)[group]
        n = int(torch.randint(1, width, (1,), generator=generator)) if width > 1 else 0
        gone[group] = torch.randperm(width, generator=generator)[:n].sort().values
        for scale in scales(net)[group]:
            scale[gone[group]] = 0
        if not keep_shift:
            for shift in shifts(net, group):
                shift[gone[group]] = 0
    return gone


def complement(net: nn.Module, gone: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        g: torch.tensor(sorted(set(range(widths(net)[g])) - set(k.tolist())))
        for g, k in gone.items()
    }


def picture(net: nn.Module, *inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return net(*inputs)


# --- cutting without changing the picture --------------------------------------------------------


@every_scaled_wiring
@pytest.mark.parametrize("seed", range(2))
def test_cutting_silent_channels_leaves_the_image_unchanged(wiring: Wiring, seed: int) -> None:
    net, x = wiring.net(seed, gates=True).double(), photos(seed=seed).double()
    exact = {g for g in widths(net) if g in exact_groups(wiring) or is_gated(g)}
    gone = silence(net, exact, keep_shift=True, seed=seed)
    others = silence(net, widths(net).keys() - exact, keep_shift=False, seed=seed)
    before = picture(net, x)
    kept = complement(net, gone | others)
    small = extract(wiring.build, net, kept, photos(1, seed=99).double())
    assert widths(small) == {g: len(k) for g, k in kept.items()}
    assert difference(picture(small, x), before) <= 1e-5


@every_gated_wiring
def test_channels_that_nothing_drives_are_cut_without_changing_the_image(wiring: Wiring) -> None:
    """Scales, shifts and running means of 0: what the channel's norms and readers hear is 0."""
    net = wiring.net(gates=True).double()
    gone = silence(net, scales(net), keep_shift=True)
    rest(net, gone)
    assert {g: k.tolist() for g, k in silent(net).items()} == {
        g: k.tolist() for g, k in gone.items()
    }
    x = [t.double() for t in wiring.inputs()]
    before = picture(net, *x)
    small = extract(
        wiring.build, net, complement(net, gone), *(t.double() for t in wiring.inputs(1, 9))
    )
    assert widths(small) == {
        **wiring.widths,
        **{g: wiring.widths[g] - len(k) for g, k in gone.items()},
    }
    assert difference(picture(small, *x), before) <= 1e-6


@torch.no_grad()
def rest(net: nn.Module, gone: dict[str, Tensor]) -> None:
    """Set to zero all that is added to the silent channels after their scales."""
    said = axes(net)
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        dim = said.get(name, (None,))[-1]
        if name.endswith(("bias", "shift", "running_mean")) and dim and dim[0].group in gone:
            tensor[..., gone[dim[0].group]] = 0


@every_scaled_wiring
def test_cutting_them_without_absorbing_what_they_emit_changes_the_image(wiring: Wiring) -> None:
    net, x = wiring.net(gates=True), photos()
    gone = silence(net, ["up2"], keep_shift=True)
    before = picture(net, x)
    small = shrink(wiring.build, fold_gates(net), complement(net, gone))
    assert difference(picture(small, x), before) > 0.05


@pytest.mark.parametrize("name", ["cyclegan batch", "cyclegan separable batch"])
def test_under_batchnorm_constants_matter_in_the_blocks_too(name: str) -> None:
    wiring = WIRINGS[name]
    net, x = wiring.net(), photos()
    gone = silence(net, ["block0"], keep_shift=True)
    before = picture(net, x)
    bare = shrink(wiring.build, net, complement(net, gone))
    small = extract(wiring.build, net, complement(net, gone), x)
    assert difference(picture(small, x), before) <= 1e-5
    assert (difference(picture(bare, x), before) > 0.01) == ("separable" not in name)


@every_scaled_wiring
def test_channels_of_the_trunk_are_cut_when_all_their_producers_are_silent(wiring: Wiring) -> None:
    net, x = wiring.net(gates=True), photos()
    gone = silence(net, ["trunk"], keep_shift=False)
    before = picture(net, x)
    assert torch.equal(silent(net)["trunk"], gone["trunk"])
    small = extract(wiring.build, net, complement(net, gone), x)
    assert widths(small)["trunk"] == wiring.widths["trunk"] - len(gone["trunk"])
    assert difference(picture(small, x), before) <= 1e-5


@every_scaled_wiring
def test_a_trunk_channel_with_one_producer_that_speaks_is_not_silent(wiring: Wiring) -> None:
    net = wiring.net(gates=True)
    for producer in range(3):
        with torch.no_grad():
            for i, scale in enumerate(scales(net)["trunk"]):
                scale[4] = -0.1 if i == producer else 0
        assert 4 not in silent(net)["trunk"]
        assert 4 in survivors(net)["trunk"]


# --- where a constant cannot be absorbed exactly -------------------------------------------------


def reader_error(wiring: Wiring, group: str, reader: str) -> tuple[Tensor, Tensor]:
    """Absolute error at a reader's output after absorbing, and without, (out, h, w) each."""
    net, x = wiring.net(), photos(1)
    gone = silence(net, [group], keep_shift=True)
    with torch.no_grad():
        for shift in shifts(net, group):
            shift[gone[group]] = 0.7
    kept = complement(net, gone)
    heard: list[Tensor] = []
    bare = shrink(wiring.build, net, kept)
    small = shrink(wiring.build, absorb_constants(copy.deepcopy(net), gone, x), kept)
    for each in (net, small, bare):
        each.get_submodule(reader).register_forward_hook(lambda _m, _i, out: heard.append(out[0]))
        picture(each, x)
    return heard[1] - heard[0], heard[2] - heard[0]


@pytest.mark.parametrize("name", ["cyclegan affine", "cyclegan batch"])
def test_under_zero_padding_only_the_border_differs(name: str) -> None:
    error, bare = reader_error(WIRINGS[name], "stem", "down1.conv")
    assert error[:, 1:, 1:].abs().max() <= 1e-5
    assert error[:, 0].abs().max() > 0.01
    assert bare[:, 1:, 1:].abs().max() > 0.05


@pytest.mark.parametrize("name", ["cyclegan affine", "cyclegan batch"])
def test_under_a_transposed_convolution_the_mean_is_absorbed(name: str) -> None:
    error, bare = reader_error(WIRINGS[name], "up1", "up2.conv")
    inside = error[:, 2:-2, 2:-2]
    phases = inside.reshape(len(inside), -1, 2, inside.shape[2] // 2, 2)
    assert phases.mean((1, 2, 3, 4)).abs().max() <= 1e-5
    assert (phases - phases[:, :1, :, :1]).abs().max() <= 1e-5  # the same 2x2 pattern throughout
    assert error.abs().max() > 0.01
    assert error.square().mean() < bare.square().mean()


@pytest.mark.parametrize("name", ["cyclegan batch", "cartoongan batch"])
@pytest.mark.parametrize("group", ["stem", "down1"])
def test_absorbing_helps_under_zero_padding_where_no_norm_cancels_it(name: str, group: str) -> None:
    left, without = image_errors(WIRINGS[name], group)
    assert 1e-5 < left < 0.5 * without


def test_an_instance_norm_behind_a_zero_padded_reader_leaves_it_to_fine_tuning() -> None:
    left, without = image_errors(WIRINGS["cyclegan affine"], "stem")
    assert left == pytest.approx(without, abs=1e-4)
    assert left > 1e-3


def image_errors(wiring: Wiring, group: str) -> tuple[float, float]:
    """Mean absolute error of the image after absorbing what a group emits, and without."""
    net, x = wiring.net(1, gates=True), photos()
    gone = silence(net, [group], keep_shift=True)
    before = picture(net, x)
    bare = shrink(wiring.build, fold_gates(copy.deepcopy(net)), complement(net, gone))
    small = extract(wiring.build, net, complement(net, gone), x)
    left, without = (float((picture(n, x) - before).abs().mean()) for n in (small, bare))
    return left, without


@every_scaled_wiring
def test_absorbing_reads_constants_that_no_picture_changes(wiring: Wiring) -> None:
    net = wiring.net(gates=True)
    gone = silence(net, exact_groups(wiring), keep_shift=True)
    one = absorb_constants(copy.deepcopy(net), gone, photos(1, seed=5))
    other = absorb_constants(copy.deepcopy(net), gone, photos(3, seed=6))
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=1e-5), name


def test_absorbing_leaves_a_network_that_trains_in_training() -> None:
    wiring = WIRINGS["cyclegan batch"]
    net = wiring.net().train()
    statistics = {n: b.clone() for n, b in net.named_buffers()}
    absorb_constants(net, silence(net, ["up2"], keep_shift=True), photos())
    assert net.training
    assert all(torch.equal(b, statistics[n]) for n, b in net.named_buffers())


def test_quantised_channels_are_absorbed_as_the_next_layer_hears_them() -> None:
    wiring, x = WIRINGS["cyclegan affine"], photos()
    net = quantise(wiring.net(), FakeQuantiser(bits=4, p=2.0, per_channel=True))
    gone = silence(net, ["up2"], keep_shift=True)
    with torch.no_grad():  # the loudest weight of each row stays, and with it the step
        net.out.conv.weight[:, complement(net, gone)["up2"][0], 0, 0] = 1.0
    before = picture(net, x)
    small = extract(wiring.build, net, complement(net, gone), x)
    assert difference(picture(small, x), before) <= 1e-5


# --- gates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cartoongan", "cartoongan separable", "cartoongan batch"])
def test_adding_gates_changes_nothing_and_any_gates_fold_exactly(name: str) -> None:
    net, x = WIRINGS[name].net().double(), photos().double()
    plain = picture(net, x)
    add_gates(net)
    gates = [layer.gate for layer in convolutions(net).values() if layer.gate is not None]
    assert len(gates) == 4
    assert difference(picture(net, x), plain) <= 1e-5
    with torch.no_grad():
        for gate in gates:
            gate.uniform_(-1.5, 1.5)
    gated = picture(net, x)
    assert difference(gated, plain) > 0.01
    assert add_gates(net) is net  # a second call keeps the gates that are there
    assert torch.equal(picture(net, x), gated)
    folded = fold_gates(net)
    assert torch.equal(picture(folded, x), gated)
    assert not any("gate" in n for n in folded.state_dict())


def test_gates_start_as_the_length_of_their_filters_so_that_none_die_together() -> None:
    plain, net = WIRINGS["cartoongan"].net(), WIRINGS["cartoongan"].net()
    with torch.no_grad():
        for each in (plain, net):
            each.up1[0].weight[:, 2] = 0  # a dead filter divides nothing by zero
            each.up1[0].bias[2] = 0
    add_gates(net)
    for name, layer in convolutions(net).items():
        if layer.gate is not None:
            was = plain.get_submodule(name).weight.transpose(0, layer.out_dim).flatten(1)
            length = was.norm(dim=1)
            alive = length > 0
            assert torch.allclose(layer.gate[alive], (length / length.mean())[alive])
            assert layer.weight.isfinite().all()
    assert difference(picture(net, photos()), picture(plain, photos())) <= 1e-5


def test_gates_train() -> None:
    net = WIRINGS["cartoongan"].net(gates=True).train()
    net(photos()).square().sum().backward()
    gates = {n: layer.gate for n, layer in convolutions(net).items() if layer.gate is not None}
    assert list(gates) == ["down1.0", "down2.0", "up1.0", "up2.0"]
    for gate in gates.values():
        assert gate.grad is not None
        assert gate.grad.abs().min() > 0


def test_networks_with_a_norm_behind_every_convolution_get_no_gate() -> None:
    net = add_gates(WIRINGS["cyclegan affine"].net())
    assert all(layer.gate is None for layer in convolutions(net).values())


# --- emptied blocks ------------------------------------------------------------------------------


@every_emptied_wiring
def test_a_block_that_lost_every_channel_becomes_the_identity_with_its_shift(
    wiring: Wiring,
) -> None:
    net, x = wiring.net(gates=True), photos()
    with torch.no_grad():
        for scale in scales(net)["block1"]:
            scale.zero_()
        # eps=1e-9 would amplify the rounding of a constant in the uncut network
        net.blocks[1].norm1.bias.clamp_(max=0)
        for layer in convolutions(net.blocks[1].conv2).values():
            layer.bias.zero_()
    before = picture(net, x)
    keep = survivors(net, may_vanish=("block0", "block1"))
    assert len(keep["block1"]) == 0
    shift = net.blocks[1].norm2.bias.detach().clone()
    small = extract(wiring.build, net, {"block1": keep["block1"]}, x)
    assert small.blocks[1].is_empty
    y = torch.randn(2, wiring.widths["trunk"], 8, 8)
    assert torch.equal(small.blocks[1](y), y + shift.view(1, -1, 1, 1))
    assert difference(picture(small, x), before) <= 1e-5


def test_an_emptied_block_without_shift_is_the_identity_and_never_twice_its_input() -> None:
    block = ResidualBlock(Axis("trunk", 4), Axis("block0", 0))
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(block(x), x)
    assert not list(block.parameters())


@pytest.mark.parametrize("name", ["cyclegan affine", "cyclegan separable affine"])
def test_constants_of_an_emptied_block_leave_only_its_shift_even_if_loud(name: str) -> None:
    wiring = WIRINGS[name]
    net, x = wiring.net(), photos()
    with torch.no_grad():
        for scale in scales(net)["block0"]:
            scale.zero_()
    before = picture(net, x)
    small = extract(wiring.build, net, {"block0": torch.empty(0, dtype=torch.int64)}, x)
    assert difference(picture(small, x), before) <= 1e-4


# --- survivors -----------------------------------------------------------------------------------


def tiny(scale: list[float], weight: list[float]) -> nn.Module:
    """One convolution with a norm of these scales, and mean weights of these sizes."""
    c = Axis("mid", len(scale))
    from ganpress.nn.norms import norm

    net = nn.Sequential(conv(Axis("image", 3, fixed=True), c, 3), norm(c, "batch"))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor(weight).view(-1, 1, 1, 1).expand_as(net[0].weight))
        net[1].weight.copy_(torch.tensor(scale))
    return net


def kept(net: nn.Module, **how: object) -> list[int]:
    return survivors(net, **how)["mid"].tolist()  # type: ignore[arg-type]


def test_every_channel_with_a_scale_survives_negative_ones_too() -> None:
    assert kept(tiny([0.0, -0.5, 1e-12, 0.3, 0.0], [1, 1, 0.1, 1, 9])) == [1, 2, 3]


def test_where_all_scales_are_zero_the_heaviest_channels_fill_up() -> None:
    assert kept(tiny([0, 0, 0, 0], [0.1, 3, 0.2, -2]), floors=2) == [1, 3]


def test_where_too_few_survive_the_heaviest_of_the_others_join_them() -> None:
    assert kept(tiny([0, 0, 0, 0.1], [0.1, 3, 0.2, 0.01]), floors=3) == [1, 2, 3]


def test_channels_of_equal_weight_are_kept_from_the_front() -> None:
    assert kept(tiny([0, 0, 0, 0], [1, 1, 1, 1]), floors=2) == [0, 1]


def test_a_group_smaller_than_its_floor_keeps_all_it_has() -> None:
    assert kept(tiny([0, 0.1], [1, 1]), floors=8) == [0, 1]


def test_only_a_group_that_may_vanish_does_and_only_if_all_its_scales_are_zero() -> None:
    assert kept(tiny([0, 0], [1, 1]), may_vanish=["mid"]) == []
    assert kept(tiny([0, 0], [1, 2])) == [1]
    assert kept(tiny([0, 0.1], [1, 2]), floors=1, may_vanish=["mid"]) == [1]


def test_each_group_keeps_as_many_as_its_own_floor() -> None:
    net = WIRINGS["cyclegan affine"].net()
    silence(net, scales(net), keep_shift=True)
    alive = {g: int((s > 0).sum()) for g, s in scale_magnitudes(net).items()}
    floors = {g: k % 7 for k, g in enumerate(alive)}
    wanted = {g: min(widths(net)[g], max(n, floors[g])) for g, n in alive.items()}
    assert {g: len(k) for g, k in survivors(net, floors=floors).items()} == wanted != alive


def test_the_magnitude_of_a_channel_is_the_root_mean_square_of_its_producers_scales() -> None:
    net = WIRINGS["cyclegan affine"].net()
    with torch.no_grad():
        for scale, value in zip(scales(net)["trunk"], (3.0, -4.0, 0.0), strict=True):
            scale[2] = value
    assert float(scale_magnitudes(net)["trunk"][2]) == pytest.approx((25 / 3) ** 0.5)


@every_scaled_wiring
def test_survivors_fit_the_network_they_are_cut_from(wiring: Wiring) -> None:
    net = wiring.net(gates=True)
    gone = silence(net, widths(net), keep_shift=True)
    keep = survivors(net)
    assert {g: k.tolist() for g, k in keep.items()} == {
        g: k.tolist() for g, k in complement(net, gone).items()
    }


# --- the proximal step of the loop ---------------------------------------------------------------


def relative(net: nn.Module, reference: dict[str, float]) -> dict[str, Tensor]:
    return {g: s / reference[g] for g, s in scale_magnitudes(net).items()}


@pytest.mark.parametrize("level", [0.05, 0.4, 2.0])
@pytest.mark.parametrize("floor", [1, 2, 8])
def test_the_proximal_step_never_zeroes_the_last_channels(level: float, floor: int) -> None:
    for wiring in (WIRINGS["cyclegan affine"], WIRINGS["cartoongan"]):
        net = wiring.net(gates=True)
        groups = scales(net)
        reference = {g: 0.3 + 0.1 * i for i, g in enumerate(groups)}
        before = relative(net, reference)
        floors = {g: floor + i % 3 for i, g in enumerate(groups)}  # of each group its own
        alive = prune_step(groups, before, reference, level, floors=floors)
        for group, left in relative(net, reference).items():
            above = int((before[group] > level).sum())
            assert alive[group] == int((left > 0).sum())
            least = min(floors[group], len(left))
            assert alive[group] == max(above, least)
            best = before[group].topk(least).indices
            assert (left[best] > 0).all()


def test_exactly_the_channels_up_to_the_level_are_zeroed_whatever_the_rounding() -> None:
    net = randomise(family("cyclegan").build({"up2": 997}, blocks=1, affine=True))
    groups = {"up2": scales(net)["up2"]}
    for reference in (0.3, 0.4, 0.6, 0.9, 1.7, 2.4):
        randomise(net)
        before = relative(net, dict.fromkeys(scales(net), reference))
        level = float(before["up2"].sort().values[400])
        alive = prune_step(groups, before, {"up2": reference}, level, floors={"up2": 8})
        assert alive == {"up2": 997 - 401}
        assert torch.equal(groups["up2"][0] == 0, before["up2"] <= level)


def test_the_producers_of_a_trunk_channel_reach_zero_together() -> None:
    net = WIRINGS["cyclegan affine"].net()
    groups = scales(net)
    one = dict.fromkeys(groups, 1.0)
    before = {g: [s.detach().clone() for s in ss] for g, ss in groups.items()}
    prune_step(groups, relative(net, one), one, 0.95, floors=dict.fromkeys(groups, 1))
    dead = torch.stack([s == 0 for s in groups["trunk"]])
    assert torch.equal(dead.any(0), dead.all(0))
    assert 0 < int(dead.all(0).sum()) < dead.shape[1]
    rms = torch.stack(before["trunk"]).square().mean(0).sqrt()
    assert torch.equal(dead.all(0), rms <= 0.95)


def test_a_level_of_zero_changes_no_scale() -> None:
    net = WIRINGS["cyclegan affine"].net()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    one = dict.fromkeys(scales(net), 1.0)
    floors = dict.fromkeys(one, 1)
    alive = prune_step(scales(net), relative(net, one), one, 0.0, floors=floors)
    assert alive == widths(net)
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())


def test_a_goal_falls_geometrically_and_stays_at_its_end() -> None:
    goal = Goal(lambda _: 1.0, start=1.0, end=0.04, ramp_fraction=0.8)
    assert goal.at(0) == 1.0
    assert goal.at(0.4) == pytest.approx(0.2)
    assert goal.at(0.8) == pytest.approx(0.04)
    assert goal.at(1.0) == pytest.approx(0.04)
