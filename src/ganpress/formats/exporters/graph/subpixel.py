"""Transposed convolutions of stride 2 as one convolution and a shuffle of its channels.

Output pixel 2 q + r of a transposed convolution with padding p sums the taps k = r + p - 2 d times
the pixels q + d of its input: for each r it is a convolution. So the four places (r, s) of a square
are four output channels of one convolution, at the input's size, and DepthToSpace puts them in
their places (Shi et al., 2016). The products are the same ones, and zeros where a place has
fewer taps than the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def subpixel_weight(
    w: Array, *, padding: int, output_padding: int = 0, groups: int = 1
) -> tuple[Array, list[int]]:
    """The convolution of a transposed one of stride 2.

    Args:
        w: (in, out / groups, k, k), of any type.
        padding: on all sides; ``output_padding``: at the end. k + output_padding has to be even.

    Returns: the weight, (4 out, in / groups, taps, taps), whose output c * 4 + 2 r + s is channel c
        at the place (r, s), and the padding in zeros: [top, left, bottom, right].
    """
    i, o, k = w.shape[0], w.shape[1], w.shape[2]
    offsets = {(r, t): (r + padding - t) // 2 for r in (0, 1) for t in range(k)
               if (r + padding - t) % 2 == 0}  # fmt: skip
    first, last = min(offsets.values()), max(offsets.values())
    taps = last - first + 1
    rows = w.reshape(groups, i // groups, o, k, k).transpose(0, 2, 1, 3, 4)  # g, out, in, k, k
    made = np.zeros((groups, o, 2, 2, i // groups, taps, taps), w.dtype)
    for (r, ky), dy in offsets.items():
        for (s, kx), dx in offsets.items():
            made[:, :, r, s, :, dy - first, dx - first] = rows[:, :, :, ky, kx]
    longer = (k - 2 - 2 * padding + output_padding) // 2  # output pairs beyond the input's size
    front, back = -first, longer + first + taps - 1
    return made.reshape(4 * groups * o, i // groups, taps, taps), [front, front, back, back]


def blurred_weight(w: Array, blur: Array) -> Array:
    """The kernels of a transposed convolution and a symmetric blur behind it as one.

    Args: w: (in, out, k, k); blur: (b, b). Returns: (in, out, k + b - 1, k + b - 1).
    """
    k, b = w.shape[2], blur.shape[0]
    made = np.zeros((*w.shape[:2], k + b - 1, k + b - 1), w.dtype)
    for y in range(b):
        for x in range(b):
            made[:, :, y : y + k, x : x + k] += w * blur[b - 1 - y, b - 1 - x]
    return made
