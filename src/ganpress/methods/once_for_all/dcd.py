"""Distillation through the discriminator: Hu et al., "Discriminator-Cooperated Feature Map
Distillation for GAN Compression", CVPR 2023."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from ganpress.losses.terms import Maps, at_least_float32
from ganpress.methods.once_for_all.tap_base import INIT_STD, Pointwise, TapLoss
from ganpress.training.discriminator import DiscriminatorWithLoss
from ganpress.training.inner_maps import channels_read, inner_maps, smallest_side
from ganpress.training.kit import frozen
from ganpress.types import Widths


class ThroughDiscriminator(TapLoss):
    """Sum over taps of L1(D_4(C_i(s_i)), D_4(C'_i(t_i))): C_i makes a picture of a map by a 1x1
    convolution, BatchNorm and ReLU, and D_4 is the discriminator's last activation before its
    logits. Of a PatchGAN with five convolutions that is the fourth's, the paper's; of the other
    kinds `training.inner_maps` says what it is (SPADE's and MUNIT's fourth stage, the last block of
    SNGAN and StyleGAN2).

    The student's connectors C_i are trained with it; the teacher's stay at their initialisation,
    where BatchNorm is the identity. Gradients reach the student through the discriminator, which
    itself gets none and is left as it is, running statistics and spectral norms included. With
    several scales the loss is the mean over them.

    A conditional discriminator reads further channels, and here a connector makes those as well, as
    the authors' code does on pix2pix (six channels, no photo is resized). That needs no condition
    at the maps' resolutions, and works for label maps of any depth. The paper writes of 3 channels,
    CycleGAN's case. (That code trains the teacher's connectors on pix2pix, which a constant
    solves; on CycleGAN, and here, it does not.)

    Maps too small for the discriminator are enlarged by a whole factor, each value repeated.

    The GAN term beside this is the ordinary one, of the **student's** picture
    (`DiscriminatorWithLoss.g_loss`): the authors' code has the teacher's there.
    """

    def __init__(
        self,
        taps: Collection[str],
        student: Widths,
        teacher: Widths,
        discriminator: DiscriminatorWithLoss,
    ) -> None:
        """Args: student, teacher: channels of each tap at full width. discriminator: the one in
        training; it is not a part of this module, neither of its parameters nor of its state."""
        super().__init__(taps)
        self._discriminator = (discriminator,)  # in a tuple, so that it is no submodule
        self.smallest = smallest_side(discriminator)
        channels = channels_read(discriminator)
        self.connectors = nn.ModuleList(_Connector(student[tap], channels) for tap in taps)
        for index, tap in enumerate(taps):
            drawn = torch.randn(channels, teacher[tap], 1, 1) * INIT_STD
            self.register_buffer(f"teacher_{index}", drawn)

    def forward(self, student: Maps, teacher: Maps) -> Tensor:
        """As of any `TapLoss`."""
        with _undisturbed(self._discriminator[0].net):
            return super().forward(student, teacher)

    def term(self, index: int, student: Tensor, teacher: Tensor) -> Tensor:
        """The L1 between inner activations, float32 or wider."""
        weight = self.get_buffer(f"teacher_{index}")
        wanted = self._inside(F.conv2d(_as_map(teacher).to(weight.dtype), weight).relu())
        found = self._inside(self.connectors[index](_as_map(student)))
        terms = [
            F.l1_loss(at_least_float32(a), at_least_float32(b))
            for a, b in zip(found, wanted, strict=True)
        ]
        return torch.stack(terms).mean()

    def _inside(self, picture: Tensor) -> list[Tensor]:
        """The activation that is compared, of each scale."""
        [discriminator] = self._discriminator
        factor = -(-self.smallest // min(picture.shape[2:]))
        if factor > 1:
            picture = F.interpolate(picture, scale_factor=factor, mode="nearest")
        scales = inner_maps(discriminator, picture)
        return [maps[-1] for maps in scales]


class _Connector(nn.Module):
    """1x1 convolution, BatchNorm, ReLU: (n, c, h, w), c <= inputs -> (n, outputs, h, w), >= 0."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = Pointwise(inputs, outputs, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """By the batch's statistics in training; a single value per channel (a U-Net's bottleneck,
        one picture) has none, and is normalised by the running ones."""
        x, norm = self.conv(x), self.norm
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(
                x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
            ).relu()
        out: Tensor = norm(x).relu()
        return out


@contextmanager
def _undisturbed(net: nn.Module) -> Iterator[None]:
    """Within, a forward pass leaves no trace in the network: no parameter gets a gradient, no
    BatchNorm takes running statistics (batch statistics normalise in training as ever), and no
    spectral norm iterates."""
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d) and m.track_running_stats]
    lists = [m for m in net.modules() if isinstance(m, ParametrizationList)]
    spectral = [m for each in lists for m in each.modules() if m.training]
    try:
        for norm in norms:
            norm.track_running_stats = False
        for module in spectral:
            module.training = False
        with frozen(net):
            yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        for module in spectral:
            module.training = True


def _as_map(x: Tensor) -> Tensor:
    """A vector as a map of one place."""
    return x if x.ndim == 4 else x[:, :, None, None]
