"""A generator in another wiring of its family: the form that integer runtimes run fast.

Between two convolutions, integers stay integers only where nothing but an activation and moved
pixels lies between them. So a transposed convolution becomes a sub-pixel one (or a resize and a
convolution), a norm over each picture one with running statistics, which is a multiplication and
an addition of each channel that the convolution before it takes in, and reflection zeros. The
weights go along, so that the new network starts near the old one (ADR 35).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ganpress.channels.recalibrate import recalibrate
from ganpress.errors import ConfigError
from ganpress.models.checkpoint import Model
from ganpress.models.families.pix2pix import RESIZE_LAST
from ganpress.nn.axes import Axis, Dim, tags
from ganpress.nn.blocks import ConvNorm
from ganpress.nn.integer_layers import SubPixelConv2d
from ganpress.nn.layers import Conv2d, ConvTranspose2d, Quantisable, fold_gates, quantisable
from ganpress.nn.resample import Double
from ganpress.quantisation.quantise import quantiser_of
from ganpress.types import Inputs, Options, State

FormName = Literal["as-teacher", "integers"]
FORMS: tuple[FormName, ...] = get_args(FormName)
Doubling = Literal["resize", "sub-pixel"]


@dataclass(frozen=True)
class Change:
    """An option of a family that the integer form sets.

    Attributes:
        option: its name. into: values that are replaced -> what replaces them.
        lost: what the new network cannot do that the old one did.
        where: options that must have these values, or the change is of no use.
    """

    option: str
    into: Mapping[Any, Any]
    lost: str
    where: Options = field(default_factory=dict)


NORM = Change(
    "norm", {"instance": "batch"}, "each picture's own mean and variance: those of many pictures"
)
INSIDE = "the same inside separable convolutions"
INNER = Change("inner_norm", {"instance": "batch"}, INSIDE, {"separable": True})
MIDDLE = Change("middle", {"instance": "batch"}, INSIDE, {"separable": True})
ZEROS = Change("padding", {"reflect": "zero", "replicate": "zero"}, "the picture beyond its border")
OUTER = Change("outer_padding", {"reflect": "zero"}, "the same of the first and last convolution")
BILINEAR = Change("up", {"bilinear": "nearest"}, "smooth interpolation, but for its best fit")
BLUR = Change("antialias", {k: 0 for k in range(2, 8)}, "the blur before every second pixel")

CHANGES: dict[str, tuple[Change, ...]] = {
    "cyclegan": (NORM, INNER, ZEROS, OUTER, BILINEAR, BLUR),
    "cartoongan": (NORM, INNER, ZEROS, OUTER, BILINEAR),
    "pix2pix": (
        NORM,
        Change("biased", {False: True}, "nothing: the biases stay", {"norm": "instance"}),
    ),
    "gaugan": (NORM, MIDDLE),
    "munit": (NORM, INNER, ZEROS),
    "sngan": (NORM,),
    "stylegan2": (),
}
"""Family -> the options that its integer form sets, beside `UPS`. In every family that is not here
named, and in every network that has none of the old values, nothing changes."""

SAME = "nothing: each is the same function"
FOUR_SUMS = "that the four pixels of a place have kernels of different sums"
UPS: dict[Doubling, dict[str, tuple[Change, ...]]] = {
    "sub-pixel": {
        "cyclegan": (Change("up", {"transposed": "sub-pixel"}, SAME),),
        "cartoongan": (Change("up", {"transposed": "sub-pixel"}, SAME),),
        "pix2pix": (
            Change(
                "upsampling",
                {"deconv": "sub-pixel", RESIZE_LAST: f"sub-pixel+{RESIZE_LAST}"},
                SAME,
            ),
        ),
    },
    "resize": {
        "cyclegan": (Change("up", {"transposed": "nearest"}, FOUR_SUMS),),
        "cartoongan": (Change("up", {"transposed": "nearest"}, FOUR_SUMS),),
        "pix2pix": (
            Change(
                "upsampling",
                {"deconv": "resize", RESIZE_LAST: f"resize+{RESIZE_LAST}"},
                FOUR_SUMS,
            ),
        ),
    },
}
"""What can stand for a transposed convolution -> family -> the option that says so."""

STAYS: dict[str, str] = {
    "gaugan": "the modulation by the label map differs from pixel to pixel and stays a "
    "multiplication of its own",
    "munit": "AdaIN takes its scales from the style, and the decoder's LayerNorms their statistics "
    "from each picture",
    "sngan": "the norms of a block's input have a shortcut beside them and stay on their own",
    "stylegan2": "its convolutions are modulated by each picture's style: there is no norm to "
    "fold, and its doubling is a transposed convolution with a blur behind it",
}
"""What no other wiring of a family would put into the convolutions."""


def integer_options(family: str, options: Options, *, up: Doubling = "sub-pixel") -> dict[str, Any]:
    """The options of a network's integer form; the same ones where there is nothing to change.

    Args: up: what stands for a transposed convolution.
    """
    changes = _changes(family, options, up)
    return {**options, **{c.option: c.into[options[c.option]] for c in changes}}


def _changes(family: str, options: Options, up: Doubling) -> Iterator[Change]:
    for change in (*CHANGES.get(family, ()), *UPS[up].get(family, ())):
        applies = all(options.get(name) == value for name, value in change.where.items())
        if applies and options.get(change.option) in change.into:
            yield change


def remarks(family: str, options: Options, *, up: Doubling = "sub-pixel") -> list[str]:
    """What the integer form changes in a network, and what is lost by it; where it changes nothing,
    why; and what stays."""
    lines = [
        f"{c.option}: {options[c.option]} becomes {c.into[options[c.option]]} (lost: {c.lost})"
        for c in _changes(family, options, up)
    ]
    if not lines:
        lines = [f"this '{family}' generator has nothing that the form for integers would change"]
    return [*lines, *([f"stays as it is: {STAYS[family]}"] if family in STAYS else [])]


def integer_form(
    model: Model, calibration: Iterable[Inputs] = (), *, up: Doubling = "sub-pixel"
) -> Model:
    """A network of the same family, widths and weights in the wiring that integer runtimes run
    fast; the model itself where there is nothing to change.

    Sub-pixel convolutions are what transposed ones were (`sub_pixel_weight`); of those behind a
    nearest doubling the weights are the nearest to it (`resized_weight`). BatchNorms begin with the
    scales of the InstanceNorms and, without ``calibration``, with a mean of 0 and a variance of 1.

    Args:
        calibration: what the network reads, batch by batch, on its device: BatchNorms' statistics
            are read from it.
        up: what stands for a transposed convolution.
    Raises: ConfigError for a quantised network, and one with emptied residual blocks, which
        BatchNorm's networks cannot have.
    """
    family = model.family
    options = integer_options(family.name, model.options, up=up)
    if options == model.options:
        return model
    if quantiser_of(model.net) is not None:
        raise ConfigError(
            f"This '{family.name}' generator is quantised, and its ranges are those of its own "
            "layers: give the float one from before quantisation, or set student.form=as-teacher."
        )
    empty = set(family.may_vanish(model.options)) - set(family.may_vanish(options))
    if gone := sorted(group for group in empty if model.widths[group] == 0):
        raise ConfigError(
            f"Blocks of this '{family.name}' generator have been emptied ({', '.join(gone)}), and "
            "with BatchNorm none can be: set student.form=as-teacher, or start from the teacher."
        )
    source = fold_gates(copy.deepcopy(model.net))
    net = family.build(model.widths, **options).to(next(source.parameters()).device)
    net.load_state_dict(converted(source, net), strict=True)
    net.train(model.net.training)
    return Model(recalibrate(net, calibration), family, options, copy.deepcopy(model.provenance))


@torch.no_grad()
def converted(source: nn.Module, net: nn.Module) -> State:
    """The state of ``net`` that makes it as near to ``source`` as its wiring allows.

    Both have the same convolutions in the same order; what else holds tensors, norms too, has the
    same names.
    """
    state = dict(net.state_dict())
    own = source.state_dict()
    state |= {n: t for n, t in own.items() if n in state and t.shape == state[n].shape}
    old, new = quantisable(source), quantisable(net)
    before, behind = doubled(source), doubled(net)
    for (path, layer), (name, other) in zip(old.items(), new.items(), strict=True):
        weight, bias = as_layer(layer, other, before.get(path), behind.get(name))
        state[f"{name}.weight"] = weight
        if bias is not None:
            state[f"{name}.bias"] = bias
    return state


def doubled(net: nn.Module) -> dict[str, str]:
    """Convolutions that a doubling stands before, by name, and how that interpolates."""
    return {
        f"{path}.conv": module.pad.mode
        for path, module in net.named_modules()
        if isinstance(module, ConvNorm) and isinstance(module.pad, Double)
    }


def as_layer(
    layer: Quantisable, other: Quantisable, before: str | None, behind: str | None
) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of ``layer`` as ``other`` has them.

    Args: before, behind: how a doubling before each interpolates; None: there is none.
    Raises: ConfigError where the two do not belong to the same groups.
    """
    if _groups(layer, layer.out_dim) != _groups(other, other.out_dim):
        raise ConfigError(f"{layer} and {other} make different groups: the wirings do not fit.")
    weight, bias = layer.weight, layer.bias
    if isinstance(layer, ConvTranspose2d) and isinstance(other, SubPixelConv2d):
        return sub_pixel_weight(weight), None if bias is None else bias.repeat_interleave(4)
    if isinstance(layer, ConvTranspose2d) and isinstance(other, Conv2d):
        return resized_weight(weight, transposed_taps(weight.shape[-1])).transpose(0, 1), bias
    if before == "bilinear" and behind == "nearest":
        return resized_weight(weight, BILINEAR_TAPS), bias
    return weight, bias


