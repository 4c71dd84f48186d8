"""Upstream's generator classes in plain torch: their constructors, names of tensors and functions.

Written from the papers and the layouts, to see whether a strict `load_state_dict` takes a file and
makes the same picture. `build` makes the class of a call as the exporter writes it out.
"""

from __future__ import annotations

import functools
import math
import re
import shlex
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def has_bias(norm_layer: Any) -> bool:
    kind = norm_layer.func if isinstance(norm_layer, functools.partial) else norm_layer
    return bool(kind is nn.InstanceNorm2d)


class Separable(nn.Module):
    """mit-han-lab's SeparableConv2d."""

    def __init__(self, i: int, o: int, kernel: int, *, padding: int = 0, norm: bool = True) -> None:
        super().__init__()
        middle = nn.InstanceNorm2d(i) if norm else nn.Identity()
        deep = nn.Conv2d(i, i, kernel, padding=padding, groups=i)
        self.conv = nn.Sequential(deep, middle, nn.Conv2d(i, o, 1))

    def forward(self, x: Tensor) -> Any:
        return self.conv(x)


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Any:
        return x + self.conv_block(x)


class Resnet(nn.Module):
    """The wiring that all ResNets share; ``w``: stem, down1, trunk, inner widths, up1, up2."""

    def __init__(
        self,
        channels: tuple[int, int],
        w: Sequence[int],
        norms: Any,
        *,
        bias: bool = True,
        dropout: bool = False,
        separable: bool = False,
    ) -> None:
        super().__init__()
        s, d, t, *inner, u, v = w
        n1, n2, n3, first, second, n4, n5 = norms
        up: dict[str, Any] = {"stride": 2, "padding": 1, "output_padding": 1, "bias": bias}

        def block(m: int) -> Residual:
            def conv(i: int, o: int) -> nn.Module:
                return Separable(i, o, 3) if separable else nn.Conv2d(i, o, 3, bias=bias)

            return Residual(
                *(nn.ReflectionPad2d(1), conv(t, m), first(m), nn.ReLU()),
                *([nn.Dropout(0.0)] if dropout else []),
                *(nn.ReflectionPad2d(1), conv(m, t), second(t, m)),
            )

        self.model = nn.Sequential(
            *(nn.ReflectionPad2d(3), nn.Conv2d(channels[0], s, 7, bias=bias), n1(s), nn.ReLU()),
            *(nn.Conv2d(s, d, 3, 2, 1, bias=bias), n2(s, d), nn.ReLU()),
            *(nn.Conv2d(d, t, 3, 2, 1, bias=bias), n3(d, t), nn.ReLU()),
            *(block(m) for m in inner),
            *(nn.ConvTranspose2d(t, u, 3, **up), n4(t, u), nn.ReLU()),
            *(nn.ConvTranspose2d(u, v, 3, **up), n5(u, v), nn.ReLU()),
            *(nn.ReflectionPad2d(3), nn.Conv2d(v, channels[1], 7), nn.Tanh()),
        )

    def forward(self, x: Tensor) -> Any:
        return self.model(x)


def resnet(i: int, o: int, ngf: int, norm_layer: Any, n_blocks: int, **how: Any) -> Resnet:
    """junyanz's ResnetGenerator, GAN Compression's and its mobile one."""
    w = [ngf, 2 * ngf, 4 * ngf, *[4 * ngf] * n_blocks, 2 * ngf, ngf]

    def last(*widths: int) -> Any:
        return norm_layer(widths[-1])

    def outer(trunk: int, inner: int) -> Any:
        return norm_layer(trunk)

    norms = (norm_layer, last, last, norm_layer, outer, last, last)
    return Resnet((i, o), w, norms, bias=has_bias(norm_layer), **how)


