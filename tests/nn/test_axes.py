"""What a network says about its channel groups is true of the tensors the constructor makes."""

from __future__ import annotations

import pytest
import torch
from nets import RESNETS, WIRINGS, Wiring, every_vanishing_wiring, every_wiring
from torch import nn

from ganpress.errors import ConfigError, WidthsError
from ganpress.models.families import FAMILIES, family
from ganpress.models.families.base import draw_inputs
from ganpress.nn.axes import Axis, axes, fixed, named, size, tag, widths
from ganpress.nn.layers import conv, convolutions, deconv, depthwise, in_axes, is_depthwise

FIRST = {
    **dict.fromkeys(("cyclegan", "cartoongan"), "stem.conv"),
    **{
        "pix2pix": "downs.0.conv",
        "gaugan": ("fc", ".shared"),
        "munit": ("content.0.conv", "style.0.conv"),
    },
    **{"sngan": (), "stylegan2": ()},
}
"""Ends of the names of the layers that read the picture or the label map."""


def shapes(wiring: Wiring, **changed: int) -> dict[str, torch.Size]:
    with torch.device("meta"):
        net = wiring.build({**wiring.widths, **changed})
    return {n: t.shape for n, t in [*net.named_parameters(), *net.named_buffers()]}


@every_wiring
def test_one_more_channel_widens_exactly_the_dims_that_name_its_group(wiring: Wiring) -> None:
    before = shapes(wiring)
    with torch.device("meta"):
        said = axes(wiring.build(wiring.widths))
    for group, width in wiring.widths.items():
        after = shapes(wiring, **{group: width + 1})
        assert after.keys() == before.keys()
        for name, shape in before.items():
            dims = said.get(name, (None,) * len(shape))
            expected = [
                old + sum(a.span for a in dim or () if a.group == group and not a.fixed)
                for old, dim in zip(shape, dims, strict=True)
            ]
            assert list(after[name]) == expected, f"{name} when '{group}' gets a channel more"


@every_wiring
def test_the_declared_dims_add_up_to_the_real_ones(wiring: Wiring) -> None:
    real = shapes(wiring)
    with torch.device("meta"):
        said = axes(wiring.build(wiring.widths))
    for name, dims in said.items():
        assert [size(dim) if dim else None for dim in dims] == [
            real[name][d] if dim else None for d, dim in enumerate(dims)
        ]


@every_wiring
def test_every_tensor_of_a_network_is_tagged_but_numbers_and_filters(wiring: Wiring) -> None:
    untagged = shapes(wiring).keys() - axes(wiring.ghost).keys()
    kinds = {n.rsplit(".", 1)[-1].split("_")[0] for n in untagged}
    assert kinds <= {"num", "gain", "strength", "kernel", "noise"}


@every_wiring
def test_a_network_is_as_wide_as_it_was_asked_to_be(wiring: Wiring) -> None:
    assert widths(wiring.net()) == wiring.widths
    assert len(set(wiring.widths.values())) == len(wiring.widths)
    assert list(widths(wiring.ghost)) == list(wiring.family.full(wiring.settled))


@every_wiring
def test_the_colours_of_the_picture_can_never_be_cut(wiring: Wiring) -> None:
    said = axes(wiring.ghost)
    image = [a for dims in said.values() for dim in dims if dim for a in dim if a.group == "image"]
    if wiring in RESNETS.values():
        assert len(image) == 3  # the stem's input; weight and bias of the last layer
    assert len(image) >= 2
    assert all(a.fixed and a.width == 3 for a in image)
    assert "image" not in widths(wiring.ghost)


@every_vanishing_wiring
def test_an_emptied_group_stays_known(wiring: Wiring) -> None:
    for group in wiring.vanishing:
        net = wiring.net(**{group: 0})
        assert widths(net) == {**wiring.widths, group: 0}
        assert net(*wiring.inputs()).isfinite().all()


@every_wiring
def test_pictures_keep_their_size_and_range(wiring: Wiring) -> None:
    model = wiring.model()
    h, w = model.min_size, model.min_size + model.multiple
    inputs = draw_inputs(model.net, 2, (h, w))
    out = model(*inputs)
    side = model.options.get("size", 32 if wiring.name == "sngan" else None)
    assert out.shape == (2, 3, side or h, side or w)
    assert out.abs().max() <= 1 or wiring.name == "stylegan2"  # whose pictures nothing clamps


