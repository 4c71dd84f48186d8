"""Tiny networks of every family and option, shared by the tests.

Widths differ from group to group, so that a tensor sliced by the wrong one has the wrong shape.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest
import torch
from thin import thinned
from torch import Tensor, nn

from ganpress.channels.take import Build, scales
from ganpress.models.checkpoint import Model
from ganpress.models.discriminator import Discriminator
from ganpress.models.families import FAMILIES, Family
from ganpress.models.families.base import draw_inputs
from ganpress.nn.axes import widths
from ganpress.nn.discriminators import build_discriminator
from ganpress.nn.layers import add_gates
from ganpress.types import Inputs

PIXELS = 32
PRIMES = [p for p in range(5, 200) if all(p % d for d in range(2, p))]
CYCLEGAN = {"stem": 5, "down1": 7, "trunk": 11, "block0": 13, "block1": 3, "up1": 17, "up2": 19}
CARTOONGAN = {
    **{"stem": 5, "down1a": 7, "down1": 11, "down2a": 13, "trunk": 17},
    **{"block0": 19, "block1": 3, "up1a": 23, "up1": 29, "up2a": 31, "up2": 37},
}
TINY: dict[str, dict[str, Any]] = {
    "cyclegan": {"blocks": 2},
    "cartoongan": {"blocks": 2},
    "pix2pix": {"downs": 5},
    "gaugan": {"labels": 4},
    "munit": {"res": 1},
    "sngan": {"latent_dim": 6},
    "stylegan2": {"size": 16, "style_dim": 8, "n_mlp": 2, "most": 32},
}
DISCRIMINATOR_OF: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "cyclegan": ("patch", {"width": 4, "layers": 2}, (3,)),
    "cartoongan": ("patch", {"width": 4, "layers": 1}, (3,)),
    "pix2pix": ("patch", {"inputs": 6, "width": 4, "layers": 2, "norm": "batch"}, (6,)),
    "gaugan": ("spade", {"inputs": 8, "width": 4, "layers": 3}, (8,)),
    "munit": ("munit", {"width": 4, "layers": 2, "scales": 2}, (3,)),
    "sngan": ("sngan", {"width": 8, "classes": 4}, (3, 4)),
    "stylegan2": ("stylegan2", {"size": 16, "channels": [8, 8, 4]}, (3,)),
}
"""Kind, options, and channels of what the discriminator reads: a picture, then class weights."""
INEXACT = {"munit": ("up1", "up2")}
"""Groups whose cut changes what remains: a LayerNorm over all channels stands behind them."""
IDLE = {"munit": "style."}
"""Modules that `forward` does not run."""


@dataclass(frozen=True)
class Wiring:
    """A family with options and tiny widths."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> Family:
        return FAMILIES[self.name]

    @property
    def settled(self) -> dict[str, Any]:
        """All options, with the tiny defaults of the tests."""
        return self.family.resolve({**TINY[self.name], **self.options})

    @property
    def widths(self) -> dict[str, int]:
        """A number for each group, no two the same: mostly primes, the largest where pictures are
        smallest; small ones where there are many groups, whose primes would be a real network."""
        groups = self.family.full(self.settled)
        for known in (CYCLEGAN, CARTOONGAN):
            if groups.keys() == known.keys():
                return dict(known)
        numbers = PRIMES[: len(groups)] if len(groups) < 20 else range(3, 3 + len(groups))
        return dict(zip(groups, reversed(numbers), strict=True))

    @property
    def is_batch(self) -> bool:
        """Whether it has running statistics."""
        return any("running_mean" in n for n, _ in self.ghost.named_buffers())

    @property
    def vanishing(self) -> tuple[str, ...]:
        """Groups that can lose all their channels."""
        return self.family.may_vanish(self.settled)

    @property
    def inexact(self) -> tuple[str, ...]:
        return INEXACT.get(self.name, ())

    @property
    def pixels(self) -> int:
        return 64 if self.name == "gaugan" else PIXELS

    @property
    def build(self) -> Build:
        return lambda widths: self.family.build(widths, **self.settled)

    @cached_property
    def ghost(self) -> nn.Module:
        """The network without numbers."""
        with torch.device("meta"):
            return self.build(self.widths)

    def inputs(self, n: int = 2, seed: int = 1) -> Inputs:
        """Random inputs of its tiny size; pictures are noise in [-1, 1]."""
        return draw_inputs(self.ghost, n, self.pixels, torch.Generator().manual_seed(seed))

    def runs(self, name: str) -> bool:
        """Whether `forward` uses the tensor or module of this name."""
        return not name.startswith(IDLE.get(self.name, "\0"))

    def model(self, seed: int = 0) -> Model:
        """A tiny model with random weights, scales, shifts and running statistics."""
        return Model(self.net(seed), self.family, self.settled, {"source": "test"})

    def discriminator(self) -> Discriminator:
        """A tiny discriminator of the family's kind."""
        kind, options, _ = DISCRIMINATOR_OF[self.name]
        torch.manual_seed(2)
        return Discriminator(build_discriminator(kind, **options), kind, dict(options))

    def shown(self) -> Inputs:
        """Random inputs of the discriminator."""
        channels, *classes = DISCRIMINATOR_OF[self.name][2]
        side = self.settled.get("size", PIXELS)
        draw = torch.Generator().manual_seed(6)
        picture = torch.rand(4, channels, side, side, generator=draw) * 2 - 1
        return (picture, *(torch.eye(c)[:4] for c in classes))

    def net(self, seed: int = 0, *, gates: bool = False, **changed: int) -> nn.Module:
        """The network alone, in eval mode; `changed` are other widths than the tiny ones."""
        torch.manual_seed(seed)
        net = self.build({**self.widths, **changed}).eval()
        if gates:
            add_gates(net)
        return randomise(net)


