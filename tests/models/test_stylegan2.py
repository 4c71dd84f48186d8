"""StyleGAN2: golden pictures, rosinality's files, the gain that a cut must not change, styles."""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from ganpress.channels.take import Elastic, shrink
from ganpress.errors import CheckpointError, ConfigError
from ganpress.formats.importers import stylegan2 as rosinality
from ganpress.formats.importers.fitting import assemble, assemble_discriminator
from ganpress.formats.importers.foreign import read_foreign
from ganpress.losses import terms as losses
from ganpress.models.checkpoint import Model, load, save
from ganpress.models.families.stylegan2 import STYLEGAN2, StyleGAN2
from ganpress.nn.axes import widths
from ganpress.nn.discriminators import build_discriminator
from ganpress.nn.layers import convolutions
from ganpress.nn.modulated import EqualLinear, ModulatedConv
from ganpress.types import State

interop = pytest.mark.shared_interop
OPTIONS = {"size": 16, "style_dim": 8, "n_mlp": 2}
TINY = {"const": 5, "conv4": 7, "up8": 11, "conv8": 13, "up16": 3, "conv16": 17}


def tiny(seed: int = 0, **changed: int) -> StyleGAN2:
    """A tiny generator whose every tensor has an effect."""
    torch.manual_seed(seed)
    net = STYLEGAN2.build({**TINY, **changed}, **OPTIONS)
    assert isinstance(net, StyleGAN2)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith(("bias", "strength")):
                parameter.normal_(0.5 if "affine" in name else 0.0, 0.5)
    return net.eval()


def settled(net: nn.Module) -> Model:
    return Model(net, STYLEGAN2, STYLEGAN2.resolve(OPTIONS), {"source": "test"})


def golden(name: str) -> dict[str, State]:
    parts: dict[str, State] = {"weights": {}, "input": {}, "output": {}}
    path = Path(os.environ["GANPRESS_INTEROP"]) / f"stylegan2_{name}.safetensors"
    with safe_open(path, "pt") as file:
        for key in file.keys():  # noqa: SIM118
            part, _, rest = key.partition("/")
            parts[part][rest] = file.get_tensor(key).clone()
    return parts


def largest(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max())


def imported(weights: State) -> tuple[Model, StyleGAN2]:
    model = assemble(rosinality.plan(weights, source="x"), weights, source="x")
    assert isinstance(model.net, StyleGAN2)
    return model, model.net


# --- rosinality's files ---------------------------------------------------------------------------


@interop
@torch.no_grad()
def test_a_rosinality_generator_makes_upstreams_pictures_in_every_way() -> None:
    file = golden("generator")
    given, want = file["input"], file["output"]
    model, net = imported(file["weights"])
    w, w2 = net.mapping(given["z"]), net.mapping(given["z2"])
    maps = [given[f"noise_{k}"] for k in range(7)]
    assert largest(w, want["w"]) < 2e-5
    assert largest(model(given["z"]), want["image_z"]) < 2e-5
    assert largest(model(given["z"], *maps), want["image_explicit_noise"]) < 2e-5
    assert largest(net.synthesis(given["wplus"]), want["image_wplus"]) < 2e-5
    assert largest(net.synthesis(net.mix(w, w2, 3)), want["image_mix"]) < 2e-5
    truncated = net.truncate(w, given["mean_latent"], 0.7)
    assert largest(net.synthesis(truncated), want["image_trunc"]) < 2e-5
    for side, picture in zip((4, 8, 16), net.rgbs(w), strict=False):
        assert largest(picture, want[f"rgb_{side}"]) < 2e-5


@interop
def test_a_rosinality_discriminator_gives_upstreams_logits_for_any_batch() -> None:
    file = golden("discriminator")
    plan = rosinality.discriminator_plan(file["weights"], source="x")
    discriminator = assemble_discriminator(plan, file["weights"], source="x")
    x = file["input"]["x"]
    for name, n in {"logits": 8, "logits_first2": 2, "logits_first3": 3}.items():
        assert largest(discriminator.net(x[:n]), file["output"][name]) < 1e-5


@interop
def test_penalties_are_upstreams() -> None:
    said = json.loads((Path(os.environ["GANPRESS_INTEROP"]) / "losses.json").read_text())
    file = golden("discriminator")
    plan = rosinality.discriminator_plan(file["weights"], source="x")
    discriminator = assemble_discriminator(plan, file["weights"], source="x").net
    x = file["input"]["x"].requires_grad_()
    assert losses.r1(discriminator(x), x).item() == pytest.approx(said["r1"]["r1"], rel=1e-5)
    file = golden("generator")
    _, net = imported(file["weights"])
    styles = net.mapping(file["input"]["z"])[:, None].expand(-1, net.styles, -1)
    lengths = losses.path_lengths(net.synthesis(styles), styles, file["input"]["pl_noise"])
    assert lengths.tolist() == pytest.approx(said["path_length"]["path_lengths"], rel=1e-5)


