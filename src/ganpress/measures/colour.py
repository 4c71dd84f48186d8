"""Colours of a made picture, matched to those of the photo that it was made from."""

from __future__ import annotations

import torch
from torch import Tensor

from ganpress.errors import ImagesError

STRONGEST = 4.0
"""No channel is stretched more than this: what is almost grey holds little but rounding."""
_RED, _BLUE = 0.299, 0.114  # BT.601: luminance is these shares of red and blue, the rest green
_STILL = 1e-6  # of a standard deviation: a channel that does not vary is only shifted


def match_colour(made: Tensor, photo: Tensor, *, luminance: bool = False) -> Tensor:
    """Give each picture the mean and standard deviation of its photo's colours.

    After Reinhard et al. (2001), in YCbCr. GAN Slimming shows CartoonGAN's pictures with their
    colours matched, but neither says how nor is it in the authors' code. By default luminance,
    and with it the outlines and flat tones of a cartoon, stays what it was.

    The match is exact but for two limits: no channel is stretched more than `STRONGEST` times,
    and a colour that cannot be shown at its luminance is moved towards grey until it can.

    Args:
        made: (n, 3, h, w), RGB in [-1, 1].
        photo: (n, 3, h', w'), RGB in [-1, 1], the photo of each; any size.
        luminance: match luminance as well.
    Returns: as ``made``, a new tensor.
    Raises: ImagesError where the pictures are not RGB, or there is no photo for each.
    """
    for picture in (made, photo):
        if picture.ndim != 4 or picture.shape[1] != 3 or len(picture) != len(made):
            raise ImagesError(
                f"Colours are matched between (n, 3, h, w) pictures and as many photos, got "
                f"{tuple(made.shape)} and {tuple(photo.shape)}."
            )
    before = to_ycbcr(made.float())
    (mean, std), (wanted, spread) = _statistics(before), _statistics(to_ycbcr(photo.float()))
    gain = (spread / std.clamp_min(_STILL)).clamp_max(STRONGEST)
    after = (before - mean) * gain + wanted
    y = after[:, :1].clamp(-1, 1) if luminance else before[:, :1]
    return _shown(y, after[:, 1:]).to(made.dtype)


def to_ycbcr(rgb: Tensor) -> Tensor:
    """BT.601 luminance and chroma, full range: (n, 3, h, w) RGB in [-1, 1] -> the same in YCbCr,
    each channel in [-1, 1]; grey has chroma 0."""
    red, green, blue = rgb.split(1, 1)
    y = _RED * red + (1 - _RED - _BLUE) * green + _BLUE * blue
    return torch.cat([y, (blue - y) / (2 - 2 * _BLUE), (red - y) / (2 - 2 * _RED)], 1)


def _statistics(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of each picture, (n, 3, 1, 1) both."""
    std, mean = torch.std_mean(picture, (2, 3), correction=0, keepdim=True)
    return mean, std


def _shown(y: Tensor, chroma: Tensor) -> Tensor:
    """RGB of a luminance (n, 1, h, w) in [-1, 1] and chroma (n, 2, h, w), less of it where the
    colour would leave [-1, 1]."""
    blue, red = (2 - 2 * _BLUE) * chroma[:, :1], (2 - 2 * _RED) * chroma[:, 1:]
    green = -(_RED * red + _BLUE * blue) / (1 - _RED - _BLUE)
    offset = torch.cat([red, green, blue], 1)  # from grey; its own luminance is 0
    room = torch.where(offset > 0, 1 - y, 1 + y)
    share = (room / offset.abs().clamp_min(_STILL)).amin(1, keepdim=True).clamp(0, 1)
    return (y + share * offset).clamp(-1, 1)
