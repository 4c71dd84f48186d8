"""Generators given back to their code bases have the tensors that came from there, name by name."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import CARTOONGAN, CYCLEGAN, difference, photos, randomise
from safetensors import safe_open
from torch import Tensor

from ganpress.errors import CheckpointError, ConfigError
from ganpress.formats.importers import cartoongan, cyclegan, gan_compression, patch, pix2pix
from ganpress.formats.importers.fitting import assemble, assemble_discriminator
from ganpress.models.checkpoint import Model
from ganpress.models.families import FAMILIES
from ganpress.types import State

KINDS: dict[str, Any] = {
    "cyclegan": cyclegan,
    "gan-compression": gan_compression,
    "pix2pix": pix2pix,
    "cartoongan": cartoongan,
}
interop = pytest.mark.shared_interop


@cache
def parts(name: str) -> dict[str, State]:
    """A reference file's tensors by their first word: weights, input, output."""
    found: dict[str, State] = {}
    path = Path(os.environ["GANPRESS_INTEROP"]) / f"{name}.safetensors"
    with safe_open(path, "pt") as file:
        for key in file.keys():  # noqa: SIM118
            part, _, rest = key.partition("/")
            found.setdefault(part, {})[rest] = file.get_tensor(key).clone()
    return found


def imported(kind: str, state: State, **options: Any) -> Model:
    return assemble(KINDS[kind].plan(state, source="x", config=None, **options), state, source="x")


def exported(kind: str, model: Model) -> State:
    state_of: Callable[[Model], State] = KINDS[kind].state_of
    return state_of(model)


def assert_equal(found: State, wanted: State) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor.reshape(found[name].shape)), name
        assert found[name].dtype == tensor.dtype, name


@interop
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("resnet_generator_cyclegan", "cyclegan"),
        ("gs_quantised_resnet", "cyclegan"),
        ("gs_quantised_resnet_shallow", "cyclegan"),
        ("gs_extract_subnet", "cyclegan"),
        ("gancompression_resnet", "gan-compression"),
        ("gancompression_mobile_resnet", "gan-compression"),
        ("gancompression_sub_mobile_resnet", "gan-compression"),
        ("gancompression_supernet", "gan-compression"),
        ("unet_generator_pix2pix", "pix2pix"),
    ],
)
def test_a_file_is_given_back_tensor_by_tensor(name: str, kind: str) -> None:
    state = parts(name)["weights"]
    assert_equal(exported(kind, imported(kind, state)), state)


@interop
def test_statistics_that_mean_nothing_are_not_given_back() -> None:
    state = parts("resnet_generator_cyclegan_legacy")["weights"]
    left = {n: t for n, t in state.items() if "running" not in n and "num_batches" not in n}
    assert_equal(exported("cyclegan", imported("cyclegan", state)), left)


@pytest.mark.shared_weights
def test_the_hayao_file_is_given_back_in_bgr() -> None:
    path = Path(os.environ["GANPRESS_WEIGHTS"]) / "cartoongan_hayao/hayao_fp16.pth"
    state = {n: t.float() for n, t in torch.load(path, weights_only=True).items()}
    assert_equal(exported("cartoongan", imported("cartoongan", state)), state)


NETS = {
    "cyclegan": ("cyclegan", "cyclegan", {"blocks": 2}),
    "cyclegan affine": ("cyclegan", "cyclegan", {"blocks": 2, "affine": True}),
    "cyclegan batch": ("cyclegan", "cyclegan", {"blocks": 2, "norm": "batch"}),
    "gc batch": ("gan-compression", "cyclegan", {"blocks": 2, "norm": "batch"}),
    "gc separable": ("gan-compression", "cyclegan", {"blocks": 2, "separable": True}),
    "gc separable batch": (
        "gan-compression",
        "cyclegan",
        {"blocks": 2, "separable": True, "norm": "batch"},
    ),
    "pix2pix batch": ("pix2pix", "pix2pix", {"downs": 5}),
    "pix2pix instance": ("pix2pix", "pix2pix", {"downs": 5, "norm": "instance"}),
    "pix2pix affine": ("pix2pix", "pix2pix", {"downs": 3, "norm": "instance", "affine": True}),
    "pix2pix two": ("pix2pix", "pix2pix", {"downs": 2}),
    "cartoongan": ("cartoongan", "cartoongan", {"blocks": 2}),
}


