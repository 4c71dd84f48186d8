"""A generator in the form for integers: the same network where that can be, near it elsewhere."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from nets import FIRST, WIRINGS, Wiring, difference, each, every_wiring, random_indices
from torch import Tensor, nn

import ganpress
from ganpress.channels.take import Elastic, shrink
from ganpress.errors import ConfigError
from ganpress.measures.cost import measure
from ganpress.models.checkpoint import Model, load, save
from ganpress.models.families import FAMILIES
from ganpress.models.forms import (
    BILINEAR_TAPS,
    CHANGES,
    Doubling,
    integer_form,
    integer_options,
    remarks,
    resized_weight,
    sub_pixel_weight,
    transposed_taps,
)
from ganpress.nn.adain import AdaIN
from ganpress.nn.axes import Axis, axes
from ganpress.nn.integer_layers import sub_pixel
from ganpress.nn.layers import ConvTranspose2d, add_gates
from ganpress.quantisation.quantise import FakeQuantiser, quantise

UNCHANGED = ("gaugan", "sngan", "sngan conditional", "stylegan2")
CHANGED = {name: w for name, w in WIRINGS.items() if name not in UNCHANGED}
KERNELS = pytest.mark.parametrize(("kernel", "extra"), [(3, 1), (4, 0)])


def maps(n: int = 2, c: int = 5, h: int = 6, w: int = 9) -> Tensor:
    return torch.randn(n, c, h, w, generator=torch.Generator().manual_seed(1))


def doubled_by(x: Tensor, weight: Tensor, extra: int) -> Tensor:
    """torch's own transposed convolution of stride 2."""
    return F.conv_transpose2d(x, weight, stride=2, padding=1, output_padding=extra)


# --- the doubling -----------------------------------------------------------------------------


@KERNELS
def test_a_sub_pixel_convolution_is_the_transposed_one_borders_included(
    kernel: int, extra: int
) -> None:
    weight = torch.randn(5, 7, kernel, kernel, generator=torch.Generator().manual_seed(0))
    layer = sub_pixel(Axis("a", 5), Axis("b", 7))
    with torch.no_grad():
        layer.weight.copy_(sub_pixel_weight(weight))
        layer.bias.zero_()
    assert difference(layer(maps()), doubled_by(maps(), weight, extra)) < 1e-5


@KERNELS
def test_a_transposed_convolution_with_four_equal_sums_is_a_resize_and_a_convolution(
    kernel: int, extra: int
) -> None:
    """Where rows and columns of the kernel say the same for both pixels of a place, exactly."""
    draw = torch.Generator().manual_seed(0)
    row = torch.randn(5, 7, 4, generator=draw)
    row[..., 3] *= kernel == 4
    row[..., 1] = row[..., 0] + row[..., 2] - row[..., 3]  # taps 1 + 3 and 0 + 2
    weight = (row[..., :, None] * row[..., None, :])[..., :kernel, :kernel]
    found = resized_weight(weight, transposed_taps(kernel)).transpose(0, 1)
    got = F.conv2d(F.interpolate(maps(), scale_factor=2.0), found, padding=1)
    want = doubled_by(maps(), weight, extra)
    assert difference(got, want) < 1e-4 * float(want.abs().max())


