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
from ganpress.types import Inputs

AT_ONCE = 16
"""Pictures that are made in one pass."""


@dataclass(frozen=True)
class _Kind:
    """How a family is edited.

    Attributes:
        name: of the space.
        reads: the input that the code is made of, by its name in the network's `reads`.
        readers: the affine layers that read a code, one for each that can have a code of its own.
        mapped: whether a mapping network makes the code of what is read.
    """

    name: str
    reads: str
    readers: Callable[[Any], Sequence[nn.Module]]
    mapped: bool = False


def _style_layers(net: Any) -> list[nn.Module]:
    convolutions = [layer.modulated.affine for layer in net.layers]
    return [*convolutions, net.to_rgb[-1].modulated.affine]


_KINDS = {
    "stylegan2": _Kind("w", "z", _style_layers, mapped=True),
    "sngan": _Kind("z", "z", lambda net: [net.l1]),
    "munit": _Kind("style", "style", lambda net: [net.mlp[0]]),
}


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
        return self._kind.mapped

    @torch.no_grad()
    def sample(self, n: int, seed: int = 0) -> Tensor:
        """The codes of ``n`` draws of the latent input, (n, dim) on the CPU. Networks that read the
        same latent input are given the same draws."""
        z = torch.randn(n, self.dim, generator=torch.Generator().manual_seed(seed))
        return torch.cat([self._mapped(part) for part in z.split(1024)]).cpu()

    @torch.no_grad()
    def codes(self, inputs: Inputs) -> Tensor:
        """The codes that the network's inputs lead to, (n, dim) on the CPU."""
        return self._mapped(inputs[self._at].flatten(1)).cpu()

    @torch.no_grad()
    def pictures(self, codes: Tensor, inputs: Inputs) -> Tensor:
        """The pictures of codes in place of those of the inputs, (n, c, h, w) on the CPU.

        Args:
            codes: (n, dim), or (n, layers, dim) where layers can have codes of their own.
            inputs: what the network reads, n or 1 rows each; all but the latent input is used.
        """
        net: Any = self.model.net
        was_training = net.training
        net.eval()
        made = []
        for rows in torch.arange(len(codes)).split(AT_ONCE):
            given = [x[rows % len(x)].to(self.device) for x in inputs]
            given[self._at] = codes[rows].to(self.device)
            if self.is_mapped:
                made.append(net.synthesis(given.pop(self._at), *given).float().cpu())
            else:
                made.append(net(*given).float().cpu())
        net.train(was_training)
        return torch.cat(made)

    def weights(self, first: int, last: int) -> Tensor:
        """The matrices by which the layers ``first`` to ``last`` multiply a code, one below the
        other: (rows, dim) float64, gains and gates included, biases not."""
        chosen = self._kind.readers(self.model.net)[first : last + 1]
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
    def _kind(self) -> _Kind:
        return _KINDS[self.model.family.name]

    @property
    def _at(self) -> int:
        """Which of the network's inputs the code is made of."""
        return reads(self.model).index(self._kind.reads)

    def _mapped(self, x: Tensor) -> Tensor:
        net: Any = self.model.net
        code: Tensor = net.mapping(x.to(self.device)) if self.is_mapped else x
        return code


def latent_space(model: Model) -> LatentSpace:
    """The space that a generator is edited in. Raises ConfigError where it reads no latent code."""
    name = model.family.name
    if name not in _KINDS:
        known = ", ".join(f"{family} ({kind.name})" for family, kind in _KINDS.items())
        raise ConfigError(
            f"A '{name}' generator has no latent code that could be edited: it reads "
            f"{' and '.join(reads(model))} alone. Families with one: {known}."
        )
    kind, net = _KINDS[name], model.net
    dim = int(getattr(net, "style_dim", 0) or getattr(net, "latent_dim", 0))
    return LatentSpace(model, kind.name, dim, len(kind.readers(net)))


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
