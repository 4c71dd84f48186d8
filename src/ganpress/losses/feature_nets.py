"""The feature networks that are known by name: layers, taps, input range, and the weight file.

VGG-16, SqueezeNet 1.1 (two sets of weights), our own tiny one, and those that metrics are named by:
EfficientNet-lite0, ST-LPIPS's AlexNet, Inception-v3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from ganpress.losses import efficientnet, inception, st_lpips
from ganpress.losses.networks import (
    SQUEEZENET_TAPS,
    TINY_TAPS,
    VGG16_TAPS,
    squeezenet_layers,
    tiny_layers,
    vgg16_layers,
)
from ganpress.losses.preprocessing import (
    CAFFE,
    GRAPH,
    IMAGENET,
    LITE,
    PLAIN,
    ST,
    UNIT,
    Preprocessing,
)
from ganpress.losses.resize import Resize
from ganpress.losses.weights import WeightFile

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


def _as_torchvision(name: str) -> str:
    return f"features.{name}"


def _as_named(name: str) -> str:
    return name


@dataclass(frozen=True)
class FeatureNet:
    """What `load_features` knows of a network.

    key: how the file calls a tensor of ours. heads: further tensors that the file must have.
    """

    layers: Callable[[], nn.Sequential]
    taps: Mapping[str, int]
    preprocessing: Preprocessing
    file: WeightFile | None = None  # None: in the zoo
    key: Callable[[str], str] = _as_torchvision
    min_size: int = 16
    resize: Resize | None = None
    heads: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def _inception(resize: Resize, preprocessing: Preprocessing) -> FeatureNet:
    return FeatureNet(
        inception.inception_layers,
        inception.TAPS,
        preprocessing,
        inception.INCEPTION,
        _as_named,
        min_size=75,
        resize=resize,
        heads={inception.LOGITS: (inception.CLASSES, inception.POOLED)},
    )


NETS = {
    "vgg16": FeatureNet(vgg16_layers, VGG16_TAPS, UNIT, VGG16),
    "squeezenet-1.1": FeatureNet(
        squeezenet_layers, SQUEEZENET_TAPS, IMAGENET, SQUEEZENET, min_size=17
    ),
    "squeezenet-1.1-caffe": FeatureNet(
        squeezenet_layers, SQUEEZENET_TAPS, CAFFE, SQUEEZENET_CAFFE, min_size=17
    ),
    "tiny": FeatureNet(tiny_layers, TINY_TAPS, PLAIN, key=_as_named),
    "efficientnet-lite0": FeatureNet(
        efficientnet.efficientnet_lite0_layers,
        efficientnet.TAPS,
        LITE,
        efficientnet.EFFICIENTNET_LITE0,
        efficientnet.key_in_file,
        resize=Resize(224, "clean"),
    ),
    "st-lpips-alex": FeatureNet(
        st_lpips.st_alexnet_layers,
        st_lpips.TAPS,
        ST,
        st_lpips.ST_LPIPS_ALEX,
        st_lpips.key_in_file,
        min_size=st_lpips.MIN_SIZE,
        heads=st_lpips.HEADS,
    ),
    "inception-pytorch": _inception(Resize(inception.SIZE, "pytorch"), PLAIN),
    "inception-tf1": _inception(Resize(inception.SIZE, "tf1"), GRAPH),
    "inception-clean": _inception(Resize(inception.SIZE, "clean"), GRAPH),
}
NAMES = ("vgg16", "squeezenet", *(name for name in NETS if name != "vgg16"))