@every_wiring
def test_the_taps_name_modules_that_exist(wiring: Wiring) -> None:
    net = wiring.net()
    taps = wiring.family.taps(wiring.settled)
    assert set(taps) <= {name for name, _ in net.named_modules()}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_taps_of_the_full_network_are_the_papers(name: str) -> None:
    which = family(name)
    options = which.resolve({})
    with torch.device("meta"):
        net = which.build()
    assert widths(net) == which.full(options)
    for tap in which.taps(options):
        net.get_submodule(tap)
    if name == "cyclegan":
        assert which.taps(options) == ("down2", "blocks.2", "blocks.5", "blocks.8")


def test_two_layers_that_disagree_about_a_group_are_refused() -> None:
    a, b = Axis("mid", 4), Axis("mid", 5)
    net = nn.Sequential(conv(fixed(3), a, 3), conv(b, fixed(3), 3))
    with pytest.raises(WidthsError, match=r"Layer '1' says group 'mid' has 5 channels.*4"):
        widths(net)


def test_a_concatenation_counts_every_row_of_its_axes() -> None:
    a = named({"dec": 3, "enc": 5})
    style = Axis("dec", 3, span=4)
    layer = conv((a["dec"], a["enc"], fixed(2, "labels")), style, 3)
    assert layer.weight.shape == (12, 10, 3, 3)
    assert axes(layer)["weight"][1] == (a["dec"], a["enc"], fixed(2, "labels"))
    assert widths(layer) == {"dec": 3, "enc": 5}


def test_tags_of_a_tensor_that_is_not_there_are_left_out() -> None:
    layer = tag(nn.Conv2d(3, 4, 1, bias=False), bias=((Axis("mid", 4),),))
    assert axes(layer) == {}


def test_a_depthwise_convolution_of_one_channel_is_still_depthwise() -> None:
    c = Axis("trunk", 1)
    assert is_depthwise(depthwise(c, 3))
    assert in_axes(depthwise(c, 3)) == (c,)
    assert not is_depthwise(conv(c, c, 3))
    assert not is_depthwise(deconv(c, c, 3))


@every_wiring
def test_only_the_layer_that_reads_the_photo_takes_its_input_unquantised(wiring: Wiring) -> None:
    narrow = wiring.net(**dict.fromkeys(wiring.widths, 1))
    for net in (wiring.net(), narrow):
        whole = {n for n, layer in convolutions(net).items() if not layer.quantises_input}
        assert whole == {n for n in convolutions(net) if n.endswith(FIRST[wiring.name])}


@every_wiring
def test_layers_that_read_negative_values_say_so(wiring: Wiring) -> None:
    net, lows = wiring.net(), {}
    for name, layer in convolutions(net).items():

        def read(_: nn.Module, inputs: tuple[torch.Tensor], name: str = name) -> None:
            lows[name] = float(inputs[0].detach().min())

        layer.register_forward_pre_hook(read)
    net(*wiring.inputs())
    for name, layer in convolutions(net).items():
        assert layer.signed or lows.get(name, 0) >= 0, name
        first_of_trunk = name.startswith("blocks.0.conv1")  # behind a ReLU, as it happens
        if wiring in RESNETS.values() and not first_of_trunk:
            assert not layer.signed or lows[name] < 0, name


def test_a_family_refuses_a_group_an_option_and_a_width_it_does_not_have() -> None:
    which = family("cyclegan")
    with pytest.raises(WidthsError, match=r"no group 'trunck'.*did you mean 'trunk'"):
        which.build({"trunck": 3})
    with pytest.raises(ConfigError, match=r"no option 'afine'.*did you mean 'affine'"):
        which.build(afine=True)
    with pytest.raises(WidthsError, match=r"'stem'.*at least 1.*got 0"):
        which.build({"stem": 0})
    with pytest.raises(WidthsError, match=r"'block0'.*at least 1.*got 0"):
        which.build({"block0": 0}, norm="batch")
    with pytest.raises(WidthsError, match=r"'block0'.*at least 0.*got -1"):
        which.build({"block0": -1})
    with pytest.raises(ConfigError, match=r"no family 'cyclegam'.*did you mean 'cyclegan'"):
        family("cyclegam")


def test_the_options_of_every_wiring_are_the_familys_own() -> None:
    for wiring in WIRINGS.values():
        assert wiring.options.keys() <= wiring.family.options.keys()
