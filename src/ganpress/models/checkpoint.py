"""A checkpoint knows itself: safetensors plus a JSON card. Never pickle.

The card holds family, widths, options, precision, quantiser and where the weights come from, so a
file is all that is needed to rebuild the network. A quantised network's convolution weights are
stored as int8 with their scales, and the card has its activation ranges.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from ganpress.errors import CheckpointError, ConfigError, GanpressError, did_you_mean
from ganpress.models.discriminator import Discriminator
from ganpress.models.discriminator_file import build_described
from ganpress.models.families import FAMILIES, Family, family
from ganpress.models.families.base import Generator
from ganpress.models.stored import (
    FORMAT,
    PREFIX,
    RANGE,
    STEP,
    fill,
    not_finite,
    read_stored,
    unpack,
)
from ganpress.nn.axes import widths
from ganpress.nn.layers import add_gates, quantisable
from ganpress.nn.modes import in_eval
from ganpress.quantisation.exact import quantiser_from_card
from ganpress.quantisation.quantise import (
    FakeQuantiser,
    learn_ranges,
    quantise,
    quantiser_of,
    ranges_of,
    set_ranges,
)
from ganpress.run.files import write_file
from ganpress.run.hub.fetch import local_file
from ganpress.types import State
from ganpress.types.sizes import Size, as_size, height_width, words


@dataclass
class Model:
    """A generator with what is known about it; calling it runs it without gradients.

    Attributes:
        net: the network; `net.forward` keeps gradients.
        family, options, widths: enough to build it again.
        provenance: where the weights come from: source, licence, run, metrics.
        discriminator: what it was trained against, where that is known: compression starts from
            it.
    """

    net: nn.Module
    family: Family
    options: dict[str, Any]
    provenance: dict[str, Any] = field(default_factory=dict)
    discriminator: Discriminator | None = None

    @property
    def size(self) -> int:
        """Height and width of its pictures in pixels: the network's own, or its family's usual."""
        return int(getattr(self.net, "size", self.family.image.size))

    @property
    def is_fixed(self) -> bool:
        """Whether the network makes pictures of one size only, as those do that read noise."""
        return hasattr(self.net, "size")

    @property
    def multiple(self) -> int:
        """Height and width of its pictures must be divisible by this (options can raise it)."""
        return self._decides.multiple

    @property
    def min_size(self) -> int:
        """The smallest height and width it is made for, pixels."""
        return self._decides.min_size

    @property
    def _decides(self) -> Generator:
        return self.net if isinstance(self.net, Generator) else Generator()

    def resolve_size(self, size: Size | None, default: Size | None = None) -> Size:
        """The size asked for, or else the default, or else the network's own.

        Raises: ConfigError for a size that the generator cannot make.
        """
        if self.is_fixed:
            if size is not None and as_size(size) != self.size:
                raise ConfigError(
                    f"The size is {words(as_size(size))}, but this '{self.family.name}' generator "
                    f"makes pictures of {self.size} pixels: leave the size out."
                )
            return self.size
        given = next((s for s in (size, default) if s is not None), self.size)
        self._decides.check_size(*height_width(as_size(given)))
        return as_size(given)

    def fit(self, size: Size) -> Size:
        """The smallest size that it takes and that covers this one, pixels; a network of one size
        has its own."""
        return self.size if self.is_fixed else as_size(self._decides.fit(*height_width(size)))

    @property
    def widths(self) -> dict[str, int]:
        """Channels of each group."""
        return widths(self.net)

    @torch.no_grad()
    def __call__(self, *inputs: Tensor) -> Tensor:
        """What the network makes of its inputs (see its `reads`): (n, 3, h, w) in [-1, 1]."""
        with in_eval(self.net):
            out: Tensor = self.net(*inputs)
        return out

    def build(self, widths: Mapping[str, int]) -> nn.Module:
        """A fresh network of the same family and options at other widths."""
        return self.family.build(widths, **self.options)

    def card(self) -> dict[str, Any]:
        """What is written beside the weights."""
        quantiser = quantiser_of(self.net)
        return {
            "format": FORMAT,
            "family": self.family.name,
            "options": self.options,
            "widths": self.widths,
            "quantiser": quantiser.card() if quantiser else None,
            "ranges": ranges_of(self.net),
            "discriminator": self.discriminator.card() if self.discriminator else None,
            "provenance": self.provenance,
        }


def full_model(name: str, **options: Any) -> Model:
    """The papers' full network of a family, with fresh weights."""
    which = family(name)
    resolved = which.resolve(options)
    return Model(which.build(**resolved), which, resolved)


