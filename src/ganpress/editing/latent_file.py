"""A latent code as a file: safetensors and a JSON card that says of which network it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganpress.editing.tensor_file import read_tensors, write_tensors
from ganpress.errors import CheckpointError, ConfigError, no_file
from ganpress.models.checkpoint import Model, fingerprint
from ganpress.models.inputs import reads
from ganpress.models.spaces import SPACES, Space, draw_latent, row_shape
from ganpress.models.stored import not_finite

CARD = "ganpress-latent"


@dataclass(frozen=True)
class Latent:
    """One picture of one network, as a code.

    Attributes:
        space: "z", "w" or "w+".
        row: (dim,), or (styles, dim) of W+; float32 on the CPU.
        rest: what the network reads beside z, by name, one row each: noise maps, class weights.
        network: fingerprint of the network.
        name: of the photo, or of the draw.
        facts: how it was found, and how near it is; JSON values.
    """

    space: Space
    row: Tensor
    rest: Mapping[str, Tensor]
    network: str
    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def save_latent(latent: Latent, path: Path | str) -> Path:
    """Write it; the file appears whole or not at all.

    Raises: CheckpointError for values that are not finite; DiskFull.
    """
    path = Path(path)
    tensors = {"latent": latent.row, **latent.rest}
    card = {
        "space": latent.space,
        "network": latent.network,
        "name": latent.name,
        "facts": dict(latent.facts),
    }
    return write_tensors(path, tensors, CARD, card)


def load_latent(path: Path | str, model: Model | None = None) -> Latent:
    """Read what `save_latent` wrote.

    Args: model: the network that it must be of; None reads those of any network.
    Raises: CheckpointError for a missing, truncated, foreign or inconsistent file; ConfigError for
        a latent of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise no_file(path, "latent", ("*.safetensors",))
    card, tensors = read_tensors(
        path, CARD, "latent", whole="a whole latent", advice="Make one: ganpress edit project"
    )
    try:
        row = tensors.pop("latent")
        space = next(s for s in SPACES if s == card["space"])
        found = Latent(space, row, tensors, card["network"], card["name"], dict(card["facts"]))
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise CheckpointError(
            f"{path} has a card that does not describe a latent ({type(error).__name__}: {error}). "
            "Project the photo again."
        ) from error
    if bad := not_finite({"latent": row, **tensors}):
        raise CheckpointError(f"{path} has values that are not finite in {bad[0]}: project again.")
    if model is not None:
        check_latent(found, model, str(path))
    return found


def check_latent(latent: Latent, model: Model, where: str, key: str | None = None) -> None:
    """Refuse a latent of another network, or of other shapes: ConfigError, CheckpointError.

    Args: where: it lies, for the message. key: the network's fingerprint, where it is known.
    """
    ours = key or fingerprint(model.net)
    if latent.network != ours:
        raise ConfigError(
            f"{where} is a latent of another network (fingerprint {latent.network[:12]}, this "
            f"network has {ours[:12]}): a code means something else in each. Project the photo "
            "with this network: ganpress edit project."
        )
    _, rest = draw_latent(model.net, torch.Generator())
    names = ("latent", *reads(model)[1:])
    shapes = [row_shape(model.net, latent.space), *(tuple(x.shape) for x in rest)]
    wanted = dict(zip(names, shapes, strict=True))
    held = {"latent": tuple(latent.row.shape)}
    held |= {name: tuple(x.shape) for name, x in latent.rest.items()}
    wrong = [n for n in {**wanted, **held} if wanted.get(n) != held.get(n)]
    if wrong:
        raise CheckpointError(
            f"{where} is no whole latent of '{latent.space}': '{wrong[0]}' should be "
            f"{wanted.get(wrong[0], 'absent')}, but is {held.get(wrong[0], 'absent')}. Project the "
            "photo again."
        )


def latents_at(
    paths: Sequence[Path | str], model: Model, key: str | None = None
) -> list[tuple[Path, Latent]]:
    """The latents of files, and of all files of folders in the order of their names.

    Raises: ConfigError for a folder without any, or what `load_latent` does.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        inside = sorted((path / FOLDER).glob("*.safetensors")) if path.is_dir() else []
        inside = inside or (sorted(path.glob("*.safetensors")) if path.is_dir() else [])
        if path.is_dir() and not inside:
            raise ConfigError(
                f"{path} has no latents (*.safetensors): give a folder that 'ganpress edit "
                "project' wrote, or the files."
            )
        files += inside or [path]
    key = key or fingerprint(model.net)
    found = [(path, load_latent(path)) for path in files]
    for path, latent in found:
        check_latent(latent, model, str(path), key)
    return found


FOLDER = "latents"
"""Of a projection's folder: where its latents lie."""