@interop
def test_a_rosinality_file_comes_back_bit_for_bit() -> None:
    weights = golden("generator")["weights"]
    back = rosinality.state_of(imported(weights)[0])
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) for name in weights)
    weights = golden("discriminator")["weights"]
    plan = rosinality.discriminator_plan(weights, source="x")
    back = rosinality.discriminator_state_of(assemble_discriminator(plan, weights, source="x").net)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) for name in weights)


def test_a_pruned_network_keeps_its_picture_through_a_file_that_recomputes_gains() -> None:
    model = settled(tiny())  # far narrower than the full network its gains are of
    _, again = imported(rosinality.state_of(model))
    z = torch.randn(2, 8)
    assert widths(again) == TINY
    assert largest(again(z), model(z)) < 2e-5
    assert float(again.to_rgb[0].modulated.gain) == pytest.approx(1 / math.sqrt(7))


def test_files_that_are_no_whole_generator_are_refused_by_name() -> None:
    state = rosinality.state_of(settled(tiny()))
    without = {n: t for n, t in state.items() if n != "convs.1.conv.modulation.bias"}
    with pytest.raises(CheckpointError, match=r"missing: convs\.1\.conv\.modulation\.bias"):
        imported(without)
    with pytest.raises(CheckpointError, match="two for each resolution"):
        imported({n: t for n, t in state.items() if n != "convs.1.conv.weight"})
    with pytest.raises(CheckpointError, match="no whole StyleGAN2 discriminator"):
        rosinality.discriminator_plan(state, source="x")


def test_a_file_from_before_noise_was_stored_gets_maps_of_zero() -> None:
    state = rosinality.state_of(settled(tiny()))
    _, net = imported({n: t for n, t in state.items() if not n.startswith("noises.")})
    assert not net.get_buffer("noise_3").any()


def test_what_rosinalitys_scripts_put_beside_the_weights_is_no_hindrance(tmp_path: Path) -> None:
    state = rosinality.state_of(settled(tiny()))
    beside = {"g_ema": state, "latent_avg": torch.zeros(8), "args": argparse.Namespace(size=16)}
    torch.save(beside, tmp_path / "550000.pt")
    assert read_foreign(tmp_path / "550000.pt").keys() == state.keys()


def test_the_capacity_of_an_uncut_file_is_recognised() -> None:
    net = STYLEGAN2.build(size=16, style_dim=8, n_mlp=1, most=6, base=64)
    model = Model(net, STYLEGAN2, STYLEGAN2.resolve({"size": 16, "most": 6, "base": 64}))
    again, _ = imported(rosinality.state_of(model))
    assert (again.options["most"], again.options["base"]) == (6, 64)
    assert dict(STYLEGAN2.full(again.options)) == again.widths


# --- widths never leak into the maths -------------------------------------------------------------


@torch.no_grad()
def silenced(net: StyleGAN2, keep: dict[str, Tensor]) -> StyleGAN2:
    """Make every channel that is not kept provably dead: nothing downstream reads it."""
    for layer in convolutions(net).values():
        for d, group in readers(layer).items():
            mask = torch.zeros(layer.weight.shape[d])
            mask[keep[group]] = 1
            shape = [1] * layer.weight.ndim
            shape[d] = -1
            layer.weight.mul_(mask.view(shape))
    return net


def readers(layer: Any) -> dict[int, str]:
    dims = layer._axes["weight"]
    d = 1 - layer.out_dim
    return {d: dims[d][0].group}


def test_cutting_dead_channels_leaves_the_picture_as_it_was() -> None:
    generator = torch.Generator().manual_seed(0)
    options = {"size": 8, "style_dim": 8, "n_mlp": 1}
    torch.manual_seed(0)
    net = STYLEGAN2.build(**options)
    assert isinstance(net, StyleGAN2)
    groups = widths(net)
    assert set(groups.values()) == {512}
    keep = {g: torch.randperm(512, generator=generator)[:154].sort().values for g in groups}
    silenced(net, keep)
    small = shrink(lambda w: STYLEGAN2.build(w, **options), net, keep)
    inputs = net.draw(2, 8, generator)
    assert net(*inputs).abs().max() > 0.5
    assert largest(small(*inputs), net(*inputs)) < 2e-5
    assert isinstance(small, StyleGAN2)
    for layer in small.to_rgb:  # what upstream does: 1.8234 times too large
        layer.modulated.gain.fill_(154**-0.5)
    assert largest(small(*inputs), net(*inputs) * 1.8234) < 1e-3


def test_gains_are_of_the_full_network_and_travel_with_the_file(tmp_path: Path) -> None:
    net = tiny()
    assert float(net.to_rgb[-1].modulated.gain) == pytest.approx(1 / math.sqrt(512))
    net.to_rgb[-1].modulated.gain.fill_(0.125)
    again = load(save(settled(net), tmp_path / "net.safetensors"))
    z = torch.randn(1, 8)
    assert torch.equal(again(z), net(z))
    assert float(again.net.to_rgb[-1].modulated.gain) == 0.125  # type: ignore[index, union-attr]


