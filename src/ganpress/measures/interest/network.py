"""Masks by a network: the classes of interest of a segmentation, or a saliency map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganpress.errors import ConfigError
from ganpress.losses.weights import read_weights
from ganpress.measures.interest.card import MaskCard
from ganpress.measures.interest.sinet import SINet
from ganpress.measures.segmenter import Geometry, fill
from ganpress.measures.segmenter_programs import ENDINGS, open_network
from ganpress.sniff import misplaced
from ganpress.types.pictures import as_rgb
from ganpress.types.sizes import height_width

NETWORKS = (*ENDINGS, ".pth")
"""Endings of the files that hold a network of masks."""
SEEN = 0.5
"""A probability map of which no pixel reaches this shows nothing: its mask is empty."""


class NetworkMask(nn.Module):
    """Pictures (n, 1 to 4, h, w) in [-1, 1] -> their masks (n, 1, h, w) in [0, 1], no gradient.

    Pictures of any shape are resized to the network's own size, and masks back (bilinear,
    antialiased both ways), so that a mask's edges are soft.
    """

    order: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, name: str, net: nn.Module, card: MaskCard) -> None:
        super().__init__()
        self.name, self.net, self.card = name, net, card
        self.geometry = Geometry(card.size, card.resize)
        given, at = card.preprocessing, (3, 1, 1)
        self.register_buffer("order", torch.tensor(given.order), persistent=False)
        self.register_buffer("scale", torch.tensor(given.scale).view(at), persistent=False)
        self.register_buffer("shift", torch.tensor(given.shift).view(at), persistent=False)
        self.requires_grad_(False).eval()
        if card.layout == "nchw":
            for weight in self.parameters():  # depthwise layers are faster so
                if weight.ndim == 4:
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """See the class. Raises: ConfigError where the network gives what its card does not say."""
        size = (pictures.shape[-2], pictures.shape[-1])
        seen = self.geometry(as_rgb(pictures).float().to(self.order.device), size)
        seen = seen.index_select(1, self.order) * self.scale + self.shift
        seen = seen.contiguous(memory_format=torch.channels_last)
        if self.card.layout == "nhwc":
            seen = seen.permute(0, 2, 3, 1)
        with torch.autocast(seen.device.type, enabled=False):
            found = self._found(self.net(seen), len(seen)).to(pictures.device)
        if tuple(found.shape[-2:]) == size:
            return found
        resized = F.interpolate(found, size, mode="bilinear", align_corners=False, antialias=True)
        return resized.clamp(0, 1)

    def _found(self, out: Any, count: int) -> Tensor:
        """(n, 1, h', w') of the network's first output."""
        card = self.card
        while isinstance(out, tuple | list) and out:
            out = out[0]
        maps = out.float() if isinstance(out, Tensor) else None
        if maps is not None and maps.ndim == 3 and card.output != "classes":
            maps = maps.unsqueeze(-1 if card.layout == "nhwc" else 1)
        if maps is not None and maps.ndim == 4 and card.layout == "nhwc":
            maps = maps.permute(0, 3, 1, 2)
        channels = len(card.names) if card.output == "classes" else 1
        if maps is None or maps.ndim != 4 or maps.shape[:2] != (count, channels):
            raise ConfigError(self._odd(out, count, channels))
        if card.output == "classes":
            return _largest_is_kept(maps, card.kept)
        return self._of_probability(maps)

    def _of_probability(self, maps: Tensor) -> Tensor:
        if self.card.output == "logit":
            maps = maps.sigmoid()
        elif float(maps.min()) < -1e-3 or float(maps.max()) > 1 + 1e-3:
            raise ConfigError(
                f"The network {self.name} gives values from {float(maps.min()):.3g} to "
                f"{float(maps.max()):.3g}, which are no probabilities: of a logit, write output = "
                '"logit" in its card.'
            )
        maps = maps.clamp(0, 1)
        if self.card.threshold is not None:
            return (maps >= self.card.threshold).float()
        return maps * (maps.amax((1, 2, 3), keepdim=True) >= SEEN)

    def _odd(self, out: Any, count: int, channels: int) -> str:
        gave = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        shape = "n, h, w, {}" if self.card.layout == "nhwc" else "n, {}, h, w"
        wanted = shape.format(channels).replace("n", str(count), 1)
        why = f"one for each of {channels} classes" if channels > 1 else "one channel"
        found = out.shape[-1 if self.card.layout == "nhwc" else 1] if hasattr(out, "shape") else 0
        advice = f"write classes = {found}, or " if channels > 1 and found > 1 else ""
        return (
            f"The network {self.name} gives {gave}, and its card says ({wanted}): {why}. In the "
            f"card, {advice}mend 'classes', 'output' and 'layout'."
        )


def _largest_is_kept(logits: Tensor, kept: tuple[int, ...]) -> Tensor:
    """Where the largest of (n, c, h, w) is one of these classes, (n, 1, h, w) as 0 and 1; equal
    ones are the class of interest. In place of argmax, which takes 60 times as long on a CPU."""
    others = [k for k in range(logits.shape[1]) if k not in kept]
    if not others:
        return torch.ones_like(logits[:, :1])
    best, rest = (logits[:, list(some)].amax(1, keepdim=True) for some in (kept, others))
    return (best >= rest).float()


def open_network_mask(path: Path, card: MaskCard, card_path: Path) -> NetworkMask:
    """The network in a file, tried on a grey picture so that its output is known to be usable.

    Raises: ConfigError, WeightsError, MissingExtra.
    """
    found = NetworkMask(str(path), _network(path, card, card_path), card)
    height, width = (64, 64) if card.size == "own" else height_width(card.size)
    try:
        found(torch.zeros(1, 3, height, width))
    except ConfigError:
        raise
    except Exception as error:  # torch and onnxruntime raise many kinds
        why = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"The network {path} fails on a picture of {height} x {width} pixels ({why}): mend "
            f"'size' and 'layout' in {card_path}."
        ) from error
    return found


def _network(path: Path, card: MaskCard, card_path: Path) -> nn.Module:
    if path.suffix != ".pth":
        last = card.layout == "nhwc"
        return open_network(path, card.size, card_path, channels_last=last)
    if card.net is None:
        other = misplaced(path, "weights")
        raise ConfigError(
            f"{path} {other or 'holds weights without their network'}: give TorchScript "
            "(torch.jit.save) or ONNX, or of SINet's weights mask.card=sinet."
        )
    with torch.device("meta"):
        net = SINet()
    fill(net, read_weights(path), path)
    return net
