"""Edge-smoothed pictures: CartoonGAN's negatives (Chen et al., CVPR 2018, section 3.2.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ganpress.types.pictures import as_grey

SIZE = 5  # of the dilation and of the Gaussian, pixels
TRACED = 16  # steps of hysteresis: how far a weak edge is followed from a strong one, pixels


@torch.no_grad()
def smooth_edges(x: Tensor, *, low: float = 100, high: float = 200) -> Tensor:
    """Blur a picture where it has edges: Canny's edges, dilated to 5 x 5, under a 5 x 5 Gaussian.

    Args:
        x: (n, 1 to 4, h, w) in [-1, 1], at least 5 x 5.
        low, high: Canny's thresholds of the gradient, on the scale of 8-bit pictures under Sobel.
    Returns: as x; away from edges it is x itself.
    """
    near = _spread(canny(x, low=low, high=high), SIZE)
    return torch.where(near > 0, gaussian(x, SIZE), x)


@torch.no_grad()
def canny(x: Tensor, *, low: float = 100, high: float = 200) -> Tensor:
    """Canny's edges of pictures (n, 1 to 4, h, w) in [-1, 1] -> (n, 1, h, w), 1 on an edge, else 0.

    Sobel gradients, non-maximum suppression over four directions, and weak edges kept where they
    hang on a strong one (followed over 16 pixels).
    """
    x = x.float()
    grey = as_grey(x) * 127.5
    sobel = x.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    dx, dy = F.conv2d(padded, torch.stack([sobel, sobel.T])[:, None]).split(1, 1)
    magnitude = dx.abs() + dy.abs()
    thin = magnitude * _is_ridge(magnitude, dx, dy)
    edges: Tensor = (thin > high).float()
    weak = (thin > low).float()
    for _ in range(TRACED):
        edges = _spread(edges, 3) * weak
    return edges


def _is_ridge(magnitude: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Where the gradient is not smaller than at both neighbours along its direction."""
    h, w = magnitude.shape[2:]
    around = F.pad(magnitude, (1, 1, 1, 1))

    def at(down: int, right: int) -> Tensor:
        return around[:, :, 1 + down : 1 + down + h, 1 + right : 1 + right + w]

    def tops(down: int, right: int) -> Tensor:
        return (magnitude > at(-down, -right)) & (magnitude >= at(down, right))

    flat = dy.abs() < 0.4142 * dx.abs()  # within 22.5 degrees of the axis
    steep = dx.abs() < 0.4142 * dy.abs()
    diagonal = torch.where(dx * dy > 0, tops(1, 1), tops(1, -1))
    return torch.where(flat, tops(0, 1), torch.where(steep, tops(1, 0), diagonal))


def gaussian(x: Tensor, size: int) -> Tensor:
    """Blur (n, c, h, w) with a size x size Gaussian, reflecting at the borders.

    Its deviation is OpenCV's formula for a size, 1.1 of 5 (for kernels of up to 7 OpenCV itself has
    a table, [1, 4, 6, 4, 1] / 16; the paper says neither).
    """
    sigma = 0.3 * ((size - 1) / 2 - 1) + 0.8
    along = torch.arange(size, device=x.device, dtype=x.dtype) - (size - 1) / 2
    weights = (-along.square() / (2 * sigma**2)).exp()
    kernel = (weights / weights.sum()).expand(x.shape[1], 1, 1, size)
    y = F.pad(x, (size // 2,) * 4, mode="reflect")
    y = F.conv2d(y, kernel, groups=x.shape[1])
    return F.conv2d(y, kernel.transpose(2, 3), groups=x.shape[1])


def _spread(mask: Tensor, size: int) -> Tensor:
    return F.max_pool2d(mask, size, stride=1, padding=size // 2)
