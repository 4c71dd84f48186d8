"""Frozen feature networks: VGG-16, SqueezeNet 1.1 (two sets of weights) and our own tiny one.

Each takes pictures as ganpress keeps them (RGB, [-1, 1]), converts them as its weights expect,
and returns the activations at its taps; nothing beyond the last tap asked for is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ganpress.errors import ConfigError, WeightsError, did_you_mean
from ganpress.losses.weights import (
    WeightFile,
    find_weights,
    fingerprint,
    published,
    read_weights,
    zoo_path,
)
from ganpress.pictures import CHANNELS, as_rgb
from ganpress.types import State

VGG16 = WeightFile(
    "VGG-16 (torchvision, ImageNet)",
    "vgg16-397923af.pth",
    "https://download.pytorch.org/models/vgg16-397923af.pth",
    "397923af",
    instead="Or take a smaller network: --set distance.features=squeezenet (of a compression).",
)
SQUEEZENET = WeightFile(
    "SqueezeNet 1.1 (torchvision, ImageNet)",
    "squeezenet1_1-b8a52dc0.pth",
    "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
    "b8a52dc0",
)
SQUEEZENET_CAFFE = WeightFile(
    "SqueezeNet 1.1 (the authors' Caffe weights, fp16)", "squeezenet1_1_caffe_fp16.pth"
)

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_CAFFE_MEAN = (104.0, 117.0, 123.0)  # blue, green, red; 0..255


@dataclass(frozen=True)
class Preprocessing:
    """The input transform that a network was trained with: channels in `order`, then
    x * scale + shift."""

    scale: tuple[float, ...]
    shift: tuple[float, ...]
    order: tuple[int, ...] = (0, 1, 2)


_PLAIN = Preprocessing((1.0,) * 3, (0.0,) * 3)
_UNIT = Preprocessing((0.5,) * 3, (0.5,) * 3)
_IMAGENET = Preprocessing(
    tuple(0.5 / std for std in _IMAGENET_STD),
    tuple((0.5 - mean) / std for mean, std in zip(_IMAGENET_MEAN, _IMAGENET_STD, strict=True)),
)
_CAFFE = Preprocessing((127.5,) * 3, tuple(127.5 - mean for mean in _CAFFE_MEAN), (2, 1, 0))


class Features(nn.Module):
    """A frozen network read at its taps; always in eval mode, its weights never get gradients.

    `name` says which weights these are (a metric's name contains it), `taps` the keys of what
    `forward` returns, `digest` the SHA-256 of the weight file.
    """

    order: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        layers: nn.Sequential,
        name: str,
        taps: Mapping[str, int],
        preprocessing: Preprocessing,
        digest: str,
    ) -> None:
        super().__init__()
        self.name = name
        self.digest = digest
        self.taps = tuple(taps)
        self._at = {index: tap for tap, index in taps.items()}
        kept = list(layers)[: max(taps.values()) + 1]
        self.layers = nn.Sequential(*kept)
        self.layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_buffer("order", torch.tensor(preprocessing.order), persistent=False)
        self.register_buffer(
            "scale", torch.tensor(preprocessing.scale).view(3, 1, 1), persistent=False
        )
        self.register_buffer(
            "shift", torch.tensor(preprocessing.shift).view(3, 1, 1), persistent=False
        )
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Features:
        """Stays in eval mode whatever `mode` says: a stage's `.train()` changes nothing."""
        super().train(False)
        return self

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Activations of pictures, first tap first.

        Under autocast the first convolution stays float32: pictures of a student and its teacher
        differ by less than the rounding error of bfloat16.

        Args:
            x: (n, 1 to 4, h, w) in [-1, 1], at least 16 x 16, seen as `pictures.as_rgb` has it; the
                gradient flows back to it.
        Returns: tap name -> (n, c, h', w'), after the ReLU, so >= 0.
        Raises: ValueError for another shape.
        """
        if x.ndim != 4 or x.shape[1] not in CHANNELS or min(x.shape[2:]) < 16:
            raise ValueError(
                f"Features '{self.name}' take (n, 1 to 4, h, w) pictures of at least 16 x 16 "
                f"in [-1, 1], not {tuple(x.shape)}."
            )
        hidden = as_rgb(x).index_select(1, self.order) * self.scale + self.shift
        hidden = hidden.contiguous(memory_format=torch.channels_last)  # pooling: 15 times as fast
        found = {}
        for index, layer in enumerate(self.layers):
            if index == 0:
                with torch.autocast(x.device.type, enabled=False):
                    hidden = layer(hidden)
            else:
                hidden = layer(hidden)
            if index in self._at:
                found[self._at[index]] = hidden
        return found


class Fire(nn.Module):
    """SqueezeNet's block: squeeze to few channels, expand by 1x1 and 3x3 side by side."""

    def __init__(self, inputs: int, few: int, each: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, few, 1)
        self.expand1x1 = nn.Conv2d(few, each, 1)
        self.expand3x3 = nn.Conv2d(few, each, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, 2 * each, h, w), >= 0."""
        small = torch.relu(self.squeeze(x))
        return torch.relu(torch.cat([self.expand1x1(small), self.expand3x3(small)], 1))


def vgg16_layers() -> nn.Sequential:
    """VGG-16's convolutions up to relu4_3; indices as in torchvision's `features`."""
    layers: list[nn.Module] = []
    inputs = 3
    for widths in ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512)):
        for width in widths:
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers[:-1])


def squeezenet_layers() -> nn.Sequential:
    """SqueezeNet 1.1 without its classifier; indices as in torchvision's `features`."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, stride=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(64, 16, 64),
        Fire(128, 16, 64),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(128, 32, 128),
        Fire(256, 32, 128),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        Fire(512, 64, 256),
    )


