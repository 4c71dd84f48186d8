"""Put a foreign state into one of our networks, and name exactly what does not fit.

An importer reads widths and options off the tensors' shapes and lists which tensor of the file
becomes which of ours (a `Plan`); everything else is here and the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ganpress.errors import CheckpointError
from ganpress.formats.importers.assumed import Assumptions
from ganpress.models.checkpoint import Model
from ganpress.models.discriminator import Discriminator
from ganpress.models.families import family
from ganpress.models.stored import fill
from ganpress.nn.discriminators import build_discriminator
from ganpress.types import State
from ganpress.types.pictures import CHANNELS

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def _flip(tensor: Tensor, dim: int) -> Tensor:
    """Three channels in the other order; what has no colours stays."""
    return tensor.flip(dim) if tensor.shape[dim] == 3 else tensor


@dataclass
class Plan:
    """How a file's tensors become one of our networks.

    Attributes:
        family, options, widths: what is built.
        names: our tensor -> the file's.
        filled: our tensors that may be missing from the file, with the value that stands for it.
        ignored: tensors of the file that mean nothing to us.
        turned: our tensors to be changed on the way in (BGR to RGB).
        made: our tensors that are worked out from several of the file (a folded spectral norm):
            the names read, and what is made of those tensors.
        unread: width tensors that the file lacks; shapes are then not complained about.
        assumed: what no tensor says and no option gave.
        key_of: a tensor of the file -> its key there, prefix and all, for messages.
    """

    family: str
    options: dict[str, Any]
    widths: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    filled: dict[str, float] = field(default_factory=dict)
    ignored: Collection[str] = ()
    turned: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    made: Mapping[str, tuple[tuple[str, ...], Callable[..., Tensor]]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    assumed: Assumptions = field(default_factory=dict)
    key_of: Callable[[str], str] = str

    def without_scales(self, norms: Collection[str]) -> None:
        """Let these norms, by our names, lack scales and shifts: 1 and 0."""
        self.filled |= {f"{n}.weight": 1.0 for n in norms} | {f"{n}.bias": 0.0 for n in norms}

    def turn_colours(self, inputs: str, outputs: str, dim: int = 0) -> None:
        """Read a network of BGR as one of RGB.

        Args: inputs, outputs: our layers that read and make pictures. dim: of the channels in the
            latter's weight; a transposed convolution has them at 1.
        """
        turned = {f"{inputs}.weight": 1, f"{outputs}.weight": dim, f"{outputs}.bias": 0}
        self.turned = {name: partial(_flip, dim=at) for name, at in turned.items()}

    def width(self, state: State, group: str, tensor: str, dim: int) -> None:
        """Read a group's width off one dim of a (o, i, h, w) tensor of the file."""
        found = state.get(tensor)
        if found is None or found.ndim != 4:
            self.unread.append(tensor)
            self.widths[group] = 1
        else:
            self.widths[group] = found.shape[dim]

    def channels(self, state: State, option: str, tensor: str, dim: int, source: str) -> None:
        """Read the channels of a picture, "in_channels" or "out_channels", off one dim of a tensor
        of the file. Raises: CheckpointError for more than a picture can have."""
        found = state.get(tensor)
        if found is None or found.ndim < 4:
            return  # `assemble` says that it is missing, or of the wrong shape
        if found.shape[dim] not in CHANNELS:
            does = "reads" if option == "in_channels" else "makes"
            raise CheckpointError(
                f"{source} {does} {found.shape[dim]} channels ({tensor}); ganpress's generators "
                f"read and make pictures of 1 to {max(CHANNELS)}."
            )
        self.options[option] = found.shape[dim]


@dataclass(frozen=True)
class DiscriminatorPlan:
    """How a file's tensors become a discriminator of `nn.discriminators`.

    Attributes:
        kind, options: what is built.
        names: our tensor -> the file's.
        ignored: tensors of the file that mean nothing to us.
        objective, r1: adversarial loss and weight of the R1 penalty that the code base trains it
            with, which no file has; objective "": the usual one of its kind.
    """

    kind: str
    options: dict[str, Any]
    names: dict[str, str]
    ignored: Collection[str] = ()
    objective: str = ""
    r1: float = 0.0


