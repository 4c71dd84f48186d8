"""Resampling without weights: the blur that halves, and what doubles before a convolution.

Both act on each channel alone, so a channel of a group stays one of that group, and a constant
stays that constant: absorbing and cutting channels need to know nothing about them.
"""

from __future__ import annotations

from math import comb

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.errors import ConfigError, did_you_mean

PADDINGS = ("reflect", "replicate", "zero")
OUTER_PADDINGS = ("reflect", "zero")
UPSTREAM_UPS = ("transposed", "nearest", "bilinear")
UPS = (*UPSTREAM_UPS, "sub-pixel")
MAX_TAPS = 7


def binomial(taps: int) -> list[float]:
    """The filter of so many taps that sums to 1.

    >>> binomial(3)
    [0.25, 0.5, 0.25]
    """
    total = 2 ** (taps - 1)
    return [comb(taps - 1, i) / total for i in range(taps)]


class BlurDown(nn.Module):
    """Half the height and width: a binomial filter, reflection padded, at every second pixel.

    The anti-aliased down-sampling of Zhang (ICML 2019), as in CUT, whose filter has 3 ``taps``.
    """

    def __init__(self, taps: int) -> None:
        super().__init__()
        if not 2 <= taps <= MAX_TAPS:
            raise ConfigError(
                f"Option 'antialias' is 0 (strided convolutions) or the taps of a filter, 2 to "
                f"{MAX_TAPS}; got {taps}."
            )
        self.taps = taps

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w), both even -> (n, c, h / 2, w / 2)."""
        before, after = (self.taps - 1) // 2, self.taps // 2
        row = x.new_tensor(binomial(self.taps))
        kernel = torch.outer(row, row).expand(x.shape[1], 1, -1, -1)
        padded = F.pad(x, (before, after, before, after), mode="reflect")
        return F.conv2d(padded, kernel, stride=2, groups=x.shape[1])


class Double(nn.Module):
    """Twice the height and width, by the nearest pixel or bilinearly (corners not aligned).

    Bilinear is what CUT's up-sampling computes: zeros put between the pixels of a picture that is
    continued with copies of its border, then the filter [1, 3, 3, 1] / 4 along each side.
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, 2 h, 2 w)."""
        return F.interpolate(x, scale_factor=2.0, mode=self.mode)


def check_word(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a family's option that is none of the words it can be: ConfigError."""
    if value not in known:
        raise ConfigError(
            f"Option '{name}' is one of {', '.join(known)}; got '{value}'"
            f"{did_you_mean(value, known)}."
        )