def _groups(layer: nn.Module, dim: int) -> tuple[tuple[str, int], ...]:
    axes: Dim = tags(layer)["weight"][dim]
    return tuple(_group(axis) for axis in axes or ())


def _group(axis: Axis) -> tuple[str, int]:
    return axis.group, axis.width


def sub_pixel_weight(weight: Tensor) -> Tensor:
    """The weight of a transposed convolution of stride 2 and padding 1, kernel 4 (or 3 with output
    padding 1), as that of the sub-pixel convolution that computes the same: (in, out, k, k) ->
    (4 out, in, 2, 2).

    Output pixel 2 j reads taps 3 and 1 at inputs j - 1 and j, pixel 2 j + 1 taps 2 and 0 at j and
    j + 1; a kernel of 3 has no tap 3. So each of the two is a convolution of two taps, and of a
    window of two inputs ending at j it is 2 j - 1 and 2 j that are made.
    """
    taps = nn.functional.pad(weight, (0, 4 - weight.shape[-1], 0, 4 - weight.shape[-2]))
    phases = torch.tensor([[2, 0], [3, 1]], device=weight.device)  # of a window, tap by input
    picked = taps[:, :, phases][..., phases]  # (in, out, row phase, row, column phase, column)
    i, o = weight.shape[:2]
    return picked.permute(1, 2, 4, 0, 3, 5).reshape(4 * o, i, 2, 2).contiguous()


