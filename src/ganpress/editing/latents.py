"""Latent spaces: the codes that a generator's picture depends on, and the layers that read them.

StyleGAN2 is edited in W, what its mapping network makes of z: every layer reads its own copy of w,
so that an edit can be kept to some layers (W+). SNGAN is edited in z and MUNIT in the style, which
one fully connected layer reads for the whole network.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ganpress.errors import ConfigError
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import reads
from ganpress.models.spaces import LatentCode, code_dim, has_mapping, latent_of
from ganpress.nn.modes import in_eval
from ganpress.types import Inputs
from ganpress.types.seeds import check_seed

AT_ONCE = 8
"""Pictures that are made in one pass."""


def _style_layers(net: Any) -> list[nn.Module]:
    convolutions = [layer.modulated.affine for layer in net.layers]
    return [*convolutions, net.to_rgb[-1].modulated.affine]


_READERS: dict[str, Callable[[Any], Sequence[nn.Module]]] = {
    "stylegan2": _style_layers,
    "sngan": lambda net: [net.l1],
    "munit": lambda net: [net.mlp[0]],
}
"""Of a family: the affine layers that read a code, one for each that can have a code of its own."""


@dataclass(frozen=True)
class LatentSpace:
    """The space that one generator is edited in.

    Attributes:
        model: the generator.
        name: "w", "z" or "style".
        dim: numbers in a code.
        layers: how many layers can have a code of their own; 1: all share one.
    """

    model: Model
    name: str
    dim: int
    layers: int

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return next(self.model.net.parameters()).device

    @property
    def is_mapped(self) -> bool:
        """Whether a mapping network makes the codes."""
        return has_mapping(self.model.net)

    @torch.no_grad()
    def sample(self, n: int, seed: int = 0) -> Tensor:
        """The codes of ``n`` draws of the latent input, (n, dim) on the CPU. Networks that read the
        same latent input are given the same draws."""
        z = torch.randn(n, self.dim, generator=torch.Generator().manual_seed(check_seed(seed)))
        unread = (z[:0],) * self._code.at
        return torch.cat([self.codes((*unread, part)) for part in z.split(1024)])

    @torch.no_grad()
    def codes(self, inputs: Inputs) -> Tensor:
        """The codes that the network's inputs lead to, (n, dim) on the CPU."""
        given, at = list(inputs), self._code.at
        given[at] = given[at].flatten(1).to(self.device)
        return self._code.of(tuple(given)).cpu()

    @torch.no_grad()
    def pictures(self, codes: Tensor, inputs: Inputs) -> Tensor:
        """The pictures of codes in place of those of the inputs, (n, c, h, w) on the CPU.

        Args:
            codes: (n, dim), or (n, layers, dim) where layers can have codes of their own.
            inputs: what the network reads, n or 1 rows each; all but the latent input is used.
        """

        def make(rows: Tensor) -> Tensor:
            given = tuple(x[rows % len(x)].to(self.device) for x in inputs)
            return self._code.run(codes[rows].to(self.device), given)

        return in_parts(self.model.net, len(codes), make)

    def weights(self, first: int, last: int) -> Tensor:
        """The matrices by which the layers ``first`` to ``last`` multiply a code, one below the
        other: (rows, dim) float64, gains and gates included, biases not."""
        chosen = _READERS[self.model.family.name](self.model.net)[first : last + 1]
        return torch.cat([_matrix(layer, self.dim) for layer in chosen])

    def fingerprint(self) -> str:
        """SHA-256 in hex of what makes the codes: equal where the same latent input has the same
        codes, so that a code of one network means the same in the other."""
        seen = hashlib.sha256(f"{self.name} {self.dim}".encode())
        if self.is_mapped:
            net: Any = self.model.net
            for layer in net.mlp:
                seen.update(f"{layer.gain} {layer.lr_mul}".encode())
                for tensor in (layer.weight, layer.bias):
                    seen.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        return seen.hexdigest()

    @property
    def _code(self) -> LatentCode:
        code = latent_of(self.model.net)
        assert code is not None  # `latent_space` refuses
        return code


def in_parts(net: nn.Module, count: int, make: Callable[[Tensor], Tensor]) -> Tensor:
    """Pictures that are made `AT_ONCE` in a pass, the network in eval mode: (n, c, h, w) float32 on
    the CPU.

    Args: make: numbers of the pictures, (k,) int64 from 0 to ``count`` -> these, on any device.
    """
    with in_eval(net):
        return torch.cat([make(rows).float().cpu() for rows in torch.arange(count).split(AT_ONCE)])


def latent_space(model: Model) -> LatentSpace:
    """The space that a generator is edited in. Raises ConfigError where it reads no latent code."""
    name, net = model.family.name, model.net
    code = latent_of(net)
    if code is None:
        raise ConfigError(
            f"A '{name}' generator has no latent code that could be edited: it reads "
            f"{' and '.join(reads(model))} alone. Families with one: {', '.join(_READERS)}."
        )
    return LatentSpace(model, code.name, code_dim(net), len(_READERS[name](net)))


@torch.no_grad()
def _matrix(layer: nn.Module, dim: int) -> Tensor:
    """The (out, dim) matrix of an affine layer, in float64: what it makes of the unit vectors,
    less what it makes of zero."""
    exact = copy.deepcopy(layer).to("cpu", torch.float64)
    one = exact(torch.cat([torch.zeros(1, dim, dtype=torch.float64), torch.eye(dim).double()]))
    return (one[1:] - one[:1]).T  # type: ignore[no-any-return]


def check_layers(layers: tuple[int, int] | None, count: int) -> tuple[int, int]:
    """A range of the ``count`` layers that read a code, first and last included; None: all.

    Raises ConfigError for a range that they do not have.
    """
    if layers is None:
        return 0, count - 1
    first, last = layers
    if not 0 <= first <= last < count:
        known = f"{count} layers, 0 to {count - 1}" if count > 1 else "one layer, 0"
        raise ConfigError(
            f"The layers are {first}-{last}, but codes are read by {known}: give a range such as "
            f"0-{(count - 1) // 2}, first and last included."
        )
    return first, last
