"""Small plain-torch copies of other code bases' generators, written from their key numbers.

So that a mistake in an importer's map cannot hide in the test as well.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BINOMIAL = {
    2: [1, 1],
    3: [1, 2, 1],
    4: [1, 3, 3, 1],
    5: [1, 4, 6, 4, 1],
    7: [1, 6, 15, 20, 15, 6, 1],
}
PADS = {"reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d}


def kernel(taps: int, channels: int) -> Tensor:
    """(channels, 1, taps, taps): the binomial filter of each channel."""
    row = torch.tensor(BINOMIAL[taps], dtype=torch.float32)
    both = row[:, None] * row[None, :]
    return (both / both.sum()).repeat(channels, 1, 1, 1)


class Downsample(nn.Module):
    """CUT's: reflection padding, the stored filter, every second pixel."""

    filt: Tensor

    def __init__(self, channels: int, taps: int = 3) -> None:
        super().__init__()
        self.register_buffer("filt", kernel(taps, channels))
        low, high = int((taps - 1) / 2), -int(-(taps - 1) // 2)
        self.pad = nn.ReflectionPad2d([low, high, low, high])

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.pad(x), self.filt, stride=2, groups=x.shape[1])


class Upsample(nn.Module):
    """CUT's: replicated borders, a transposed convolution with the stored filter, cropped."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", 4 * kernel(4, channels))

    def forward(self, x: Tensor) -> Tensor:
        wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
        y = F.conv_transpose2d(wide, self.filt, stride=2, padding=2, groups=x.shape[1])
        return y[:, :, 1:-1, 1:-1]


class Block(nn.Module):
    """junyanz's residual block; `inner` is what its layers are kept under."""

    def __init__(
        self,
        c: int,
        mid: int,
        *,
        padding: str,
        inner: str,
        dropout: bool,
        norm: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        zeros = int(padding == "zero")
        pad = [] if zeros else [PADS[padding](1)]
        drop = [nn.Dropout(0.5)] if dropout else []
        layers = [*pad, nn.Conv2d(c, mid, 3, padding=zeros), norm(mid), nn.ReLU(), *drop]
        layers += [*pad, nn.Conv2d(mid, c, 3, padding=zeros), norm(c)]
        self.inner = inner
        self.add_module(inner, nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.get_submodule(self.inner)(x)
        return out


class Resnet(nn.Module):
    """junyanz's ResnetGenerator and what its relatives change in it.

    Args:
        widths: stem, each down-sampling, inner widths of the blocks, each up-sampling.
        downs: how many halvings. taps: of CUT's blur behind each; 0: strided convolutions.
        up: "transposed", "blur" (CUT), "nearest" or "bilinear".
    """

    def __init__(
        self,
        widths: list[int],
        *,
        downs: int = 2,
        taps: int = 0,
        up: str = "transposed",
        padding: str = "reflect",
        inner: str = "conv_block",
        dropout: bool = False,
        norm: Callable[[int], nn.Module] = nn.InstanceNorm2d,
    ) -> None:
        super().__init__()
        [stem, *rest], c = widths, widths[0]
        half, blocks, double = rest[:downs], rest[downs:-downs], rest[-downs:]
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(3, stem, 7),
            norm(stem),
            nn.ReLU(),
        ]
        for o in half:
            layers += [nn.Conv2d(c, o, 3, 1 if taps else 2, 1), norm(o), nn.ReLU()]
            layers += [Downsample(o, taps)] if taps else []
            c = o
        how = {"padding": padding, "inner": inner, "dropout": dropout, "norm": norm}
        layers += [Block(c, mid, **how) for mid in blocks]  # type: ignore[arg-type]
        for o in double:
            if up == "transposed":
                layers += [nn.ConvTranspose2d(c, o, 3, 2, 1, 1)]
            else:
                grow = Upsample(c) if up == "blur" else nn.Upsample(scale_factor=2, mode=up)
                layers += [grow, nn.Conv2d(c, o, 3, padding=1)]
            layers += [norm(o), nn.ReLU()]
            c = o
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(c, 3, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


class _Down(nn.Module):
    def __init__(self, i: int, o: int, norm: bool, affine: bool) -> None:
        super().__init__()
        norms = [nn.InstanceNorm2d(o, affine=affine)] if norm else []
        self.model = nn.Sequential(nn.Conv2d(i, o, 4, 2, 1, bias=False), *norms, nn.LeakyReLU(0.2))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


class _Up(nn.Module):
    def __init__(self, i: int, o: int, affine: bool) -> None:
        super().__init__()
        norm = nn.InstanceNorm2d(o, affine=affine)
        self.model = nn.Sequential(nn.ConvTranspose2d(i, o, 4, 2, 1, bias=False), norm, nn.ReLU())

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return torch.cat([self.model(x), skip], 1)


class Unet(nn.Module):
    """PyTorch-GAN's GeneratorUNet, with as many halvings as there are encoder widths."""

    def __init__(self, enc: list[int], dec: list[int], *, affine: bool = False) -> None:
        super().__init__()
        self.count = len(enc)
        for k, (i, o) in enumerate(zip([3, *enc], enc, strict=False), start=1):
            self.add_module(f"down{k}", _Down(i, o, 1 < k < self.count, affine))
        below = enc[-1]
        for k, (o, skip) in enumerate(zip(dec, reversed(enc[:-1]), strict=True), start=1):
            self.add_module(f"up{k}", _Up(below, o, affine))
            below = o + skip
        self.final = nn.Sequential(
            nn.Upsample(scale_factor=2),
            nn.ZeroPad2d((1, 0, 1, 0)),
            nn.Conv2d(below, 3, 4, padding=1),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for k in range(1, self.count + 1):
            x = self.get_submodule(f"down{k}")(x)
            skips.append(x)
        skips.pop()
        for k in range(1, self.count):
            x = self.get_submodule(f"up{k}")(x, skips.pop())
        out: Tensor = self.final(x)
        return out


@torch.no_grad()
def shaken(net: nn.Module, seed: int = 0) -> nn.Module:
    """The network in eval mode with random weights, biases, scales and statistics; filters stay."""
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if name.endswith((".filt", "weight_u", "weight_v", "._u", "._v")):
            continue
        if tensor.ndim <= 1 and tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.5)
        elif tensor.ndim == 4:
            tensor.copy_(torch.randn(tensor.shape, generator=draw) / tensor[0].numel() ** 0.5)
    return net.eval()