def test_elsewhere_it_is_the_nearest_of_all() -> None:
    """Against a fit of all nine numbers to a drawn map, by torch's own least squares."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(1, 1, 4, 4, generator=draw, dtype=torch.float64)
    x = torch.randn(1, 1, 200, 200, generator=draw, dtype=torch.float64)
    want = doubled_by(x, weight, 0)[..., 2:-2, 2:-2].flatten()
    around = F.pad(F.interpolate(x, scale_factor=2.0), (1, 1, 1, 1))
    moved = [around[..., i : i + 400, j : j + 400] for i in range(3) for j in range(3)]
    read = torch.stack([m[..., 2:-2, 2:-2].flatten() for m in moved], 1)
    fitted = torch.linalg.lstsq(read, want[:, None]).solution.view(3, 3)
    found = resized_weight(weight, transposed_taps(4))[0, 0]
    assert difference(found, fitted) < 0.02 * float(fitted.abs().max())


def test_what_a_bilinear_doubling_and_its_kernel_multiply_is_as_torch_interpolates() -> None:
    draw = torch.Generator().manual_seed(0)
    kernel = torch.randn(3, generator=draw, dtype=torch.float64)
    x = torch.randn(1, 1, 8, generator=draw, dtype=torch.float64)
    twice = F.interpolate(x, scale_factor=2.0, mode="linear", align_corners=False)
    want = F.conv1d(twice, kernel.view(1, 1, 3), padding=1)[0, 0]
    rows = BILINEAR_TAPS @ kernel
    for j in range(1, 7):
        window = x[0, 0, j - 1 : j + 2]
        assert torch.allclose(rows[:3] @ window, want[2 * j])
        assert torch.allclose(rows[3:] @ window, want[2 * j + 1])


def test_a_sub_pixel_convolution_costs_its_taps_at_each_place_of_its_kernel() -> None:
    layer = sub_pixel(Axis("a", 5), Axis("b", 7))

    class Alone(ganpress.models.families.base.Generator):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__({"in_channels": 1})
            self.first, self.layer = nn.Identity(), layer

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.layer(x.expand(-1, 5, -1, -1))
            return made

    found = measure(Alone(), 16)
    assert found.macs == found.macs_outres == 4 * 5 * 28 * 17 * 17


# --- whole networks ---------------------------------------------------------------------------


def by_hand(model: Model) -> Model:
    """The network's own wiring with what the form changes but the doubling: an independent copy,
    tensor by tensor of the same name."""
    options = {**integer_options(model.family.name, model.options)}
    options |= {k: model.options[k] for k in ("up", "upsampling") if k in options}
    net = model.build(model.widths) if options == model.options else None
    net = net or model.family.build(model.widths, **options)
    state = {n: t for n, t in model.net.state_dict().items() if n in net.state_dict()}
    net.load_state_dict({**net.state_dict(), **state})
    return Model(net.eval(), model.family, options)


@pytest.mark.parametrize("name", [n for n in CHANGED if n not in ("cyclegan blurred",)])
def test_the_doubling_alone_changes_no_picture(name: str) -> None:
    wiring = WIRINGS[name]
    model = wiring.model()
    formed, other = integer_form(model), by_hand(model)
    assert not any(isinstance(m, ConvTranspose2d) for m in formed.net.modules())
    inputs = [x.double() if x.is_floating_point() else x for x in wiring.inputs()]
    with torch.no_grad():  # in double: how float32 rounds depends on the processor
        pictures = [each.net.double()(*inputs) for each in (formed, other)]
    assert difference(*pictures) < 1e-10


@pytest.mark.parametrize("name", ["cyclegan zeros", "pix2pix"])
def test_a_network_with_batch_norm_and_zeros_makes_the_same_pictures(name: str) -> None:
    wiring = WIRINGS[name]
    model = wiring.model()
    options = {"outer_padding": "zero"} if name.startswith("cyclegan") else {}
    zeros = Model(
        model.family.build(model.widths, **{**model.options, **options}).eval(),
        model.family,
        {**model.options, **options},
    )
    zeros.net.load_state_dict(model.net.state_dict())
    formed = integer_form(zeros)
    assert formed.options != zeros.options
    assert difference(formed(*wiring.inputs()), zeros(*wiring.inputs())) < 1e-5


@every_wiring
@pytest.mark.parametrize("up", ["sub-pixel", "resize"])
def test_no_layer_is_left_that_integer_runtimes_keep_in_float(wiring: Wiring, up: Doubling) -> None:
    formed = integer_form(wiring.model(), up=up)
    kinds = [m for m in formed.net.modules() if not isinstance(m, AdaIN)]
    if wiring.name == "stylegan2":
        return
    assert not any(isinstance(m, nn.ConvTranspose2d | nn.InstanceNorm2d) for m in kinds)
    assert not any(isinstance(m, nn.ReflectionPad2d | nn.ReplicationPad2d) for m in kinds)
    assert formed.widths == wiring.widths
    assert formed(*wiring.inputs()).isfinite().all()


@every_wiring
def test_it_is_said_what_changes_and_what_is_lost_or_why_nothing_does(wiring: Wiring) -> None:
    model = wiring.model()
    lines = remarks(wiring.name, model.options)
    formed = integer_form(model)
    changed = {n for n, v in formed.options.items() if model.options[n] != v}
    assert {line.split(":")[0] for line in lines if "becomes" in line} == changed
    if not changed:
        assert formed is model and "nothing that the form" in lines[0]


def test_every_family_has_its_row_and_every_option_is_one_of_its() -> None:
    assert CHANGES.keys() == FAMILIES.keys()
    for name, changes in CHANGES.items():
        assert all(c.option in FAMILIES[name].options for c in changes)


@each({n: CHANGED[n] for n in ("cyclegan instance", "pix2pix instance", "cyclegan blurred")})
def test_the_form_of_the_form_is_itself(wiring: Wiring) -> None:
    formed = integer_form(wiring.model())
    assert integer_form(formed) is formed


def test_new_batch_norms_have_the_scales_of_the_old_norms_and_the_statistics_of_pictures() -> None:
    wiring = WIRINGS["cyclegan affine"]
    model, inputs = wiring.model(), wiring.inputs(8)
    formed = integer_form(model, [inputs])
    old, new = model.net.stem.norm, formed.net.stem.norm  # type: ignore[union-attr]
    assert torch.equal(old.weight, new.weight) and torch.equal(old.bias, new.bias)
    seen = F.conv2d(F.pad(inputs[0], (3, 3, 3, 3)), *model.net.stem.conv.parameters())  # type: ignore[union-attr]
    assert torch.allclose(new.running_mean, seen.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(new.running_var, seen.var((0, 2, 3)), rtol=1e-4)


def test_gates_are_folded_and_the_model_itself_is_left_alone() -> None:
    wiring = WIRINGS["cartoongan batch"]
    model = wiring.model()
    gated = copy.deepcopy(model)
    add_gates(gated.net)
    was = {n: t.clone() for n, t in gated.net.state_dict().items()}
    want, got = integer_form(model), integer_form(gated)
    assert difference(want(*wiring.inputs()), got(*wiring.inputs())) < 1e-4
    assert all(torch.equal(t, gated.net.state_dict()[n]) for n, t in was.items())


@each({n: CHANGED[n] for n in ("cyclegan instance", "cartoongan", "pix2pix instance", "munit")})
def test_its_file_loads_as_it_was(wiring: Wiring, tmp_path: Path) -> None:
    formed = integer_form(wiring.model(), [wiring.inputs()])
    back = load(save(formed, tmp_path / "m.safetensors"))
    assert back.options == formed.options
    assert torch.equal(back(*wiring.inputs()), formed(*wiring.inputs()))


@each({n: CHANGED[n] for n in ("cyclegan instance", "cartoongan", "pix2pix instance")})
def test_its_channels_are_cut_as_those_of_any_network(wiring: Wiring) -> None:
    """A sub-pixel convolution's four rows go together: by hand, and in the elastic network."""
    formed = integer_form(wiring.model(), [wiring.inputs()])
    keep = random_indices(formed.net, 3)
    small = shrink(formed.build, formed.net, keep).eval()
    whole = Elastic(formed.net)(keep, *wiring.inputs())
    assert difference(small(*wiring.inputs()), whole) < 1e-5
    rows = {n: d for n, d in axes(formed.net).items() if d[0] and d[0][0].span == 4}
    assert rows
    for name, dims in rows.items():
        want = formed.net.state_dict()[name].unflatten(0, (-1, 4))
        want = want[_kept(dims[0] or (), keep)].flatten(0, 1)
        if want.ndim > 1:
            want = want[:, _kept(dims[1] or (), keep)]
        assert torch.equal(small.state_dict()[name], want)


def _kept(dim: tuple[Axis, ...], keep: dict[str, Tensor]) -> Tensor:
    """Which channels along a dim are left."""
    starts = [sum(a.width for a in dim[:k]) for k in range(len(dim))]
    of = (torch.arange(a.width) if a.fixed else keep[a.group] for a in dim)
    return torch.cat([start + own for start, own in zip(starts, of, strict=True)])


def test_a_quantised_network_is_refused_and_so_is_one_with_emptied_blocks() -> None:
    model = WIRINGS["cyclegan affine"].model()
    quantise(model.net, FakeQuantiser())
    with pytest.raises(ConfigError, match="is quantised"):
        integer_form(model)
    bare = FIRST["cyclegan"]
    net = bare.family.build({**bare.widths, "block0": 0}, **bare.settled)
    with pytest.raises(ConfigError, match=r"emptied \(block0\)"):
        integer_form(Model(net, bare.family, bare.settled))