def tiny(family: str, options: dict[str, Any], **widths: int) -> Model:
    """A model of uneven widths with random weights, scales, shifts and statistics."""
    which = FAMILIES[family]
    small = {"cyclegan": CYCLEGAN, "cartoongan": CARTOONGAN}.get(family, {})
    settled = which.resolve(options)
    named = {g: small.get(g, 3 + i) for i, g in enumerate(which.full(settled))} | widths
    torch.manual_seed(0)
    return Model(randomise(which.build(named, **settled)).eval(), which, settled)


@pytest.mark.parametrize(("kind", "family", "options"), NETS.values(), ids=NETS.keys())
def test_a_network_of_ours_comes_back_with_the_same_picture(
    kind: str, family: str, options: dict[str, Any]
) -> None:
    model = tiny(family, options)
    back = imported(kind, exported(kind, model))
    assert back.widths == model.widths
    assert {**back.options, "clamp": False} == {**model.options, "clamp": False}
    assert difference(back(photos()), model(photos())) < 1e-5


@pytest.mark.parametrize("name", ["cyclegan batch", "gc separable batch", "pix2pix batch"])
def test_under_batchnorm_upstream_has_no_biases_that_a_norm_follows(name: str) -> None:
    kind, family, options = NETS[name]
    state = exported(kind, tiny(family, options))
    outer = {"cyclegan": ("model.1.bias", "model.4.bias"), "pix2pix": ("model.model.0.bias",)}
    assert not set(outer[family]) & state.keys()
    assert all(f"{n.removesuffix('running_mean')}weight" in state for n in state if "mean" in n)


@pytest.mark.parametrize("affine", [True, False])
def test_an_emptied_block_becomes_one_that_adds_as_much(affine: bool) -> None:
    model = tiny("cyclegan", {"blocks": 2, "affine": affine}, block0=0)
    back = imported("cyclegan", exported("cyclegan", model))
    assert back.widths == {**model.widths, "block0": 1}
    assert difference(back(photos()), model(photos())) < 1e-5


@pytest.mark.parametrize(
    ("kind", "family", "options", "widths", "said"),
    [
        ("cyclegan", "cyclegan", {"blocks": 2, "separable": True}, {}, r"\(separable=True\)"),
        ("cartoongan", "cartoongan", {"blocks": 2, "norm": "batch"}, {}, "'norm': 'batch'"),
        ("cartoongan", "cartoongan", {"blocks": 2}, {"block1": 0}, "lost block1"),
    ],
)
def test_what_a_code_base_does_not_have_is_refused(
    kind: str, family: str, options: dict[str, Any], widths: dict[str, int], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        exported(kind, tiny(family, options, **widths))


@interop
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_an_imported_patch_discriminator_gives_upstreams_logits(norm: str) -> None:
    file = parts(f"patch_discriminator_{norm}")
    plan = patch.discriminator_plan(file["weights"], source="x")
    assert plan.options == {"inputs": 3, "width": 8, "layers": 3, "norm": norm}
    discriminator = assemble_discriminator(plan, file["weights"], source="x")
    x: Tensor = file["input"]["x"]
    assert difference(discriminator.net(x), file["output"]["logits"]) < 2e-5
    training = copy.deepcopy(discriminator.net).train()
    assert difference(training(x), file["output"]["logits_train_mode"]) < 2e-5
    assert_equal(discriminator.net.state_dict(), file["weights"])


@interop
def test_a_pixel_discriminator_is_refused_by_name() -> None:
    state = {f"net.{i}.weight": torch.zeros(4, 3, 1, 1) for i in (0, 2, 5)}
    with pytest.raises(CheckpointError, match=r"model\.0\.weight"):
        patch.discriminator_plan(state, source="x")
