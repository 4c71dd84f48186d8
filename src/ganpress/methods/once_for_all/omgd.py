"""What a student's picture is compared by where it has no discriminator of its own.

OMGD: Ren et al., "Online Multi-Granularity Distillation for GAN Compression", ICCV 2021.
DCD (CVPR 2023) keeps two of the four terms beside a GAN term of the student's picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ganpress.errors import ConfigError
from ganpress.losses.distance import DistanceSettings
from ganpress.losses.features import load_features
from ganpress.losses.structure import gram_l1, ssim, total_variation
from ganpress.losses.terms import at_least_float32
from ganpress.run.settings import checked

Network = Callable[[Tensor], Mapping[str, Tensor]]
"""Pictures (n, c, h, w) in [-1, 1] -> feature maps by tap, the first tap first."""


@dataclass(frozen=True)
class PictureWeights:
    """Weights of the terms between a student's picture and its teacher's; the defaults are OMGD's.

    Attributes:
        ssim: of 1 - SSIM.
        gram: of L1 between Gram matrices, summed over all taps of the feature network.
        feature: of L1 between the maps of its second tap (VGG-16: relu2_2).
        total_variation: of the student's absolute neighbour differences, a sum.
    """

    ssim: float = 10.0
    gram: float = 1e4
    feature: float = 10.0
    total_variation: float = 1e-5


OMGD = PictureWeights()
DCD = PictureWeights(ssim=0.0, total_variation=0.0)


def weights_on(network: str, weights: PictureWeights = OMGD) -> PictureWeights:
    """The weights, meant for VGG-16, on another feature network of `DistanceSettings`.

    Its maps have another scale. They are divided by what GAN Slimming's d says of it: the feature
    term's weight by the ratio of the content weights, that of Gram matrices, which are compared by
    their difference there squared, by the square root of the ratio of the style weights.
    """
    ours = checked(DistanceSettings, {"features": network}).content_and_style
    vgg = DistanceSettings().content_and_style
    return replace(
        weights,
        feature=weights.feature * ours[0] / vgg[0],
        gram=weights.gram * (ours[1] / vgg[1]) ** 0.5,
    )


class PictureLoss:
    """The weighted terms of `PictureWeights`: ssim * (1 - SSIM) + gram * sum L1(Gram) + feature *
    L1(second tap) + total_variation * TV.

    Departures from the authors' code: none in the arithmetic on VGG-16; the teacher's maps are
    computed without gradients.
    """

    def __init__(
        self, features: Network | None, weights: PictureWeights = OMGD, *, half: bool = False
    ) -> None:
        """Args:
        features: a frozen feature network; None where no term needs it.
        half: it runs in bfloat16 behind its first layer; the terms are float32.
        Raises: ConfigError where a term needs a feature network and there is none.
        """
        if features is None and weights.gram + weights.feature > 0:
            raise ConfigError(
                "The gram and feature terms compare maps of a feature network, and there is none: "
                "give one, or set both weights to 0."
            )
        self.features, self.weights, self.half = features, weights, half

    def to(self, device: str) -> PictureLoss:
        """Move the feature network."""
        if isinstance(self.features, torch.nn.Module):
            self.features.to(device)
        return self

    def __call__(self, student: Tensor, *teachers: Tensor) -> Tensor:
        """The sum of `terms`: (n, c, h, w) in [-1, 1] each -> a scalar."""
        return sum(self.terms(student, *teachers).values(), student.new_zeros(()))

    def terms(self, student: Tensor, *teachers: Tensor) -> dict[str, Tensor]:
        """Each term with its weight, by name; terms of weight 0 are not there.

        With several teachers (OMGD on pix2pix: a wider and a deeper one) each term is the sum over
        them, total variation included, which so counts as often as there are teachers.

        Args: teachers: at least one; they get no gradient.
        """
        found: dict[str, Tensor] = {}
        of_student = self._maps(student)
        for teacher in teachers:
            with torch.no_grad():
                of_teacher = self._maps(teacher)
            one = self._one(student, teacher.detach(), of_student, of_teacher)
            found = {name: found[name] + term if found else term for name, term in one.items()}
        return found

    def _one(
        self, student: Tensor, teacher: Tensor, a: Mapping[str, Tensor], b: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        w, terms = self.weights, {}
        if w.ssim > 0:
            terms["ssim"] = w.ssim * (1 - ssim(student, teacher))
        if w.gram > 0:
            terms["gram"] = w.gram * gram_l1(a, b)
        if w.feature > 0:
            second = list(b)[1]
            terms["feature"] = w.feature * F.l1_loss(
                at_least_float32(a[second]), at_least_float32(b[second])
            )
        if w.total_variation > 0:
            terms["tv"] = w.total_variation * total_variation(student)
        return terms

    def _maps(self, x: Tensor) -> Mapping[str, Tensor]:
        if self.features is None or self.weights.gram + self.weights.feature == 0:
            return {}
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.half):
            return self.features(x)


def picture_loss(
    network: str = "vgg16",
    weights: PictureWeights = OMGD,
    *,
    path: Path | None = None,
    half: bool = False,
) -> PictureLoss:
    """The terms on one of our feature networks, with `weights_on` it.

    Args:
        network: "vgg16", the paper's; "squeezenet" or "tiny" in its place.
        path: file or folder of its weights (`load_features`).
    Raises: ConfigError for a network without weights here; WeightsError where its file is missing.
    """
    if weights.gram + weights.feature == 0:
        return PictureLoss(None, weights)
    scaled = weights_on(network, weights)
    taps = None if weights.gram > 0 else 2  # the feature term reads the second tap alone
    return PictureLoss(load_features(network, weights=path, taps=taps), scaled, half=half)