@torch.no_grad()
def randomise(net: nn.Module) -> nn.Module:
    """Scales in [0.5, 1.5], shifts and statistics that are not 0, weights that keep variance.

    Layers with an equalised learning rate keep their weights, which have unit variance.
    """
    equal = tuple(
        n for n, m in net.named_modules() if hasattr(m, "lr_mul") or hasattr(m, "demodulate")
    )
    for name, tensor in net.named_parameters():
        leaf = name.rsplit(".", 1)[-1]
        if leaf in ("gate", "gain", "strength") or (leaf == "weight" and tensor.ndim == 1):
            tensor.uniform_(0.5, 1.5)
        elif leaf in ("bias", "shift"):
            tensor.normal_(0, 0.5)
        elif not any(name.startswith(f"{e}.") for e in equal) and leaf != "const":
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
        if ".gamma." in name or name == "conv_img.weight":  # else a SPADE net only saturates
            tensor.mul_(0.1)
    for name, tensor in net.named_buffers():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            tensor.normal_(0, 0.5)
    return net


WIRINGS = {
    "cyclegan instance": Wiring("cyclegan"),
    "cyclegan affine": Wiring("cyclegan", {"affine": True}),
    "cyclegan batch": Wiring("cyclegan", {"norm": "batch"}),
    "cyclegan separable": Wiring("cyclegan", {"separable": True}),
    "cyclegan separable affine": Wiring("cyclegan", {"separable": True, "affine": True}),
    "cyclegan separable batch": Wiring("cyclegan", {"separable": True, "norm": "batch"}),
    "cyclegan blurred": Wiring("cyclegan", {"affine": True, "antialias": 3, "up": "bilinear"}),
    "cyclegan deep": Wiring(
        "cyclegan",
        {"affine": True, "downsamplings": 3, "up": "nearest", "padding": "replicate"},
    ),
    "cyclegan zeros": Wiring("cyclegan", {"norm": "batch", "padding": "zero"}),
    "cyclegan integers": Wiring(
        "cyclegan",
        {"norm": "batch", "padding": "zero", "outer_padding": "zero", "up": "sub-pixel"},
    ),
    "cartoongan": Wiring("cartoongan"),
    "cartoongan separable": Wiring("cartoongan", {"separable": True}),
    "cartoongan batch": Wiring("cartoongan", {"norm": "batch"}),
    "pix2pix": Wiring("pix2pix"),
    "pix2pix instance": Wiring("pix2pix", {"norm": "instance", "affine": True}),
    "pix2pix leaky": Wiring(
        "pix2pix",
        {"norm": "instance", "affine": True, "leaky_skips": True, "upsampling": "resize-last"},
    ),
    "pix2pix resize": Wiring("pix2pix", {"norm": "instance", "upsampling": "resize"}),
    "pix2pix integers": Wiring("pix2pix", {"upsampling": "sub-pixel", "biased": True}),
    "gaugan": Wiring("gaugan"),
    "gaugan separable": Wiring("gaugan", {"separable": True, "edges": False, "dontcare": True}),
    "gaugan instance": Wiring("gaugan", {"norm": "instance"}),
    "munit": Wiring("munit"),
    "munit separable": Wiring("munit", {"separable": True, "style_encoder": False}),
    "sngan": Wiring("sngan"),
    "sngan conditional": Wiring("sngan", {"classes": 4}),
    "sngan instance": Wiring("sngan", {"norm": "instance"}),
    "sngan conditional instance": Wiring("sngan", {"classes": 4, "norm": "instance"}),
    "stylegan2": Wiring("stylegan2"),
}


