"""LPIPS against its formula on VGG-16's bare layers; what is not LPIPS is not called so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from ganpress.errors import WeightsError
from ganpress.losses import lpips
from ganpress.losses.lpips import LPIPS_VGG_HEADS, picture_distance, reduced

WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # torchvision's `features`
ENDS = (1, 3, 6, 9, 12)  # the last convolution of each stage


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VGG-16's shapes with random weights that keep the variance, as torchvision names them."""
    draw, state, inputs = torch.Generator().manual_seed(0), {}, 3
    for index, width in zip(INDICES, WIDTHS, strict=True):
        weight = torch.randn(width, inputs, 3, 3, generator=draw) * (2 / (9 * inputs)) ** 0.5
        state[f"features.{index}.weight"] = weight
        state[f"features.{index}.bias"] = 0.1 * torch.randn(width, generator=draw)
        inputs = width
    path = tmp_path_factory.mktemp("vgg") / "random-vgg16.safetensors"
    save_file(state, path)
    return path


def by_hand(x: Tensor, y: Tensor, vgg: dict[str, Tensor], heads: dict[str, Tensor]) -> Tensor:
    """Zhang et al., eq. 1, with their scaling layer, (n,)."""
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
    total = torch.zeros(len(x))
    a, b = ((p - shift) / scale for p in (x, y))
    for k, index in enumerate(INDICES):
        if k - 1 in ENDS:
            a, b = F.max_pool2d(a, 2), F.max_pool2d(b, 2)
        weight, bias = (vgg[f"features.{index}.{part}"] for part in ("weight", "bias"))
        a, b = (F.conv2d(p, weight, bias, padding=1).relu() for p in (a, b))
        if k in ENDS:
            u, v = (p / (p.square().sum(1, keepdim=True).sqrt() + 1e-10) for p in (a, b))
            head = heads[f"lin{ENDS.index(k)}.model.1.weight"]
            total = total + F.conv2d((u - v) ** 2, head).mean((1, 2, 3))
    return total


@pytest.mark.shared_weights
def test_lpips_is_its_formula_with_the_published_heads(
    vgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    found = lpips.find_weights
    monkeypatch.setattr(
        lpips,
        "find_weights",
        lambda entry, given=None: vgg if entry is lpips.VGG16 else found(entry, given=given),
    )
    distance = picture_distance("vgg16")
    assert distance.name == "lpips-vgg16-v0.1" and distance.is_lpips
    draw = torch.Generator().manual_seed(1)
    x, y = (torch.rand(2, 3, 32, 32, generator=draw) * 2 - 1 for _ in range(2))
    x.requires_grad_()
    path = Path(os.environ["GANPRESS_WEIGHTS"]) / "lpips_heads_v0.1" / "vgg.pth"
    heads = torch.load(path, map_location="cpu", weights_only=True)
    wanted = by_hand(x, y, load_file(vgg), heads)
    made = distance(x, y)
    torch.testing.assert_close(made, wanted, rtol=1e-4, atol=1e-6)
    grads = [torch.autograd.grad(of.sum(), x)[0] for of in (made, wanted)]
    torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-5 * float(grads[1].abs().max()))
    assert distance(x, x).abs().max() < 1e-6


def test_weights_that_are_not_the_published_ones_give_no_lpips(vgg: Path) -> None:
    distance = picture_distance("vgg16", vgg)
    assert not distance.is_lpips
    assert distance.name.startswith("vgg16@") and distance.name.endswith("-unit-distance")


def test_another_network_stands_for_lpips_under_its_own_name() -> None:
    distance = picture_distance("tiny")
    assert (distance.name, distance.is_lpips) == ("tiny-unit-distance", False)
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    assert distance(x, x).tolist() == [0, 0]
    assert (distance(x, -x) > 0).all() and distance(x, -x).shape == (2,)


def test_without_vgg_the_way_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(entry: object, to: object) -> Path:
        raise WeightsError(f"offline. {lpips.VGG16.instead}")

    monkeypatch.setenv("GANPRESS_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("ganpress.losses.weights.download", away)
    with pytest.raises(WeightsError, match=r"distance\.features=squeezenet"):
        picture_distance("vgg16")
    assert LPIPS_VGG_HEADS.sha256 and len(LPIPS_VGG_HEADS.sha256) == 64


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((256, 256), (256, 256)), ((1024, 1024), (256, 256)), ((300, 600), (256, 512))],
)
def test_large_pictures_are_compared_at_256_pixels(
    shape: tuple[int, int], wanted: tuple[int, int]
) -> None:
    x = torch.arange(float(shape[0] * shape[1])).view(1, 1, *shape)
    small = reduced(x)
    assert small.shape[2:] == wanted
    if shape == (1024, 1024):  # each takes the mean of the middle four of its sixteen
        assert small[0, 0, 0, 0] == x[0, 0, 1:3, 1:3].mean()


def test_the_distance_of_large_pictures_is_that_of_their_reductions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    distance = picture_distance("tiny")
    x, y = (torch.rand(1, 3, 384, 384) * 2 - 1 for _ in range(2))
    assert distance(x, y) == distance(reduced(x), reduced(y)) != distance(reduced(x), reduced(x))
