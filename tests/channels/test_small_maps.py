"""What cut channels emit is absorbed with the smallest error, on small maps too, or a warning says
where it is lost."""

from __future__ import annotations

import copy
import warnings
from functools import partial

import pytest
import torch
from nets import GATED, WIRINGS, Wiring, difference, each
from torch import Tensor, nn

from ganpress.channels.response import SMALL, border_share
from ganpress.channels.silence import absorb_constants, extract
from ganpress.channels.take import scales
from ganpress.nn.axes import Axis, fixed, widths
from ganpress.nn.integer_layers import SubPixelConv2d, sub_pixel
from ganpress.nn.layers import (
    Conv2d,
    ConvTranspose2d,
    conv,
    convolutions,
    deconv,
    fold_gates,
    in_axes,
    is_depthwise,
)
from ganpress.nn.norms import norm

A, B = Axis("a", 5), Axis("b", 4)
GONE = torch.tensor([1, 3])


@torch.no_grad()
def chain(reader: nn.Module, *, pad: int = 0, behind: nn.Module | None = None) -> nn.Module:
    """Pointwise convolution, BatchNorm, ReLU, [reflection], the reader: channels 1 and 3 of its
    input are constants of every picture."""
    torch.manual_seed(0)
    net = nn.Sequential(
        conv(fixed(3), A, 1, signed=True),
        norm(A, "batch"),
        nn.ReLU(),
        nn.ReflectionPad2d(pad) if pad else nn.Identity(),
        reader,
        behind or nn.Identity(),
    ).eval()
    net[1].weight[GONE] = 0
    net[1].bias[GONE] = torch.tensor([0.7, 1.9])
    for p in reader.parameters():
        p.normal_()
    return net


@torch.no_grad()
def errors(net: nn.Module, side: int) -> Tensor:
    """The reader's output with the constants absorbed and their channels cut, less the whole
    network's, over 40 random pictures: (40, b, h, w)."""
    draw = torch.Generator().manual_seed(4)
    x = torch.rand(40, 3, side, side, generator=draw) * 2 - 1
    before = net(x)
    small = absorb_constants(copy.deepcopy(net), {"a": GONE}, x[:2])
    small[2].register_forward_hook(lambda _m, _i, out: out.index_fill(1, GONE, 0.0))
    return small(x) - before


# --- how much of a map is border -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "share"), [(1, 1.0), (2, 1.0), (4, 12 / 16), (8, 28 / 64), (16, 60 / 256)]
)
def test_the_border_of_a_padded_3_x_3_convolution_is_the_outermost_ring(
    side: int, share: float
) -> None:
    assert border_share(conv(A, B, 3, padding=1), side, side) == pytest.approx(share)
    assert border_share(conv(A, B, 3, padding=1), side, 4) >= share
    assert border_share(conv(A, B, 3), side + 2, side + 2) == 0  # nothing is padded


@pytest.mark.parametrize("side", [2, 3, 4, 7, 8])
@pytest.mark.parametrize(
    "layer",
    [
        conv(A, B, 3, padding=1, stride=2),
        conv(A, B, 4, padding=1, stride=2),
        conv(A, B, 3, padding=2, dilation=2),
        deconv(A, B, 3, padding=1, stride=2, output_padding=1),
        deconv(A, B, 4, padding=1, stride=2),
        deconv(A, B, 3, padding=1),
    ],
    ids=str,
)
def test_an_output_is_border_where_a_larger_map_would_give_it_more(
    layer: Conv2d | ConvTranspose2d, side: int
) -> None:
    again = copy.deepcopy(layer)
    with torch.no_grad():
        again.weight.fill_(1)
        again.bias.zero_()
        here = again(torch.ones(1, 5, side, side))[0, 0]
        wide = again(torch.ones(1, 5, side + 16, side + 16))[0, 0]
    shift = 16 if isinstance(layer, ConvTranspose2d) else 8
    start = shift // layer.stride[0] if isinstance(layer, Conv2d) else 8 * layer.stride[0]
    rows = slice(start, start + here.shape[0])
    share = float((wide[rows, rows] != here).float().mean())
    assert border_share(layer, side, side) == pytest.approx(share)


# --- the mean of the outputs stays ---------------------------------------------------------------


