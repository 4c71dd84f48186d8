"""The U-Net of pix2pix: upstream's picture, its sizes, and cutting through the skip connections."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import difference, photos, random_counts, random_indices, randomise
from safetensors import safe_open
from torch import Tensor, nn

from ganpress.channels.silence import extract, survivors
from ganpress.channels.take import Elastic, shrink
from ganpress.errors import CheckpointError, ConfigError
from ganpress.formats.importers import pix2pix
from ganpress.formats.importers.fitting import assemble
from ganpress.models.families import FAMILIES
from ganpress.nn.axes import widths
from ganpress.nn.layers import add_gates
from ganpress.types import State

FAMILY = FAMILIES["pix2pix"]
SMALL = {"enc0": 5, "enc1": 7, "enc2": 11, "enc3": 13, "enc4": 17}
SMALL |= {"dec3": 19, "dec2": 23, "dec1": 3, "dec0": 29}
every_norm = pytest.mark.parametrize(
    "options", [{}, {"norm": "instance"}, {"norm": "instance", "affine": True}], ids=str
)


def build(options: dict[str, Any]) -> Any:
    return lambda widths: FAMILY.build(widths, downs=5, **options)


def net(options: dict[str, Any], *, gates: bool = False) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = build(options)(SMALL)
    if gates:
        add_gates(made)
    return randomise(made).eval()


def reference() -> tuple[State, State]:
    path = Path(os.environ["GANPRESS_INTEROP"]) / "unet_generator_pix2pix.safetensors"
    with safe_open(path, "pt") as file:
        held = {k: file.get_tensor(k).clone() for k in file.keys()}  # noqa: SIM118
    weights = {k.removeprefix("weights/"): t for k, t in held.items() if k.startswith("weights/")}
    return weights, held


@pytest.mark.shared_interop
def test_an_imported_unet_makes_upstreams_picture() -> None:
    weights, held = reference()
    model = assemble(pix2pix.plan(weights, source="x", config=None), weights, source="x")
    known = {"downs": 7, "norm": "batch", "affine": False, "dropout": False}
    usual = {"leaky_skips": False, "upsampling": "deconv", "in_channels": 3, "out_channels": 3}
    usual["biased"] = False
    assert model.options == {**known, **usual}
    assert difference(model(held["input/x"]), held["output/y"]) < 2e-5


@pytest.mark.shared_interop
@pytest.mark.parametrize("gone", ["model.model.3.bias", "model.model.1.model.6.weight"])
def test_a_damaged_file_is_refused_by_its_own_names(gone: str) -> None:
    weights, _ = reference()
    left = {n: t for n, t in weights.items() if n != gone}
    with pytest.raises(CheckpointError, match=f"1 missing: {gone}"):
        assemble(pix2pix.plan(left, source="x", config=None), left, source="x")


@pytest.mark.parametrize(("downs", "params"), [(8, 54_413_955), (7, 41_828_995)])
def test_full_networks_have_upstreams_size(downs: int, params: int) -> None:
    with torch.device("meta"):
        made = FAMILY.build(downs=downs)
    biases = sum(  # upstream has none before BatchNorm
        p.numel() for n, p in made.named_parameters() if n.endswith("conv.bias")
    )
    assert sum(p.numel() for p in made.parameters()) - biases + 3 == params
    assert set(FAMILY.taps(FAMILY.resolve({"downs": downs}))) <= dict(made.named_modules()).keys()


@every_norm
def test_any_channels_can_be_cut_and_run_in_place(options: dict[str, Any]) -> None:
    whole, x = net(options), photos()
    keep = random_indices(whole, 3)
    small = shrink(build(options), whole, keep)
    elastic = Elastic(whole)
    assert torch.equal(small(x), elastic(keep, x))
    counts = random_counts(whole, 4)
    assert widths(shrink(build(options), whole, counts)) == counts


@pytest.mark.parametrize("options", [{}, {"norm": "instance", "affine": True}], ids=str)
def test_channels_without_scale_and_shift_are_cut_exactly(options: dict[str, Any]) -> None:
    whole, x = net(options, gates=True), photos()
    for name, tensor in whole.named_parameters():
        if name.endswith(("gate", "norm.weight", "norm.bias")):
            with torch.no_grad():
                tensor[1] = 0
    before = whole(x)
    small = extract(build(options), whole, survivors(whole), x)
    assert widths(small) == {g: w - 1 for g, w in SMALL.items()}
    assert difference(small(x), before) <= 1e-5


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    made = FAMILY.build(dict.fromkeys(FAMILY.full(FAMILY.resolve({"downs": 7})), 3),
                        downs=7, dropout=True)  # fmt: skip
    assert sum(isinstance(m, nn.Dropout) for m in made.modules()) == 2
    x = photos(1, size=128)
    assert torch.equal(made.eval()(x), made(x))
    made.train()
    assert not torch.equal(made(x), made(x))


def test_a_unet_halves_at_least_twice() -> None:
    with pytest.raises(ConfigError, match="twice"):
        FAMILY.build(downs=1)


def test_resizing_doubles_by_nearest_neighbours_before_a_convolution() -> None:
    net = FAMILY.build({"enc0": 3, "enc1": 4, "dec0": 5}, downs=2, norm="none", upsampling="resize")
    x = torch.randn(1, 3, 16, 16)
    first = F.leaky_relu(F.conv2d(x, *of(net.downs[0].conv), stride=2, padding=1), 0.2)
    least = F.relu(F.conv2d(first, *of(net.downs[1].conv), stride=2, padding=1))
    larger = F.conv2d(doubled(least), *of(net.ups[0].conv), padding=1)
    both = torch.cat([first, larger], 1).relu()
    wanted = F.conv2d(doubled(both), *of(net.out.conv), padding=1).tanh()
    assert torch.allclose(net(x), wanted, atol=1e-6)


def test_an_unknown_upsampling_is_refused_with_the_nearest() -> None:
    refused = r"'upsampling' is .* 'resise' \(did you mean 'resize'\?\)"
    with pytest.raises(ConfigError, match=refused):
        FAMILY.build(upsampling="resise")


def doubled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def of(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    return layer.weight, layer.bias
