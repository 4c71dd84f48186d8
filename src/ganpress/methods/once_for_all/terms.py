"""What a student's picture is compared with beside the discriminator: the truth, or the teacher's
picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ganpress.losses.distance import Distance
from ganpress.losses.features import Features
from ganpress.losses.perceptual import perceptual, perceptual_features
from ganpress.losses.terms import feature_matching
from ganpress.methods.once_for_all.omgd import DCD, OMGD, PictureLoss, picture_loss
from ganpress.methods.once_for_all.settings import DistilSettings, OnceForAllConfig
from ganpress.training.discriminator import DiscriminatorWithLoss
from ganpress.training.inner_maps import inner_maps

_PICTURES = {"omgd": OMGD, "dcd": DCD}


@dataclass(frozen=True)
class Wanted:
    """What a batch's pictures are compared with, (n, c, h, w) each.

    Attributes:
        teacher: the teacher's pictures.
        truth: the real pictures of the same inputs; None where there are none.
        condition: what a conditional discriminator reads beside them.
        mask: (n, 1, h, w) in [0, 1], by which pictures are multiplied before they are compared but
            by the discriminator; None: everywhere alike.
        maps: of the teacher's pictures, as the distance sees them (`PictureTerms.known`).
    """

    teacher: Tensor
    truth: Tensor | None
    condition: Tensor | None
    mask: Tensor | None = None
    maps: dict[str, Tensor] | None = None

    def shown(self, picture: Tensor) -> Tensor:
        """A picture where it matters."""
        return picture if self.mask is None else picture * self.mask


@dataclass(frozen=True)
class PictureTerms:
    """The weighted terms between pictures: of the paper's unified learning (section 3.2) L1 to the
    truth where there is one, or else to the teacher's picture; of SPADE matching of the
    discriminator's inner maps and the perceptual loss; or those of OMGD and DCD. With each, where
    it has a weight, the distance to the teacher's picture that GAN Slimming trains by.
    """

    settings: DistilSettings
    discriminator: DiscriminatorWithLoss
    features: Features | None = None
    pictures: PictureLoss | None = None
    distance: Distance | None = None

    def known(self, wanted: Wanted) -> Wanted:
        """The same with what the distance sees of the teacher's pictures, which the students of
        all a step's width sets are compared with."""
        if not self.settings.distance or self.distance is None:
            return wanted
        return replace(wanted, maps=self.distance.seen(wanted.shown(wanted.teacher)))

    def __call__(self, fake: Tensor, wanted: Wanted) -> dict[str, Tensor]:
        """Each term with its weight, by name, scalars; the discriminator should get no gradient."""
        d = self.settings
        teacher = wanted.shown(wanted.teacher)
        found = {} if self.pictures is None else self.pictures.terms(wanted.shown(fake), teacher)
        if d.distance and self.distance is not None:
            near = self.distance(wanted.shown(fake), teacher, maps=wanted.maps)
            found["distance"] = d.distance * near
        goal = wanted.truth
        if goal is None and d.unpaired == "teacher":
            goal = wanted.teacher
        if goal is None:
            return found
        ours, theirs = wanted.shown(fake), wanted.shown(goal)
        if d.reconstruction:
            found["reconstruction"] = d.reconstruction * F.l1_loss(ours, theirs)
        if d.matching:
            with torch.no_grad():
                true = inner_maps(self.discriminator, goal, wanted.condition)
            made = inner_maps(self.discriminator, fake, wanted.condition)
            found["matching"] = d.matching * feature_matching(true, made)
        if d.perceptual and self.features is not None:
            found["perceptual"] = d.perceptual * perceptual(self.features, ours, theirs)
        return found


def picture_terms(
    c: OnceForAllConfig,
    discriminator: DiscriminatorWithLoss,
    weights: Path | None,
    distance: Distance | None = None,
) -> PictureTerms:
    """The terms of the settings, their feature network loaded and on the device.

    Args:
        weights: file or folder of the feature network.
        distance: of the settings, on the device; needed where it has a weight.
    Raises: WeightsError.
    """
    d, features, pictures = c.distil, None, None
    half = c.precision == "bfloat16"
    if d.objective in _PICTURES:
        of = _PICTURES[d.objective]
        pictures = picture_loss(c.distance.features, of, path=weights, half=half).to(c.device)
    elif d.perceptual:
        features = perceptual_features(c.distance.features, weights).to(c.device)
    return PictureTerms(d, discriminator, features, pictures, distance)