def assemble_discriminator(
    plan: DiscriminatorPlan, state: State, *, source: str, key_of: Callable[[str], str] = str
) -> Discriminator:
    """The discriminator of a plan, filled from the file; errors as `fill_from`."""
    with torch.device("meta"):
        net = build_discriminator(plan.kind, **plan.options)
    rest = Plan("", {}, names=plan.names, ignored=plan.ignored, key_of=key_of)
    fill_from(rest, net, state, source=source, what=f"'{plan.kind}' discriminator")
    return Discriminator(net.eval(), plan.kind, plan.options, objective=plan.objective, r1=plan.r1)


def assemble(plan: Plan, state: State, *, source: str) -> Model:
    """The network of a plan, filled from the file; errors as `fill_from`."""
    which = family(plan.family)
    options = which.resolve(plan.options)
    with torch.device("meta"):
        net = which.build(plan.widths, **options)
    fill_from(plan, net, state, source=source, what=f"'{plan.family}' generator")
    return Model(net.eval(), which, options)


def fill_from(plan: Plan, net: nn.Module, state: State, *, source: str, what: str) -> nn.Module:
    """Fill a network that was built on the meta device from a foreign file's tensors.

    Raises: CheckpointError naming, in the file's own names, what is missing, left over or of the
        wrong shape (first ten of each), or not finite.
    """
    want = {n: tuple(t.shape) for n, t in net.state_dict().items()}
    theirs: dict[str, tuple[str, ...]] = {
        ours: (plan.names[ours],) for ours in want if ours not in plan.made
    }
    theirs |= {ours: plan.made[ours][0] for ours in want if ours in plan.made}
    _complain(plan, state, want, theirs, source, what)
    ready = {n: _ready(plan, state, n, shape, theirs[n]) for n, shape in want.items()}
    return fill(net, ready, source=source)


def _ready(
    plan: Plan, state: State, ours: str, shape: tuple[int, ...], theirs: tuple[str, ...]
) -> Tensor:
    if ours in plan.made:
        tensor = plan.made[ours][1](*(state[name] for name in theirs))
        if tuple(tensor.shape) != shape:
            raise CheckpointError(
                f"{', '.join(theirs)} make a tensor of {tuple(tensor.shape)}, the network needs "
                f"{shape} for {ours}."
            )
    elif theirs[0] in state:
        tensor = state[theirs[0]]
    else:
        kind = torch.int64 if ours.endswith("num_batches_tracked") else torch.float32
        tensor = torch.full(shape, plan.filled[ours], dtype=kind)
    if ours in plan.turned:
        tensor = plan.turned[ours](tensor)
    return tensor.reshape(shape).contiguous().clone()


def _complain(
    plan: Plan,
    state: State,
    want: Mapping[str, tuple[int, ...]],
    theirs: Mapping[str, tuple[str, ...]],
    source: str,
    what: str,
) -> None:
    read = dict.fromkeys(name for names in theirs.values() for name in names)
    known = {*read, *plan.ignored}
    missing = [t for n in want if n not in plan.filled for t in theirs[n] if t not in state]
    shapes = [
        f"{theirs[n][0]}: file {tuple(state[theirs[n][0]].shape)}, network {shape}"
        for n, shape in want.items()
        if n not in plan.made and theirs[n][0] in state and not _fits(state[theirs[n][0]], shape)
    ]
    complaints = [
        first_ten("missing", missing),
        first_ten("left over", [n for n in state if n not in known]),
        first_ten("of the wrong shape", [] if plan.unread else shapes),
    ]
    if any(complaints):
        raise CheckpointError(
            f"{source} does not hold a whole {what}, and that alone. "
            f"{' '.join(c for c in complaints if c)}"
        )
    if infinite := [plan.key_of(n) for n in read if n in state and not _is_finite(state[n])]:
        raise CheckpointError(
            f"{source} has weights that are NaN or not finite in float32. "
            f"{first_ten('not finite', infinite)} Take an earlier checkpoint of that training."
        )


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _fits(tensor: Tensor, shape: tuple[int, ...]) -> bool:
    """Equal shapes; a vector may also come as (1, c, 1, 1), as some code bases keep scales, and
    any tensor with a leading 1 (StyleGAN2's weights)."""
    if len(shape) == 1:
        return tensor.numel() == shape[0] and max(tensor.shape, default=0) == shape[0]
    return tuple(tensor.shape) == shape or (1, *tuple(shape)) == tuple(tensor.shape)


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
