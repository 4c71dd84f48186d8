"""Losses between the feature maps of student and teacher at the taps of their family.

Three kinds behind one interface: GAN Compression's (section 3.1), kernel alignment, and the
distillation through the discriminator (`dcd`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.errors import ConfigError, did_you_mean
from ganpress.losses.terms import at_least_float32
from ganpress.methods.once_for_all.dcd import ThroughDiscriminator
from ganpress.methods.once_for_all.tap_base import Pointwise, TapLoss
from ganpress.training.discriminator import DiscriminatorWithLoss
from ganpress.types import Widths

TapKind: TypeAlias = Literal["mse", "alignment", "dcd"]
"""mse: the paper's adaptors; alignment: kernel alignment; dcd: through the discriminator."""
Distance: TypeAlias = Literal["mse", "l1"]
_DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": F.mse_loss, "l1": F.l1_loss}


class AdaptedMaps(TapLoss):
    """GAN Compression, section 3.1: sum over taps of MSE(A_i(s_i), t_i), A_i a learned 1x1
    convolution from the student's channels at full width to the teacher's; L1 for MUNIT's content
    code."""

    def __init__(
        self, taps: Collection[str], student: Widths, teacher: Widths, distance: Distance = "mse"
    ) -> None:
        """Args: student, teacher: channels of each tap at full width."""
        super().__init__(taps)
        self.distance = _DISTANCES[distance]
        self.adaptors = nn.ModuleList(Pointwise(student[tap], teacher[tap]) for tap in taps)

    def term(self, index: int, student: Tensor, teacher: Tensor) -> Tensor:
        """distance(A(s), t), float32 or wider."""
        adapted = self.adaptors[index](student)
        if adapted.shape != teacher.shape:
            raise ConfigError(
                f"Tap '{self.taps[index]}' has {teacher.shape[1]} channels in the teacher, and its "
                f"loss was built for {adapted.shape[1]}: give the teacher's own widths."
            )
        return self.distance(at_least_float32(adapted), at_least_float32(teacher))


class Alignment(TapLoss):
    """Sum over taps of 1 - KA, global kernel alignment: Jin et al., "Teachers Do More Than Teach",
    CVPR 2021, eq. 5 and 6. Nothing is learned, and the channels need no correspondence.

    The paper's loss is minus the sum of KA: the same gradient. 1 - KA is 0 for aligned maps and
    never negative but for rounding, as the other terms that are logged and watched are.
    """

    def term(self, index: int, student: Tensor, teacher: Tensor) -> Tensor:
        """1 - KA(s, t)."""
        return 1 - kernel_alignment(student, teacher)


def kernel_alignment(x: Tensor, y: Tensor) -> Tensor:
    """KA(X, Y) = |Y^T X|_F^2 / (|X^T X|_F |Y^T Y|_F) of maps seen as (n h w, c) matrices: a scalar
    in [0, 1]; 1 where both have the same kernel X X^T up to a factor, 0 where one map is 0.

    In float32 or wider, also under autocast, by products of at most c x c. Each map is divided by
    its largest entry first: KA does not depend on it, and squares of sums neither overflow nor
    vanish. Where n h w is 1, KA is 1 whatever the maps are.

    Args: x, y: (n, c, h, w) or (n, c), with the same n, h, w.
    """
    with torch.autocast(x.device.type, enabled=False):
        a, b = _rows(x), _rows(y)
        across, of_a, of_b = (p.T @ q for p, q in ((b, a), (a, a), (b, b)))
        scale = (of_a.norm() * of_b.norm()).clamp_min(torch.finfo(a.dtype).tiny)
        out: Tensor = across.square().sum() / scale
    return out


def tap_loss(
    kind: TapKind,
    taps: Collection[str],
    student_widths: Widths,
    teacher_widths: Widths,
    discriminator: DiscriminatorWithLoss | None = None,
    *,
    distance: Distance = "mse",
) -> TapLoss:
    """The tap loss of this kind; what it learns is initialised from torch's global state.

    Args:
        taps: names, as the family gives them.
        student_widths: channels of each tap in the student, of a supernet at full width
            (`tap_widths`).
        teacher_widths: the teacher's.
        discriminator: of the kind "dcd"; the others take no notice of it.
        distance: of the kind "mse": "l1" for MUNIT's content code.
    Raises: ConfigError.
    """
    if kind not in get_args(TapKind):
        kinds = get_args(TapKind)
        raise ConfigError(
            f"There is no tap loss '{kind}'{did_you_mean(kind, kinds)}. Choose from: "
            f"{', '.join(kinds)}."
        )
    if distance not in _DISTANCES:
        raise ConfigError(f"The distance of a tap loss is 'mse' or 'l1', not '{distance}'.")
    if not taps:
        raise ConfigError("A tap loss needs at least one tap.")
    for tap in taps:
        for widths in (student_widths, teacher_widths):
            if tap not in widths:
                raise ConfigError(
                    f"No width is known for tap '{tap}'{did_you_mean(tap, widths)}. Known: "
                    f"{', '.join(widths) or 'none'}."
                )
    if kind == "alignment":
        return Alignment(taps)
    if kind == "mse":
        return AdaptedMaps(taps, student_widths, teacher_widths, distance)
    if discriminator is None:
        raise ConfigError(
            "The tap loss 'dcd' compares what a discriminator makes of the maps, and there is no "
            "discriminator: take 'mse' or 'alignment'."
        )
    return ThroughDiscriminator(taps, student_widths, teacher_widths, discriminator)


def _rows(x: Tensor) -> Tensor:
    """(n, c, ...) -> (n ..., c), divided by the largest magnitude, which gets no gradient."""
    rows = at_least_float32(x).movedim(1, -1).flatten(0, -2)
    return rows / rows.detach().abs().amax().clamp_min(torch.finfo(rows.dtype).tiny)
