"""Segmentation networks: pictures in [-1, 1] to the class of each pixel.

Two that papers measure by, with their published weights; a small one of the facades' classes, in
the zoo; and a user's own file, with a description beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ganpress.errors import ConfigError, WeightsError, did_you_mean
from ganpress.losses.deeplab import DEEPLABV2_COCO_STUFF, DeepLabV2
from ganpress.losses.drn import DRN_D_105_CITYSCAPES, DRNSegmenter
from ganpress.losses.preprocessing import Preprocessing
from ganpress.losses.stored import tensor_of
from ganpress.losses.unet import UNet
from ganpress.losses.weights import (
    WeightFile,
    file_for,
    find_weights,
    fingerprint,
    read_weights,
    zoo_path,
)
from ganpress.measures.label_sets import CITYSCAPES, COCO_STUFF
from ganpress.measures.labels import Labelling
from ganpress.measures.segmenter_file import SegmenterSettings, checked, read_description
from ganpress.measures.segmenter_programs import ENDINGS, open_network
from ganpress.types import State
from ganpress.types.pictures import CHANNELS, as_rgb
from ganpress.types.sizes import Size, height_width, words

FACADES = "segmenter-facades.safetensors"
FILES = (*ENDINGS, ".safetensors")
"""Endings of the files that hold a segmenter."""
DESCRIBED = "segmenter"
"""Key of the description in a .safetensors file's metadata."""