RESNETS = {name: w for name, w in WIRINGS.items() if w.name in ("cyclegan", "cartoongan")}
SCALED = {n: w for n, w in RESNETS.items() if w.options.get("norm") or w.name != "cyclegan"}
SCALED |= {n: w for n, w in RESNETS.items() if w.options.get("affine")}
EMPTIED = {n: w for n, w in SCALED.items() if not w.is_batch}
GATED = {n: w for n, w in WIRINGS.items() if scales(w.net(gates=True))}
VANISHING = {n: w for n, w in WIRINGS.items() if w.vanishing}
PICTURES = {n: w for n, w in WIRINGS.items() if w.ghost.reads == ("image",)}


def each(wirings: dict[str, Wiring]) -> pytest.MarkDecorator:
    """Run a test for each of these wirings."""
    return pytest.mark.parametrize("wiring", wirings.values(), ids=wirings.keys())


every_wiring = each(WIRINGS)
FIRST = {w.name: w for w in reversed(WIRINGS.values())}
"""The plainest wiring of each family."""
every_family = pytest.mark.parametrize(
    "wiring", thinned(WIRINGS.values(), lambda w: FIRST[w.name] is w), ids=WIRINGS.keys()
)
"""Where a case takes seconds: each family's plainest wiring; the others on request (`-m slow`)."""
every_quick_family = pytest.mark.parametrize(
    "wiring",
    thinned(
        WIRINGS.values(),
        lambda w: FIRST[w.name] is w and w.name in ("cyclegan", "sngan", "stylegan2"),
    ),
    ids=WIRINGS.keys(),
)
"""Where a whole run is made: one that reads photos, one noise, one styles."""
every_resnet = each(RESNETS)
every_picture_wiring = each(PICTURES)  # one photo in, one picture out
every_scaled_wiring = each(SCALED)  # a scale for every group
every_gated_wiring = each(GATED)  # a scale for some group, once gates are there
every_vanishing_wiring = each(VANISHING)
every_emptied_wiring = each(EMPTIED)  # residual blocks that scales can empty


def photos(n: int = 2, *, size: int = PIXELS, seed: int = 1) -> Tensor:
    """(n, 3, size, size) noise in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, size, size, generator=generator) * 2 - 1


def random_counts(net: nn.Module, seed: int) -> dict[str, int]:
    """A random count of at least 1 for each group."""
    generator = torch.Generator().manual_seed(seed)
    return {
        g: int(torch.randint(1, w + 1, (1,), generator=generator)) for g, w in widths(net).items()
    }


def random_indices(net: nn.Module, seed: int) -> dict[str, Tensor]:
    """Random sorted indices, at least one, for each group."""
    generator = torch.Generator().manual_seed(seed)
    return {
        g: torch.randperm(w, generator=generator)[: random_counts(net, seed)[g]].sort().values
        for g, w in widths(net).items()
    }


def difference(a: Tensor, b: Tensor) -> float:
    """The largest absolute difference."""
    return float((a - b).detach().abs().max())