def save(model: Model, path: Path | str, *, half: bool = False, trainable: bool = False) -> Path:
    """Write a model; the file appears whole or not at all.

    Args:
        half: store floating tensors as float16 (weights of a quantised model are int8 anyway).
        trainable: keep the float weights behind a quantiser, and learned ranges as parameters, so
            that training can go on; else the weights are int8 and the ranges in the card final.
    Raises `CheckpointError` for values that are not finite, or not in half precision.
    """
    path = Path(path)
    state = {n: t.detach().cpu() for n, t in model.net.state_dict().items()}
    if model.discriminator:
        own = model.discriminator.net.state_dict()
        state |= {f"{PREFIX}{n}": t.detach().cpu() for n, t in own.items()}
    if bad := not_finite(state):
        raise CheckpointError(f"{path}: not saved, {bad[0]} has values that are not finite.")
    if not trainable:
        state = _pack(state, model.net)
    if half:
        state = {
            n: t.half() if t.is_floating_point() and not n.endswith((STEP, RANGE)) else t
            for n, t in state.items()
        }
        if bad := not_finite(state):
            raise CheckpointError(
                f"{path}: not saved, {bad[0]} has values beyond half precision (65504): save it "
                "full."
            )
    metadata = {"ganpress": json.dumps(model.card())}
    plain = {n: t.contiguous().clone() for n, t in state.items()}
    data = to_bytes(plain, metadata=metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, data)
    return path


def _pack(state: State, net: nn.Module) -> State:
    """Replace quantised weights by int8 and their scale, by the quantiser's own rule; the card has
    the ranges."""
    out = dict(state)
    for name, layer in quantisable(net).items():
        q = layer.quantiser
        if isinstance(q, FakeQuantiser):
            w = out.pop(f"{name}.weight")
            integers, step = q.weight_integers(w, out_dim=layer.out_dim)
            out[f"{name}.weight"], out[f"{name}.weight{STEP}"] = integers, step
            out.pop(f"{name}{RANGE}", None)
    return out


def load(path: Path | str, *, expect: str | None = None) -> Model:
    """Read a model written by `save`; float32 in memory whatever the file's precision.

    Args:
        path: a file, or one on the hub: hub:owner/name[@revision][/file], which is fetched.
        expect: refuse a file of another family than this.
    Raises `CheckpointError` for a missing, truncated, foreign or inconsistent file; `HubError` for
    one that cannot be fetched.
    """
    path = local_file(path)
    card, state = read_stored(path)
    name = card.get("family")
    if name is None and card.get("discriminator"):
        raise CheckpointError(f"{path} is a discriminator without its generator: give that.")
    if name not in FAMILIES:
        raise CheckpointError(
            f"{path} is of family '{name}', which this version does not know"
            f"{did_you_mean(str(name), FAMILIES)}. Families: {', '.join(FAMILIES)}."
        )
    if expect is not None and name != expect:
        raise CheckpointError(f"{path} is a '{name}' generator, but '{expect}' is needed here.")
    model = _described(card, FAMILIES[name], path)
    quantiser = quantiser_of(model.net)  # while its ranges are numbers
    if any(n.endswith(".gate") for n in state):
        add_gates(model.net)
    if any(n.endswith(RANGE) for n in state):
        learn_ranges(model.net)
    plain = unpack(state, quantiser)
    own = {n: t for n, t in plain.items() if not n.startswith(PREFIX)}
    fill(model.net, own, source=str(path))
    if model.discriminator:
        rest = {n.removeprefix(PREFIX): t for n, t in plain.items() if n.startswith(PREFIX)}
        fill(model.discriminator.net, rest, source=f"{path} (its discriminator)")
    return model


def _described(card: dict[str, Any], which: Family, path: Path) -> Model:
    """The network a card describes, on the meta device, with its quantisers."""
    try:
        options = which.resolve(card["options"])
        with torch.device("meta"):
            net = which.build(card["widths"], **options).eval()
        if card.get("quantiser"):
            quantise(net, quantiser_from_card(card["quantiser"]))
            set_ranges(net, card.get("ranges", {}))
        discriminator = build_described(fields) if (fields := card.get("discriminator")) else None
        return Model(net, which, options, dict(card.get("provenance", {})), discriminator)
    except (KeyError, TypeError, AttributeError, ValueError, GanpressError) as error:
        raise CheckpointError(
            f"{path} has a card that does not describe a '{which.name}' generator "
            f"({type(error).__name__}: {error}). Write it again with the version that made it."
        ) from error


def fingerprint(net: nn.Module) -> str:
    """SHA-256 in hex over names, shapes and values of a network's state."""
    seen = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        seen.update(f"{name}{tuple(tensor.shape)}".encode())
        seen.update(tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return seen.hexdigest()


def digest(model: Model) -> str:
    """SHA-256 in hex of all that decides a model's pictures: weights, wiring, quantiser, ranges."""
    card = {k: v for k, v in model.card().items() if k not in ("provenance", "discriminator")}
    seen = json.dumps([fingerprint(model.net), card], sort_keys=True)
    return hashlib.sha256(seen.encode()).hexdigest()
