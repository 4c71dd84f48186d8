"""Compare an exported network with torch before its file is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ganpress.checkpoint import Model
from ganpress.errors import ExportError
from ganpress.quantise import quantiser_of

FLOAT_MAX = 1e-4
# Rounding to a grid is discontinuous: sums in another order flip single activations by one step.
QUANTISED_MEAN = 0.5 / 127.5
QUANTISED_NEAR, QUANTISED_SHARE = 2 / 127.5, 0.99
QUANTISED_MOST = 0.05  # mean; whatever the network's own instability


@dataclass(frozen=True)
class ExportFacts:
    """What was written, and how far it is from torch.

    Attributes:
        bytes: size of the file.
        max_abs_diff, mean_abs_diff: over all pixels compared, in units of [-1, 1].
        sizes_checked: (n, 3, h, w) of each batch compared.
        opset: ONNX operator set.
    """

    file: Path
    bytes: int
    max_abs_diff: float
    mean_abs_diff: float
    sizes_checked: tuple[tuple[int, int, int, int], ...]
    opset: int


def compare(
    model: Model, run: Callable[[Tensor], Tensor], size: int
) -> tuple[float, float, tuple[tuple[int, int, int, int], ...]]:
    """Largest and mean difference on random pictures of two sizes and batches, and their shapes.

    Args:
        run: the exported network, (n, 3, h, w) in [-1, 1] -> the same.
        size: pixels; compared are one picture of size x size and two of about half of it.

    Raises: ExportError where a difference is above the tolerance: 1e-4 for a float network; for a
        fake-quantised one a mean of half a grey level, and two levels in 99 % of the values, or
        twice what a change of 1e-5 in the input does to the network in torch, if that is more.
    """
    step = model.family.image.multiple
    half = max(4 * step, size // 2 // step * step)
    shapes = ((1, 3, size, size), (2, 3, half, half + 2 * step))
    draw = torch.Generator().manual_seed(0)
    pictures = [torch.rand(shape, generator=draw) * 2 - 1 for shape in shapes]
    difference = torch.cat([_difference(model, run, x) for x in pictures])
    if quantiser_of(model.net) is None:
        _judge(difference)
    else:
        _judge_quantised(difference, model, pictures)
    return float(difference.max()), float(difference.mean()), shapes


def _on_cpu(model: Model, x: Tensor) -> Tensor:
    return model(x.to(next(model.net.parameters()).device)).cpu()


def _difference(model: Model, run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    want, got = _on_cpu(model, x), run(x)
    if got.shape != want.shape:
        raise ExportError(
            f"The exported network makes {tuple(got.shape)} of {tuple(x.shape)}, torch makes "
            f"{tuple(want.shape)}. Nothing was written; please report this."
        )
    return (got - want).abs().flatten()


def _judge(difference: Tensor) -> None:
    if not float(difference.max()) <= FLOAT_MAX:  # also where something is not a number
        raise _disagreement(difference, f"{FLOAT_MAX:.0e} anywhere")


def _judge_quantised(difference: Tensor, model: Model, pictures: list[Tensor]) -> None:
    mean = float(difference.mean())
    near = float((difference <= QUANTISED_NEAR).float().mean())
    if mean < QUANTISED_MEAN and near >= QUANTISED_SHARE:
        return
    allowed = min(QUANTISED_MOST, 2 * _instability(model, pictures))
    if not mean <= allowed:
        limit = f"a mean of {max(allowed, QUANTISED_MEAN):.1e}"
        raise _disagreement(difference, f"{limit}, with 99 % of the values in {QUANTISED_NEAR:.1e}")


def _instability(model: Model, pictures: list[Tensor]) -> float:
    """Mean change of the output in torch when the input changes by about 1e-5."""
    draw = torch.Generator().manual_seed(1)
    changes = [
        (_on_cpu(model, x + 1e-5 * torch.randn(x.shape, generator=draw)) - _on_cpu(model, x)).abs()
        for x in pictures
        for _ in range(2)
    ]
    return float(torch.cat([change.flatten() for change in changes]).mean())


def _disagreement(difference: Tensor, limit: str) -> ExportError:
    return ExportError(
        f"The exported network differs from torch by up to {float(difference.max()):.2e} (mean "
        f"{float(difference.mean()):.2e}); allowed is {limit}. Nothing was written; please "
        "report this with the model."
    )