def tiny_layers() -> nn.Sequential:
    """Our own small network (127 k parameters), trained by recipes/train_tiny_features.py."""
    layers: list[nn.Module] = []
    inputs = 3
    for widths in ((16, 16), (32, 32), (64, 64), (96,)):
        for width in widths:
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.AvgPool2d(2))
    return nn.Sequential(*layers[:-1])


_VGG16_TAPS = {"relu1_2": 3, "relu2_2": 8, "relu3_3": 15, "relu4_3": 22}
# The seven slices of LPIPS, by the names of the SqueezeNet paper.
_SQUEEZENET_TAPS = {
    "relu1": 1,
    "fire3": 4,
    "fire5": 7,
    "fire6": 9,
    "fire7": 10,
    "fire8": 11,
    "fire9": 12,
}
_TINY_TAPS = {"relu1": 3, "relu2": 8, "relu3": 13, "relu4": 16}


@dataclass(frozen=True)
class _Net:
    layers: Callable[[], nn.Sequential]
    taps: Mapping[str, int]
    preprocessing: Preprocessing
    file: WeightFile | None = None  # None: in the zoo


_NETS = {
    "vgg16": _Net(vgg16_layers, _VGG16_TAPS, _UNIT, VGG16),
    "squeezenet-1.1": _Net(squeezenet_layers, _SQUEEZENET_TAPS, _IMAGENET, SQUEEZENET),
    "squeezenet-1.1-caffe": _Net(squeezenet_layers, _SQUEEZENET_TAPS, _CAFFE, SQUEEZENET_CAFFE),
    "tiny": _Net(tiny_layers, _TINY_TAPS, _PLAIN),
}
NAMES = ("vgg16", "squeezenet", "squeezenet-1.1", "squeezenet-1.1-caffe", "tiny")


