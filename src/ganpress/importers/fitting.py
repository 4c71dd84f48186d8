"""Put a foreign state into one of our networks, and say exactly what does not fit.

An importer reads widths and options off the tensors' shapes and lists which tensor of the file
becomes which of ours (a `Plan`); everything else is here and the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ganpress.checkpoint import Model, fill
from ganpress.errors import CheckpointError
from ganpress.families import family
from ganpress.types import State

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass
class Plan:
    """How a file's tensors become one of our networks.

    Attributes:
        family, options, widths: what is built.
        names: our tensor -> the file's.
        filled: our tensors that may be missing from the file, with the value that stands for it.
        ignored: tensors of the file that mean nothing to us.
        turned: our tensors to be changed on the way in (BGR to RGB).
        unread: width tensors that the file lacks; shapes are then not complained about.
    """

    family: str
    options: dict[str, Any]
    widths: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    filled: dict[str, float] = field(default_factory=dict)
    ignored: Collection[str] = ()
    turned: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    def width(self, state: State, group: str, tensor: str, dim: int) -> None:
        """Read a group's width off one dim of a (o, i, h, w) tensor of the file."""
        found = state.get(tensor)
        if found is None or found.ndim != 4:
            self.unread.append(tensor)
            self.widths[group] = 1
        else:
            self.widths[group] = found.shape[dim]


def assemble(plan: Plan, state: State, *, source: str) -> Model:
    """The network of a plan, filled from the file.

    Raises: CheckpointError naming, in the file's own names, what is missing, left over or of the
        wrong shape (first ten of each).
    """
    which = family(plan.family)
    options = which.resolve(plan.options)
    with torch.device("meta"):
        net = which.build(plan.widths, **options)
    want = {n: tuple(t.shape) for n, t in net.state_dict().items()}
    theirs = {ours: plan.names[ours] for ours in want}
    _complain(plan, state, want, theirs, source)
    ready: State = {}
    for ours, shape in want.items():
        tensor = state.get(theirs[ours])
        if tensor is None:
            kind = torch.int64 if ours.endswith("num_batches_tracked") else torch.float32
            tensor = torch.full(shape, plan.filled[ours], dtype=kind)
        if ours in plan.turned:
            tensor = plan.turned[ours](tensor)
        ready[ours] = tensor.reshape(shape).contiguous().clone()
    return Model(fill(net, ready, source=source).eval(), which, options)


def _complain(
    plan: Plan,
    state: State,
    want: Mapping[str, tuple[int, ...]],
    theirs: Mapping[str, str],
    source: str,
) -> None:
    known = {*theirs.values(), *plan.ignored}
    missing = [theirs[n] for n in want if theirs[n] not in state and n not in plan.filled]
    shapes = (
        []
        if plan.unread
        else [
            f"{theirs[n]}: file {tuple(state[theirs[n]].shape)}, network {shape}"
            for n, shape in want.items()
            if theirs[n] in state and not _fits(state[theirs[n]], shape)
        ]
    )
    complaints = [
        first_ten("missing", missing),
        first_ten("left over", [n for n in state if n not in known]),
        first_ten("of the wrong shape", shapes),
    ]
    if any(complaints):
        raise CheckpointError(
            f"{source} does not hold a whole '{plan.family}' generator, and that alone. "
            f"{' '.join(c for c in complaints if c)}"
        )


def _fits(tensor: Tensor, shape: tuple[int, ...]) -> bool:
    """Equal shapes; a vector may also come as (1, c, 1, 1), as some code bases keep scales."""
    if len(shape) == 1:
        return tensor.numel() == shape[0] and max(tensor.shape, default=0) == shape[0]
    return tuple(tensor.shape) == shape


def first_ten(what: str, names: Collection[str]) -> str:
    """'3 missing: a, b, c.' with at most ten names; '' for none."""
    if not names:
        return ""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"{len(names)} {what}: {', '.join(list(names)[:10])}{more}."


def fill_together(plan: Plan, state: State, ours: Collection[str], value: float) -> None:
    """Let tensors be absent from the file if all of them are: one alone is a damaged file."""
    if not any(plan.names[name] in state for name in ours):
        plan.filled.update(dict.fromkeys(ours, value))