NEAREST_TAPS = torch.tensor(
    [[1, 0, 0], [0, 1, 1], [0, 0, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.float64
)
"""A kernel of 3 behind a nearest doubling: what pixel 2 j (rows 0 to 2) and pixel 2 j + 1 (rows 3
to 5) multiply inputs j - 1, j and j + 1 by."""


BILINEAR_TAPS = (
    torch.tensor(
        [[3, 1, 0], [1, 3, 3], [0, 0, 1], [1, 0, 0], [3, 3, 1], [0, 1, 3]], dtype=torch.float64
    )
    / 4
)
"""The same of a kernel of 3 behind a bilinear doubling."""


def transposed_taps(kernel: int) -> Tensor:
    """The same of a transposed convolution of stride 2 and padding 1: (6, 3) or (6, 4)."""
    taps = torch.zeros(6, 4, dtype=torch.float64)
    for row, tap in ((0, 3), (1, 1), (4, 2), (5, 0)):
        taps[row, tap] = 1
    return taps[:, :kernel]


def resized_weight(weight: Tensor, taps: Tensor) -> Tensor:
    """The 3x3 weight behind a nearest doubling that is nearest to another way of doubling.

    All four pixels of a place sum to the same there, so that a constant stays constant: just that
    is lost where another way gives them different sums. Nearest is in the sum of squares over what
    each pixel multiplies each input by.

    Args:
        weight: (a, b, k, k). taps: (6, k), as `NEAREST_TAPS`, of the way that the weight is for.
    Returns: (a, b, 3, 3).
    """
    best = (torch.linalg.pinv(NEAREST_TAPS) @ taps).to(weight.device)
    found: Tensor = best @ weight.double() @ best.T
    return found.to(weight.dtype)
