"""What every family promises beyond its axes: reproducible, exact at any width, honest inputs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from nets import WIRINGS, Wiring, difference, every_family, every_wiring, randomise
from torch import Tensor, nn

from ganpress.channels.take import shrink, take
from ganpress.errors import ConfigError, WidthsError
from ganpress.measures.cost import CostTable
from ganpress.models.checkpoint import fingerprint, full_model
from ganpress.models.families import FAMILIES
from ganpress.models.families.base import Generator, draw_inputs
from ganpress.nn.axes import axes, widths
from ganpress.run.run import Run


def test_every_family_has_a_wiring_here() -> None:
    assert {w.name for w in WIRINGS.values()} == set(FAMILIES)


# --- what is read --------------------------------------------------------------------------------


@every_wiring
def test_a_family_draws_what_it_reads(wiring: Wiring) -> None:
    net = wiring.net()
    assert isinstance(net, Generator)
    assert len(set(net.reads)) == len(net.reads) == len(wiring.inputs())
    for tensor in wiring.inputs(3):
        assert (tensor.dtype, tensor.device.type, len(tensor)) == (torch.float32, "cpu", 3)
        assert tensor.isfinite().all()
    assert net(*wiring.inputs(3)).shape[:2] == (3, 3)


@every_wiring
def test_inputs_are_drawn_from_their_generator_alone(wiring: Wiring) -> None:
    before = torch.get_rng_state()
    first, again, other = wiring.inputs(seed=4), wiring.inputs(seed=4), wiring.inputs(seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    torch.manual_seed(8)
    free = draw_inputs(wiring.ghost, 2, wiring.pixels)
    torch.manual_seed(8)
    assert all(
        torch.equal(a, b)
        for a, b in zip(free, draw_inputs(wiring.ghost, 2, wiring.pixels), strict=True)
    )


@every_wiring
def test_a_picture_depends_on_its_own_inputs_and_on_all_of_them(wiring: Wiring) -> None:
    net = wiring.net().double()
    inputs = [t.double() for t in wiring.inputs(2)]
    with torch.no_grad():
        both = net(*inputs)
        for row in range(2):
            assert difference(net(*(t[row : row + 1] for t in inputs)), both[row : row + 1]) <= 1e-9
        for i in range(len(inputs)):
            swapped = [t.flip(0) if i == j else t for j, t in enumerate(inputs)]
            assert difference(net(*swapped), both) > 1e-6, net.reads[i]


# --- reproducible --------------------------------------------------------------------------------


@every_wiring
def test_a_seed_makes_a_network_and_its_pictures(wiring: Wiring) -> None:
    def made(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return wiring.build(wiring.widths).eval()

    net, again = made(3), made(3)
    assert fingerprint(net) == fingerprint(again) != fingerprint(made(4))
    with torch.no_grad():
        x = wiring.inputs()
        assert torch.equal(net(*x), again(*x))
        assert torch.equal(net(*x), net(*x))


@every_wiring
def test_every_parameter_that_runs_is_trained(wiring: Wiring) -> None:
    net = wiring.net().train()
    net(*wiring.inputs()).square().sum().backward()
    for name, parameter in net.named_parameters():
        if wiring.runs(name):
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


class Halted(Exception):
    """What ends a run in its middle."""


def run_loop(wiring: Wiring, root: Path, *, halt_at: int = -1) -> dict[str, Tensor]:
    """Six steps of a toy loss on random inputs, saved after every second one."""
    run = Run(root, seed=3, quiet=True, log_every=1, save_every_s=1000)
    stage = run.stage("train")
    run.seed_all("init")
    net = randomise(wiring.build(wiring.widths)).train()
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    for step in stage.steps(6, save_every=2, net=net, adam=adam):
        if step == halt_at:
            raise Halted
        adam.zero_grad()
        net(*draw_inputs(net, 2, wiring.pixels)).square().mean().backward()
        adam.step()
    moments = [t for s in adam.state.values() for t in s.values()]
    return {**net.state_dict(), **{f"moment {i}": t for i, t in enumerate(moments)}}


@every_family
def test_a_run_that_was_broken_off_and_resumed_ends_bit_equal(
    wiring: Wiring, tmp_path: Path
) -> None:
    whole = run_loop(wiring, tmp_path / "whole")
    with pytest.raises(Halted):
        run_loop(wiring, tmp_path / "broken", halt_at=3)
    resumed = run_loop(wiring, tmp_path / "broken")
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())


# --- any width -----------------------------------------------------------------------------------


def halves(wiring: Wiring) -> dict[str, int]:
    """Half of each group, and all of those whose cut changes the rest."""
    return {g: w if g in wiring.inexact else (w + 1) // 2 for g, w in wiring.widths.items()}


@torch.no_grad()
def zero_beyond(net: nn.Module, keep: Mapping[str, int]) -> None:
    """Set every parameter and statistic of the channels past the kept ones to 0."""
    said = axes(net)
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        for d, dim in enumerate(said.get(name, ())):
            start = 0
            for axis in dim or ():
                rows = axis.width * axis.span
                kept = rows if axis.fixed else keep[axis.group] * axis.span
                tensor.narrow(d, start + kept, rows - kept).zero_()
                start += rows


@every_wiring
def test_width_never_leaks_into_the_maths(wiring: Wiring) -> None:
    """A network with zeros in half its channels and one built without them make one picture; the
    gains and filters of the latter are those its constructor made, not copies."""
    net, keep = wiring.net().double(), halves(wiring)
    zero_beyond(net, keep)
    x = [t.double() for t in wiring.inputs()]
    fresh = wiring.build(keep).double().eval()
    learnt = {n for n, _ in net.named_parameters()}
    state = {n: t for n, t in take(net, keep).items() if n in learnt or ".running_" in n}
    left = fresh.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    assert {n.rsplit(".", 1)[-1].split("_")[0] for n in left.missing_keys} <= {
        *("num", "gain", "kernel", "noise")
    }
    with torch.no_grad():
        assert difference(fresh(*x), net(*x)) <= 1e-9


def test_stylegan2_keeps_the_gain_of_the_full_network() -> None:
    """Recomputed from the kept channels it would make each ToRGB sqrt(old / new) times too loud,
    1.82 at 70 % (methods.md 2.3)."""
    wiring = WIRINGS["stylegan2"]
    net, keep = wiring.net(), halves(wiring)
    small = shrink(wiring.build, net, keep)
    fresh = wiring.build(keep)
    gains = {n: b for n, b in net.named_buffers() if n.endswith("gain")}
    assert gains
    for name, gain in gains.items():
        assert torch.equal(small.get_buffer(name), gain)
        assert torch.equal(fresh.get_buffer(name), gain)


@every_wiring
def test_one_channel_in_every_group_is_a_network(wiring: Wiring) -> None:
    narrow = dict.fromkeys(wiring.widths, 1)
    net = randomise(wiring.build(narrow))
    assert widths(net) == narrow
    net.train()(*wiring.inputs()).sum().backward()
    with torch.no_grad():
        assert net.eval()(*wiring.inputs()).isfinite().all()
    assert CostTable(net, wiring.pixels)().macs > 0
    assert CostTable(wiring.ghost, wiring.pixels)(narrow) == CostTable(net, wiring.pixels)()


@every_wiring
def test_a_network_can_be_copied(wiring: Wiring) -> None:
    net = wiring.net()
    other = copy.deepcopy(net)
    with torch.no_grad():
        before: Tensor = net(*wiring.inputs())
        for parameter in other.parameters():
            parameter.zero_()
        assert torch.equal(net(*wiring.inputs()), before)
    assert widths(other) == widths(net)
    assert axes(other) == axes(net)


# --- refusals ------------------------------------------------------------------------------------


@every_wiring
def test_what_a_family_does_not_have_is_refused_with_the_nearest_name(wiring: Wiring) -> None:
    which, options = wiring.family, wiring.settled
    group, option = next(iter(wiring.widths)), next(iter(options))
    with pytest.raises(WidthsError, match=rf"no group '{group}x'.*did you mean '{group}'"):
        which.build({f"{group}x": 3}, **options)
    with pytest.raises(ConfigError, match=rf"no option '{option}x'.*did you mean '{option}'"):
        which.build(**{f"{option}x": 3})
    for name in wiring.widths:
        least = 0 if name in wiring.vanishing else 1
        with pytest.raises(WidthsError, match=rf"'{name}'.*at least {least}"):
            which.build({name: least - 1}, **options)


@pytest.mark.parametrize(
    ("family", "option", "near"),
    [
        ("gaugan", "norm", "instance"),
        ("gaugan", "upsampling", "more"),
        ("sngan", "norm", "instance"),
        ("pix2pix", "upsampling", "resize"),
        ("cyclegan", "padding", "replicate"),
        ("cyclegan", "up", "nearest"),
    ],
)
def test_a_word_that_an_option_cannot_be_is_refused_alike_in_every_family(
    family: str, option: str, near: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        full_model(family, **{option: f"{near}s"})
    said = str(caught.value)
    assert said.startswith(f"Option '{option}' is one of ")
    assert said.endswith(f"; got '{near}s' (did you mean '{near}'?).")
