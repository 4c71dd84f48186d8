"""What each network's weights expect of a picture's channels and range."""

from __future__ import annotations

from dataclasses import dataclass

from ganpress.losses.st_lpips import SCALE, SHIFT

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


PLAIN = Preprocessing((1.0,) * 3, (0.0,) * 3)
UNIT = Preprocessing((0.5,) * 3, (0.5,) * 3)
IMAGENET = Preprocessing(
    tuple(0.5 / std for std in _IMAGENET_STD),
    tuple((0.5 - mean) / std for mean, std in zip(_IMAGENET_MEAN, _IMAGENET_STD, strict=True)),
)
CAFFE = Preprocessing((127.5,) * 3, tuple(127.5 - mean for mean in _CAFFE_MEAN), (2, 1, 0))
LITE = Preprocessing((127.5 / 128,) * 3, (0.5 / 128,) * 3)  # (v - 127) / 128 of v in 0..255
GRAPH = Preprocessing((127.5 / 128,) * 3, (-0.5 / 128,) * 3)  # (v - 128) / 128
ST = Preprocessing(
    tuple(1 / scale for scale in SCALE),
    tuple(-s / scale for s, scale in zip(SHIFT, SCALE, strict=True)),
)
