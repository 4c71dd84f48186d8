"""DRN-D, DeepLabV2 and the small U-Net against plain forwards and published numbers."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from segmenter_files import random_state
from torch import Tensor

from ganpress.losses.deeplab import DeepLabV2
from ganpress.losses.drn import DRNSegmenter, bilinear_kernel
from ganpress.losses.unet import UNet

State = Mapping[str, Tensor]
NARROW = (2, 3, 4, 5, 6, 7, 5, 3)


def filled(net: torch.nn.Module) -> dict[str, Tensor]:
    """Random weights in double precision, so that a hundred layers round nothing away."""
    net.double()
    state = {name: tensor.double() for name, tensor in random_state(net).items()}
    net.load_state_dict(state, strict=False)
    net.eval()
    return state


def norm(s: State, at: str, x: Tensor) -> Tensor:
    mean, var, weight, bias = (
        s[f"{at}.{n}"][:, None, None] for n in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def conv(s: State, at: str, x: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    weight = s[f"{at}.weight"]
    return F.conv2d(
        x, weight, s.get(f"{at}.bias"), stride, dilation * (weight.shape[-1] // 2), dilation
    )


def drn_block(s: State, at: str, x: Tensor, stride: int, dilation: int) -> Tensor:
    if f"{at}.conv3.weight" in s:  # bottleneck: the 3x3 has the stride and the dilation
        y = norm(s, f"{at}.bn1", conv(s, f"{at}.conv1", x)).relu()
        y = norm(s, f"{at}.bn2", conv(s, f"{at}.conv2", y, stride, dilation)).relu()
        y = norm(s, f"{at}.bn3", conv(s, f"{at}.conv3", y))
    else:
        y = norm(s, f"{at}.bn1", conv(s, f"{at}.conv1", x, stride, dilation)).relu()
        y = norm(s, f"{at}.bn2", conv(s, f"{at}.conv2", y, 1, dilation))
    if f"{at}.downsample.0.weight" in s:
        x = norm(s, f"{at}.downsample.1", conv(s, f"{at}.downsample.0", x, stride))
    return (y + x).relu()


def plain_drn(s: State, blocks: tuple[int, ...], x: Tensor) -> Tensor:
    """DRN-D: 7x7, a level of plain layers, one of stride 2, blocks of stride 2, 2 and of dilation
    2, 4, plain layers of dilation 2 and 1, classifier, bilinear up."""
    x = norm(s, "base.0.1", conv(s, "base.0.0", x)).relu()
    x = norm(s, "base.1.1", conv(s, "base.1.0", x)).relu()
    x = norm(s, "base.2.1", conv(s, "base.2.0", x, stride=2)).relu()
    levels = ((3, 2, 1), (4, 2, 1), (5, 1, 2), (6, 1, 4))
    for (level, stride, dilation), count in zip(levels, blocks, strict=True):
        for index in range(count):
            x = drn_block(s, f"base.{level}.{index}", x, stride if index == 0 else 1, dilation)
    x = norm(s, "base.7.1", conv(s, "base.7.0", x, dilation=2)).relu()
    x = norm(s, "base.8.1", conv(s, "base.8.0", x)).relu()
    x = conv(s, "seg", x)
    return F.conv_transpose2d(x, s["up.weight"], stride=8, padding=4, groups=x.shape[1])


@pytest.mark.parametrize(("depth", "blocks"), [(22, (2, 2, 2, 2)), (54, (3, 4, 6, 3))])
def test_a_narrow_drn_is_the_papers(depth: int, blocks: tuple[int, ...]) -> None:
    net = DRNSegmenter(4, depth, NARROW)
    state = filled(net)
    x = torch.randn(2, 3, 40, 32, generator=torch.Generator().manual_seed(1)).double()
    got = net(x)
    assert got.shape == (2, 4, 40, 32)
    torch.testing.assert_close(got, plain_drn(state, blocks, x))


@pytest.mark.parametrize(("depth", "millions"), [(22, 16.4), (38, 26.5), (54, 35.8), (105, 54.8)])
def test_drns_have_as_many_parameters_as_published(depth: int, millions: float) -> None:
    """The README of fyu/drn counts the classifiers of ImageNet: 1000 classes, no upsampling."""
    with torch.device("meta"):
        net = DRNSegmenter(1000, depth)
    count = sum(p.numel() for p in net.parameters()) - net.up.weight.numel()
    assert round(count / 1e6, 1) == millions


def test_the_full_drn_has_the_published_files_keys() -> None:
    with torch.device("meta"):
        state = DRNSegmenter(19).state_dict()
    found = {n: tuple(t.shape) for n, t in state.items() if not n.endswith("batches_tracked")}
    bn = ("weight", "bias", "running_mean", "running_var")
    want: dict[str, tuple[int, ...]] = {"base.0.0.weight": (16, 3, 7, 7)}
    want |= {f"base.0.1.{n}": (16,) for n in bn}
    for level, i, o in ((1, 16, 16), (2, 16, 32), (7, 2048, 512), (8, 512, 512)):
        want[f"base.{level}.0.weight"] = (o, i, 3, 3)
        want |= {f"base.{level}.1.{n}": (o,) for n in bn}
    i = 32
    for level, count, w in ((3, 3, 64), (4, 4, 128), (5, 23, 256), (6, 3, 512)):
        for b in range(count):
            at = f"base.{level}.{b}"
            shapes = {"1": (w, i, 1, 1), "2": (w, w, 3, 3), "3": (4 * w, w, 1, 1)}
            for k, shape in shapes.items():
                want[f"{at}.conv{k}.weight"] = shape
                want |= {f"{at}.bn{k}.{n}": shape[:1] for n in bn}
            if b == 0:
                want[f"{at}.downsample.0.weight"] = (4 * w, i, 1, 1)
                want |= {f"{at}.downsample.1.{n}": (4 * w,) for n in bn}
            i = 4 * w
    want |= {"seg.weight": (19, 512, 1, 1), "seg.bias": (19,), "up.weight": (19, 1, 16, 16)}
    assert found == want


def test_its_upsampling_is_bilinear() -> None:
    x = torch.randn(1, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    up = F.conv_transpose2d(x, bilinear_kernel(3), stride=8, padding=4, groups=3)
    want = F.interpolate(x, scale_factor=8, mode="bilinear", align_corners=False)
    inside = (..., slice(4, -4), slice(4, -4))  # beyond, the transposed one fades to nought
    torch.testing.assert_close(up[inside], want[inside])
    torch.testing.assert_close(DRNSegmenter(3, 22, NARROW).up.weight, bilinear_kernel(3))


def plain_deeplab_base(
    s: State, blocks: tuple[int, ...], rates: tuple[int, ...], x: Tensor
) -> Tensor:
    at = "base.layer1.conv1"
    x = norm(s, f"{at}.bn", conv(s, f"{at}.conv", x, stride=2)).relu()
    x = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
    strides, dilations = (1, 2, 1, 1), (1, 1, 2, 4)
    for level, count in enumerate(blocks):
        for index in range(count):
            at = f"base.layer{level + 2}.block{index + 1}"
            stride = strides[level] if index == 0 else 1
            y = norm(s, f"{at}.reduce.bn", conv(s, f"{at}.reduce.conv", x, stride)).relu()
            y = conv(s, f"{at}.conv3x3.conv", y, dilation=dilations[level])
            y = norm(s, f"{at}.conv3x3.bn", y).relu()
            y = norm(s, f"{at}.increase.bn", conv(s, f"{at}.increase.conv", y))
            if index == 0:
                x = norm(s, f"{at}.shortcut.bn", conv(s, f"{at}.shortcut.conv", x, stride))
            x = (y + x).relu()
    stages = [conv(s, f"base.aspp.c{i}", x, dilation=rate) for i, rate in enumerate(rates)]
    return torch.stack(stages).sum(0)


def test_a_narrow_deeplab_is_the_maximum_over_scales() -> None:
    blocks, rates = (2, 1, 2, 1), (2, 3, 4, 5)
    net = DeepLabV2(4, blocks, (3, 8, 12, 16, 20), rates)
    s = filled(net)
    x = torch.randn(2, 3, 65, 48, generator=torch.Generator().manual_seed(1)).double()
    whole = plain_deeplab_base(s, blocks, rates, x)
    each = [whole]
    for scale in (0.5, 0.75):
        small = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
        logits = plain_deeplab_base(s, blocks, rates, small)
        each.append(F.interpolate(logits, whole.shape[-2:], mode="bilinear", align_corners=False))
    stacked = torch.stack(each)
    torch.testing.assert_close(net(x), stacked.amax(0))
    assert set(stacked.argmax(0).unique().tolist()) == {0, 1, 2}, "each scale decides somewhere"


def test_the_full_deeplab_has_the_published_files_keys() -> None:
    """As kazuto1011's model prints; ResNet-101's trunk of 42.5 M parameters and four 3x3 heads."""
    with torch.device("meta"):
        state = DeepLabV2(182).state_dict()
    found = {n: tuple(t.shape) for n, t in state.items() if not n.endswith("batches_tracked")}
    bn = ("weight", "bias", "running_mean", "running_var")

    def unit(at: str, *shape: int) -> dict[str, tuple[int, ...]]:
        return {f"{at}.conv.weight": shape} | {f"{at}.bn.{n}": shape[:1] for n in bn}

    want = unit("base.layer1.conv1", 64, 3, 7, 7)
    i = 64
    for level, count, o in ((2, 3, 256), (3, 4, 512), (4, 23, 1024), (5, 3, 2048)):
        for b in range(1, count + 1):
            at = f"base.layer{level}.block{b}"
            want |= unit(f"{at}.reduce", o // 4, i, 1, 1)
            want |= unit(f"{at}.conv3x3", o // 4, o // 4, 3, 3)
            want |= unit(f"{at}.increase", o, o // 4, 1, 1)
            if b == 1:
                want |= unit(f"{at}.shortcut", o, i, 1, 1)
            i = o
    for c in range(4):
        want |= {f"base.aspp.c{c}.weight": (182, 2048, 3, 3), f"base.aspp.c{c}.bias": (182,)}
    assert found == want
    trunk = sum(
        t.numel() for n, t in state.items()
        if ".aspp." not in n and "running" not in n and "tracked" not in n
    )  # fmt: skip
    assert trunk == 44_549_160 - (
        2048 * 1000 + 1000
    )  # torchvision's ResNet-101 less its classifier


def plain_unet(net: UNet, x: Tensor) -> Tensor:
    s = net.state_dict()

    def unit(at: str, y: Tensor, stride: int = 1) -> Tensor:
        return norm(s, f"{at}.1", conv(s, f"{at}.0", y, stride)).relu()

    a = unit("stem", x)
    b = unit("downs.0.1", unit("downs.0.0", a, 2))
    c = unit("downs.1.1", unit("downs.1.0", b, 2))
    up = F.interpolate(unit("narrow.1", c), b.shape[-2:], mode="nearest")
    b = unit("merge.1", torch.cat([up, b], 1))
    up = F.interpolate(unit("narrow.0", b), a.shape[-2:], mode="nearest")
    return conv(s, "head", unit("merge.0", torch.cat([up, a], 1)))


@pytest.mark.parametrize("size", [(16, 12), (13, 9)])
def test_the_u_net_is_a_u_net_of_any_size(size: tuple[int, int]) -> None:
    net = UNet(3, (4, 5, 6))
    filled(net)
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1)).double()
    assert net(x).shape == (2, 3, *size)
    torch.testing.assert_close(net(x), plain_unet(net, x))
