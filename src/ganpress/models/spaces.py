"""Latent codes of generators, and the spaces of those that read noise: z; W and W+ where a mapping
network makes styles.

A row of W+ has one style for each layer that reads one; of W, one style for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ganpress.errors import ConfigError, did_you_mean
from ganpress.models.checkpoint import Model
from ganpress.models.families.base import draw_inputs
from ganpress.models.inputs import from_noise, reads
from ganpress.types import Inputs

Space = Literal["z", "w", "w+"]
SPACES: tuple[Space, ...] = get_args(Space)
"""From the smallest to the largest: what lies in one has an equal in those behind it."""

CODES = ("z", "style")
"""Inputs that are random vectors: a direction can be added to them, or to what is made of them."""


@dataclass(frozen=True)
class LatentCode:
    """The vector that decides what a generator makes.

    Attributes:
        name: w, z, or the style code.
        at: the number of the input that it is, or is made of.
        of: inputs -> the code, (n, d).
        run: (code, inputs) -> pictures, with gradients; a code of W may be one of W+.
    """

    name: str
    at: int
    of: Callable[[Inputs], Tensor]
    run: Callable[[Tensor, Inputs], Tensor]


def latent_of(net: nn.Module) -> LatentCode | None:
    """w of a network with a mapping, the random vector that it reads, or None."""
    at = next((k for k, name in enumerate(reads(net)) if name in CODES), None)
    if at is None:
        return None
    mapped: Any = net
    if has_mapping(net):
        return LatentCode(
            "w", at, lambda inputs: mapped.mapping(inputs[at]),
            lambda w, inputs: mapped.synthesis(w, *inputs[:at], *inputs[at + 1 :]),
        )  # fmt: skip
    return LatentCode(
        reads(net)[at], at, lambda inputs: inputs[at],
        lambda code, inputs: net(*inputs[:at], code, *inputs[at + 1 :]),
    )  # fmt: skip


def has_mapping(net: nn.Module) -> bool:
    """Whether a mapping network makes styles of its z."""
    return hasattr(net, "mapping") and hasattr(net, "synthesis")


def code_dim(net: Any) -> int:
    """Numbers in the code of a network that has one."""
    return int(net.style_dim if hasattr(net, "style_dim") else net.latent_dim)


def spaces_of(of: Model | nn.Module) -> tuple[Space, ...]:
    """The latent spaces of a generator; none where it reads pictures or label maps."""
    if not from_noise(of):
        return ()
    return SPACES if has_mapping(of.net if isinstance(of, Model) else of) else ("z",)


def check_space(model: Model, space: str) -> Space:
    """The space, if this generator has it. Raises: ConfigError with the reason."""
    known, name = spaces_of(model), model.family.name
    if not known:
        raise ConfigError(
            f"A '{name}' generator makes its picture of {_listed(reads(model))}, not of a latent "
            "code: nothing can be projected, mixed or morphed. Families with one: stylegan2, sngan."
        )
    for one in known:
        if one == space:
            return one
    if space in SPACES:
        raise ConfigError(
            f"A '{name}' generator has no '{space}': no mapping network makes styles of its z. Its "
            f"space is {_listed(known)}."
        )
    raise ConfigError(
        f"There is no latent space '{space}'{did_you_mean(space, known)}. Spaces of this "
        f"'{name}' generator: {', '.join(known)}."
    )


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(f"'{name}'" for name in names)


def row_shape(net: Any, space: Space) -> tuple[int, ...]:
    """Of one row: (dim,), or (styles, dim) in W+."""
    dim = code_dim(net)
    return (int(net.styles), dim) if space == "w+" else (dim,)


def synthesise(net: Any, space: Space, rows: Tensor, *rest: Tensor) -> Tensor:
    """The pictures of latent rows, with gradients: (n, c, h, w), about [-1, 1].

    Args:
        rows: (n, *row_shape).
        rest: what the network reads beside z, n rows each: noise maps, or class weights.
    """
    made: Tensor = net(rows, *rest) if space == "z" else net.synthesis(rows, *rest)
    return made


def in_space(net: Any, rows: Tensor, space: Space, wanted: Space) -> Tensor:
    """Rows of one space as rows of another that holds them: the same pictures.

    Raises: ConfigError for a smaller space, in which most of them have no equal.
    """
    if SPACES.index(space) > SPACES.index(wanted):
        why = {"w": "several styles are no single one", "z": "no z leads to most styles"}[wanted]
        raise ConfigError(
            f"A latent of '{space}' cannot be taken as one of '{wanted}': {why}. Use the space "
            f"'{space}', or project the photo into '{wanted}'."
        )
    if space == "z" and wanted != "z":
        rows, space = net.mapping(rows), "w"
    if space == "w" and wanted == "w+":
        rows = rows[:, None].expand(-1, int(net.styles), -1)
    return rows


def draw_latent(net: nn.Module, generator: torch.Generator) -> tuple[Tensor, Inputs]:
    """One z, (1, dim), and what else the network reads: noise maps, or a class; on the CPU."""
    z, *rest = draw_inputs(net, 1, 16, generator)
    return z, tuple(rest)
