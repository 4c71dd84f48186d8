"""A file in the layout of the paper's release, {g, g_ema, d} with pruned widths: in, and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cli_runs import run_cli
from interop_files import largest, reference
from nets import WIRINGS
from upstream_classes import build

from ganpress.formats.importers import stylegan2 as rosinality
from ganpress.measures.target import TargetSettings
from ganpress.methods.content_aware.cut import cut, pruned
from ganpress.methods.content_aware.score_settings import CutSettings
from ganpress.models.checkpoint import Model, load, save
from ganpress.models.discriminator import Discriminator
from ganpress.models.families.stylegan2 import StyleGAN2
from ganpress.nn.discriminators import build_discriminator
from ganpress.types import State

SIDES = {"size": 32, "channels": [6, 5, 4, 4]}


def discriminator() -> Discriminator:
    torch.manual_seed(5)
    return Discriminator(build_discriminator("stylegan2", **SIDES), "stylegan2", dict(SIDES))


def released(path: Path) -> State:
    """The authors' pruned weights, as their prune.py writes them."""
    other = reference("content_aware").other
    weights = {
        n.removeprefix("pruned_weights/"): t
        for n, t in other.items()
        if n.startswith("pruned_weights/")
    }
    d = rosinality.discriminator_state_of(discriminator().net)
    torch.save({"g": weights, "g_ema": weights, "d": d}, path)
    return weights


@pytest.mark.shared_interop
@torch.no_grad()
def test_a_pruned_release_is_imported_run_and_goes_back_bit_for_bit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, ours, back = (tmp_path / n for n in ("pruned.pth", "pruned.safetensors", "back.pth"))
    weights = released(path)
    assert run_cli(capsys, "import", "stylegan2", path, "-o", ours).code == 0
    model, given = load(ours), reference("content_aware")
    assert isinstance(model.net, StyleGAN2)
    assert list(model.widths.values()) == [6, 6, 6, 6, 4, 4, 3, 3]
    maps = [given.input[f"noise_{k}"] for k in range(7)]
    picture = model.net.synthesis(given.input["w"], *maps)
    assert largest(picture, given.output["image_pruned_upstream"]) < 5e-5
    assert model.discriminator is not None
    assert model.discriminator.kind == "stylegan2"
    told = run_cli(capsys, "export", ours, "-o", back, "--to", "pth-rosinality")
    assert told.code == 0, told.err
    held = torch.load(back, weights_only=True)
    assert held.keys() == {"g", "g_ema", "d"}
    for name, tensor in weights.items():
        assert torch.equal(held["g_ema"][name], tensor), name
        assert torch.equal(held["g"][name], tensor), name
    want = rosinality.discriminator_state_of(discriminator().net)
    assert held["d"].keys() == want.keys()
    assert all(torch.equal(held["d"][name], tensor) for name, tensor in want.items())


@torch.no_grad()
def test_a_cut_of_ours_makes_our_picture_in_upstreams_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wiring = WIRINGS["stylegan2"]
    whole = wiring.model()
    scores = {g: torch.rand(w) for g, w in whole.widths.items()}
    small = pruned(whole, cut(scores, CutSettings(ratio=0.7), TargetSettings()))
    ours, theirs = save(small, tmp_path / "small.safetensors"), tmp_path / "small.pth"
    told = run_cli(capsys, "export", ours, "-o", theirs, "--to", "pth-rosinality")
    assert told.code == 0, told.err
    call = upstream_call(small)
    held = torch.load(theirs, weights_only=True)
    assert held.keys() == {"g", "g_ema"}
    net = build(call)
    net.load_state_dict(held["g_ema"], strict=True)
    inputs = wiring.inputs(2)
    assert largest(net(*inputs), small(*inputs)) < 5e-5
    assert str(list(small.widths.values())) in call


def upstream_call(model: Model) -> str:
    o = model.options
    shape = list(model.widths.values())
    return (
        f"Generator({o['size']}, {o['style_dim']}, {o['n_mlp']}, generator_net_shape={shape}, "
        f"lr_mlp={o['lr_mlp']}) of lychenyoko/content-aware-gan-compression"
    )
