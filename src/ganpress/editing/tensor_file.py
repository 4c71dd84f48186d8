"""A safetensors file with a JSON card, as latents and directions are kept: never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from ganpress.errors import CheckpointError
from ganpress.models.stored import not_finite, read_card
from ganpress.run.files import make_folder, write_file
from ganpress.sniff import misplaced

FORMAT = 1


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], key: str, card: Mapping[str, Any]
) -> Path:
    """Write them; the file appears whole or not at all.

    Args: key: of the card in the file's metadata.
    Raises: CheckpointError for values that are not finite; DiskFull.
    """
    whole = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    if bad := not_finite(whole):
        raise CheckpointError(f"{path}: not saved, {bad[0]} has values that are not finite.")
    data = to_bytes(whole, metadata={key: json.dumps({"format": FORMAT, **card})})
    make_folder(path.parent)
    write_file(path, data)
    return path


def read_tensors(
    path: Path,
    key: str,
    what: Literal["directions", "latent"],
    *,
    whole: str,
    advice: str,
    names: Sequence[str] | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(card, tensors) of a file that `write_tensors` wrote.

    Args:
        what: the file is to be, as `misplaced` names it.
        whole: a file of them that is not cut off, for the message. advice: how to get one.
        names: tensors to read; None: all.
    Raises: CheckpointError for a truncated or foreign file, or one of a newer version.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if key not in metadata:
                raise CheckpointError(f"{path} {misplaced(path, what)}.")
            card = read_card(metadata[key])
            wanted = file.keys() if names is None else names
            tensors = {name: file.get_tensor(name).clone() for name in wanted}
    except (SafetensorError, ValueError, TypeError, OSError) as error:
        other = f"is not {whole} ({error}). {advice}"
        raise CheckpointError(f"{path} {misplaced(path, what) or other}.") from error
    if card.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {card.get('format')}, this version reads {FORMAT}: update ganpress."
        )
    return card, tensors
