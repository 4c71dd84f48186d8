"""Tiny networks of every family and option, shared by the tests.

Widths are distinct primes, so that a tensor sliced by the wrong group has the wrong shape.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganpress.channels import Build
from ganpress.checkpoint import Model
from ganpress.families import FAMILIES, Family
from ganpress.nn.axes import widths
from ganpress.nn.layers import add_gates

PIXELS = 32
CYCLEGAN = {"stem": 5, "down1": 7, "trunk": 11, "block0": 13, "block1": 3, "up1": 17, "up2": 19}
CARTOONGAN = {
    **{"stem": 5, "down1a": 7, "down1": 11, "down2a": 13, "trunk": 17},
    **{"block0": 19, "block1": 3, "up1a": 23, "up1": 29, "up2a": 31, "up2": 37},
}


@dataclass(frozen=True)
class Wiring:
    """A family with options and tiny widths."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> Family:
        return FAMILIES[self.name]

    @property
    def widths(self) -> dict[str, int]:
        return dict(CYCLEGAN if self.name == "cyclegan" else CARTOONGAN)

    @property
    def is_batch(self) -> bool:
        return self.family.resolve(self.options)["norm"] == "batch"

    @property
    def build(self) -> Build:
        return lambda widths: self.family.build(widths, blocks=2, **self.options)

    def model(self, seed: int = 0) -> Model:
        """A tiny model with random weights, scales, shifts and running statistics."""
        options = self.family.resolve({"blocks": 2, **self.options})
        return Model(self.net(seed), self.family, options, {"source": "test"})

    def net(self, seed: int = 0, *, gates: bool = False, **changed: int) -> nn.Module:
        """The network alone, in eval mode; `changed` are other widths than the tiny ones."""
        torch.manual_seed(seed)
        net = self.build({**self.widths, **changed}).eval()
        if gates:
            add_gates(net)
        return randomise(net)


def randomise(net: nn.Module) -> nn.Module:
    """Scales in [0.5, 1.5], shifts and statistics that are not 0, weights that keep variance."""
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            leaf = name.rsplit(".", 1)[-1]
            if tensor.ndim == 4:
                tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
            elif leaf in ("weight", "gate", "running_var"):
                tensor.uniform_(0.5, 1.5)
            elif leaf in ("bias", "running_mean"):
                tensor.normal_(0, 0.5)
    return net


WIRINGS = {
    "cyclegan instance": Wiring("cyclegan"),
    "cyclegan affine": Wiring("cyclegan", {"affine": True}),
    "cyclegan batch": Wiring("cyclegan", {"norm": "batch"}),
    "cyclegan separable": Wiring("cyclegan", {"separable": True}),
    "cyclegan separable affine": Wiring("cyclegan", {"separable": True, "affine": True}),
    "cyclegan separable batch": Wiring("cyclegan", {"separable": True, "norm": "batch"}),
    "cartoongan": Wiring("cartoongan"),
    "cartoongan separable": Wiring("cartoongan", {"separable": True}),
    "cartoongan batch": Wiring("cartoongan", {"norm": "batch"}),
}
SCALED = {name: w for name, w in WIRINGS.items() if w.options.get("norm") or w.name != "cyclegan"}
SCALED |= {name: w for name, w in WIRINGS.items() if w.options.get("affine")}
VANISHING = {name: w for name, w in SCALED.items() if not w.is_batch}

every_wiring = pytest.mark.parametrize("wiring", WIRINGS.values(), ids=WIRINGS.keys())
every_scaled_wiring = pytest.mark.parametrize("wiring", SCALED.values(), ids=SCALED.keys())
every_vanishing_wiring = pytest.mark.parametrize("wiring", VANISHING.values(), ids=VANISHING.keys())


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
