"""Compare an exported network with torch before its file is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ganpress.checkpoint import Model
from ganpress.errors import ExportError
from ganpress.families.base import draw_inputs
from ganpress.quantise import quantiser_of
from ganpress.types import Inputs

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
        sizes_checked: (n, 3, h, w) of each batch of pictures compared.
        opset: ONNX operator set; None for a file without operators.
    """

    file: Path
    bytes: int
    max_abs_diff: float
    mean_abs_diff: float
    sizes_checked: tuple[tuple[int, ...], ...]
    opset: int | None


def compare(
    model: Model, run: Callable[..., Tensor], size: int
) -> tuple[float, float, tuple[tuple[int, ...], ...]]:
    """Largest and mean difference on random inputs of two sizes and batches, and the shapes of the
    pictures.

    Args:
        run: the exported network, of the same inputs as the model.
        size: pixels; compared are one picture of size x size and two of about half of it, or of
            the one size that the network makes.

    Raises: ExportError where a difference is above the tolerance: 1e-4 for a float network; for a
        fake-quantised one a mean of half a grey level, and two levels in 99 % of the values, or
        twice what a change of 1e-5 in the input does to the network in torch, if that is more.
    """
    step = model.multiple
    half = max(model.least, size // 2 // step * step)
    draw = torch.Generator().manual_seed(0)
    batches = [
        draw_inputs(model.net, n, (h, w), draw)
        for n, h, w in ((1, size, size), (2, half, half + max(8, step)))
    ]
    wanted = [_on_cpu(model, inputs) for inputs in batches]
    difference = torch.cat(
        [_difference(run(*i), want, i) for i, want in zip(batches, wanted, strict=True)]
    )
    if quantiser_of(model.net) is None:
        _judge(difference)
    else:
        _judge_quantised(difference, model, batches)
    shapes = tuple(tuple(want.shape) for want in wanted)
    return float(difference.max()), float(difference.mean()), shapes


def _on_cpu(model: Model, inputs: Inputs) -> Tensor:
    device = next(model.net.parameters()).device
    return model(*(t.to(device) for t in inputs)).cpu()


def _difference(got: Tensor, want: Tensor, inputs: Inputs) -> Tensor:
    if got.shape != want.shape:
        raise ExportError(
            f"The exported network makes {tuple(got.shape)} of {tuple(inputs[0].shape)}, torch "
            f"makes {tuple(want.shape)}. Nothing was written; please report this."
        )
    return (got - want).abs().flatten()


def _judge(difference: Tensor) -> None:
    if not float(difference.max()) <= FLOAT_MAX:  # also where something is not a number
        raise _disagreement(difference, f"{FLOAT_MAX:.0e} anywhere")


def _judge_quantised(difference: Tensor, model: Model, batches: list[Inputs]) -> None:
    mean = float(difference.mean())
    near = float((difference <= QUANTISED_NEAR).float().mean())
    if mean < QUANTISED_MEAN and near >= QUANTISED_SHARE:
        return
    allowed = min(QUANTISED_MOST, 2 * _instability(model, batches))
    if not mean <= allowed:
        limit = f"a mean of {max(allowed, QUANTISED_MEAN):.1e}"
        raise _disagreement(difference, f"{limit}, with 99 % of the values in {QUANTISED_NEAR:.1e}")


def _instability(model: Model, batches: list[Inputs]) -> float:
    """Mean change of the output in torch when the inputs change by about 1e-5."""
    draw = torch.Generator().manual_seed(1)

    def nudged(inputs: Inputs) -> Inputs:
        return tuple(t + 1e-5 * torch.randn(t.shape, generator=draw) for t in inputs)

    changes = [
        (_on_cpu(model, nudged(inputs)) - _on_cpu(model, inputs)).abs()
        for inputs in batches
        for _ in range(2)
    ]
    return float(torch.cat([change.flatten() for change in changes]).mean())


def _disagreement(difference: Tensor, limit: str) -> ExportError:
    return ExportError(
        f"The exported network differs from torch by up to {float(difference.max()):.2e} (mean "
        f"{float(difference.mean()):.2e}); allowed is {limit}. Nothing was written; please "
        "report this with the model."
    )
