"""A ganpress file: tensors and a JSON card, read and put into a network built for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

from ganpress.errors import CheckpointError, no_file
from ganpress.models.discriminator import of_format_1
from ganpress.quantisation.quantise import FakeQuantiser
from ganpress.sniff import misplaced
from ganpress.types import State

FORMAT = 2
READABLE = (1, 2)
STEP = "::step"  # suffix of the scale stored beside an int8 weight
RANGE = ".range"  # suffix of an activation range that is still learned
PREFIX = "discriminator::"  # of the discriminator's tensors


def read_stored(path: Path) -> tuple[dict[str, Any], State]:
    """(card, tensors as stored) of a file, its card in today's form. Raises `CheckpointError`."""
    if not path.is_file():
        raise no_file(
            path, "model", ("student.safetensors", "teacher*.safetensors", "*.safetensors")
        )
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if "ganpress" not in metadata:
                other = misplaced(path, "model") or "has no ganpress card"
                raise CheckpointError(f"{path} {other}.")
            card = read_card(metadata["ganpress"])
            state = {k: file.get_tensor(k).clone() for k in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, TypeError, OSError) as error:
        other = f"is not a whole ganpress model ({error}). If it was once, copy it again"
        raise CheckpointError(f"{path} {misplaced(path, 'model') or other}.") from error
    if card.get("format") not in READABLE:
        raise CheckpointError(
            f"{path} has format {card.get('format')}, this version reads {FORMAT}: update ganpress."
        )
    return _of_today(card, state)


def read_card(text: str) -> dict[str, Any]:
    """The card in a file's metadata. Raises ValueError for what is none."""
    card = json.loads(text)
    if not (isinstance(card, dict) and "format" in card):
        raise ValueError("its card says no format")
    return card


def _of_today(card: dict[str, Any], state: State) -> tuple[dict[str, Any], State]:
    """A file of format 1 as one of today's: it calls the discriminator a critic."""
    if card["format"] != 1 or not isinstance(fields := card.pop("critic", None), dict):
        return card, state
    recipe = card.get("provenance", {}).get("recipe", {})
    card["discriminator"] = of_format_1(fields, recipe if isinstance(recipe, dict) else {})
    former = "critic::"
    return card, {
        f"{PREFIX}{n.removeprefix(former)}" if n.startswith(former) else n: t
        for n, t in state.items()
    }


def unpack(state: State, quantiser: FakeQuantiser | None = None) -> State:
    """The state in float32; integer weights by the quantiser that made them."""
    whole, out = quantiser or FakeQuantiser(), {}
    for name, tensor in state.items():
        if name.endswith(STEP):
            continue
        if f"{name}{STEP}" in state:
            out[name] = whole.weight_of(tensor, state[f"{name}{STEP}"].float())
        else:
            out[name] = tensor.float() if tensor.is_floating_point() else tensor
    return out


def fill(net: nn.Module, state: State, *, source: str) -> nn.Module:
    """Load a state into a network built on the meta device; name exactly what does not fit.

    Raises `CheckpointError` naming missing, left-over and wrongly shaped keys (first ten of each)
    and tensors with values that are not finite.
    """
    want = {n: tuple(t.shape) for n, t in net.state_dict().items()}
    shapes = [
        f"{n}: file {tuple(state[n].shape)}, network {want[n]}"
        for n in want
        if n in state and tuple(state[n].shape) != want[n]
    ]
    complaints = [
        _first_ten("missing", [n for n in want if n not in state]),
        _first_ten("left over", [n for n in state if n not in want]),
        _first_ten("of the wrong shape", shapes),
        _first_ten("not finite", not_finite(state)),
    ]
    if any(complaints):
        message = " ".join(c for c in complaints if c)
        raise CheckpointError(f"{source} does not fit the network it should fill. {message}")
    net.load_state_dict(dict(state), strict=True, assign=True)
    for parameter in net.parameters():
        parameter.requires_grad_(True)
    return net


def not_finite(state: State) -> list[str]:
    """Names of the tensors that have values which are not finite."""
    return [n for n, t in state.items() if t.is_floating_point() and not t.isfinite().all()]


def _first_ten(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"{len(names)} {what}: {', '.join(names[:10])}{more}."
