"""Frozen feature networks, and how one is loaded by name (`feature_nets` has the table).

Each takes pictures as ganpress keeps them (RGB, [-1, 1]), converts them as its weights expect,
and returns the activations at its taps; nothing beyond the last tap asked for is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ganpress.errors import ConfigError, WeightsError, did_you_mean
from ganpress.losses.feature_nets import NAMES, NETS, SQUEEZENET, SQUEEZENET_CAFFE, FeatureNet
from ganpress.losses.preprocessing import IMAGENET, Preprocessing
from ganpress.losses.stored import tensor_of
from ganpress.losses.weights import (
    file_for,
    find_weights,
    fingerprint,
    published,
    read_weights,
    zoo_path,
)
from ganpress.types import State
from ganpress.types.pictures import CHANNELS, as_rgb

_AT_ONCE = 16  # resized pictures, whatever the size of a batch was


class Features(nn.Module):
    """A frozen network read at its taps; always in eval mode, its weights never get gradients.

    `name` says which weights these are (a metric's name contains it), `taps` the keys of what
    `forward` returns, `digest` the SHA-256 of the weight file, `published` whether these are the
    published weights, `min_size` the smallest height and width in pixels. `resize` is how `embed`
    resizes pictures, None where it takes them as they are; `heads` has tensors of the file that
    are not layers, by name.
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
        *,
        net: FeatureNet | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.digest = digest
        self.published = False
        self.min_size = net.min_size if net else 16
        self.resize = net.resize if net else None
        self.heads: dict[str, Tensor] = {}
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
            x: (n, 1 to 4, h, w) in [-1, 1], at least `min_size` high and wide, seen as
                `pictures.as_rgb` has it; the gradient flows back to it.
        Returns: tap name -> (n, c, h', w'), after the ReLU, so >= 0; EfficientNet's stages have
            none.
        Raises: ValueError for another shape.
        """
        smallest = self.min_size
        if x.ndim != 4 or x.shape[1] not in CHANNELS or min(x.shape[2:]) < smallest:
            raise ValueError(
                f"Features '{self.name}' take (n, 1 to 4, h, w) pictures of at least {smallest} x "
                f"{smallest} in [-1, 1], not {tuple(x.shape)}."
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

    def embed(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, d): the last tap's features averaged over space, of pictures resized
        as ``resize`` says; what distances of two sets compare."""
        last = self.taps[-1]
        if self.resize is None:
            return self(x)[last].mean((2, 3))  # type: ignore[no-any-return]
        return torch.cat([self(self.resize(few))[last].mean((2, 3)) for few in x.split(_AT_ONCE)])


def load_features(
    name: str,
    *,
    weights: Path | None = None,
    taps: Sequence[str] | int | None = None,
    normalise: bool = False,
) -> Features:
    """A frozen feature network with trained weights.

    Args:
        name: one of `NAMES`. 'squeezenet': torchvision's weights where they are found, else the
            Caffe ones, else torchvision's are downloaded. The result's `name` says which;
            'squeezenet-1.1' and 'squeezenet-1.1-caffe' insist on one. 'efficientnet-lite0' and
            'st-lpips-alex' are in the extra `features`; the three of Inception are one network
            with the resize and the input range of `losses.resize`.
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
    net = NETS[key]
    chosen = _chosen(key, net.taps, taps)
    layers = net.layers()
    heads = _fill(layers, path, net)
    digest = fingerprint(path)
    full = f"{key}-normalised" if normalise else key
    known = published(path, digest, net.file)
    if not known and path == weights:
        full = f"{full}@{digest[:8]}"
    range_ = IMAGENET if normalise else net.preprocessing
    features = Features(layers, full, chosen, range_, digest, net=net)
    features.published, features.heads = known, heads
    return features


def smallest_side(name: str) -> int:
    """Height and width, pixels, of the smallest pictures that the network of this name reads.

    Args: name: as of `load_features`; nothing is loaded or fetched.
    """
    return NETS["squeezenet-1.1" if name == "squeezenet" else name].min_size


def weights_among(name: str, weights: Path | None) -> Path | None:
    """`weights` where this network's file can be meant by it: a folder, or a file of its name."""
    file = NETS[name].file
    return weights if file is None else file_for(file, weights)


def without_weights(name: str, weights: Path | None = None) -> str:
    """'' where the network's published weights are on this machine, else how to have them.

    Args: name: as of `load_features`, but one network. weights: see `weights_among`.
    """
    file = NETS[name].file
    if file is None:
        return ""
    try:
        at = find_weights(file, given=weights_among(name, weights), fetch=False)
    except WeightsError as error:
        return str(error)
    return "" if at is not None else file.how_to_have()


def _found(name: str, weights: Path | None) -> tuple[str, Path]:
    """(name of the network, its weight file); resolves which SqueezeNet is meant."""
    if name == "tiny":
        own = weights is not None and not weights.is_dir()
        return name, weights if weights and own else zoo_path("tiny_features.safetensors")
    if name != "squeezenet":
        file = NETS[name].file
        if file is None:
            raise ConfigError(f"Features '{name}' have no weight file of their own.")
        return name, find_weights(file, given=weights)
    if weights is not None and weights.is_file():
        for key in ("squeezenet-1.1", "squeezenet-1.1-caffe"):
            file = NETS[key].file
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


def _fill(layers: nn.Sequential, path: Path, net: FeatureNet) -> dict[str, Tensor]:
    """Load the file's tensors into `layers` as float32, and return the network's `heads`; what the
    file has for other layers is left alone."""
    stored = read_weights(path)
    state: State = {}
    for name, tensor in layers.state_dict().items():
        if name.endswith("num_batches_tracked"):  # of training; not in every file
            state[name] = tensor
        else:
            state[name] = tensor_of(stored, net.key(name), tuple(tensor.shape), path)
    layers.load_state_dict(state)
    return {name: tensor_of(stored, name, shape, path) for name, shape in net.heads.items()}
