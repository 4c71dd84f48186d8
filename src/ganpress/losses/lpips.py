"""LPIPS (Zhang et al., CVPR 2018) on VGG-16, and what stands for it where another network is asked
for: the same form without its learned weights, under a name of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ganpress.losses.feature_nets import VGG16, FeatureNet
from ganpress.losses.features import Features, load_features
from ganpress.losses.networks import VGG16_TAPS, vgg16_layers
from ganpress.losses.preprocessing import ST
from ganpress.losses.stored import tensor_of
from ganpress.losses.terms import learned_unit_distance, unit_distance
from ganpress.losses.weights import WeightFile, file_for, find_weights, fingerprint, read_weights

LPIPS_VGG_HEADS = WeightFile(
    "LPIPS v0.1, the learned weights of VGG-16's channels",
    "vgg.pth",
    "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/vgg.pth",
    "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    instead="Or take another distance: --set distance.features=squeezenet (of a compression).",
)
LPIPS_TAPS = {**VGG16_TAPS, "relu5_3": 29}
WIDTHS = (64, 128, 256, 512, 512)  # channels of the taps
LPIPS_NET = FeatureNet(lambda: vgg16_layers(5), LPIPS_TAPS, ST, VGG16)
LARGEST = 256  # pixels; larger pictures are compared at this size


class PictureDistance:
    """A distance between pictures in the form of LPIPS: each place's feature vector is normalised,
    and squared differences are averaged over space and summed over layers.

    Attributes:
        name: 'lpips-vgg16-v0.1' of the published weights; otherwise the network's name and what is
            done with its features, such as 'squeezenet-1.1-unit-distance'.
        heads: the learned weights of each tap's channels; None: all are 1.
    """

    def __init__(
        self, features: Features, heads: Sequence[Tensor] | None, name: str, *, half: bool = False
    ) -> None:
        """Args: half: the network runs in bfloat16 behind its first layer."""
        self.features, self.heads, self.name, self.half = features, heads, name, half

    @property
    def is_lpips(self) -> bool:
        """Whether this is LPIPS itself, with the published weights."""
        return self.heads is not None

    def to(self, device: str) -> PictureDistance:
        """Move the network and its heads."""
        self.features.to(device)
        self.heads = self.heads and [head.to(device) for head in self.heads]
        return self

    def __call__(self, made: Tensor, wanted: Tensor) -> Tensor:
        """(n, 1 to 4, h, w) twice, in [-1, 1] -> (n,), 0 for equal pictures; ``wanted`` gets no
        gradient. Pictures of more than `LARGEST` pixels are first made that size (the authors of
        Content-Aware GAN Compression do so)."""
        with torch.no_grad():
            seen = self.maps(wanted)
        return self.between(self.maps(made), seen)

    @property
    def protocol(self) -> str:
        """What it is, in a line."""
        form = "no learned weights: not LPIPS" if self.heads is None else "learned weights"
        return (
            f"squared difference of unit-length features of {self.features.name} (sha256 "
            f"{self.features.digest[:12]}), mean over space, sum over layers, {form}; pictures "
            f"beyond {LARGEST} px made that size, bilinear"
        )

    def between(self, a: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        """The distance of pictures whose `maps` these are, (n,)."""
        if self.heads is None:
            return unit_distance(a, b)
        return learned_unit_distance(a, b, self.heads)

    def maps(self, x: Tensor) -> dict[str, Tensor]:
        """What the network sees of pictures, (n, 1 to 4, h, w) in [-1, 1]: float32 maps by tap."""
        x = reduced(x)
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.half):
            found = self.features(x)
        return {tap: m.float() for tap, m in found.items()}


def reduced(x: Tensor, side: int = LARGEST) -> Tensor:
    """(n, c, h, w) with its shorter side at most ``side`` pixels, bilinear without a filter."""
    shorter = min(x.shape[2:])
    if shorter <= side:
        return x
    size = [round(length * side / shorter) for length in x.shape[2:]]
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def picture_distance(
    name: str, weights: Path | None = None, *, half: bool = False
) -> PictureDistance:
    """LPIPS where the network is 'vgg16' with its published weights; of another network or other
    weights, the distance of unit-length features without learned weights, which is not LPIPS and
    is not called so.

    Args: name: as of `load_features`. weights: a file or a folder, likewise.
    Raises: ConfigError, WeightsError.
    """
    own = weights is not None and weights.is_file() and weights.name != VGG16.file
    if name == "vgg16" and not own:
        path = find_weights(VGG16, given=weights)
        return _lpips(path, file_for(LPIPS_VGG_HEADS, weights), half=half)
    features = load_features(name, weights=weights)
    return PictureDistance(features, None, f"{features.name}-unit-distance", half=half)


def _lpips(path: Path, beside: Path | None, *, half: bool) -> PictureDistance:
    """Args: path: VGG-16's weights. beside: where the heads may be."""
    features = lpips_features(path)
    at = find_weights(LPIPS_VGG_HEADS, given=beside)
    stored = read_weights(at)
    heads = [
        tensor_of(stored, f"lin{k}.model.1.weight", (1, width, 1, 1), at)
        for k, width in enumerate(WIDTHS)
    ]
    return PictureDistance(features, heads, "lpips-vgg16-v0.1", half=half)


def lpips_features(path: Path) -> Features:
    """VGG-16 read at LPIPS's five depths, pictures scaled as its authors do; its weights are those
    of a file of torchvision's. Raises: WeightsError."""
    stored, layers = read_weights(path), LPIPS_NET.layers()
    state = {
        name: tensor_of(stored, f"features.{name}", tuple(t.shape), path)
        for name, t in layers.state_dict().items()
    }
    layers.load_state_dict(state)
    found = Features(layers, "vgg16-lpips", LPIPS_TAPS, ST, fingerprint(path), net=LPIPS_NET)
    found.published = True
    return found
