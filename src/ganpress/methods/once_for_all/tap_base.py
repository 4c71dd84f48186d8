"""What tap losses share: their interface, a 1x1 convolution that follows the supernet's width, and
the widths of a network's taps."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ganpress.errors import ConfigError, did_you_mean
from ganpress.losses.terms import Maps
from ganpress.models.families.base import draw_inputs
from ganpress.nn.taps import tapped
from ganpress.types.sizes import Size

INIT_STD = 0.02  # of the weights of 1x1 convolutions, as of all networks of the authors


class TapLoss(nn.Module):
    """(student's maps, teacher's maps) -> (), the sum over taps; 0 where they agree.

    What it learns is trained with the student: its parameters go to the generator's optimiser, and
    its state dict is saved beside the student's. The teacher's maps get no gradient. A student's
    map may have fewer channels than at full width: the first ones of the supernet's.
    """

    def __init__(self, taps: Collection[str]) -> None:
        super().__init__()
        self.taps = tuple(taps)

    def forward(self, student: Maps, teacher: Maps) -> Tensor:
        """Args: student, teacher: by tap, (n, c, h, w), or (n, c) of a tap that is a vector.

        Raises: ConfigError where a tap's maps do not fit each other or the widths that the loss
            was built for.
        """
        terms = []
        for index, tap in enumerate(self.taps):
            for maps in (student, teacher):
                if tap not in maps:
                    raise ConfigError(
                        f"Tap '{tap}' has no map: the forward pass does not run that module"
                        f"{did_you_mean(tap, maps)}."
                    )
            s, t = student[tap], teacher[tap].detach()
            if s.shape[:1] + s.shape[2:] != t.shape[:1] + t.shape[2:]:
                raise ConfigError(
                    f"Tap '{tap}' is {_shape(s)} in the student and {_shape(t)} in the teacher: "
                    "they may differ in channels alone. Give both the same options and inputs."
                )
            terms.append(self.term(index, s, t))
        return torch.stack(terms).sum()

    def term(self, index: int, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss at one tap, (), by its place among the taps."""
        raise NotImplementedError


class Pointwise(nn.Module):
    """A 1x1 convolution that also reads maps with fewer channels, by the first columns of its
    weight, and vectors: (n, c, h, w) or (n, c), c <= inputs -> the same with ``outputs``."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1) * INIT_STD)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Raises: ConfigError for more channels than it was built for."""
        if x.shape[1] > self.weight.shape[1]:
            raise ConfigError(
                f"A tap has {x.shape[1]} channels, and its loss was built for at most "
                f"{self.weight.shape[1]}: give the widths of the supernet at full width."
            )
        x = x.to(self.weight.dtype)  # maps of a pass under autocast are bfloat16
        weight = self.weight[:, : x.shape[1]]
        if x.ndim == 2:
            return F.linear(x, weight.flatten(1), self.bias)
        return F.conv2d(x, weight, self.bias)


@torch.no_grad()
def tap_widths(net: nn.Module, taps: Collection[str], size: Size) -> dict[str, int]:
    """Channels of each tap, {'down2': 256}, found by a run without numbers.

    Args: size: of the pictures, pixels.
    Raises: ConfigError for a module that the network does not have.
    """
    state = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    ghosts = {name: tensor.to("meta") for name, tensor in state.items()}
    inputs = tuple(tensor.to("meta") for tensor in draw_inputs(net, 2, size))
    with tapped(net, taps) as maps:
        functional_call(net, ghosts, inputs)
    return {tap: maps[tap].shape[1] for tap in taps}


def _shape(x: Tensor) -> str:
    return " x ".join(map(str, x.shape))
