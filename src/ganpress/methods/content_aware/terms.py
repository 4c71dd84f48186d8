"""What the student's pictures are compared with the teacher's by (section 3.3 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ganpress.losses.batch_terms import mmd, relation_kl, relation_mse
from ganpress.losses.features import Features, load_features
from ganpress.losses.lpips import PictureDistance, picture_distance
from ganpress.methods.content_aware.passes import Made
from ganpress.methods.content_aware.settings import ContentAwareConfig, ContentAwareDistil
from ganpress.run import distributed


@dataclass(frozen=True)
class Terms:
    """The weighted terms beside the GAN's.

    Attributes:
        distance: LPIPS, or what stands for it; None: weight 0.
        features: of the distribution term; None: weight 0.
        half: that network runs in bfloat16.
    """

    settings: ContentAwareDistil
    distance: PictureDistance | None = None
    features: Features | None = None
    half: bool = False

    def __call__(self, made: Made, wanted: Made, mask: Tensor | None) -> dict[str, Tensor]:
        """Each term with its weight, by name, scalars; ``wanted`` has no gradients.

        Args: mask: (n, 1, h, w) in [0, 1], where pictures are compared; None: everywhere.
        """
        d, found = self.settings, dict[str, Tensor]()
        if d.pixel:
            inner = slice(None) if d.mode == "intermediate" else slice(-1, None)
            pairs = zip(made.pictures[inner], wanted.pictures[inner], strict=True)
            found["pixel"] = d.pixel * torch.stack([self._l1(s, t, mask) for s, t in pairs]).sum()
        s, t = (masked(m.picture.float(), mask) for m in (made, wanted))
        if self.distance is not None:
            found["perceptual"] = d.perceptual * self.distance(s, t).mean()
        if self.features is not None:
            with torch.no_grad():
                target = self._embedded(self.features, wanted.picture)
            found["mmd"] = d.mmd * mmd(self._embedded(self.features, made.picture), target)
        if d.relation:
            compare = relation_kl if d.relation_loss == "kl" else relation_mse
            maps = ([m.float() for m in of.maps.values()] for of in (made, wanted))
            found["relation"] = d.relation * compare(*maps)
        return found

    def _l1(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """mean |m (T - S)|, over all places, or over the mask's where that is asked for."""
        difference = (student.float() - teacher.float()).abs()
        if mask is None:
            return difference.mean()
        height, width = difference.shape[2:]
        m = F.adaptive_avg_pool2d(mask, (height, width))
        within = (m * difference).mean()
        if not self.settings.mask_norm:
            return within
        area = distributed.mean(m.mean())
        return within / area if area > 0 else within

    def _embedded(self, features: Features, x: Tensor) -> Tensor:
        on = x.device.type
        with torch.autocast(on, dtype=torch.bfloat16, enabled=self.half):
            found = features.embed(x)
        return found.float()


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """The picture on grey (0) where the mask is 0."""
    return x if mask is None else mask * x


def terms_of(c: ContentAwareConfig, weights: Path | None) -> Terms:
    """The terms of the settings, their networks loaded and on the device.

    Args: weights: file or folder of the feature network.
    Raises: WeightsError.
    """
    d, half, name = c.distil, c.precision == "bfloat16", c.distance.features
    distance = features = None
    if d.perceptual:
        distance = picture_distance(name, weights, half=half).to(c.device)
    if d.mmd:
        features = load_features(name, weights=weights).to(c.device)
    return Terms(d, distance, features, half)
