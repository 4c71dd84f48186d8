"""Directions as a file: safetensors and a JSON card, never pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganpress.editing.directions import Directions, check_network
from ganpress.editing.tensor_file import read_tensors, write_tensors
from ganpress.errors import CheckpointError, no_file
from ganpress.models.checkpoint import Model
from ganpress.models.stored import not_finite

_CARD = "ganpress-directions"
_TENSORS = ("vectors", "deviations", "ratios", "mean")
_ADVICE = "Make one: ganpress edit directions MODEL -o FILE"
_FACTS = ("kind", "space", "layers", "of_layers", "family", "network", "latent", "found")


def save_directions(directions: Directions, path: Path | str) -> Path:
    """Write directions; the file appears whole or not at all.

    Raises: CheckpointError for values that are not finite; DiskFull.
    """
    path = Path(path)
    tensors = {name: getattr(directions, name) for name in _TENSORS}
    card = {name: getattr(directions, name) for name in _FACTS}
    return write_tensors(path, tensors, _CARD, card)


def load_directions(path: Path | str, model: Model | None = None) -> Directions:
    """Read directions that `save_directions` wrote.

    Args: model: the network that they are for; None reads those of any network.
    Raises: CheckpointError for a missing, truncated, foreign or inconsistent file; ConfigError for
        directions of another network, saying how they are transferred.
    """
    path = Path(path)
    if not path.is_file():
        raise no_file(path, "directions", ("*directions*.safetensors",))
    card, tensors = read_tensors(
        path,
        _CARD,
        "directions",
        whole="a whole file of directions",
        advice=_ADVICE,
        names=_TENSORS,
    )
    try:
        facts: dict[str, Any] = {name: card[name] for name in _FACTS}
        first, last = map(int, card["layers"])
        found = Directions(**{**tensors, **facts, "layers": (first, last)})
    except (KeyError, TypeError, ValueError) as error:
        raise _inconsistent(path, f"{type(error).__name__}: {error}") from error
    k, dim = found.vectors.shape if found.vectors.ndim == 2 else (0, 0)
    shapes = {name: tuple(t.shape) for name, t in tensors.items()}
    if not k or shapes != dict(zip(_TENSORS, ((k, dim), (k,), (k,), (dim,)), strict=True)):
        raise _inconsistent(path, f"shapes {shapes}")
    if bad := not_finite(tensors):
        raise _inconsistent(path, f"{bad[0]} has values that are not finite")
    if model is not None:
        check_network(found, model, str(path))
    return found


def _inconsistent(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} has a card that does not describe its directions ({why}). {_ADVICE}"
    )