@dataclass(frozen=True)
class Geometry:
    """What a network is shown of a picture.

    size: pixels; "own": the picture as it is; "labels": resized to the size that logits are wanted
    of. rounded: resized pictures are rounded to 8 bits, as files of them would be.
    """

    size: Size | Literal["own", "labels"] = "own"
    resize: Literal["bilinear", "bicubic"] = "bilinear"
    rounded: bool = False

    @property
    def words(self) -> str:
        """For the protocol's line."""
        if self.size == "own":
            return "pictures at their own size"
        to = "the label map's size" if self.size == "labels" else f"{words(self.size)} px"
        return f"pictures resized to {to} ({self.resize}, antialiased)"

    def __call__(self, x: Tensor, wanted: tuple[int, int]) -> Tensor:
        """(n, 3, h, w) in [-1, 1], resized."""
        if self.size == "own":
            return x
        to = wanted if self.size == "labels" else height_width(self.size)
        if tuple(x.shape[-2:]) == to:
            return x
        x = F.interpolate(x, to, mode=self.resize, align_corners=False, antialias=True)
        return ((x + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1 if self.rounded else x


class Segmenter(nn.Module):
    """A frozen network that tells the class of each pixel; always in eval mode.

    ``segmenter(x)`` are logits, `classes_of` the classes. `name` says which weights these are,
    `digest` is the SHA-256 of its file, `labelling` what the classes are in label maps.
    """

    order: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        name: str,
        net: nn.Module,
        labelling: Labelling,
        preprocessing: Preprocessing,
        geometry: Geometry,
        digest: str,
    ) -> None:
        super().__init__()
        self.name, self.digest = name, digest
        self.labelling, self.geometry = labelling, geometry
        self.net = net
        at = (3, 1, 1)
        self.register_buffer("order", torch.tensor(preprocessing.order), persistent=False)
        self.register_buffer("scale", torch.tensor(preprocessing.scale).view(at), persistent=False)
        self.register_buffer("shift", torch.tensor(preprocessing.shift).view(at), persistent=False)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Segmenter:
        """Stays in eval mode whatever `mode` says."""
        super().train(False)
        return self

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Logits of each pixel; the gradient flows back to the pictures where the network lets it.

        Args: x: (n, 1 to 4, h, w) in [-1, 1], seen as RGB. size: (height, width) of the logits;
            default: the pictures' own.
        Returns: (n, classes, *size) float32, resized bilinearly.
        Raises: ValueError for another shape; WeightsError where the network gives other logits.
        """
        if x.ndim != 4 or x.shape[1] not in CHANNELS:
            raise ValueError(
                f"'{self.name}' takes (n, 1 to 4, h, w) pictures in [-1, 1], not {tuple(x.shape)}."
            )
        size = size or (x.shape[2], x.shape[3])
        seen = self.geometry(as_rgb(x).float(), size)
        out: Any = self.net(seen.index_select(1, self.order) * self.scale + self.shift)
        wanted = len(self.labelling.classes)
        if not isinstance(out, Tensor) or out.ndim != 4 or out.shape[:2] != (len(x), wanted):
            gave = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise WeightsError(
                f"The network '{self.name}' gives {gave}: it must give ({len(x)}, {wanted}, h, w) "
                f"logits, one for each of its {wanted} classes."
            )
        logits: Tensor = out.float()
        if tuple(logits.shape[-2:]) == size:
            return logits
        return F.interpolate(logits, size, mode="bilinear", align_corners=False, antialias=True)

    @torch.no_grad()
    def classes_of(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """(n, *size) int64: the likeliest class of each pixel. Args, Raises: as of the logits."""
        found: Tensor = self(x, size).argmax(1)
        return found

    @property
    def protocol(self) -> str:
        """The protocol's line on network, geometry and mean."""
        over = "found or true" if self.labelling.mean_over == "union" else "true"
        return (
            f"sha256 {self.digest[:12]}, {self.geometry.words}, logits resized bilinearly to the "
            f"label map's size, {len(self.labelling.classes)} classes; IoU: mean over the classes "
            f"that are {over}, of all pictures together; 0 to 1, larger is better"
        )


@dataclass(frozen=True)
class _Net:
    """A network with published weights, and the protocol that its name stands for."""

    build: Callable[[], nn.Module]
    file: WeightFile
    labelling: Labelling
    preprocessing: Preprocessing
    geometry: Geometry


def _normalised(mean: tuple[float, ...], std: tuple[float, ...]) -> Preprocessing:
    """Of pictures in [-1, 1], for a network that takes (v - mean) / std of v in [0, 1]."""
    return Preprocessing(
        tuple(0.5 / s for s in std),
        tuple((0.5 - m) / s for m, s in zip(mean, std, strict=True)),
    )


_DRN_MEAN = (0.29010095242892997, 0.32808144844279574, 0.28696394422942517)
_DRN_STD = (0.1829540508368939, 0.18656561047509476, 0.18447508988480435)
_COCO_MEAN = (104.008, 116.669, 122.675)  # blue, green, red; 0..255
_NETS = {
    "drn-d-105-cityscapes": _Net(
        lambda: DRNSegmenter(len(CITYSCAPES.classes)),
        DRN_D_105_CITYSCAPES,
        CITYSCAPES,
        _normalised(_DRN_MEAN, _DRN_STD),
        Geometry("own"),
    ),
    "deeplabv2-coco-stuff": _Net(
        lambda: DeepLabV2(len(COCO_STUFF.classes)),
        DEEPLABV2_COCO_STUFF,
        COCO_STUFF,
        Preprocessing((127.5,) * 3, tuple(127.5 - mean for mean in _COCO_MEAN), (2, 1, 0)),
        Geometry("labels", "bicubic", rounded=True),
    ),
}
NAMES = (*_NETS, "facades")
"""Segmenters that are known by name."""
MEASURES = ("miou", "accuracy")
"""What is measured under a segmenter, mean IoU and pixel accuracy: how a metric's name begins."""


def parts_of(metric: str) -> tuple[str, str] | None:
    """'miou-facades' -> ('miou', 'facades'): the measure and the segmenter of a metric's name; None
    for a metric that has none. The segmenter may be a file."""
    measure, _, segmenter = metric.partition("-")
    known = segmenter in NAMES or Path(segmenter).suffix in FILES
    return (measure, segmenter) if measure in MEASURES and known else None


def load_segmenter(name: str | Path, *, weights: Path | None = None) -> Segmenter:
    """A frozen segmentation network with trained weights.

    Args:
        name: one of `NAMES`, or a file: .safetensors of recipes/train_segmenter.py; .onnx, or
            TorchScript (.pt, .ts), with its description, `segmenter_file.SegmenterSettings`, in a
            .toml of the same name beside it. TorchScript is a program: run only files you trust.
        weights: the published file of a named network, or a folder searched before GANPRESS_WEIGHTS
            for it; a file of another name is not it.
    Returns: the network; that of a file of one's own is called by its hash, too: 'net@1a2b3c4d'.
    Raises: ConfigError for an unknown name or a wrong description; WeightsError for missing or
        wrong files; MissingExtra.
    """
    check_name(name)
    if str(name) == "facades":
        return _of_safetensors(zoo_path(FACADES), "facades")
    if str(name) in _NETS:
        return _published(str(name), weights)
    path = Path(name)
    if path.suffix == ".safetensors":
        return _of_safetensors(path)
    described, digest = read_description(path.with_suffix(".toml")), digest_of(path)
    net = open_network(path, described.size, path.with_suffix(".toml"))
    return _described(f"{path.stem}@{digest[:8]}", net, described, digest)


def digest_of(name: str | Path) -> str:
    """SHA-256 of a segmenter's file, its description included; "" of one that is known by name."""
    if str(name) in NAMES:
        return ""
    path, described = Path(name), Path(name).with_suffix(".toml")
    if path.suffix == ".safetensors":
        return fingerprint(path)
    return hashlib.sha256(path.read_bytes() + described.read_bytes()).hexdigest()


def check_name(name: str | Path) -> None:
    """Raises: ConfigError for what is neither a segmenter's name nor a file of one."""
    path = Path(name)
    if str(name) in NAMES or (path.is_file() and path.suffix in FILES):
        return
    if path.suffix in FILES:
        beside = [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
        raise ConfigError(f"There is no segmenter {path}{did_you_mean(path.name, beside)}.")
    raise ConfigError(
        f"There is no segmenter '{name}'{did_you_mean(str(name), NAMES)}. Segmenters: "
        f"{', '.join(NAMES)}; or a file that ends in {', '.join(FILES)}."
    )


def _described(name: str, net: nn.Module, given: SegmenterSettings, digest: str) -> Segmenter:
    geometry = Geometry(given.size, given.resize)
    return Segmenter(name, net, given.labelling, given.preprocessing, geometry, digest)


def _published(name: str, weights: Path | None) -> Segmenter:
    entry = _NETS[name]
    path = find_weights(entry.file, given=file_for(entry.file, weights))
    with torch.device("meta"):
        net = entry.build()
    fill(net, read_weights(path), path)
    digest = fingerprint(path)
    return Segmenter(name, net, entry.labelling, entry.preprocessing, entry.geometry, digest)


def fill(net: nn.Module, stored: Mapping[str, Any], path: Path) -> None:
    """Put a file's tensors, and no others, into a network as float32; it may be on "meta".

    Raises: WeightsError for a tensor that lacks, is of another shape, or is not the network's.
    """
    state: State = {}
    given = {name.removeprefix("module."): tensor for name, tensor in stored.items()}
    for name, tensor in net.state_dict().items():
        if name.endswith("num_batches_tracked"):  # of training; not in every file
            state[name] = torch.tensor(0)
        else:
            state[name] = tensor_of(given, name, tuple(tensor.shape), path)
    if odd := [name for name in given if name not in state]:
        raise WeightsError(
            f"'{path}' is not the file it should be: it has {len(odd)} more tensors than the "
            f"network, such as '{odd[0]}'. Give the published file with --weights."
        )
    net.load_state_dict(state, assign=True)


def _description_in(path: Path) -> dict[str, Any] | None:
    """The description in a .safetensors file's metadata; None where there is none."""
    try:
        with safe_open(path, "pt") as file:
            found = json.loads((file.metadata() or {}).get(DESCRIBED, "null"))
    except (SafetensorError, json.JSONDecodeError):
        return None
    return found if isinstance(found, dict) else None


def _of_safetensors(path: Path, name: str = "") -> Segmenter:
    stored = read_weights(path)
    described = _description_in(path)
    if described is None:
        raise WeightsError(
            f"'{path}' is no segmenter: it has no description inside, as the files have that "
            "recipes/train_segmenter.py writes. Give one of those, or .onnx with a .toml beside it."
        )
    given = checked(described, str(path))
    if given.net is None:
        raise WeightsError(f"'{path}' does not say what network it holds ('net').")
    with torch.device("meta"):
        net = UNet(len(given.names), given.net.widths)
    fill(net, stored, path)
    digest = fingerprint(path)
    return _described(name or f"{path.stem}@{digest[:8]}", net, given, digest)
