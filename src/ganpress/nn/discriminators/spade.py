"""The multiscale PatchGAN of pix2pixHD and SPADE, under spectral norm and InstanceNorm."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class SpadeDiscriminator(nn.Module):
    """(n, inputs, h, w) -> for each scale, the maps of all its stages; the logits come last.

    Each scale is the same PatchGAN of its own, on the picture and on that halved (average of 3x3
    pixels). A stage is a 4x4 convolution padded by 2; those between the first and the last have
    spectral norm, no bias, and InstanceNorm without affine ('spectralinstance'). The maps before
    the last are what feature matching compares. Park et al., CVPR 2019, appendix A.
    """

    def __init__(self, inputs: int, width: int = 64, layers: int = 4, scales: int = 2) -> None:
        """Args:
        inputs: channels of the semantics and the picture together.
        layers: stages with an activation; all but the last of them have stride 2.
        """
        super().__init__()
        self.scales = nn.ModuleList(_Patch(inputs, width, layers) for _ in range(scales))

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        """Semantics and picture, concatenated -> maps[scale][stage], raw logits last."""
        found = []
        for scale in self.scales:
            found.append(scale(x))
            x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
        return found


class _Patch(nn.Module):
    """One scale."""

    def __init__(self, inputs: int, width: int, layers: int) -> None:
        super().__init__()
        first = nn.Sequential(_conv(inputs, width, 2), nn.LeakyReLU(0.2))
        stages: list[nn.Module] = [first]
        c = width
        for i in range(1, layers):
            o = min(width * 2**i, 8 * width)
            layer = spectral_norm(_conv(c, o, 1 if i == layers - 1 else 2, bias=False))
            stages.append(nn.Sequential(layer, nn.InstanceNorm2d(o), nn.LeakyReLU(0.2)))
            c = o
        self.stages = nn.ModuleList([*stages, nn.Sequential(_conv(c, 1, 1))])

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


def _conv(i: int, o: int, stride: int, *, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(i, o, 4, stride, 2, bias=bias)
