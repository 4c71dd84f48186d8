"""The mean over space of a convolution's output, zero-padded borders included."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ganpress.nn.integer_layers import SubPixelConv2d
from ganpress.nn.layers import Conv2d, ConvTranspose2d

SMALL = 0.25
"""A map is small where at least this share of a reader's outputs feels the zeros around it: 4 x 4
and 8 x 8 under a padded 3 x 3 kernel, not 16 x 16."""


def border_share(layer: Conv2d | ConvTranspose2d, height: int, width: int) -> float:
    """Share of the outputs, 0 to 1, for which some tap lies outside of a map of this size."""
    down, right = (_inside(layer, d, n) for d, n in enumerate((height, width)))
    return 1.0 - float(down.float().mean() * right.float().mean())


def _inside(layer: Conv2d | ConvTranspose2d, d: int, n: int) -> Tensor:
    """Of each output along dim ``d``: whether its taps all lie within ``n`` places, (out,)."""
    stride, step, pad = layer.stride[d], layer.dilation[d], int(layer.padding[d])
    taps = torch.arange(layer.kernel_size[d]) * step
    reach = int(taps[-1])
    if isinstance(layer, Conv2d):
        outputs = torch.arange((n + 2 * pad - reach - 1) // stride + 1)
        places = outputs[:, None] * stride - pad + taps
        inside = ((places >= 0) & (places < n)).all(1)
        return inside[1:] if isinstance(layer, SubPixelConv2d) else inside  # either end is cut off
    outputs = torch.arange((n - 1) * stride - 2 * pad + reach + layer.output_padding[d] + 1)
    ahead = outputs[:, None] + pad - taps
    places, used = ahead // stride, ahead % stride == 0
    return (~used | ((places >= 0) & (places < n))).all(1)


def mean_response(layer: Conv2d | ConvTranspose2d, x: Tensor) -> Tensor:
    """The mean over places of what ``layer`` without its bias makes of a map (in, h, w): (out,).

    Of all constants it has the smallest squared error to that, whatever the padding.
    """
    value, w = layer.operands(x[None])
    if isinstance(layer, Conv2d):
        out = layer._conv_forward(value, w, None)
    else:
        out = F.conv_transpose2d(
            value,
            w,
            None,
            layer.stride,
            layer.padding,  # type: ignore[arg-type]
            layer.output_padding,
            layer.groups,
            layer.dilation,
        )
    if isinstance(layer, SubPixelConv2d):
        out = _kept(out)
    mean: Tensor = out.mean((0, 2, 3))
    return mean


def _kept(rows: Tensor) -> Tensor:
    """(n, 4 out, h + 1, w + 1) of a sub-pixel convolution -> (n, 4 out, h, w): of each row the
    places that become pixels."""
    phases = rows.unflatten(1, (-1, 2, 2))
    h, w = rows.shape[2] - 1, rows.shape[3] - 1
    down = torch.stack([phases[:, :, k, :, 1 - k : 1 - k + h] for k in (0, 1)], 2)
    across = torch.stack([down[:, :, :, k, :, 1 - k : 1 - k + w] for k in (0, 1)], 3)
    return across.flatten(1, 3)
