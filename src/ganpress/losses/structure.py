"""Terms that compare the structure of two pictures, or look at one alone: SSIM, L1 between Gram
matrices (`terms.gram`), total variation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ganpress.losses.terms import Maps, at_least_float32, gram

WINDOW, SIGMA = 11, 1.5  # pixels
C1, C2 = 0.01**2, 0.03**2  # of a range of 1


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity (Wang et al., IEEE TIP 2004, eq. 13), mean over all, differentiable.

    As distillation uses it (OMGD, ICCV 2021): local statistics under an 11 x 11 Gaussian of
    deviation 1.5, borders padded with zeros, and the constants 0.01^2 and 0.03^2 of a range of 1 on
    pictures in [-1, 1]. So it is no metric of picture quality: those crop the border, and take
    constants of the range.

    Args:
        x, y: (n, c, h, w), any number of channels, each by itself.
    Returns: a scalar in [-1, 1] but for rounding; 1 for equal pictures.

    >>> float(ssim(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)))
    1.0
    """
    x, y = at_least_float32(x), at_least_float32(y)
    means = _blurred(torch.stack([x, y, x * x, y * y, x * y]).flatten(0, 1))
    mean_x, mean_y, xx, yy, xy = means.unflatten(0, (5, len(x)))
    var_x, var_y = xx - mean_x.square(), yy - mean_y.square()
    covariance = xy - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x.square() + mean_y.square() + C1)
    found: Tensor = (luminance * (2 * covariance + C2) / (var_x + var_y + C2)).mean()
    return found


def gram_l1(a: Maps, b: Maps) -> Tensor:
    """Sum over layers of the mean absolute difference of Gram matrices (`terms.gram`).

    `terms.style` is the squared form.

    Args: a, b: maps by layer, (n, c, h, w) each.
    """
    return torch.stack([F.l1_loss(gram(a[tap]), gram(b[tap])) for tap in b]).sum()


def total_variation(x: Tensor) -> Tensor:
    """Sum of the absolute differences of horizontal and of vertical neighbours: (n, c, h, w) -> ().

    A sum over the whole batch, not a mean: it grows with the picture.

    >>> float(total_variation(torch.tensor([[[[0.0, 1.0], [3.0, 3.0]]]])))
    6.0
    """
    x = at_least_float32(x)
    across, down = x.diff(dim=3), x.diff(dim=2)
    return across.abs().sum() + down.abs().sum()


def _blurred(x: Tensor) -> Tensor:
    """Each channel under the Gaussian window, the same size: (n, c, h, w) -> (n, c, h, w)."""
    at = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    weights = (-at.square() / (2 * SIGMA**2)).exp()
    weights = (weights / weights.sum()).view(1, 1, 1, WINDOW)
    flat = x.flatten(0, 1).unsqueeze(1)
    with torch.autocast(x.device.type, enabled=False):  # variances are differences of means
        flat = F.conv2d(flat, weights, padding=(0, WINDOW // 2))
        flat = F.conv2d(flat, weights.transpose(2, 3), padding=(WINDOW // 2, 0))
    out: Tensor = flat.squeeze(1).unflatten(0, x.shape[:2])
    return out