@pytest.mark.parametrize("side", [2, 4, 8])
@pytest.mark.parametrize("kernel", [3, 5])
def test_on_small_zero_padded_maps_the_mean_of_the_outputs_stays(side: int, kernel: int) -> None:
    error = errors(chain(conv(A, B, kernel, padding=kernel // 2)), side)
    assert error.abs().max() > 0.1  # no constant is right at the borders and inside
    assert error.mean((0, 2, 3)).abs().max() <= 1e-5


def test_on_larger_zero_padded_maps_everything_but_the_border_stays() -> None:
    error = errors(chain(conv(A, B, 3, padding=1)), 16)
    assert error[..., 1:-1, 1:-1].abs().max() <= 1e-5
    assert error.mean((0, 2, 3)).abs().max() > 0.01


@pytest.mark.parametrize("side", [4, 8, 16])
def test_under_reflection_nothing_changes_whatever_the_size_of_the_map(side: int) -> None:
    assert errors(chain(conv(A, B, 3), pad=1), side).abs().max() <= 1e-5


@pytest.mark.parametrize("side", [2, 4])
def test_on_small_maps_a_strided_transposed_convolution_keeps_its_mean_borders_included(
    side: int,
) -> None:
    error = errors(chain(deconv(A, B, 4, stride=2, padding=1)), side)
    assert error.mean((0, 2, 3)).abs().max() <= 1e-5


@pytest.mark.parametrize("side", [1, 2, 4])
def test_on_small_maps_each_pixel_of_a_sub_pixel_convolution_keeps_its_mean(side: int) -> None:
    """Of the places at the ends of its output, which are cut off, none counts."""
    error = errors(chain(sub_pixel(A, B)), side)
    phases = [error[:, :, i::2, j::2].mean((0, 2, 3)) for i in (0, 1) for j in (0, 1)]
    assert torch.stack(phases).abs().max() <= 1e-5
    assert side == 1 or error.abs().max() > 0.1


@pytest.mark.parametrize("side", [1, 2, 7, 8])
def test_a_sub_pixel_convolution_has_the_border_of_the_transposed_one_that_it_stands_for(
    side: int,
) -> None:
    of = deconv(A, B, 4, stride=2, padding=1)
    assert border_share(sub_pixel(A, B), side, 8) == pytest.approx(border_share(of, side, 8))


def test_on_larger_maps_it_keeps_the_mean_inside() -> None:
    error = errors(chain(deconv(A, B, 4, stride=2, padding=1)), 16)
    assert error[..., 2:-2, 2:-2].mean((0, 2, 3)).abs().max() <= 1e-5
    assert error.mean((0, 2, 3)).abs().max() > 1e-3


# --- in whole generators -------------------------------------------------------------------------


def interior(layer: Conv2d | ConvTranspose2d, x: Tensor) -> Tensor:
    """What was absorbed on maps of any size: the response to channels' means far from a border."""
    mean = x.mean((0, 2, 3))
    if isinstance(layer, ConvTranspose2d):
        area = layer.stride[0] * layer.stride[1]
        return torch.einsum("iokl,i->o", layer.weight, mean) / area
    return torch.einsum("oikl,i->o", layer.weight, mean)


def in_rows(layer: nn.Module, x: Tensor) -> Tensor:
    """What a sub-pixel convolution makes, (n, 4 out, h, w) in the order of its weight's rows: what
    is cut off at the border shifts them by one."""
    phases = nn.functional.pixel_unshuffle(layer(x), 2).unflatten(1, (-1, 2, 2))
    return phases.flip(2, 3).flatten(1, 3)


def part_of(layer: nn.Module, gone: dict[str, Tensor]) -> Tensor:
    """1 for input channels of ``layer`` that are cut, (in, 1, 1)."""
    rows: list[float] = []
    for axis in in_axes(layer) or ():
        cut = set(gone[axis.group].tolist()) if axis.group in gone and not axis.fixed else set()
        rows += [float(c in cut) for c in range(axis.width) for _ in range(axis.span)]
    return torch.tensor(rows).view(-1, 1, 1)


@each({n: w for n, w in GATED.items() if n != "stylegan2"})  # none of its readers has a bias
@torch.no_grad()
def test_what_is_absorbed_is_nowhere_worse_than_the_constant_of_the_interior(
    wiring: Wiring,
) -> None:
    net = wiring.net(gates=True)
    gone = {g: torch.arange(0, widths(net)[g], 2) for g in scales(net)}
    for group, producers in scales(net).items():
        for scale in producers:
            scale[gone[group]] = 0
    fold_gates(net)
    inputs = wiring.inputs(2)
    if wiring.options.get("classes"):
        inputs = (inputs[0], torch.eye(4)[[2, 2]])
        del net.norms_behind  # one class: nothing for its norms to take in
    heard: dict[str, Tensor] = {}
    readers = {
        n: layer
        for n, layer in convolutions(net).items()
        if layer.bias is not None
        and not is_depthwise(layer)
        and any(a.group in gone for a in in_axes(layer) or ())
    }
    hooks = [
        layer.register_forward_pre_hook(lambda _m, i, n=n: heard.update({n: i[0]}))
        for n, layer in readers.items()
    ]
    net(*inputs)
    for hook in hooks:
        hook.remove()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of readers without a bias, below
        small = absorb_constants(copy.deepcopy(net), gone, *inputs)
    assert heard.keys() == readers.keys() != set()
    for name in heard:
        layer, cut = readers[name], part_of(readers[name], gone)
        run = partial(in_rows, layer) if isinstance(layer, SubPixelConv2d) else layer
        lost = run(heard[name]) - run(heard[name] * (1 - cut))
        new = small.get_submodule(name).bias - layer.bias
        old = interior(layer, heard[name] * cut)
        side = heard[name].shape[2:]
        errs = [(lost - c.view(1, -1, 1, 1)).square().mean() for c in (new, old)]
        assert errs[0] <= errs[1] * (1 + 1e-5) + 1e-10, name
        if border_share(layer, *side) < SMALL:
            assert torch.allclose(new, old, atol=1e-5), name
        else:
            assert torch.allclose(new, lost.mean((0, 2, 3)), atol=1e-5), name


@torch.no_grad()
def test_each_class_of_a_conditional_network_keeps_its_mean_on_the_first_small_map() -> None:
    wiring = WIRINGS["sngan conditional"]
    net = wiring.net(gates=True)
    gone = torch.arange(0, wiring.widths["stem"], 3)
    for scale in scales(net)["stem"]:
        scale[gone] = 0
    found: list[Tensor] = []
    kept = torch.tensor(sorted(set(range(wiring.widths["stem"])) - set(gone.tolist())))
    before = fold_gates(copy.deepcopy(net))
    small = extract(wiring.build, net, {"stem": kept}, *wiring.inputs(2))
    for one in (before, small):
        one.blocks[0].b2.register_forward_hook(lambda _m, _i, out: found.append(out))
    for y in torch.eye(4):
        found.clear()
        z = torch.randn(3, 6)
        before(z, y.expand(3, 4))
        small(z, y.expand(3, 4))
        assert found[0].shape[2:] == (8, 8)
        assert (found[0] - found[1]).abs().max() > 1e-3
        assert (found[0] - found[1]).mean((0, 2, 3)).abs().max() <= 1e-5


# --- readers without a bias ----------------------------------------------------------------------


def loud_bottleneck(norm_kind: str) -> tuple[nn.Module, dict[str, Tensor], Wiring]:
    """A U-Net of which channels that the bottleneck reads are silent, with a loud shift."""
    wiring = Wiring("pix2pix", {"norm": norm_kind, "affine": norm_kind == "instance"})
    net = wiring.net()
    gone = {"enc3": torch.arange(0, wiring.widths["enc3"], 2)}
    with torch.no_grad():
        net.downs[3].norm.weight[gone["enc3"]] = 0
        net.downs[3].norm.bias[gone["enc3"]] = 3.0
    return net, gone, wiring


def test_a_constant_that_a_reader_without_a_bias_cannot_take_in_is_told() -> None:
    net, gone, wiring = loud_bottleneck("batch")
    assert net.downs[4].conv.bias is None
    with pytest.warns(UserWarning, match=r"add to downs\.4\.conv is lost.*no bias"):
        absorb_constants(net.train(), gone, *wiring.inputs(2))
    assert net.training


def test_of_many_layers_whose_constants_are_lost_three_are_named() -> None:
    """No convolution of StyleGAN2 has a bias: a warning of all their names says no more."""
    wiring = WIRINGS["stylegan2"]
    gone = {group: torch.arange(0, width, 2) for group, width in wiring.widths.items()}
    with pytest.warns(UserWarning, match=r"add to \S+, \S+, \S+ and \d+ layers more is lost"):
        absorb_constants(wiring.net(), gone, *wiring.inputs(2))


def test_nothing_is_told_where_the_reader_has_a_bias_or_the_constant_is_zero() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        net, gone, wiring = loud_bottleneck("instance")
        bias = net.downs[4].conv.bias.clone()
        absorb_constants(net, gone, *wiring.inputs(2))
        assert difference(net.downs[4].conv.bias, bias) > 0.1
        net, gone, wiring = loud_bottleneck("batch")
        torch.nn.init.zeros_(net.downs[3].norm.bias)
        before = net.eval()(*wiring.inputs(2))
        absorb_constants(net, gone, *wiring.inputs(2))
        assert difference(net(*wiring.inputs(2)), before) <= 1e-6
    assert not told


def test_nothing_is_told_where_an_instance_norm_cancels_the_constant() -> None:
    bare = conv(A, B, 3, bias=False)
    x = torch.rand(2, 3, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        absorb_constants(chain(bare, pad=1, behind=nn.InstanceNorm2d(4)), {"a": GONE}, x)
    error = errors(chain(bare, pad=1, behind=nn.InstanceNorm2d(4)), 8)
    assert error.abs().max() <= 1e-4
    with pytest.warns(UserWarning, match="add to 4 is lost"):
        absorb_constants(chain(bare, pad=1), {"a": GONE}, x)