def load_features(
    name: str,
    *,
    weights: Path | None = None,
    taps: Sequence[str] | int | None = None,
    normalise: bool = False,
) -> Features:
    """A frozen feature network with trained weights.

    Args:
        name: 'vgg16', 'tiny', or 'squeezenet': torchvision's weights where they are found, else
            the Caffe ones, else torchvision's are downloaded. The result's `name` says which;
            'squeezenet-1.1' and 'squeezenet-1.1-caffe' insist on one.
        weights: a weight file, or a folder searched before GANPRESS_WEIGHTS. A file that is not
            the published one is used, and the result's name carries its hash: 'vgg16@1a2b3c4d'.
        taps: some of the network's taps, or how many of them from the first on; default: all.
            Layers after the last are not computed.
        normalise: VGG-16 only: subtract ImageNet's mean and divide by its deviation
            (name 'vgg16-normalised'); without it, pictures enter in [0, 1] as in GAN Slimming.
    Raises: ConfigError for an unknown name or tap; WeightsError for missing or wrong files.
    """
    if name not in NAMES:
        raise ConfigError(
            f"No features named '{name}'{did_you_mean(name, NAMES)}. Choose from: "
            f"{', '.join(NAMES)}."
        )
    if normalise and name != "vgg16":
        raise ConfigError(
            f"normalise is a choice for 'vgg16' only: '{name}' has one input range. Leave it out."
        )
    key, path = _found(name, weights)
    net = _NETS[key]
    chosen = _chosen(key, net.taps, taps)
    layers = net.layers()
    _fill(layers, path, "features." if net.file else "")
    digest = fingerprint(path)
    full = f"{key}-normalised" if normalise else key
    if not published(path, net.file) and weights is not None:
        full = f"{full}@{digest[:8]}"
    return Features(layers, full, chosen, _IMAGENET if normalise else net.preprocessing, digest)


def _found(name: str, weights: Path | None) -> tuple[str, Path]:
    """(name of the network, its weight file); resolves which SqueezeNet is meant."""
    if name == "tiny":
        return name, weights if weights is not None else zoo_path("tiny_features.safetensors")
    if name != "squeezenet":
        file = _NETS[name].file
        if file is None:
            raise ConfigError(f"Features '{name}' have no weight file of their own.")
        return name, find_weights(file, given=weights)
    if weights is not None and weights.is_file():
        for key in ("squeezenet-1.1", "squeezenet-1.1-caffe"):
            file = _NETS[key].file
            if file is not None and weights.name == file.file:
                return key, find_weights(file, given=weights)
        raise WeightsError(
            f"Cannot tell which SqueezeNet '{weights}' is, and the two want different input. Name "
            f"it {SQUEEZENET.file} or {SQUEEZENET_CAFFE.file}, or ask for 'squeezenet-1.1' "
            "(RGB, ImageNet mean) or 'squeezenet-1.1-caffe' (BGR, 0..255 less the mean)."
        )
    both = (("squeezenet-1.1", SQUEEZENET), ("squeezenet-1.1-caffe", SQUEEZENET_CAFFE))
    for key, file in both:
        path = find_weights(file, given=weights, fetch=False)
        if path is not None:
            return key, path
    return "squeezenet-1.1", find_weights(SQUEEZENET, given=weights)


def _chosen(
    name: str, known: Mapping[str, int], taps: Sequence[str] | int | None
) -> dict[str, int]:
    if taps is None:
        return dict(known)
    if isinstance(taps, int):
        taps = list(known)[:taps]
    for tap in taps:
        if tap not in known:
            raise ConfigError(
                f"Features '{name}' have no tap '{tap}'{did_you_mean(tap, known)}. "
                f"Taps: {', '.join(known)}."
            )
    if not taps:
        raise ConfigError(f"taps for features '{name}' is empty. Taps: {', '.join(known)}.")
    return {tap: known[tap] for tap in known if tap in taps}


def _fill(layers: nn.Sequential, path: Path, prefix: str) -> None:
    """Load the file's tensors into `layers` as float32; other layers' tensors are left alone."""
    stored = read_weights(path)
    wanted = layers.state_dict()
    state: State = {}
    for key, tensor in wanted.items():
        found = stored.get(prefix + key)
        if not isinstance(found, Tensor) or found.shape != tensor.shape:
            seen = tuple(found.shape) if isinstance(found, Tensor) else "nothing"
            raise WeightsError(
                f"'{path}' is not the file it should be: '{prefix}{key}' should be "
                f"{tuple(tensor.shape)} but is {seen}. Give the published file with --weights, "
                "or remove this one so that it is fetched again."
            )
        state[key] = found.float()
    layers.load_state_dict(state)