def sub_mobile(i: int, o: int, config: Any, norm_layer: Any, n_blocks: int) -> Resnet:
    """SubMobileResnetGenerator, whose norms are made with widths of other layers."""
    c = config["channels"]
    inner = [4 * c[3 + (b // 3 if len(c) == 8 else 0)] for b in range(n_blocks)]
    w = [c[0], 2 * c[1], 4 * c[2], *inner, 2 * c[-2], c[-1]]
    norms = (
        norm_layer,
        lambda before, own: norm_layer(2 * before),
        lambda before, own: norm_layer(2 * before),
        norm_layer,
        lambda trunk, mid: norm_layer(mid),
        lambda before, own: norm_layer(before // 2),
        lambda before, own: norm_layer(before // 2),
    )
    return Resnet((i, o), w, norms, bias=has_bias(norm_layer), dropout=True, separable=True)


def gan_slimming(i: int, o: int, n_residual_blocks: int, dim_lst: list[int]) -> Resnet:
    """GAN Slimming's Generator at alpha 1: a trunk of 256 without scales."""
    assert len(dim_lst) == 4 + n_residual_blocks
    scaled = functools.partial(nn.InstanceNorm2d, affine=True)

    def last(*widths: int) -> Any:
        return scaled(widths[-1])

    def bare(*widths: int) -> Any:
        return nn.InstanceNorm2d(256)

    w = [*dim_lst[:2], 256, *dim_lst[2:]]
    return Resnet((i, o), w, (scaled, last, bare, scaled, bare, last, last))


class UnetBlock(nn.Module):
    """UnetSkipConnectionBlock: what it holds lies in one Sequential."""

    def __init__(
        self, outer: int, inner: int, norm: Any, sub: nn.Module | None, i: int = 0, o: int = 0
    ) -> None:
        super().__init__()
        self.outermost, bias = bool(i), has_bias(norm)
        down = nn.Conv2d(i or outer, inner, 4, 2, 1, bias=bias)
        wide = 2 * inner if sub is not None else inner
        if self.outermost:
            up = nn.ConvTranspose2d(wide, o, 4, 2, 1)
            parts: list[Any] = [down, sub, nn.ReLU(), up, nn.Tanh()]
        else:
            up = nn.ConvTranspose2d(wide, outer, 4, 2, 1, bias=bias)
            before = [nn.LeakyReLU(0.2), down]
            after = [nn.ReLU(), up, norm(outer)]
            middle = [norm(inner), sub] if sub is not None else []
            parts = [*before, *middle, *after]
        self.model = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Any:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class UnetGenerator(nn.Module):
    def __init__(self, i: int, o: int, num_downs: int, ngf: int, norm_layer: Any) -> None:
        super().__init__()
        block: UnetBlock | None = UnetBlock(8 * ngf, 8 * ngf, norm_layer, None)
        for _ in range(num_downs - 5):
            block = UnetBlock(8 * ngf, 8 * ngf, norm_layer, block)
        for k in (4, 2, 1):
            block = UnetBlock(k * ngf, 2 * k * ngf, norm_layer, block)
        self.model = UnetBlock(0, ngf, norm_layer, block, i, o)

    def forward(self, x: Tensor) -> Any:
        return self.model(x)


class Spade(nn.Module):
    def __init__(
        self, full: int, c: int, labels: int, hidden: int, separable: bool, norm: bool
    ) -> None:
        super().__init__()
        self.param_free_norm = nn.BatchNorm2d(full, affine=False)
        self.mlp_shared = nn.Sequential(nn.Conv2d(labels, hidden, 3, padding=1), nn.ReLU())

        def out() -> nn.Module:
            if separable:
                return Separable(hidden, c, 3, padding=1, norm=norm)
            return nn.Conv2d(hidden, c, 3, padding=1)

        self.mlp_gamma, self.mlp_beta, self.c = out(), out(), c

    def forward(self, x: Tensor, labels: Tensor) -> Any:
        n: Any = self.param_free_norm
        plain = F.batch_norm(x, n.running_mean[: self.c], n.running_var[: self.c])
        h = self.mlp_shared(F.interpolate(labels, size=x.shape[2:], mode="nearest"))
        return plain * (1 + self.mlp_gamma(h)) + self.mlp_beta(h)


class SpadeBlock(nn.Module):
    """``f``: full widths of input, middle and output; ``w``: the student's."""

    def __init__(
        self, f: Sequence[int], w: Sequence[int], labels: int, hidden: int, *how: bool
    ) -> None:
        super().__init__()
        (i, mid, o), middle = w, min(f[0], f[2])
        self.norm_0 = Spade(f[0], i, labels, hidden, *how)
        self.conv_0 = nn.Conv2d(i, mid, 3, padding=1)
        self.norm_1 = Spade(middle, mid, labels, hidden, *how)
        self.conv_1 = nn.Conv2d(mid, o, 3, padding=1)
        self.learned = f[0] != f[2]
        if self.learned:
            self.norm_s = Spade(f[0], i, labels, hidden, *how)
            self.conv_s = nn.Conv2d(i, o, 1, bias=False)

    def forward(self, x: Tensor, labels: Tensor) -> Any:
        y = self.conv_0(F.leaky_relu(self.norm_0(x, labels), 0.2))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, labels), 0.2))
        return y + (self.conv_s(self.norm_s(x, labels)) if self.learned else x)


class SpadeGenerator(nn.Module):
    """NVlabs' and GAN Compression's; ``c``: the config of a student, one number for each block."""

    def __init__(self, flags: dict[str, Any], *, hidden: int = 0, separable: bool = False) -> None:
        super().__init__()
        ngf = int(flags["ngf"])
        c = [int(n) for n in flags["config_str"].split("_")] if "config_str" in flags else [ngf] * 9
        labels = int(flags["label_nc"]) + ("contain_dontcare_label" in flags)
        labels += "no_instance" not in flags
        how = (separable, flags.get("separable_conv_norm", "instance") == "instance")
        self.kind = flags["num_upsampling_layers"]
        self.fc = nn.Conv2d(labels, 16 * c[0], 3, padding=1)
        top = 16 * ngf
        for k, name in enumerate(("head_0", "G_middle_0", "G_middle_1"), 1):
            w = (16 * c[0], 16 * c[k], 16 * c[0])
            self.add_module(name, SpadeBlock([top] * 3, w, labels, hidden or 2 * c[k], *how))
        before, full = 16 * c[0], top
        self.ups = ["up_0", "up_1", "up_2", "up_3", *(["up_4"] if self.kind == "most" else [])]
        for k, name in enumerate(self.ups, 4):
            o, half = 16 * c[k] >> (k - 3), full // 2
            w = (before, o, o)
            block = SpadeBlock([full, half, half], w, labels, hidden or 2 * c[k], *how)
            self.add_module(name, block)
            before, full = o, half
        self.conv_img = nn.Conv2d(before, 3, 3, padding=1)

    def forward(self, labels: Tensor) -> Any:
        cell = {"normal": 32, "more": 64, "most": 128}[self.kind]
        grid = [side // cell for side in labels.shape[2:]]
        net: Any = self
        x = self.fc(F.interpolate(labels, size=grid, mode="nearest"))
        x = net.G_middle_0(twice(net.head_0(x, labels)), labels)
        x = net.G_middle_1(x if self.kind == "normal" else twice(x), labels)
        for name in self.ups:
            x = self.get_submodule(name)(twice(x), labels)
        return torch.tanh(self.conv_img(F.leaky_relu(x, 0.2)))


def twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class ConvBlock(nn.Module):
    """MUNIT's Conv2dBlock; ``norm``: in, adain, ln or none."""

    def __init__(
        self, i: int, o: int, k: int, stride: int, pad: int, norm: str, act: Any, mobile: bool,
        dummies: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.pad, self.act = nn.ReflectionPad2d(pad), act
        self.conv = Separable(i, o, k) if mobile else nn.Conv2d(i, o, k, stride)
        norms = {"in": nn.InstanceNorm2d, "ln": LayerNorm}
        if norm == "adain":
            self.norm: nn.Module | None = AdaIN(o, dummies)
        else:
            self.norm = norms[norm](o) if norm in norms else None

    def forward(self, x: Tensor) -> Any:
        x = self.conv(self.pad(x))
        x = self.norm(x) if self.norm is not None else x
        return self.act(x) if self.act is not None else x


class LayerNorm(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))

    def forward(self, x: Tensor) -> Any:
        flat = x.flatten(1)
        mean, std = (t.view(-1, 1, 1, 1) for t in (flat.mean(1), flat.std(1)))
        return (x - mean) / (std + 1e-5) * self.gamma.view(1, -1, 1, 1) + self.beta.view(
            1, -1, 1, 1
        )


class AdaIN(nn.Module):
    def __init__(self, c: int, dummies: bool) -> None:
        super().__init__()
        self.c, self.bias, self.weight = c, torch.empty(0), torch.empty(0)
        if dummies:
            self.register_buffer("running_mean", torch.zeros(c))
            self.register_buffer("running_var", torch.ones(c))

    def forward(self, x: Tensor) -> Any:
        scale, shift = self.weight[:, :, None, None], self.bias[:, :, None, None]
        return F.instance_norm(x) * scale + shift


class Holder(nn.Module):
    """Something in the attribute ``model``, or a residual of it."""

    def __init__(self, model: nn.Module, *, residual: bool = False) -> None:
        super().__init__()
        self.model, self.residual = model, residual

    def forward(self, x: Tensor) -> Any:
        return x + self.model(x) if self.residual else self.model(x)


class Fc(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.fc = nn.Linear(i, o)


class AdaINGen(nn.Module):
    """``w``: style width, contents', inner widths of encoder and decoder, ups'."""

    def __init__(
        self, w: Any, *, style_dim: int, mlp: int, mobile: bool = False, dummies: bool = True,
        style: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        first, contents, inner, outer, ups = w
        relu = nn.ReLU()

        def block(*shape: Any, norm: str = "in", act: Any = relu, deep: bool = False) -> ConvBlock:
            return ConvBlock(*shape, norm, act, deep and mobile, dummies)

        def residuals(mids: Sequence[int], norm: str) -> Holder:
            parts = [
                Holder(
                    nn.Sequential(
                        block(trunk, m, 3, 1, 1, norm=norm, deep=True),
                        block(m, trunk, 3, 1, 1, norm=norm, act=None, deep=True),
                    ),
                    residual=True,
                )
                for m in mids
            ]
            return Holder(nn.Sequential(*parts))

        trunk = contents[-1]
        if style:
            s = [first * k for k in (1, 2, 4, 4, 4)]
            downs = [block(i, o, 4, 2, 1, norm="none") for i, o in pairwise(s)]
            stem = block(3, s[0], 7, 1, 3, norm="none")
            last = [nn.AdaptiveAvgPool2d(1), nn.Conv2d(s[-1], style_dim, 1)]
            self.enc_style = Holder(nn.Sequential(stem, *downs, *last))
        downs = [block(i, o, 4, 2, 1) for i, o in pairwise(contents)]
        stem = block(3, contents[0], 7, 1, 3)
        self.enc_content = Holder(nn.Sequential(stem, *downs, residuals(inner, "in")))
        up: list[nn.Module] = []
        for i, o in zip([trunk, *ups], ups, strict=False):
            up += [nn.Upsample(scale_factor=2), block(i, o, 5, 1, 2, norm="ln", deep=True)]
        end = block(ups[-1], 3, 7, 1, 3, norm="none", act=nn.Tanh())
        self.dec = Holder(nn.Sequential(residuals(outer, "adain"), *up, end))
        self.adains = [m for m in self.dec.modules() if isinstance(m, AdaIN)]
        columns = sum(2 * m.c for m in self.adains)
        self.mlp = Holder(nn.Sequential(Fc(style_dim, mlp), Fc(mlp, mlp), Fc(mlp, columns)))

    def forward(self, x: Tensor, style: Tensor) -> Any:
        one, two, three = self.mlp.model
        y = three.fc(two.fc(one.fc(style).relu()).relu())
        for m in self.adains:
            m.bias, m.weight = y[:, : m.c], y[:, m.c : 2 * m.c]
            y = y[:, 2 * m.c :]
        return self.dec(self.enc_content(x))


def munit(dim: int, down: int, res: int, **how: Any) -> AdaINGen:
    contents = [dim * 2**i for i in range(down + 1)]
    ups = [contents[-1] >> i for i in range(1, down + 1)]
    trunk = contents[-1]
    return AdaINGen((dim, contents, [trunk] * res, [trunk] * res, ups), **how)


def munit_student(config: Sequence[int], down: int, res: int, **how: Any) -> AdaINGen:
    style, *rest = config
    contents = [n * 2**i for i, n in enumerate(rest[: down + 1])]
    rest, top, half = rest[down + 1 :], 2**down, res // 2
    inner = [top * rest[i // 2] for i in range(res)]
    outer = [top * rest[half + i // 2] for i in range(res)]
    ups = [top * n >> i for i, n in enumerate(rest[2 * half :], 1)]
    return AdaINGen((style, contents, inner, outer, ups), mobile=True, dummies=False, **how)


class CartoonNorm(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))

    def forward(self, x: Tensor) -> Any:
        var, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        scale, shift = self.scale.view(1, -1, 1, 1), self.shift.view(1, -1, 1, 1)
        return (x - mean) / torch.sqrt(var + 1e-9) * scale + shift


class Transformer(nn.Module):
    """The CartoonGAN ports': BGR in and out; no arguments."""

    def __init__(self) -> None:
        super().__init__()
        add = self.add_module
        for k, (i, o, stride) in enumerate([(3, 64, 1), (64, 128, 2), (128, 256, 2)], 1):
            add(f"conv0{k}_1", nn.Conv2d(i, o, 7 if k == 1 else 3, stride, 0 if k == 1 else 1))
            if k > 1:
                add(f"conv0{k}_2", nn.Conv2d(o, o, 3, 1, 1))
            add(f"in0{k}_1", CartoonNorm(o))
        for k in range(4, 12):
            for half in (1, 2):
                add(f"conv{k:02d}_{half}", nn.Conv2d(256, 256, 3))
                add(f"in{k:02d}_{half}", CartoonNorm(256))
        for k, (i, o) in enumerate([(256, 128), (128, 64)], 1):
            add(f"deconv0{k}_1", nn.ConvTranspose2d(i, o, 3, 2, 1, 1))
            add(f"deconv0{k}_2", nn.Conv2d(o, o, 3, 1, 1))
            add(f"in{11 + k}_1", CartoonNorm(o))
        add("deconv03_1", nn.Conv2d(64, 3, 7))

    def forward(self, rgb: Tensor) -> Any:
        n: Any = self
        x = n.in01_1(n.conv01_1(F.pad(rgb.flip(1), (3,) * 4, mode="reflect"))).relu()
        x = n.in02_1(n.conv02_2(n.conv02_1(x))).relu()
        x = n.in03_1(n.conv03_2(n.conv03_1(x))).relu()
        for k in range(4, 12):
            y = x
            for half in (1, 2):
                conv, norm = (getattr(n, f"{part}{k:02d}_{half}") for part in ("conv", "in"))
                y = norm(conv(F.pad(y, (1,) * 4, mode="reflect")))
                y = y.relu() if half == 1 else y
            x = x + y
        x = n.in12_1(n.deconv01_2(n.deconv01_1(x))).relu()
        x = n.in13_1(n.deconv02_2(n.deconv02_1(x))).relu()
        return torch.tanh(n.deconv03_1(F.pad(x, (3,) * 4, mode="reflect"))).flip(1)


class Equal(nn.Module):
    def __init__(self, i: int, o: int, lr: float = 1.0) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(o, i)), nn.Parameter(torch.zeros(o))
        self.lr = lr

    def forward(self, x: Tensor) -> Any:
        return F.linear(x, self.weight * self.lr / math.sqrt(x.shape[1]), self.bias * self.lr)


class Kernel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        row = torch.tensor([1.0, 3, 3, 1])
        self.register_buffer("kernel", torch.outer(row, row) / 16)


class Modulated(nn.Module):
    def __init__(self, i: int, o: int, k: int, dim: int, *, up: bool, demodulate: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, o, i, k, k))
        self.modulation, self.up, self.demodulate = Equal(dim, i), up, demodulate
        if up:
            self.blur = Kernel()

    def forward(self, x: Tensor, w: Tensor) -> Any:
        (n, i), (_, o, _, k, _) = x.shape[:2], self.weight.shape
        s = self.modulation(w).view(n, 1, i, 1, 1)
        weight = self.weight / math.sqrt(i * k * k) * s
        if self.demodulate:
            weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
        outs = []
        for one, own in zip(x, weight, strict=True):  # a sample at a time
            if self.up:
                y = F.conv_transpose2d(one[None], own.transpose(0, 1), stride=2)
                kernel: Any = self.blur.kernel
                y = F.conv2d(y, kernel.expand(o, 1, 4, 4), padding=1, groups=o)
            else:
                y = F.conv2d(one[None], own, padding=k // 2)
            outs.append(y)
        return torch.cat(outs)


class Noise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class Activate(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(c))


class Styled(nn.Module):
    def __init__(self, i: int, o: int, dim: int, *, up: bool = False) -> None:
        super().__init__()
        self.conv = Modulated(i, o, 3, dim, up=up, demodulate=True)
        self.noise, self.activate = Noise(), Activate(o)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Any:
        y = self.conv(x, w) + self.noise.weight * noise + self.activate.bias.view(1, -1, 1, 1)
        return F.leaky_relu(y, 0.2) * math.sqrt(2)


class ToRgb(nn.Module):
    def __init__(self, i: int, dim: int, *, upsample: bool = True) -> None:
        super().__init__()
        self.conv = Modulated(i, 3, 1, dim, up=False, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        if upsample:
            self.upsample = Kernel()

    def forward(self, x: Tensor, w: Tensor, image: Tensor | None) -> Any:
        y = self.conv(x, w) + self.bias
        if image is None:
            return y
        kernel: Any = self.upsample.kernel
        large = F.conv_transpose2d(image, kernel.expand(3, 1, 4, 4), stride=2, padding=1, groups=3)
        return y + large


class Input(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.zeros(1, c, 4, 4))


class StyleGenerator(nn.Module):
    """rosinality's Generator; with ``generator_net_shape`` Content-Aware GAN Compression's."""

    def __init__(
        self, size: int, style_dim: int, n_mlp: int, *, channel_multiplier: int = 2,
        lr_mlp: float = 0.01, generator_net_shape: list[int] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        sides = [2**k for k in range(2, size.bit_length())]
        table = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256 * channel_multiplier}
        table |= {128: 128 * channel_multiplier, 256: 64 * channel_multiplier}
        c = generator_net_shape or [table[s] for s in sides for _ in range(2)]
        mlp = [Equal(style_dim, style_dim, lr_mlp) for _ in range(n_mlp)]
        self.style = nn.Sequential(nn.Identity(), *mlp)
        self.input, self.conv1 = Input(c[0]), Styled(c[0], c[1], style_dim)
        self.to_rgb1 = ToRgb(c[1], style_dim, upsample=False)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        self.noises = nn.Module()
        self.noises.register_buffer("noise_0", torch.zeros(1, 1, 4, 4))
        for k in range(1, len(sides)):
            self.convs.append(Styled(c[2 * k - 1], c[2 * k], style_dim, up=True))
            self.convs.append(Styled(c[2 * k], c[2 * k + 1], style_dim))
            self.to_rgbs.append(ToRgb(c[2 * k + 1], style_dim))
            for j in (2 * k - 1, 2 * k):
                self.noises.register_buffer(f"noise_{j}", torch.zeros(1, 1, sides[k], sides[k]))

    def forward(self, z: Tensor, *noise: Tensor) -> Any:
        w = z / torch.sqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for layer in list(self.style)[1:]:
            w = F.leaky_relu(layer(w), 0.2) * math.sqrt(2)
        x = self.conv1(self.input.input.expand(len(z), -1, -1, -1), w, noise[0])
        image = self.to_rgb1(x, w, None)
        for k, rgb in enumerate(self.to_rgbs):
            x = self.convs[2 * k](x, w, noise[2 * k + 1])
            x = self.convs[2 * k + 1](x, w, noise[2 * k + 2])
            image = rgb(x, w, image)
        return image


class GenBlock(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)
        self.b1, self.b2 = nn.BatchNorm2d(c), nn.BatchNorm2d(c)
        self.c_sc = nn.Conv2d(c, c, 1)

    def forward(self, x: Tensor) -> Any:
        y = self.c2(self.b2(self.c1(twice(self.b1(x).relu()))).relu())
        return y + self.c_sc(twice(x))


class SnganGenerator(nn.Module):
    def __init__(self, gf_dim: int, latent_dim: int, bottom_width: int) -> None:
        super().__init__()
        self.shape = (gf_dim, bottom_width, bottom_width)
        self.l1 = nn.Linear(latent_dim, gf_dim * bottom_width**2)
        self.block2, self.block3, self.block4 = (GenBlock(gf_dim) for _ in range(3))
        self.b5, self.c5 = nn.BatchNorm2d(gf_dim), nn.Conv2d(gf_dim, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Any:
        x = self.l1(z).view(-1, *self.shape)
        x = self.block4(self.block3(self.block2(x)))
        return torch.tanh(self.c5(self.b5(x).relu()))


def build(upstream: str) -> nn.Module:
    """The class of 'CALL of CODE BASE', in eval mode."""
    call, _, of = upstream.rpartition(" of ")
    call = re.sub(r" \(--netG .*\)$", "", call)
    junyanz, gc = "pytorch-CycleGAN" in of, "gan-compression" in of and "content" not in of
    own = functools.partial
    names: dict[str, Any] = {
        "functools": functools,
        "nn": nn,
        "ResnetGenerator": own(resnet, dropout=gc),
        "MobileResnetGenerator": own(resnet, dropout=True, separable=True),
        "SubMobileResnetGenerator": sub_mobile,
        "UnetGenerator": UnetGenerator,
        "Transformer": Transformer,
        "Generator": StyleGenerator if "stylegan" in of or "content" in of else gan_slimming,
        "AdaINGen": lambda _, p: munit(
            p["dim"], p["n_downsample"], p["n_res"], style_dim=p["style_dim"], mlp=p["mlp_dim"]
        ),
    }
    assert not (junyanz and gc)
    if " with --" not in call:
        made: nn.Module = eval(call, names)
        return made.eval()
    name, _, rest = call.partition(" with ")
    flags = flags_of(rest)
    return with_options(name.partition("(")[0], flags, of).eval()


def flags_of(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word in shlex.split(text):
        if word.startswith("--"):
            last = word[2:]
            found[last] = ""
        else:
            found[last] = word
    return found


def with_options(name: str, flags: dict[str, Any], of: str) -> nn.Module:
    """A class that is given an ``opt``."""
    if "SPADE" in name:
        hidden = 128 if "NVlabs" in of else 0
        return SpadeGenerator(flags, hidden=hidden, separable="Mobile" in name)
    if "sngan" in of:
        return SnganGenerator(*(int(flags[n]) for n in ("gf_dim", "latent_dim", "bottom_width")))
    down, res = int(flags["n_downsample"]), int(flags["n_res"])
    how = {"style_dim": int(flags["style_dim"]), "mlp": int(flags["mlp_dim"])}
    style = "no_style_encoder" not in flags
    if name == "AdaINGenerator":
        return munit(int(flags["ngf"]), down, res, style=style, dummies=False, **how)
    config = [int(n) for n in flags["config_str"].split("_")]
    return munit_student(config, down, res, style=style, **how)
