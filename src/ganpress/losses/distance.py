"""The distance d(student, teacher) of GAN Slimming's eq. 2, from settings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ganpress.losses.features import Features, load_features
from ganpress.losses.terms import content, style, unit_distance
from ganpress.run.settings import Settings


class DistanceSettings(Settings):
    """The distance d between student and teacher (eq. 2) and the weights of its terms.

    With vgg16 it is by default the authors' d. ``kind="mse"`` is the ablation.
    """

    kind: Literal["perceptual", "mse"] = Field(
        default="perceptual",
        description="perceptual: the weighted terms below; mse: mean squared error of the "
        "pictures alone",
    )
    features: Literal["vgg16", "squeezenet", "tiny"] = Field(
        default="vgg16",
        description="feature network; vgg16: the paper's, a download of 528 MB; squeezenet: a "
        "download of 5 MB; tiny: part of ganpress",
    )
    content: float | None = Field(
        default=None,
        ge=0,
        description="weight of L1 between feature maps of the first tap; None: 1, with squeezenet "
        "0.01",
    )
    style: float | None = Field(
        default=None,
        ge=0,
        description="weight of the squared difference of Gram matrices, over all taps; None: 1e5, "
        "with squeezenet 0.002",
    )
    unit: float = Field(
        default=0.0, ge=0, description="weight of the squared difference of unit-length features"
    )
    pixel: float = Field(default=0.0, ge=0, description="weight of L1 between the pictures")

    @property
    def content_and_style(self) -> tuple[float, float]:
        """The weights of these two terms, which have the scale of the network's maps."""
        usual = (0.01, 0.002) if self.features == "squeezenet" else (1.0, 1e5)
        content, style = self.content, self.style
        return usual[0] if content is None else content, usual[1] if style is None else style


class Distance:
    """content * L1(first tap) + style * Gram difference + unit * unit distance + pixel * L1.

    The maps of the teacher's picture are computed without gradients.
    """

    def __init__(
        self, settings: DistanceSettings, *, weights: Path | None = None, half: bool = False
    ) -> None:
        """Args:
        weights: file or folder of the feature network's weights (`find_weights`).
        half: the feature network runs in bfloat16 behind its first layer; the terms are float32.
        """
        self.settings, self.half = settings, half
        self.features: Features | None = None
        self.content, self.style = settings.content_and_style
        if settings.kind == "perceptual" and self.content + self.style + settings.unit > 0:
            taps = None if self.style + settings.unit > 0 else 1  # content reads the first alone
            self.features = load_features(settings.features, weights=weights, taps=taps)

    def to(self, device: str) -> Distance:
        """Move the feature network."""
        if self.features is not None:
            self.features.to(device)
        return self

    @torch.no_grad()
    def seen(self, teacher: Tensor) -> dict[str, Tensor]:
        """The feature maps of pictures that many others are compared with; {} where none are."""
        return {} if self.features is None else self._maps(self.features, teacher)

    def __call__(
        self,
        student: Tensor,
        teacher: Tensor,
        mask: Tensor | None = None,
        *,
        maps: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """(n, 1 to 4, h, w) twice, in [-1, 1] -> a scalar, 0 for equal pictures.

        Args:
            mask: (n, 1, h, w) in [0, 1], by which both pictures are multiplied first.
            maps: what `seen` gave of the teacher's pictures, if it was called; not with a mask.
        """
        s = self.settings
        if mask is not None:
            student, teacher = student * mask, teacher * mask
        if s.kind == "mse":
            return F.mse_loss(student, teacher)
        total = s.pixel * F.l1_loss(student, teacher)
        if self.features is None:
            return total
        b = maps or self.seen(teacher)
        a = self._maps(self.features, student)
        if self.content > 0:
            first = self.features.taps[0]
            total = total + self.content * content(a[first].float(), b[first].float())
        if self.style > 0:
            total = total + self.style * style(a, b)
        if s.unit > 0:
            a, b = ({tap: m.float() for tap, m in maps.items()} for maps in (a, b))
            total = total + s.unit * unit_distance(a, b).mean()
        return total

    def _maps(self, features: Features, x: Tensor) -> dict[str, Tensor]:
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.half):
            found: dict[str, Tensor] = features(x)
        return found