def test_elastic_widths_equal_the_cut_network() -> None:
    net = tiny()
    build = lambda w: STYLEGAN2.build(w, **OPTIONS)  # noqa: E731
    keep = {"const": 3, "conv4": 4, "up8": 5, "conv16": 9}
    inputs = net.draw(2, 16)
    small = shrink(build, net, keep)
    assert torch.equal(Elastic(net)(keep, *inputs), small(*inputs))


# --- the parts ------------------------------------------------------------------------------------


def test_a_modulated_convolution_is_that_of_modulated_weights() -> None:
    net = tiny()
    w = torch.randn(3, 8)
    for layer in (net.layers[1].modulated, net.layers[2].modulated, net.to_rgb[1].modulated):
        assert isinstance(layer, ModulatedConv)
        x = torch.randn(3, layer.affine.weight.shape[0], 4, 4)
        y, norm = layer(x, w)
        want = torch.cat([plainly(layer, x[k : k + 1], w[k : k + 1]) for k in range(3)])
        assert largest(y * norm if norm is not None else y, want) < 1e-5


def plainly(layer: ModulatedConv, x: Tensor, w: Tensor) -> Tensor:
    """The paper's eq. 1 to 3: scale the weights, normalise them, convolve."""
    weight = layer.conv.weight
    weight = weight.transpose(0, 1) if layer.up else weight
    scaled = layer.gain * weight * layer.affine(w)[0][None, :, None, None]
    if layer.demodulate:
        scaled = scaled / (scaled.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
    if not layer.up:
        return F.conv2d(x, scaled, padding=scaled.shape[-1] // 2)
    y = F.conv_transpose2d(x, scaled.transpose(0, 1), stride=2)
    row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    kernel = torch.outer(row, row).expand(y.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(y, (1, 1, 1, 1)), kernel, groups=y.shape[1])


def test_styles_mix_truncate_and_spread() -> None:
    net = tiny()
    a, b = torch.randn(2, 8), torch.randn(2, 8)
    mixed = net.mix(a, b, 2)
    assert mixed.shape == (2, net.styles, 8)
    assert torch.equal(mixed[:, :2], a[:, None].expand(-1, 2, -1))
    assert torch.equal(mixed[:, 2:], b[:, None].expand(-1, 4, -1))
    assert torch.equal(net.synthesis(net.mix(a, b, net.styles)), net.synthesis(a))
    mean = net.mean_w(64)
    assert torch.equal(net.truncate(a, mean, 0.0), mean.expand(2, -1))
    assert largest(net.truncate(a, mean, 1.0), a) < 1e-6


def test_stored_noise_makes_pictures_repeatable_and_given_noise_changes_them() -> None:
    net = tiny()
    z, *maps = net.draw(2, 16, torch.Generator().manual_seed(1))
    assert net.reads == ("z", *(f"noise_{k}" for k in range(5)))
    assert torch.equal(net(z), net(z))
    assert largest(net(z, *maps), net(z)) > 1e-3
    same = [m[:1] for m in maps]
    assert torch.equal(net(z, *same), net(z, *(m[:1].expand(2, -1, -1, -1) for m in maps)))
    assert [m.shape for m in net.noise(3)] == [(3, *m.shape[1:]) for m in maps]
    with pytest.raises(ConfigError, match="5 noise maps or none, not 2"):
        net(z, *maps[:2])


def test_the_full_networks_have_the_papers_size() -> None:
    for size, golden_macs in ((256, 45_124_673_536), (1024, 74_266_894_336)):
        with torch.device("meta"):
            net = STYLEGAN2.build(size=size)
        assert isinstance(net, StyleGAN2)
        linear = sum(m.weight.numel() for m in net.modules() if isinstance(m, EqualLinear))
        assert convolution_macs(net) + linear == golden_macs  # their count has the linear layers
        if size == 256:
            assert sum(p.numel() for p in net.parameters()) == 30_034_338
    full = STYLEGAN2.full(STYLEGAN2.resolve({"size": 256}))
    assert list(full.values()) == [512] * 10 + [256] * 2 + [128] * 2


def convolution_macs(net: StyleGAN2) -> int:
    """Weights times positions, a transposed convolution's at its input."""
    found = 0
    for layer, side in zip(net.layers, net.sides, strict=True):
        at = side // 2 if layer.modulated.up else side
        found += layer.modulated.conv.weight.numel() * at**2
    for k, layer in enumerate(net.to_rgb):
        found += layer.modulated.conv.weight.numel() * (4 * 2**k) ** 2
    return found


def test_sizes_and_discriminators_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="power of two from 8 to 1024"):
        STYLEGAN2.build(size=96)
    with pytest.raises(ConfigError, match="one width for each of 4, 8, 16 pixels"):
        build_discriminator("stylegan2", size=16, channels=[8, 8])
