"""The CIFAR-10 ResNets of akamaster/pytorch_resnet_cifar10, whose logits score generated pictures.

They are no Inception network: a score on ResNet-56's logits is called ``is-resnet56``, and its
numbers compare with no published IS.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.errors import ConfigError, WeightsError, did_you_mean
from ganpress.losses.weights import WeightFile, find_weights, fingerprint, published, read_weights
from ganpress.types.pictures import CHANNELS, as_rgb

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
# The hashes are those of the authors' weights saved again as a plain state dict.
CLASSIFIERS = {
    "resnet20": WeightFile(
        "ResNet-20 (akamaster, CIFAR-10)",
        "resnet20.pth",
        sha256="4715e6186b152baf72db7e62f59e0ade05765ec3bf866e20818b089785fe13c0",
    ),
    "resnet56": WeightFile(
        "ResNet-56 (akamaster, CIFAR-10)",
        "resnet56.pth",
        sha256="75827dc19c84dcc128fc26ee0eb0b01299914c55efac68a121fad0ef6858e037",
    ),
}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as the authors train


class CifarResNet(nn.Module):
    """(n, 1 to 4, 32, 32) in [-1, 1], seen as RGB -> (n, 10) logits; He et al., CVPR 2016, 4.2.

    Three stages of n blocks (6 n + 2 layers), shortcuts without weights. Frozen: always in eval
    mode. `name` says which weights these are, `digest` is the SHA-256 of their file.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, blocks: int, name: str = "", digest: str = "") -> None:
        super().__init__()
        self.name, self.digest = name, digest
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks)
        self.layer2 = _stage(16, 32, blocks)
        self.layer3 = _stage(32, 64, blocks)
        self.linear = nn.Linear(64, len(CLASSES))
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> CifarResNet:
        """Stays in eval mode whatever `mode` says."""
        super().train(False)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Logits in the order of `CLASSES`. Raises: ValueError for another shape."""
        if x.ndim != 4 or x.shape[1] not in CHANNELS or x.shape[2:] != (32, 32):
            raise ValueError(
                f"'{self.name}' takes (n, 1 to 4, 32, 32) pictures in [-1, 1], not "
                f"{tuple(x.shape)}."
            )
        x = as_rgb(x)
        x = self.bn1(self.conv1(((x + 1) / 2 - self.mean) / self.std)).relu()
        x = self.layer3(self.layer2(self.layer1(x)))
        out: Tensor = self.linear(x.mean((2, 3)))
        return out


class _Block(nn.Module):
    """Two 3x3 convolutions; a narrower or larger shortcut is subsampled and padded with zeros."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.stride, self.more = (2, (o - i) // 2) if i != o else (1, 0)
        self.conv1 = nn.Conv2d(i, o, 3, self.stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(o, o, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(o), nn.BatchNorm2d(o)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        beside = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more, self.more))
        return (y + beside).relu()  # type: ignore[no-any-return]


def _stage(i: int, o: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(_Block(i if k == 0 else o, o) for k in range(blocks)))


def load_classifier(name: str = "resnet56", *, weights: Path | None = None) -> CifarResNet:
    """A frozen CIFAR-10 classifier with trained weights.

    Args:
        name: "resnet20" or "resnet56".
        weights: a weight file, or a folder searched before GANPRESS_WEIGHTS. A file that is not
            the known one is used, and the result's name carries its hash: 'resnet56@1a2b3c4d'.
    Raises: ConfigError for an unknown name; WeightsError for missing or wrong files.
    """
    if name not in CLASSIFIERS:
        raise ConfigError(
            f"There is no classifier '{name}'{did_you_mean(name, CLASSIFIERS)}. "
            f"Classifiers: {', '.join(CLASSIFIERS)}."
        )
    path = find_weights(CLASSIFIERS[name], given=weights)
    digest = fingerprint(path)
    known = published(path, digest, CLASSIFIERS[name])
    blocks = (int(name.removeprefix("resnet")) - 2) // 6
    net = CifarResNet(blocks, name if known else f"{name}@{digest[:8]}", digest)
    _fill(net, read_weights(path), path)
    return net


def _fill(net: nn.Module, stored: Mapping[str, Any], path: Path) -> None:
    own = {n: t for n, t in net.state_dict().items() if not n.endswith("num_batches_tracked")}
    plain = {n.removeprefix("module."): t for n, t in stored.items()}
    for name, tensor in own.items():
        found = plain.get(name)
        if not isinstance(found, Tensor) or found.shape != tensor.shape:
            seen = tuple(found.shape) if isinstance(found, Tensor) else "nothing"
            raise WeightsError(
                f"'{path}' is not the classifier it should be: '{name}' should be "
                f"{tuple(tensor.shape)} but is {seen}."
            )
    net.load_state_dict({n: plain[n].float() for n in own}, strict=False)
